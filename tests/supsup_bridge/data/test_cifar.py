"""CIFAR-10 and CIFAR-100: read from every layout, refused when anything is amiss."""

import gzip
import hashlib
import io
import os
import pickle
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from supsup_bridge import DataError
from supsup_bridge.data import cifar
from supsup_bridge.data.cifar import fingerprint, load_cifar10, load_cifar100

EACH = {"train": 5, "test": 1}  # images of a class in the small sets here
Files = dict[str, bytes]


def made(classes: int, part: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, as many of each class, and pixels."""
    draw = np.random.default_rng([classes, seed, EACH[part]])
    labels = draw.permutation(np.repeat(np.arange(classes, dtype=np.uint8), EACH[part]))
    return labels, draw.integers(0, 256, (len(labels), 3072), dtype=np.uint8)


HUNDRED = {part: made(100, part, 0) for part in EACH}
TEN = {part: made(10, part, 0) for part in EACH}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Sets of a few images; neither this machine's data, nor its cache, nor its network."""

    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("a test reached for the network")

    known = {part: fingerprint(*HUNDRED[part]) for part in EACH}
    monkeypatch.setattr(cifar, "_CIFAR100", replace(cifar._CIFAR100, fingerprints=known))
    monkeypatch.delenv("HOPMASK_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Number of classes -> makes that set a small one."""

    def set_to(classes: int) -> None:
        sizes = {part: classes * each for part, each in EACH.items()}
        monkeypatch.setattr(cifar, "_COUNTS", sizes)

    return set_to


def binary_100() -> Files:
    parts = {}
    for part, (labels, pixels) in HUNDRED.items():
        coarse = labels // 5
        parts[f"{part}.bin"] = np.column_stack([coarse, labels, pixels]).tobytes()
    return parts


def python_100() -> Files:
    return {
        part: pickle.dumps({b"data": pixels, b"fine_labels": labels.tolist()}, protocol=3)
        for part, (labels, pixels) in HUNDRED.items()
    }


def batches() -> list[tuple[str, np.ndarray, np.ndarray]]:
    """CIFAR-10 has its training part in five files."""
    labels, pixels = TEN["train"]
    parts = zip(np.split(labels, 5), np.split(pixels, 5), strict=True)
    named = [(f"data_batch_{i}", *part) for i, part in enumerate(parts, 1)]
    return [*named, ("test_batch", *TEN["test"])]


def binary_10() -> Files:
    return {
        f"{name}.bin": np.column_stack([labels, pixels]).tobytes()
        for name, labels, pixels in batches()
    }


def python_10() -> Files:
    return {
        name: pickle.dumps({b"data": pixels, b"labels": labels.tolist()}, protocol=3)
        for name, labels, pixels in batches()
    }


LAYOUTS = {
    "cifar-100-binary": (load_cifar100, 100, HUNDRED, binary_100, "cifar-100-binary.tar.gz"),
    "cifar-100-python": (load_cifar100, 100, HUNDRED, python_100, "cifar-100-python.tar.gz"),
    "cifar-10-batches-bin": (load_cifar10, 10, TEN, binary_10, "cifar-10-binary.tar.gz"),
    "cifar-10-batches-py": (load_cifar10, 10, TEN, python_10, "cifar-10-python.tar.gz"),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def write(folder: Path, files: Files) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def packed(path: Path, folder: str, files: Files) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def check_same(loaded: Any, truth: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    for part, (labels, pixels) in zip(loaded, truth.values(), strict=True):
        assert part.labels.tolist() == labels.tolist()
        assert part.pixels.shape == (len(labels), 3, 32, 32)
        assert np.array_equal(part.pixels.reshape(-1, 3072).numpy(), pixels)


# --- every layout


@every_layout
@pytest.mark.parametrize("form", ["files", "folder", "archive beside", "archive"])
def test_every_layout_is_read_wherever_it_lies(layout, form, counts, tmp_path: Path) -> None:
    load, classes, truth, files, archive = LAYOUTS[layout]
    counts(classes)
    place = tmp_path / "data"
    if form == "files":
        write(place, files())
    elif form == "folder":
        write(place / layout, files())
    elif form == "archive beside":
        packed(place / archive, layout, files())
    else:
        place = packed(place / "renamed", layout, files())
    check_same(load(place), truth)


def test_the_variable_names_the_default_place(counts, tmp_path: Path, monkeypatch) -> None:
    counts(100)
    write(tmp_path / "cifar-100-binary", binary_100())
    monkeypatch.setenv("HOPMASK_DATA", str(tmp_path))
    check_same(load_cifar100(), HUNDRED)


def test_images_are_standardised_at_each_access(counts, tmp_path: Path) -> None:
    counts(100)
    train, _ = load_cifar100(write(tmp_path, binary_100()))
    images = train.made(torch.tensor([3, 1]))
    mean, std = (torch.tensor(v) for v in ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)))
    expected = train.pixels[[3, 1]] / 255
    expected = (expected - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(images(), expected)
    assert images() is not images()


# --- order and content


def test_the_order_of_records_does_not_matter(counts, tmp_path: Path) -> None:
    counts(100)
    files = binary_100()
    rows = np.frombuffer(files["train.bin"], np.uint8).reshape(-1, 3074)
    files["train.bin"] = rows[::-1].tobytes()
    train, _ = load_cifar100(write(tmp_path, files))
    assert train.labels.tolist() == HUNDRED["train"][0][::-1].tolist()


@pytest.mark.parametrize(
    "change",
    [
        lambda labels, pixels: (labels, pixels ^ np.eye(len(pixels), 3072, 7, dtype=np.uint8)),
        lambda labels, pixels: (np.roll(labels, 1), pixels),
        lambda labels, pixels: (labels, pixels[[0, 0, *range(2, len(pixels))]]),
        lambda labels, pixels: (labels, np.roll(pixels, 1024, axis=1)),
    ],
    ids=["one bit", "labels moved on", "an image twice", "channels swapped"],
)
@pytest.mark.parametrize("files", [binary_100, python_100])
def test_altered_content_is_noticed(change, files, counts, tmp_path: Path, monkeypatch) -> None:
    counts(100)
    monkeypatch.setitem(HUNDRED, "test", change(*HUNDRED["test"]))
    with pytest.raises(DataError, match=r"test part of CIFAR-100.*altered.*fetch"):
        load_cifar100(write(tmp_path, files()))


def test_the_fingerprint_counts_an_image_that_is_there_twice() -> None:
    labels, pixels = TEN["train"]
    twice = np.concatenate([labels, labels[:1]]), np.concatenate([pixels, pixels[:1]])
    assert fingerprint(*twice) != fingerprint(labels, pixels)


def test_the_fingerprint_is_the_sum_of_the_records_hashes() -> None:
    labels, pixels = (array[:2] for array in TEN["train"])
    total = sum(
        int(hashlib.sha256(bytes([label]) + row.tobytes()).hexdigest(), 16)
        for label, row in zip(labels.tolist(), pixels, strict=True)
    )
    assert int(fingerprint(labels, pixels), 16) == total % 2**256


# --- what is amiss is named


@every_layout
def test_a_truncated_file_is_named(layout, counts, tmp_path: Path) -> None:
    load, classes, _, files, _ = LAYOUTS[layout]
    counts(classes)
    for name, content in files().items():
        folder = write(tmp_path / name, {**files(), name: content[:-1]})
        with pytest.raises(DataError, match=rf"{folder / name} .*fetch"):
            load(folder)


@every_layout
def test_a_missing_file_is_named(layout, counts, tmp_path: Path) -> None:
    load, classes, _, files, _ = LAYOUTS[layout]
    counts(classes)
    name = list(files())[-1]
    folder = write(tmp_path, {n: content for n, content in files().items() if n != name})
    with pytest.raises(DataError, match=rf"{folder / name} is missing"):
        load(folder)


@pytest.mark.parametrize("layout", ["cifar-100-binary", "cifar-100-python"])
def test_parts_that_were_swapped_are_noticed(layout, counts, tmp_path: Path) -> None:
    load, classes, _, files, _ = LAYOUTS[layout]
    counts(classes)
    names = list(files())
    swapped = dict(zip(names, reversed(files().values()), strict=True))
    with pytest.raises(DataError, match=rf"{tmp_path / names[0]} "):
        load(write(tmp_path, swapped))


@pytest.mark.parametrize("files", [binary_10, python_10])
def test_a_batch_in_the_place_of_another_is_noticed(files, counts, tmp_path: Path) -> None:
    counts(10)
    names = list(files())
    mixed = {**files(), names[1]: files()[names[0]]}
    with pytest.raises(DataError, match=r"train part of CIFAR-10 .* images of class"):
        load_cifar10(write(tmp_path, mixed))


@pytest.mark.parametrize("files", [binary_10, python_10])
def test_labels_that_do_not_exist_are_named(files, counts, tmp_path: Path, monkeypatch) -> None:
    counts(10)
    labels, pixels = TEN["test"]
    monkeypatch.setitem(TEN, "test", (labels + 1, pixels))
    with pytest.raises(DataError, match=r"test_batch.* has label 10"):
        load_cifar10(write(tmp_path, files()))


def test_files_of_the_other_set_under_this_ones_names_are_refused(counts, tmp_path: Path) -> None:
    counts(100)
    ten = binary_10()
    files = {"train.bin": ten["data_batch_1.bin"], "test.bin": ten["test_batch.bin"]}
    with pytest.raises(DataError, match=rf"{tmp_path / 'train.bin'} holds .* another file"):
        load_cifar100(write(tmp_path, files))


def test_a_pickle_of_something_else_is_named(counts, tmp_path: Path) -> None:
    counts(100)
    files = {**python_100(), "train": pickle.dumps([1, 2])}
    with pytest.raises(DataError, match=rf"{tmp_path / 'train'} is none of CIFAR-100.*fetch"):
        load_cifar100(write(tmp_path, files))


def test_a_pickle_that_calls_a_function_is_refused(counts, tmp_path: Path) -> None:
    class Calls:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    counts(100)
    files = {**python_100(), "train": pickle.dumps({b"data": Calls()})}
    with pytest.raises(DataError, match=rf"{tmp_path / 'data' / 'train'} .*mkdir"):
        load_cifar100(write(tmp_path / "data", files))
    assert not (tmp_path / "made").exists()


def test_an_empty_folder_names_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cifar-100-binary\.tar\.gz.*--data"):
        load_cifar100(tmp_path)


def test_no_such_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        load_cifar10(tmp_path / "nowhere")


# --- archives


def test_an_archive_of_another_set_is_refused(counts, tmp_path: Path) -> None:
    counts(100)
    path = packed(tmp_path / "cifar-100-binary.tar.gz", "cifar-10-batches-bin", binary_10())
    with pytest.raises(DataError, match=rf"{path} does not hold CIFAR-100.*cifar-100-binary/train"):
        load_cifar100(tmp_path)


def test_an_archive_under_the_name_of_the_other_layouts_is_read(counts, tmp_path: Path) -> None:
    counts(100)
    packed(tmp_path / "cifar-100-binary.tar.gz", "cifar-100-python", python_100())
    check_same(load_cifar100(tmp_path), HUNDRED)


@pytest.mark.parametrize("left", [0.5, 0.99, 0])
def test_a_truncated_archive_is_named(left: float, counts, tmp_path: Path) -> None:
    counts(100)
    path = packed(tmp_path / "cifar-100-binary.tar.gz", "cifar-100-binary", binary_100())
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    with pytest.raises(DataError, match=rf"{path} .*fetch"):
        load_cifar100(tmp_path)


def test_one_altered_byte_of_an_archive_is_noticed(counts, tmp_path: Path) -> None:
    counts(10)
    path = packed(tmp_path / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", binary_10())
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # of the checksum
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path} cannot be unpacked"):
        load_cifar10(tmp_path)


@pytest.mark.parametrize(
    "content", [b"<html>log in</html>", gzip.compress(b"no tar")], ids=["a page", "another .gz"]
)
def test_something_else_under_an_archives_name_is_named(content, tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"cifar-100-python\.tar\.gz .*fetch"):
        load_cifar100(tmp_path)


def test_nothing_of_an_archive_is_written_to_the_disk(counts, tmp_path: Path) -> None:
    counts(100)
    packed(tmp_path / "cifar-100-binary.tar.gz", "cifar-100-binary", binary_100())
    load_cifar100(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-100-binary.tar.gz"]


# --- downloads


def cached(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_download_is_checked_kept_and_read(counts, tmp_path: Path, monkeypatch) -> None:
    counts(100)
    raw = packed(tmp_path / "there", "cifar-100-binary", binary_100()).read_bytes()
    archive = len(raw), hashlib.md5(raw).hexdigest()
    monkeypatch.setattr(cifar, "_CIFAR100", replace(cifar._CIFAR100, archive=archive))
    asked = []

    def answer(url: str, *, timeout: float) -> io.BytesIO:
        asked.append(url)
        return io.BytesIO(raw)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    check_same(load_cifar100(), HUNDRED)
    check_same(load_cifar100(), HUNDRED)
    assert len(asked) == 1
    assert cached(tmp_path) == ["cifar-100-binary.tar.gz"]


@pytest.mark.parametrize("load", [load_cifar10, load_cifar100])
def test_another_answer_is_an_error_and_is_not_kept(load, tmp_path: Path, monkeypatch) -> None:
    page = b"<html>log in</html>"
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(page))
    with pytest.raises(DataError, match=r"19 bytes.*by hand.*--data"):
        load()
    assert cached(tmp_path) == []


def test_no_network_names_the_remedy(tmp_path: Path, monkeypatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(DataError, match=r"no route to host.*by hand.*--data"):
        load_cifar100()
    assert cached(tmp_path) == []


# --- the real set, where it is at hand


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.undo()
    folder = Path(os.environ.get("HOPMASK_DATA") or "nowhere") / "cifar-100-binary"
    if not folder.is_dir():
        pytest.skip("HOPMASK_DATA names no folder with cifar-100-binary")
    return folder


def test_the_real_set_is_recognised(real: Path) -> None:
    train, test = load_cifar100(real)
    assert train.pixels.shape == (50_000, 3, 32, 32)
    assert test.labels.bincount().tolist() == [100] * 100
    images = train.made(torch.arange(50_000))()
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(images.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
