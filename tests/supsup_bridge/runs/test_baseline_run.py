"""Runs of baselines."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hopmask import ConfigError
from supsup_bridge import Experiment, RunSettings, split_digits
from supsup_bridge.continual.baselines.named import BASELINES, baseline_named
from supsup_bridge.runs.baseline_presets import Tuned, training_of, tuned
from supsup_bridge.runs.baseline_run import BaselineRun
from supsup_bridge.runs.learners import LEARNERS, OURS
from supsup_bridge.runs.observer import Observers
from supsup_bridge.runs.presets import preset
from supsup_bridge.runs.report import summary, title_of
from supsup_bridge.runs.report_page import report_page

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def ran(learner: str, **changes: Any) -> BaselineRun:
    run = BaselineRun(RunSettings(learner=learner, **{"tasks": 3, **changes}))
    run.run(Observers())
    return run


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name != "seconds"}


def test_a_result_has_the_names_of_any_run_and_nothing_of_masks() -> None:
    result = json.loads(json.dumps(ran("psp", scenario="GNu").result()))
    other = Experiment(RunSettings(tasks=1, quick=True)).result()
    assert result.keys() == other.keys()
    assert result["config"].keys() >= other["settings"].keys()
    for name in ("memory", "masks", "masks_allocated", "exact_recall_rate", "novelty"):
        assert result[name] is None
    assert result["learner"] == result["config"]["learner"] == "psp"
    assert result["bytes"].pop("memory") == 4 * (64 * 300 + 300 * 100 + 100 * 100)
    assert {*result["bytes"].values()} == {None}
    assert result["bytes"].keys() | {"memory"} == other["bytes"].keys()
    assert result["recall"].keys() == other["recall"].keys()
    assert result["accuracy"] <= result["accuracy_label"]
    assert len(result["accuracy_matrix"]) == 3
    assert result["accuracy_matrix"][0][1:] == [None, None]


@pytest.mark.parametrize("scenario", ["GG", "GNs", "GNu", "NNs"])
def test_the_lower_bound_forgets_and_says_so(scenario: str) -> None:
    result = ran("lower-bound", scenario=scenario).result()
    if scenario != "GG":  # where digits so small share a trunk well
        assert result["forgetting"] > 0.02
    if scenario != "GNu":
        assert result["task_inference_accuracy"] is None
    else:
        assert result["task_inference_accuracy"] < 0.5  # it names the last task alone
    assert result["protocol"] == ("batch" if scenario == "GG" else "image")


def test_the_upper_bound_forgets_nothing_and_grows() -> None:
    first, more = (ran("upper-bound", scenario="GG", tasks=n).result() for n in (1, 3))
    assert more["forgetting"] == 0
    assert more["bytes"]["memory"] == 3 * first["bytes"]["memory"]
    assert more["accuracy"] > 0.9


def test_a_run_repeats_to_the_bit() -> None:
    first, again = (without_times(ran("wsn", quick=True).result()) for _ in range(2))
    assert first == again
    assert without_times(ran("wsn", quick=True, seed=1).result()) != first


def test_tasks_and_steps_are_those_of_supsup() -> None:
    steps: dict[str, list[int]] = {"psp": [], "supsup": []}

    class Steps:
        def __init__(self, name: str) -> None:
            self.name = name

        def training(self, task: Any, number: int, step: int, total: int, loss: float) -> None:
            if step == total:
                steps[self.name].append(total)

        def evaluated(self, *_: Any) -> None: ...

        def learned(self, *_: Any) -> None: ...

    given: dict[str, Any] = {"tasks": 2, "scenario": "GG", "tasks_at_once": None}
    ours = Experiment(RunSettings(**given))
    ours.run(Steps("supsup"))
    theirs = BaselineRun(RunSettings(learner="psp", **given))
    theirs.run(Steps("psp"))
    assert steps["psp"] == steps["supsup"] != []
    mine, other = theirs.result(), ours.result()
    assert mine["task_names"] == other["task_names"]
    assert mine["images"] == other["images"]
    assert mine["infer_samples"] == other["infer_samples"]


def test_weights_are_trained_as_the_preset_says_but_for_what_is_of_masks() -> None:
    base = preset("split-digits", "weight")
    training = training_of(base, Tuned(rate=0.5), infers=True)
    assert (training.rate, training.contrast) == (0.5, base.training.contrast)
    assert training_of(base, Tuned(), infers=False).contrast == 0
    assert training.batch == base.training.batch
    assert (
        training_of(preset("permuted-mnist", "weight"), Tuned(), infers=True).diluted_every is None
    )


@pytest.mark.parametrize(
    ("learner", "changes", "outputs"),
    [
        ("heads", {"scenario": "GG"}, 2),  # given, so that no entropy is compared
        ("heads", {"scenario": "GNs"}, 100),  # those of SupSup's preset
        ("heads", {"scenario": "GNs", "output_size": 7}, 7),
        ("heads", {"scenario": "GG", "output_size": 7}, 7),
        ("lower-bound", {"scenario": "GNs"}, 2),
        ("lower-bound", {"scenario": "GNu"}, 6),
    ],
)
def test_learners_that_compare_tasks_have_superfluous_outputs(
    learner: str, changes: dict[str, Any], outputs: int
) -> None:
    run = BaselineRun(RunSettings(learner=learner, tasks=3, quick=True, **changes))
    assert run.learner.outputs == run.result()["config"]["output_size"] == outputs


@pytest.mark.parametrize(
    ("learner", "samples", "found"), [("lower-bound", None, ("image", 1)), ("psp", 8, ("batch", 8))]
)
def test_a_result_says_what_an_inference_saw(learner: str, samples: Any, found: Any) -> None:
    result = ran(learner, quick=True, tasks=2, infer_samples=samples).result()
    assert (result["protocol"], result["infer_samples"]) == found
    config = result["config"]
    assert (config["protocol"], config["preset"]["infer_samples"]) == found


def test_a_learner_of_the_users_is_made_with_all_that_one_by_name_is() -> None:
    given: dict[str, Any] = {}

    def own(name: str, **arguments: Any) -> Any:
        given.update(arguments)
        return baseline_named(name, **arguments)

    for scenario, outputs in (("GNu", 100), ("GG", None)):
        settings = RunSettings(learner="heads", scenario=scenario, quick=True, tasks=2)
        BaselineRun(settings, make=own)
        assert given["outputs"] == outputs


def test_outputs_for_many_labels_follow_from_the_scenario() -> None:
    (task,) = split_digits(tasks=1)
    many = replace(task, scored_labels=task.scored_labels + 149, classes=151)
    settings = RunSettings(learner="lower-bound", scenario="GG", quick=True, tasks=1)
    assert BaselineRun(settings, tasks=[many]).learner.outputs == 151
    with pytest.raises(ConfigError, match="--output-size"):
        BaselineRun(replace(settings, learner="psp"), tasks=[many])


def test_options_of_the_learner_can_be_chosen() -> None:
    how = Tuned(rate=2e-3, options={"silent": 0.5})
    run = BaselineRun(RunSettings(learner="xdg", quick=True, tasks=1), chosen=how)
    result = run.result()
    assert result["config"]["options"] == {"silent": 0.5}
    assert result["config"]["preset"]["training"]["rate"] == 2e-3


def test_tasks_of_the_users() -> None:
    tasks = split_digits(tasks=2)
    run = BaselineRun(RunSettings(learner="heads", quick=True, tasks=2), tasks=tasks[::-1])
    run.run(Observers())
    assert run.result()["task_names"] == [task.name for task in tasks[::-1]]


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"hubs": 8}, "--hubs"),
        ({"memory": "bank"}, "--memory"),
        ({"masks": "hashed"}, "--masks"),
        ({"mask_init": "mean"}, "--mask-init"),
        ({"sparsity": 0.5}, "--sparsity"),
        ({"recall": "both"}, "--recall"),
        ({"workers": True}, "--jobs"),
        ({"tasks_at_once": 2}, "--tasks-at-once"),
    ],
)
def test_what_is_said_of_masks_is_refused(changes: dict[str, Any], option: str) -> None:
    with pytest.raises(ConfigError, match=f"leave out {option}"):
        RunSettings(learner="psp", **changes)


def test_unknown_learners_and_scenarios_are_refused() -> None:
    with pytest.raises(ConfigError, match="piggyback"):
        RunSettings(learner="pigyback")
    with pytest.raises(ConfigError, match="GG, GNs, GNu"):
        BaselineRun(RunSettings(learner="psp", scenario="NNs"))
    with pytest.raises(ConfigError, match="no baseline"):
        BaselineRun(RunSettings())


@pytest.mark.parametrize("learner", BASELINES)
def test_every_baseline_can_be_run(learner: str) -> None:
    result = ran(learner, quick=True, tasks=2).result()
    assert 0 <= result["accuracy"] <= result["accuracy_given_task"] <= 1


def test_settings_of_a_baseline_make_no_supsup() -> None:
    with pytest.raises(ConfigError, match="BaselineRun"):
        Experiment(RunSettings(learner="psp", quick=True))


def test_a_config_says_nothing_of_masks() -> None:
    config = BaselineRun(RunSettings(learner="psp", quick=True, tasks=1)).result()["config"]
    assert config["memory"] is config["masks"] is config["preset"]["rule"] is None
    assert config["output_size"] == 100
    assert config["preset"]["training"]["max_batches"] == 20


def test_a_report_of_a_baseline() -> None:
    result = ran("psp", scenario="GNu", quick=True).result()
    assert title_of(result)[0] == "split-digits, GNu: learner psp"
    page = report_page(result, records=None, masks=result["task_names"])
    assert "supsup run split-digits --tasks 3 --quick --learner psp" in page
    assert "bit per mask bit" not in page
    assert summary(result) is not None


def test_the_defaults_are_what_the_tuning_found() -> None:
    """Of each learner that was tuned, with the boundaries of tasks known and without."""
    rows = json.loads((BENCHMARKS / "rivals_tuning.json").read_text("utf-8"))
    assert {row["run"]["learner"] for row in rows} == {*LEARNERS} - {OURS}
    for row in rows:
        run, best = row["run"], row["best"]
        scenario = "NNs" if run["boundless"] else "GNu"
        found = tuned(run["benchmark"], run["learner"], scenario)
        assert found.rate == pytest.approx(best["rate"]), run
        assert found.options == best["options"], run
        assert best == max(row["tried"], key=lambda one: one["accuracy"])


def test_what_was_not_tuned_has_no_options() -> None:
    assert tuned("permuted-mnist", "batche", "GG") == Tuned()
