"""The conclusion: what is said, and from which numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reports.whole_run import estimate, rate, write_run
from sparring.digests import DamagedError
from sparring.files import read_json, write_json
from sparring.metrics import Estimate
from sparring.reports.conclusion import Conclusion, conclude
from sparring.reports.gain import gain
from sparring.reports.samples import Answers
from sparring.reports.summary import PolicyRow, Summary, summarize
from sparring.run_directory import RunDirectory


def judged(directory: RunDirectory) -> Conclusion:
    summary = summarize(directory.path)
    return conclude(summary, summary.answers())


def test_the_gain_is_of_differences_on_the_same_prompts(tmp_path: Path) -> None:
    """Base 0 0 0 1, warm-up 1 0 0 1, the best 1 1 1 1: differences 1 1 1 0 and 0 1 1 0."""
    found = judged(write_run(tmp_path))
    over_base, over_start = found.gains
    # √((3 + 1) − 3²/6)/6 and √((2 + 1) − 2²/6)/6, by Agresti and Min.
    assert (over_base.value, over_base.standard_error) == pytest.approx((0.75, math.sqrt(2.5) / 6))
    assert (over_start.value, over_start.standard_error) == pytest.approx((0.5, math.sqrt(7 / 3) / 6))
    assert found.headline == (
        "No gain of self-play can be told from chance. The highest value is that of iteration 1: greedy accuracy "
        "1.000 [0.51, 1.00], +0.750 ± 0.264 over the base model."
    )
    assert found.sentences == [
        "Of that, self-play gained +0.500 ± 0.255 over the warm-up, from which it started.",
        "It was played to its end.",
    ]
    assert over_base.paired
    assert not any("chance" in warning for warning in found.warnings)
    assert any("Only 4 prompts" in warning for warning in found.warnings)


def test_the_likelihood_is_paired_a_token(tmp_path: Path) -> None:
    summary = summarize(write_run(tmp_path).path)
    answers = summary.answers()
    found = gain(summary.rows[0], summary.rows[3], "log_likelihood/token", answers)
    # From −4 to −1 nats, on responses of 3, 3, 10 and 5 tokens.
    assert found.value == pytest.approx((1 + 1 + 0.3 + 0.6) / 4)


def test_without_the_prompts_own_values_the_errors_are_added() -> None:
    before = PolicyRow("base", "base", {"m": {"mean": 0.5, "standard_error": 0.3, "n": 4}})
    after = PolicyRow("iteration 0", "iterations/000", {"m": {"mean": 0.25, "standard_error": 0.4, "n": 4}})
    found = gain(before, after, "m", None)
    assert (found.value, found.standard_error, found.paired) == (-0.25, pytest.approx(0.5), False)
    assert str(found) == "−0.250 ± 0.500 over the base model"
    assert found.is_noise


def test_a_gain_that_is_nothing_on_every_prompt_is_not_certain(tmp_path: Path) -> None:
    """Agresti and Min: 4 prompts that stayed wrong, and two more with ½ better and ½ worse: √(1)/6."""
    summary = summarize(write_run(tmp_path).path)
    row = summary.rows[0]
    found = gain(row, replace(row, name="warm-up"), "accuracy/greedy", alike(summary))
    assert (found.value, found.standard_error, found.paired) == (0.0, pytest.approx(1 / 6), True)


def alike(summary: Summary) -> Answers:
    """Answers of a warm-up that is right where the base model is."""
    answers = summary.answers()
    assert answers is not None
    chosen = np.flatnonzero(answers.policy == 0)
    twice = np.concatenate([chosen, chosen])
    return Answers(["base", "warm-up"], np.repeat([0, 1], len(chosen)), answers.table.take(twice))


def test_rates_of_which_no_prompt_is_known_keep_their_uncertainty() -> None:
    before, after = (
        PolicyRow(name, name, {"m": Estimate.of_rate([right] * 8).to_json()})
        for name, right in (("a", 0.0), ("b", 1.0))
    )
    found = gain(before, after, "m", None)
    # Each interval is 0.3244 wide.
    assert (found.value, found.standard_error) == (1.0, pytest.approx(math.sqrt(2) * 0.3244 / (2 * 1.96), abs=1e-4))


def test_a_training_loss_that_rose_is_told(tmp_path: Path) -> None:
    """Means of four steps: 0.125 and 0.325, with errors of 0.025/√3 each; and the same the other way round."""
    directory = write_run(tmp_path, objective={"name": "sppo", "eta": 1.0})
    rising = [0.1, 0.15, 0.1, 0.15, 0.2, 0.2, 0.2, 0.2, 0.3, 0.35, 0.3, 0.35]
    for iteration, losses in enumerate((rising, rising[::-1])):
        for step, loss in enumerate(losses, 1):
            directory.log({"stage": "train", "iteration": iteration, "step": step, "loss": loss})
    (told,) = [warning for warning in judged(directory).warnings if "loss rose" in warning]
    assert told.startswith(
        "Iteration 0: the training loss rose, from 0.125 over the first third of its steps to 0.325 over the last"
    )


def test_a_loss_that_is_noise_is_not_said_to_rise(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    for step, loss in enumerate([0.1, 0.9, 0.2, 0.8, *[0.5] * 4, 0.3, 0.9, 0.4, 0.8], 1):
        directory.log({"stage": "train", "iteration": 0, "step": step, "loss": loss})
    assert not any("loss rose" in warning for warning in judged(directory).warnings)


def test_a_check_that_warned_more_than_once_is_told_once(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    item = {"check": "entropy", "status": "warn", "value": 2.0, "threshold": 1.0}
    texts = [item | {"iteration": number, "text": f"{number} is gone"} for number in (0, 1)]
    write_json(directory.stability, {"findings": texts})
    told = [text for text in judged(directory).warnings if "gone" in text]
    assert told == ["Iteration 1 (and 1 before it): 1 is gone"]


def test_policies_that_did_as_well_are_a_list_in_words(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    stages = (directory.base, directory.warmup, directory.iteration(0), directory.iteration(1))
    for number, stage in enumerate(stages):
        likelihood = estimate([-9.0 + number, -9.0 + number])
        write_json(stage.evaluation, {"accuracy/greedy": rate([0.0] * 4), "log_likelihood/token": likelihood})
    (told,) = (each for each in judged(directory).sentences if "did as well" in each)
    assert told.startswith("base, warm-up and iteration 0 did as well, but iteration 1")


def test_where_several_are_equally_good_it_says_what_decided(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    for number, likelihood in ((0, [-2.0, -4.0]), (1, [-1.0, -3.0])):
        stage = directory.iteration(number)
        write_json(stage.evaluation, {"accuracy/greedy": rate([0.0] * 4), "log_likelihood/token": estimate(likelihood)})
    assert judged(directory).sentences[1:] == [
        "iteration 0 did as well, but iteration 1 finds the experts' responses likeliest: −2.000 ± 1.000 nats a token.",
        "It was played to its end.",
    ]


def test_where_equals_have_no_likelihood_the_earliest_is_said_to_be_taken(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    result = read_json(directory.result)
    write_json(directory.result, result | {"best": "iterations/000"})
    for number in (0, 1):
        write_json(directory.iteration(number).evaluation, {"accuracy/greedy": rate([1.0] * 4)})
    (told,) = (each for each in judged(directory).sentences if "did as well" in each)
    assert told == "iteration 1 did as well; the earliest of equal policies is taken, iteration 0."


def test_more_fine_tuning_that_did_as_well_is_told_and_compared_with_the_best(tmp_path: Path) -> None:
    directory = write_run(tmp_path, verified=False)
    stages = ((directory.iteration(0), -4.0), (directory.iteration(1), -2.0), (directory.control(0), -1.0))
    for stage, likelihood in stages:
        stage.path.mkdir(parents=True, exist_ok=True)
        stage.take_inventory()
        found = {"accuracy/greedy": rate([1.0] * 4), "log_likelihood/token": estimate([likelihood] * 2)}
        write_json(stage.evaluation, found)
    summary = summarize(directory.path)
    best = summary.best_of("iteration", "accuracy/greedy")
    # As in the run, though an earlier one has as many right.
    assert best is not None
    assert best.name == "iteration 1"
    told = [each for each in conclude(summary, None).sentences if "did as well" in each]
    assert told == [
        "iteration 0 did as well, but iteration 1 finds the experts' responses likeliest: −2.000 ± 0.000 nats a token.",
        f"{summary.rows[-1].name} did as well; of equal policies that of play is taken.",
    ]


def test_a_run_that_has_not_ended_says_how_far_it_is(tmp_path: Path) -> None:
    found = judged(write_run(tmp_path, ended=False, iterations=1))
    assert found.headline.startswith(
        "This run has not ended: 1 of 2 iterations are measured. Its last message came from the stage evaluate"
    )
    assert found.gains == []


def test_warnings_come_from_what_was_measured(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    stage = directory.iteration(1)
    values = read_json(stage.evaluation)
    more = {"finished/sampled": [0.5] * 4, "rewards/past_bound": [0.6] * 4, "divergence_estimate": [-1.0] * 4}
    write_json(stage.evaluation, values | {name: estimate(each) for name, each in more.items()})
    write_json(
        directory.stability,
        {
            "findings": [
                {
                    "check": "oscillation",
                    "iteration": 1,
                    "status": "warn",
                    "value": 2.0,
                    "threshold": 1.0,
                    "text": "it swings",
                },
                {
                    "check": "length",
                    "iteration": 1,
                    "status": "ok",
                    "value": 1.0,
                    "threshold": 2.0,
                    "text": "as it should",
                },
            ]
        },
    )
    text = "\n".join(judged(directory).warnings)
    for part in (
        "50% of its sampled answers are cut",
        "60% of the rewards lie past the bound",
        "below zero",
        "Iteration 1: it swings",
    ):
        assert part in text
    assert "as it should" not in text


def test_policies_whose_answers_were_all_cut_are_named(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    values = read_json(directory.base.evaluation) | {"finished/sampled": rate([0.0] * 4)}
    write_json(directory.base.evaluation, values)
    summary = summarize(directory.path)
    summary = replace(summary, config=summary.config | {"data": {"max_response_tokens": 28}})
    told = [text for text in conclude(summary, None).warnings if "cut" in text]
    assert told == ["Every sampled answer of base was cut at 28 tokens, and may look worse for it."]


def test_a_policy_that_was_chosen_by_the_judge(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    stage = directory.iteration(0)
    write_json(stage.evaluation, read_json(stage.evaluation) | {"win_rate/base": estimate([0.5, 1.0, 1.0, 0.5])})
    write_json(directory.result, read_json(directory.result) | {"metric": "win_rate/base", "best": "iterations/000"})
    assert judged(directory).headline == ("The best policy is iteration 0: win rate over the base model 0.750 ± 0.144.")
    # No policy won, and the base model was not asked about.
    write_json(directory.result, read_json(directory.result) | {"best": "base"})
    assert judged(directory).headline == (
        "No iteration of self-play is better than what it started from. The best policy is the base model itself."
    )


def test_that_the_base_model_shares_half_of_the_preferences_is_no_finding(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    for stage, shared in ((directory.base, [0.5] * 4), (directory.iteration(0), [1.0] * 4)):
        write_json(stage.evaluation, read_json(stage.evaluation) | {"preference/accuracy": estimate(shared)})
    chosen = {"metric": "preference/accuracy", "best": "iterations/000"}
    write_json(directory.result, read_json(directory.result) | chosen)
    assert judged(directory).headline == (
        "The best policy is iteration 0: share of the data's preferences 1.000 ± 0.000, +0.500 ± 0.000 over the base "
        "model, which shares half by definition."
    )


def test_a_gain_over_half_by_definition_has_the_error_of_the_policy_alone(tmp_path: Path) -> None:
    """Of 12 shared preferences of 12 Wilson's interval is [0.757, 1]: 0.242 wide, and an error of 0.062."""
    directory = write_run(tmp_path)
    for stage, shared in ((directory.base, [0.5] * 12), (directory.iteration(0), [1.0] * 12)):
        rate = Estimate.of_rate(shared).to_json()
        write_json(stage.evaluation, read_json(stage.evaluation) | {"preference/accuracy": rate})
    chosen = {"metric": "preference/accuracy", "best": "iterations/000"}
    write_json(directory.result, read_json(directory.result) | chosen)
    assert "+0.500 ± 0.062 over the base model, which shares half" in judged(directory).headline


def test_an_iteration_in_which_every_comparison_tied_is_said(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    directory.log({"stage": "judge", "iteration": 0, "judge/decided": 3})
    directory.log({"stage": "judge", "iteration": 1, "judge/decided": 0})
    told = [text for text in judged(directory).warnings if "nothing to learn" in text]
    assert told == ["Iteration 1: the judge preferred no response to another, so there was nothing to learn."]


@pytest.mark.parametrize(("skipped", "said"), [(1, "1 row of the data was left out"), (2, "2 rows of the data were ")])
def test_rows_that_were_left_out_are_counted(tmp_path: Path, skipped: int, said: str) -> None:
    directory = write_run(tmp_path)
    manifest = read_json(directory.manifest)
    manifest["data"]["skipped"] = [["rows.jsonl, line 1", "is empty"]] * skipped
    write_json(directory.manifest, manifest)
    assert any(text.startswith(said) for text in judged(directory).warnings)


def test_a_best_policy_before_self_play_is_named_as_such(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    write_json(directory.result, read_json(directory.result) | {"best": "warmup"})
    found = judged(directory)
    assert "the warm-up, before any self-play" in found.headline
    assert found.headline.startswith("No iteration of self-play is better than what it started from. The best")
    assert not any("better than" in warning for warning in found.warnings)


def test_what_play_lost_is_told_with_its_interval_and_what_may_be_why(tmp_path: Path) -> None:
    """Iteration 1 made the best: of base 0 0 0 1, warm-up 1 0 0 1 and iterations 0 and 1 the first are below it."""
    directory = write_run(tmp_path)
    write_json(directory.result, read_json(directory.result) | {"best": "warmup"})
    right = {
        directory.warmup: [1.0] * 4,
        directory.iteration(0): [0.0] * 4,
        directory.iteration(1): [1.0, 0.0, 0.0, 0.0],
    }
    for stage, values in right.items():
        write_json(stage.evaluation, {"accuracy/greedy": rate(values)})
    summary = summarize(directory.path)
    assert (
        conclude(summary, None)
        .sentences[0]
        .startswith("The best of them, iteration 1, is 0.750 below the warm-up (95 % interval of the difference −1.")
    )
    directory.log({"stage": "judge", "iteration": 0, "judge/decided": 24})
    directory.log({"stage": "warmup", "step": 0, "epoch": 0.0, "eval_log_likelihood/token": -3.0})
    directory.log({"stage": "warmup", "step": 3, "epoch": 1.0, "eval_log_likelihood/token": -2.0})
    found = conclude(summarize(directory.path), None).sentences
    assert found[1:3] == [
        "Play had little to learn from: the judge preferred some response to another on 24 prompts.",
        "The warm-up ended while the experts of its validation prompts still grew likelier: it may be too short.",
    ]


def unwatched(directory: RunDirectory, reason: str, *, stopped_early: bool = False) -> None:
    """A run whose result names no metric."""
    told = {"metric": None, "reason": reason, "stopped_early": stopped_early}
    write_json(directory.result, read_json(directory.result) | told)


def test_nothing_held_out_is_said(tmp_path: Path) -> None:
    directory = write_run(tmp_path, verified=False)
    for stage in (directory.base, directory.warmup, directory.iteration(0), directory.iteration(1)):
        write_json(stage.evaluation, {})
    unwatched(directory, "no expert response is held out: nothing was watched")
    found = judged(directory)
    assert "Nothing was held out" in found.headline
    assert found.sentences == ["It was played to its end."]


def test_held_out_prompts_without_expert_responses_are_told_from_none(tmp_path: Path) -> None:
    directory = write_run(tmp_path, verified=False)
    unwatched(directory, "no expert response is held out: nothing was watched")
    assert judged(directory).headline == (
        "This run has ended. The held-out prompts have no expert response, so nothing says which policy is the best."
    )
    won = {"mean": 0.625, "standard_error": 0.125, "n": 4}
    stage = directory.iteration(1)
    write_json(stage.evaluation, read_json(stage.evaluation) | {"win_rate/base": won})
    assert judged(directory).headline.endswith("; iteration 1 wins 0.625 ± 0.125 against the base model.")


def test_an_alarm_that_ended_the_run_is_told_as_it_was(tmp_path: Path) -> None:
    directory = write_run(tmp_path, stopped_early=True)
    reason = "the alarm of 'length', which is in stop.alarms: 9.0 tokens a Response"
    write_json(directory.result, read_json(directory.result) | {"reason": reason})
    found = judged(directory)
    assert f"It was stopped early: {reason}." in found.sentences
    assert not any("fell" in warning for warning in found.warnings)
    unwatched(directory, reason, stopped_early=True)
    assert judged(directory).sentences == [f"It was stopped early: {reason}."]


@pytest.mark.parametrize("name", ["stability.json", "warmup/evaluation.json", "iterations/001/evaluation.json"])
def test_a_file_that_must_have_been_there_is_missed(tmp_path: Path, name: str) -> None:
    directory = write_run(tmp_path / "run")
    summarize(directory.path)
    (directory.path / name).unlink()
    with pytest.raises(DamagedError, match=f"{name}: the file is missing"):
        summarize(directory.path)
