"""Plots of a run's figures. A share is always drawn from 0 to 1, so that 1 % looks like 1 %."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from supsup_bridge.runs import intervals
from supsup_bridge.runs.report import measured_in, title_of

_WRITTEN = 12  # tasks up to which a heat map also writes its figures
_LONGEST = 24  # characters of a name in a plot
_DRAWN = 256  # marks of a curve above which they are drawn as pixels
# Lines may coincide, so each is narrower than the one under it: key, colour, how it is drawn
_LINES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("accuracy_given_task", "#9ecae1", {"linewidth": 8, "solid_capstyle": "round"}),
    ("accuracy", "#08519c", {"linewidth": 2.5, "marker": "o", "markersize": 5}),
    ("task_inference_accuracy", "#e6550d", {"linewidth": 1.2, "linestyle": (0, (4, 4))}),
)


def accuracy_plot(result: dict[str, Any]) -> Figure:
    """Average accuracy over the number of tasks learned: task inferred, and task given."""
    figure = new_figure(7.2, 4.6)
    axis = figure.subplots()
    points = result["curve"]
    tasks = [point["tasks"] for point in points]
    names = {
        "accuracy_given_task": "accuracy with the task given",
        "accuracy": f"{result['scenario']}: average accuracy",
        "task_inference_accuracy": "inferences that named the task",
    }
    for key, color, style in _LINES:
        values = [point[key] for point in points]
        if points and None not in values:
            label = f"{names[key]}, at the end {values[-1]:.4f}"
            axis.plot(tasks, values, color=color, label=label, **style)
    label = "95 % interval of the average accuracy, over tasks"
    band(axis, result, color="#08519c", alpha=0.15, label=label)
    axis.set_xlabel("tasks learned")
    axis.set_ylabel("share")
    axis.set_title("\n".join(title_of(result)), fontsize=9)
    if len(points) == 1:
        axis.set_xlim(tasks[0] - 1, tasks[0] + 1)
    as_share(axis)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if points:
        figure.legend(loc="outside lower center", fontsize=8, frameon=False)
    return figure


def tasks_plot(result: dict[str, Any]) -> Figure:
    """Accuracy of each task at the last point of the curve, with its binomial interval."""
    figure = new_figure(7.2, 4.2)
    axis = figure.subplots()
    scored = [
        (n, value) for n, value in enumerate(result["accuracy_per_task"]) if value is not None
    ]
    pixels = len(scored) > _DRAWN
    given = result["per_task"]["accuracy_given_task"] or []
    known = [(n, value) for n, value in enumerate(given) if value is not None]
    label = "accuracy with the task given"
    axis.plot(*_columns(known), "s", color="#9ecae1", markersize=9, label=label, rasterized=pixels)
    counts = [result["images"]["scored"][n] for n, _ in scored]
    bars = axis.errorbar(
        *_columns(scored),
        yerr=whiskers([value for _, value in scored], counts),
        fmt="o",
        color="#08519c",
        markersize=4,
        linewidth=1,
        label=f"{result['scenario']}: accuracy, 95 % interval over its scored images",
    )
    for part in (bars.lines[0], *bars.lines[2]):
        part.set_rasterized(pixels)
    _name_tasks(axis, result["task_names"], "task")
    axis.set_ylabel("share of scored images")
    as_share(axis)
    figure.legend(loc="outside lower center", fontsize=8, frameon=False, ncols=2)
    return figure


def matrix_plot(result: dict[str, Any]) -> Figure:
    """The accuracy matrix: a row after learning each task, a column for each task scored.

    White was not measured. Of more tasks than the result holds as a matrix, the measured entries.
    """
    return _heat_map(
        measured_in(result),
        result["task_names"],
        result["task_names"],
        title="accuracy",
        colors="viridis",
        across="task scored",
        down="last task learned",
    )


def mistaken_plot(result: dict[str, Any], masks: Sequence[str]) -> Figure:
    """Which tasks are mistaken for which: the share of a task's inferences that named a mask."""
    per_task = result["per_task"]
    entries = []
    for task, wrong in enumerate(per_task["mistaken_for"]):
        if wrong is not None:
            count = per_task["inferences"][task]
            entries += [[task, mask, times / count] for mask, times in wrong]
    return _heat_map(
        entries,
        masks,
        result["task_names"],
        title="share of inferences",
        colors="OrRd",
        across="mask named instead",
        down="task of the images",
    )


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches that nothing is cut off."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def intervals_of(result: dict[str, Any]) -> list[tuple[int, intervals.Interval]]:
    """Tasks learned, and the interval over tasks of the average accuracy, at points of the curve.

    Points that scored one task, or tasks all alike, have none.
    """
    rows: dict[int, list[float]] = {}
    for row, _, value in measured_in(result):
        rows.setdefault(int(row) + 1, []).append(value)
    points = [point["tasks"] for point in result["curve"]]
    found = [(learned, intervals.over_tasks(rows[learned])) for learned in points]
    return [(learned, ends) for learned, ends in found if ends is not None]


def band(axis: Axes, result: dict[str, Any], **style: Any) -> None:
    """Shade the intervals over tasks along the curve, where there are any."""
    reach = intervals_of(result)
    if reach:
        low, high = zip(*(ends for _, ends in reach), strict=True)
        axis.fill_between([count for count, _ in reach], low, high, linewidth=0, **style)


def whiskers(shares: Sequence[float], counts: Sequence[int]) -> list[list[float]]:
    """How far binomial intervals reach below and above shares of so many trials.

    Example:
        >>> [[round(reach, 3) for reach in side] for side in whiskers([0.9], [10])]
        [[0.304], [0.082]]
    """
    ends = [intervals.binomial(share, count) for share, count in zip(shares, counts, strict=True)]
    pairs = [*zip(shares, ends, strict=True)]
    return [
        [max(0.0, share - low) for share, (low, _) in pairs],
        [max(0.0, high - share) for share, (_, high) in pairs],
    ]


def interval_at_end(result: dict[str, Any]) -> intervals.Interval | None:
    """The interval over tasks of the average accuracy at the last point of the curve."""
    found = dict(intervals_of(result))
    return found.get(result["curve"][-1]["tasks"]) if found else None


def as_share(axis: Axes) -> None:
    """Draw a share whole, from 0 to 1."""
    axis.set_ylim(-0.02, 1.05)
    axis.set_yticks(np.linspace(0, 1, 6))
    axis.grid(alpha=0.3)


def shortened(name: str) -> str:
    """A name of at most 24 characters, for a plot: no formula, no hidden label, no broken byte.

    The middle of a longer one is left out: names of runs differ at their ends.
    """
    plain = name.encode("utf-8", "backslashreplace").decode()
    half = _LONGEST // 2
    short = plain[: half - 1].rstrip(", ") + "…" + plain[-half:].lstrip(", ")
    shown = plain if len(plain) <= _LONGEST else short
    return ("\u200b" if shown.startswith("_") else "") + shown.replace("$", r"\$")


def _columns(pairs: Iterable[tuple[int, float]]) -> tuple[list[int], list[float]]:
    pairs = list(pairs)
    return [first for first, _ in pairs], [second for _, second in pairs]


def _name_tasks(axis: Axes, names: Sequence[str], what: str) -> None:
    """Ticks of tasks along x: names where they are few, else numbers."""
    if len(names) <= _WRITTEN:
        shown = [*map(shortened, names)]
        axis.set_xticks(range(len(names)), shown, rotation=30, ha="right", fontsize=8)
    else:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        what += ", by number"
    axis.set_xlabel(what)


def _heat_map(
    entries: Sequence[Sequence[float]],
    columns: Sequence[str],
    rows: Sequence[str],
    *,
    title: str,
    colors: str,
    across: str,
    down: str,
) -> Figure:
    """Entries [row, column, share] in one colour scale from 0 to 1; figures too, where few."""
    side = 4.2 if len(columns) <= 6 else 6.4
    figure = new_figure(side + 1.6, side)
    axis = figure.subplots()
    scale: dict[str, Any] = {"vmin": 0, "vmax": 1, "cmap": colors}
    most = max(len(rows), len(columns))
    if most <= _DRAWN:
        values = np.full((len(rows), len(columns)), np.nan)
        for row, column, value in entries:
            values[int(row), int(column)] = value
        picture: ScalarMappable = axis.imshow(
            values, interpolation="nearest", aspect="auto", **scale
        )
    else:
        down_to, right_to, values = np.array(entries, dtype=float).reshape(-1, 3).T
        picture = axis.scatter(right_to, down_to, c=values, s=4, rasterized=True, **scale)
        axis.set_ylim(len(rows) - 0.5, -0.5)
    figure.colorbar(picture, ax=axis, label=title)
    _name_tasks(axis, columns, across)
    if len(rows) <= _WRITTEN:
        axis.set_yticks(range(len(rows)), [*map(shortened, rows)], fontsize=8)
    else:
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        down += ", by number"
    axis.set_ylabel(down)
    if most <= _WRITTEN:
        for row, column, value in entries:
            red, green, blue, _ = picture.to_rgba(np.array(value))
            color = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "white"
            axis.text(column, row, f"{value:.3f}", ha="center", va="center", color=color, size=8)
    return figure
