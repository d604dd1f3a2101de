"""A writer: who alone may change a file, from reading it to committing its successor."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hopmask.errors import StoreFileError
from hopmask.storage.commit import commit, draft_of, header_or_none, previous_of
from hopmask.storage.container import Header
from hopmask.storage.document import Document, Stamp, payload_of, stamp_of
from hopmask.storage.lock import WAIT, locked


class Writer:
    """One who holds a file's lock; `writing` makes it. `path` is the file itself, no link to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def header(self) -> Header | None:
        """Of the file that stands there; None where there is none of this form that is sound."""
        return header_or_none(self.path)

    def write(self, document: Document, *, store: bytes | None = None) -> Stamp:
        """Commit a document as the file's next generation; returns once it is durable.

        Args:
            document: what to write.
            store: 16 bytes that name the store which begins with this file; by default the name of
                the file that stands there, or one that follows from the document.

        Raises:
            CommitFailedError, CommitUncertainError, StaleStoreError: see `commit`.
            StoreTooLargeError: nobody would read it.
        """
        payload = payload_of(document)
        return stamp_of(commit(self.path, payload, before=self.header, store=store))


@contextmanager
def writing(path: str | Path, *, wait: float = WAIT) -> Iterator[Writer]:
    """Hold a file's lock, and clear away what a writer before left half-written.

    Args:
        path: the file, or a link to it; it need not exist.
        wait: seconds to wait for another writer.

    Raises:
        StoreLockedError, LockingUnsupportedError, CommitFailedError: see `locked`.
        StoreFileError: the path names no file.
    """
    path = Path(path)
    if not path.name or "\0" in path.name:
        raise StoreFileError(f"{str(path)!r} names no file to write to")
    path = Path(os.path.realpath(path))
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 (no errors)
        raise StoreFileError(f"cannot write {path}: it is a folder or a device")

    def clear(process: int) -> None:
        for left in (draft_of(path, process), draft_of(previous_of(path), process)):
            with suppress(OSError):
                left.unlink(missing_ok=True)

    with locked(path, clear, wait=wait):
        yield Writer(path)


def write(path: str | Path, document: Document, *, wait: float = WAIT) -> Stamp:
    """Commit a document as a file's next generation; returns once it is durable.

    Raises:
        StoreFileError: as `writing` and `Writer.write` say; a file that stood there is intact.
    """
    with writing(path, wait=wait) as writer:
        return writer.write(document)
