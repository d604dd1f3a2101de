"""Progress bars."""

import io

from rich.console import Console

from supsup_bridge import split_digits
from supsup_bridge.cli.progress import Bars


def shown(*, groups: list[list[int]]) -> list[str]:
    """What the lower bar says at the last step of each group of tasks that are trained at once."""
    tasks, said = split_digits(), []
    for_all = Console(file=io.StringIO(), width=200)
    with Bars(for_all, tasks=len(tasks), learned=0) as bars:
        for group in groups:
            for step in (1, 2):
                for number in group:
                    bars.training(tasks[number], number, step, 2, loss=float(number))
            said.append(bars._progress.tasks[1].description)
            for number in group:
                bars.learned(tasks[number], number)
    return said


def test_a_group_of_tasks_is_shown_as_a_range() -> None:
    assert shown(groups=[[0, 1, 2], [3, 4]]) == [
        "tasks 0 to 2: mean loss 1.000",
        "tasks 3 to 4: mean loss 3.500",
    ]


def test_a_task_alone_is_shown_by_its_name() -> None:
    assert shown(groups=[[0], [1]]) == [
        "digits 0 and 1: loss 0.000",
        "digits 2 and 3: loss 1.000",
    ]
