"""Row: files with a bit flipped, an end missing or a tail."""

import argparse
import os
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

import hopmask
from hopmask import MaskMemory, storage
from hopmask.errors import StoreFileError
from hopmask.storage import image
from torture_rows.memories import CHECK, hub, replayed
from torture_rows.tally import Row, Tally, scratch


def flips_and_cuts(options: argparse.Namespace, generator: np.random.Generator) -> Row:
    """Flip every byte, cut at every length, add tails: refused before HDF5 sees anything."""
    tally = Tally()
    with scratch(options) as folder, mock.patch.object(image, "parse") as parse:
        paths = first, second = folder / "first.h5", folder / "second.h5"
        if options.couplings == "hub":
            memory = replayed([(0, 0), (0, 1)], partial(hub, CHECK + 8, hubs=4))
            memory.save(first)
            memory.save(second, bits=3)
        else:
            hopmask.Reservoir(16).save(first)
            MaskMemory({"h": 8}, key_bits=32, signature_features=0).save(second)
        step = 50 if options.quick else 1
        for path in paths:
            good = path.read_bytes()
            tally.add("bytes flipped", len(good[::step]))
            with path.open("r+b", buffering=0) as file:
                for at in range(0, len(good), step):
                    os.pwrite(file.fileno(), bytes([good[at] ^ 1 << generator.integers(8)]), at)
                    refused(tally, path, parse, f"flip at {at}")
                    os.pwrite(file.fileno(), good[at : at + 1], at)
                for tail in (1, 7, 8, 511, 512, 513, 4096, 65536, 1 << 20):
                    for what in (bytes(tail), generator.bytes(tail), good[:tail]):
                        os.pwrite(file.fileno(), what, len(good))
                        os.ftruncate(file.fileno(), len(good) + len(what))
                        refused(tally, path, parse, f"tail of {len(what)}")
                        tally.add("tails")
                for size in range(len(good) - 1, -1, -step):
                    os.ftruncate(file.fileno(), size)
                    refused(tally, path, parse, f"cut at {size}")
                    tally.add("cuts")
        tally.counted["HDF5 parsed"] = parse.call_count
    return tally.row(every_byte=step == 1)


def refused(tally: Tally, path: Path, parse: mock.Mock, what: str) -> None:
    """The file is refused with a StoreFileError, unparsed."""
    tally.trials += 1
    before = parse.call_count
    try:
        storage.read_stamped(path)
    except StoreFileError as error:
        tally.add(type(error).__name__)
    except Exception as error:
        tally.fail(f"{path.name}, {what}: {type(error).__name__}: {error}")
    if parse.call_count > before:
        tally.fail(f"{path.name}, {what}: HDF5 parsed it")
