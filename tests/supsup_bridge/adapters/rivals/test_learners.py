"""Who makes a learner, and what is said where Avalanche is missing."""

import sys

import pytest

from hopmask.errors import MissingDependencyError
from supsup_bridge.adapters.rivals.learners import maker_of
from supsup_bridge.cli import main
from supsup_bridge.continual.baselines.named import BASELINES, baseline_named
from supsup_bridge.runs.learners import LEARNERS, RIVALS

ADAPTER = "supsup_bridge.adapters.rivals.baseline"


def test_baselines_of_this_package_need_nothing_else() -> None:
    assert {maker_of(name) for name in BASELINES} == {baseline_named}
    assert {*RIVALS} < {*LEARNERS}


@pytest.mark.parametrize("name", RIVALS)
def test_avalanches_learners_name_their_extra(name: str, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, ADAPTER, None)  # as where it cannot be imported
    with pytest.raises(MissingDependencyError, match=r"hopmask\[rivals\]"):
        maker_of(name)


def test_the_command_says_so_and_writes_nothing(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, ADAPTER, None)
    out = tmp_path / "run"
    assert main(["run", "split-digits", "--learner", "gem", "--out", str(out)]) != 0
    assert "hopmask[rivals]" in "".join(capsys.readouterr().err.split("\n"))
    assert not out.exists()
