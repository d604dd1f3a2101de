"""Runs side by side."""

import argparse
import shlex
from dataclasses import replace

import pytest

from supsup_bridge import Experiment, RunSettings
from supsup_bridge.cli import run as run_command
from supsup_bridge.runs.comparison import differing, unlike
from supsup_bridge.runs.finished_run import FinishedRun


def settings_of(command: str) -> RunSettings:
    parser = argparse.ArgumentParser()
    run_command.add_command(parser.add_subparsers())
    options = vars(parser.parse_args(shlex.split(command)[1:]))
    del options["run"]
    return RunSettings(**options)


def test_settings_that_differ_are_listed_and_no_others(run) -> None:
    found = dict(differing([run(), run(seed=1), run(seed=1, infer_samples=8)]))
    assert found["seed"] == ["0", "1", "1"]
    assert found["infer_samples"] == ["–", "–", "8"]
    assert {*found} <= {"seed", "infer_samples"}


def test_a_run_is_like_itself_with_another_seed_memory_or_inference(run) -> None:
    others = [run(seed=1), run(memory="bank"), run(recall="both"), run(hubs=8)]
    assert unlike([run(), *others]) == []


def test_tasks_of_other_names_are_of_other_data_and_no_command_changes_that(run) -> None:
    first, other = run(), run("other")
    result = {**other.result, "task_names": ["apples", "pears"]}
    (flagged,) = unlike([first, FinishedRun(name="o", result=result, settings=other.settings)])
    assert "the data are others" in flagged.reasons[0]
    assert flagged.command == ""


def test_a_run_of_too_few_hubs_for_the_first_ones_tasks_has_no_matched_run(run) -> None:
    (flagged,) = unlike([run(tasks=3), run("other", tasks=2, hubs=2)])
    assert flagged.reasons == ["tasks: 2, not 3"]
    assert flagged.command == ""


UNLIKE = {
    "kind of mask": {"masks": "signed"},
    "outputs": {"output_size": 50},
    "training": {"quick": False, "batches": 5},
    "protocol": {"protocol": "image"},
    "images per inference": {"infer_samples": 8},
    "tasks": {"tasks": 3},
    "scenario": {"scenario": "GG"},
}


@pytest.mark.parametrize("reason", UNLIKE)
def test_a_run_that_is_not_alike_is_flagged_with_the_run_that_is(reason: str, run) -> None:
    first, other = run(), run("other", memory="bank", **UNLIKE[reason])
    (flagged,) = unlike([first, other])
    assert flagged.name == "other"
    assert {text.split(":")[0].split(",")[0] for text in flagged.reasons} == {reason}
    matched = settings_of(flagged.command)
    assert matched.memory == "bank"
    matched_run = FinishedRun(name="matched", result=Experiment(matched).result(), settings=matched)
    begun = FinishedRun(
        name="first", result=Experiment(first.settings).result(), settings=first.settings
    )
    assert unlike([begun, matched_run]) == []


def test_the_matched_run_of_another_kind_of_mask_has_its_defaults(run) -> None:
    """Hashed masks have a rule and bits, which weight masks are refused."""
    first, other = run(), run("other", masks="hashed", rule="projection", seed=4)
    (flagged,) = unlike([first, other])
    matched = settings_of(flagged.command)
    assert (matched.masks, matched.rule, matched.bits, matched.seed) == ("weight", None, None, 4)


def test_where_no_run_is_alike_none_is_named(run) -> None:
    """A bank takes no paper's network."""
    paper = run("paper", benchmark="split-digits")
    settings = RunSettings(benchmark="split-mnist", network="paper")
    first = FinishedRun(name="first", result=paper.result, settings=settings)
    result = {**paper.result, "network": "another"}
    other = FinishedRun(name="other", result=result, settings=RunSettings(memory="bank"))
    (flagged,) = unlike([first, other])
    assert flagged.command == ""


def test_a_learner_of_avalanches_is_matched_without_a_precision(run) -> None:
    mine = RunSettings(benchmark="split-cifar10", train_in="bfloat16", batches=9)
    theirs = RunSettings(benchmark="split-cifar10", learner="ewc")
    result = run().result
    first = FinishedRun(name="first", result=result, settings=mine)
    other = FinishedRun(name="other", result={**result, "network": "another"}, settings=theirs)
    (flagged,) = unlike([first, other])
    assert flagged.command == ""  # it reads each image, whatever is asked for
    image = replace(first, settings=replace(mine, protocol="image"))
    (flagged,) = unlike([image, other])
    assert settings_of(flagged.command) == replace(theirs, batches=9, protocol="image")


def test_supsup_is_matched_to_a_learner_that_reads_each_image(run) -> None:
    mine = RunSettings(learner="lower-bound", batches=9)
    result = {**run().result, "learner": "lower-bound", "protocol": "image"}
    first = FinishedRun(name="first", result=result, settings=mine)
    (flagged,) = unlike([first, replace(run(), settings=RunSettings())])
    assert flagged.reasons == ["protocol: batch, not image"]
    assert settings_of(flagged.command) == RunSettings(batches=9, protocol="image")


def test_a_learner_with_a_network_of_its_own_is_like_any_other(run) -> None:
    mine = {**run().result, "scenario": "GG"}
    theirs = {**mine, "learner": "pnn", "network": "pnn-2x100"}
    settings = RunSettings(scenario="GG")
    first = FinishedRun(name="first", result=mine, settings=settings)
    other = FinishedRun(
        name="other", result=theirs, settings=RunSettings(scenario="GG", learner="pnn")
    )
    assert unlike([first, other]) == unlike([other, first]) == []


def test_what_an_inference_sees_is_no_matter_where_the_task_is_given(run) -> None:
    mine = {**run().result, "scenario": "GG"}
    first = FinishedRun(name="first", result=mine, settings=RunSettings(scenario="GG"))
    other = replace(first, result={**mine, "infer_samples": 8, "protocol": "image"})
    assert unlike([first, other]) == []


def test_no_command_repeats_the_run_itself(run) -> None:
    first, other = run(), run()
    changed = {**other.result, "network": "another"}
    (flagged,) = unlike([first, replace(other, result=changed)])
    assert flagged.reasons
    assert flagged.command == ""
