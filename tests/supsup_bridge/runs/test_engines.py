"""Engines of workers: what is missing is said; Dask and Ray where they are installed."""

import sys
from pathlib import Path

import pytest

from hopmask import ConfigError
from hopmask.errors import MissingDependencyError
from supsup_bridge.runs.engines import engine
from supsup_bridge.runs.workers import Workers


@pytest.mark.parametrize(("name", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_package_that_is_missing_is_named_with_its_remedy(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'hopmask\[cluster\]'"):
        next(Workers(jobs=2, engine=name).results(divmod, [(7, 2)]))


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match="loky"):
        engine("spark", 2)


@pytest.mark.filterwarnings("ignore")  # of the packages themselves
@pytest.mark.parametrize(("name", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_cluster_on_this_machine_gives_results_in_order(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    calls = [(number, 2) for number in range(20)]
    found = list(Workers(jobs=2, engine=name).results(divmod, calls))
    assert found == [divmod(*call) for call in calls]
