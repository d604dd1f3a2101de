"""Runs side by side, as a page: figures, curves, and whether they are alike."""

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from supsup_bridge.runs import intervals
from supsup_bridge.runs.command import command_of
from supsup_bridge.runs.comparison import differing, unlike
from supsup_bridge.runs.finished_run import FinishedRun
from supsup_bridge.runs.page import Cells, picture, rendered
from supsup_bridge.runs.report_plots import (
    as_share,
    band,
    interval_at_end,
    new_figure,
    shortened,
    whiskers,
)

_SHARES = (
    ("accuracy", "average accuracy"),
    ("accuracy_given_task", "with the task given"),
    ("task_inference_accuracy", "task right"),
    ("exact_recall_rate", "mask right"),
    ("forgetting", "forgetting"),
)
_STYLES = ("-", "--", "-.", ":")


def figures_of(runs: Sequence[FinishedRun]) -> Iterator[tuple[str, list[str]]]:
    """Names of figures, each with the values of all runs; those that no run has are left out."""
    ends = [interval_at_end(run.result) for run in runs]
    for key, name in _SHARES:
        values = [run.result[key] for run in runs]
        if values != [None] * len(runs):
            yield name, ["–" if value is None else f"{value:.4f}" for value in values]
        if key == "accuracy" and any(ends):
            shown = [intervals.written(pair) if pair else "–" for pair in ends]
            yield "its 95 % interval over tasks", shown
    sizes = [run.result["bytes"] for run in runs]
    masks = [run.result["masks_allocated"] for run in runs]
    yield "masks", ["–" if count is None else str(count) for count in masks]
    yield "memory, MB", [f"{size['memory'] / 1e6:.3f}" for size in sizes]
    packed = [size["packed_masks"] for size in sizes]
    shown = ["–" if size is None else f"{size / 1e6:.3f}" for size in packed]
    yield "packed list of its masks, MB", shown
    yield "seconds", [f"{run.result['seconds']['total']:.0f}" for run in runs]


def comparison_page(runs: Sequence[FinishedRun]) -> str:
    """The page of several runs, as one self-contained HTML text.

    Args:
        runs: two or more, the first of which the others are compared with.
    """
    names = [run.name for run in runs]
    numbers = frozenset(range(1, len(runs) + 1))
    return rendered(
        "compare.html",
        names=names,
        unlike=unlike(runs),
        figures=Cells(
            columns=("figure", *names),
            rows=[(name, *values) for name, values in figures_of(runs)],
            numbers=numbers,
        ),
        curves=picture(
            curves_plot(runs),
            "curves",
            "Average accuracy over the number of tasks learned, from 0 to 1. Bands are 95 % "
            "intervals of the mean over tasks (Student's t), not over seeds. Lines that coincide "
            "are drawn one inside the other.",
        ),
        inference=picture(
            shares_plot(runs),
            "shares",
            "Accuracy with the task inferred and given, and the share of inferences that named the "
            "task, with its binomial 95 % interval (Wilson).",
        ),
        differing=Cells(
            columns=("setting", *names),
            rows=[(name, *values) for name, values in differing(runs)],
        ),
        commands=Cells(
            columns=("run", "command that repeats it"),
            rows=[(run.name, command_of(run.settings)) for run in runs],
        ),
    )


def curves_plot(runs: Sequence[FinishedRun]) -> Figure:
    """Average accuracy over the tasks learned, a line a run."""
    figure = new_figure(7.6, 4.6)
    axis = figure.subplots()
    for number, run in enumerate(runs):
        points, color = run.result["curve"], f"C{number % 10}"
        axis.plot(
            [point["tasks"] for point in points],
            [point["accuracy"] for point in points],
            _STYLES[number % len(_STYLES)],
            color=color,
            marker="o",
            linewidth=_width(number, len(runs)),
            markersize=2 + 1.5 * _width(number, len(runs)),
            label=shortened(run.name),
        )
        band(axis, run.result, color=color, alpha=0.12)
    axis.set_xlabel("tasks learned")
    axis.set_ylabel("average accuracy")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    as_share(axis)
    figure.legend(loc="outside lower center", fontsize=8, frameon=False, ncols=2)
    return figure


def shares_plot(runs: Sequence[FinishedRun]) -> Figure:
    """Accuracies and the share of right inferences at the end, a place a run."""
    figure = new_figure(7.6, 4.2)
    axis = figure.subplots()
    marks: dict[str, dict[str, Any]] = {
        "accuracy_given_task": {"color": "#9ecae1", "marker": "s", "markersize": 11},
        "accuracy": {"color": "#08519c", "marker": "o", "markersize": 6},
    }
    for key, name in _SHARES[1::-1]:
        values = [(n, run.result[key]) for n, run in enumerate(runs)]
        known = [(n, value) for n, value in values if value is not None]
        axis.plot([n for n, _ in known], [v for _, v in known], ls="", label=name, **marks[key])
    for number, run in enumerate(runs):
        share, count = (run.result["task_inference_accuracy"], run.result["recall"]["samples"])
        if share is None:
            continue
        axis.errorbar(
            number + 0.15,
            share,
            yerr=whiskers([share], [count]),
            fmt="D",
            markersize=4,
            color="#e6550d",
            label=None if number else "inferences that named the task",
        )
    axis.set_xticks(
        range(len(runs)), [shortened(run.name) for run in runs], rotation=20, ha="right", size=8
    )
    axis.set_xlim(-0.5, len(runs) - 0.5)
    axis.set_ylabel("share")
    as_share(axis)
    figure.legend(loc="outside lower center", fontsize=8, frameon=False, ncols=3)
    return figure


def _width(number: int, count: int) -> float:
    """Of a line that may lie on those before, so that they show on both sides of it."""
    return 1.5 + 4.5 * (count - 1 - number) / max(1, count - 1)
