"""Do the tests notice a fault? Faults are planted one by one, and the tests run on each.

    python benchmarks/mutants.py [--jobs N]

Each fault changes a few characters of a copy of the tree in a temporary folder. The tests that
mirror the changed module run first, then all of `tests/hopmask`. A fault is caught if a test fails;
tests that cannot be collected or run are an error of this script, and so is a fault whose text no
longer occurs exactly once. The exit status is 1 if a fault survives, 2 after such an error.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mutant_faults import FAULTS, Fault
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("hopmask", "supsup_bridge", "tests", "pyproject.toml")
ALWAYS = ("tests/hopmask/testing/test_contract.py", "tests/hopmask/test_properties.py")
LONGEST = 3600  # seconds of one run of the tests, from which on it counts as hanging


class Broken(Exception):
    """The check itself does not work: no word on any fault."""


def planted(fault: Fault) -> str:
    """Text of the file with the fault."""
    text = (ROOT / fault.file).read_text()
    if text.count(fault.old) != 1:
        raise Broken(f"{fault.name}: {text.count(fault.old)} times in {fault.file}: {fault.old}")
    return text.replace(fault.old, fault.new)


def copied(folder: Path) -> None:
    """Put a copy of the packages and tests into a folder."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy2(ROOT / name, folder)


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python on the packages in a folder; random examples are the same every time."""
    drawn = {"HYPOTHESIS_PROFILE": "ci", "CI": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=os.environ | drawn | {"PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Broken(f"still running after {LONGEST} s: {' '.join(command)}") from error


def failed(folder: Path, *tests: str) -> str | None:
    """The id of the first test that fails, or None."""
    options = ("-x", "-q", "-n0", "-p", "no:cacheprovider", "--color=no")
    done = python(folder, "-m", "pytest", *options, *tests)
    if done.returncode == 0:
        return None
    found = re.search(
        r"^(?:FAILED|ERROR) (\S+?::[^\[\s]+(?:\[.*?\])?)(?: - |$)", done.stdout, re.MULTILINE
    )
    if done.returncode != 1 or found is None:  # with -x, pytest's 1 may be an error of collection
        raise Broken(f"pytest exits {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return found[1]


def imported(folder: Path) -> None:
    """Make sure that it is the copy that is tested."""
    done = python(folder, "-c", "import hopmask; print(hopmask.__file__)")
    if Path(done.stdout.strip()).parent != folder / "hopmask":
        raise Broken(f"tested would be {done.stdout}{done.stderr}, not the copy in {folder}")


def whole() -> float:
    """Run the tests of a copy without a fault, which must pass; seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        copied(folder)
        imported(folder)
        start = time.perf_counter()
        test = failed(folder, "tests/hopmask")
        if test is not None:
            raise Broken(f"{test} fails without any fault")
        return time.perf_counter() - start


def measured(fault: Fault) -> dict[str, Any]:
    """Plant one fault and run the tests."""
    mirror = Path("tests", fault.file)
    mirrors = [str(mirror.with_name(f"test_{mirror.name}"))]
    mirrors += [f"tests/hopmask/{module}.py" for module in fault.also]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        copied(folder)
        (folder / fault.file).write_text(planted(fault))
        first = [test for test in dict.fromkeys([*mirrors, *ALWAYS]) if (folder / test).exists()]
        start = time.perf_counter()
        test = failed(folder, *first)
        if test is None:
            test = failed(folder, "tests/hopmask", *(f"--ignore={path}" for path in first))
        return {
            "name": fault.name,
            "file": fault.file,
            "caught": test is not None,
            "test": test,
            "seconds": round(time.perf_counter() - start, 1),
        }


def shown(rows: list[dict[str, Any]]) -> Table:
    """The table of all faults."""
    table = Table("fault", Column("caught by", overflow="fold"), "seconds")
    for row in rows:
        test = escape((row["test"] or "").removeprefix("tests/hopmask/"))
        table.add_row(row["name"], test or "[red]survived", f"{row['seconds']:.0f}")
    caught = sum(row["caught"] for row in rows)
    table.caption = f"{caught} of {len(rows)} faults caught"
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    names = [fault.name for fault in FAULTS]
    add("--only", metavar="NAME", choices=names, action="append", help=", ".join(names))
    add("--jobs", type=int, default=1, help="faults at a time")
    add("--out", type=Path, help="default: benchmarks/mutants.json; with --only, none")
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if options.only is None or fault.name in options.only]
    rows = []
    try:
        for fault in faults:
            compile(planted(fault), fault.file, "exec")
        print(f"no fault: all tests pass in {whole():.0f} s", flush=True)
        with ThreadPoolExecutor(options.jobs) as pool:
            for row in pool.map(measured, faults):
                rows.append(row)
                print(row, flush=True)
    except (Broken, SyntaxError) as error:
        print(error, file=sys.stderr)
        return 2
    out = options.out or (None if options.only else Path("benchmarks/mutants.json"))
    if out is not None:
        out.write_text(json.dumps(rows, indent=1) + "\n")
    Console().print(shown(rows))
    return 0 if all(row["caught"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
