"""The entry point of `hopmask`."""

from pathlib import Path

import pytest

import hopmask
from hopmask.cli import main


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_help_has_no_doubled_percent_sign(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["capacity", "--help"])
    assert stop.value.code == 0
    assert "%%" not in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"hopmask {hopmask.__version__}\n"


def test_exit_statuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As docs/command_line.md has them."""
    memory = tmp_path / "memory.h5"
    assert main(["inspect", str(memory)]) == 1
    hopmask.Reservoir(8).save(memory)
    assert main(["inspect", str(memory)]) == 0
    assert main(["capacity", "--rule", "unheard-of"]) == 2
    with pytest.raises(SystemExit) as stop:
        main(["inspect"])
    assert stop.value.code == 2
    monkeypatch.setattr(hopmask.storage, "read_stamped", interrupted)
    assert main(["inspect", str(memory)]) == 130
