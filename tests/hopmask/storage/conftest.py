"""Documents and crafted files that the tests of `hopmask.storage` share."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from hopmask.storage import Document, commit, descriptor, document, system
from hopmask.storage.container import Header


@pytest.fixture(autouse=True, scope="module")
def _hasty() -> Iterator[None]:
    """No test outlasts a loss of power: no test waits for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a file in a folder of its own."""
    return tmp_path / "store.h5"


@pytest.fixture(scope="session")
def counts() -> Callable[..., Document]:
    """(number) -> a small document, another for each number."""

    def make(number: int = 0, size: int = 6) -> Document:
        return Document(
            kind="counts", about={"number": number}, arrays={"counts": np.arange(size) + number}
        )

    return make


@pytest.fixture(scope="session")
def contained() -> Callable[..., bytes]:
    """(payload) -> the bytes of a file with a header that fits it."""

    def make(payload: bytes, **changes: int | bytes) -> bytes:
        digest = hashlib.sha256(payload).digest()
        fields = {"generation": 1, "length": len(payload), "digest": digest, "store": bytes(16)}
        return Header(**(fields | changes)).packed() + payload

    return make


@pytest.fixture(scope="session")
def imaged() -> Callable[..., bytes]:
    """(make) -> the HDF5 image that make(file) fills."""

    def build(make: Callable[[h5py.File], object], **options: object) -> bytes:
        image = io.BytesIO()
        with h5py.File(image, "w", **options) as file:
            make(file)
        return image.getvalue() + bytes(64)  # for numbers at its end that were never written

    return build


@pytest.fixture
def unparsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that reaches HDF5 fails the test."""
    monkeypatch.setattr(document.image, "parse", lambda *_: pytest.fail("HDF5 was reached"))


@pytest.fixture(scope="session")
def names() -> Callable[[Path], list[str]]:
    """(folder) -> names of what is in it, in order."""
    return lambda folder: sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], None]], object]:
    """(before) -> a context in which before(name) comes first in every system call of a commit."""

    @contextmanager
    def watch(before: Callable[[str], None]) -> Iterator[None]:
        def wrapped(name: str, real: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **options: object) -> object:
                try:
                    before(name)
                except OSError:
                    if name == "close":  # as Linux: closed, and an error
                        real(*arguments, **options)
                    raise
                return real(*arguments, **options)

            return call

        class Watched:
            def __getattr__(self, name: str) -> object:
                value = getattr(os, name)
                plain = name.startswith("O_") or name == "getpid"
                return value if plain else wrapped(name, value)

        with monkeypatch.context() as patch:
            for module in (commit, descriptor, system):
                patch.setattr(module, "os", Watched())
            for name in ("unlink", "replace"):
                patch.setattr(Path, name, wrapped(name, getattr(Path, name)))
            yield

    return watch
