"""Whatever stands in a file whose digests fit, nothing but an error of ours comes of it."""

import hashlib
import json
import struct
from contextlib import suppress
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hopmask import HopmaskError, MaskMemory, load, storage
from hopmask.storage import image
from hopmask.storage.container import HEADER, MAGIC, Header

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
IMAGE = b"".join(
    image.laid_out({f"of {kind}": np.arange(5).astype(kind) for kind in ("i1", "i2", "i4", "f8")})
)
DOCUMENT = MaskMemory({"h": 8}, key_bits=32, signature_features=0).document()
loading = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def sealed(payload: bytes) -> bytes:
    digest = hashlib.sha256(payload).digest()
    return Header(generation=1, length=len(payload), digest=digest, store=bytes(16)).packed()


@loading
@given(
    numbers=st.tuples(*[st.integers(0, 2**bits - 1) for bits in (32, 32, 64, 64)]),
    names=st.binary(min_size=80, max_size=80),
    rest=st.binary(max_size=64),
    right=st.booleans(),
)
def test_any_header_that_matches_its_own_digest(numbers, names, rest, right, tmp_path) -> None:
    payload = b"\x89HDF\r\n\x1a\n" + rest
    version, size, generation, length = (1, HEADER, 1, len(payload)) if right else numbers
    block = bytearray(MAGIC + struct.pack("<IIQQ", version, size, generation, length))
    block += hashlib.sha256(payload).digest() + bytes(32) + names[:40]
    block = block.ljust(HEADER, b"\0") if right else (block + names + rest).ljust(HEADER, b"\0")
    block = block[:HEADER]
    block[72:104] = hashlib.sha256(block).digest()
    path = tmp_path / "store.h5"
    path.write_bytes(block + payload)
    with suppress(HopmaskError):
        load(path)


@loading
@given(text=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_text_in_the_place_of_the_description(text: bytes, tmp_path) -> None:
    refused_or_loaded(text, tmp_path)


@loading
@given(
    name=st.sampled_from([*DOCUMENT.about, "kind", "schema", "reader", "format", "about"]),
    value=JSON,
)
def test_any_value_of_a_member_of_the_description(name: str, value: Any, tmp_path) -> None:
    meta = {"format": "hopmask", "schema": 3, "reader": 3, "kind": "masks"}
    meta["about"] = DOCUMENT.about | ({name: value} if name in DOCUMENT.about else {})
    if name not in DOCUMENT.about:
        meta[name] = value
    text = json.dumps(meta, sort_keys=True, separators=(",", ":")).encode()
    refused_or_loaded(text, tmp_path)


@loading
@given(
    changes=st.lists(
        st.tuples(st.integers(8, len(IMAGE) - 8), st.binary(min_size=1, max_size=8)),
        min_size=1,
        max_size=4,
    )
)
def test_any_bytes_in_an_image(changes: list[tuple[int, bytes]], tmp_path) -> None:
    content = bytearray(IMAGE)
    for at, part in changes:
        content[at : at + len(part)] = part
    with suppress(HopmaskError):
        image.parse(tmp_path, memoryview(content))


def refused_or_loaded(text: bytes, folder) -> None:
    arrays = {"meta": np.frombuffer(text, np.uint8), **DOCUMENT.arrays}
    payload = b"".join(image.laid_out(arrays))
    path = folder / "store.h5"
    path.write_bytes(sealed(payload) + payload)
    with suppress(HopmaskError):
        load(path)
    with suppress(HopmaskError):
        storage.read_stamped(path)
