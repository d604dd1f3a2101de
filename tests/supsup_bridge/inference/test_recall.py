"""Task inference by recall: unlabelled images in, the learned mask out, bit for bit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

import pytest
import torch
from torch import Tensor

from hopmask import ConfigError, EmptyMemoryError, MaskMemory
from supsup_bridge import (
    FixedNetwork,
    MaskedNetwork,
    RecallInference,
    Task,
    TrainingSettings,
    UnitNetwork,
    entropy_and_logit,
    fix_weights,
    mlp,
    split_digits,
    superfluous,
    train_mask,
)
from supsup_bridge.inference.paper import (
    PaperInference,
)

RECALLS = ["both", "entropy", "address"]
KINDS = ["weight", "hashed", "unit"]


@dataclass(frozen=True)
class Learned:
    """Three tasks of digits in a memory, and the masks that a recall must find there."""

    tasks: list[Task]
    network: FixedNetwork
    memory: MaskMemory
    masks: list[dict[str, Tensor]]

    def inference(self, recall: str = "both", **changes: Any) -> RecallInference:
        parts = {"network": self.network, "memory": self.memory}
        return RecallInference(**{**parts, "recall": recall, **changes})

    def paper(self, generator: torch.Generator, **changes: Any) -> PaperInference:
        parts = {"network": self.network, "memory": self.memory}
        return PaperInference(**{**parts, "generator": generator, **changes})

    def sets(self, number: int, sets: int = 3, samples: int = 32) -> Tensor:
        g = torch.Generator().manual_seed(number)
        pool = self.tasks[number].inference_images
        return self.inference().sets(pool, sets=sets, samples=samples, generator=g)


@pytest.fixture(scope="module")
def learned(
    generator: Callable[[int], torch.Generator], hashed: Callable[..., FixedNetwork]
) -> Callable[[str], Learned]:
    tasks = split_digits(seed=0, tasks=3)
    settings = TrainingSettings(epochs=8, batch=64, noise=1.5)
    kept: dict[str, Learned] = {}

    def learn(kind: str) -> Learned:
        if kind in kept:
            return kept[kind]
        network: FixedNetwork
        if kind == "hashed":
            network = hashed([64, 100, 50, 20], bits=512, network=generator(1), spread=generator(2))
        elif kind == "weight":
            network = MaskedNetwork(fix_weights(mlp([64, 100, 50, 20]), generator(1)))
        else:
            network = UnitNetwork(
                [64, 128, 128, 50],
                network=generator(1),
                normalisation="batch" if kind == "batch" else "layer",
            )
        on_hubs: dict[str, Any] = {"couplings": "hub", "hubs": 4} if kind == "weight" else {}
        memory = MaskMemory(network.mask_sizes, seed=1, signature_features=512, **on_hubs)
        masks = []
        for i, task in enumerate(tasks):
            mask = train_mask(
                network,
                task.train_images,
                task.train_labels,
                settings,
                generator=generator(10 + i),
            )
            memory.store(mask, signature=task.train_images)
            masks.append(mask)
        kept[kind] = Learned(tasks, network, memory, masks)
        return kept[kind]

    return learn


# --- the right mask


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("recall", RECALLS)
def test_32_images_recall_the_learned_mask_bit_for_bit(kind: str, recall: str, learned) -> None:
    setup = learned(kind)
    for number in range(3):
        found = setup.inference(recall).infer(setup.sets(number))
        assert found.task.tolist() == [number] * 3
        assert found.verified.all()
        for name, mask in setup.masks[number].items():
            assert found.masks[name].dtype == torch.bool
            assert torch.equal(found.masks[name], mask.expand(3, *mask.shape)), name


def test_sets_of_different_tasks_are_told_apart_in_one_call(learned) -> None:
    setup = learned("hashed")
    mixed = torch.cat([setup.sets(2, 1), setup.sets(0, 1), setup.sets(1, 1), setup.sets(0, 1)])
    assert setup.inference().infer(mixed).task.tolist() == [2, 0, 1, 0]


def test_the_recalled_mask_predicts_the_scored_images(learned) -> None:
    setup = learned("hashed")
    task = setup.tasks[1]
    found = setup.inference().infer(setup.sets(1, 1))
    predict = setup.network.predictor(
        {n: m[0] for n, m in found.masks.items()}, task.inference_images
    )
    right = predict(task.scored_images).argmax(-1) == task.scored_labels
    assert float(right.float().mean()) > 0.85


@pytest.mark.parametrize("recall", ["both", "entropy"])
def test_superfluous_outputs_point_at_the_task_on_hubs(recall: str, learned) -> None:
    setup, logits = learned("weight"), list[Tensor]()

    def points(outputs: Tensor) -> Tensor:
        logits.append(outputs)
        return superfluous(outputs, labels=2)

    for number in range(3):
        found = setup.inference(recall, objective=points).infer(setup.sets(number))
        assert found.task.tolist() == [number] * 3
    assert len(logits) == 3  # differentiated at the mean mask; the entropy compares


def test_few_sets_of_long_masks_are_recalled_at_once(learned) -> None:
    setup = learned("weight")
    assert setup.inference().chunk == 256
    long = MaskMemory({"w": (2048, 1024)}, couplings="hub", hubs=2, signature_features=0)
    assert setup.inference(memory=long).chunk == 4


def test_hubs_compare_at_most_32_masks_and_no_more_once_one_is_clear(learned, generator) -> None:
    setup, g = learned("weight"), generator(3)
    memory = MaskMemory(setup.network.mask_sizes, couplings="hub", signature_features=0)
    for mask in setup.masks:
        memory.store(mask)
    for _ in range(37):
        sizes = setup.network.mask_sizes.items()
        memory.store({n: torch.rand(size, generator=g) < 0.5 for n, size in sizes})
    compares = partial(entropy_and_logit, labels=2)
    sets = setup.sets(1)
    every = setup.inference("entropy", memory=memory, compares=compares, min_margin=inf)
    assert every.infer(sets).steps.tolist() == [1 + 32] * 3
    few = setup.inference("entropy", memory=memory, compares=compares, min_margin=1e-9)
    assert few.infer(sets).steps.tolist() == [1 + 2] * 3
    most = setup.inference("entropy", memory=memory, max_basins=3, min_margin=inf)
    assert most.infer(sets).steps.tolist() == [1 + 3] * 3


def test_a_recall_of_few_hub_masks_compares_them_all(learned) -> None:
    setup = learned("weight")
    assert setup.inference(min_margin=1e-9).infer(setup.sets(1)).steps.tolist() == [1 + 3] * 3


# --- what a recall may depend on


@pytest.mark.parametrize("recall", RECALLS)
@pytest.mark.parametrize("kind", ["weight", "unit"])
def test_chunks_do_not_change_what_is_recalled(kind: str, recall: str, learned) -> None:
    setup = learned(kind)
    sets = torch.cat([setup.sets(number, 2) for number in range(3)])
    inference = setup.inference(recall)
    whole, parts = inference.infer(sets, chunk=100), inference.infer(sets, chunk=4)
    assert torch.equal(whole.task, parts.task)
    assert torch.equal(whole.verified, parts.verified)
    assert all(torch.equal(whole.masks[name], parts.masks[name]) for name in whole.masks)


@pytest.mark.parametrize("recall", RECALLS)
def test_a_set_is_recalled_alone_as_among_others(recall: str, learned) -> None:
    setup = learned("hashed")
    sets = torch.cat([setup.sets(number, 1, samples=4) for number in range(3)])
    inference = setup.inference(recall)
    together = inference.infer(sets)
    for row in range(3):
        alone = inference.infer(sets[row : row + 1])
        assert int(alone.task[0]) == int(together.task[row])
        assert torch.equal(alone.masks["bits"][0], together.masks["bits"][row])


def test_recall_by_address_never_calls_the_network(learned) -> None:
    class Silent(UnitNetwork):
        def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
            pytest.fail("the network was called")

    setup = learned("unit")
    silent = Silent([64, 128, 128, 50], network=torch.Generator())
    found = setup.inference("address", network=silent).infer(setup.sets(2))
    assert found.task.tolist() == [2, 2, 2]


def test_recall_by_entropy_never_calls_the_signature(learned) -> None:
    def silent(images: Tensor) -> Tensor:
        pytest.fail("the signature was called")

    setup = learned("unit")
    found = setup.inference("entropy", signature=silent).infer(setup.sets(2))
    assert found.task.tolist() == [2, 2, 2]


def test_recall_changes_neither_memory_nor_network(learned) -> None:
    setup = learned("unit")
    psi, weights = setup.memory.couplings.psi.clone(), setup.network.get_buffer("weight1").clone()
    setup.inference().infer(setup.sets(0))
    assert torch.equal(setup.memory.couplings.psi, psi)
    assert torch.equal(setup.network.get_buffer("weight1"), weights)
    assert setup.memory.count == 3


def test_inference_leaves_the_global_generator_alone(learned, generator) -> None:
    setup = learned("batch")
    before = torch.get_rng_state()
    setup.inference().infer(setup.sets(0))
    setup.paper(generator(0), steps=3).infer(setup.sets(0))
    assert torch.equal(torch.get_rng_state(), before)


# --- sets of images


def test_sets_have_no_repeats_and_come_from_the_pool(learned, generator) -> None:
    pool = torch.arange(40.0)[:, None].expand(-1, 3)
    sets = learned("unit").inference().sets(pool, sets=10, samples=12, generator=generator(0))
    assert sets.shape == (10, 12, 3)
    for chosen in sets[:, :, 0]:
        assert len(set(chosen.tolist())) == 12
        assert set(chosen.tolist()) <= set(range(40))


def test_sets_are_drawn_anew(learned, generator) -> None:
    pool = torch.arange(1000.0)[:, None]
    sets = learned("unit").inference().sets(pool, sets=2, samples=10, generator=generator(0))
    assert not torch.equal(sets[0], sets[1])


def test_equal_generators_draw_equal_sets(learned, generator) -> None:
    pool = torch.arange(1000.0)[:, None]
    inference = learned("unit").inference()
    a, b = (inference.sets(pool, sets=2, samples=9, generator=generator(4)) for _ in range(2))
    assert torch.equal(a, b)


def test_the_whole_pool_can_be_a_set(learned, generator) -> None:
    pool = torch.arange(5.0)[:, None]
    sets = learned("unit").inference().sets(pool, sets=1, samples=5, generator=generator(0))
    assert sorted(sets.flatten().tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("samples", [0, 6, -1])
def test_more_images_than_the_pool_has_are_refused(samples: int, learned, generator) -> None:
    with pytest.raises(ConfigError, match=f"1 to 5 images.*got {samples}"):
        learned("unit").inference().sets(
            torch.zeros(5, 3), sets=1, samples=samples, generator=generator(0)
        )


# --- errors


def test_an_unknown_way_of_recall_is_refused(learned) -> None:
    with pytest.raises(ConfigError, match="both, entropy, address, got 'guess'"):
        learned("unit").inference("guess")


def test_nothing_can_be_inferred_before_a_task_is_learned(learned) -> None:
    setup = learned("unit")
    empty = MaskMemory(setup.network.mask_sizes, signature_features=512)
    with pytest.raises(EmptyMemoryError):
        setup.inference(memory=empty).infer(setup.sets(0))


# --- step by step


@pytest.mark.parametrize("recall", RECALLS)
def test_a_trace_ends_where_the_recall_ends(recall: str, learned) -> None:
    setup = learned("unit")
    hit, trace = setup.inference(recall).trace(setup.sets(1, 1)[0])
    assert hit.task.tolist() == [1]
    assert float(trace.overlap[:, 0].max()) == pytest.approx(1, abs=1e-4)
    assert len(trace.energy) == len(trace.basin) == len(trace.states)
    assert (trace.penalty is None) == (recall == "address")


# --- the paper's recall


def test_the_papers_recall_answers_for_every_set(learned, generator) -> None:
    setup = learned("batch")
    inference = setup.paper(generator(0), batch=16)
    pool = setup.tasks[1].inference_images
    sets = inference.sets(pool, sets=2, samples=16, generator=generator(1))
    found = inference.infer(sets)
    assert {name: tuple(m.shape) for name, m in found.masks.items()} == {
        "hidden1": (2, 128),
        "hidden2": (2, 128),
    }
    assert found.task.shape == found.steps.shape == found.verified.shape == (2,)
    assert bool((found.steps <= 30).all())


def test_the_papers_recall_sees_a_fresh_batch_of_the_given_images_each_step(
    learned, generator
) -> None:
    seen: list[Tensor] = []

    class Watching(UnitNetwork):
        def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
            seen.append(images.clone())
            return super().forward(images, masks)

    setup = learned("batch")
    network = Watching([64, 128, 128, 50], network=generator(1), normalisation="batch")
    inference = setup.paper(generator(0), network=network, steps=5, batch=7)
    pool = setup.tasks[1].inference_images
    inference.infer(inference.sets(pool, sets=2, samples=7, generator=generator(1)))
    assert len(seen) >= 5
    assert all(images.shape == (2, 7, 64) for images in seen)
    known = {image.numpy().tobytes() for image in pool}
    assert all(image.numpy().tobytes() in known for x in seen for image in x.flatten(0, 1))
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0][0], seen[0][1])


def test_the_papers_recall_is_the_same_for_equal_generators(learned, generator) -> None:
    setup = learned("batch")
    a, b = (setup.paper(generator(6), steps=8).infer(setup.sets(0, 2)) for _ in range(2))
    assert all(torch.equal(a.masks[name], b.masks[name]) for name in a.masks)


def test_the_papers_recall_needs_no_address(learned, generator) -> None:
    setup = learned("batch")
    bare = MaskMemory(setup.network.mask_sizes, seed=1, signature_features=0)
    for masks in setup.masks:
        bare.store(masks)
    found = setup.paper(generator(0), memory=bare, steps=3).infer(setup.sets(0, 1))
    assert found.task.shape == (1,)


# --- autocast


@pytest.mark.parametrize("recall", RECALLS)
def test_a_recall_does_not_depend_on_autocast(recall: str, learned) -> None:
    def product(images: Tensor) -> Tensor:
        return images.flatten(1) @ torch.eye(64)

    setup = learned("hashed")
    inference, sets = setup.inference(recall, signature=product), setup.sets(1, sets=4, samples=3)
    plain, (hit, trace) = inference.infer(sets), inference.trace(sets[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, (again, path) = inference.infer(sets), inference.trace(sets[0])
    for name in ("task", "steps", "verified"):
        assert torch.equal(getattr(plain, name), getattr(cast, name)), name
    assert torch.equal(plain.masks["bits"], cast.masks["bits"])
    assert torch.equal(hit.margin, again.margin)
    assert torch.equal(trace.states, path.states)
