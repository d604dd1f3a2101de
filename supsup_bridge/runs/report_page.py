"""report.html: the figures of a run, what they mean, and how to repeat it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from supsup_bridge.runs import intervals
from supsup_bridge.runs.command import command_of
from supsup_bridge.runs.flat import flat
from supsup_bridge.runs.page import Cells, Picture, picture, rendered
from supsup_bridge.runs.recording import Recorded
from supsup_bridge.runs.report import allocation_note, title_of
from supsup_bridge.runs.report_plots import (
    accuracy_plot,
    interval_at_end,
    matrix_plot,
    mistaken_plot,
    tasks_plot,
)
from supsup_bridge.runs.report_recalls import recall_plot
from supsup_bridge.runs.settings import RunSettings

_MOST_ROWS = 20  # of the table of mistakes
_JUDGED = {
    "GG": "the label is right",
    "GNs": "the label is right",
    "GNu": "task and label are right",
    "NNs": "the label is right",
}
_BYTES = (
    ("memory", "the memory, as it is kept"),
    ("packed_masks", "a plain list of the same masks, one bit per mask bit"),
    ("csc_masks", "the same as sparse columns with 16-bit indices"),
    ("extras", "statistics of normalisation of all tasks, beside the masks"),
)


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A figure, its interval, and what it means."""

    name: str
    value: str
    meaning: str
    interval: str = ""


def report_page(
    result: dict[str, Any], *, records: Sequence[Recorded] | None, masks: Sequence[str]
) -> str:
    """The page of a run, as one self-contained HTML text.

    Args:
        result: of the run.
        records: some of its recalls; None of a bank.
        masks: names of the masks learned.
    """
    names = result["task_names"]
    wrong = list(_mistakes(result, masks))
    return rendered(
        "report.html",
        lines=title_of(result),
        tasks=len(names),
        wanted=result["tasks"],
        seed=result["seed"],
        quick=result["settings"]["quick"],
        note=allocation_note(result),
        figures=list(headlines(result)),
        accuracy=[
            picture(accuracy_plot(result), "curve", _curve_says(result)),
            picture(tasks_plot(result), "tasks", _tasks_say(result)),
        ],
        matrix=picture(matrix_plot(result), "matrix", _matrix_says(result)),
        mistaken_says=_mistaken_says(result, len(wrong)),
        mistaken=_mistaken(result, masks) if wrong else None,
        mistakes=Cells(
            columns=("images of", "mask named instead", "inferences", "share of the task's"),
            rows=wrong[:_MOST_ROWS],
            numbers=frozenset({2, 3}),
        ),
        **_recalls(result, records, masks),
        bytes=Cells(
            columns=("bytes", "of what"),
            rows=[
                (f"{result['bytes'][key]:,}", what)
                for key, what in _BYTES
                if result["bytes"][key] is not None
            ],
            numbers=frozenset({0}),
        ),
        seconds=Cells(
            columns=("seconds", "for what"),
            rows=[(f"{value:.1f}", name) for name, value in result["seconds"].items()],
            numbers=frozenset({0}),
        ),
        command=command_of(RunSettings(**result["settings"])),
        versions=", ".join(f"{name} {value}" for name, value in result["versions"].items()),
        settings=Cells(columns=("setting", "value"), rows=list(flat(result["config"]))),
    )


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """The figures of a run that are known, the most telling first."""
    end = interval_at_end(result)
    scenario, scored = result["scenario"], result["curve"][-1]["scored"] if result["curve"] else 0
    found: tuple[tuple[str, float | None, str, str], ...] = (
        (
            f"Average accuracy, {scenario}",
            result["accuracy"],
            f"Share of scored images of which {_JUDGED[scenario]}, mean over {scored} tasks.",
            f"{intervals.written(end)}, over tasks" if end else "",
        ),
        (
            "Accuracy with the task given",
            result["accuracy_given_task"],
            "The same masks on the same images, if nothing had to be inferred.",
            "",
        ),
        (
            "Task right",
            result["task_inference_accuracy"],
            f"Share of {result['recall']['samples']} inferences that named the task of the images.",
            _over_inferences(result, "task_inference_accuracy"),
        ),
        (
            "Mask right",
            result["exact_recall_rate"],
            f"Share of {'recalls' if scenario == 'GG' else 'inferences'} whose mask is the learned "
            "one, bit for bit.",
            _over_inferences(result, "exact_recall_rate"),
        ),
        (
            "Forgetting",
            result["forgetting"],
            "How far tasks fell below their best accuracy, mean over tasks."
            + " Masks do not change: what is lost is lost in task inference."
            * (scenario not in ("GG", "NNs")),
            "",
        ),
    )
    for name, value, meaning, interval in found:
        if value is not None:
            yield Headline(name=name, value=f"{value:.4f}", meaning=meaning, interval=interval)
    sizes = result["bytes"]
    beside = "What the learner has to keep to predict."
    if result["memory"] is not None:
        packed = sizes["packed_masks"] / 1e6
        beside = f"A plain list of these {result['masks_allocated']} masks takes {packed:.3g} MB."
    yield Headline(name="Memory", value=f"{sizes['memory'] / 1e6:.3g} MB", meaning=beside)


def _over_inferences(result: dict[str, Any], key: str) -> str:
    share, count = result[key], result["recall"]["samples"]
    return (
        "" if share is None else f"{intervals.written(intervals.binomial(share, count))}, binomial"
    )


def _curve_says(result: dict[str, Any]) -> str:
    if not result["curve"]:
        return "No task was scored."
    last = result["curve"][-1]
    return (
        f"Average accuracy after each evaluation; after {last['tasks']} tasks it is "
        f"{last['accuracy']:.4f}. The band is the 95 % interval of the mean over tasks (Student's "
        "t): what other tasks like these would give, not other seeds. Lines that coincide are "
        "drawn one inside the other."
    )


def _tasks_say(result: dict[str, Any]) -> str:
    shared = (
        " Images of a batch share their inferred task, so that the interval is of the labels alone."
        if result["protocol"] == "batch" and result["scenario"] != "GG"
        else ""
    )
    return (
        "Accuracy of each task at the last evaluation, with its binomial 95 % interval (Wilson) "
        f"over the task's scored images.{shared}"
    )


def _matrix_says(result: dict[str, Any]) -> str:
    what = (
        "Accuracy of a task (column) after another was learned (row), from 0 to 1; white was not "
        "measured."
    )
    return (
        what if result["accuracy_matrix"] is not None else f"{what} Marks are larger than entries."
    )


def _mistaken_says(result: dict[str, Any], wrong: int) -> str:
    if result["task_inference_accuracy"] is None:
        return "Tasks are given: none is inferred."
    count = result["recall"]["samples"]
    if not wrong:
        return f"None of {count} inferences named another task."
    missed = round((1 - result["task_inference_accuracy"]) * count)
    return (
        f"{missed} of {count} inferences named another task's mask. Of each task the five masks "
        "are counted that were named most often in place of its own."
    )


def _mistakes(result: dict[str, Any], masks: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Rows of the table of mistakes, the most frequent first."""
    per_task = result["per_task"]
    found = [
        (times / per_task["inferences"][task], times, task, mask)
        for task, wrong in enumerate(per_task["mistaken_for"] or [])
        for mask, times in wrong or []
    ]
    for share, times, task, mask in sorted(found, key=lambda row: (-row[0], row[2:])):
        yield result["task_names"][task], masks[mask], str(times), f"{share:.4f}"


def _mistaken(result: dict[str, Any], masks: Sequence[str]) -> Picture:
    says = "Share of the inferences of a task (row) that named another mask (column), from 0 to 1."
    return picture(mistaken_plot(result, masks), "mistaken", says)


def _recalls(
    result: dict[str, Any], records: Sequence[Recorded] | None, masks: Sequence[str]
) -> dict[str, Any]:
    """What the page says of recalls."""
    if not records:
        return {"recalls": None}
    names = result["task_names"]
    figure = recall_plot(records, names, masks, "")
    posterior = (
        " A posterior compares labels, too, and has no steps: in its place recall by address and "
        "entropy is shown."
    )
    says = (
        "Above: overlap of the state with each learned mask, 1 if equal, 0 if independent. Below: "
        "the energy of the state and, where the recall used it, the penalty, such as the entropy "
        "of the network's answers. Thin lines part the candidates that were visited."
    )
    return {
        "recalls": picture(figure, "recalls", says),
        "recalls_say": f"One further recall for each of the first {len(records)} tasks, from "
        "images that are not scored, step by step: it may name another task than those above did. "
        "Proven says that the mask is one that was stored, not that it is the right one."
        + posterior
        * (result["config"]["recall"] == "posterior"),
        "recalled": Cells(
            columns=(
                *("images of", "mask recalled", "proven", "recognized"),
                *("updates", "energy E", "margin"),
            ),
            rows=[
                (
                    names[record.number],
                    masks[int(record.hit.task[0])],
                    "yes" if record.hit.verified[0] else "no",
                    "yes" if record.hit.recognized[0] else "no",
                    int(record.hit.steps[0]),
                    f"{float(record.hit.energy[0]):.6g}",
                    f"{float(record.hit.margin[0]):.3g}",
                )
                for record in records
            ],
            numbers=frozenset({4, 5, 6}),
        ),
    }
