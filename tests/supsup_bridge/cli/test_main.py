"""The entry point of `supsup`, and the completion that shells make of both commands."""

import re
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

import hopmask
from supsup_bridge.cli import main

ROOT = Path(__file__).parents[3]


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"supsup {hopmask.__version__}\n"


def test_exit_statuses_are_those_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["run", "--quick", "--tasks", "1", "--out", str(tmp_path / "out")]
    found = {
        main(arguments),
        main(["predict", str(tmp_path / "none"), "images.npy"]),
        main(["run", "foo"]),
    }
    with pytest.raises(SystemExit) as stop:
        main(["run", "--unknown"])
    assert stop.value.code == 2
    monkeypatch.setattr("supsup_bridge.cli.run.Experiment", interrupted)
    found.add(main(["run"]))
    text = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    assert {int(status) for status in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)} == found
    assert found == {0, 1, 2, 130}


def test_a_name_far_off_is_answered_with_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", "foo"]) == 2
    said = capsys.readouterr().err
    assert "did you mean" not in said
    assert "rotated-mnist" in said  # one of the known


@pytest.mark.parametrize(
    ("command", "module", "typed", "found"),
    [
        ("supsup", "supsup_bridge.cli.main", ["run", "--scen"], ["--scenario"]),
        ("supsup", "supsup_bridge.cli.main", ["pre"], ["predict"]),
        ("hopmask", "hopmask.cli.main", ["ver"], ["verify"]),
    ],
)
def test_the_shell_completes(
    command: str, module: str, typed: list[str], found: list[str], tmp_path: Path
) -> None:
    shtab = pytest.importorskip("shtab", reason="shtab, which makes completions, is not installed")
    script = tmp_path / command
    script.write_text(shtab.complete(import_module(module).parser(), shell="bash"))
    words = " ".join([command, *typed])
    asked = (
        f"source {script}; COMP_WORDS=({words}); COMP_CWORD={len(typed)}; "
        f"$(complete -p {command} | sed 's/.*-F \\([^ ]*\\).*/\\1/') {command} {typed[-1]} x "
        '2>/dev/null; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == found
