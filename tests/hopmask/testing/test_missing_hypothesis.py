"""Without hypothesis nothing but `hopmask.testing` is missing, and that says what to install."""

import contextlib
import importlib
import subprocess
import sys

import pytest

import hopmask
from hopmask import HopmaskError
from hopmask.errors import MissingDependencyError


@contextlib.contextmanager
def no_hypothesis():
    """As if hypothesis was not installed and `hopmask.testing` not imported yet."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.startswith("hopmask.testing")]:
            patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, "hypothesis", None)
        yield


def test_the_error_is_typed_an_import_error_too_and_names_the_remedy():
    with no_hypothesis(), pytest.raises(MissingDependencyError) as raised:
        importlib.import_module("hopmask.testing")
    assert isinstance(raised.value, HopmaskError)
    assert isinstance(raised.value, ImportError)
    assert "pip install 'hopmask[test]'" in str(raised.value)
    assert "pip install hypothesis" in str(raised.value)
    assert isinstance(raised.value.__cause__, ImportError)


@pytest.mark.parametrize("module", ["strategies", "checks", "contract"])
def test_its_modules_say_the_same(module):
    with no_hypothesis(), pytest.raises(MissingDependencyError):
        importlib.import_module(f"hopmask.testing.{module}")


def test_an_import_that_failed_fails_again_and_leaves_nothing_behind():
    with no_hypothesis():
        for _ in range(2):
            with pytest.raises(MissingDependencyError):
                importlib.import_module("hopmask.testing")
        assert not [name for name in sys.modules if name.startswith("hopmask.testing")]


PROGRAM = """
import sys
import hopmask, hopmask.capacity
assert not {"hypothesis", "pytest", "hopmask.testing"} & {*sys.modules}
sys.modules["hypothesis"] = None
import torch
hopmask.Reservoir(32).store(torch.arange(32) % 3 == 0)
assert hopmask.capacity.measure("hebbian", hopmask.RandomMasks(size=16), trials=2).trials
try:
    import hopmask.testing
except ImportError as error:
    print(type(error).__name__)
del sys.modules["hypothesis"]
import hopmask.testing
print(*hopmask.testing.__all__)
"""


def test_in_a_new_interpreter_all_else_works_and_once_it_is_installed_testing_too():
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    error, names = done.stdout.splitlines()
    assert error == "MissingDependencyError"
    assert "assert_capacity" in names.split()


def test_all_that_testing_offers_is_there_and_documented():
    testing = importlib.import_module("hopmask.testing")
    for name in testing.__all__:
        assert getattr(testing, name).__doc__, name
    assert not set(testing.__all__) & set(hopmask.__all__)
