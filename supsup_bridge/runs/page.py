"""Self-contained HTML pages: plots as inline SVG, and nothing that a browser would fetch."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

_SALT = "supsup"  # of the ids in an SVG, which are the same for the same plot
_UNDATED = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_IDS = re.compile(r'(\bid="|\bhref="#|url\(#)')


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A plot on a page: its SVG, and what it says in words."""

    svg: Markup
    says: str


@dataclass(frozen=True, kw_only=True)
class Cells:
    """A table on a page; `numbers` are the columns that are set flush right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    numbers: frozenset[int] = frozenset()


def picture(figure: Figure, name: str, says: str) -> Picture:
    """A figure as inline SVG, the same text for the same figure.

    Args:
        figure: the plot.
        name: its own on the page; its ids begin with it.
        says: what is seen, in words.

    Example:
        >>> figure = Figure(figsize=(1, 1))
        >>> picture(figure, "empty", "An empty plot.").svg[:4]
        Markup('<svg')
    """
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": _SALT}):
        figure.savefig(text, format="svg", metadata=_UNDATED)
    svg = text.getvalue()
    return Picture(svg=Markup(_IDS.sub(rf"\1{name}-", svg[svg.index("<svg") :])), says=says)


def rendered(template: str, **values: Any) -> str:
    """A page from one of the templates beside this file; values are escaped.

    Args:
        template: its file, such as "report.html".
        values: all names that it uses; one that is missing is an error.
    """
    pages = Environment(
        loader=PackageLoader("supsup_bridge.runs"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return pages.get_template(template).render(**values)
