"""What a lesson learns from: equal batches from tensors and data sets, streams from loaders."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from hopmask import ConfigError
from supsup_bridge import TrainingSettings, UnitNetwork, split_digits, train_mask
from supsup_bridge.training.data import (
    DatasetData,
    LoaderData,
    StreamedData,
    TensorData,
    lesson_data,
)
from supsup_bridge.training.fit import Lesson

SETTINGS = TrainingSettings(epochs=3, batch=4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


IMAGES, LABELS = torch.randn(10, 6, generator=seeded()), torch.arange(10) % 3


@pytest.fixture(scope="module")
def network() -> UnitNetwork:
    return UnitNetwork([6, 30, 4], network=seeded())


def lesson(network: UnitNetwork, data: Any, settings: TrainingSettings = SETTINGS) -> Lesson:
    return Lesson(network, lesson_data(data), settings, scores=seeded(1), batches=seeded(2))


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Watched(Dataset[Any]):
    """Notes which images are read, and adds noise from torch's global generator."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        self.read.append(i)
        return IMAGES[i] + torch.randn(6), int(LABELS[i])


class Endless(IterableDataset[Any]):
    """A data set without length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(zip(IMAGES, LABELS, strict=True))


class Stream:
    """A task's images batch by batch; notes how they are asked for."""

    shape = (6,)

    def __init__(self) -> None:
        self.asked: list[tuple[int, bool]] = []

    def batches(self, size: int, *, augment: bool, alone: bool = True) -> DataLoader[Any]:
        self.asked.append((size, augment))
        return DataLoader(TensorDataset(IMAGES, LABELS), batch_size=size, shuffle=True)


def test_each_kind_of_data_is_known() -> None:
    dataset = TensorDataset(IMAGES, LABELS)
    assert isinstance(lesson_data((IMAGES, LABELS)), TensorData)
    assert isinstance(lesson_data(dataset), DatasetData)
    assert isinstance(lesson_data(DataLoader(dataset)), LoaderData)
    data = TensorData(IMAGES, LABELS)
    assert lesson_data(data) is data


@pytest.mark.parametrize("data", [IMAGES, None, "mnist", Endless(), (1, 2, 3)])
def test_other_data_is_refused(data: Any) -> None:
    with pytest.raises(ConfigError):
        lesson_data(data)


def test_arrays_are_named_as_what_was_given() -> None:
    with pytest.raises(ConfigError, match="got ndarray and ndarray"):
        lesson_data((IMAGES.numpy(), LABELS.numpy()))


def test_a_data_set_teaches_what_its_tensors_teach(network) -> None:
    losses: dict[int, list[float]] = {0: [], 1: []}
    masks = [
        lesson(network, data).run(lambda step, loss, i=i: losses[i].append(loss))
        for i, data in enumerate([(IMAGES, LABELS), TensorDataset(IMAGES, LABELS)])
    ]
    assert losses[0] == losses[1]
    assert equal(*masks)


def test_one_batch_of_a_data_set_is_read_at_a_time(network) -> None:
    dataset = Watched()
    read: list[int] = []
    lesson(network, dataset).run(lambda step, loss: read.append(len(dataset.read)))
    assert read == [4, 8, 10, 14, 18, 20, 24, 28, 30]


@pytest.mark.parametrize("augment", [None, "crop-flip"])
def test_a_stream_is_asked_for_the_settings_batches_and_augments_by_itself(
    network, augment: str | None
) -> None:
    stream, settings = Stream(), replace(SETTINGS, augment=augment)
    data = StreamedData(stream)
    assert lesson_data(data) is data
    taught = lesson(network, data, settings)
    taught.run()  # flat images: nothing else augments them
    assert stream.asked == [(settings.batch, augment is not None)]
    assert taught.batches.done == taught.batches.steps == settings.steps(len(IMAGES))


def test_a_task_is_its_training_images_or_their_stream() -> None:
    (task,) = split_digits(tasks=1)
    data = lesson_data(task)
    assert isinstance(data, TensorData)
    assert torch.equal(data.images, task.train_images)
    assert torch.equal(data.labels, task.train_labels)
    streamed = lesson_data(replace(task, streamed=(stream := Stream())))
    assert isinstance(streamed, StreamedData)
    assert streamed.stream is stream


def test_a_strong_stream_is_recoloured_and_cut_as_well() -> None:
    class Whole(Stream):
        def batches(self, size: int, *, augment: bool, alone: bool = True) -> Any:
            self.asked.append((size, augment))
            return [(torch.ones(4, 3, 8, 8), LABELS[:4])]

    settings = replace(SETTINGS, epochs=1, augment="strong")
    stream = Whole()
    ((images, _),) = StreamedData(stream).batches(settings, torch.Generator().manual_seed(0))
    assert stream.asked == [(settings.batch, True)]
    gone = images == 0
    assert bool(gone.flatten(1).any(1).all())  # cut out
    assert len(set(images[~gone].tolist())) == 12  # one shade for each image and channel


def test_a_loader_is_read_once_per_epoch(network) -> None:
    dataset = Watched()
    learning = lesson(network, DataLoader(dataset, batch_size=5, shuffle=True))
    assert learning.batches.steps == 6
    learning.run()
    assert learning.batches.done == 6
    for epoch in range(3):
        assert sorted(dataset.read[10 * epoch : 10 * epoch + 10]) == list(range(10))
    assert dataset.read[:10] != dataset.read[10:20]


def test_a_loader_stops_at_max_batches(network) -> None:
    settings = TrainingSettings(epochs=3, max_batches=4)
    learning = lesson(network, DataLoader(Watched(), batch_size=5), settings)
    learning.run()
    assert learning.batches.steps == learning.batches.done == 4


def test_a_loader_without_length_is_learned_from_to_its_end(network) -> None:
    learning = lesson(network, DataLoader(Endless(), batch_size=5))
    assert learning.batches.steps is None
    learning.run()
    assert learning.batches.done == 6


def test_a_lesson_seeds_its_loader_and_leaves_the_global_generator_alone(network) -> None:
    masks = []
    for seed in (3, 4):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            before = torch.get_rng_state()
            masks.append(lesson(network, DataLoader(Watched(), batch_size=5, shuffle=True)).run())
            assert torch.equal(torch.get_rng_state(), before)
    assert equal(*masks)


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("own", [False, True])
def test_a_stopped_lesson_with_a_loader_is_continued(network, stop: int, own: bool) -> None:
    def begun() -> Lesson:
        generator = seeded(7) if own else None
        loader = DataLoader(Watched(), batch_size=5, shuffle=True, generator=generator)
        return lesson(network, loader)

    whole = begun().run()
    second, third = begun(), begun()

    class Stopped(Exception):
        pass

    def pause() -> None:
        if second.batches.done == stop:
            raise Stopped

    with pytest.raises(Stopped):
        second.run(pause=pause)
    third.restore(second.state())
    assert equal(third.run(), whole)


def test_batches_seen_are_those_of_the_data(network) -> None:
    seen: list[int] = []
    lesson(network, (IMAGES, LABELS)).run(seen=lambda images, labels: seen.append(len(labels)))
    assert seen == [4, 4, 2] * 3


@pytest.mark.parametrize(
    "batches", [[], [IMAGES], [(IMAGES, LABELS, LABELS)], [(IMAGES, LABELS.float())]]
)
def test_a_loader_of_something_else_is_refused(network, batches: list[Any]) -> None:
    with pytest.raises(ConfigError):
        lesson(network, LoaderData(batches)).run()


def test_a_loader_that_cannot_be_begun_anew_is_refused(network) -> None:
    with pytest.raises(ConfigError):
        lesson(network, LoaderData(iter([(IMAGES, LABELS)]))).run()


def test_an_empty_data_set_is_refused(network) -> None:
    with pytest.raises(ConfigError):
        lesson(network, TensorDataset(IMAGES[:0], LABELS[:0]))


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES, LABELS.float()),
        (IMAGES, LABELS[:9]),
        (IMAGES, LABELS > 0),
        (IMAGES, LABELS[:, None]),
        (IMAGES, LABELS.tolist()),
        (IMAGES.numpy(), LABELS),
        (IMAGES.byte(), LABELS),
        (IMAGES[:, :5], LABELS),
        (IMAGES.view(10, 1, 6, 1), LABELS),
    ],
    ids=str,
)
def test_data_that_does_not_fit_is_refused(network, images: Any, labels: Any) -> None:
    with pytest.raises(ConfigError):
        train_mask(network, images, labels, SETTINGS, generator=seeded())


def test_labels_of_any_integer_type_teach_the_same(network) -> None:
    found = [
        train_mask(network, IMAGES, LABELS.to(kind), SETTINGS, generator=seeded())
        for kind in (torch.int64, torch.uint8, torch.int32)
    ]
    assert equal(found[0], found[1])
    assert equal(found[0], found[2])
