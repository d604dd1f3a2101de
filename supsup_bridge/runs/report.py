"""What a run leaves behind: result.json, and a table for people."""

import json
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

_COLUMNS = (
    ("accuracy", "accuracy"),
    ("mask right", "exact_recall_rate"),
    ("task given", "accuracy_given_task"),
    ("task right", "task_inference_accuracy"),
)
_MOST_ROWS = 20  # of the table; a run of more tasks shows evaluations instead


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write a result as JSON, whole or not at all."""
    write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write a text file, whole or not at all."""
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(text, encoding="utf-8", errors="backslashreplace")
    draft.replace(path)


def measured_in(result: dict[str, Any]) -> list[list[float]]:
    """What was measured of the accuracy matrix: [row, column, accuracy], in the order of the rows.

    Example:
        >>> measured_in({"accuracy_matrix": [[1.0, None], [None, 0.5]]})
        [[0, 0, 1.0], [1, 1, 0.5]]
    """
    if result["accuracy_matrix"] is None:
        measured: list[list[float]] = result["measured"]
        return measured
    rows = enumerate(result["accuracy_matrix"])
    entries = [[row, task, value] for row, values in rows for task, value in enumerate(values)]
    return [entry for entry in entries if entry[2] is not None]


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
    return Group(*map(Text, title_of(result)), table, *map(Text, lines))


def title_of(result: dict[str, Any]) -> list[str]:
    """What was run, in one line or two."""
    config, images = result["config"], result["infer_samples"]
    what = f"{result['masks']} masks in a {result['memory']} memory"
    if result["memory"] is None:
        what = f"learner {result['learner']}"
    lines = [f"{result['benchmark']}, {result['scenario']}: {what}"]
    if how := config["recall"] or config["inference"]:
        how = "address and entropy" if how == "both" else how
        shown = f"{images} image{'' if images == 1 else 's'}, once for every 128 scored"
        if result["protocol"] == "image":
            shown = "each image by itself"
        lines.append(f"task inferred by {how} from {shown}")
    return lines


def allocation_note(result: dict[str, Any]) -> str:
    """NNs: a sentence where the learner allocated another number of masks than there are tasks."""
    masks, tasks = result["masks_allocated"], len(result["task_names"])
    if result["novelty"] is None or masks == tasks:
        return ""
    return (
        f"{masks} mask{'' if masks == 1 else 's'} for {tasks} tasks, by a novelty test every "
        f"{result['config']['ask_every']} batches"
    )


def _sizes(result: dict[str, Any]) -> list[str]:
    """What the memory takes, and what a plain list of the same masks would take."""
    sizes, count = result["bytes"], result["masks_allocated"]
    if result["memory"] is None:
        return [f"kept: {sizes['memory'] / 1e6:.4f} MB"]
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
