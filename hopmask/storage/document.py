"""A document: what stands in a file, as plain arrays and a description in canonical JSON.

The payload's dataset `meta` (uint8) is the JSON of an object with the members

    format   "hopmask"
    schema   4, of the description and of what the kinds of document hold
    reader   the least schema that a reader must know: 4 where there are int8, int16 or int32
             arrays, 3 otherwise
    kind     "masks", "reservoir", or another package's
    about    an object, the kind's own

The payload is a function of the document alone: two files of one state have the same SHA-256.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from hopmask.errors import (
    ConfigError,
    CorruptStoreError,
    NotAHopmaskStoreError,
    SchemaTooNewError,
    StoreFileError,
    StoreNotFoundError,
    StoreTooLargeError,
    UnsafeStoreError,
)
from hopmask.storage import image
from hopmask.storage.commit import previous_of
from hopmask.storage.container import HEADER, LARGEST, Header, read_content, verified_header

FORMAT = "hopmask"
SCHEMA = 4
OLDEST = 3  # that is read
_MOST_JSON = 1 << 20  # bytes
_META = "meta"
_NEW = {np.dtype(name) for name in ("i1", "<i2", "<i4")}  # types that schema 3 does not have


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a file holds.

    Attributes:
        kind: what it is of, such as "masks".
        about: its description, JSON.
        arrays: name -> float32, float64, int8, int16, int32, int64 or uint8, of one or two
            dimensions, with sides of any length; at most 63, with names of at most 64 bytes, not
            "meta". Those of a document that was read are writable views of one buffer, aligned
            where this version wrote them: `torch.from_numpy` takes them without a copy. Each keeps
            the whole buffer in memory.

    Raises:
        ConfigError: other arrays than these.
    """

    kind: str
    about: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        if len(self.arrays) >= image.MOST:
            raise ConfigError(f"a document takes {image.MOST - 1} arrays, got {len(self.arrays)}")
        for name, array in self.arrays.items():
            if name == _META or "/" in name or not 1 <= len(name.encode()) <= image.NAME:
                raise ConfigError(
                    f"an array cannot be named {name!r:.80}: names have 1 to {image.NAME} bytes, "
                    f"no '/', and '{_META}' is the description's"
                )
            if array.ndim not in (1, 2) or _little(array) not in image.TYPES:
                raise ConfigError(
                    f"array '{name}' is {array.dtype} {array.shape}: a document takes float32, "
                    "float64, int8, int16, int32, int64 and uint8 of one or two dimensions. "
                    "Convert it"
                )


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """Which state of which store a file is.

    Attributes:
        generation: 1 for the first commit.
        sha256: of the payload, hex.
        store: the line of generations that this one belongs to, hex.
        schema: version of the document.
        nbytes: size of the file.
        origin: the store from which this one branched off, hex; empty for none.
        branched: the generation of `origin` from which this store branched off; 0 for none.
    """

    generation: int
    sha256: str
    store: str
    schema: int
    nbytes: int
    origin: str = ""
    branched: int = 0

    def succeeds(self, before: "Stamp") -> bool:
        """Whether this state came of another one by commits alone, or is that state.

        The generations of a store follow each other in one line. So do the generation of another
        store from which this one branched off, and those before it.
        """
        if self.store == before.store:
            later = self.generation > before.generation
            return later or (self.generation, self.sha256) == (before.generation, before.sha256)
        return self.origin == before.store and self.branched >= before.generation


def read(path: str | Path, *, kinds: tuple[str, ...], sha256: str | None = None) -> Document:
    """Read a document: verified before anything of it is parsed. See `read_stamped`."""
    return read_stamped(path, kinds=kinds, sha256=sha256)[0]


def read_stamped(
    path: str | Path, *, kinds: tuple[str, ...] | None = None, sha256: str | None = None
) -> tuple[Document, Stamp]:
    """Read a document and which state of the store it is. Takes no lock and never waits.

    Args:
        path: the file.
        kinds: of document that the caller reads; None for any.
        sha256: of the payload, hex, where the caller has it from a source to be trusted.

    Raises:
        StoreNotFoundError: there is no such file.
        NotAHopmaskStoreError: it is something else, or a document of another kind.
        TruncatedStoreError, CorruptStoreError: it is not whole, or not the one of that SHA-256.
        UnsafeStoreError: it holds what hopmask never writes.
        SchemaTooNewError: a newer hopmask wrote it.
        StoreTooLargeError: it is larger than anything that hopmask writes.
    """
    path = Path(path)
    try:
        return _read(path, kinds, sha256)
    except _UnexpectedError as error:
        raise CorruptStoreError(
            f"{path} is whole, but not the file that was expected: its SHA-256 is {error}, not "
            f"{sha256}. Nothing was loaded: get the file from where the SHA-256 is from"
        ) from None
    except CorruptStoreError as error:
        raise type(error)(
            f"{error}. Nothing was loaded. {_way_out(path) or 'Restore a copy.'}"
        ) from error
    except (NotAHopmaskStoreError, StoreNotFoundError) as error:  # lost, or zeros after a power cut
        if way := _way_out(path):
            raise type(error)(f"{error}. {way}") from error
        raise


def stamp_of(header: Header, *, schema: int = SCHEMA) -> Stamp:
    """The stamp of a file with such a header."""
    return Stamp(
        generation=header.generation,
        sha256=header.digest.hex(),
        store=header.store.hex(),
        schema=schema,
        nbytes=HEADER + header.length,
        origin=header.origin.hex() if header.branched else "",
        branched=header.branched,
    )


def payload_of(document: Document) -> list[memoryview]:
    """The payload of a document: its bytes in order, those of arrays without a copy.

    Raises:
        StoreTooLargeError: no reader would take it.
    """
    new = any(_little(array) in _NEW for array in document.arrays.values())
    meta = {"format": FORMAT, "schema": SCHEMA, "reader": SCHEMA if new else OLDEST}
    text = _canonical({**meta, "kind": document.kind, "about": document.about})
    if len(text) > _MOST_JSON:
        raise StoreTooLargeError(
            f"the description needs {len(text)} bytes, more than the {_MOST_JSON} that a file "
            "takes: use fewer layers, or shorter names"
        )
    payload = image.laid_out({_META: np.frombuffer(text, np.uint8), **document.arrays})
    size = HEADER + sum(map(len, payload))
    if size > LARGEST:
        raise StoreTooLargeError(f"a file of {size} bytes is more than the {LARGEST} that is read")
    return payload


def _little(array: np.ndarray) -> "np.dtype[Any]":
    return array.dtype.newbyteorder("<")


class _UnexpectedError(Exception):
    """The SHA-256 of a file that is not the one expected."""


def _read(path: Path, kinds: tuple[str, ...] | None, sha256: str | None) -> tuple[Document, Stamp]:
    if not isinstance(sha256, str | None):
        raise ConfigError(f"a SHA-256 is a text of 64 hexadecimal digits, got {sha256!r:.40}")
    content = read_content(path)
    digest = content.header.digest.hex()
    if sha256 is not None and digest != sha256.lower():
        raise _UnexpectedError(digest)
    arrays = image.parse(path, content.payload)
    meta = _meta(path, arrays.pop(_META, None))
    kind, stamp = meta["kind"], stamp_of(content.header, schema=meta["schema"])
    if kinds is not None and kind not in kinds:
        raise NotAHopmaskStoreError(f"{path} holds '{kind}', expected was {' or '.join(kinds)}")
    return Document(kind=kind, about=meta["about"], arrays=arrays), stamp


def _meta(path: Path, text: np.ndarray | None) -> dict[str, Any]:
    """The description, checked but for what is the kind's own."""
    if text is None or text.dtype != np.uint8 or text.ndim != 1:
        raise UnsafeStoreError(f"{path} has no description 'meta' of bytes. Nothing was loaded")
    if text.size > _MOST_JSON:
        raise StoreTooLargeError(
            f"{path}: its description has {text.size} bytes, more than {_MOST_JSON}. Nothing was "
            "loaded"
        )
    plain = text.tobytes()
    try:
        meta = json.loads(plain, parse_constant=_no_constant)
        schema, reader = meta["schema"], meta["reader"]
        if meta["format"] != FORMAT or type(schema) is not int or type(reader) is not int:
            raise ValueError("its format or schema is none")
        if reader > SCHEMA:
            raise SchemaTooNewError(
                f"{path} has schema {schema}, which takes a hopmask that reads {reader}; this one "
                f"reads up to {SCHEMA}: install a newer one"
            )
        if _canonical(meta) != plain:
            raise ValueError("it is not canonical JSON")
        if schema < OLDEST or not isinstance(meta["kind"], str):
            raise ValueError("its schema or kind is none")
        if not isinstance(meta["about"], dict):
            raise ValueError("'about' is no object")
    except StoreFileError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CorruptStoreError(f"{path}: its description cannot be read ({error})") from error
    return dict(meta)


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _way_out(path: Path) -> str:
    """What can be done about a file that is damaged or lost, where something can."""
    previous = previous_of(Path(os.path.realpath(path)))
    try:
        header = verified_header(previous)
    except StoreFileError:
        return ""
    return f"Generation {header.generation} verifies at {previous}: run `hopmask recover {path}`."
