"""Every public name has an entry in the reference, and a docstring of its own."""

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PACKAGES = ("hopmask", "hopmask.capacity", "hopmask.storage", "hopmask.testing", "supsup_bridge")
ADAPTERS = "supsup_bridge.adapters"  # shown with all modules in it
ENTRIES = [
    entry
    for page in sorted(REFERENCE.glob("*.md"))
    for entry in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
]
PUBLIC = {
    f"{package}.{name}": getattr(importlib.import_module(package), name)
    for package in PACKAGES
    for name in importlib.import_module(package).__all__
}


def _found(entry: str) -> Any:
    """What an entry is of: a package, or a public name of one."""
    return importlib.import_module(entry) if entry in PACKAGES else PUBLIC[entry]


def _shown(entry: str) -> list[Any]:
    """What an entry shows: itself and, of a module that is no package, what is defined in it."""
    found = _found(entry)
    if not isinstance(found, ModuleType) or entry in PACKAGES:
        return [found]
    defined = [value for name, value in vars(found).items() if not name.startswith("_")]
    return [found, *(v for v in defined if getattr(v, "__module__", None) == entry)]


def test_every_entry_is_of_a_public_name() -> None:
    assert set(ENTRIES) - {ADAPTERS} <= {*PUBLIC, *PACKAGES}


def test_every_public_name_has_one_entry() -> None:
    shown = [value for entry in ENTRIES if entry != ADAPTERS for value in _shown(entry)]
    counts = {
        name: sum(other is value for other in shown)
        for name, value in PUBLIC.items()
        if name not in PACKAGES
    }
    assert {name: count for name, count in counts.items() if count != 1} == {}


@pytest.mark.parametrize("name", [n for n, value in PUBLIC.items() if hasattr(value, "__name__")])
def test_a_public_name_has_a_docstring_of_its_own(name: str) -> None:
    value = PUBLIC[name]
    own = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    assert own
    assert not own.startswith(f"{value.__name__}(")  # what dataclass makes
