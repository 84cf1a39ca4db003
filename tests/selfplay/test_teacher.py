"""A teacher: its samples are the expert's responses, and what is said of the policy is true of the two models."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import parquet
from transformers import AutoModelForCausalLM

from sparring import SelfPlayConfig, run
from sparring.errors import InputError
from sparring.exports.samples import export_samples
from sparring.planning.plan import plan
from sparring.run_directory import RunDirectory
from sparring.selfplay.prepared import prepare
from sparring.shard_files import read_shard
from tiny import save_tiny, tiny_model, tiny_tokenizer

TEACHER = {"system": "Hm.", "temperature": 0.7}
DATA = {"source": "arithmetic", "limit": 4, "held_out": 3, "max_response_tokens": 4}

ESTIMATE = """
from dataclasses import dataclass
from typing import ClassVar

from sparring.types import Objective, ObjectiveOutput


@dataclass(frozen=True, kw_only=True)
class Estimated(Objective):
    requires: ClassVar[frozenset[str]] = frozenset({"expert"})

    def __call__(self, ratios):
        loss = (ratios.require("expert") - 1.0).square()
        return ObjectiveOutput(loss=loss, metrics={"divergence_estimate": -loss.detach()})
"""


def config(folder: Path, teacher: dict[str, Any], output: Path = Path("run"), **changes: Any) -> SelfPlayConfig:
    base = {
        "output": str(output),
        "seed": 3,
        "iterations": 1,
        "model": {"name": str(folder), "device": "cpu"},
        "data": DATA | {"teacher": teacher},
        "evaluation": {"samples_per_prompt": 2},
        "training": {"learning_rate": 1e-2},
    }
    return SelfPlayConfig.model_validate(base | changes)


def samples(folder: Path, pattern: str) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob(pattern)):
        for row in read_shard(path):
            found.setdefault(row["index"], []).append(row)
    return found


def log_prob(model: Any, prompt: list[int], answer: list[int], temperature: float = 1.0) -> float:
    """From the whole table of logits, and nothing of the library."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1] / temperature
    return float(logits.double().log_softmax(-1).gather(-1, torch.tensor(answer)[:, None]).sum())


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


# A teacher with weights of its own takes the place of a model with an adapter; and two policies play the opponent.
TWO = {"lora": {"r": 2}, "opponent": {"name": "previous-two"}, "iterations": 2, "stop": {"enabled": False}}


@pytest.mark.parametrize(("changes", "own"), [({}, False), (TWO, True)], ids=["the base model's weights", "its own"])
def test_a_run_knows_the_truth(tiny_folder: Path, tmp_path: Path, changes: dict[str, Any], own: bool) -> None:
    teacher = TEACHER | ({"model": str(save_tiny(tmp_path / "teacher", seed=7))} if own else {})
    played = config(tiny_folder, teacher, tmp_path / "run", **changes)
    run(played)
    directory = RunDirectory(tmp_path / "run")
    written = samples(directory.teacher.samples, "held-out-*.parquet")
    drawn = samples(directory.base.held_out, "sampled-*.parquet")
    assert (len(samples(directory.teacher.samples, "train-*.parquet")), len(written), len(drawn)) == (4, 3, 3)

    base = AutoModelForCausalLM.from_pretrained(tiny_folder).eval()
    expert = AutoModelForCausalLM.from_pretrained(teacher["model"]).eval() if own else base

    def ratio(index: int, answer: list[int]) -> float:
        asked, read = written[index][0]["prompt_ids"], drawn[index][0]["prompt_ids"]
        assert len(asked) > len(read)
        return log_prob(expert, asked, answer, temperature=0.7) - log_prob(base, read, answer)

    of_expert = {index: ratio(index, rows[0]["response_ids"]) for index, rows in written.items()}
    of_base = {index: [ratio(index, row["response_ids"]) for row in rows] for index, rows in drawn.items()}
    first = json.loads(directory.base.evaluation.read_text())
    assert first["truth/forward_kl"]["mean"] == pytest.approx(mean([*of_expert.values()]), abs=1e-3)
    assert first["truth/reverse_kl"]["mean"] == pytest.approx(-mean([mean(us) for us in of_base.values()]), abs=1e-3)
    assert "truth/divergence" not in first

    # The opponent of iteration 0 is the base model. With t = tanh(u/2) the reward R t is the best one.
    def gain(u: float, sign: float) -> float:
        t = math.tanh(0.5 * u)
        return sign * t - 0.5 * t * t

    divergence = [gain(u, 1.0) + mean([gain(v, -1.0) for v in of_base[index]]) for index, u in of_expert.items()]
    after = json.loads(directory.iteration(0).evaluation.read_text())
    assert after["truth/divergence"]["mean"] == pytest.approx(mean(divergence), abs=1e-3)
    assert after["truth/forward_kl"]["mean"] != first["truth/forward_kl"]["mean"]
    found = json.loads(directory.stability.read_text())["findings"]
    assert {each["check"] for each in found} >= {"reward_bound", "displacement", "entropy", "length"}
    assert {each["iteration"] for each in found} == set(range(played.iterations))
    if own:
        # Each policy's samples are scored under the other too: the bound is of the mean of the two.
        assert [*directory.base.held_out.glob("scores-policy-1-sampled-*")]
        assert json.loads(directory.iteration(1).evaluation.read_text())["truth/divergence"]["n"] == 3


def test_an_estimate_of_ones_own_without_an_optimum_is_reported_alone(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_estimate.py").write_text(ESTIMATE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    data = DATA | {"limit": 1, "held_out": 1, "teacher": TEACHER}
    run(config(tiny_folder, TEACHER, tmp_path / "run", data=data, objective={"name": "own_estimate:Estimated"}))
    after = json.loads(RunDirectory(tmp_path / "run").iteration(0).evaluation.read_text())
    assert "divergence_estimate" in after
    assert "truth/divergence" not in after


def test_of_what_a_mixture_samples_the_law_is_not_known(tiny_folder: Path, tmp_path: Path) -> None:
    data = DATA | {"limit": 1, "held_out": 1, "teacher": TEACHER}
    opponent = {"name": "geometric-mixture", "samples": "mixture"}
    run(config(tiny_folder, TEACHER, tmp_path / "run", data=data, opponent=opponent))
    after = json.loads(RunDirectory(tmp_path / "run").iteration(0).evaluation.read_text())
    assert "divergence_estimate" in after
    assert "truth/forward_kl" in after
    assert "truth/divergence" not in after


def test_what_the_teacher_wrote_is_exported_and_shown_as_it_ended(tiny_folder: Path, tmp_path: Path) -> None:
    data = DATA | {"limit": 8, "held_out": 6, "teacher": {"temperature": 1.5}}
    run(config(tiny_folder, {}, tmp_path / "run", data=data))
    directory, table = RunDirectory(tmp_path / "run"), tmp_path / "samples.parquet"
    export_samples(directory.path, table)
    written = {
        (part, index): rows[0]
        for part in ("train", "held-out")
        for index, rows in samples(directory.teacher.samples, f"{part}-*.parquet").items()
    }
    ends = {key: "stop" if row["response_ids"][-1] == 2 else "length" for key, row in written.items()}
    exported = parquet.read_table(table).to_pylist()
    experts = {(row["split"], row["index"]): row for row in exported if row["player"] == "expert"}
    assert len(experts) == 14
    for key, row in experts.items():
        assert (row["response"], row["tokens"]) == (written[key]["text"], len(written[key]["response_ids"]))
        assert (row["finish_reason"], row["right"]) == (ends[key], None)
    assert all(row["expert"] == written[row["split"], row["index"]]["text"] for row in exported)
    shown = read_shard(directory.base.held_out / "answers-00000.parquet")
    finish = {row["index"]: row["finish_reason"] for row in shown if row["kind"] == "expert"}
    assert finish == {index: end for (part, index), end in ends.items() if part == "held-out"}
    assert "length" in finish.values()


def refused(config: SelfPlayConfig) -> InputError:
    with pytest.raises(InputError) as caught:
        prepare(config)
    return caught.value


def test_a_teacher_that_cannot_teach_is_refused_before_anything_is_loaded(tiny_folder: Path, tmp_path: Path) -> None:
    error = refused(config(tiny_folder, {"model": "./no/such"}))
    assert (error.where, "no model folder" in error.problem) == ("data.teacher.model", True)

    strange = save_tiny(tmp_path / "strange")
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<|new|>"])
    tokenizer.save_pretrained(strange)
    error = refused(config(tiny_folder, {"model": str(strange)}))
    assert "the teacher's tokens" in error.problem

    error = refused(config(tiny_folder, {"model": str(strange)}, generation={"name": "vllm"}))
    assert "plays the run's own model" in error.problem

    small = save_tiny(tmp_path / "small")
    tiny_model(vocab_size=200).save_pretrained(small)
    error = refused(config(tiny_folder, {"model": str(small)}))
    assert error.where == "data.teacher.model"
    assert "the model's embedding has 200 rows" in error.problem

    error = refused(config(tiny_folder, {"system": "word " * 200}))
    assert (error.where, "its context has room for 508" in error.problem) == ("data.teacher.system", True)

    capped = save_tiny(tmp_path / "capped")
    settings = json.loads((capped / "config.json").read_text())
    (capped / "config.json").write_text(json.dumps(settings | {"final_logit_softcapping": 30.0}))
    assert "caps its logits" in refused(config(capped, TEACHER)).problem
    assert prepare(config(capped, {"system": "Hm."})).teacher is not None


def test_a_teacher_of_another_model_brings_no_code(tiny_folder: Path, tmp_path: Path) -> None:
    trusted = {"name": str(tiny_folder), "device": "cpu", "trust_remote_code": True}
    other = {"model": str(save_tiny(tmp_path / "teacher"))}
    teacher = prepare(config(tiny_folder, other, model=trusted)).teacher
    assert teacher is not None
    assert teacher.model is not None
    assert not teacher.model.trust_remote_code


def test_a_plan_counts_a_teacher_as_if_it_wrote_all_that_it_may(tiny_folder: Path) -> None:
    tokens = plan(config(tiny_folder, TEACHER), calibrated=False).tokens
    # K = 1 response to four prompts; two policies answer three held-out ones once greedily and twice sampled; and the
    # teacher answers all seven: four tokens each.
    assert tokens.generate == 4 * (4 + 2 * 3 * 3 + 7)
