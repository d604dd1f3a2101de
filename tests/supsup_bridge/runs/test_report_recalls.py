"""The plot of what recalls did."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from supsup_bridge import Experiment
from supsup_bridge.continual.task_agnostic.novelty import Verdict
from supsup_bridge.runs.report_recalls import chosen, recall_plot


def plot(experiment: Experiment) -> Figure:
    names = [task.name for task in experiment.stream]
    masks = experiment.mask_names()
    return recall_plot(list(experiment.record()), names, masks, "what each recall did")


def shown(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def bold(axes: Axes) -> set[str]:
    return {line.get_color() for line in axes.get_lines() if line.get_linewidth() == 3}


def titled(figure: Figure) -> list[Axes]:
    """The upper row."""
    return [axes for axes in shown(figure) if axes.get_title()]


def explained(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize(("recall", "rows"), [("both", 3), ("address", 2), ("entropy", 3)])
def test_the_penalty_has_a_row_of_its_own_where_the_recall_used_it(
    recall: str, rows: int, finished
) -> None:
    figure = plot(finished(recall=recall))
    assert len(shown(figure)) == rows * 2
    below = [axes.get_ylabel() for axes in shown(figure) if axes.get_ylabel()]
    assert ("penalty, nats" in below) == (rows == 3)


def test_the_plot_shows_every_learned_mask_in_every_overlap(finished) -> None:
    figure = plot(finished(recall="address"))
    for axes in titled(figure):
        assert {line.get_color() for line in axes.get_lines()} >= {"C0", "C1"}
    assert explained(figure)[:2] == ["digits 0 and 1", "digits 2 and 3"]


def test_the_legend_says_what_bold_and_shaded_mean(finished) -> None:
    assert [text.split(":")[0] for text in explained(plot(finished()))[2:]] == ["bold", "shaded"]


def test_untold_runs_are_plotted_by_mask_whatever_their_number(small, quiet, tmp_path) -> None:
    """Two tasks, four masks: the second task's are masks 2 and 3."""
    experiment = Experiment(small(scenario="NNs", ask_every=10))
    verdict = Verdict(mask=0, strength=0.0, new=True)
    experiment.free.test.judge = lambda images: verdict
    experiment.run(quiet)
    assert experiment.mask_names() == ["mask 0", "mask 1", "mask 2", "mask 3"]
    records = list(experiment.record())
    assert [record.right for record in records] == [{0, 1}, {2, 3}]
    figure = plot(experiment)
    figure.savefig(tmp_path / "recall.png")
    assert [bold(axes) for axes in titled(figure)] == [{"C0", "C1"}, {"C2", "C3"}]


def test_no_line_joins_two_basins(finished) -> None:
    """Units have basins of many steps: a line spans the steps of its own basin, all of them."""
    experiment = finished(masks="unit")
    record = next(experiment.record())
    ends = {
        (min(rows), max(rows))
        for n in range(int(record.trace.basin[-1]) + 1)
        for rows in [[i for i, basin in enumerate(record.trace.basin) if basin == n]]
    }
    assert len(ends) == 2
    lines = [line for line in titled(plot(experiment))[0].get_lines() if len(line.get_xdata()) > 2]
    assert {(min(line.get_xdata()), max(line.get_xdata())) for line in lines} == ends


def test_the_chosen_basin_ends_at_the_answer(finished) -> None:
    for record in finished(masks="unit").record():
        end = [n for n, basin in enumerate(record.trace.basin) if basin == chosen(record)][-1]
        assert record.trace.overlap[end, 0] == record.trace.overlap.max()


@pytest.mark.parametrize("masks", ["weight", "unit"])
def test_steps_are_counted_in_whole_numbers(masks: str, finished) -> None:
    for tasks in (1, 2):
        figure = plot(finished(tasks=tasks, masks=masks))
        figure.canvas.draw()
        for axes in shown(figure):
            assert all(tick == int(tick) for tick in axes.get_xticks())


def test_the_plot_is_saved_as_a_picture(finished, tmp_path: Path) -> None:
    for tasks in (1, 2):
        path = tmp_path / f"{tasks}.png"
        plot(finished(tasks=tasks)).savefig(path)
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("tasks", [1, 3])
def test_titles_lie_inside_the_figure(tasks: int, finished) -> None:
    experiment = finished(tasks=tasks)
    title = "permuted-mnist, seed 1234\nwhat each recall did, step by step"
    names = [f"{name}, and many classes more than these" for name in experiment.names()]
    figure: Any = recall_plot(list(experiment.record()), names, names, title)
    figure.canvas.draw()
    for text in (figure._suptitle, *(axes.title for axes in titled(figure))):
        box = text.get_window_extent(figure.canvas.get_renderer())
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
    boxes = [axes.title.get_window_extent() for axes in titled(figure)]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_more_recalls_than_fit_side_by_side_continue_below(finished) -> None:
    experiment = finished(tasks=2)
    records = [*experiment.record()] * 4
    figure = recall_plot(records, experiment.names(), experiment.mask_names(), "eight recalls")
    assert len(titled(figure)) == 8
    figure.canvas.draw()
    places = {round(axes.get_window_extent().y0) for axes in titled(figure)}
    assert len(places) == 2
