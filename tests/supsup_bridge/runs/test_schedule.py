"""Which tasks are scored, and when."""

import pytest

from supsup_bridge import RunSettings
from supsup_bridge.runs.schedule import MOST, is_newest_due, is_point, tasks_of_point


@pytest.mark.parametrize(
    ("learned", "due"),
    [(9, True), (20, True), (21, False), (30, False), (50, True), (150, False)],
)
def test_the_curve_has_points_at_the_round_numbers(learned: int, due: bool) -> None:
    assert is_point(learned, RunSettings(tasks=5000)) is due


def test_the_curve_has_points_after_the_last_task_and_at_the_given_interval() -> None:
    assert is_point(33, RunSettings(tasks=33))
    every = RunSettings(tasks=33, evaluate_every=4)
    points = [learned for learned in range(1, 34) if is_point(learned, every)]
    assert points == [4, 8, 12, 16, 20, 24, 28, 32, 33]


@pytest.mark.parametrize("learned", [1, 99, 100])
def test_all_of_the_first_hundred_tasks_are_scored(learned: int) -> None:
    assert [*tasks_of_point(learned, seed=0)] == [*range(learned)]
    assert is_newest_due(learned)


@pytest.mark.parametrize("learned", [101, 102, 2500])
def test_of_more_a_sample_is_scored_with_the_newest(learned: int) -> None:
    drawn = [*tasks_of_point(learned, seed=3)]
    assert drawn == sorted(set(drawn))
    assert len(drawn) == MOST
    assert drawn[0] >= 0
    assert drawn[-1] == learned - 1


def test_a_sample_follows_from_the_seed_and_the_number_of_tasks() -> None:
    samples = [
        tuple(tasks_of_point(learned, seed=seed))
        for learned, seed in ((500, 0), (500, 0), (500, 1), (501, 0))
    ]
    assert samples[0] == samples[1]
    assert len(set(samples)) == 3


def test_every_task_can_be_drawn() -> None:
    drawn = {task for seed in range(20) for task in tasks_of_point(150, seed=seed)}
    assert drawn == set(range(150))


@pytest.mark.parametrize("every", [None, 1, 10])
def test_before_the_last_evaluation_a_task_is_scored_a_bounded_number_of_times(
    every: int | None,
) -> None:
    """And so many tasks cost so much more, no power of it."""

    def scorings(tasks: int) -> int:
        settings = RunSettings(benchmark="permuted-mnist", tasks=tasks, evaluate_every=every)
        return sum(
            len(tasks_of_point(learned, seed=0)) if is_point(learned, settings) else 1
            for learned in range(1, tasks)
        )

    assert scorings(1600) <= 2.2 * scorings(800)
