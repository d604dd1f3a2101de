"""What a run has measured, and which mask served which task."""

import pytest
import torch

from supsup_bridge import Task
from supsup_bridge.runs.evaluation import Scores
from supsup_bridge.runs.ledger import Ledger
from supsup_bridge.runs.state_tree import packed, unpacked


def filled() -> Ledger:
    """Three tasks learned and scored, the middle one in a row of its own."""
    ledger = Ledger(tasks=4)
    for number, row in enumerate([{0: 1.0}, {1: 0.5}, {0: 0.75, 1: 0.5, 2: 1.0}]):
        ledger.learned({number: 10})
        ledger.scored(Scores(row=row), point=number != 1)
    return ledger


def test_the_curve_has_the_whole_rows_alone() -> None:
    assert [point["tasks"] for point in filled().curve] == [1, 3]
    assert len(filled().matrix) == 3


def test_figures_are_of_the_last_whole_row() -> None:
    ledger = filled()
    ledger.learned({3: 10})
    ledger.scored(Scores(row={3: 0.1}), point=False)
    figures = ledger.figures()
    assert figures["accuracy"] == pytest.approx(0.75)
    assert figures["forgetting"] == pytest.approx((0.25 + 0.0) / 2)
    assert figures["backward_transfer"] == pytest.approx(-0.25 / 2)
    assert len(figures["accuracy_matrix"]) == 4


def test_scoring_the_same_tasks_again_replaces_the_row() -> None:
    ledger = filled()
    ledger.scored(Scores(row=dict.fromkeys(range(3), 0.0)), point=True)
    assert [point["tasks"] for point in ledger.curve] == [1, 3]
    assert ledger.matrix[-1] == {0: 0.0, 1: 0.0, 2: 0.0}
    assert ledger.curve[-1]["accuracy"] == 0


def test_what_is_scored_anew_is_not_compared_with_what_was_before() -> None:
    ledger = filled()
    ledger.start_anew()
    ledger.scored(Scores(row=dict.fromkeys(range(3), 0.5)), point=True)
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
    ledger.learned({0: 7, 1: 3})
    ledger.learned({0: 2, 1: 4, 2: 4})
    assert [ledger.mask_of(task) for task in range(2)] == [0, 1]


def test_a_mask_belongs_to_the_task_that_used_it_most() -> None:
    ledger = Ledger(tasks=3)
    ledger.learned({0: 7, 1: 3})
    ledger.learned({0: 2, 1: 4, 2: 4})
    ledger.learned({0: 6})
    assert [ledger.masks_of(task) for task in range(3)] == [{0}, {1, 2}, set()]


def test_a_task_that_begins_again_after_a_break_is_noted_once() -> None:
    def task(name: str, train: int) -> Task:
        images = torch.zeros(train, 4)
        return Task(
            name=name,
            train_images=images,
            train_labels=torch.zeros(train, dtype=torch.long),
            inference_images=images[:2],
            scored_images=images[:1],
            scored_labels=torch.zeros(1, dtype=torch.long),
        )

    ledger = Ledger(tasks=2)
    ledger.begun(task("a", 3))
    ledger.learned({0: 1})
    ledger.begun(task("b", 5))
    ledger.begun(task("b", 5))
    assert ledger.figures()["task_names"] == ["a"]  # the second is not learned yet
    ledger.learned({1: 1})
    figures = ledger.figures()
    assert figures["task_names"] == ["a", "b"]
    assert figures["images"] == {"train": [3, 5], "inference": [2, 2], "scored": [1, 1]}


def test_a_state_grows_with_the_number_of_tasks_not_with_its_square() -> None:
    def size(tasks: int) -> int:
        ledger = Ledger(tasks=tasks)
        for number in range(tasks):
            ledger.learned({number: 10})
            ledger.scored(Scores(row={number: 0.5}), point=False)
        return len(repr(ledger.state()))

    assert size(400) < 5 * size(100)


def test_a_ledger_that_was_packed_is_the_same() -> None:
    ledger, again = filled(), Ledger(tasks=4)
    again.restore(unpacked(packed(ledger.state())))
    assert again == ledger


def sampled() -> Ledger:
    """Five tasks; task 1 was not scored when it was learned, task 2 not at the last point."""
    ledger = Ledger(tasks=5)
    rows = [{0: 1.0}, {}, {0: 0.75, 2: 0.5}, {3: 0.5}, {0: 0.5, 1: 0.25, 3: 0.75, 4: 1.0}]
    for number, row in enumerate(rows):
        ledger.learned({number: 10})
        ledger.scored(Scores(row=row), point=number in (0, 2, 4))
    return ledger


def test_a_point_of_the_curve_says_how_many_tasks_it_scored() -> None:
    points = [(point["tasks"], point["scored"]) for point in sampled().curve]
    assert points == [(1, 1), (3, 2), (5, 4)]


def test_forgetting_is_of_the_tasks_scored_when_learned_and_at_the_last_point() -> None:
    figures = sampled().figures()
    assert figures["accuracy"] == pytest.approx((0.5 + 0.25 + 0.75 + 1.0) / 4)
    assert figures["forgetting"] == pytest.approx(((1.0 - 0.5) + (0.5 - 0.75)) / 2)
    assert figures["backward_transfer"] == pytest.approx(((0.5 - 1.0) + (0.75 - 0.5)) / 2)
    assert figures["accuracy_per_task"] == [0.5, 0.25, None, 0.75, 1.0]


def test_rates_per_task_are_none_where_a_task_was_not_scored() -> None:
    ledger = Ledger(tasks=3)
    for number in range(2):
        ledger.learned({number: 1})
    scores = Scores(
        row={1: 0.5},
        given={1: 0.75},
        inferences={1: 4},
        inferred={1: 3},
        mistaken={1: {0: 1}},
        exact={1: 1},
    )
    ledger.scored(scores, point=True)
    assert ledger.figures()["per_task"] == {
        "accuracy_given_task": [None, 0.75],
        "task_inference_accuracy": [None, 0.75],
        "exact_recall_rate": [None, 0.25],
        "inferences": [None, 4],
        "mistaken_for": [None, [[0, 1]]],
    }


@pytest.mark.parametrize(("tasks", "whole"), [(256, True), (257, False)])
def test_of_many_tasks_the_measured_entries_stand_for_the_matrix(tasks: int, whole: bool) -> None:
    ledger = Ledger(tasks=tasks)
    for number, row in enumerate([{0: 1.0}, {}, {0: 0.75, 2: 0.5}]):
        ledger.learned({number: 1})
        ledger.scored(Scores(row=row), point=True)
    figures = ledger.figures()
    assert ledger.measured() == [[0, 0, 1.0], [2, 0, 0.75], [2, 2, 0.5]]
    if whole:
        assert [len(row) for row in figures["accuracy_matrix"]] == [256] * 3
        assert "measured" not in figures
    else:
        assert figures["accuracy_matrix"] is None
        assert figures["measured"] == ledger.measured()


def test_a_ledger_is_whole_when_its_last_point_scored_all_tasks_learned() -> None:
    ledger = Ledger(tasks=3)
    assert ledger.is_whole  # of no task
    ledger.learned({0: 1})
    assert not ledger.is_whole
    ledger.scored(Scores(row={0: 1.0}), point=True)
    assert ledger.is_whole
    ledger.learned({1: 1})
    ledger.scored(Scores(row={1: 1.0}), point=True)
    assert not ledger.is_whole
    ledger.scored(Scores(row={0: 1.0, 1: 1.0}), point=True)
    assert ledger.is_whole


def test_a_restored_ledger_knows_whose_masks_are_whose() -> None:
    ledger, again = Ledger(tasks=3), Ledger(tasks=3)
    ledger.learned({0: 7, 1: 3})
    ledger.learned({0: 2, 1: 4, 2: 4})
    again.restore(unpacked(packed(ledger.state())))
    for one in (ledger, again):
        one.learned({2: 5})
    assert [again.masks_of(task) for task in range(3)] == [{0}, {1}, {2}]
    assert [ledger.masks_of(task) for task in range(3)] == [{0}, {1}, {2}]
