"""Published figures of other learners: measured once each, and judged by two points."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from supsup_bridge.runs.learners import RIVALS

Script = Callable[[str], Any]


@pytest.fixture
def published(script: Script, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, with two figures: two tasks of digits, one pass over each."""
    module = script("published")
    monkeypatch.setitem(sys.modules, "published", module)  # its networks are imported by name
    setting = replace(module.HSU, benchmark="split-digits", tasks=2, epochs=1)
    figures = (
        module.Figure(learner="lower-bound", setting=setting, published={"GG": 0.5, "GNu": 0.1}),
        module.Figure(
            learner="wsn", setting=setting, published={"GG": 0.5}, options={"share": 0.25}
        ),
    )
    monkeypatch.setattr(module, "FIGURES", figures)
    return module


def test_each_figure_is_measured_once(
    published: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    out = tmp_path / "published.json"
    monkeypatch.setattr(sys, "argv", ["published", "--seeds", "0", "1", "--out", str(out)])
    published.main()
    rows = json.loads(out.read_text())
    keys = [tuple(row["run"][name] for name in ("learner", "scenario", "seed")) for row in rows]
    assert sorted(keys) == sorted(
        (learner, scenario, seed)
        for learner, scenario in (("lower-bound", "GG"), ("lower-bound", "GNu"), ("wsn", "GG"))
        for seed in (0, 1)
    )
    for row in rows:
        assert row["accuracy"] == pytest.approx(sum(row["accuracy_per_task"]) / 2)
        assert 0 < row["accuracy"] <= 1
    (first, second) = (row["accuracy_per_task"] for row in rows if row["run"]["learner"] == "wsn")
    assert first != second  # the seed draws the network and the order
    assert len(capsys.readouterr().out.splitlines()) == len(rows)
    published.main()
    assert json.loads(out.read_text()) == rows  # nothing was made again


def test_a_learner_trains_with_the_settings_of_its_figure(
    published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    real = published.maker_of("wsn")

    def made(name: str, **terms: Any) -> Any:
        asked.update(terms)
        return real(name, **terms)

    monkeypatch.setattr(published, "maker_of", lambda name: made)
    published.measured(published.FIGURES[1], "GG", 0, None)
    assert asked["share"] == 0.25
    assert (asked["training"].batch, asked["training"].epochs) == (128, 1)
    assert (asked["training"].rate, asked["training"].averaging) == (1e-3, 0)
    assert (asked["inputs"], asked["classes"], asked["network"]) == (64, 2, "published:fc_400_400")


@pytest.mark.parametrize(
    ("accuracy", "verdict"), [(0.795, "yes"), (0.81, "yes"), (0.83, "above"), (0.77, "no")]
)
def test_a_figure_is_reproduced_within_two_points(
    published: Any, accuracy: float, verdict: str
) -> None:
    setting = asdict(published.FIGURES[1].setting)
    run = {"learner": "wsn", "scenario": "GG", "seed": 0, "setting": setting}
    run["options"] = {"share": 0.25}
    row = {"run": run, "published": 0.8, "accuracy": accuracy}
    of_other_settings = {**row, "run": {**run, "options": {"share": 0.5}}, "accuracy": 0.0}
    lines = published.table([row, of_other_settings]).splitlines()
    assert lines[-1].endswith(f"| 1 | {verdict} |")


def test_every_published_figure_names_a_learner_that_takes_its_options(script: Script) -> None:
    module = script("published")
    for figure in module.FIGURES:
        if figure.learner in RIVALS and find_spec("avalanche") is None:
            continue  # those that Avalanche trains, where it is
        setting = figure.setting
        for scenario in figure.published:
            learner = module.maker_of(figure.learner)(
                figure.learner,
                network=setting.network,
                inputs=784,
                classes=setting.classes,
                tasks=setting.tasks,
                scenario=scenario,
                training=setting.training,
                seed=0,
                **figure.options,
            )
            assert learner.count == 0


def test_networks_of_a_figure_have_the_widths_of_their_name(script: Script) -> None:
    module = script("published")
    for name, units in (("fc_400_400", 400), ("fc_256_256", 256)):
        layers = [
            layer
            for layer in getattr(module, name)(784, 10).modules()
            if hasattr(layer, "in_features")
        ]
        assert [(one.in_features, one.out_features) for one in layers] == [
            (784, units),
            (units, units),
            (units, 10),
        ]
