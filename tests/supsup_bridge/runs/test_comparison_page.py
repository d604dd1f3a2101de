"""The page of a comparison."""

import re
from html import unescape

from supsup_bridge.runs.comparison_page import comparison_page, curves_plot, figures_of


def test_figures_that_no_run_has_are_left_out(run) -> None:
    names = [name for name, _ in figures_of([run(scenario="GG"), run(scenario="GG", seed=1)])]
    assert "task right" not in names
    found = dict(figures_of([run(), run(scenario="GG")]))
    assert found["task right"] == [f"{run().result['task_inference_accuracy']:.4f}", "–"]


def test_every_curve_is_drawn_and_none_is_hidden(run) -> None:
    runs = [run("a"), run("b"), run("c", seed=1)]
    lines = curves_plot(runs).axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["a", "b", "c"]
    accuracies = [[point["accuracy"] for point in r.result["curve"]] for r in runs]
    assert [list(line.get_ydata()) for line in lines] == accuracies
    widths = [line.get_linewidth() for line in lines]
    assert widths == sorted({*widths}, reverse=True)


def test_the_page_names_the_runs_their_figures_and_commands(run) -> None:
    runs = [run("first & best"), run("other", output_size=50), run("third", seed=1)]
    html = comparison_page(runs)
    text = unescape(re.sub("<[^>]*>", " ", re.sub("<svg.*?</svg>", "", html, flags=re.DOTALL)))
    assert "first & best" not in html
    for one in runs:
        assert one.name in text
        assert f"{one.result['accuracy']:.4f}" in text
    assert "other is not like first & best" in text
    assert "third is not like" not in text
    assert "--output-size 50" in text
    assert html.count("<svg") == html.count("<figure") == 2
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", html)
