"""A writer: who alone may change a file, from reading it to committing its successor."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hopmask.errors import SchemaTooNewError, StaleStoreError, StoreFileError
from hopmask.storage.commit import commit, draft_of, failed, header_or_none, previous_of
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

    def write(
        self,
        document: Document,
        *,
        after: Stamp | None = None,
        store: bytes | None = None,
        generation: int | None = None,
    ) -> Stamp:
        """Commit a document as the file's next generation; returns once it is durable.

        Args:
            document: what to write.
            after: of the state that it was made from; None where it does not matter.
            store: 16 bytes that name the store which begins with this file; by default the name of
                the file that stands there, or one that follows from the document.
            generation: its number; by default one more than that of the file that stands there.

        Raises:
            CommitFailedError, CommitUncertainError, StaleStoreError: see `commit`.
            SchemaTooNewError: a newer hopmask wrote the file that stands there; it is left alone.
            StoreTooLargeError: nobody would read it.
        """
        try:
            before = self.header
        except SchemaTooNewError:
            raise
        except StoreFileError as error:
            raise failed(self.path, error) from error
        if after is not None and after.generation and (before is None or stamp_of(before) != after):
            raise StaleStoreError(
                f"{self.path} is no longer generation {after.generation} that was read from it: a "
                "program that does not heed its lock changed it. Nothing was changed: open it again"
            )
        payload = payload_of(document)
        header = commit(self.path, payload, before=before, store=store, generation=generation)
        return stamp_of(header)


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
