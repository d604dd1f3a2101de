"""Data sets: read, checked, never silently wrong."""

import gzip
import http.client
import io
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hopmask import HopmaskError
from supsup_bridge import DataError
from supsup_bridge.data.datasets import load_digits, load_mnist

FIRST = "train-images-idx3-ubyte"
NAMES = (FIRST, "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither this machine's data, nor its cache, nor its network."""

    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("a test reached for the network")

    monkeypatch.delenv("HOPMASK_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture
def copy(mnist_packed: dict[str, bytes], tmp_path: Path) -> Path:
    """A folder of MNIST's four files that a test may spoil."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for name, content in mnist_packed.items():
        (folder / f"{name}.gz").write_bytes(content)
    return folder


class _Mirror:
    """Answers instead of the network, and remembers what was requested."""

    def __init__(self, answer: Callable[[str], bytes]) -> None:
        self.answer, self.requested = answer, []

    def __call__(self, url: str, *_: Any, **options: Any) -> io.BytesIO:
        assert options.get("timeout"), "a download without a time limit can hang for ever"
        self.requested.append(url)
        return io.BytesIO(self.answer(url.rsplit("/", 1)[1].removesuffix(".gz")))


def unreachable(name: str) -> bytes:
    raise urllib.error.URLError("no route to host")


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# --- digits


def test_digits_are_1797_images_of_64_pixels() -> None:
    digits = load_digits()
    assert digits.images.shape == (1797, 64)
    assert digits.labels.shape == (1797,)
    assert digits.images.dtype == torch.float32


def test_digits_have_ten_classes_of_about_equal_size() -> None:
    counts = torch.bincount(load_digits().labels)
    assert len(counts) == 10
    assert int(counts.min()) > 150


def test_digits_are_on_the_scale_of_standardised_images() -> None:
    images = load_digits().images
    assert bool(torch.isfinite(images).all())
    assert abs(float(images.mean())) < 0.2
    assert float(images.std()) == pytest.approx(1, abs=0.2)


# --- MNIST, where it is at hand


def test_mnist_has_its_shapes_labels_and_scale(mnist_folder: Path) -> None:
    train, test = load_mnist(mnist_folder)
    assert train.images.shape == (60_000, 784)
    assert test.images.shape == (10_000, 784)
    assert train.images.dtype == torch.float32
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert torch.bincount(test.labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert float(train.images.mean()) == pytest.approx(0, abs=1e-3)
    assert float(train.images.std()) == pytest.approx(1, abs=1e-3)


def test_plain_files_are_read_as_packed_ones(copy: Path, mnist_folder: Path) -> None:
    for name in NAMES:
        packed = copy / f"{name}.gz"
        (copy / name).write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    for a, b in zip(load_mnist(copy), load_mnist(mnist_folder), strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)


def test_a_folder_that_holds_one_named_mnist_will_do(copy: Path, tmp_path: Path) -> None:
    copy.rename(tmp_path / "mnist")
    assert load_mnist(tmp_path)[1].images.shape == (10_000, 784)


def test_the_folder_may_be_given_as_text(copy: Path) -> None:
    assert load_mnist(str(copy))[1].images.shape == (10_000, 784)


def test_the_variable_is_the_default_folder(copy: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOPMASK_DATA", str(copy))
    assert load_mnist()[1].images.shape == (10_000, 784)


def test_a_given_folder_comes_before_the_variable(copy: Path, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOPMASK_DATA", str(tmp_path / "elsewhere"))
    assert load_mnist(copy)[1].images.shape == (10_000, 784)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(name: str, copy: Path) -> None:
    (copy / f"{name}.gz").unlink()
    with pytest.raises(DataError, match=f"neither {name} nor {name}.gz"):
        load_mnist(copy)


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_packed_file_is_named(name: str, copy: Path) -> None:
    path = copy / f"{name}.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=f"{name}.gz"):
        load_mnist(copy)


@pytest.mark.parametrize("name", [NAMES[1], NAMES[3]])
def test_a_truncated_plain_file_is_named(name: str, copy: Path) -> None:
    content = gzip.decompress((copy / f"{name}.gz").read_bytes())
    (copy / name).write_bytes(content[:-1])
    with pytest.raises(DataError, match=rf"{name} holds {len(content) - 1} bytes"):
        load_mnist(copy)


@pytest.mark.parametrize("name", [NAMES[1], NAMES[2]])
def test_one_altered_byte_is_noticed(name: str, copy: Path) -> None:
    content = bytearray(gzip.decompress((copy / f"{name}.gz").read_bytes()))
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} was altered"):
        load_mnist(copy)


def test_one_altered_packed_byte_is_noticed(copy: Path) -> None:
    path = copy / f"{NAMES[1]}.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{NAMES[1]}.gz"):
        load_mnist(copy)


def test_labels_in_the_place_of_images_are_noticed(copy: Path) -> None:
    (copy / f"{FIRST}.gz").write_bytes((copy / f"{NAMES[1]}.gz").read_bytes())
    with pytest.raises(DataError, match=f"{FIRST}.gz"):
        load_mnist(copy)


# --- folders and files that are not MNIST


def test_no_such_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        load_mnist(tmp_path / "nowhere")


def test_no_such_folder_in_the_variable_is_named(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOPMASK_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        load_mnist()


def test_an_empty_folder_names_the_first_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"neither {FIRST} nor {FIRST}.gz"):
        load_mnist(tmp_path)


def test_a_given_folder_is_never_filled_by_a_download(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        load_mnist(tmp_path)
    assert files_of(tmp_path) == []


def test_a_file_of_another_size_is_named(tmp_path: Path) -> None:
    (tmp_path / FIRST).write_bytes(b"something else")
    with pytest.raises(DataError, match=f"{FIRST} holds 14 bytes where MNIST has 47040016"):
        load_mnist(tmp_path)


def test_a_file_of_the_right_size_with_other_content_is_named(tmp_path: Path) -> None:
    with (tmp_path / FIRST).open("wb") as file:
        file.truncate(47_040_016)
    with pytest.raises(DataError, match=f"{FIRST} was altered"):
        load_mnist(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>not found</html>",
        gzip.compress(bytes(10_000))[:-12],
        b"\x1f\x8b\x08" + bytes(9),
    ],
    ids=["empty", "a web page", "truncated", "a header alone"],
)
def test_a_packed_file_that_cannot_be_unpacked_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"{FIRST}.gz").write_bytes(content)
    with pytest.raises(DataError, match=f"{FIRST}.gz"):
        load_mnist(tmp_path)


def test_data_errors_are_the_librarys_own_and_the_systems() -> None:
    assert issubclass(DataError, HopmaskError)
    assert issubclass(DataError, OSError)


# --- downloads


def test_no_network_names_the_remedy_and_leaves_nothing(monkeypatch, tmp_path: Path) -> None:
    mirror = _Mirror(unreachable)
    monkeypatch.setattr(urllib.request, "urlopen", mirror)
    with pytest.raises(DataError, match=r"no route to host.*by hand.*--data"):
        load_mnist()
    assert len(mirror.requested) >= 2  # every mirror was tried
    assert files_of(tmp_path) == []


def test_a_download_that_breaks_off_is_an_error_and_leaves_nothing(
    monkeypatch, tmp_path: Path
) -> None:
    def broken(name: str) -> bytes:
        raise http.client.IncompleteRead(b"half a file", 1000)

    monkeypatch.setattr(urllib.request, "urlopen", _Mirror(broken))
    with pytest.raises(DataError, match="--data"):
        load_mnist()
    assert files_of(tmp_path) == []


def test_wrong_bytes_from_a_mirror_are_an_error(monkeypatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", _Mirror(lambda name: b"<html>log in</html>"))
    with pytest.raises(DataError, match=FIRST):
        load_mnist()


def test_wrong_bytes_from_a_mirror_are_not_kept(monkeypatch, tmp_path: Path) -> None:
    mirror = _Mirror(lambda name: gzip.compress(b"another file"))
    monkeypatch.setattr(urllib.request, "urlopen", mirror)
    with pytest.raises(DataError):
        load_mnist()
    assert files_of(tmp_path) == []  # or they would stand in the way of the next attempt


def test_a_cache_that_cannot_be_written_is_a_data_error(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(urllib.request, "urlopen", _Mirror(unreachable))
    with pytest.raises(DataError):
        load_mnist()


def test_an_empty_variable_counts_as_none(monkeypatch, tmp_path: Path) -> None:
    mirror = _Mirror(unreachable)
    monkeypatch.setattr(urllib.request, "urlopen", mirror)
    monkeypatch.setenv("HOPMASK_DATA", "")
    with pytest.raises(DataError, match="by hand"):
        load_mnist()
    assert mirror.requested


def test_a_download_fills_the_cache_once(
    monkeypatch, tmp_path: Path, mnist_packed: dict[str, bytes]
) -> None:
    mirror = _Mirror(lambda name: mnist_packed[name])
    monkeypatch.setattr(urllib.request, "urlopen", mirror)
    assert load_mnist()[1].images.shape == (10_000, 784)
    assert files_of(tmp_path / "cache" / "hopmask" / "mnist") == sorted(f"{n}.gz" for n in NAMES)
    assert len(mirror.requested) == 4
    load_mnist()
    assert len(mirror.requested) == 4


def test_only_missing_files_are_downloaded(
    monkeypatch, tmp_path: Path, mnist_packed: dict[str, bytes]
) -> None:
    cache = tmp_path / "cache" / "hopmask" / "mnist"
    cache.mkdir(parents=True)
    for name in NAMES[:3]:
        (cache / f"{name}.gz").write_bytes(mnist_packed[name])
    mirror = _Mirror(lambda name: mnist_packed[name])
    monkeypatch.setattr(urllib.request, "urlopen", mirror)
    load_mnist()
    assert [url.rsplit("/", 1)[1] for url in mirror.requested] == [f"{NAMES[3]}.gz"]


@pytest.fixture
def answers(mnist_packed: dict[str, bytes]) -> Callable[[Any], Iterator[bytes]]:
    """What the first mirror does wrong -> answers of which only the later ones are right."""

    def build(wrong: Any) -> Callable[[str], bytes]:
        requested: set[str] = set()

        def answer(name: str) -> bytes:
            if name in requested:
                return mnist_packed[name]
            requested.add(name)
            if isinstance(wrong, Exception):
                raise wrong
            return wrong

        return answer

    return build


@pytest.mark.parametrize(
    "wrong",
    [urllib.error.URLError("down"), http.client.IncompleteRead(b""), b"<html>log in</html>"],
    ids=["unreachable", "breaks off", "wrong bytes"],
)
def test_the_next_mirror_is_asked_when_one_fails(wrong: Any, answers, monkeypatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", _Mirror(answers(wrong)))
    assert load_mnist()[1].images.shape == (10_000, 784)
