"""A plot of what recalls did, step by step."""

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from supsup_bridge.runs.recording import Recorded
from supsup_bridge.runs.report_plots import new_figure, shortened

_ACROSS = 5  # recalls side by side


def recall_plot(
    records: Sequence[Recorded], names: Sequence[str], masks: Sequence[str], title: str
) -> Figure:
    """Each task's recall, one column per task; names of the tasks, and of the masks learned.

    Above: overlap of the state with every learned mask over the steps, the right one drawn bold.
    Below: energy and, where the recall used it, the penalty, entropy for one. A recall visits one
    basin, a candidate, after the other; a thin line parts them. The one it chose is shaded.
    """
    penalised = any(record.trace.penalty is not None for record in records)
    rows = 3 if penalised else 2
    blocks = [records[i : i + _ACROSS] for i in range(0, len(records), _ACROSS)]
    across = min(len(records), _ACROSS)
    figure = new_figure(max(5.0, 2.8 * across + 0.8), (1.9 * rows + 0.4) * len(blocks) + 1.2)
    parts = figure.subfigures(len(blocks), 1, squeeze=False)[:, 0]
    for part, block in zip(parts, blocks, strict=True):
        axes = part.subplots(rows, across, sharex="col", sharey="row", squeeze=False)
        for column, record in enumerate(block):
            _overlaps(axes[0][column], record, names, masks)
            _energies(axes[1][column], record)
            if penalised:
                _penalties(axes[2][column], record)
            for axis in axes[:, column]:
                _basins(axis, record)
            axes[-1][column].set_xlabel("step")
            axes[-1][column].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        for axis in axes[:, len(block) :].flat:
            axis.set_visible(False)
        axes[0][0].set_ylabel("overlap with each\nlearned mask")
        axes[1][0].set_ylabel("energy E")
        if penalised:
            axes[2][0].set_ylabel("penalty, nats")
    _explain(figure, masks[: records[0].overlaps.shape[1]], across)
    figure.suptitle(title, fontsize=11)
    return figure


def chosen(record: Recorded) -> int:
    """Number of the basin whose end is nearest to the answer."""
    basin, overlap = record.trace.basin, record.trace.overlap[:, 0]
    ends = [overlap[basin == number][-1] for number in range(int(basin[-1]) + 1)]
    return int(torch.stack(ends).argmax())


def _explain(figure: Figure, masks: Sequence[str], across: int) -> None:
    """The legend: a colour a mask, and what bold and shaded mean."""
    lines = [Line2D([], [], color=_color(n), label=shortened(name)) for n, name in enumerate(masks)]
    figure.legend(
        handles=[
            *lines,
            Line2D([], [], color="grey", linewidth=4, label="bold: the right mask"),
            Patch(color="grey", alpha=0.2, label="shaded: the candidate that was chosen"),
        ],
        loc="outside lower center",
        ncols=min(across + 2, len(lines) + 2),
        fontsize=9,
        frameon=False,
    )


def _color(mask: int) -> str:
    return f"C{mask % 10}"


def _overlaps(axis: Axes, record: Recorded, names: Sequence[str], masks: Sequence[str]) -> None:
    for other in range(record.overlaps.shape[1]):
        right = other in record.right
        _by_basin(
            axis,
            record,
            record.overlaps[:, other],
            label=masks[other],
            color=_color(other),
            linewidth=3 if right else 1.2,
            markersize=8 if right else 4,
            zorder=2 if right else 3,  # bold lines lie under thin ones, which show where they meet
        )
    found = int(record.hit.task[0])
    correct = found in record.right and bool(record.hit.verified[0])
    axis.set_title(
        f"images of: {shortened(names[record.number])}\n"
        + (
            "recalled: its mask, every bit" if correct else f"recalled: {shortened(masks[found])} ✗"
        ),
        color="black" if correct else "crimson",
        fontsize=9,
    )
    axis.set_ylim(min(axis.get_ylim()[0], -0.08), 1.08)


def _energies(axis: Axes, record: Recorded) -> None:
    _by_basin(axis, record, record.trace.energy[:, 0], color="black", markersize=4)


def _penalties(axis: Axes, record: Recorded) -> None:
    if record.trace.penalty is not None:
        _by_basin(axis, record, record.trace.penalty[:, 0], color="tab:red", markersize=4)


def _by_basin(axis: Axes, record: Recorded, values: torch.Tensor, **style: Any) -> None:
    """Draw values over the steps, with no line from the end of a basin to the start of the next."""
    basin, values = record.trace.basin.cpu(), values.cpu()
    for number in range(int(basin[-1]) + 1):
        (rows,) = torch.nonzero(basin == number, as_tuple=True)
        marker = "o" if len(rows) == 1 else None  # one point makes no line
        axis.plot(rows, values[rows], marker=marker, **style)
        style.pop("label", None)
    axis.grid(alpha=0.3)


def _basins(axis: Axes, record: Recorded) -> None:
    """Separate the basins visited, and shade the chosen one, if there was a choice."""
    basin, best = record.trace.basin, chosen(record)
    count = int(basin[-1]) + 1
    for number in range(count):
        (rows,) = torch.nonzero(basin == number, as_tuple=True)
        if number:
            axis.axvline(int(rows[0]) - 0.5, color="grey", linewidth=0.6)
        if number == best and count > 1:
            axis.axvspan(int(rows[0]) - 0.5, int(rows[-1]) + 0.5, color="grey", alpha=0.2)
