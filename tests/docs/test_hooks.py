"""What pages of the site print: files as tables, and the outputs of commands."""

import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TABLES = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")


def hook(name: str) -> Any:
    """A file of docs/hooks, as a module."""
    path = ROOT / "docs" / "hooks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"docs_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_table_of_rows_and_a_list_of_figures() -> None:
    table = hook("figures").table
    content = [{"a": {"b": 0.123456}, "c_d": True}, {"a": {"b": 2}}]
    assert table(content, ["a.b", "c_d"]).splitlines() == [
        *("| a.b | c d |", "| --- | --- |", "| 0.1235 | yes |", "| 2 | – |")
    ]
    assert table(content, []).splitlines() == [
        *("| what | figure |", "| --- | --- |"),
        *("| 0, a, b | 0.1235 |", "| 0, c_d | yes |", "| 1, a, b | 2 |"),
    ]
    with pytest.raises(KeyError):
        table(content, ["nothing"])


def test_tables_have_the_columns_they_name() -> None:
    table = hook("figures").table
    commands = re.findall(r"^python docs/hooks/figures\.py (.*)$", TABLES, re.MULTILINE)
    assert commands
    for command in commands:
        file, *columns = shlex.split(command)
        path, _, part = file.partition(":")
        content = json.loads((ROOT / path).read_text(encoding="utf-8"))
        lines = table(content[part] if part else content, columns).splitlines()
        assert len({line.count(" | ") for line in lines}) == 1


def page(*commands: str) -> str:
    blocks = "\n".join(f"```sh output\npython {command}\n```" for command in commands)
    written: str = hook("outputs").on_page_markdown(blocks)
    return written


def test_an_output_stands_below_its_command() -> None:
    command = "docs/hooks/figures.py benchmarks/novelty.json images recalls"
    assert page(command).startswith(f"```sh\npython {command}\n```\n\n| images | recalls |\n")


def test_a_command_that_fails_ends_the_build(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys; sys.exit(sys.argv[1])", encoding="utf-8")
    with pytest.raises(RuntimeError):
        page(f"{script} failed")
    with pytest.raises(KeyError):
        page("docs/hooks/figures.py benchmarks/novelty.json nothing")


def test_every_command_has_its_help() -> None:
    printed = page("docs/hooks/commands.py")
    heads = set(re.findall(r"^### `(.*)`$", printed, re.MULTILINE))
    assert heads >= {f"supsup {name}" for name in ("run", "predict", "learn", "merge")}
    assert heads >= {f"hopmask {name}" for name in ("capacity", "inspect", "verify", "recover")}
    for head in heads:
        assert re.search(rf"^usage: {head} ", printed, re.MULTILINE)
