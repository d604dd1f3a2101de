"""The commands of `hopmask` on files: inspect, verify, recover and migrate."""

import argparse
import json
import os
from math import prod
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hopmask import storage
from hopmask.errors import ConfigError, StoreFileError, StoreNotFoundError
from hopmask.memory.loading import check, is_hub, restored
from hopmask.memory.schema import KINDS
from hopmask.storage import Document, Stamp
from hopmask.storage.commit import previous_of


def add_commands(commands: Any) -> None:
    """Add the four commands; each has `run`, which takes the options and consoles."""
    for name, run, text in (
        ("inspect", inspect, "what is in a file: rule, sizes, tasks, load, generation, bytes"),
        ("verify", verify, "whether a file is whole, and its previous generation"),
        ("recover", recover, "put the previous generation in the place of a damaged file"),
        ("migrate", migrate, "bring a file of an older schema to the newest"),
    ):
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.add_argument("file", type=Path)
        command.set_defaults(run=run)
        if name == "inspect":
            command.add_argument("--json", action="store_true", help="as JSON, for programs")


def inspect(options: argparse.Namespace, console: Console, errors: Console) -> None:
    """Print what is in a file."""
    document, stamp = storage.read_stamped(options.file)
    if document.kind in KINDS:
        check(options.file, document)
    facts = facts_of(document, stamp)
    if options.json:
        console.print_json(json.dumps(facts))
        return
    table = Table(show_header=False, title=escape(str(options.file)), title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), escape(_shown(value)))
    console.print(table)


def verify(options: argparse.Namespace, console: Console, errors: Console) -> None:
    """Print whether a file and its previous generation are whole; raise where the file is not."""
    document, stamp = storage.read_stamped(options.file)
    if document.kind in KINDS:
        try:
            restored(options.file, document)
        except ConfigError as error:  # an unknown rule, written by the user: nothing else is wrong
            console.print(f"the memory was not rebuilt: {error}", markup=False, soft_wrap=True)
    console.print(f"{options.file}: whole, {_state(stamp)}", markup=False, soft_wrap=True)
    previous = previous_of(Path(os.path.realpath(options.file)))
    try:
        _, before = storage.read_stamped(previous)
        console.print(f"{previous}: whole, {_state(before)}", markup=False, soft_wrap=True)
    except StoreNotFoundError:
        console.print(f"{previous}: there is none", markup=False, soft_wrap=True)
    except StoreFileError as error:
        console.print(f"{previous}: {error}", markup=False, soft_wrap=True)


def recover(options: argparse.Namespace, console: Console, errors: Console) -> None:
    """Put the previous generation in place, where the file needs it."""
    done = storage.recover(options.file)
    for draft in done.cleared:
        console.print(
            f"{draft}: left half-written by a killed writer, removed", markup=False, soft_wrap=True
        )
    if done.source is None:
        console.print(
            f"{options.file}: whole, {_state(done.stamp)}: left as it is",
            markup=False,
            soft_wrap=True,
        )
        return
    console.print(
        f"{options.file}: recovered from {_state(done.source)}", markup=False, soft_wrap=True
    )
    if done.damaged:
        console.print(f"the damaged file is now {done.damaged}", markup=False, soft_wrap=True)


def migrate(options: argparse.Namespace, console: Console, errors: Console) -> None:
    """Write a file anew in the newest schema."""
    before, after = storage.migrate(options.file)
    if before.schema == after.schema:
        console.print(
            f"{options.file}: schema {after.schema} is the newest", markup=False, soft_wrap=True
        )
        return
    console.print(
        f"{options.file}: schema {before.schema} -> {after.schema}, {_state(after)}; the old file "
        f"is now {previous_of(options.file)}",
        markup=False,
        soft_wrap=True,
    )


def facts_of(document: Document, stamp: Stamp) -> dict[str, Any]:
    """What `inspect` shows."""
    about, arrays = document.about, document.arrays
    facts: dict[str, Any] = {"kind": document.kind, "schema": stamp.schema}
    if is_hub(document):
        facts |= _hub_facts(document)
    elif document.kind in KINDS:
        patterns, numbered, length = (int(n) for n in arrays["counters"])
        size = len(arrays["mean"])
        facts |= {
            "rule": about["rule"],
            "dtype": about["dtype"],
            "spins": size,
            "tasks" if document.kind == "masks" else "patterns": patterns,
            "load": patterns / size,
        }
        if document.kind == "masks":
            bits = sum(prod(shape) for _, shape in about["layers"])
            facts |= {
                "layers": dict(about["layers"]),
                "seed": about["seed"],
                "key_bits": about["key_bits"],
                "signature_features": about["signature_features"],
                "signature_length": length,
                "next_task": numbered,
                "mask_bits": bits,
                "bytes_of_the_same_masks_packed": patterns * -(-bits // 8),
            }
    else:
        facts |= {name: f"{array.dtype} {array.shape}" for name, array in arrays.items()}
    return facts | {
        "bytes": stamp.nbytes,
        "generation": stamp.generation,
        "store": stamp.store,
        "sha256": stamp.sha256,
    }


def _hub_facts(document: Document) -> dict[str, Any]:
    """What `inspect` shows of a memory of hub couplings."""
    about = document.about
    count, numbered, length = (int(n) for n in document.arrays["counters"])
    bits = sum(prod(shape) for _, shape in about["layers"])
    return {
        "couplings": about["couplings"],
        "rule": about["rule"],
        "precision": about["precision"],
        "bits_per_coupling": about.get("bits", "all"),
        "mask_neurons": len(document.arrays["wide"]),
        "hubs": about["hubs"],
        "hubs_at_birth": about["born"],
        "tasks": count,
        "load": count / about["hubs"],
        "layers": dict(about["layers"]),
        "extras": dict(about["extras"]),
        "seed": about["seed"],
        "signature_features": about["signature_features"],
        "signature_groups": about.get("signature_groups", 1),
        "signature_length": length,
        "next_task": numbered,
        "mask_bits": bits,
        "bytes_of_the_same_masks_packed": count * -(-bits // 8),
    }


def _shown(value: object) -> str:
    """A value as text without what a terminal would take for a command."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _state(stamp: Stamp) -> str:
    return f"generation {stamp.generation}, SHA-256 {stamp.sha256}"
