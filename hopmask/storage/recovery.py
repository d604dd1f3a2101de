"""Recovery and migration: the previous generation back in place, old schemas to the newest."""

import os
import shutil
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from hopmask.errors import (
    CorruptStoreError,
    StoreFileError,
    StoreNotFoundError,
    UnsafeStoreError,
)
from hopmask.storage.commit import distrust, previous_of
from hopmask.storage.container import DAMAGE
from hopmask.storage.document import SCHEMA, Stamp, read_stamped
from hopmask.storage.writer import writing

_DAMAGE = (*DAMAGE, StoreNotFoundError, UnsafeStoreError)


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """What `recover` did.

    Attributes:
        stamp: of the file that stands there now.
        source: of the previous generation that it was made from; None where the file was whole.
        damaged: where the damaged file was put aside; None where there was none.
        cleared: what killed writers had left half-written, and is gone now.
    """

    stamp: Stamp
    source: Stamp | None
    damaged: Path | None
    cleared: tuple[Path, ...]

    @property
    def restored(self) -> bool:
        """Whether there was anything to recover."""
        return self.source is not None


def recover(path: str | Path) -> Recovered:
    """Put the previous generation in the place of a file that is damaged or lost.

    That generation keeps its number, but begins a store: what is stored from now on is no successor
    of what was lost. Nothing is thrown away: NAME.prev stays, and the damaged file becomes
    NAME.damaged (.1, .2 ...). A file that is whole is left as it is. Drafts of killed writers are
    cleared away.

    Raises:
        StoreNotFoundError: there is neither the file nor NAME.prev.
        CorruptStoreError: the previous generation is damaged too; nothing was changed.
        StoreFileError: the file cannot be read, written or locked.

    Example:
        >>> import tempfile
        >>> from hopmask import Reservoir
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "memory.h5"
        ...     stamps = [Reservoir(16).save(path) for _ in range(2)]
        ...     os.truncate(path, 600)
        ...     recover(path).stamp.generation
        1
    """
    with writing(path) as writer:
        cleared = _cleared(writer.path)
        try:
            _, stamp = read_stamped(writer.path)
            return Recovered(stamp=stamp, source=None, damaged=None, cleared=cleared)
        except _DAMAGE as error:
            damage = error
            distrust(writer.path)
        previous = previous_of(writer.path)
        try:
            document, source = read_stamped(previous)
        except StoreNotFoundError:
            raise type(damage)(
                f"{damage}. There is no previous generation {previous} either. Nothing was changed"
            ) from damage
        except StoreFileError as error:
            raise CorruptStoreError(
                f"{damage}. The previous generation cannot be read either ({error}). Nothing was "
                "changed"
            ) from damage
        damaged = _put_aside(writer.path) if writer.path.exists() else None
        stamp = writer.write(document, generation=source.generation)
        return Recovered(stamp=stamp, source=source, damaged=damaged, cleared=cleared)


def migrate(path: str | Path) -> tuple[Stamp, Stamp]:
    """Bring a file of an older schema to the newest; the old one stays as NAME.prev.

    Returns:
        The stamps before and after; the same where the file was of the newest schema already.

    Raises:
        StoreFileError: it cannot be read or written; it is as it was.

    Example:
        >>> import tempfile
        >>> from hopmask import Reservoir
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     stamp = Reservoir(16).save(folder + "/memory.h5")
        ...     migrate(folder + "/memory.h5") == (stamp, stamp)
        True
    """
    with writing(path) as writer:
        document, before = read_stamped(writer.path)
        newest = before.schema >= SCHEMA
        return before, before if newest else writer.write(document, after=before)


def _put_aside(path: Path) -> Path:
    """Make a damaged file NAME.damaged as well, or the first such name that is free."""
    names = (f"{path.name}.damaged" + (f".{number}" if number else "") for number in count())
    aside = next(a for a in map(path.with_name, names) if not a.exists())
    try:
        os.link(path, aside)
    except OSError:  # no hard links: a copy does as well
        shutil.copy2(path, aside)
    return aside


def _cleared(path: Path) -> tuple[Path, ...]:
    """Unlink every draft of the file; the lock is held, so that no process is writing one."""
    found = []
    with os.scandir(path.parent) as entries:
        for entry in entries:
            for name in (path.name, previous_of(path).name):
                number = entry.name.removeprefix(f".{name}.").removesuffix(".tmp")
                if entry.name == f".{name}.{number}.tmp" and number.isdigit():
                    Path(entry.path).unlink(missing_ok=True)
                    found.append(path.parent / entry.name)
    return tuple(found)
