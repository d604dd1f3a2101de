"""The entry point of `hopmask`."""

import pytest

from hopmask.cli import main


def test_help_has_no_doubled_percent_sign(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["capacity", "--help"])
    assert stop.value.code == 0
    assert "%%" not in capsys.readouterr().out
