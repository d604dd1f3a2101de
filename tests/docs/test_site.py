"""The documentation builds without a warning into a site that fetches nothing from elsewhere.

These tests need the extra `docs`: pip install -e '.[docs]'.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import hopmask.cli
import supsup_bridge.cli

ROOT = Path(__file__).parents[2]
NEEDED = ("mkdocs", "material", "mkdocstrings", "markdown_exec")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
MOST_BYTES = 20e6

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"the extra docs is not installed: no {', '.join(MISSING)}"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a warning, a dead link or a command that fails is an error."""
    folder = tmp_path_factory.mktemp("site")
    source = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": source, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


def _text(site: Path, page: str) -> str:
    return (site / page).read_text(encoding="utf-8")


def test_the_site_is_small(site: Path) -> None:
    assert sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) < MOST_BYTES


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loads = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^>]*>")
    pages = {page.name: loads.findall(page.read_text("utf-8")) for page in site.rglob("*.html")}
    assert {name: found for name, found in pages.items() if found} == {}
    styles = [file.read_text("utf-8") for file in site.rglob("*.css")]
    assert [found for style in styles for found in re.findall(r"url\(\"?https?:[^)]*", style)] == []


@pytest.mark.parametrize("package", [hopmask, supsup_bridge], ids=lambda package: package.__name__)
def test_every_public_name_has_its_place(site: Path, package: ModuleType) -> None:
    pages = "".join(page.read_text("utf-8") for page in site.glob("reference/*.html"))
    places = set(re.findall(r'id="((?:hopmask|supsup_bridge)\.[\w.]+)"', pages))
    lost = []
    for name in package.__all__:
        home = getattr(getattr(package, name), "__module__", package.__name__)
        if not places & {f"{package.__name__}.{name}", f"{home}.{name}"}:
            lost.append(name)
    assert lost == []


def test_every_table_is_printed(site: Path) -> None:
    commands = (ROOT / "docs" / "tables.md").read_text("utf-8").count("```sh output")
    assert _text(site, "tables.html").count("<tbody>") >= commands > 0


def test_commands_are_those_of_the_parsers(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = re.sub(r"<[^>]+>", "", _text(site, "reference/commands.html"))
    for name, main in (("run", supsup_bridge.cli.main), ("capacity", hopmask.cli.main)):
        with pytest.raises(SystemExit):
            main([name, "--help"])
        for option in set(re.findall(r"--[\w-]+", capsys.readouterr().out)):
            assert option in page


def test_pictures_are_drawn(site: Path) -> None:
    page = _text(site, "tutorials/recall_explained.html")
    blocks = (ROOT / "docs" / "tutorials" / "recall_explained.md").read_text("utf-8")
    assert page.count('id="figure_1"') == blocks.count('html="1"') > 0
