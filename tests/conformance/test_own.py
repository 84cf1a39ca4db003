"""A run with components of the user's own, by import path; and what is said where one is not what it should be."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from pydantic import ValidationError

import sparring
from sparring.cli.models import export_command
from sparring.errors import InputError
from sparring.exports.samples import export_samples
from sparring.log_ratios import LogRatios
from sparring.objectives import OBJECTIVES
from sparring.own_code import digest, modules_of, own_class, root
from sparring.run_directory import RunDirectory
from sparring.selfplay.checks.consent import read_config
from sparring.selfplay.components import judge_of, objective_of, opponent_of
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.phases import phases_of
from sparring.selfplay.prepared import prepare
from sparring.shard_files import read_shard
from sparring.shards import samples_of
from sparring.trials import try_loss
from sparring.types import Objective, ObjectiveOutput

PARTS = """
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from sparring.generation.batches import as_sample, batches
from sparring.judges.protocol import Judge, JudgeSettings, Question, Verdict, verdict_of_scores
from sparring.log_ratios import LogRatios
from sparring.types import Objective, ObjectiveOutput, Opponent, OpponentSpec, Regularizer


@dataclass(frozen=True, kw_only=True)
class Weighted(Objective):
    scale: float = 2.0

    requires: ClassVar[frozenset[str]] = frozenset({"generated", "preference"})

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        gain = ratios.require("generated") * (ratios.require("preference") - 0.5)
        return ObjectiveOutput(loss=-self.scale * ratios.mean_over_samples(gain))


@dataclass(frozen=True, kw_only=True)
class Square(Regularizer):
    weight: float

    name: ClassVar[str] = "square"
    requires: ClassVar[frozenset[str]] = frozenset({"generated"})

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        value = ratios.mean_over_samples(ratios.require("generated").square())
        return ObjectiveOutput(loss=self.weight * value, metrics={"regularizer/square": value.detach()})


@dataclass(frozen=True, kw_only=True)
class Latest(Opponent):
    def spec(self, iteration: int) -> OpponentSpec:
        return OpponentSpec(generators=(iteration,), scorers=(iteration,))

    def combine(self, iteration: int, log_probs: Mapping[int, Tensor]) -> Tensor:
        return log_probs[iteration]


@dataclass(frozen=True, kw_only=True)
class Shorter(JudgeSettings):
    by: int = 1

    needs_reference_answer: ClassVar[bool] = False
    may_cost_money: ClassVar[bool] = False

    def start(self, cache: Path) -> Judge:
        return self

    def __call__(self, questions: Sequence[Question]) -> list[Verdict]:
        return [verdict_of_scores([-float(len(text)) for text in question.responses], 0.0) for question in questions]


class Counting:
    # Says the number of the sample, again and again.

    def __init__(self, config, parts):
        self.config, self.parts = config, parts

    @classmethod
    def of(cls, config, parts):
        return cls(config, parts)

    def plan(self, prompts):
        return batches(self.config, prompts)

    def sample(self, batch, *, seed):
        return [self.said(prompt, number, seed) for prompt in batch for number in range(self.config.samples_per_prompt)]

    def said(self, prompt, number, seed):
        ids = [self.config.options["first"] + number] * self.parts.max_new_tokens
        told = {"tokenizer": self.parts.tokenizer, "generator": "counting", "seed": seed}
        return as_sample(prompt, number, ids, stopped=False, **told)
"""

COMPONENTS = {
    "objective": {"name": "own_parts:Weighted", "scale": 3},
    "regularizers": [{"name": "own_parts:Square", "weight": 0.1}],
    "opponent": {"name": "own_parts:Latest"},
    "judge": {"name": "own_parts:Shorter"},
    "generation": {"name": "own_parts:Counting", "first": 10, "samples_per_prompt": 2},
}
NAMES = tuple(f"own_parts:{name}" for name in ("Weighted", "Square", "Latest", "Counting", "Shorter"))


@pytest.fixture(autouse=True)
def fresh_imports() -> Iterator[Callable[[], None]]:
    """Python as a new process has it; called, it forgets what was imported since."""
    path, modules = list(sys.path), set(sys.modules)

    def forget() -> None:
        sys.path[:] = path
        for name in [name for name in sys.modules if name not in modules and name.startswith("own_")]:
            del sys.modules[name]

    yield forget
    forget()


def written(folder: Path, model: Path, **sections: Any) -> Path:
    """A configuration with the module beside it, and its path."""
    (folder / "own_parts.py").write_text(PARTS, encoding="utf-8")
    config = {
        "output": str(folder / "runs" / "run"),
        "model": {"name": str(model), "device": "cpu"},
        "data": {"source": "arithmetic", "limit": 4, "held_out": 2, "max_response_tokens": 12},
        "generation": {"samples_per_prompt": 2},
        "iterations": 1,
        "reuse": False,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config | sections), encoding="utf-8")
    return path


def test_a_run_of_ones_own_is_played_resumed_with_consent_and_refused_once_its_code_changed(
    tiny_folder: Path, tmp_path: Path, fresh_imports: Callable[[], None]
) -> None:
    config = SelfPlayConfig.from_yaml(written(tmp_path, tiny_folder, **COMPONENTS))
    assert config.own_code == NAMES
    result = sparring.run(config)
    directory = RunDirectory(result.directory)
    manifest = json.loads(directory.manifest.read_text())
    assert manifest["own_code"] == {"own_parts": {"sha256": digest("own_parts"), "folder": "../.."}}
    assert manifest["objective"] == {"name": NAMES[0], "settings": {"scale": 3}, "stability": None}
    steps = [json.loads(line) for line in (directory.path / "metrics.jsonl").read_text().splitlines()]
    assert any("regularizer/square" in step for step in steps)
    (shard,) = samples_of(directory.iteration(0))
    assert {(row["sample"], row["response_ids"][0], row["generator"]) for row in read_shard(shard)} == {
        (0, 10, "counting"),
        (1, 11, "counting"),
    }

    # As a process would that starts anew, elsewhere, on a run that may be another person's.
    fresh_imports()
    table = tmp_path / "samples.parquet"
    assert sparring.resume(directory.path) == result
    assert "own_parts" not in sys.modules
    ended = directory.result.read_bytes()
    directory.result.unlink()
    with pytest.raises(InputError, match="this run plays with Python code that it names") as caught:
        sparring.resume(directory.path)
    assert all(name in caught.value.problem for name in NAMES)
    directory.result.write_bytes(ended)
    # The weights and the samples need none of it.
    assert export_samples(directory.path, table) > 0
    export_command(directory.path, tmp_path / "whole", "iterations/000", trust_remote_code=False, as_json=True)
    told = yaml.safe_load((tmp_path / "whole" / "README.md").read_text().split("```yaml")[1].split("```")[0])
    assert told["objective"] == {"name": NAMES[0], "scale": 3}
    assert told["regularizers"] == [{"name": NAMES[1], "weight": 0.1}]
    assert told["judge"] == {"name": NAMES[4], "expert_plays": False, "include_self": False}
    assert "own_parts" not in sys.modules
    assert sparring.resume(directory.path, trust_remote_code=True) == result

    fresh_imports()
    (tmp_path / "own_parts.py").write_text(PARTS.replace("- 0.5", "- 0.4"), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        sparring.resume(directory.path, trust_remote_code=True)
    assert caught.value.problem.startswith("the code of the module 'own_parts' changed after the run started")
    assert caught.value.where == str(tmp_path / "own_parts.py")
    assert "own_parts" not in sys.modules

    (tmp_path / "own_parts.py").unlink()
    with pytest.raises(InputError, match="the source of the module 'own_parts' is not to be found"):
        sparring.resume(directory.path, trust_remote_code=True)
    # What needs none of the code goes on.
    assert read_config(directory, trust_remote_code=True).own_code == NAMES


GOOD = "@dataclass(frozen=True, kw_only=True)\nclass Mine(Objective):\n    beta: float = 1.0\n"
READS = "    requires: ClassVar = frozenset({'expert'})\n"
CALL = "    def __call__(self, ratios):\n        return ObjectiveOutput(loss=self.beta * ratios.require('expert'))\n"
WHOLE = GOOD + READS + CALL

# What is in the module, or None for no module; what the configuration says; what is answered.
SAID: dict[str, tuple[str | None, dict[str, Any], list[str]]] = {
    "module not there": (
        None,
        {},
        ["objective.name: objective 'own_code:Mine': there is no module 'own_code'", "fix: put own_code.py beside the"],
    ),
    "package not there": (
        WHOLE,
        {"name": "own_package.deep:Mine"},
        ["there is no module 'own_package.deep'", "fix: put own_package/deep.py beside the configuration"],
    ),
    "path instead of a module": (
        WHOLE,
        {"name": "own_code.py:"},
        ["'own_code.py:' is no import path", "fix: write package.module:Class"],
    ),
    "attribute not there": (
        WHOLE,
        {"name": "own_code:Mien"},
        ["the module 'own_code' has no 'Mien'", "did you mean 'Mine'?"],
    ),
    "module that fails": (
        "1 / 0",
        {},
        ["cannot be imported (ZeroDivisionError: division by zero)", "`import own_code`"],
    ),
    "module that is no Python": ("def", {}, ["cannot be imported (SyntaxError: ", "mend the module"]),
    "module that misses another": (
        "import own_other",
        {},
        ["objective 'own_code:Mine' cannot be imported (ModuleNotFoundError: No module named 'own_other')"],
    ),
    "function": (
        "def Mine(ratios): ...",
        {},
        [
            "objective 'own_code:Mine' is a function, and no class",
            "fix: write a class that derives from sparring.types",
        ],
    ),
    "no dataclass": (WHOLE.partition("\n")[2], {}, ["objective 'own_code:Mine' is not a dataclass"]),
    "no dataclass, but its base is": (
        "from sparring.objectives.spin import Spin\nclass Mine(Spin): ...\n",
        {},
        ["objective 'own_code:Mine' is not a dataclass, only a base of it is", "above class Mine"],
    ),
    "dataclass that can be changed": (
        WHOLE.replace("frozen=True, ", "").replace("(Objective)", ""),
        {},
        ["can be changed, or whose options have places", "fix: write @dataclass(frozen=True, kw_only=True)"],
    ),
    "options by place": (WHOLE.replace(", kw_only=True", ""), {}, ["whose options have places, not names"]),
    "missing method": (
        GOOD + READS,
        {},
        ["objective 'own_code:Mine' has no method '__call__'", "sparring.types.Objective"],
    ),
    "missing attribute": (GOOD + CALL, {}, ["objective 'own_code:Mine' has no attribute 'requires'"]),
    "not derived": (
        WHOLE.replace("(Objective)", ""),
        {},
        [
            "has no attribute 'compares_any_pair' and no attribute 'stability' and no attribute 'couples_prompts' and "
            "no method 'samples_read' and no attribute 'reach'",
            "fix: derive it from sparring.types.Objective",
        ],
    ),
    "attribute in place of a method": (GOOD + READS + "    __call__ = 3\n", {}, ["has no method '__call__'"]),
    "unknown option": (
        WHOLE,
        {"betta": 1},
        ["objective 'own_code:Mine' has no option 'betta'", "did you mean 'beta'?"],
    ),
    "option of the wrong type": (
        WHOLE,
        {"beta": "high"},
        ["objective 'own_code:Mine', beta: must be a number, got 'high'"],
    ),
    "file in a module's place": (
        WHOLE,
        {"name": "own_code.py:Mine"},
        ["there is no module 'own_code.py'", "fix: write own_code:Mine: a module is named without the .py of its file"],
    ),
    "option that it rejects": (
        WHOLE + "    def __post_init__(self):\n        raise ValueError('beta is odd')\n",
        {},
        ["objective 'own_code:Mine': beta is odd"],
    ),
    "value that it rejects": (
        WHOLE + "    def __post_init__(self):\n        raise ValueError('the step, beta, is odd')\n",
        {"beta": 3},
        ["objective 'own_code:Mine', beta: the step, beta, is odd"],
    ),
    "option that it fails on": (
        WHOLE + "    def __post_init__(self):\n        self.gamma = 1\n",
        {},
        ["objective 'own_code:Mine': FrozenInstanceError: cannot assign to field 'gamma'"],
    ),
    "unknown field": (
        WHOLE.replace("{'expert'}", "{'exprt'}"),
        {},
        ["it requires 'exprt', which is no field of LogRatios", "did you mean 'expert'?"],
    ),
    "no set of fields": (
        WHOLE.replace("frozenset({'expert'})", "'expert'"),
        {},
        ["its requires is 'expert', not a set"],
    ),
    "loss that fails": (
        WHOLE.replace("require('expert')", "require('generated')"),
        {},
        [
            "it fails on made-up numbers (MissingFieldError: LogRatios.generated [B, K] is needed here",
            "fix: a field that `requires` leaves out is None: add it there",
        ],
    ),
    "no output": (WHOLE.replace("return", "_ ="), {}, ["it returns NoneType, not sparring.types.ObjectiveOutput"]),
    "loss of another shape": (
        WHOLE.replace("require('expert')", "require('expert').mean()"),
        {},
        ["its loss must be a tensor [B], one number a prompt; for 2 prompts it is []", "fix: keep one value a prompt"],
    ),
    "loss of each sample": (
        WHOLE.replace("{'expert'}", "{'generated'}").replace("require('expert')", "require('generated')"),
        {},
        ["for 2 prompts it is [2, 1]", "fix: average over the samples, with ratios.mean_over_samples"],
    ),
    "field that is read and not required": (
        WHOLE.replace("require('expert')", "require('expert') + ratios.reference_expert"),
        {},
        ["(TypeError: unsupported operand", "fix: a field that `requires` leaves out is None: add it there"],
    ),
    "loss of numpy": (
        WHOLE.replace("require('expert')", "require('expert').detach().numpy()"),
        {},
        ["for 2 prompts it is ndarray", "fix: compute it with torch: a number, or an array of numpy, has no gradient"],
    ),
    "loss that is none where an iteration starts": (
        WHOLE.replace("require('expert')", "require('expert').log()"),
        {},
        ["its loss or its gradient is not finite where all log ratios are 0, as every iteration starts\n"],
    ),
    "gradient that is none where an iteration starts": (
        WHOLE.replace("require('expert')", "require('expert').square().sqrt()"),
        {},
        ["its loss or its gradient is not finite where all log ratios are 0", "fix: keep roots, logarithms and"],
    ),
    "loss without a gradient": (WHOLE.replace("'))", "').detach())"), {}, ["its loss has no gradient"]),
}
HEADER = """
from dataclasses import dataclass
from typing import ClassVar
from sparring.types import Objective, ObjectiveOutput

"""


@pytest.mark.parametrize("case", SAID)
def test_what_is_said_of_one_that_is_not_what_it_should_be(tmp_path: Path, case: str) -> None:
    text, changes, expected = SAID[case]
    if text is not None:
        (tmp_path / "own_code.py").write_text(HEADER + text, encoding="utf-8")
    path = tmp_path / "config.yaml"
    section = {"name": "own_code:Mine"} | changes
    path.write_text(yaml.safe_dump({"data": {"source": "arithmetic", "limit": 8}, "objective": section}))
    config = SelfPlayConfig.from_yaml(path)
    with pytest.raises(InputError) as caught:
        phases_of(config)
    missing = [each for each in expected if each not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


@dataclass(frozen=True, kw_only=True)
class Logit(Objective):
    """The margin of two responses towards the logit of the preference between them, which a verifier makes infinite."""

    requires: ClassVar[frozenset[str]] = frozenset({"generated", "pairwise"})

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        generated, pairwise = ratios.require("generated"), ratios.require("pairwise")
        return ObjectiveOutput(loss=(generated[:, 0] - generated[:, 1] - pairwise[:, 0, 1].logit()).square())


def test_a_loss_that_a_certain_preference_breaks_is_told_where_a_judge_may_give_one() -> None:
    path = f"{__name__}:Logit"
    try_loss("objective", path, Logit(), 2)
    message = "every iteration starts, and a preference is 0, as a judge may give it\n  fix: keep roots, logarithms"
    with pytest.raises(InputError, match=re.escape(message)):
        try_loss("objective", path, Logit(), 2, preferences=(0.5, 0.0, 1.0))


def test_what_is_said_of_a_judge(tmp_path: Path) -> None:
    header = "from dataclasses import dataclass\nfrom sparring.judges.protocol import JudgeSettings\n"
    text = header + "@dataclass(frozen=True, kw_only=True)\nclass Mine(JudgeSettings): ...\n"
    (tmp_path / "own_judge.py").write_text(text, encoding="utf-8")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"data": {"source": "arithmetic", "limit": 8}, "judge": {"name": "own_judge:Mine"}}))
    with pytest.raises(InputError) as caught:
        judge_of(SelfPlayConfig.from_yaml(path))
    assert "judge 'own_judge:Mine' has no " in caught.value.problem
    assert {"method 'start'", "attribute 'needs_reference_answer'"} <= set(
        caught.value.problem.split(" has no ")[1].split(" and no ")
    )


# What its function returns for some questions; what is answered, on a line of its own.
VERDICTS: dict[str, tuple[str, list[str]]] = {
    "fails": ("questions[7]", ["it fails on responses of the data (IndexError", "(own_judge.py, line 13)"]),
    "no list": ("None", ["for 2 questions it returns None", "(own_judge.py, line 6)", "fix: return one "]),
    "one for all": ("[table((0.5, 1.0), (0.0, 0.5))]", ["for 2 questions it returns 1 verdict\n"]),
    "scores": ("[0.5 for _ in questions]", ["its verdict on 2 responses is 0.5"]),
    "another size": ("[table((0.5,)) for _ in questions]", ["its verdict on 2 responses has 1 row\n"]),
    "no square": ("[table((0.5, 1.0)) for _ in questions]", ["(ValueError: pairwise must be [n][n]", "line 4)"]),
    "no number": ("[table((0.5, float('nan')), (0.0, 0.5)) for _ in questions]", ["[0][1] is nan", "line 4)"]),
    "out of range": ("[table((0.5, 2.0), (-1.0, 0.5)) for _ in questions]", ["pairwise[0][1] is 2.0", "line 4)"]),
    "not one": ("[table((0.5, 0.9), (0.9, 0.5)) for _ in questions]", ["both together 1", "line 4)"]),
}
JUDGE = """
from dataclasses import dataclass
from sparring.judges.protocol import JudgeSettings, Verdict
def table(*rows): return Verdict(pairwise=rows)

@dataclass(frozen=True, kw_only=True)
class Mine(JudgeSettings):
    needs_reference_answer = False
    may_cost_money = {paid}
    def start(self, cache):
        return self
    def __call__(self, questions):
        return {returns}
"""


@pytest.mark.parametrize("section", ["judge", "evaluation.judge"])
@pytest.mark.parametrize("case", VERDICTS)
def test_a_judge_is_asked_once_before_a_model_is_loaded(
    tiny_folder: Path, tmp_path: Path, case: str, section: str
) -> None:
    returns, expected = VERDICTS[case]
    named = {"name": "own_judge:Mine"}
    judges = {"judge": named} if section == "judge" else {"judge": {"name": "verifier"}, "evaluation": {"judge": named}}
    path = written(tmp_path, tiny_folder, objective={"name": "sppo"}, **judges)
    (tmp_path / "own_judge.py").write_text(JUDGE.format(paid=False, returns=returns), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        prepare(SelfPlayConfig.from_yaml(path))
    assert str(caught.value.where).startswith(f"{section} 'own_judge:Mine' (own_judge.py, line ")
    missing = [each for each in expected if each not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


def test_a_judge_that_may_cost_money_is_not_tried(tiny_folder: Path, tmp_path: Path) -> None:
    path = written(tmp_path, tiny_folder, objective={"name": "sppo"}, judge={"name": "own_judge:Mine"})
    (tmp_path / "own_judge.py").write_text(JUDGE.format(paid=True, returns="questions[7]"), encoding="utf-8")
    prepare(SelfPlayConfig.from_yaml(path))


OPPONENT = """
@dataclass(frozen=True, kw_only=True)
class Mine(Opponent):
    def spec(self, iteration):
        return {spec}
    def combine(self, iteration, log_probs):
        return {combine}
"""


@pytest.mark.parametrize(
    ("spec", "combine", "expected"),
    [
        ("iteration", "0", "its spec is int, not sparring.types.OpponentSpec"),
        ("OpponentSpec(generators=(7,), scorers=(0,))", "log_probs[0]", "at iteration 0 its generators are (7,)"),
        ("OpponentSpec(generators=(), scorers=(0,))", "log_probs[0]", "name at least one each, among 0 to 0"),
        ("OpponentSpec(generators=(0,), scorers=(0,))", "log_probs[5]", "it fails on made-up numbers (KeyError: 5)"),
        ("OpponentSpec(generators=(0,), scorers=(0,))", "log_probs[0].sum()", "returns another shape than that"),
    ],
)
def test_what_is_said_of_an_opponent(tmp_path: Path, spec: str, combine: str, expected: str) -> None:
    header = "from dataclasses import dataclass\nfrom sparring.types import Opponent, OpponentSpec\n"
    text = header + OPPONENT.format(spec=spec, combine=combine)
    (tmp_path / "own_opponent.py").write_text(text, encoding="utf-8")
    path = tmp_path / "config.yaml"
    section = {"name": "own_opponent:Mine"}
    path.write_text(yaml.safe_dump({"data": {"source": "arithmetic", "limit": 8}, "opponent": section}))
    with pytest.raises(InputError) as caught:
        phases_of(SelfPlayConfig.from_yaml(path))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("sections", "build", "where"),
    [
        ({"objective": {"name": "own_no:X"}}, objective_of, "objective.name"),
        ({"regularizers": [{"name": "own_no:X"}]}, objective_of, "regularizer.name"),
        ({"opponent": {"name": "own_no:X"}}, opponent_of, "opponent.name"),
        ({"judge": {"name": "own_no:X"}}, judge_of, "judge.name"),
    ],
    ids=["objective", "regularizer", "opponent", "judge"],
)
def test_every_kind_goes_through_the_same_door(
    sections: dict[str, Any], build: Callable[[SelfPlayConfig], object], where: str
) -> None:
    config = SelfPlayConfig.from_mapping({"data": {"source": "arithmetic", "limit": 8}} | sections)
    with pytest.raises(InputError, match="there is no module 'own_no'") as caught:
        build(config)
    assert caught.value.where == where


def test_a_package_is_known_by_the_files_in_which_the_class_and_its_bases_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").write_text("from own_package.deep import Mine\n", encoding="utf-8")
    (package / "deep.py").write_text(HEADER + "from own_base import Base\n" + WHOLE.replace("(Obj", "(Base, Obj"))
    (tmp_path / "own_base.py").write_text("class Base: ...\n", encoding="utf-8")
    # Where they are, and what is in them, is known before any of them runs.
    assert [root(module) for module in ("own_package", "own_package.deep", "own_base")] == [tmp_path] * 3
    before = digest("own_package.deep")
    assert not any(name.startswith("own_") for name in sys.modules)
    own_class("objective", "own_package:Mine", Objective)
    assert modules_of("own_package:Mine") == ["own_package", "own_package.deep", "own_base"]
    (package / "deep.py").write_text("", encoding="utf-8")
    assert digest("own_package.deep") != before


def test_reading_a_run_imports_nothing_and_changes_no_path(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    path = written(tmp_path, tiny_folder, **COMPONENTS)
    assert SelfPlayConfig.of_run(path).own_code == NAMES
    assert sys.path == before
    SelfPlayConfig.from_yaml(path)
    assert sys.path == [*before, str(tmp_path.resolve())]
    assert "own_parts" not in sys.modules


@pytest.mark.parametrize(
    "named", [{"objective": {"name": "own_parts:Weighted"}}, {"judge": {"name": "verifier", "rule": "own_parts:right"}}]
)
def test_the_configuration_of_a_run_is_played_again_from_the_folder_of_its_modules(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, named: dict[str, Any]
) -> None:
    path = written(tmp_path, tiny_folder, **named)
    (tmp_path / "run").mkdir()
    again = path.rename(tmp_path / "run" / path.name)
    monkeypatch.chdir(tmp_path)
    config = SelfPlayConfig.from_yaml(again, ["output=again"])
    assert [str(tmp_path / "run"), str(tmp_path)] == sys.path[-2:]
    assert config.own_rules or objective_of(config).scale == 2.0


def test_where_nothing_of_ones_own_is_named_the_working_directory_is_not_imported_from(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, tiny_folder)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    SelfPlayConfig.from_yaml(path)
    assert str(tmp_path / "elsewhere") not in sys.path


def test_an_object_in_a_configuration_is_told_how_it_is_written() -> None:
    data = {"source": "arithmetic", "limit": 8}
    for given, settings in (
        (OBJECTIVES["spin"](beta=0.5), '{"name": "spin", "beta": 0.5}'),
        (Outside(beta=2.0), f'{{"name": "{__name__}:Outside", "beta": 2.0}}'),
    ):
        said = f"is an object, and a configuration names it; write {settings}"
        with pytest.raises(InputError, match=re.escape(f"objective: {said}")):
            SelfPlayConfig.from_mapping({"data": data, "objective": given})
        with pytest.raises(ValidationError, match=re.escape(said)):
            SelfPlayConfig(data=data, objective=given)


@dataclass(frozen=True, kw_only=True)
class Outside:
    """A component that is in no registry."""

    beta: float = 1.0


RULE = "def right(response, expert):\n    return {returns}\n"


@pytest.mark.parametrize(
    ("returns", "said"),
    [
        ("len(response) < len(expert)", None),
        ("response[9999]", "it fails on responses of the data (IndexError: string index out of range)"),
        ("'wrong'", "must return a bool, a number or None, got 'wrong'"),
        ("'0.5'", "must return a bool, a number or None, got '0.5'"),
        ("[9]", "must return a bool, a number or None, got [9]"),
    ],
)
@pytest.mark.parametrize("judge", ["verifier", "consensus"])
def test_a_rule_beside_the_configuration_is_called_once_before_a_model_is_loaded(
    tiny_folder: Path, tmp_path: Path, returns: str, said: str | None, judge: str
) -> None:
    (tmp_path / "own_rules.py").write_text(RULE.format(returns=returns), encoding="utf-8")
    judged = {"objective": {"name": "sppo"}, "judge": {"name": judge, "rule": "own_rules:right"}}
    config = SelfPlayConfig.from_yaml(written(tmp_path, tiny_folder, **judged))
    if said is not None:
        with pytest.raises(InputError) as caught:
            prepare(config)
        assert said in caught.value.problem
        assert "judge 'own_rules:right' (own_rules.py, line " in str(caught.value.where)
        return
    sparring.run(config)
    # A changed rule is another judge.
    directory = RunDirectory(config.output)
    (tmp_path / "own_rules.py").write_text(RULE.format(returns="True"), encoding="utf-8")
    directory.result.unlink()
    with pytest.raises(InputError, match="this run judges with the Python function 'own_rules:right'"):
        sparring.resume(directory.path)
    with pytest.raises(InputError, match="the code of the module 'own_rules' changed after the run started"):
        sparring.resume(directory.path, trust_remote_code=True)
