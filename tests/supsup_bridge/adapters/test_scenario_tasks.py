"""Tasks of a scenario, without the library that it comes from."""

import pytest
import torch

from hopmask import ConfigError
from supsup_bridge.adapters.scenario_tasks import OwnLabels, ScenarioImages, ScenarioTasks

CLASSES = torch.tensor([[7, 3], [9, 1]])


def images(number: int, *, each: int = 4) -> ScenarioImages:
    labels = CLASSES[number].repeat(each)
    return ScenarioImages([(torch.full((2, 3), float(label)), label) for label in labels], labels)


def test_labels_are_places_and_lead_back() -> None:
    tasks = ScenarioTasks(images, images, tasks=2, name="part")
    for number, task in enumerate(tasks):
        classes = tasks.classes_of(number)
        assert classes.tolist() == sorted(CLASSES[number].tolist())
        assert task.classes == 2
        assert (task.train_images == classes[task.train_labels, None, None]).all()
        assert (task.scored_images == classes[task.scored_labels, None, None]).all()
        assert len(task.scored_images) == len(task.inference_images) == task.inference_count == 4
    assert [task.name for task in tasks] == ["part 0", "part 1"]
    assert tasks.classes_of(-1).tolist() == tasks.classes_of(1).tolist()
    with pytest.raises(IndexError):
        tasks.classes_of(2)


def test_the_seed_cuts_test_images_into_halves() -> None:
    def numbered(number: int) -> ScenarioImages:
        rows = [(torch.tensor([float(i)]), 0) for i in range(9)]
        return ScenarioImages(rows, torch.zeros(9, dtype=torch.long))

    first, again, other = (ScenarioTasks(numbered, numbered, tasks=1, seed=s)[0] for s in (0, 0, 1))
    halves = [*first.inference_images.flatten().tolist(), *first.scored_images.flatten().tolist()]
    assert sorted(halves) == [*range(9)]
    assert torch.equal(first.scored_images, again.scored_images)
    assert not torch.equal(first.scored_images, other.scored_images)


def test_reading_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    for task in ScenarioTasks(images, images, tasks=2):
        assert len(task.train_images) == 8
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([(torch.zeros(3), 0), (torch.zeros(4), 0)], "alike"),
        ([(torch.zeros(3, dtype=torch.uint8), 0)], "uint8"),
        ([([0.0, 1.0], 0)], "got list"),
        ([], "no image"),
    ],
)
def test_images_that_do_not_stack_are_refused(rows: list[object], match: str) -> None:
    labels = torch.zeros(len(rows), dtype=torch.long)
    data = OwnLabels(ScenarioImages(rows, labels), torch.tensor([0]))
    with pytest.raises(ConfigError, match=match):
        data.stacked()


def test_images_of_other_classes_are_refused() -> None:
    with pytest.raises(ConfigError, match="other tasks"):
        OwnLabels(images(0), torch.tensor([3, 8]))
    with pytest.raises(ConfigError, match="other tasks"):
        ScenarioTasks(images, lambda number: images(1 - number), tasks=2)[0]
