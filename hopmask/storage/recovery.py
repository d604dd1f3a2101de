"""Recovery and migration: the previous generation back in place, old forms to the newest."""

import os
from dataclasses import dataclass
from pathlib import Path

from hopmask.errors import (
    CorruptStoreError,
    SchemaTooNewError,
    StoreFileError,
    StoreNotFoundError,
)
from hopmask.storage.commit import previous_of, sync_folder, uncertain
from hopmask.storage.document import SCHEMA, Stamp, read_stamped
from hopmask.storage.writer import writing


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """What `recover` did.

    Attributes:
        stamp: of the file that stands there now.
        damaged: where the damaged file was put aside; None where there was none.
        cleared: what killed writers had left half-written, and is gone now.
        restored: whether the previous generation was put in place; False where the file was whole.
    """

    stamp: Stamp
    damaged: Path | None
    cleared: tuple[Path, ...]
    restored: bool


def recover(path: str | Path) -> Recovered:
    """Put the previous generation in the place of a file that is damaged or lost.

    Nothing is thrown away: the damaged file becomes NAME.damaged. A file that is whole is left as
    it is. Drafts of killed writers are cleared away.

    Raises:
        StoreNotFoundError: there is neither the file nor NAME.prev.
        CorruptStoreError: the previous generation is damaged too; nothing was changed.
        StoreFileError: the file cannot be written or locked.
    """
    with writing(path) as writer:
        cleared = _cleared(writer.path)
        try:
            _, stamp = read_stamped(writer.path)
            return Recovered(stamp=stamp, damaged=None, cleared=cleared, restored=False)
        except SchemaTooNewError:
            raise
        except StoreFileError as error:  # also a file that is empty, or zeros, as after a power cut
            damage = error
        previous = previous_of(writer.path)
        try:
            _, stamp = read_stamped(previous)
        except StoreNotFoundError:
            raise type(damage)(
                f"{damage}. There is no previous generation {previous} either. Nothing was changed"
            ) from damage
        except StoreFileError as error:
            raise CorruptStoreError(
                f"{damage}. The previous generation cannot be read either ({error}). Nothing was "
                "changed"
            ) from damage
        damaged = None
        try:
            if writer.path.exists():
                damaged = writer.path.with_name(writer.path.name + ".damaged")
                writer.path.replace(damaged)
            previous.replace(writer.path)
        except OSError as error:
            raise StoreFileError(
                f"cannot put {previous} in the place of {writer.path}: {error}. Rename it yourself"
            ) from error
        try:
            sync_folder(writer.path.parent)
        except OSError as error:
            raise uncertain(writer.path, error) from error
        return Recovered(stamp=stamp, damaged=damaged, cleared=cleared, restored=True)


def migrate(path: str | Path) -> tuple[Stamp, Stamp]:
    """Bring a file of an older schema to the newest; the old one stays as NAME.prev.

    Returns:
        The stamps before and after; the same where the file was of the newest schema already.

    Raises:
        StoreFileError: it cannot be read or written; it is as it was.
    """
    with writing(path) as writer:
        document, before = read_stamped(writer.path)
        return before, before if before.schema >= SCHEMA else writer.write(document)


def _cleared(path: Path) -> tuple[Path, ...]:
    """Unlink every draft of the file; the lock is held, so nobody is writing one."""
    found = []
    with os.scandir(path.parent) as entries:
        for entry in entries:
            for name in (path.name, previous_of(path).name):
                number = entry.name.removeprefix(f".{name}.").removesuffix(".tmp")
                if entry.name == f".{name}.{number}.tmp" and number.isdigit():
                    Path(entry.path).unlink(missing_ok=True)
                    found.append(path.parent / entry.name)
    return tuple(found)
