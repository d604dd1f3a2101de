"""What a run leaves behind: a file and a table."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from supsup_bridge import Experiment
from supsup_bridge.runs.report import allocation_note, summary, write_json


def rendered(result: dict[str, Any]) -> str:
    """A summary in a terminal of 80 columns."""
    console = Console(file=io.StringIO(), width=80)
    console.print(summary(result))
    return console.file.getvalue()


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


FIGURES = ("accuracy", "exact_recall_rate", "accuracy_given_task", "task_inference_accuracy")


def cells(text: str, name: str) -> list[str]:
    """Of the table's row of that name."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"│ {name} ")]
    return [cell.strip() for cell in line.strip("│").split("│")[1:]]


def test_the_table_has_all_figures_of_each_task_and_of_all(finished) -> None:
    result = finished().result()
    text = rendered(result)
    assert cells(text, "all") == [f"{result[key]:.4f}" for key in FIGURES]
    lists = [result["accuracy_per_task"], *(result["per_task"][key] for key in FIGURES[1:])]
    for task, name in enumerate(result["task_names"]):
        assert cells(text, name) == [f"{values[task]:.4f}" for values in lists]


@pytest.mark.parametrize("changes", [{}, {"memory": "bank"}, {"scenario": "GG"}], ids=str)
def test_no_column_is_empty_and_no_line_is_wrapped(changes: dict, finished) -> None:
    result = finished(**changes).result()
    text = rendered(result)
    assert len(cells(text, "all")) == sum(result[key] is not None for key in FIGURES)
    assert all("" not in cells(text, name) for name in ["all", *result["task_names"]])
    wide = Console(file=io.StringIO(), width=1000)
    wide.print(summary(result))
    lines = [[line.rstrip() for line in t.splitlines()] for t in (text, wide.file.getvalue())]
    assert lines[0] == lines[1]


def test_the_summary_says_what_was_run_and_what_it_takes(finished) -> None:
    result = finished().result()
    text, memory = rendered(result), result["bytes"]["memory"] / 1e6
    assert "split-digits, GNu: weight masks in a hopfield memory\n" in text
    assert "task inferred by posterior from 1 image, once for every 128 scored\n" in text
    packed = f"a packed list of these 2 masks: {2 * 59_200 / 8e6:.4f} MB"
    assert f"memory: {memory:.1f} MB for up to 2 tasks; {packed}\n" in text
    sparse = f"{result['bytes']['csc_masks'] / 1e6:.4f} MB"
    assert f"as sparse columns with 16-bit indices: {sparse}\n" in text


def test_the_summary_says_from_what_the_task_was_inferred(finished) -> None:
    both = rendered(finished(recall="both", infer_samples=8).result())
    assert "task inferred by address and entropy from 8 images, once for every 128 scored\n" in both
    alone = rendered(finished(protocol="image").result())
    assert "task inferred by posterior from each image by itself\n" in alone


def test_a_summary_of_a_run_without_any_task_renders(small: Callable[..., Any]) -> None:
    assert "│ all  │" in rendered(Experiment(small()).result())


def test_the_summary_of_a_bank_says_how_the_task_was_inferred_and_what_it_takes(finished) -> None:
    result = finished(memory="bank", inference="one-shot").result()
    text = rendered(result)
    how = "task inferred by one-shot from 1 image, once for every 128 scored"
    assert f"weight masks in a bank memory\n{how}\n" in text
    assert f"2 masks packed: {result['bytes']['packed_masks'] / 1e6:.4f} MB" in text
    assert f"16-bit indices: {result['bytes']['csc_masks'] / 1e6:.4f} MB\n" in text


def test_the_summary_of_given_tasks_names_no_inference(finished) -> None:
    for memory in ("hopfield", "bank"):
        assert "inferred" not in rendered(finished(memory=memory, scenario="GG").result())


def test_many_tasks_get_a_row_for_each_evaluation(finished) -> None:
    result = finished(tasks=3).result()
    points = [
        {**point, "tasks": 100 * n, "scored": 100 * n, "accuracy": 0.1234 * n}
        for n, point in enumerate(result["curve"], 1)
    ]
    names = [f"task {i}" for i in range(300)]
    text = rendered({**result, "curve": points, "task_names": names})
    assert "task 17" not in text
    for point in points:
        assert cells(text, str(point["tasks"]))[0] == f"{point['accuracy']:.4f}"


def test_of_many_evaluations_some_are_shown_and_always_the_last(finished) -> None:
    result = finished(tasks=3).result()
    point = result["curve"][0]
    points = [{**point, "tasks": n, "scored": min(n, 100)} for n in range(1, 251)]
    text = rendered({**result, "curve": points, "task_names": ["a task"] * 250})
    shown = [line.split("│")[1].strip() for line in text.splitlines() if "scored) │" in line]
    assert shown[-1] == "250 (100 scored)"
    assert text.count("\n│ ") <= 20 + 2  # with the totals and whatever begins the table


def test_a_learner_that_found_other_tasks_is_noted(finished) -> None:
    result = finished(scenario="NNs").result()
    one = {**result, "masks_allocated": 1}
    assert "1 mask for 2 tasks" in allocation_note(one)
    assert allocation_note(one) in rendered(one)
    assert allocation_note({**result, "masks_allocated": 2}) == ""
    assert allocation_note({**finished().result(), "masks_allocated": 1}) == ""
