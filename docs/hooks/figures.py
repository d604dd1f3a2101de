"""Prints a JSON file of benchmarks/ as a Markdown table, for the page of tables.

    python docs/hooks/figures.py benchmarks/novelty.json recall images detected
    python docs/hooks/figures.py benchmarks/hub.json:speed

A list of rows becomes a table of the columns named, in order; `bytes.memory` is `memory` in the
row's `bytes`. Without columns, figures are listed one below the other. `FILE:PART` is what the file
holds under that name.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", help="FILE or FILE:PART")
    parser.add_argument("columns", nargs="*")
    options = parser.parse_args()
    path, _, part = options.file.partition(":")
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    print(table(content[part] if part else content, options.columns))


def table(content: Any, columns: list[str]) -> str:
    """A table of rows, or the figures of all that is in `content` by name.

    Raises:
        KeyError: a column that no row has.
    """
    if not columns:
        return _table(["what", "figure"], [[name, written(value)] for name, value in flat(content)])
    for column in columns:
        if all(_at(row, column) is None for row in content):
            raise KeyError(column)
    rows = [[written(_at(row, column)) for column in columns] for row in content]
    return _table([column.replace("_", " ") for column in columns], rows)


def flat(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every figure with the names that lead to it; numbers of rows count from 0."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        full = f"{name}, {key}" if name else str(key)
        if isinstance(value, dict | list):
            yield from flat(value, full)
        else:
            yield full, value


def written(value: Any) -> str:
    """A value in a table: four digits of a fraction."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def _at(row: Any, column: str) -> Any:
    for name in column.split("."):
        row = row.get(name) if isinstance(row, dict) else None
    return row


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
