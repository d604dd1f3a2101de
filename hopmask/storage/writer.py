"""A writer: the one process that may change a file, from reading it to committing its successor."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock

from hopmask.errors import SchemaTooNewError, StaleStoreError, StoreFileError
from hopmask.storage.commit import commit, draft_of, failed, header_or_none, previous_of
from hopmask.storage.container import Header
from hopmask.storage.document import Document, Stamp, payload_of, stamp_of
from hopmask.storage.lock import WAIT, locked
from hopmask.storage.sidecar import Sidecar
from hopmask.storage.system import has_locks

_alone = Lock()  # of the threads that save where the system has no locks of files


class Writer:
    """The holder of a file's lock; `writing` makes it.

    Attributes:
        path: the file itself, no link to it.
    """

    def __init__(self, path: Path, sidecar: Sidecar | None) -> None:
        self.path, self._sidecar = path, sidecar

    @property
    def header(self) -> Header | None:
        """Of the file that stands there; None where there is none that is sound."""
        return header_or_none(self.path)

    def write(
        self, document: Document, *, after: Stamp | None = None, generation: int | None = None
    ) -> Stamp:
        """Commit a document as the file's next generation; returns once it is durable.

        Args:
            document: what to write.
            after: of the state that the document was made from: the file's. The document then
                continues the store of that state. None for a document that begins a store.
            generation: its number; by default one more than that of the file that stands there.

        Raises:
            CommitFailedError, CommitUncertainError: see `commit`.
            StaleStoreError: the file is in another state than `after`.
            SchemaTooNewError: a newer hopmask wrote the file that stands there; it is left alone.
            StoreTooLargeError: no reader would take it.
        """
        try:
            before = self.header
        except SchemaTooNewError:
            raise
        except StoreFileError as error:
            raise failed(self.path, error) from error
        if after and (before is None or stamp_of(before, schema=after.schema) != after):
            raise StaleStoreError(
                f"{self.path} is no longer generation {after.generation} that was read from it: a "
                "program that ignores its lock changed it. Nothing was changed: open it again"
            )
        line = self._line(before) if after and before else partial(Header, store=os.urandom(16))
        number = generation or self._next(before)
        header = commit(
            self.path,
            payload_of(document),
            before=before,
            header_of=lambda length, digest: line(generation=number, length=length, digest=digest),
            note=self._sidecar.note if self._sidecar else lambda *_: None,
        )
        return stamp_of(header)

    def _line(self, before: Header) -> "partial[Header]":
        """A header of the store of the state before, or of one that branches off from it.

        A store goes on only in the file in which its last writer left it: of a file and a copy that
        are both written to, the copy branches off.
        """
        if self._sidecar and self._sidecar.noted(before.seal):
            return partial(
                Header, store=before.store, origin=before.origin, branched=before.branched
            )
        return partial(
            Header, store=os.urandom(16), origin=before.store, branched=before.generation
        )

    def _next(self, before: Header | None) -> int:
        """The number after that of the file, or of the previous one where the file is damaged."""
        if before:
            return before.generation + 1
        older = header_or_none(previous_of(self.path))
        return older.generation + 2 if older else 1


@contextmanager
def writing(path: str | Path, *, wait: float = WAIT) -> Iterator[Writer]:
    """Hold a file's lock, and clear away what a writer before left half-written.

    Args:
        path: the file, or a link to it; it need not exist.
        wait: seconds to wait for another writer.

    Raises:
        StoreLockedError, LockingUnsupportedError, CommitFailedError: see `locked`.
        StoreFileError: the path names no file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with writing(folder + "/counts.h5") as writer:
        ...         writer.write(Document(kind="counts", about={}, arrays={})).generation
        1
    """
    path = _resolved(path)

    def clear(process: int) -> None:
        for left in (draft_of(path, process), draft_of(previous_of(path), process)):
            with suppress(OSError):
                left.unlink(missing_ok=True)

    with locked(path, clear, wait=wait) as sidecar:
        yield Writer(path, sidecar)


def write(path: str | Path, document: Document, *, wait: float = WAIT) -> Stamp:
    """Commit a document to a file, where it begins a store; returns once it is durable.

    It takes the place of whatever stood there, so that it does without the lock on a system that
    has none (neither flock nor the locks of Windows).

    Raises:
        StoreFileError: as `writing` and `Writer.write` say; a file that stood there is intact.
    """
    if not has_locks():
        with _alone:
            return Writer(_resolved(path), None).write(document)
    with writing(path, wait=wait) as writer:
        return writer.write(document)


def _resolved(path: str | Path) -> Path:
    """The file itself, no link to it."""
    path = Path(path)
    if not path.name or "\0" in path.name:
        raise StoreFileError(f"{str(path)!r} names no file to write to")
    path = Path(os.path.realpath(path))
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 (no errors)
        raise StoreFileError(f"cannot write {path}: it is a folder or a device")
    return path
