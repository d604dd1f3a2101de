"""Row: runs of `supsup run` that are killed and resumed."""

import argparse
import hashlib
import itertools
import json
import os
import signal
import time
from pathlib import Path

import numpy as np

from hopmask import storage
from supsup_bridge import cli
from torture_rows.memories import Tell, ended, forked
from torture_rows.tally import Row, Tally, scratch, share

NNS, HASHED = ("--scenario", "NNs", "--ask-every", "20"), ("--masks", "hashed", "--bits", "256")
RUNS: dict[str, dict[str, tuple[str, ...]]] = {
    "dense": {
        "hashed": HASHED,
        "unit": ("--masks", "unit", "--bits", "256"),
        "NNs": (*HASHED, *NNS),
        "bank": ("--memory", "bank"),
    },
    "hub": {"weight": (), "NNs": NNS},
}
LONGEST = 120.0  # seconds that a run may take


def resume(options: argparse.Namespace, generator: np.random.Generator) -> Row:
    """Kill a run at a random moment, resume it, and compare with one that was not killed."""
    tally = Tally()
    runs = RUNS[options.couplings]
    if options.quick:
        runs = {"quick": (*next(iter(runs.values())), "--quick", "--tasks", "2")}
    kinds = [*runs]
    with scratch(options) as folder:
        wanted, seconds = {}, {}
        for kind in kinds:
            start = time.perf_counter()
            run(folder / kind, *runs[kind])
            seconds[kind] = round(time.perf_counter() - start, 1)
            wanted[kind] = hashes(folder / kind)
            document, _ = storage.read_stamped(folder / kind / "memory.h5")
            hubs = document.about.get("couplings") == "hub"
            tally.expect(hubs == (options.couplings == "hub"), f"{kind}: hubs {hubs}")
        for trial in range(1 if options.quick else share(options, 100)):
            kind = kinds[trial % len(kinds)]
            out = folder / f"{trial}"
            with tally.trial(f"trial {trial}, {kind}"):
                moment = generator.uniform(0, seconds[kind])
                killed_until_done(tally, out, runs[kind], moment, generator)
                right = hashes(out) == wanted[kind]
                tally.expect(right, f"trial {trial}, {kind}: another memory, mask or result")
                tally.add(f"same to the bit, {kind}", right)
    return tally.row(
        runs={kind: " ".join(run) for kind, run in runs.items()}, seconds_of_a_run=seconds
    )


def killed_until_done(
    tally: Tally,
    out: Path,
    settings: tuple[str, ...],
    moment: float,
    generator: np.random.Generator,
) -> None:
    """Kill a run after so long, resume it, and every second time kill that one too."""
    for attempt in itertools.count():
        begun = (out / "checkpoint" / "run.h5").exists()
        command = ("--resume", str(out)) if begun else (*settings, "--out", str(out))
        child = forked(lambda tell: learned(tell, command), longest=int(LONGEST))  # noqa: B023
        if attempt == 0 or (attempt == 1 and generator.random() < 0.5):
            time.sleep(moment * (1 if attempt == 0 else generator.random()))
            _, status = ended(child, signal.SIGKILL)
            tally.add("killed" if status == -signal.SIGKILL else "done before the kill")
            tally.add("killed with a checkpoint", (out / "checkpoint" / "memory.0.h5").exists())
        else:
            lines, status = ended(child)
            assert status == 0, f"exit status {status}: {lines}"
        if (out / "result.json").exists() and not (out / "checkpoint").exists():
            return


def learned(tell: Tell, command: tuple[str, ...]) -> None:
    """Run `supsup run` with its output thrown away; reports a status that is not 0."""
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    status = cli.main(["run", *command])
    if status:
        tell(f"! exit status {status}")
    os._exit(status)


def run(out: Path, *command: str) -> None:
    """A run that is not killed."""
    lines, status = ended(forked(lambda tell: learned(tell, (*command, "--out", str(out)))))
    assert status == 0, f"exit status {status}: {lines}"


def hashes(out: Path) -> tuple[str, str]:
    """Of what a run has left: the memory's payload, and the result but for the times."""
    result = json.loads((out / "result.json").read_text())
    del result["seconds"]
    text = json.dumps(result, sort_keys=True)
    _, stamp = storage.read_stamped(out / "memory.h5")
    return stamp.sha256, hashlib.sha256(text.encode()).hexdigest()
