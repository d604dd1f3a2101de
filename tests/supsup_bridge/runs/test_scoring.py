"""Tasks of a run scored in groups: the same figures as one by one, also after an interruption."""

from types import SimpleNamespace
from typing import Any

import pytest

from hopmask import MaskMemory
from supsup_bridge import Experiment
from supsup_bridge.inference import recall
from supsup_bridge.inference.paper import PaperInference
from supsup_bridge.inference.recall import RecallInference
from supsup_bridge.runs.scoring import RunScorer


def without_times(run: Experiment) -> dict[str, Any]:
    return {name: value for name, value in run.result().items() if name != "seconds"}


@pytest.fixture
def slow_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every memory counts as one of which a pass takes longer than the masks that it is for."""
    monkeypatch.setattr(RecallInference, "at_once", property(lambda inference: 160))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sets of images in each call of an inference."""
    sizes: list[int] = []
    infer = RecallInference.infer

    def watched(self: RecallInference, images: Any, **options: Any) -> Any:
        sizes.append(len(images))
        return infer(self, images, **options)

    monkeypatch.setattr(RecallInference, "infer", watched)
    return sizes


def scorer_of(run: Experiment) -> RunScorer:
    return RunScorer(
        run.learner,
        run.ledger,
        run.settings,
        run.stream,
        accepted=lambda number: {number},
        samples=run.samples,
        watch=run.watch,
    )


BY_ENTROPY: dict[str, Any] = {"tasks": 5, "recall": "entropy", "infer_samples": 16}


def test_a_group_has_the_figures_of_its_tasks_alone(small, quiet, asked, slow_to_read) -> None:
    together = Experiment(small(**BY_ENTROPY, evaluate_every=5))
    together.run(quiet)
    most = max(asked)
    asked.clear()
    alone = Experiment(small(**BY_ENTROPY, evaluate_every=5))
    alone_at_once = property(lambda inference: 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecallInference, "at_once", alone_at_once)
        alone.run(quiet)
    assert most > max(asked)
    assert without_times(together) == without_times(alone)


def test_the_masks_of_a_group_come_from_one_recall_by_number(
    small, quiet, slow_to_read, monkeypatch
) -> None:
    run = Experiment(small(**BY_ENTROPY, evaluate_every=5))
    run.run(quiet)
    numbers: list[Any] = []
    recall_ = MaskMemory.recall

    def watched(self: MaskMemory, task: Any = None, **options: Any) -> Any:
        if task is not None:
            numbers.append(task)
        return recall_(self, task, **options)

    monkeypatch.setattr(MaskMemory, "recall", watched)
    before = run.result()["per_task"]
    run.evaluate(quiet)
    assert numbers == [[0, 1, 2, 3, 4]]
    assert run.result()["per_task"] == before


def test_an_interrupted_group_goes_on_with_the_tasks_that_are_left(
    small, quiet, asked, slow_to_read
) -> None:
    class Impatient(type(quiet)):
        scored = 0

        def evaluated(self, task: Any, number: int, after: int, accuracy: float) -> None:
            self.scored += after == 4
            if self.scored == 2:
                raise KeyboardInterrupt

    class Watching(type(quiet)):
        def __init__(self) -> None:
            super().__init__()
            self.scored: list[int] = []

        def evaluated(self, task: Any, number: int, after: int, accuracy: float) -> None:
            self.scored.append(number)

    settings = small(**BY_ENTROPY, evaluate_every=5)
    whole, cut, watching = Experiment(settings), Experiment(settings), Watching()
    whole.run(quiet)
    calls = asked[-1:]
    with pytest.raises(KeyboardInterrupt):
        cut.run(Impatient())
    cut.run(watching)
    assert watching.scored == [2, 3, 4]
    assert asked[-1:] == calls  # the same sets in one call
    assert without_times(cut) == without_times(whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"recall": "entropy", "scenario": "GG"},
        {"recall": "entropy", "protocol": "image"},
        {"recall": "posterior"},
        {"memory": "bank"},
        {"memory": "bank", "scenario": "NNs"},
    ],
    ids=str,
)
def test_what_saves_nothing_is_scored_one_by_one(changes, finished, slow_to_read) -> None:
    numbers = range(2)
    assert [*scorer_of(finished(**changes)).groups(numbers)] == [[0], [1]]


def stub_of(images: list[int], *, at_once: int, samples: int) -> RunScorer:
    """The scorer of a run whose tasks have so many scored images."""
    scorer = object.__new__(RunScorer)
    scorer._tasks = [SimpleNamespace(scored_labels=range(number)) for number in images]
    scorer._samples = samples
    scorer._at_once = lambda numbers: at_once
    return scorer


def test_a_group_is_as_many_tasks_as_one_call_takes_whatever_their_sizes() -> None:
    scorer = stub_of([128, 5000, 5000, 1, 1, 9000, 128], at_once=80, samples=1)
    assert [*scorer.groups(range(7))] == [[0, 1], [2, 3, 4], [5, 6]]
    assert [*scorer.groups([1, 2, 5])] == [[1, 2], [5]]


def test_images_of_all_sets_count() -> None:
    scorer = stub_of([256] * 6, at_once=80, samples=16)
    assert [*scorer.groups(range(6))] == [[0, 1], [2, 3], [4, 5]]
    assert [*stub_of([256] * 3, at_once=80, samples=64).groups(range(3))] == [[0], [1], [2]]


def test_a_group_has_eight_tasks_at_most() -> None:
    scorer = stub_of([1] * 20, at_once=200, samples=1)
    assert [len(group) for group in scorer.groups(range(20))] == [8, 8, 4]
    assert [*stub_of([1] * 3, at_once=1, samples=1).groups(range(3))] == [[0], [1], [2]]
    assert [*scorer.groups([])] == []


def test_only_memories_that_take_long_to_read_are_asked_in_large_calls(
    finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(recall="entropy", tasks=5)
    inference = run.learner.inferences.inference(run.memory, 0, 0)
    assert inference.at_once == 1
    monkeypatch.setattr(recall, "_NUMBERS", 1)
    assert inference.at_once == inference.chunk > 1


def test_the_papers_recall_draws_at_random_for_each_task(finished) -> None:
    assert PaperInference.at_once.fget(object()) == 1
