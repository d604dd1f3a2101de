"""Self-contained pages."""

import re

import pytest
from jinja2 import UndefinedError
from matplotlib.figure import Figure

from supsup_bridge.runs.page import picture, rendered


def line(*values: float) -> Figure:
    figure = Figure()
    figure.subplots().plot(values)
    return figure


def ids(svg: str) -> list[str]:
    return re.findall(r'\bid="([^"]*)"', svg)


def test_the_same_figure_is_the_same_text() -> None:
    first, again, other = (picture(line(*v), "a", "").svg for v in ([1, 2], [1, 2], [1, 2, 1]))
    assert first == again != other


def test_ids_are_of_one_picture_and_references_find_them() -> None:
    first, second = (picture(line(0, 1), name, "").svg for name in ("a", "b"))
    assert not {*ids(first)} & {*ids(second)}
    referred = re.findall(r'(?:href="#|url\(#)([^")]*)', first)
    assert len(referred) > 1
    assert {*referred} <= {*ids(first)}


def test_a_picture_is_an_element_without_a_date() -> None:
    svg = picture(line(0, 1), "a", "").svg
    assert svg.startswith("<svg")
    assert svg.rstrip().endswith("</svg>")
    assert "<metadata" not in svg


def test_a_page_without_one_of_its_values_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        rendered("report.html")
