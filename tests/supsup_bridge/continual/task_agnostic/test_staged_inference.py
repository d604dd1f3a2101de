"""Inference and novelty over a memory and the mask that is still in training."""

from dataclasses import asdict
from math import isfinite, isnan

import pytest
import torch
from torch import Tensor

from hopmask import EmptyMemoryError, MaskMemory
from supsup_bridge import (
    MaskedNetwork,
    RecallInference,
    TaskAgnosticLearner,
    TrainingSettings,
    entropy,
    fix_weights,
    mlp,
)
from supsup_bridge.continual.task_agnostic.staged_inference import (
    RecallNovelty,
    StagedInference,
    mean_entropy,
)
from supsup_bridge.continual.task_agnostic.staged_memory import StagedMemory
from supsup_bridge.inference.signatures import pixels
from supsup_bridge.training.data import TensorData
from supsup_bridge.training.fit import Lesson

INPUTS, CLASSES, OUTPUTS, BITS, BATCHES = 20, 3, 40, 800, 60
SETTINGS = TrainingSettings(epochs=1, batch=32, contrast=0, rate=2e-2)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clouds(task: int, seed: int, number: int = 32) -> tuple[Tensor, Tensor]:
    """A batch of a task of three classes, each a cloud around a centre of its own."""
    g = seeded(1000 * task + seed)
    centres = torch.randn(CLASSES, INPUTS, generator=seeded(100 + task))
    labels = torch.randint(0, CLASSES, (number,), generator=g)
    return 1.5 * centres[labels] + 0.3 * torch.randn(number, INPUTS, generator=g), labels


@pytest.fixture(scope="module")
def network() -> MaskedNetwork:
    module = fix_weights(mlp([INPUTS, 100, OUTPUTS]), seeded(0))
    return MaskedNetwork(module, masks="hashed", bits=BITS, spread=seeded(1))


@pytest.fixture(scope="module")
def learned(network) -> list[dict[str, Tensor]]:
    """Masks of four tasks."""
    return [
        Lesson(
            network,
            TensorData(*clouds(task, 0, number=32 * BATCHES)),
            SETTINGS,
            scores=seeded(task),
            batches=seeded(50 + task),
        ).run()
        for task in range(4)
    ]


@pytest.fixture
def make(network, learned):
    """Number of closed tasks, whether one more is open -> inference over them."""

    def inference(closed: int, *, opened: bool = True, recall: str = "both") -> StagedInference:
        memory = StagedMemory(
            MaskMemory(network.mask_sizes, key_bits=64, signature_features=128), signature=pixels
        )
        for task in range(closed + opened):
            memory.store(learned[task])
            memory.observe(clouds(task, 1, number=200)[0])
        if not opened:
            memory.close()
        return StagedInference(
            RecallInference(network=network, memory=memory.memory, recall=recall), memory
        )

    return inference


def sets_of(tasks: list[int], seed: int = 77) -> Tensor:
    return torch.stack([clouds(task, seed, number=8)[0] for task in tasks])


# --- inference


@pytest.mark.parametrize("recall", ["both", "entropy", "address"])
@pytest.mark.parametrize("opened", [True, False])
def test_closed_and_open_masks_are_found(make, learned, recall: str, opened: bool) -> None:
    tasks = [3, 0, 1, 3, 2]
    found = make(4 - opened, opened=opened, recall=recall).infer(sets_of(tasks))
    assert found.task.tolist() == tasks
    assert bool(found.verified.all())
    for row, task in enumerate(tasks):
        assert torch.equal(found.masks["bits"][row], learned[task]["bits"])


def test_before_any_mask_is_closed_the_open_one_serves_all(make, learned) -> None:
    found = make(0).infer(sets_of([0, 2]))
    assert found.task.tolist() == [0, 0]
    assert found.steps.tolist() == [0, 0]
    assert torch.equal(found.masks["bits"], learned[0]["bits"].expand(2, -1))


def test_the_lower_entropy_decides(make, network) -> None:
    inference = make(2)
    images = sets_of([0, 1, 2, 3])  # nobody learned task 3
    found, recalled = inference.infer(images), inference.recall.infer(images)
    opened = inference.memory.open["bits"].expand(4, -1)
    by_open = mean_entropy(network, images, {"bits": opened})
    by_recall = mean_entropy(network, images, recalled.masks)
    assert found.task.tolist() == torch.where(by_open < by_recall, 2, recalled.task).tolist()
    expected = torch.minimum(by_open, by_recall)
    torch.testing.assert_close(mean_entropy(network, images, found.masks), expected)


def test_a_recall_that_found_no_memory_gives_way(make, monkeypatch) -> None:
    inference = make(2)
    infer = inference.recall.infer

    def lost(images: Tensor) -> object:
        found = infer(images)
        found.verified[:] = False
        return found

    monkeypatch.setattr(inference.recall, "infer", lost)
    found = inference.infer(sets_of([0, 1]))
    assert found.task.tolist() == [2, 2]
    assert found.verified.tolist() == [True, True]


def test_mean_entropy_is_that_of_each_set_under_its_mask(network, learned) -> None:
    images = sets_of([0, 1])
    masks = {"bits": torch.stack([learned[0]["bits"], learned[2]["bits"]])}
    for row, task in enumerate((0, 2)):
        alone = entropy(network(images[row], {"bits": learned[task]["bits"].float()})).mean()
        torch.testing.assert_close(mean_entropy(network, images, masks)[row], alone)


# --- novelty


@pytest.mark.parametrize("closed", [0, 1, 3])
def test_tasks_that_were_learned_are_known_and_others_new(make, closed: int) -> None:
    novelty = RecallNovelty(make(closed))
    for task in range(6):
        verdict = novelty.judge(clouds(task, 99)[0])
        assert not verdict.blind
        assert verdict.new == (task > closed)
        if task <= closed:
            assert verdict.mask == task


def test_strength_is_the_share_of_what_is_usual_for_a_masks_own_images(make, network) -> None:
    """Worked out again from the entropies, image by image."""
    inference = make(0)
    memory = inference.memory
    random = torch.randint(0, 2, (BITS,), generator=seeded(0))

    def level(images: Tensor, bits: Tensor) -> float:
        return float(entropy(network(images, {"bits": bits.float()})).mean())

    for task in range(4):
        images = clouds(task, 3)[0]
        chance, own = level(images, random), level(memory.images[:128], memory.open["bits"])
        expected = (chance - level(images, memory.open["bits"])) / (chance - own)
        verdict = RecallNovelty(inference).judge(images)
        assert verdict.strength == pytest.approx(expected, rel=1e-4)
        assert verdict.new == (expected < 0.5)


def test_for_recalled_masks_the_mean_of_closed_ones_is_what_is_usual(
    make, network, learned
) -> None:
    inference = make(0)
    memory, novelty = inference.memory, RecallNovelty(inference)
    usual = []
    for task in range(3):
        if task:
            memory.store(learned[task])
            memory.observe(clouds(task, 1, number=200)[0])
        levels = mean_entropy(
            network, memory.images[None, :128], {"bits": memory.open["bits"][None]}
        )
        usual.append(float(levels))
        novelty.judge(clouds(task, 3)[0])
    images = clouds(0, 4)[0][None]
    random = torch.randint(0, 2, (1, BITS), generator=seeded(0))
    chance = float(mean_entropy(network, images, {"bits": random}))
    level = float(mean_entropy(network, images, {"bits": learned[0]["bits"][None]}))
    verdict = novelty.judge(images[0])
    assert verdict.mask == 0
    expected = (chance - level) / (chance - (usual[0] + usual[1]) / 2)
    assert verdict.strength == pytest.approx(expected, rel=1e-4)


def test_beside_an_untrained_open_mask_known_tasks_are_known_and_others_say_nothing(
    make, learned
) -> None:
    """A young mask is no yardstick: it would take strange images for a closed mask's own."""
    inference = make(1)
    memory, novelty = inference.memory, RecallNovelty(inference)
    novelty.judge(clouds(1, 3)[0])
    memory.store({"bits": torch.rand(BITS, generator=seeded(3)) < 0.5})
    memory.observe(clouds(2, 1)[0])
    for task in range(2):
        verdict = novelty.judge(clouds(task, 5)[0])
        assert (verdict.mask, verdict.new, verdict.blind) == (task, False, False)
    assert novelty.judge(clouds(2, 5)[0]).blind


def test_many_sets_pass_through_in_parts(make) -> None:
    inference, sets = make(3), sets_of([0, 1, 2, 3, 0, 3])
    whole, parts = inference.infer(sets), inference.infer(sets, chunk=2)
    assert torch.equal(whole.task, parts.task)
    assert torch.equal(whole.masks["bits"], parts.masks["bits"])


def test_under_a_mask_that_is_not_trained_images_say_nothing(network) -> None:
    memory = StagedMemory(MaskMemory(network.mask_sizes, key_bits=64), signature=None)
    memory.store({"bits": torch.rand(BITS, generator=seeded(3)) < 0.5})
    memory.observe(clouds(0, 1)[0])
    recall = RecallInference(network=network, memory=memory.memory, recall="entropy")
    assert RecallNovelty(StagedInference(recall, memory)).judge(clouds(0, 2)[0]).blind


def test_without_an_open_mask_nothing_can_be_judged(make) -> None:
    with pytest.raises(EmptyMemoryError, match="no mask is open"):
        RecallNovelty(make(2, opened=False)).judge(clouds(0, 2)[0])


# --- the learner


def learner(
    network, *, every: int = BATCHES // 3, budget: int | None = None
) -> TaskAgnosticLearner:
    memory = StagedMemory(
        MaskMemory(network.mask_sizes, key_bits=64, signature_features=128), signature=pixels
    )
    recall = RecallInference(network=network, memory=memory.memory)
    return TaskAgnosticLearner(
        RecallNovelty(StagedInference(recall, memory)),
        SETTINGS,
        ask_every=every,
        budget=budget,
        transfer=False,
        scores=seeded,
        noise=seeded,
        trained=memory.observe,
    )


def show(learner: TaskAgnosticLearner, task: int, *, visit: int = 0) -> list[tuple[int, float]]:
    return [learner.learn(*clouds(task, 2000 * visit + i + 10)) for i in range(BATCHES)]


def test_a_learner_on_a_memory_gives_each_new_task_a_mask_and_knows_it_again(network) -> None:
    free = learner(network)
    for task in range(4):
        answers = show(free, task)
        assert {mask for mask, _ in answers} == {task}
        assert all(isfinite(loss) for _, loss in answers)
    free.commit()
    store = free.test.store
    assert (store.count, store.memory.count) == (4, 3)
    for task in (1, 3, 0):
        answers = show(free, task, visit=1)
        assert {mask for mask, _ in answers} == {task}
        assert all(isnan(loss) for _, loss in answers)
    show(free, 4)
    free.commit()
    store.close()
    assert store.memory.count == 5
    log = {name: number for name, number in asdict(free.log).items() if number}
    assert log == {"asked": 23, "allocated": 5, "unlearned": 3 * BATCHES}
    sets = sets_of([0, 1, 2, 3, 4])
    found = free.test.inference.infer(sets)
    assert found.task.tolist() == [0, 1, 2, 3, 4]


def test_masks_that_were_closed_never_change(network) -> None:
    free = learner(network)
    for task in range(3):
        show(free, task)
    before = [free.test.store.recall(task=i).masks["bits"] for i in range(2)]
    for task in (0, 3, 1):
        show(free, task, visit=1)
    after = [free.test.store.recall(task=i).masks["bits"] for i in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_over_budget_a_new_task_is_served_and_not_learned(network, caplog) -> None:
    free = learner(network, budget=2)
    for task in range(3):
        answers = show(free, task)
    assert free.test.store.count == 2
    assert all(isnan(loss) for _, loss in answers)
    assert free.log.refused == 3
    assert "the budget of 2 masks is spent" in caplog.text


def test_the_open_mask_is_recognized_and_a_stored_one_if_the_address_says_so(make) -> None:
    inference = make(3)
    sets = torch.stack([clouds(task, 9)[0] for task in (1, 3)])  # a stored task, and the open one
    found = inference.infer(sets)
    assert found.task.tolist() == [1, 3]
    assert inference.recognizes(sets, found).tolist() == [True, True]
    strange = torch.zeros_like(sets)
    assert inference.recognizes(strange, found).tolist() == [False, True]


def test_without_stored_masks_the_open_one_is_recognized(make) -> None:
    inference = make(0)
    sets = clouds(0, 9)[0][None]
    assert inference.recognizes(sets, inference.infer(sets)).tolist() == [True]
