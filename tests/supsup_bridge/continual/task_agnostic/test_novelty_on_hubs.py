"""RecallNovelty over an InPlaceMemory: weight masks, most of whose outputs are superfluous."""

import pytest
import torch
from torch import Tensor

from hopmask import MaskMemory
from supsup_bridge import MaskedNetwork, RecallInference, TrainingSettings, fix_weights, mlp
from supsup_bridge.continual.task_agnostic.in_place_memory import InPlaceMemory
from supsup_bridge.continual.task_agnostic.staged_inference import RecallNovelty, StagedInference
from supsup_bridge.data.datasets import load_digits
from supsup_bridge.inference.signatures import pixels
from supsup_bridge.training.fit import train_mask

ORDER = torch.randperm(1797, generator=torch.Generator().manual_seed(9))
TRAINED, OTHERS = ORDER[:1200], ORDER[1200:1328]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_of(task: int, where: Tensor) -> Tensor:
    """Digits, with another order of the pixels for each task."""
    return load_digits().images[where][:, torch.randperm(64, generator=seeded(task))]


def judged(outputs: int, *tasks: tuple[Tensor, Tensor]) -> RecallNovelty:
    """Over masks of tasks, given as images and labels, the last open; not to be changed."""
    network = MaskedNetwork(fix_weights(mlp([64, 300, 100, outputs]), seeded(0)))
    memory = MaskMemory(network.mask_sizes, couplings="hub", hubs=4, signature_features=256)
    stage = InPlaceMemory(memory, signature=pixels)
    test = RecallNovelty(
        StagedInference(RecallInference(network=network, memory=memory, signature=pixels), stage)
    )
    settings = TrainingSettings(epochs=20, rate=3e-3, contrast=0)
    for number, (images, labels) in enumerate(tasks):
        stage.store(train_mask(network, images, labels, settings, generator=seeded(number)))
        stage.observe(images)
        test.judge(images[:128])
    return test


@pytest.fixture(scope="module")
def novelty() -> RecallNovelty:
    """Of tasks 0 and 1."""
    labels = load_digits().labels[TRAINED]
    return judged(500, *((images_of(task, TRAINED), labels) for task in range(2)))


@pytest.mark.parametrize("task", [0, 1])
def test_other_images_of_a_task_are_its_masks_own(task: int, novelty: RecallNovelty) -> None:
    verdict = novelty.judge(images_of(task, OTHERS))
    assert (verdict.mask, verdict.new, verdict.blind) == (task, False, False)


@pytest.mark.parametrize("task", range(2, 8))
def test_images_of_another_task_are_new(task: int, novelty: RecallNovelty) -> None:
    """Of 500 outputs the masks have learned to leave out 490, whatever the image."""
    assert novelty.judge(images_of(task, OTHERS)).new


def test_inferences_name_the_open_mask_and_the_closed_one(novelty: RecallNovelty) -> None:
    sets = torch.stack([images_of(task, OTHERS) for task in (1, 0)])
    found = novelty.inference.infer(sets)
    assert found.task.tolist() == [1, 0]
    assert novelty.inference.recognizes(sets, found).tolist() == [True, True]


def pair(task: int, half: int) -> tuple[Tensor, Tensor]:
    """Images of two digits, and which of them each is; halves of them."""
    digits = load_digits()
    where = ORDER[digits.labels[ORDER] // 2 == task][half::2]
    return digits.images[where], digits.labels[where] % 2


@pytest.fixture(scope="module")
def of_pairs() -> RecallNovelty:
    """Of digits 0 and 1, and of 2 and 3."""
    return judged(2, pair(0, 0), pair(1, 0))


@pytest.mark.parametrize("task", range(5))
def test_new_classes_are_new_where_masks_are_as_sure_of_them(
    task: int, of_pairs: RecallNovelty, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, _ = pair(task, 1)
    verdict = of_pairs.judge(images)
    assert (verdict.new, verdict.blind) == (task > 1, False)
    assert task > 1 or verdict.mask == task
    monkeypatch.setattr(of_pairs.store, "signature", None)
    monkeypatch.setattr(of_pairs.inference.recall, "recall", "entropy")
    assert not of_pairs.judge(images).new  # by entropy alone
