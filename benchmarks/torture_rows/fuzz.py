"""Row: atheris on the header and the description."""

import argparse
import hashlib
import importlib.util
import inspect
import json
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

import hopmask
from hopmask import HopmaskError, MaskMemory, storage
from hopmask.memory import dense_document, hub_document, schema
from hopmask.memory import loading as loading_module
from hopmask.storage import container, document, image
from hopmask.storage.container import HEADER, MAGIC
from torture_rows.hostile import canonical, sealed
from torture_rows.hostile_hubs import described_hub
from torture_rows.memories import CHECK, KEY, dense, hub
from torture_rows.tally import Row, Tally, scratch

FUZZED = ("header", "description")


def fuzz(options: argparse.Namespace, _: np.random.Generator) -> Row:
    """Fuzz header and description, the digests made right: only hopmask's errors come out."""
    tally = Tally()
    minutes = options.minutes * options.share
    seconds = 4 if options.quick else round(60 * minutes / len(FUZZED))
    if importlib.util.find_spec("atheris") is None:
        return tally.row(skipped="atheris is not installed")
    with scratch(options) as folder:
        for part in FUZZED:
            command = [sys.executable, sys.argv[0], "--fuzz", part, "--folder", str(folder)]
            command += ["--minutes", str(seconds / 60), "--seed", str(options.seed)]
            command += ["--fuzz-couplings", options.couplings]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            counts = re.findall(
                r"^(?:#|Done |stat::number_of_executed_units:\s*)(\d+)", done.stderr, re.M
            )
            runs = int(counts[-1]) if counts else 0
            tally.trials += runs
            tally.counted[f"executions, {part}"] = runs
            for line in re.findall(r"^crash (.*)$", done.stderr, re.M):
                tally.fail(f"{part}: {line[:1000]}")
            for kind in ("crash", "oom", "timeout"):  # what ended the fuzzing early
                for unit in folder.glob(f"{kind}-*"):
                    tally.fail(f"{part}, {kind}: {unit.read_bytes()[:300]!r}")
                    unit.unlink()
            last = done.stderr.strip().splitlines()[-12:]
            tally.expect(done.returncode == 0 and runs > 0, f"{part}: {done.returncode}, {last}")
    return tally.row(seconds_each=seconds)


def saves(couplings: str) -> list[Callable[[Path], object]]:
    """What writes the files from which fuzzing starts."""
    if couplings == "dense":
        addressed = MaskMemory({"h": 8}, key_bits=32, signature_features=4, rule="storkey")
        return [hopmask.Reservoir(8).save, dense(KEY + CHECK + 8).save, addressed.save]
    full = described_hub()
    return [hub(CHECK + 8, hubs=2).save, full.save, partial(full.save, bits=3)]


def fuzzing(options: argparse.Namespace) -> None:
    """What the child of row `fuzz` does; ends the process."""
    import atheris

    modules = (container, document, image, loading_module, schema, dense_document, hub_document)
    for module in modules:
        for function in vars(module).values():
            if inspect.isfunction(function) and function.__module__ == module.__name__:
                atheris.instrument_func(function)
    corpus, path = options.folder / f"corpus-{options.fuzz}", options.folder / "fuzzed.h5"
    corpus.mkdir()
    found, payloads = [], []
    for number, save in enumerate(saves(options.couplings)):
        save(path)
        found.append(storage.read_stamped(path)[0])
        block, payload = path.read_bytes()[:HEADER], path.read_bytes()[HEADER:]
        payloads.append(payload)
        text = image.parse(path, memoryview(payload))["meta"].tobytes()
        start = bytes([number, 255]) + (block if options.fuzz == "header" else text)
        (corpus / str(number)).write_bytes(start)
    path = path.with_name("fuzz.h5")

    def header(number: int, right: int, data: bytes) -> bytes:
        payload = payloads[number]
        block = bytearray(data[:HEADER].ljust(HEADER, b"\0"))
        if right & 1:
            block[: len(MAGIC)] = MAGIC
        if right & 2:
            block[16:24] = (1).to_bytes(4, "little") + HEADER.to_bytes(4, "little")
        if right & 4:
            block[32:72] = len(payload).to_bytes(8, "little") + hashlib.sha256(payload).digest()
        if right & 8:
            block[152:] = bytes(HEADER - 152)
        if right & 16:
            block[72:104] = bytes(32)
            block[72:104] = hashlib.sha256(block).digest()
        return bytes(block) + payload

    def description(number: int, right: int, text: bytes) -> bytes:
        if right & 1:
            with suppress(ValueError, RecursionError):
                text = canonical(json.loads(text))
        described = np.frombuffer(text or b" ", np.uint8)
        return sealed(b"".join(image.laid_out({"meta": described, **found[number].arrays})))

    def one(data: bytes) -> None:
        if len(data) < 2:
            return
        make = header if options.fuzz == "header" else description
        path.write_bytes(make(data[0] % len(found), data[1], data[2:]))
        try:
            hopmask.load(path)
        except HopmaskError:
            pass
        except Exception as error:  # noted, once for each place, and on
            place = traceback.extract_tb(error.__traceback__)[-1]
            key = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            if key not in crashes:
                crashes.add(key)
                text = f"{key}: {error}: {data[2:].hex()}".replace("\n", " ")
                print(f"crash {text}", file=sys.stderr, flush=True)

    crashes: set[str] = set()
    limits = [f"-max_total_time={round(60 * options.minutes)}", "-timeout=10", "-rss_limit_mb=2048"]
    options_of = [*limits, f"-artifact_prefix={options.folder}/", f"-seed={options.seed + 1}"]
    atheris.Setup([sys.argv[0], *options_of, "-max_len=2048", str(corpus)], one)
    atheris.Fuzz()
