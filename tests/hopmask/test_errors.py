"""Errors and the public face of the package."""

import inspect
import subprocess
import sys

import pytest

import hopmask
from hopmask import errors

RAISED = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, Exception) and not issubclass(error, Warning)
]
BUILTINS = {
    ValueError: "ConfigError MaskError CueError PenaltyError DuplicateError",
    KeyError: "EmptyMemoryError UnknownTaskError",
    ArithmeticError: "NumericalError",
    ImportError: "MissingDependencyError",
    FileNotFoundError: "StoreNotFoundError",
    errors.CorruptStoreError: "TruncatedStoreError",
    UserWarning: "OverloadWarning",
    errors.StoreFileError: (
        "StoreNotFoundError NotAHopmaskStoreError CorruptStoreError UnsafeStoreError "
        "StoreTooLargeError SchemaTooNewError StoreLockedError LockingUnsupportedError "
        "StaleStoreError CommitFailedError CommitUncertainError"
    ),
    OSError: "StoreFileError",
}


def test_every_error_is_a_hopmask_error():
    assert [error for error in RAISED if not issubclass(error, hopmask.HopmaskError)] == []


@pytest.mark.parametrize("builtin", BUILTINS, ids=lambda builtin: builtin.__name__)
def test_an_error_is_also_the_builtin_that_users_expect(builtin):
    assert all(issubclass(getattr(errors, name), builtin) for name in BUILTINS[builtin].split())


def test_an_error_reads_as_its_message():
    """A KeyError would show its message in quotes, an OSError may want an errno."""
    message = "layer 'h' is missing"
    assert {str(error(message)) for error in RAISED} == {message}
    assert {str(error()) for error in RAISED} == {""}


def test_public_names_exist_and_are_listed_once_and_in_order():
    assert [name for name in hopmask.__all__ if not hasattr(hopmask, name)] == []
    assert hopmask.__all__ == sorted(set(hopmask.__all__))


def test_star_import_replaces_no_builtin():
    assert not {*hopmask.__all__} & {*dir(__builtins__)}


def test_importing_the_core_loads_no_bridge_and_touches_no_random_state():
    program = (
        "import sys, torch\n"
        "before = torch.get_rng_state()\n"
        "import hopmask\n"
        "assert not any(name.startswith('supsup_bridge') for name in sys.modules)\n"
        "assert torch.equal(torch.get_rng_state(), before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
