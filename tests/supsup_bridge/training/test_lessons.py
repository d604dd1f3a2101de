"""Masks of several tasks trained at once, against the same tasks trained one by one."""

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from hopmask import ConfigError, NumericalError
from supsup_bridge import (
    FixedNetwork,
    LessonsFailedError,
    MaskedNetwork,
    TrainingSettings,
    UnitNetwork,
    fix_weights,
    train_mask,
    train_masks,
)
from supsup_bridge.runs.state_tree import packed, unpacked
from supsup_bridge.training.data import LessonData, LoaderData, lesson_data
from supsup_bridge.training.lessons import Lessons
from supsup_bridge.training.stack_trainer import StackTrainer
from supsup_bridge.training.tasks_at_once import together

Data = list[tuple[Tensor, Tensor]]
SHAPE = (3, 6, 6)
CLOSE = 0.02  # share of bits that rounding may change; another draw changes a fifth or more


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tasks(count: int, shape: tuple[int, ...] = (10,), images: int = 26) -> Data:
    """Clouds of two classes, around other centres in each task."""
    found = []
    for task in range(count):
        g = seeded(100 + task)
        labels = torch.randint(0, 2, (images,), generator=g)
        centre = torch.randn(shape, generator=g)
        signs = (2.0 * labels - 1).reshape(-1, *(1,) * len(shape))
        found.append((signs * centre + 0.4 * torch.randn(images, *shape, generator=g), labels))
    return found


class Maps(nn.Module):
    """A convolution, a batch norm and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False)
        self.out = nn.Linear(4, 5, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.out(self.norm(self.conv(images)).relu().mean((-2, -1)))
        return logits


def network_of(kind: str) -> FixedNetwork:
    if kind in ("layer", "batch"):
        return UnitNetwork([10, 20, 20, 5], network=seeded(0), normalisation=kind)
    if kind == "maps":
        return MaskedNetwork(fix_weights(Maps(), seeded(0)))
    module = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    return MaskedNetwork(fix_weights(module, seeded(0)), masks=kind)


KINDS = ("weight", "signed", "hashed", "unit", "layer", "batch", "maps")


def shape_of(kind: str) -> tuple[int, ...]:
    return SHAPE if kind == "maps" else (10,)


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "optimiser": st.just("sgd"),
        "averaging": st.sampled_from([0.0, 0.9]),
        "smoothing": st.just(0.1),
        "mixup": st.just(0.8),
        "contrast": st.sampled_from([0.0, 1.0]),
        "noise": st.just(1.5),
        "diluted_every": st.sampled_from([1, 2]),
        "sparsity": st.sampled_from([0.2, 0.4]),
        "max_batches": st.integers(1, 5),
    },
)


def apart(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """Share of bits that differ."""
    assert found.keys() == expected.keys()
    wrong = sum(int((found[name] != expected[name]).sum()) for name in expected)
    return wrong / sum(mask.numel() for mask in expected.values())


def one_by_one(
    network: FixedNetwork,
    data: Data,
    how: TrainingSettings,
    means: Sequence[Mapping[str, Tensor] | None] | None = None,
) -> list[dict[str, Tensor]]:
    starts = means or [None] * len(data)
    return [
        train_mask(network, *one, how, generator=seeded(task), mean=mean)
        for task, (one, mean) in enumerate(zip(data, starts, strict=True))
    ]


def generators(count: int) -> list[torch.Generator]:
    return [seeded(task) for task in range(count)]


# --- the same as one by one


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), OPTIONS, st.integers(2, 3), st.sampled_from([None, "strong"]))
def test_masks_are_those_of_the_tasks_alone(kind, options, count, augment) -> None:
    network, data = network_of(kind), tasks(count, shape_of(kind))
    augment = augment if kind == "maps" else None
    how = TrainingSettings(**{"epochs": 2, "batch": 8, "rate": 0.003, "augment": augment} | options)
    found = train_masks(network, data, how, generators=generators(count))
    for masks, expected in zip(found, one_by_one(network, data, how), strict=True):
        assert apart(masks, expected) <= CLOSE


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), OPTIONS, st.sampled_from(["float32", "bfloat16"]))
def test_losses_and_gradients_are_those_of_the_tasks_alone(kind, options, precision) -> None:
    network, count = network_of(kind), 3
    assume(together(network, TrainingSettings(precision=precision)))
    images, labels = (torch.stack(part) for part in zip(*tasks(count, shape_of(kind)), strict=True))
    how = TrainingSettings(**options, precision=precision)
    at_once = StackTrainer(network, how, scores=generators(count), noise=generators(count))
    losses = at_once.backward(images, labels)
    rough = precision == "bfloat16"
    for task in range(count):
        alone = StackTrainer(network, how, scores=[seeded(task)], noise=[seeded(task)])
        (loss,) = alone.backward(images[task, None], labels[task, None])
        assert float(losses[task]) == pytest.approx(float(loss), rel=3e-2 if rough else 1e-5)
        for name, score in alone.scores.items():
            assert score.grad is not None
            there = at_once.scores[name].grad
            assert there is not None
            error = (there[task] - score.grad[0]).norm() / score.grad.norm().clamp(min=1e-6)
            assert float(error) < (0.1 if rough else 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_one_task_is_the_same_to_the_bit(kind: str) -> None:
    network, data = network_of(kind), tasks(1, shape_of(kind))
    how = TrainingSettings(epochs=3, batch=8, mixup=0.5)
    (found,) = train_masks(network, data, how, generators=generators(1))
    (expected,) = one_by_one(network, data, how)
    assert apart(found, expected) == 0


def test_each_task_starts_from_its_own_mean() -> None:
    network, data = network_of("weight"), tasks(3)
    first = {
        name: torch.rand(size, generator=seeded(9)).round()
        for name, size in network.mask_sizes.items()
    }
    means = [first, None, {name: 1 - mask for name, mask in first.items()}]
    how = TrainingSettings(epochs=1, batch=8, rate=1e-3)
    found = train_masks(network, data, how, generators=generators(3), means=means)
    for masks, expected in zip(found, one_by_one(network, data, how, means), strict=True):
        assert apart(masks, expected) <= CLOSE
    assert apart(found[0], found[2]) > 0.5


@pytest.mark.parametrize("source", ["dataset", "loader"])
def test_data_may_be_anything_that_a_lesson_takes(source: str) -> None:
    network, data = network_of("layer"), tasks(2)
    sets = [TensorDataset(*one) for one in data]
    given = sets if source == "dataset" else [DataLoader(one, batch_size=8) for one in sets]
    how = TrainingSettings(epochs=2, batch=8)
    found = train_masks(network, given, how, generators=generators(2))
    for task, masks in enumerate(found):
        g = seeded(task)
        alone = Lessons(network, [lesson_data(given[task])], how, scores=[g], batches=[g])
        assert apart(masks, alone.run()[0]) <= CLOSE


@given(st.sampled_from([0.1, 0.35]), st.integers(2, 4))
@settings(max_examples=10, deadline=None)
def test_each_task_keeps_its_own_share(sparsity: float, count: int) -> None:
    network = network_of("weight")
    how = TrainingSettings(epochs=1, batch=8, sparsity=sparsity)
    found = train_masks(network, tasks(count), how, generators=generators(count))
    kept = [{name: int(mask.sum()) for name, mask in masks.items()} for masks in found]
    (alone,) = one_by_one(network, tasks(1), how)
    assert kept == [{name: int(mask.sum()) for name, mask in alone.items()}] * count


def test_the_global_generator_stays_as_it_is() -> None:
    network, how = network_of("weight"), TrainingSettings(epochs=1, batch=8, mixup=0.5)
    before = torch.get_rng_state()
    train_masks(network, tasks(2), how, generators=generators(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_has_the_losses_of_each_step() -> None:
    network, data, how = network_of("weight"), tasks(2), TrainingSettings(epochs=2, batch=8)
    seen: list[tuple[int, list[float]]] = []
    train_masks(
        network,
        data,
        how,
        generators=generators(2),
        progress=lambda step, losses: seen.append((step, losses)),
    )
    assert [step for step, _ in seen] == list(range(1, 9))
    for task in range(2):
        alone: list[float] = []
        train_mask(
            network,
            *data[task],
            how,
            generator=seeded(task),
            progress=lambda step, loss, of=alone: of.append(loss),
        )
        assert [losses[task] for _, losses in seen] == pytest.approx(alone, rel=1e-3)


# --- tasks that fail


@pytest.mark.parametrize("spoiled", [0, 2])
def test_a_task_that_fails_takes_no_other_with_it(spoiled: int) -> None:
    network, data, how = network_of("weight"), tasks(3), TrainingSettings(epochs=2, batch=8)
    expected = one_by_one(network, data, how)
    data[spoiled] = torch.full_like(data[spoiled][0], float("nan")), data[spoiled][1]
    with pytest.raises(LessonsFailedError, match=f"data {spoiled}: the loss .* at step 1") as error:
        train_masks(network, data, how, generators=generators(3))
    assert isinstance(error.value, NumericalError)
    assert list(error.value.failed) == [spoiled]
    assert sorted(error.value.learned) == sorted({0, 1, 2} - {spoiled})
    for task, masks in error.value.learned.items():
        assert apart(masks, expected[task]) <= CLOSE
    sent = pickle.loads(pickle.dumps(error.value))  # as from a worker process
    assert (str(sent), sent.failed) == (str(error.value), error.value.failed)
    assert sorted(sent.learned) == sorted(error.value.learned)


def test_where_all_fail_training_ends_at_once() -> None:
    steps: list[int] = []
    data = [(images * float("inf"), labels) for images, labels in tasks(2)]
    with pytest.raises(LessonsFailedError) as error:
        train_masks(
            network_of("weight"),
            data,
            TrainingSettings(epochs=3, batch=8),
            generators=generators(2),
            progress=lambda step, losses: steps.append(step),
        )
    assert sorted(error.value.failed) == [0, 1]
    assert error.value.learned == {}
    assert steps == []


def test_scores_that_are_not_finite_make_no_mask() -> None:
    lessons = lessons_of("weight", tasks(3))
    lessons.trainer.scores["2"].data[1, 0, 0] = float("nan")
    with pytest.raises(LessonsFailedError, match="data 1: scores of mask '2'") as error:
        lessons.run()
    assert sorted(error.value.learned) == [0, 2]


def test_a_failure_outlives_a_break() -> None:
    """Later losses may be finite again: a score that is NaN masks its weight."""
    data = tasks(2)
    data[1][0][:] = float("nan")
    first = lessons_of("weight", data)
    state = broken_off(first, after=2)
    again = lessons_of("weight", tasks(2))
    again.restore(state)
    with pytest.raises(LessonsFailedError) as error:
        again.run()
    assert list(error.value.failed) == [1]
    assert "the loss became nan at step 1" in error.value.failed[1]


# --- a break


class Break(Exception):
    pass


def lessons_of(kind: str, data: Data, **options: Any) -> Lessons:
    how = TrainingSettings(**{"epochs": 3, "batch": 8, "mixup": 0.5} | options)
    count = len(data)
    sources: list[LessonData] = [lesson_data(one) for one in data]
    return Lessons(
        network_of(kind), sources, how, scores=generators(count), batches=generators(count)
    )


def broken_off(lessons: Lessons, *, after: int) -> Any:
    """The state after so many steps, as it comes out of a file."""
    states: list[Any] = []

    def pause() -> None:
        if lessons.trainer.done == after:
            states.append(unpacked(packed(lessons.state())))
            raise Break

    with pytest.raises(Break):
        lessons.run(pause=pause)
    return states[0]


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["weight", "hashed", "maps"]), st.integers(1, 11), st.integers(1, 3))
def test_lessons_that_were_broken_off_go_on_to_the_same_bits(kind, after, count) -> None:
    data = tasks(count, shape_of(kind))
    expected = lessons_of(kind, data).run()
    state = broken_off(lessons_of(kind, data), after=after)
    again = lessons_of(kind, data)
    again.restore(state)
    found = again.run()
    assert again.trainer.done == again.batches[0].done
    assert [apart(a, b) for a, b in zip(found, expected, strict=True)] == [0] * count


# --- what is refused


def test_no_tasks_are_refused() -> None:
    with pytest.raises(ConfigError):
        train_masks(network_of("layer"), [], TrainingSettings(), generators=[])


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_generators_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=f"2 generators.*got {count}"):
        train_masks(network_of("layer"), tasks(2), TrainingSettings(), generators=generators(count))


def test_one_generator_for_two_tasks_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 of them different"):
        train_masks(network_of("layer"), tasks(2), TrainingSettings(), generators=[seeded(0)] * 2)


def test_another_number_of_means_is_refused() -> None:
    with pytest.raises(ConfigError, match="means"):
        train_masks(
            network_of("layer"),
            tasks(2),
            TrainingSettings(),
            generators=generators(2),
            means=[None],
        )


def test_labels_that_do_not_fit_are_refused_by_the_tasks_number() -> None:
    data = tasks(2)
    data[1][1][3] = 5
    with pytest.raises(ConfigError, match="data 1 of 2: labels"):
        train_masks(network_of("layer"), data, TrainingSettings(), generators=generators(2))


def test_labels_of_a_loader_are_looked_at_batch_by_batch() -> None:
    data = tasks(2)
    data[1][1][3] = 5
    loaders = [DataLoader(TensorDataset(*one), batch_size=26) for one in data]
    with pytest.raises(ConfigError, match="labels must lie in"):
        train_masks(network_of("layer"), loaders, TrainingSettings(), generators=generators(2))


def test_images_that_do_not_fit_the_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot take images"):
        train_masks(
            network_of("layer"), tasks(2, (9,)), TrainingSettings(), generators=generators(2)
        )


class TestUnequal:
    def refused(self, data: Sequence[Any], **options: Any) -> None:
        how = TrainingSettings(**{"epochs": 1, "batch": 8} | options)
        with pytest.raises(ConfigError, match=r"data 0 has .*, data 1 has"):
            train_masks(network_of("layer"), data, how, generators=generators(len(data)))

    def test_numbers_of_images(self) -> None:
        self.refused([tasks(1)[0], tasks(1, images=27)[0]])

    def test_images(self) -> None:
        self.refused([tasks(1)[0], tasks(1, (9,))[0]])

    def test_numbers_of_batches(self) -> None:
        sets = [TensorDataset(*tasks(1, images=n)[0]) for n in (16, 24)]
        self.refused(sets)

    def test_batches(self) -> None:
        sets = [TensorDataset(*tasks(1, images=n)[0]) for n in (15, 16)]
        self.refused(sets)

    def test_numbers_of_batches_that_nobody_knew(self) -> None:
        class Unknown:
            def __init__(self, count: int) -> None:
                self.count = count

            def __iter__(self) -> Any:
                return iter(tasks(self.count, images=8))

        self.refused([LoaderData(Unknown(count)) for count in (2, 3)])


@pytest.mark.parametrize("name", ["maps", "units"])
def test_less_precision_than_each_task_alone_would_have_is_refused(name: str) -> None:
    module = Maps() if name == "maps" else nn.Sequential(nn.Linear(10, 5), nn.BatchNorm1d(5))
    network, shape = MaskedNetwork(module), SHAPE if name == "maps" else (10,)
    how = TrainingSettings(epochs=1, precision="bfloat16")
    with pytest.raises(ConfigError, match="train one by one, or with precision='float32'"):
        train_masks(network, tasks(2, shape), how, generators=generators(2))
    assert len(train_masks(network, tasks(1, shape), how, generators=generators(1))) == 1
