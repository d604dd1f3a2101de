"""What a run leaves behind: a file, a table and a plot."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from supsup_bridge import Experiment
from supsup_bridge.continual.task_agnostic.novelty import Verdict
from supsup_bridge.runs.report import accuracy_plot, recall_plot, summary_table, write_json


def rendered(result: dict[str, Any], names: list[str]) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(summary_table(result, names))
    return console.file.getvalue()


def plot(experiment: Experiment) -> Figure:
    names = [task.name for task in experiment.stream]
    masks = experiment.mask_names()
    return recall_plot(list(experiment.record()), names, masks, "what each recall did")


def places(figure: Figure) -> set[Any]:
    """Where axes stand; twins stand in one place."""
    return {axes.get_subplotspec().get_geometry() for axes in figure.axes}


# --- result.json


def test_a_result_is_written_and_nothing_else(tmp_path: Path) -> None:
    write_json({"accuracy": 0.5, "task": None, "name": "é"}, tmp_path / "result.json")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    text = (tmp_path / "result.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"accuracy": 0.5, "task": None, "name": "é"}
    assert text.endswith("}\n")


def test_a_result_replaces_the_one_before(tmp_path: Path) -> None:
    write_json({"run": 1, "long": "x" * 1000}, tmp_path / "result.json")
    write_json({"run": 2}, tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text()) == {"run": 2}


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), object()])
def test_what_json_cannot_say_leaves_the_old_result(broken: Any, tmp_path: Path) -> None:
    write_json({"run": 1}, tmp_path / "result.json")
    with pytest.raises((ValueError, TypeError)):
        write_json({"run": 2, "accuracy": broken}, tmp_path / "result.json")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert json.loads((tmp_path / "result.json").read_text()) == {"run": 1}


# --- the table


def test_the_table_has_a_row_for_each_task_and_the_figures(finished) -> None:
    experiment = finished()
    result, names = experiment.result(), [task.name for task in experiment.stream]
    text = rendered(result, names)
    for name, accuracy in zip(names, result["accuracy_per_task"], strict=True):
        (line,) = [line for line in text.splitlines() if name in line]
        assert f"{accuracy:.4f}" in line
    for key in ("accuracy", "accuracy_given_task", "task_inference_accuracy"):
        assert f"{result[key]:.4f}" in text


def test_the_table_says_what_was_run(finished) -> None:
    text = rendered(finished().result(), ["a", "b"])
    assert "split-digits, GNu, hashed masks" in text
    assert "hopfield" in text


def test_a_figure_without_meaning_is_a_dash(finished) -> None:
    result = finished(scenario="GG").result()
    assert result["task_inference_accuracy"] is None
    assert "–" in rendered(result, ["a", "b"])


def test_a_table_of_a_run_without_any_task_renders(small: Callable[..., Any]) -> None:
    text = rendered(Experiment(small()).result(), ["first", "second"])
    assert "first" not in text
    assert "–" in text


def test_the_table_of_a_bank_says_how_the_task_was_inferred_and_what_it_takes(finished) -> None:
    result = finished(memory="bank", inference="one-shot").result()
    text = " ".join(rendered(result, ["a", "b"]).split())
    assert "weight masks in a bank memory, task by one-shot" in text
    assert f"2 masks, packed {result['bytes']['packed_masks'] / 1e6:.4f} MB" in text


@pytest.mark.parametrize("memory", ["hopfield", "bank"])
def test_the_table_of_told_tasks_names_no_inference(memory: str, finished) -> None:
    text = rendered(finished(memory=memory, scenario="GG").result(), ["a", "b"])
    assert "task by" not in text


def test_many_tasks_get_a_row_for_each_evaluation(finished) -> None:
    result = finished(tasks=3).result()
    points = [
        {**point, "tasks": 100 * point["tasks"], "accuracy": 0.1234 * point["tasks"]}
        for point in result["curve"]
    ]
    text = rendered({**result, "curve": points}, [f"task {i}" for i in range(300)])
    assert "task 17" not in text
    for point in points:
        (line,) = [line for line in text.splitlines() if f" {point['tasks']} " in line]
        assert f"{point['accuracy']:.4f}" in line


# --- the plot


@pytest.mark.parametrize("recall", ["both", "address"])
def test_the_plot_has_two_axes_for_each_task(recall: str, finished) -> None:
    figure = plot(finished(recall=recall))
    assert len(places(figure)) == 2 * 2


def test_the_plot_shows_every_learned_mask_in_every_overlap(finished) -> None:
    figure = plot(finished(recall="address"))
    for axes in figure.axes[:2]:
        labels = {line.get_label() for line in axes.get_lines()}
        assert {"digits 0 and 1", "digits 2 and 3"} <= labels


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
    for axes, right in zip(figure.axes[:2], ({0, 1}, {2, 3}), strict=True):
        wide = {line.get_label() for line in axes.get_lines() if line.get_linewidth() == 3}
        assert wide == {f"mask {number}" for number in right}


def test_entropy_is_drawn_where_the_recall_used_it(finished) -> None:
    without, with_it = (len(plot(finished(recall=r)).axes) for r in ("address", "entropy"))
    assert (without, with_it) == (4, 6)


def test_the_plot_is_saved_as_a_picture(finished, tmp_path: Path) -> None:
    path = tmp_path / "recall.png"
    plot(finished()).savefig(path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_run_of_one_task_can_be_plotted(finished, tmp_path: Path) -> None:
    figure = plot(finished(tasks=1))
    figure.savefig(tmp_path / "recall.png")
    assert len(places(figure)) == 2


# --- the curve


def drawn(figure: Figure) -> dict[str, list[float]]:
    (axis,) = figure.axes
    return {line.get_label(): list(line.get_ydata()) for line in axis.get_lines()}


def test_the_curve_shows_accuracy_over_the_tasks_learned(finished) -> None:
    result = finished(tasks=3).result()
    figure = accuracy_plot(result)
    lines = drawn(figure)
    assert lines["GNu: average accuracy"] == [point["accuracy"] for point in result["curve"]]
    assert lines["task told"] == [point["accuracy_given_task"] for point in result["curve"]]
    assert list(figure.axes[0].get_lines()[0].get_xdata()) == [1, 2, 3]


def test_the_curve_of_told_tasks_has_no_line_of_inferences(finished) -> None:
    assert "task right" in drawn(accuracy_plot(finished().result()))
    assert "task right" not in drawn(accuracy_plot(finished(scenario="GG").result()))


def test_the_curve_is_saved_as_a_picture(finished, tmp_path: Path) -> None:
    for memory in ("hopfield", "bank"):
        accuracy_plot(finished(memory=memory).result()).savefig(tmp_path / "accuracy.png")
        assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
