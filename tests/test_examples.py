"""The scripts under examples/: each runs, is short, and uses the public names alone."""

import ast
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
DOORS = {"hopmask", "hopmask.testing", "supsup_bridge"}

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Name and arguments of a script -> what it prints, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def output(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return output


def share(pattern: str, text: str) -> float:
    """The number that a pattern finds in what was printed."""
    found = re.search(pattern, text)
    assert found, text
    return float(found[1])


def test_an_own_network_on_own_pictures(run: Run, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name, colour in {"a": (200, 50, 50), "b": (50, 200, 50), "c": (50, 50, 200)}.items():
        (tmp_path / "pictures" / name).mkdir(parents=True)
        (tmp_path / "pictures" / f"{name}{name}").mkdir()
        for number in range(20):
            for folder, shade in ((name, 1), (name * 2, 0.3)):
                pixels = draw.normal(shade * np.array(colour), 30, size=(20, 24, 3))
                picture = Image.fromarray(pixels.clip(0, 255).astype("uint8"))
                picture.save(tmp_path / "pictures" / folder / f"{number}.png")
    said = run("own_images.py", "pictures", "3")
    assert said.count("task ") >= 3
    assert share(r"mean +[\d.]+ +[\d.]+ +([\d.]+)", said) > 0.5  # by chance: 1/6
    assert (tmp_path / "own-images" / "memory.h5").exists()


def test_a_mask_for_each_user(run: Run) -> None:
    said = run("hundred_users.py", "3")
    assert share(r"accuracy over 3 users: ([\d.]+)", said) > 0.8  # by chance: 1/2


def test_what_is_new_in_a_stream(run: Run) -> None:
    said = run("novelty.py", "60")
    assert "batch 0, of digits 0 and 1: new, mask 0" in said
    assert "batch 60, of digits 2 and 3: new, mask 1" in said
    known = [int(percent) for percent in re.findall(r"(\d+)% recognized", said)]
    assert min(known[:-1]) > known[-1]  # the last one was never learned


def test_the_capacity_for_own_masks(tmp_path: Path) -> None:
    options = ["-q", "-n0", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, str(EXAMPLES / "capacity_of_own_masks.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_what_two_processes_learned_is_merged(run: Run, tmp_path: Path) -> None:
    said = run("merge.py")
    assert "merged: tasks (0, 1, 2, 3, 4)" in said
    assert share(r"mean +[\d.]+ +[\d.]+ +([\d.]+)", said) > 0.8  # by chance: 1/10
    assert (tmp_path / "merged" / "memory.h5").exists()


def test_there_are_five_scripts_each_under_60_lines() -> None:
    lengths = {script.name: len(script.read_text("utf-8").splitlines()) for script in SCRIPTS}
    assert len(lengths) == 5
    assert max(lengths.values()) < 60, lengths


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_an_example_uses_the_public_names_alone(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (
            "hopmask",
            "supsup_bridge",
        ):
            assert node.module in DOORS
            public = __import__(node.module, fromlist=["__all__"]).__all__
            assert {alias.name for alias in node.names} <= {*public}
