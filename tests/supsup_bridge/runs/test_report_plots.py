"""Plots of a run's figures."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from supsup_bridge.runs import intervals
from supsup_bridge.runs.report_plots import (
    accuracy_plot,
    intervals_of,
    matrix_plot,
    mistaken_plot,
    tasks_plot,
)


def drawn(figure: Figure) -> dict[str, list[float]]:
    """What a line's label begins with -> its values."""
    (axis,) = figure.axes
    return {line.get_label().split(", at")[0]: [*line.get_ydata()] for line in axis.get_lines()}


def many(result: dict[str, Any], tasks: int) -> dict[str, Any]:
    """A result as of a run of so many tasks."""
    numbers = range(tasks)
    row = [0.5 + 0.4 * n / tasks for n in numbers]
    point = {**result["curve"][-1], "tasks": tasks, "scored": tasks}
    return {
        **result,
        "task_names": [f"permutation {n}" for n in numbers],
        "images": {part: [100] * tasks for part in result["images"]},
        "curve": [point],
        "accuracy_per_task": row,
        "per_task": {
            **result["per_task"],
            "accuracy_given_task": row,
            "inferences": [10] * tasks,
            "mistaken_for": [[[(n + 1) % tasks, 5]] for n in numbers],
        },
        "accuracy_matrix": None if tasks > 256 else [[None] * tasks] * (tasks - 1) + [row],
        "measured": [[tasks - 1, n, value] for n, value in enumerate(row)] if tasks > 256 else None,
    }


def test_the_curve_shows_accuracy_over_the_tasks_learned(finished) -> None:
    result = finished(tasks=3).result()
    figure = accuracy_plot(result)
    lines = drawn(figure)
    assert lines["GNu: average accuracy"] == [point["accuracy"] for point in result["curve"]]
    given = [point["accuracy_given_task"] for point in result["curve"]]
    assert lines["accuracy with the task given"] == given
    assert list(figure.axes[0].get_lines()[0].get_xdata()) == [1, 2, 3]


def test_the_curve_of_given_tasks_has_no_line_of_inferences(finished) -> None:
    name = "inferences that named the task"
    assert name in drawn(accuracy_plot(finished().result()))
    assert name not in drawn(accuracy_plot(finished(scenario="GG").result()))


def test_no_line_hides_one_below(finished) -> None:
    widths = [line.get_linewidth() for line in accuracy_plot(finished().result()).axes[0].lines]
    assert widths == sorted(widths, reverse=True)
    assert len({*widths}) == 3


def test_shares_are_drawn_whole_and_tasks_in_whole_numbers(finished) -> None:
    for tasks in (1, 3):
        result = finished(tasks=tasks).result()
        for figure in (accuracy_plot(result), tasks_plot(result)):
            figure.canvas.draw()
            (axis,) = figure.axes
            low, high = axis.get_ylim()
            assert low <= 0
            assert high >= 1
            assert all(tick == int(tick) for tick in axis.get_xticks())


def test_the_band_is_the_interval_over_the_tasks_of_a_point(finished) -> None:
    result = finished(tasks=3).result()
    found = intervals_of(result)
    rows = [row[:n] for n, row in enumerate(result["accuracy_matrix"], 1)]
    expected = [(n, intervals.over_tasks(rows[n - 1])) for n in (2, 3)]
    assert found == [(n, ends) for n, ends in expected if ends is not None]
    assert found[-1][0] == 3
    measured = [[n, j, value] for n, row in enumerate(rows) for j, value in enumerate(row)]
    listed = {**result, "accuracy_matrix": None, "measured": measured}
    assert intervals_of(listed) == found


def test_a_heat_map_writes_the_accuracies_of_few_tasks(finished) -> None:
    result = finished(tasks=3).result()
    texts = [text.get_text() for text in matrix_plot(result).axes[0].texts]
    assert texts == [
        f"{row[j]:.3f}" for n, row in enumerate(result["accuracy_matrix"]) for j in range(n + 1)
    ]


def test_beyond_the_matrix_its_measured_entries_are_drawn(finished) -> None:
    result = many(finished().result(), 300)
    (points,) = matrix_plot(result).axes[0].collections
    assert points.get_offsets().tolist() == [[n, 299] for n in range(300)]
    assert points.get_array().tolist() == result["accuracy_per_task"]


def test_mistakes_are_drawn_as_shares_of_the_inferences_of_a_task(finished) -> None:
    result = many(finished().result(), 4)
    axis = mistaken_plot(result, result["task_names"]).axes[0]
    (picture,) = axis.images
    assert [picture.get_array()[n, (n + 1) % 4] for n in range(4)] == [0.5] * 4
    assert picture.get_array().count() == 4


def pictures(result: dict[str, Any]) -> Iterable[Figure]:
    yield from (accuracy_plot(result), tasks_plot(result), matrix_plot(result))
    yield mistaken_plot(result, result["task_names"])


@pytest.mark.parametrize("tasks", [1, 2, 13, 300])
def test_titles_and_labels_lie_inside_the_figures(tasks: int, finished, tmp_path: Path) -> None:
    result = {**finished().result(), "benchmark": "permuted-mnist", "infer_samples": 128}
    result = many(result, tasks)
    result["task_names"] = [
        f"{n}, a name, of many classes, each of them named" for n in range(tasks)
    ]
    for figure in pictures(result):
        figure.savefig(tmp_path / "plot.png")
        box = figure.get_tightbbox(figure.canvas.get_renderer())
        width, height = figure.get_size_inches()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
