"""What a run leaves behind: result.json, a table for people, and a plot of its recalls."""

import json
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Group
from rich.table import Table
from rich.text import Text

from supsup_bridge.runs.recording import Recorded

_COLUMNS = (
    ("accuracy", "accuracy"),
    ("recalled", "exact_recall_rate"),
    ("task given", "accuracy_given_task"),
    ("task right", "task_inference_accuracy"),
)
_MOST_ROWS = 20  # of the table; a run of more tasks shows evaluations instead


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write a result as JSON, whole or not at all."""
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    draft.replace(path)


def summary(result: dict[str, Any]) -> Group:
    """What a run prints at its end: the settings, one table, and what the memory takes.

    The table has a row per task, or of many tasks some evaluations, and only the columns that hold
    a figure.
    """
    names = result["task_names"]
    columns = [(title, key) for title, key in _COLUMNS if result[key] is not None]
    if len(names) > _MOST_ROWS:
        first = "tasks learned"
        points = result["curve"]
        step = max(1, -(-len(points) // _MOST_ROWS))
        points = points[::-step][::-1]  # the last one always
        rows = [(_learned(point), [point[k] for _, k in columns]) for point in points]
    else:
        first = "task"
        figures = {**result["per_task"], "accuracy": result["accuracy_per_task"]}
        lists = [figures[key] or [] for _, key in columns]
        whole = list(zip_longest(*(part[: len(names)] for part in lists)))
        rows = [(name, list(row)) for name, row in zip(names, whole, strict=False)]
    table = Table(show_footer=True)
    table.add_column(first, footer="all")
    for title, key in columns:
        table.add_column(title, justify="right", footer=_number(result[key]))
    for name, values in rows:
        table.add_row(Text(name), *(_number(value) for value in values))
    seconds = f"{result['seconds']['total']:.0f} s"
    lines = [*_sizes(result), *_mismatch(result), seconds]
    return Group(*map(Text, _title(result)), table, *map(Text, lines))


def allocation_note(result: dict[str, Any]) -> str:
    """NNs: a sentence where the learner allocated another number of masks than there are tasks."""
    masks, tasks = result["masks_allocated"], len(result["task_names"])
    if result["novelty"] is None or masks == tasks:
        return ""
    return (
        f"{masks} mask{'' if masks == 1 else 's'} for {tasks} tasks, by a novelty test every "
        f"{result['config']['ask_every']} batches"
    )


def accuracy_plot(result: dict[str, Any]) -> Figure:
    """Average accuracy over the number of tasks learned: task inferred, and task given."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    tasks = [point["tasks"] for point in result["curve"]]
    for key, label, style in (
        ("accuracy_given_task", "task given", "--"),
        ("accuracy", f"{result['scenario']}: average accuracy", "-"),
        ("task_inference_accuracy", "task right", ":"),
    ):
        values = [point[key] for point in result["curve"]]
        if None not in values:
            axis.plot(tasks, values, style, marker="o", markersize=3, label=label)
    axis.set_xlabel("tasks learned")
    axis.set_ylabel("share of scored images, of inferences")
    axis.set_title("\n".join(_title(result)), fontsize=9)
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def recall_plot(
    records: Sequence[Recorded], names: Sequence[str], masks: Sequence[str], title: str
) -> Figure:
    """Each task's recall, one column per task; names of the tasks, and of the masks learned.

    Above: overlap of the state with every learned mask over the steps, the right one drawn bold.
    Below: energy and, where the recall used it, entropy. A grey band is the basin that was chosen;
    where several were visited they follow one another.
    """
    figure = Figure(figsize=(3.4 * len(records) + 0.8, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(records), sharex="col", squeeze=False)
    for column, record in enumerate(records):
        _overlaps(axes[0][column], record, names, masks)
        _energies(axes[1][column], record, first=column == 0, last=column == len(records) - 1)
        for axis in axes[:, column]:
            _basins(axis, record)
    axes[0][0].set_ylabel("overlap with each learned mask")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)))
    figure.suptitle(title, fontsize=11)
    return figure


def _overlaps(axis: Any, record: Recorded, names: Sequence[str], masks: Sequence[str]) -> None:
    for other in range(record.overlaps.shape[1]):
        right = other in record.right
        axis.plot(
            record.overlaps[:, other].cpu(),
            label=masks[other],
            color=f"C{other % 10}",
            linewidth=3 if right else 1.2,
            alpha=1 if right else 0.8,
            zorder=3 if right else 2,
        )
    found = int(record.hit.task[0])
    correct = found in record.right and bool(record.hit.verified[0])
    axis.set_title(
        f"data: {names[record.number]}\n"
        + (f"recalled: {masks[found]}, every bit" if correct else f"recalled: {masks[found]} ✗"),
        color="black" if correct else "crimson",
        fontsize=10,
    )
    axis.set_ylim(-1.08, 1.08)
    axis.grid(alpha=0.3)


def _basins(axis: Any, record: Recorded) -> None:
    """Shade the chosen basin and separate those visited."""
    attempt, overlap = record.trace.basin, record.trace.overlap[:, 0]
    last = torch.stack([overlap[attempt == a][-1] for a in range(int(attempt[-1]) + 1)])
    for number in range(len(last)):
        (rows,) = torch.nonzero(attempt == number, as_tuple=True)
        if number:
            axis.axvline(int(rows[0]) - 0.5, color="grey", linewidth=0.6)
        if number == int(last.argmax()) and len(last) > 1:
            axis.axvspan(int(rows[0]) - 0.5, int(rows[-1]) + 0.5, color="grey", alpha=0.2)


def _energies(axis: Any, record: Recorded, *, first: bool, last: bool) -> None:
    axis.plot(record.trace.energy[:, 0].cpu(), color="black")
    axis.set_xlabel("step")
    axis.grid(alpha=0.3)
    if first:
        axis.set_ylabel("energy E (black)")
    if record.trace.penalty is not None:
        twin = axis.twinx()
        twin.plot(record.trace.penalty[:, 0].cpu(), color="tab:red", linestyle="--")
        twin.tick_params(axis="y", colors="tab:red")
        if last:
            twin.set_ylabel("penalty, nats (red)", color="tab:red")


def _title(result: dict[str, Any]) -> list[str]:
    """What was run, in one line or two."""
    config, images = result["config"], result["infer_samples"]
    lines = [
        f"{result['benchmark']}, {result['scenario']}: {result['masks']} masks in a "
        f"{result['memory']} memory"
    ]
    if how := config["recall"] or config["inference"]:
        how = "address and entropy" if how == "both" else how
        shown = f"{images} image{'' if images == 1 else 's'}"
        if result["protocol"] == "image":
            shown = "each image by itself"
        lines.append(f"task inferred by {how} from {shown}")
    return lines


def _sizes(result: dict[str, Any]) -> list[str]:
    """What the memory takes, and what a plain list of the same masks would take."""
    sizes, count = result["bytes"], result["masks_allocated"]
    memory, packed = sizes["memory"] / 1e6, sizes["packed_masks"] / 1e6
    rows = [f"as sparse columns with 16-bit indices: {sizes['csc_masks'] / 1e6:.4f} MB"]
    if extras := sizes["extras"]:
        rows.append(f"statistics of normalisation beside them: {extras / 1e6:.4f} MB")
    if result["memory"] == "bank":
        beside = "running mean and statistics" if extras else "running mean"
        return [
            f"{count} masks packed: {packed:.4f} MB, with their {beside} {memory:.4f} MB",
            *rows,
        ]
    hubs = result["config"]["hubs"]
    room = "any number of" if hubs is None else f"up to {hubs}"
    return [
        f"memory: {memory:.1f} MB for {room} tasks; a packed list of these {count} masks: "
        f"{packed:.4f} MB",
        *rows,
        "gained: one size from the first task on, and recall without a list of masks",
    ]


def _mismatch(result: dict[str, Any]) -> list[str]:
    """NNs: what the learner refused, and where masks and tasks differ in number."""
    refused = (result["novelty"] or {}).get("refused", 0)
    spent = [f"budget spent: a new mask refused {refused} times"] if refused else []
    return [*spent, *filter(None, [allocation_note(result)])]


def _learned(point: dict[str, Any]) -> str:
    """How many tasks were learned at a point of the curve, and scored, if these were fewer."""
    learned, scored = point["tasks"], point["scored"]
    return str(learned) if scored == learned else f"{learned} ({scored} scored)"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
