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
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("hopmask", "supsup_bridge", "tests", "pyproject.toml")
ALWAYS = ("tests/hopmask/testing/test_contract.py", "tests/hopmask/test_properties.py")
LONGEST = 3600  # seconds of one run of the tests, from which on it counts as hanging


class Fault(NamedTuple):
    """A fault: in this file, `old` becomes `new`.

    Tests of the module run first, and those of `also`, further files of tests/hopmask.
    """

    name: str
    file: str
    old: str
    new: str
    also: tuple[str, ...] = ()


FAULTS = (
    # Learning rules
    Fault(
        "storkey-sign",  # + h hᵀ
        "hopmask/couplings/rules.py",
        "_add_square(psi, h / sqrt(pattern.numel()), -1)",
        "_add_square(psi, h / sqrt(pattern.numel()), 1)",
    ),
    Fault("storkey-scale", "hopmask/couplings/rules.py", "scale=1 + 2 / d)", "scale=1 - 2 / d)"),
    Fault(
        "storkey-diagonal",  # left in
        "hopmask/couplings/rules.py",
        "_rank_two(psi, pattern, scale=1 + 2 / d)\n        psi.fill_diagonal_(0)",
        "_rank_two(psi, pattern, scale=1 + 2 / d)",
    ),
    Fault(
        "storkey-transposed",  # z hᵀ twice, in place of z hᵀ and h zᵀ
        "hopmask/couplings/rules.py",
        "_add_square(psi, u / sqrt(pattern.numel()), 1)\n"
        "    _add_square(psi, h / sqrt(pattern.numel()), -1)",
        "psi.addr_(pattern, u - h, alpha=1 / pattern.numel())",
    ),
    Fault(
        "matrix-identity",  # no − I
        "hopmask/couplings/rules.py",
        "scale=1.0)\n        psi.diagonal().sub_(1 / pattern.numel())",
        "scale=1.0)",
    ),
    Fault(
        "residual-not-squared",
        "hopmask/couplings/rules.py",
        "along * along.abs() / _square(state).mul(_square(answer)).clamp_min(1e-30)",
        "along / _square(state).mul(_square(answer)).clamp_min(1e-30).sqrt()",
    ),
    Fault(
        "projection-diagonal",  # felt
        "hopmask/couplings/rules.py",
        "return state @ psi - state * psi.diagonal()",
        "return state @ psi",
    ),
    Fault(
        "projection-rounding",  # not orthogonalised again
        "hopmask/couplings/rules.py",
        "rest = pattern - pattern @ psi\n        rest = rest - rest @ psi",
        "rest = pattern - pattern @ psi",
    ),
    # Reservoir
    Fault(
        "mean-off-by-one",
        "hopmask/couplings/dense.py",
        "self.mean += (pattern - self.mean) / self.count",
        "self.mean += (pattern - self.mean) / (self.count + 1)",
    ),
    Fault(
        "forget-mean",  # not divided
        "hopmask/couplings/dense.py",
        "self.mean += (self.mean - pattern) / self.count",
        "self.mean += self.mean - pattern",
    ),
    Fault(
        "duplicate-threshold",  # beyond the 1/4 of a mixture of three patterns
        "hopmask/couplings/dense.py",
        "_DUPLICATE_RESIDUAL = 0.2",
        "_DUPLICATE_RESIDUAL = 0.3",
    ),
    # Descent
    Fault(
        "ties-turn",
        "hopmask/patterns/spins.py",
        "torch.where(field == 0, state, field)",
        "torch.where(field == 0, -state, field)",
        also=("recall/test_descent",),
    ),
    Fault(
        "annealing-heats",
        "hopmask/recall/dynamics.py",
        "self.hot * (self.cold / self.hot) **",
        "self.cold * (self.hot / self.cold) **",
    ),
    Fault(
        "paper-late",
        "hopmask/recall/dynamics.py",
        "share = (t + 1) / self.steps",
        "share = t / self.steps",
    ),
    Fault(
        "deflation-raw",  # states as they are, no orthonormal basis
        "hopmask/recall/landscape.py",
        "rest = self.outside(self.outside(state))",
        "rest = state",
        also=("recall/test_search",),
    ),
    Fault(
        "penalty-rows",  # of the first rows, not of those still searching
        "hopmask/recall/penalty.py",
        "return self.whole(filled.index_copy(0, self.rows, state))[self.rows]",
        "return self.whole(filled.index_copy(0, self.rows, state))[: len(self.rows)]",
        also=("recall/test_search",),
    ),
    # Search
    Fault(
        "highest-value",
        "hopmask/recall/search.py",
        "taken = (value < lowest) |",
        "taken = (value > lowest) |",
    ),
    Fault(
        "next-lowest",  # the lowest itself, where the last basin is the best
        "hopmask/recall/search.py",
        "torch.minimum(self.next[rows], torch.maximum(lowest, value))",
        "torch.minimum(self.next[rows], value)",
        also=("memory/test_mask_memory",),
    ),
    Fault(
        "one-basin-more",
        "hopmask/recall/search.py",
        "most = min(question.basins, couplings.count)",
        "most = min(question.basins, couplings.count) + 1",
    ),
    # Memory
    Fault(
        "another-task",  # is an answer to the number of one
        "hopmask/memory/query.py",
        "verified & (tasks == self._wanted[rows])",
        "verified",
    ),
    Fault(
        "tried-rows",  # of the first rows, not of those still searching
        "hopmask/memory/query.py",
        "self._tried[rows], -torch.inf",
        "self._tried[: len(rows)], -torch.inf",
    ),
    # Keys and check bits
    Fault(
        "check-bits-skipped",
        "hopmask/patterns/joint_code.py",
        "self._parity.holds(state) & (agreement == 1)",
        "agreement == 1",
        also=("memory/test_mask_memory",),
    ),
    Fault(
        "mended-unsolved",  # spins turned although the equations have no solution
        "hopmask/patterns/check_bits.py",
        "torch.where(turned & solved[:, None], -1, 1)",
        "torch.where(turned, -1, 1)",
    ),
    Fault(
        "key-signed",
        "hopmask/patterns/keys.py",
        "nearest = overlaps.abs().argmax(-1)",
        "nearest = overlaps.argmax(-1)",
    ),
    # Content address
    Fault(
        "address-not-centred",
        "hopmask/memory/address.py",
        "solved.prior + (means - solved.centre) @ solved.readout",
        "solved.prior + means @ solved.readout",
    ),
    Fault(
        "address-fades",  # later tasks weigh more: sums depend on the order
        "hopmask/memory/address.py",
        'self.sums["link"].addr_(mean, key, alpha=sign)',
        'self.sums["link"].addr_(mean, key, beta=0.99, alpha=sign)',
    ),
    Fault(
        "address-one-first",  # [1 κ], read as [κ 1]
        "hopmask/memory/address.py",
        "torch.cat([key, key.new_ones(1)])",
        "torch.cat([key.new_ones(1), key])",
    ),
    # Capacity
    Fault(
        "bisection-short",  # ends one too early
        "hopmask/capacity/bisection.py",
        "while bad - good > 1:",
        "while bad - good > 2:",
        also=(
            "capacity/test_measurement",
            "capacity/test_headroom",
        ),
    ),
    Fault(
        "student-tail",  # 5 % of it on one side, not on both
        "hopmask/capacity/measurement.py",
        "student.ppf(0.5 + _CONFIDENCE / 2, ",
        "student.ppf(_CONFIDENCE, ",
    ),
    Fault(
        "lean-not-rooted",
        "hopmask/memory/chance.py",
        "(mean - middle) * sqrt(share)",
        "(mean - middle) * share",
        also=("capacity/test_measurement",),
    ),
    Fault(
        "parent-not-rooted",
        "hopmask/capacity/mask_sources.py",
        "max(0.0, (overlap - bias**2) / (1 - bias**2)) ** 0.5",
        "max(0.0, (overlap - bias**2) / (1 - bias**2))",
    ),
    Fault(
        "damage-short",
        "hopmask/capacity/damage.py",
        "number = round(self.share * size)",
        "number = max(0, round(self.share * size) - 1)",
    ),
    # Files
    Fault(
        "file-not-synced",
        "hopmask/storage/commit.py",
        "        os.fsync(handle)\n    return header",
        "    return header",
    ),
    Fault(
        "folder-not-synced",
        "hopmask/storage/commit.py",
        "        sync_folder(path.parent)",
        "        pass",
    ),
    Fault(
        "changed-behind-the-lock",
        "hopmask/storage/commit.py",
        "if header_or_none(path) != before:",
        "if False:",
    ),
    Fault("damaged-kept", "hopmask/storage/commit.py", "if _is_whole(path):", "if path.exists():"),
    Fault(
        "two-states-hashed",  # one goes to the disk, another one into the digest
        "hopmask/storage/commit.py",
        "yield bytes(piece[at : at + PART])",
        "yield piece[at : at + PART]",
    ),
    Fault(
        "lock-shared",
        "hopmask/storage/system.py",
        "fcntl.LOCK_EX |",
        "fcntl.LOCK_SH |",
        also=("lock",),
    ),
    Fault(
        "lock-of-another-file",
        "hopmask/storage/lock.py",
        "if _lock(sidecar) and sidecar.in_place:",
        "if _lock(sidecar):",
    ),
    Fault(
        "payload-unverified",
        "hopmask/storage/container.py",
        "    if digest != header.digest:",
        "    if False:",
    ),
    Fault(
        "header-unverified",
        "hopmask/storage/container.py",
        "if hashlib.sha256(blank).digest() != block[_OWN]:",
        "if False:",
    ),
    Fault(
        "tail-allowed", "hopmask/storage/container.py", "if size > HEADER + length:", "if False:"
    ),
    Fault(
        "attributes-allowed",
        "hopmask/storage/image.py",
        "        and h5a.get_num_attrs(data) == 0\n",
        "",
    ),
    Fault(
        "overlap-allowed", "hopmask/storage/image.py", "if any(end > begin for", "if any(False for"
    ),
    Fault(
        "plugins-searched",
        "hopmask/storage/image.py",
        "        with _no_plugins():",
        "        if True:",
    ),
    Fault(
        "drafts-left",
        "hopmask/storage/writer.py",
        "    with locked(path, clear, wait=wait)",
        "    with locked(path, lambda process: None, wait=wait)",
    ),
    Fault(
        "stores-share-an-id",
        "hopmask/storage/writer.py",
        "else partial(Header, store=os.urandom(16))",
        "else partial(Header, store=bytes(16))",
        also=("memory/test_live",),
    ),
    Fault(
        "copies-in-one-line",
        "hopmask/storage/writer.py",
        "if self._sidecar and self._sidecar.noted(before.seal):",
        "if self._sidecar:",
        also=("memory/test_live",),
    ),
    Fault(
        "copied-sidecar-believed",
        "hopmask/storage/sidecar.py",
        "return own and seal",
        "return seal",
        also=("memory/test_live",),
    ),
    Fault(
        "memory-ahead-of-file",
        "hopmask/memory/live.py",
        "            self._memory = None  # if anything",
        "            # if anything",
    ),
    Fault(
        "written-over-another-state",
        "hopmask/memory/live.py",
        "memory.document(), after=self._stamp)",
        "memory.document())",
    ),
    Fault(
        "back-unnoticed",
        "hopmask/storage/document.py",
        "later = self.generation > before.generation",
        "later = True",
        also=("memory/test_live",),
    ),
    # What is recognized, refused, and kept whole
    Fault(
        "chance-of-half-masks",  # whatever masks are like
        "hopmask/memory/query.py",
        "means, _ = population_means(",
        "means, _ = 0 * self._couplings.mean[body], population_means(",
        ("memory/test_chance",),
    ),
    Fault(
        "duplicate-unproven",
        "hopmask/memory/duplicates.py",
        "tasks[verified & (agreement > 0) & same]",
        "tasks[(agreement > 0) & same]",
    ),
    Fault(
        "forgotten-numbers-count",  # as basins visited
        "hopmask/memory/query.py",
        "self.spare = 1 + numbered - couplings.count if several else 0",
        "self.spare = 1 if several else 0",
    ),
    Fault(
        "half-stored",  # the address learns what the couplings refuse
        "hopmask/memory/address.py",
        "self.sums.update(before)",
        "pass",
        ("memory/test_state",),
    ),
    Fault(
        "autocast",  # reaches the check bits and the couplings
        "hopmask/_precision.py",
        "stack.enter_context(torch.autocast(kind, enabled=False))",
        "pass",
        ("test_precision",),
    ),
    Fault(
        "negative-for-positive",
        "hopmask/couplings/dense.py",
        "return share > 0.5",
        "return abs(share) > 0.5",
    ),
    Fault(
        "rows-of-others",  # a penalty of rows is not narrowed
        "hopmask/memory/mask_penalty.py",
        "self.penalty.of_rows(rows)",
        "self.penalty.of_rows(rows.flip(0))",
    ),
    # Hub couplings
    Fault(
        "hub-not-replaced",  # Hebb in the place of Storkey: the old mask stays
        "hopmask/couplings/hub.py",
        "change = change - self._mask(task, held)",
        "change = change - 0 * self._mask(task, held)",
    ),
    Fault(
        "wide-twice",  # wide columns in the narrow matrix as well
        "hopmask/couplings/hub.py",
        "key[0, :: self.keys.born] = 0",
        "key[0, 1 :: self.keys.born] += 0",
    ),
    Fault("grown-alike", "hopmask/patterns/hadamard.py", "+ tasks // self.born * self.born", ""),
    Fault(
        "grown-negated",  # [A −A]
        "hopmask/couplings/hub_state.py",
        "grown.view(self.neurons, 2, -1)[:] = self.narrow[:, None]",
        "grown.view(self.neurons, 2, -1)[:, 1] = -self.narrow",
    ),
    Fault("saturates", "hopmask/couplings/hub.py", "if peak > largest:", "if False:"),
    Fault(
        "digits-overlap",
        "hopmask/couplings/integer_products.py",
        "(self.whole(where).int() + _MIDDLE) ^ _MIDDLE",
        "self.whole(where).int() ^ 0",
    ),
    Fault(
        "tile-too-tall",  # sums beyond 2^24
        "hopmask/couplings/integer_products.py",
        "_ROWS = 1024",
        "_ROWS = 65536",
    ),
    Fault(
        "digest-of-masks-alone",  # the number is left out
        "hopmask/patterns/digest_code.py",
        '+ task.to_bytes(8, "little")',
        "",
    ),
    Fault(
        "dead-tasks-answer",
        "hopmask/memory/hub_recall.py",
        "return scores.masked_fill(~self._couplings.live, -inf)",
        "return scores",
    ),
    Fault(
        "entropy-alone",  # energy and penalty one after the other
        "hopmask/memory/hub_recall.py",
        "total = value - self._weight * scores[rows, place]",
        "total = value",
    ),
    Fault(
        "mean-not-forgotten",
        "hopmask/memory/hub_address.py",
        'self.sums["link"] -= self._means(task)[:, None] * self._key(task)',
        "pass",
    ),
    Fault(
        "groups-without-their-share",  # log G_t
        "hopmask/memory/readout.py",
        "offset = (apart * readout).sum(0) / 2 + prior",
        "offset = (apart * readout).sum(0) / 2",
    ),
    Fault(
        "covariance-across-groups",
        "hopmask/memory/features.py",
        "rest = self.of(some, scale) - means[group]",
        "rest = self.of(some, scale) - means.mean(0)",
    ),
    Fault(
        "unaddressed-ruled-out",
        "hopmask/memory/hub_recall.py",
        "evidence = torch.where(evidence.isinf(), mean, evidence)",
        "pass",
    ),
    Fault(
        "address-not-merged",
        "hopmask/memory/hub_masks.py",
        "self.address.add(other.address)",
        "pass",
    ),
    Fault(
        "extras-stay",
        "hopmask/memory/hub_masks.py",
        "self.extras_sum -= self._whole_extras(held)",
        "pass",
    ),
    Fault(
        "levels-even",
        "hopmask/couplings/levels.py",
        "2 * code + 1 - 2**levels.bits",
        "2 * code - 2**levels.bits",
    ),
    Fault(
        "rounded-once",  # no neuron anew
        "hopmask/couplings/levels.py",
        "going = (wrong > 0) & (wrong <= most)",
        "going = wrong < 0",
    ),
    Fault(
        "step-of-all",  # the mean over neurons
        "hopmask/couplings/levels.py",
        "variance.clamp_min(_LEAST).sqrt()",
        "variance.mean().expand(len(variance)).clamp_min(_LEAST).sqrt()",
    ),
    Fault(
        "wide-of-any-size",
        "hopmask/memory/hub_document.py",
        "if not -count <= wide.min() <= wide.max() <= count or parity != count % 2:",
        "if parity != count % 2:",
    ),
)


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
