"""Errors and the public face of the package."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import hopmask
from hopmask import errors

PACKAGE = Path(hopmask.__file__).parent

RAISED = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, Exception) and not issubclass(error, Warning)
]


@pytest.mark.parametrize("error", RAISED)
def test_every_error_is_a_hopmask_error(error):
    assert issubclass(error, hopmask.HopmaskError)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (hopmask.ConfigError, ValueError),
        (hopmask.MaskError, ValueError),
        (hopmask.CueError, ValueError),
        (hopmask.PenaltyError, ValueError),
        (hopmask.DuplicateError, ValueError),
        (hopmask.EmptyMemoryError, KeyError),
        (hopmask.UnknownTaskError, KeyError),
        (hopmask.NumericalError, ArithmeticError),
        (hopmask.StoreFileError, OSError),
        (hopmask.StoreNotFoundError, FileNotFoundError),
        (hopmask.StoreNotFoundError, hopmask.StoreFileError),
        (hopmask.NotAHopmaskStoreError, hopmask.StoreFileError),
        (hopmask.CorruptStoreError, hopmask.StoreFileError),
        (hopmask.TruncatedStoreError, hopmask.CorruptStoreError),
        (hopmask.UnsafeStoreError, hopmask.StoreFileError),
        (hopmask.StoreTooLargeError, hopmask.StoreFileError),
        (hopmask.SchemaTooNewError, hopmask.StoreFileError),
        (hopmask.StoreLockedError, hopmask.StoreFileError),
        (hopmask.LockingUnsupportedError, hopmask.StoreFileError),
        (hopmask.StaleStoreError, hopmask.StoreFileError),
        (hopmask.CommitFailedError, hopmask.StoreFileError),
        (hopmask.CommitUncertainError, hopmask.StoreFileError),
        (hopmask.MissingDependencyError, ImportError),
        (hopmask.OverloadWarning, UserWarning),
    ],
)
def test_an_error_is_also_the_builtin_that_users_expect(error, builtin):
    assert issubclass(error, builtin)


@pytest.mark.parametrize("error", RAISED)
def test_an_error_reads_as_its_message(error):
    """A KeyError would show its message in quotes, an OSError may want an errno."""
    assert str(error("layer 'h' is missing")) == "layer 'h' is missing"


@pytest.mark.parametrize("error", RAISED)
def test_an_error_without_a_message_reads_as_nothing(error):
    assert str(error()) == ""


def test_every_public_name_exists():
    assert [name for name in hopmask.__all__ if not hasattr(hopmask, name)] == []


def test_public_names_are_listed_once_and_in_order():
    assert hopmask.__all__ == sorted(set(hopmask.__all__))


def test_every_error_is_public():
    assert {error.__name__ for error in RAISED} <= set(hopmask.__all__)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_the_core_never_imports_the_bridge(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        else:
            continue
        assert not any(module.split(".")[0] == "supsup_bridge" for module in modules)


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
