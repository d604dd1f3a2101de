"""The README and the pages under docs/: their code runs, their links and commands exist."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from supsup_bridge import Experiment, RunSettings
from supsup_bridge.cli import main as supsup

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [README, *PAGES]
EXTRAS = {"avalanche", "continuum", "models"}  # blocks that need them are skipped; Mammoth's models
_BLOCK = re.compile(r"^```python(?: exec=.*?)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def _name(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


documents = pytest.mark.parametrize("document", DOCUMENTS, ids=_name)


def _text(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def _blocks(document: Path) -> list[tuple[int, str]]:
    """The Python blocks, and the number of lines before each."""
    text = _text(document)
    return [(text.count("\n", 0, m.start(1)), m[1]) for m in _BLOCK.finditer(text)]


def _anchors(document: Path) -> set[str]:
    """The anchors that the headings of a document make."""
    prose = re.sub(r"```.*?```", "", _text(document), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if _blocks(d)], ids=_name)
def test_the_python_blocks_run(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, Any] = {}
    missing: set[str] = set()
    monkeypatch.chdir(tmp_path)
    for before, block in _blocks(document):
        try:
            exec(compile("\n" * before + block, str(document), "exec"), names)
        except ModuleNotFoundError as error:
            if error.name not in EXTRAS:
                raise
            missing.add(error.name)
    tests: list[Callable[[], None]] = [
        test for name, test in names.items() if name.startswith("test_")
    ]
    for test in tests:
        test()
    if missing:
        pytest.skip(f"all ran but the blocks that need {', '.join(missing)}")


def test_the_readme_has_at_most_200_lines() -> None:
    assert len(_text(README).splitlines()) <= 200


def test_the_learner_takes_at_most_12_lines_of_code() -> None:
    (learner,) = [block for _, block in _blocks(README) if "SupSup(" in block]
    lines = [line.strip() for line in learner.splitlines()]
    assert len([line for line in lines if line and not line.startswith("#")]) <= 12


def test_the_readme_prints_the_two_commands() -> None:
    assert "python -m pip install . && supsup run\n" in _text(README)
    assert "python -m pip install -e '.[test]' && python -m pytest\n" in _text(README)


@documents
def test_relative_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", _text(document)):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.is_file(), link
        if anchor:
            assert anchor in _anchors(target), link


@documents
def test_named_scripts_and_figures_exist(document: Path) -> None:
    for name in re.findall(r"\bbenchmarks/[\w./-]*\w\.(?:py|json|png)\b", _text(document)):
        assert (ROOT / name).is_file(), name


def test_the_site_has_every_page_and_no_other() -> None:
    named = set(
        re.findall(r"^ +- (?:\w+: )?([\w/]+\.md)$", _text(ROOT / "mkdocs.yml"), re.MULTILINE)
    )
    outside = {"security.md", "changes.md"}  # SECURITY.md and CHANGELOG.md
    assert named - outside == {page.relative_to(ROOT / "docs").as_posix() for page in PAGES}


def test_the_readme_links_the_first_page() -> None:
    assert "](docs/index.md)" in _text(README)


def test_the_options_of_a_run_are_those_described(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        supsup(["run", "--help"])
    offered = set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)", capsys.readouterr().out, re.MULTILINE))
    rows = re.findall(r"^\| `(--[\w-]+)", _text(ROOT / "docs" / "command_line.md"), re.MULTILINE)
    assert set(rows) == offered - {"--help"}


def test_every_key_of_a_result_is_described() -> None:
    described = _text(ROOT / "docs" / "results.md")
    result = Experiment(RunSettings(quick=True)).result()
    assert set(result["config"]) >= {field.name for field in fields(RunSettings)}
    keys = [*result, *result["seconds"], *result["versions"]]
    keys += [f"{name}.{key}" for name in ("bytes", "recall") for key in result[name]]
    groups = {"bytes", "recall"}
    assert [key for key in keys if key not in groups and f"`{key}`" not in described] == []
