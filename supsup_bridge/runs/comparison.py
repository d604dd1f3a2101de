"""Runs side by side: which settings differ, which runs are not alike enough, and what would be."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from hopmask import HopmaskError
from supsup_bridge.runs.command import command_of
from supsup_bridge.runs.finished_run import FinishedRun
from supsup_bridge.runs.flat import flat
from supsup_bridge.runs.learners import READ_OUT, RIVALS
from supsup_bridge.runs.settings import RunSettings

# What has to be equal for figures to compare memories and inferences alone: name, and of a result
_ALIKE: tuple[tuple[str, Callable[[dict[str, Any]], Any]], ...] = (
    ("benchmark", lambda r: r["benchmark"]),
    ("scenario", lambda r: r["scenario"]),
    ("tasks", lambda r: len(r["task_names"])),
    ("classes of a task", lambda r: r["settings"].get("classes_per_task")),
    ("protocol", lambda r: r["protocol"]),
    ("images per inference", lambda r: r["infer_samples"]),
    ("network", lambda r: r["network"]),
    ("kind of mask", lambda r: r["masks"]),
    ("bits of a mask", lambda r: r["config"]["preset"]["bits"] or "one per weight"),
    ("outputs", lambda r: r["config"]["output_size"]),
    ("start of the scores", lambda r: r["config"]["preset"]["mask_init"]),
)
# Settings that a matched run takes from the first run, and those that only some of them allow
_TAKEN = (
    *("benchmark", "scenario", "tasks", "classes_per_task", "protocol", "infer_samples"),
    *("network", "masks", "bits", "output_size", "mask_init", "sparsity", "batches"),
    *("augment", "train_in", "quick"),
)
# What belongs to a learner, and need not be equal where learners are compared
_OWN = ("kind of mask", "bits of a mask", "outputs", "start of the scores")
_OWN_TRAINING = ("rate", "averaging", "contrast", "diluted_every", "sparsity", "optimiser")
_OF_INFERENCE = ("protocol", "images per inference")  # nothing where the task is given
_BOUND = (
    *("hubs", "rule", "recall", "signature", "signature_features"),
    *("inference", "objective"),
)
_BOUND_TO = ("benchmark", "scenario", "network", "masks")


@dataclass(frozen=True, kw_only=True)
class Unlike:
    """A run that is not like the first one.

    Attributes:
        name: of the run.
        reasons: what differs, with both values.
        command: the run that would be alike; empty where there is none.
    """

    name: str
    reasons: list[str]
    command: str


def differing(runs: Sequence[FinishedRun]) -> list[tuple[str, list[str]]]:
    """Names of settings and versions that differ, each with the values of all runs.

    Settings are those that were used, defaults filled in.
    """
    columns = [dict(_settings(run)) for run in runs]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [(name, [column.get(name, "–") for column in columns]) for name in names]
    return [(name, values) for name, values in rows if len({*values}) > 1]


def unlike(runs: Sequence[FinishedRun]) -> list[Unlike]:
    """Runs whose figures differ from the first one's for other reasons than memory and inference.

    Seeds may differ: runs of several seeds are alike.
    """
    first, *others = runs
    found = []
    for run in others:
        reasons = [*_reasons(first.result, run.result)]
        command = _matched(first.settings, run.settings) if reasons else ""
        if _of_other_data(first.result, run.result):  # which no option of a command changes
            reasons.append("names of the tasks, at the same seed: the data are others")
        if reasons:
            found.append(Unlike(name=run.name, reasons=reasons, command=command))
    return found


def _settings(run: FinishedRun) -> Iterator[tuple[str, str]]:
    config = {**run.result["config"]}
    training = config.pop("preset")["training"]
    rest = {"training": training, "versions": run.result["versions"]}
    yield from flat({**config, **rest})


def _reasons(first: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    others = first["learner"] != other["learner"]
    own = {*_OWN} if others else set()
    if "pnn" in (first["learner"], other["learner"]):  # it has a network of its own
        own.add("network")
    if first["scenario"] == other["scenario"] == "GG":
        own.update(_OF_INFERENCE)
    for name, of in _ALIKE:
        if of(first) != of(other) and name not in own:
            yield f"{name}: {of(other)}, not {of(first)}"
    mine, yours = (dict(flat(r["config"]["preset"]["training"])) for r in (first, other))
    for name in {**mine, **yours}:
        if mine.get(name) != yours.get(name) and not (others and name in _OWN_TRAINING):
            yield f"training, {name}: {yours.get(name)}, not {mine.get(name)}"


def _of_other_data(first: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether tasks that both learned have other names, where the same seed drew them."""
    names = zip(first["task_names"], other["task_names"], strict=False)
    alike = all(first[key] == other[key] for key in ("benchmark", "seed"))
    classes = [r["settings"].get("classes_per_task") for r in (first, other)]
    return alike and classes[0] == classes[1] and any(mine != theirs for mine, theirs in names)


def _matched(first: RunSettings, other: RunSettings) -> str:
    """The command of a run like the other one, but as like the first as a comparison needs."""
    here, there = asdict(first), asdict(other)
    taken = {name: here[name] for name in _TAKEN}
    if other.learner in RIVALS:  # they have a precision of their own
        taken["train_in"] = None
    if first.learner in READ_OUT and first.scenario != "GG":  # it reads each image by itself
        taken |= {"protocol": "image", "infer_samples": None}
    if other.learner in READ_OUT:  # so does it, and its outputs follow from the scenario
        taken |= dict.fromkeys(("infer_samples", "output_size"))
        if taken["scenario"] != "GG" and taken["protocol"] != "image":
            return ""
    if any(here[name] != there[name] for name in _BOUND_TO):
        taken |= dict.fromkeys(_BOUND)  # the defaults of the other kind
    if first.scenario != "NNs" or other.scenario != "NNs":
        taken |= {name: here[name] for name in ("epsilon", "ask_every", "budget")}
    try:
        matched = replace(other, **taken)
    except HopmaskError:
        return ""
    return "" if matched == other else command_of(matched)
