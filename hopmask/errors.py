"""Typed errors: each derives from HopmaskError and, where users expect it, from a builtin."""


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


class NotAHopmaskStoreError(StoreFileError):
    """The file is not a hopmask memory."""


class CorruptStoreError(StoreFileError):
    """The file is a hopmask memory, but truncated or altered."""


class SchemaTooNewError(StoreFileError):
    """The file was written by a newer version of hopmask."""


class MissingDependencyError(HopmaskError, ImportError):
    """An optional package is needed for this and not installed."""


class OverloadWarning(UserWarning):
    """A pattern was stored, but the memory no longer holds it as a fixed point."""
