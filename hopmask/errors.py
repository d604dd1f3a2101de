"""Typed errors: each derives from HopmaskError and, where users expect it, from a builtin."""

from collections.abc import Iterable
from difflib import get_close_matches


class HopmaskError(Exception):
    """Base class of every error that hopmask and supsup_bridge raise on purpose."""

    def __str__(self) -> str:  # KeyError would show the repr of its message
        return str(self.args[0]) if self.args else ""


class ConfigError(HopmaskError, ValueError):
    """A size, seed, option or name that nothing can be built from."""


class MaskError(HopmaskError, ValueError):
    """A mask or spin vector of wrong name, type, shape or value."""


class CueError(HopmaskError, ValueError):
    """A cue that cannot name a memory: wrong shape or value, or no information in it."""


class PenaltyError(HopmaskError, ValueError):
    """A penalty that answered with something other than a finite, differentiable scalar."""


class DuplicateError(HopmaskError, ValueError):
    """A pattern that is in the memory already: storing it twice would erase or distort it."""


class MemoryFullError(HopmaskError, ValueError):
    """A memory with as many tasks as fit; nothing was changed."""


class SaturationError(HopmaskError, OverflowError):
    """An integer of the memory would leave its range; nothing was changed."""


class ReadOnlyMemoryError(HopmaskError, TypeError):
    """A change to a memory that was saved with few bits per coupling and is for recall alone."""


class EmptyMemoryError(HopmaskError, KeyError):
    """A recall from a memory that holds nothing."""


class UnknownTaskError(HopmaskError, KeyError):
    """A task number that was never stored."""


class NotForgettableError(HopmaskError):
    """The learning rule has no exact inverse: a single pattern cannot be taken out."""


class NumericalError(HopmaskError, ArithmeticError):
    """NaN or infinity where finite numbers are needed."""


class StoreFileError(HopmaskError, OSError):
    """A memory file that cannot be read or written."""


class StoreNotFoundError(StoreFileError, FileNotFoundError):
    """There is no memory file at that path."""


class StoreExistsError(StoreFileError, FileExistsError):
    """There is a file at that path already, which was to be made."""


class NotAHopmaskStoreError(StoreFileError):
    """The file is not a hopmask memory."""


class CorruptStoreError(StoreFileError):
    """The file is hopmask's, but altered: it does not match its own SHA-256, or makes no sense."""


class TruncatedStoreError(CorruptStoreError):
    """The file is hopmask's, but its end is missing."""


class UnsafeStoreError(StoreFileError):
    """The file holds what hopmask never writes, such as links or filters. It was not followed."""


class StoreTooLargeError(StoreFileError):
    """The file, or what is to be written, is larger than hopmask reads."""


class SchemaTooNewError(StoreFileError):
    """The file was written by a newer version of hopmask."""


class StoreLockedError(StoreFileError):
    """Another writer holds the file's lock and did not let go in time."""


class LockingUnsupportedError(StoreFileError):
    """The file system has no locks that hold: two writers would lose each other's masks."""


class StaleStoreError(StoreFileError):
    """The file is no longer a successor of the state that was read from it."""


class CommitFailedError(StoreFileError):
    """The file could not be written; the one before is intact. `errno` is the system's."""


class CommitUncertainError(StoreFileError):
    """The file is written, but may not outlast a loss of power. `errno` is the system's."""


class MissingDependencyError(HopmaskError, ImportError):
    """An optional package is needed for this and not installed."""


class OverloadWarning(UserWarning):
    """A pattern was stored, but the memory no longer holds it as a fixed point."""


def unknown_name(what: str, name: object, known: Iterable[str]) -> str:
    """The message about a name that is none of the known ones; it suggests one that is much alike.

    Args:
        what: what the name is of, such as "learning rule".
        name: what was given.
        known: the names there are.

    Example:
        >>> unknown_name("animal", "Catt", ["cat", "dog"])
        "unknown animal 'Catt': did you mean 'cat'? Known: cat, dog"
        >>> unknown_name("animal", "whale", ["cat", "dog"])
        "unknown animal 'whale'. Known: cat, dog"
    """
    names = [*known]
    spelt = {one.lower(): one for one in names}
    near = get_close_matches(str(name).lower(), spelt, n=1)
    suggestion = f": did you mean '{spelt[near[0]]}'?" if near else "."
    return f"unknown {what} {name!r}{suggestion} Known: {', '.join(names)}"
