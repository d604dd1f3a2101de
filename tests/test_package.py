"""What is installed: the wheel, and the types that a user's own file is checked with."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import hopmask

ROOT = Path(__file__).parents[1]
USER = """\
import torch
from torch import Tensor, nn

from hopmask import Hit, MaskMemory, load
from supsup_bridge import Prediction, SupSup

memory = MaskMemory({"hidden": 64}, couplings="hub", hubs=4)
number: int = memory.store({"hidden": torch.ones(64)})
hit: Hit = memory.recall(number)
mask: Tensor = hit.masks["hidden"]
learner = SupSup(nn.Linear(4, 2), seed=1)
task: int = learner.learn((torch.randn(8, 4), torch.arange(8) % 2), epochs=1)
found: Prediction = learner.predict(torch.randn(2, 4))
labels: list[int] = found.label.tolist()
load("memory.h5")
"""
WRONG = USER + 'learner.learn((mask, mask), epochs="many")\n'


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the project's own build backend, without a network."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    about = f"hopmask-{hopmask.__version__}.dist-info"
    tree = {
        path.relative_to(ROOT).as_posix()
        for package in ("hopmask", "supsup_bridge")
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".html") or path.name == "py.typed"
    }
    assert {"hopmask/py.typed", "supsup_bridge/py.typed"} <= names
    assert tree <= names
    assert {name.split("/")[0] for name in names} == {"hopmask", "supsup_bridge", about}
    assert f"{about}/licenses/LICENSE" in names


def test_the_wheel_has_both_commands(wheel: Path) -> None:
    about = f"hopmask-{hopmask.__version__}.dist-info"
    entries = zipfile.ZipFile(wheel).read(f"{about}/entry_points.txt").decode()
    assert set(re.findall(r"^(\w+) = ", entries, re.MULTILINE)) == {"hopmask", "supsup"}


def test_the_wheel_is_under_a_megabyte(wheel: Path) -> None:
    assert wheel.stat().st_size < 1_000_000


def test_the_citation_is_of_this_version() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", text, re.MULTILINE) == [hopmask.__version__]


def test_the_links_of_the_contributing_page_lead_somewhere() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def checked(checker: list[str], text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a checker of types on a user's file, which lies outside the tree."""
    (folder / "user.py").write_text(text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*checker, "user.py"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def checker_named(name: str) -> list[str]:
    """How to run a checker of types; skips where it is missing."""
    if name == "mypy":
        pytest.importorskip("mypy", reason="mypy is not installed")
        cache = ROOT / ".mypy_cache"  # of which `mypy` itself is faster
        return [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache)]
    if (path := shutil.which("pyright")) is None:
        pytest.skip("pyright is not installed")
    return [path, "--pythonpath", sys.executable]


@pytest.mark.parametrize("name", ["mypy", "pyright"])
def test_a_users_file_is_checked_with_our_types(name: str, tmp_path: Path) -> None:
    checker = checker_named(name)
    right = checked(checker, USER, tmp_path)
    assert right.returncode == 0, right.stdout + right.stderr
    wrong = checked(checker, WRONG, tmp_path)
    assert wrong.returncode == 1
    assert re.search(rf"user\.py:{len(WRONG.splitlines())}\b.*epochs", wrong.stdout), wrong.stdout
