"""Pictures that are streamed: each once a pass, decoded by workers, the same for any number."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from supsup_bridge import DataError
from supsup_bridge.data import image_files
from supsup_bridge.data.image_files import FileStream, LabelledFiles
from supsup_bridge.data.pictures import centre, random_part

COUNT = 7
MEAN, STD = (
    torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)  # ImageNet's
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of xdist's threads


@pytest.fixture(scope="module")
def held(tmp_path_factory) -> LabelledFiles:
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    files = []
    for number in range(COUNT):
        files.append(folder / f"{number}.png")
        Image.fromarray(draw.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(files[-1])
    return LabelledFiles(files=tuple(files), labels=torch.arange(COUNT) % 2)


def stream(held: LabelledFiles) -> FileStream:
    where = torch.arange(COUNT)
    return held.streamed(where, labels=where)  # the label tells which picture


def read(batches, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return list(batches)


def standard(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels / 255 - MEAN) / STD


def test_a_part_is_decoded_when_it_is_asked_for(held: LabelledFiles) -> None:
    made = held.made(torch.tensor([3, 1]))
    expected = torch.stack([standard(centre(held.files[number])) for number in (3, 1)])
    torch.testing.assert_close(made(), expected)


def test_chosen_files_keep_their_labels(held: LabelledFiles) -> None:
    chosen = held.chosen(torch.tensor([3, 0]))
    assert chosen.files == (held.files[3], held.files[0])
    assert chosen.labels.tolist() == [1, 0]


@pytest.mark.parametrize("size", [1, 3, 7, 10])
def test_each_picture_comes_once_with_its_label(held: LabelledFiles, size: int) -> None:
    batches = stream(held).batches(size, augment=False)
    found = read(batches)
    assert len(found) == len(batches) == -(-COUNT // size)
    images, labels = (torch.cat(part) for part in zip(*found, strict=True))
    assert sorted(labels.tolist()) == list(range(COUNT))
    for image, label in zip(images, labels.tolist(), strict=True):
        torch.testing.assert_close(image, standard(centre(held.files[label])))
    assert images.shape[1:] == stream(held).shape


def test_augmented_pictures_are_random_parts(held: LabelledFiles) -> None:
    (images, labels), *_ = read(stream(held).batches(COUNT, augment=True))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        order = torch.randperm(COUNT)
        seeds = torch.randint(2**62, (COUNT,))
    assert labels.tolist() == order.tolist()
    for image, number, seed in zip(images, order.tolist(), seeds.tolist(), strict=True):
        torch.testing.assert_close(image, standard(random_part(held.files[number], seed)))


def test_the_number_of_workers_changes_nothing(held: LabelledFiles, monkeypatch) -> None:
    batches = stream(held).batches(2, augment=True)
    some = read(batches)
    monkeypatch.setattr(image_files, "_cores", lambda: 0)
    none = read(batches)
    for (a, first), (b, second) in zip(some, none, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(first, second)


def test_another_pass_has_another_order_and_other_parts(held: LabelledFiles) -> None:
    batches = stream(held).batches(COUNT, augment=True)
    ((a, first),), ((b, second),) = read(batches, seed=0), read(batches, seed=1)
    assert first.tolist() != second.tolist()
    assert not torch.equal(a[first.argsort()], b[second.argsort()])


def test_pictures_are_decoded_by_other_processes(held: LabelledFiles, monkeypatch) -> None:
    here = os.getpid()

    def elsewhere(path: Path) -> torch.Tensor:
        if os.getpid() == here:
            raise DataError("decoded in the main process")
        return torch.zeros(3, 4, 4, dtype=torch.uint8)

    monkeypatch.setattr(image_files, "centre", elsewhere)
    assert len(read(stream(held).batches(2, augment=False))) == 4


@pytest.mark.parametrize("augment", [True, False])
def test_a_damaged_picture_is_named_when_it_is_reached(held, augment, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(held.files[0].read_bytes()[:-50])
    spoilt = LabelledFiles(files=(*held.files[:-1], bad), labels=held.labels)
    with pytest.raises(DataError, match=rf"^{bad} is no whole JPEG or PNG picture .*fetch"):
        read(stream(spoilt).batches(2, augment=augment))


@pytest.mark.parametrize(("size", "sizes"), [(3, [3, 4]), (2, [2, 2, 3]), (7, [7]), (1, [1] * 7)])
def test_a_picture_left_over_goes_with_the_batch_before(
    held: LabelledFiles, size: int, sizes: list[int]
) -> None:
    batches = stream(held).batches(size, augment=False, alone=False)
    found = read(batches)
    if size == 1:
        sizes = [1] * 5 + [2]
    assert [len(labels) for _, labels in found] == sizes
    assert len(batches) == len(sizes)
    assert sorted(torch.cat([labels for _, labels in found]).tolist()) == list(range(COUNT))


def end_oneself(path: Path, seed: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_lost_decoder_is_named(held: LabelledFiles, monkeypatch) -> None:
    monkeypatch.setattr(image_files, "_cores", lambda: 2)
    monkeypatch.setattr(image_files, "random_part", end_oneself)
    with pytest.raises(DataError, match=r"a process that decodes pictures was lost"):
        read(stream(held).batches(3, augment=True))
