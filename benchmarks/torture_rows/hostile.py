"""Row: files made to harm the program that loads them."""

import argparse
import hashlib
import json
import os
import resource
import stat
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p, h5s

import hopmask
from hopmask import HopmaskError
from hopmask.errors import StoreFileError
from hopmask.storage import Document, image
from hopmask.storage.container import HEADER, MAGIC, Header
from torture_rows.hostile_hubs import contradictions
from torture_rows.memories import CHECK, KEY, Tell, dense, ended, forked, hub
from torture_rows.tally import Row, Tally, scratch

TOO_SLOW = 1.0  # seconds, for a hostile file
ROOM = 32 << 20  # bytes beyond four times the file: 1 MiB of JSON, the most, may be as many lists


def hostile(options: argparse.Namespace, _: np.random.Generator) -> Row:
    """Load files made to do harm: refused at once, at no cost, and no other file opened."""
    tally, worst = Tally(), dict.fromkeys(("seconds", "grown"), 0.0)
    small = hub(KEY + CHECK + 8, hubs=8) if options.couplings == "hub" else dense(KEY + CHECK + 8)
    document = small.document()
    with scratch(options) as folder:
        os.mkfifo(folder / "fifo")  # a program that opens it hangs, or finds nothing to read
        (folder / "plugins").mkdir()
        os.mkfifo(folder / "plugins/libfilter.so")
        good = folder / "good.h5"
        image_of = partial(harmful, folder, document)
        whole = image_of(lambda file, parts: None)
        good.write_bytes(sealed(whole))
        makers = {**harmful_images(folder, image_of, document), **harmful_raw(folder, whole)}
        makers |= {
            name: partial(written, meta, document.arrays)
            for name, meta in harmful_descriptions(document).items()
        }
        if options.couplings == "hub":
            makers |= {
                name: partial(written, canonical(meta_of(odd)), odd.arrays)
                for name, odd in contradictions().items()
            }
        for name, make in makers.items():
            with tally.trial(name):
                path = folder / f"{name}.h5"
                other = make(path)
                path = other if isinstance(other, Path) else path
                lines, status = ended(forked(partial(loading, good=good, path=path), longest=10))
                found = json.loads(lines[-1]) if lines and lines[-1][0] == "{" else None
                if not tally.expect(found is not None, f"{name}: {lines}, exit status {status}"):
                    continue
                about = path.stat() if path.exists() else None
                size = about.st_size if about and stat.S_ISREG(about.st_mode) else 0
                found["bound"] = 4 * min(size, about.st_blocks * 512 if about else 0) + ROOM
                tally.add(found["error"])
                right = found["ours"] and not found["opened"] and found["seconds"] < TOO_SLOW
                tally.expect(right and found["grown"] < found["bound"], f"{name}: {found}")
                worst = {what: max(most, found[what]) for what, most in worst.items()}
            (folder / f"{name}.h5").unlink(missing_ok=True)
    tally.counted |= {"slowest, seconds": worst["seconds"], "most memory, bytes": worst["grown"]}
    return tally.row(files=[*makers], too_slow_seconds=TOO_SLOW, memory=f"4 x file + {ROOM}")


def loading(tell: Tell, good: Path, path: Path) -> None:
    """Load a file and report what came of it; a good one first, so that Python knows all code."""
    hopmask.load(good)
    with suppress(StoreFileError):
        hopmask.load(good.with_name("none.h5"))
    h5py.h5pl.prepend(bytes(good.with_name("plugins")))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (4 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    opened: list[str] = []
    allowed = {str(path), f"{path}.prev"}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]) not in allowed:
            opened.append(str(arguments[0]))

    def tried() -> BaseException | None:
        try:
            hopmask.load(path)
        except BaseException as error:
            return error
        return None

    sys.addaudithook(hook)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    error = tried()
    seconds = time.perf_counter() - start
    resident = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    tracemalloc.start()  # which takes its time
    tried()
    found = {
        "error": type(error).__name__ if error else "loaded",
        "ours": isinstance(error, HopmaskError),
        "opened": opened,
        "seconds": round(seconds, 4),
        "grown": max(resident, tracemalloc.get_traced_memory()[1]),
        "message": str(error)[:200],
    }
    tell(json.dumps(found))


def sealed(payload: bytes, **others: object) -> bytes:
    """A file around a payload, with a header that is right."""
    digest = hashlib.sha256(payload).digest()
    fields = {"generation": 1, "length": len(payload), "digest": digest, "store": bytes(16)}
    return Header(**fields | others).packed() + payload  # type: ignore[arg-type]


Change = Callable[[h5py.File, dict[str, np.ndarray]], object]


def meta_of(document: Document) -> dict[str, Any]:
    """The description that stands in a file."""
    schema = {"schema": 4, "reader": 4}
    return {"format": "hopmask", **schema, "kind": document.kind, "about": document.about}


def written(text: bytes, arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Write a file of a description and arrays, the digests made right."""
    described = {"meta": np.frombuffer(text, np.uint8), **arrays}
    path.write_bytes(sealed(b"".join(image.laid_out(described))))


def harmful(folder: Path, document: Document, change: Change) -> bytes:
    """An HDF5 image of a memory, changed: `change` may write to the file, and drop parts."""
    parts = {"meta": np.frombuffer(canonical(meta_of(document)), np.uint8), **document.arrays}
    path = folder / "image.h5"
    with h5py.File(path, "w") as file:
        change(file, parts)
        for name, array in parts.items():
            file.create_dataset(name, data=array)
    return path.read_bytes()


def canonical(value: object) -> bytes:
    """JSON as hopmask writes it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def harmful_images(
    folder: Path, image_of: Callable[[Change], bytes], document: Document
) -> dict[str, Callable[[Path], object]]:
    """Payloads that HDF5 reads and hopmask never writes, in a container and as plain HDF5."""
    fifo, huge = str(folder / "fifo"), 1 << 20
    main, vector = ("narrow", "flags") if "narrow" in document.arrays else ("psi", "mean")
    shape, dtype = document.arrays[main].shape, document.arrays[main].dtype

    def matrix(file: h5py.File, parts: dict[str, np.ndarray], **how: Any) -> h5py.Dataset:
        data = parts.pop(main)
        return file.create_dataset(main, **{"data": data, **how} if "shape" not in how else how)

    def raw(file: h5py.File, parts: dict[str, np.ndarray], *set_by: Any) -> None:
        del parts[main]
        how = h5p.create(h5p.DATASET_CREATE)
        for name, *arguments in set_by:
            getattr(how, name)(*arguments)
        space = h5s.create_simple(shape)
        h5d.create(file.id, main.encode(), image.TYPES[dtype], space, dcpl=how)

    def virtual(file: h5py.File, parts: dict[str, np.ndarray]) -> None:
        del parts[main]
        layout = h5py.VirtualLayout(shape, dtype)
        layout[:] = h5py.VirtualSource(fifo, main, shape=shape)
        file.create_virtual_dataset(main, layout)

    def linked(link: object) -> Change:
        return lambda file, parts: (parts.pop(main), file.__setitem__(main, link))

    def cycle(file: h5py.File, parts: dict[str, np.ndarray]) -> None:
        group = file.create_group("group")
        group["again"] = group
        group["root"] = file["/"]

    def many(count: int) -> Change:
        return lambda file, parts: [file.create_dataset(f"x{i}", data=[1]) for i in range(count)]

    def compact(file: h5py.File, parts: dict[str, np.ndarray]) -> None:
        how = h5p.create(h5p.DATASET_CREATE)
        how.set_layout(h5d.COMPACT)
        found = parts.pop(vector)
        space = h5s.create_simple(found.shape)
        h5d.create(file.id, vector.encode(), image.TYPES[found.dtype], space, dcpl=how)

    def attribute(where: str, value: Any) -> Change:
        def change(file: h5py.File, parts: dict[str, np.ndarray]) -> None:
            target = file if where == "/" else file.create_dataset(where, data=parts.pop(where))
            target.attrs["a"] = value

        return change

    def odd(data: Any, **how: Any) -> Change:
        return lambda file, parts: file.create_dataset("odd", data=data, **how)

    gzip, chunks = {"chunks": shape, "compression": "gzip"}, {"chunks": (17, shape[1] // 8)}
    text, changes = h5py.string_dtype(), {}
    changes |= {
        "external-storage": lambda f, p: raw(
            f, p, ("set_external", fifo.encode(), 0, document.arrays[main].nbytes)
        ),
        "external-link": linked(h5py.ExternalLink(fifo, f"/{main}")),
        "soft-link": linked(h5py.SoftLink(f"/{vector}")),
        "soft-link-to-itself": linked(h5py.SoftLink(f"/{main}")),
        "virtual": virtual,
        "hard-link-cycle": cycle,
        "hard-link-twice": lambda f, p: f.__setitem__(
            "also", f.create_dataset(vector, data=p.pop(vector))
        ),
        "group": lambda f, p: f.create_group("group"),
        "named-type": lambda f, p: f.__setitem__("type", np.dtype("<f4")),
        "chunked": lambda f, p: matrix(f, p, **chunks),
        "can-grow": lambda f, p: matrix(f, p, **chunks, maxshape=(None, None)),
        "compact": compact,
        "gzip": lambda f, p: matrix(f, p, **gzip),
        "shuffle": lambda f, p: matrix(f, p, **chunks, shuffle=True),
        "fletcher32": lambda f, p: matrix(f, p, **chunks, fletcher32=True),
        "unknown-filter": lambda f, p: raw(
            f, p, ("set_chunk", shape), ("set_filter", 32_700, 1, (1,))
        ),
        "gzip-bomb": lambda f, p: matrix(
            f,
            p,
            data=np.zeros((16_384, 1024), dtype),
            compression="gzip",
            chunks=(16_384, 1024),
        ),
        "declared-terabytes": lambda f, p: matrix(f, p, shape=(huge, huge), dtype=dtype),
        "declared-terabytes-chunked": lambda f, p: matrix(
            f, p, shape=(huge, huge), dtype=dtype, chunks=(1024, 1024)
        ),
        "declared-16385": lambda f, p: matrix(f, p, shape=(16_385, 16_385), dtype=dtype),
        "attribute-root": attribute("/", 1),
        "attribute-dataset": attribute(vector, 1),
        "attribute-text": attribute(vector, ["a"] * 100),
        "attribute-huge": attribute("/", np.zeros(8000)),
        "text": odd(["a", "b"], dtype=text),
        "ragged": lambda f, p: f.create_dataset("odd", (3,), dtype=h5py.vlen_dtype(np.int64)),
        "reference": lambda f, p: f.create_dataset("odd", (3,), dtype=h5py.ref_dtype),
        "compound": odd(np.zeros(3, [("a", "<f4"), ("b", "<i8")])),
        "enum": lambda f, p: f.create_dataset("odd", (3,), dtype=h5py.enum_dtype({"a": 0})),
        "bytes": odd(np.array([b"abc"])),
        "opaque": odd(np.zeros(3, "V7")),
        "nested-array": lambda f, p: f.create_dataset("odd", (3,), dtype=np.dtype(("<f4", (4, 4)))),
        "big-endian": odd(np.zeros(3, ">f8")),
        "half": odd(np.zeros(3, "<f2")),
        "complex": odd(np.zeros(3, "<c8")),
        "scalar": odd(1.0),
        "three-dimensions": odd(np.zeros((2, 2, 2))),
        "no-elements": lambda f, p: f.create_dataset("odd", data=h5py.Empty("<f4")),
        "one-too-many": odd(np.zeros(3)),
        "65-objects": many(65),
        "5000-objects": many(5000),
        "long-name": lambda f, p: f.create_dataset("n" * 60_000, data=[1]),
        "no-couplings": lambda f, p: p.pop(main),
        "no-meta": lambda f, p: p.pop("meta"),
        "row-missing": lambda f, p: p.update({main: p[main][:-1]}),
        "not-finite": lambda f, p: p.update({vector: p[vector] + np.float32(np.nan)}),
        "many-spins": lambda f, p: p.update({vector: np.zeros(16_385, p[vector].dtype)}),
        "negative-counter": lambda f, p: p.update(counters=np.array([-1, 0, 0])),
        "billions-of-numbers": lambda f, p: p.update(counters=np.array([1, 1 << 62, 0])),
    }
    found: dict[str, Callable[[Path], object]] = {"overlap": overlapping(folder, image_of, vector)}
    for name, change in changes.items():
        found[name] = lambda path, change=change: path.write_bytes(sealed(image_of(change)))
        found[f"{name}-plain"] = lambda path, change=change: path.write_bytes(image_of(change))
    return found


def overlapping(
    folder: Path, image_of: Callable[[Change], bytes], vector: str
) -> Callable[[Path], object]:
    """Two datasets of one address."""

    def make(path: Path) -> None:
        plain = image_of(lambda file, parts: parts.update(extra=parts[vector].copy()))
        (folder / "image.h5").write_bytes(plain)
        with h5py.File(folder / "image.h5") as file:
            right, extra = (file[name].id.get_offset() for name in (vector, "extra"))
        place = (extra.to_bytes(8, "little"), right.to_bytes(8, "little"))
        assert plain.count(place[0]) == 1
        path.write_bytes(sealed(plain.replace(*place)))

    return make


def harmful_descriptions(document: Document) -> dict[str, bytes]:
    """Descriptions that are valid JSON, or nearly, around the arrays of a memory."""
    about, meta = document.about, meta_of(document)
    bits, many, deep = about["layers"], 10**9, 1 << 19
    of_about: dict[str, Any] = {
        "layers-billions": {"layers": [["bits", [many]]]},
        "layers-product": {"layers": [["bits", [10**6, 10**6]]]},
        "layers-long-shape": {"layers": [["bits", [1] * 100_000]]},
        "layers-4097": {"layers": [[f"l{i}", [1]] for i in range(4097)]},
        "layers-same-name": {"layers": bits * 2},
        "layers-negative": {"layers": [["bits", [-8]]]},
        "layers-nested": {"layers": [["bits", [[8]]]]},
        "layers-text": {"layers": ["bits"]},
        "layers-float": {"layers": [["bits", [8.0]]]},
        "features-billions": {"signature_features": many},
        "features-16384": {"signature_features": 16_384},
        "features-negative": {"signature_features": -1},
        "features-float": {"signature_features": 1e300},
        "seed-text": {"seed": "0"},
        "seed-negative": {"seed": -1},
        "rule-list": {"rule": [about["rule"]]},
        "rule-unknown": {"rule": "x" * 100_000},
    }
    if "couplings" not in about:
        of_about |= {
            "keys-billions": {"key_bits": many},
            "keys-negative": {"key_bits": -64},
            "keys-text": {"key_bits": "64"},
            "dtype-object": {"dtype": {}},
            "dtype-half": {"dtype": "float16"},
        }
    texts = {name: canonical(meta | {"about": about | extra}) for name, extra in of_about.items()}
    texts |= {
        "json-too-long": canonical(meta | {"about": {"a": "x" * (1 << 20)}}),
        "json-deep": b"[" * deep,
        "json-deep-closed": b"[" * deep + b"]" * deep,
        "json-deep-object": canonical(meta).replace(b'"seed":0', b'"seed":' + b'{"a":' * 9**5),
        "json-many-lists": canonical(meta | {"kind": [[]] * 300_000}),
        "json-many-keys": canonical({str(i): 0 for i in range(90_000)}),
        "json-digits": b'{"schema":' + b"9" * 1_000_000 + b"}",
        "json-nan": canonical(meta).replace(b'"seed":0', b'"seed":NaN'),
        "json-infinite": canonical(meta).replace(b'"seed":0', b'"seed":1e999'),
        "json-twice": canonical(meta).replace(b'"seed":0', b'"seed":0,"seed":0'),
        "json-spaces": canonical(meta) + b" " * 1000,
        "json-surrogate": canonical(meta).replace(b'"seed":0', b'"seed":"\\ud800"'),
        "json-not-utf8": canonical(meta).replace(about["rule"].encode(), b"\xff\xfe\x00"),
        "json-list": b"[]",
        "json-empty": b" ",
        "json-about-list": canonical(meta | {"about": [1]}),
        "json-new-schema": canonical(meta | {"schema": 9**99, "reader": 9**99}),
        "json-other-kind": canonical(meta | {"kind": "x" * 1000}),
        "json-bool-schema": canonical(meta | {"schema": True}),
    }
    return texts


def harmful_raw(folder: Path, whole: bytes) -> dict[str, Callable[[Path], object]]:
    """What is no file, or none of hopmask's; `whole` is a payload that is right."""
    small = sealed(whole)

    def sparse(size: int, begin: bytes) -> Callable[[Path], object]:
        def make(path: Path) -> None:
            path.write_bytes(begin)
            os.truncate(path, size)

        return make

    length = {"length": (1 << 40) - HEADER}
    return {
        "fifo": lambda path: folder / "fifo",
        "folder": lambda path: folder,
        "device": lambda path: Path("/dev/zero"),
        "link-to-itself": lambda path: path.symlink_to(path),
        "none": lambda path: folder / "nothing.h5",
        "sparse-terabyte": sparse(1 << 40, b""),
        "sparse-terabyte-header": sparse(1 << 40, sealed(b"", **length)),
        "sparse-terabyte-plain": sparse(1 << 40, whole),
        "sparse-gigabyte": sparse(1 << 30, b""),
        "sparse-gigabyte-longer": sparse(1 << 30, small),
        "declared-longer": lambda path: path.write_bytes(sealed(b"", length=(1 << 64) - 1)),
        "magic-alone": lambda path: path.write_bytes(MAGIC),
        "empty": lambda path: path.touch(),
        "payload-empty": lambda path: path.write_bytes(sealed(b"")),
        "payload-text": lambda path: path.write_bytes(sealed(b"text" * 1000)),
        "payload-signature-alone": lambda path: path.write_bytes(
            sealed(b"\x89HDF\r\n\x1a\n" + bytes(5000))
        ),
        "payload-container": lambda path: path.write_bytes(sealed(small)),
        "generation-0": lambda path: path.write_bytes(sealed(small[HEADER:], generation=0)),
    }
