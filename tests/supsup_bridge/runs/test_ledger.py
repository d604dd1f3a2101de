"""What a run has measured, and which mask served which task."""

import pytest

from supsup_bridge.runs.evaluation import Scores
from supsup_bridge.runs.ledger import Ledger


def filled() -> Ledger:
    """Three tasks learned and scored, the middle one in a row of its own."""
    ledger = Ledger(tasks=4)
    for number, row in enumerate([[1.0], [None, 0.5], [0.75, 0.5, 1.0]]):
        ledger.learned([0] * number + [10])
        ledger.scored(Scores(row=[*row, *[None] * (4 - len(row))]), whole=number != 1)
    return ledger


def test_the_curve_has_the_whole_rows_alone() -> None:
    assert [point["tasks"] for point in filled().curve] == [1, 3]
    assert len(filled().matrix) == 3


def test_figures_are_of_the_last_whole_row() -> None:
    ledger = filled()
    ledger.learned([0, 0, 0, 10])
    ledger.scored(Scores(row=[None, None, None, 0.1]), whole=False)
    figures = ledger.figures()
    assert figures["accuracy"] == pytest.approx(0.75)
    assert figures["forgetting"] == pytest.approx((0.25 + 0.0) / 2)
    assert figures["backward_transfer"] == pytest.approx(-0.25 / 2)
    assert len(figures["accuracy_matrix"]) == 4


def test_scoring_the_same_tasks_again_replaces_the_row() -> None:
    ledger = filled()
    ledger.scored(Scores(row=[0.0, 0.0, 0.0, None]), whole=True)
    assert [point["tasks"] for point in ledger.curve] == [1, 3]
    assert ledger.matrix[-1] == [0.0, 0.0, 0.0, None]
    assert ledger.curve[-1]["accuracy"] == 0


def test_what_is_scored_anew_is_not_compared_with_what_was_before() -> None:
    ledger = filled()
    ledger.start_anew()
    ledger.scored(Scores(row=[0.5, 0.5, 0.5, None]), whole=True)
    figures = ledger.figures()
    assert figures["accuracy"] == 0.5
    assert figures["forgetting"] is None
    assert figures["backward_transfer"] is None
    assert [point["tasks"] for point in figures["curve"]] == [3]
    assert figures["accuracy_matrix"] == [[None] * 4, [None] * 4, [0.5, 0.5, 0.5, None]]


def test_before_any_score_there_are_no_figures() -> None:
    figures = Ledger(tasks=2).figures()
    assert figures["accuracy"] is None
    assert figures["forgetting"] is None
    assert figures["curve"] == []


def test_figures_are_copies() -> None:
    ledger = filled()
    figures = ledger.figures()
    figures["accuracy_matrix"][0][0] = 9.0
    figures["accuracy_per_task"][0] = 9.0
    figures["curve"][0]["tasks"] = 9
    assert ledger.matrix[0][0] == 1.0
    assert ledger.scores.row[0] == 0.75
    assert ledger.curve[0]["tasks"] == 1


def test_the_mask_of_a_task_is_the_one_that_served_most_of_it() -> None:
    ledger = Ledger(tasks=3)
    ledger.learned([7, 3])
    ledger.learned([2, 4, 4])
    assert [ledger.mask_of(task) for task in range(2)] == [0, 1]


def test_a_mask_belongs_to_the_task_that_used_it_most() -> None:
    ledger = Ledger(tasks=3)
    ledger.learned([7, 3])
    ledger.learned([2, 4, 4])
    ledger.learned([6])
    assert [ledger.masks_of(task) for task in range(3)] == [{0}, {1, 2}, set()]
