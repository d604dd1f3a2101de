"""report.html."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from supsup_bridge import Experiment, RunSettings
from supsup_bridge.runs.command import command_of
from supsup_bridge.runs.report import write_text
from supsup_bridge.runs.report_page import headlines, report_page
from supsup_bridge.runs.report_plots import shortened

MOST_BYTES = 5e6
HUNDRED = 100


def page(experiment: Experiment, **changes: Any) -> str:
    hopfield = experiment.settings.memory == "hopfield"
    records = list(experiment.record()) if hopfield else None
    result = {**experiment.result(), **changes}
    return report_page(result, records=records, masks=experiment.mask_names())


def words(html: str) -> str:
    """What is read on a page."""
    body = html[html.index("<body>") :]
    plain = re.sub("<svg.*?</svg>", "", body, flags=re.DOTALL)
    return " ".join(unescape(re.sub("<[^>]*>", " ", plain)).split())


def test_a_page_has_the_figures_the_command_the_versions_and_every_setting(finished) -> None:
    experiment = finished(tasks=3)
    result, text = experiment.result(), words(page(experiment))
    for key in ("accuracy", "accuracy_given_task", "task_inference_accuracy", "forgetting"):
        assert f"{result[key]:.4f}" in text
    assert command_of(experiment.settings) in text
    for name, version in result["versions"].items():
        assert f"{name} {version}" in text
    for name in RunSettings.__dataclass_fields__:
        assert f" {name} " in text
    for size in result["bytes"].values():
        assert f"{size:,}" in text


def test_figures_without_a_meaning_are_left_out(finished) -> None:
    named = [figure.name for figure in headlines(finished(scenario="GG").result())]
    assert "Task right" not in named
    assert "Forgetting" not in [f.name for f in headlines(finished(tasks=1).result())]
    assert "Task right" in [f.name for f in headlines(finished().result())]


def test_intervals_say_over_what_they_are(finished) -> None:
    found = {figure.name: figure.interval for figure in headlines(finished(tasks=3).result())}
    assert "over tasks" in found["Average accuracy, GNu"]
    assert "binomial" in found["Task right"]
    one = {figure.name: figure.interval for figure in headlines(finished(tasks=1).result())}
    assert one["Average accuracy, GNu"] == ""


def test_mistakes_are_named_the_most_frequent_first(finished) -> None:
    experiment = finished(tasks=3)
    per_task = {
        **experiment.result()["per_task"],
        "inferences": [10, 10, 4],
        "mistaken_for": [[[1, 2]], [], [[0, 3], [1, 1]]],
    }
    text = words(page(experiment, per_task=per_task))
    table = text[text.index("share of the task's") : text.index("What recalls did")]
    assert [float(share) for share in re.findall(r"0\.\d{4}", table)] == [0.75, 0.25, 0.2]
    assert table.index("digits 4 and 5 digits 0 and 1 3") < table.index("digits 0 and 1 digits 2")


def test_no_mistake_is_a_sentence(finished) -> None:
    experiment = finished(tasks=1)
    assert "None of 1 inferences named another task." in words(page(experiment))


@pytest.mark.parametrize(
    "changes",
    [{"memory": "bank"}, {"scenario": "GG"}, {"scenario": "NNs"}, {"masks": "unit"}, {"tasks": 1}],
    ids=str,
)
def test_every_kind_of_run_has_a_page(changes: dict[str, Any], finished) -> None:
    experiment = finished(**changes)
    html = page(experiment)
    assert html.count("<svg") == html.count("<figure") >= 3
    assert ("there is no recall to record" in html) == (experiment.settings.memory == "bank")


def test_names_are_escaped(finished) -> None:
    experiment = finished()
    names = ["<script>alert(1)</script>", "a & b"]
    html = page(experiment, task_names=names)
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html


@pytest.mark.parametrize("name", [r"$\bad{$", "_hidden", "\udcff", "$"])
def test_odd_names_are_drawn_and_written(name: str, finished, tmp_path: Path) -> None:
    html = page(finished(), task_names=[name, "b"])
    write_text(html, tmp_path / "report.html")
    assert shortened(name).lstrip("\u200b").replace("\\$", "$") in (name, r"\udcff")
    assert "</html>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_long_names_of_runs_stay_apart() -> None:
    runs = [f"split-digits-20260101-12000{second}" for second in range(5)]
    assert len({shortened(name) for name in runs}) == len(runs)
    assert max(len(shortened(name)) for name in runs) <= 24


def test_a_page_loads_nothing(finished) -> None:
    html = page(finished())
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", html)
    assert "url(#" in html
    assert not re.findall(r"url\((?!#)", html)
    assert "default-src 'none'" in html


def test_the_page_of_a_hundred_tasks_is_small(finished) -> None:
    experiment, tasks = finished(), range(HUNDRED)
    row = [n / HUNDRED for n in tasks]
    result = experiment.result()
    html = page(
        experiment,
        tasks=HUNDRED,
        task_names=[f"permutation {n}" for n in tasks],
        images={part: [5000] * HUNDRED for part in result["images"]},
        curve=[{**result["curve"][-1], "tasks": n, "scored": n} for n in range(1, HUNDRED + 1)],
        accuracy_per_task=row,
        accuracy_matrix=[row[: n + 1] + [None] * (HUNDRED - 1 - n) for n in tasks],
        per_task={
            "accuracy_given_task": row,
            "inferences": [40] * HUNDRED,
            "mistaken_for": [[[(n + k) % 2, 1] for k in range(1, 3)] for n in tasks],
        },
    )
    assert len(html.encode()) <= MOST_BYTES


def test_only_of_a_posterior_the_page_says_what_is_shown_in_its_place(finished) -> None:
    pages = [words(page(finished(recall=recall))) for recall in ("posterior", "entropy")]
    assert ["in its place" in text for text in pages] == [True, False]
