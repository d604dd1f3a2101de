"""Documents: canonical descriptions, stamps, and messages that say what can be done."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopmask import HopmaskError
from hopmask.errors import (
    CorruptStoreError,
    NotAHopmaskStoreError,
    SchemaTooNewError,
    StoreTooLargeError,
    UnsafeStoreError,
)
from hopmask.storage import SCHEMA, Document, document, image, read, read_stamped, write
from hopmask.storage.container import HEADER

META = {"about": {}, "format": "hopmask", "kind": "counts", "reader": 3, "schema": 3}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@pytest.fixture
def described(path, contained):
    """(text of the description) -> a file of it."""

    def make(text):
        meta = text if isinstance(text, np.ndarray) else np.frombuffer(text, np.uint8)
        arrays = {"counts": np.arange(3)} | ({} if meta is None else {"meta": meta})
        path.write_bytes(contained(b"".join(image.laid_out(arrays))))
        return path

    return make


def canonical(meta):
    return json.dumps(meta, sort_keys=True, separators=(",", ":")).encode()


# There and back


@given(about=st.dictionaries(st.text(), JSON, max_size=4))
def test_any_json_comes_back(tmp_path_factory, about):
    path = tmp_path_factory.getbasetemp() / "any.h5"
    write(path, Document(kind="any", about=about, arrays={}))
    found = read(path, kinds=("any",))
    assert found.about == about
    assert not found.arrays


def test_a_document_comes_back_with_its_stamp(path, counts):
    stamp = write(path, counts(3))
    found, read_stamp = read_stamped(path)
    assert (found.kind, found.about) == ("counts", {"number": 3})
    assert found.arrays["counts"].tolist() == [3, 4, 5, 6, 7, 8]
    assert read_stamp == stamp
    assert stamp.sha256 == hashlib.sha256(path.read_bytes()[HEADER:]).hexdigest()
    assert (stamp.generation, stamp.schema, stamp.nbytes) == (1, SCHEMA, path.stat().st_size)


def test_one_state_has_one_digest(tmp_path, counts):
    first, second = write(tmp_path / "a", counts(1)), write(tmp_path / "b", counts(2))
    again = write(tmp_path / "b", counts(1))
    assert first.sha256 == again.sha256 != second.sha256
    assert len({first.store, second.store, again.store}) == 3


def test_the_description_is_canonical(path):
    write(path, Document(kind="any", about={"b": [1.5, "é"], "a": None}, arrays={}))
    expected = (
        b'{"about":{"a":null,"b":[1.5,"\\u00e9"]},"format":"hopmask","kind":"any","reader":3,'
        b'"schema":4}'
    )
    assert expected in path.read_bytes()


@pytest.mark.parametrize(
    ("dtype", "reader"),
    [("i1", 4), ("i2", 4), ("i4", 4), (">i4", 4), ("i8", 3), ("u1", 3), ("f4", 3), ("f8", 3)],
)
def test_a_description_says_the_least_schema_that_reads_its_types(path, dtype, reader):
    arrays = {"a": np.zeros(2, "<f8"), "b": np.zeros((2, 3), dtype)}
    write(path, Document(kind="any", about={}, arrays=arrays))
    assert f'"reader":{reader},"schema":4}}'.encode() in path.read_bytes()


@pytest.mark.parametrize("kinds", [("counts",), ("other", "counts"), None])
def test_a_document_of_a_kind_that_is_read_is_read(path, counts, kinds):
    write(path, counts())
    assert read_stamped(path, kinds=kinds)[0].kind == "counts"


def test_a_document_of_another_kind_is_refused(path, counts):
    write(path, counts())
    with pytest.raises(NotAHopmaskStoreError, match="holds 'counts', expected was masks or bank"):
        read(path, kinds=("masks", "bank"))


def test_a_hand_written_description_is_read(described):
    assert read(described(canonical(META)), kinds=("counts",)).about == {}


def test_the_digest_that_is_expected_may_be_of_either_case(path, counts):
    stamp = write(path, counts())
    for text in (stamp.sha256, stamp.sha256.upper()):
        assert read_stamped(path, sha256=text)[1] == stamp


@pytest.mark.usefixtures("unparsed")
def test_another_digest_than_expected_is_refused_before_parsing(path, counts):
    write(path, counts())
    with pytest.raises(CorruptStoreError, match="whole, but not the file that was expected"):
        read_stamped(path, sha256="0" * 64)


# What cannot be written


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1}, b"x", np.float32(1)], ids=str)
def test_a_description_that_is_no_json_is_not_written(path, counts, value):
    before = write(path, counts())
    with pytest.raises((TypeError, ValueError)):
        write(path, replace(counts(), about={"x": value}))
    assert read_stamped(path)[1] == before


def test_a_description_that_nobody_would_read_is_not_written(path, counts):
    with pytest.raises(StoreTooLargeError, match="the description needs"):
        write(path, replace(counts(), about={"x": "a" * (1 << 20)}))
    assert not path.exists()


def test_a_file_that_nobody_would_read_is_not_written(path, counts, monkeypatch):
    monkeypatch.setattr(document, "LARGEST", 2000)
    with pytest.raises(StoreTooLargeError, match="more than the 2000 that is read"):
        write(path, counts())
    assert not path.exists()


@pytest.mark.parametrize(
    "arrays",
    [
        {f"a{i}": np.arange(2) for i in range(64)},
        {"a" * 65: np.arange(2)},
        {"": np.arange(2)},
        {"a/b": np.arange(2)},
        {"meta": np.zeros(3, np.uint8)},
        {"a": np.zeros((2, 2, 2))},
        {"a": np.float64(3)},
        {"a": np.zeros(3, np.uint16)},
        {"a": np.zeros(3, np.float16)},
        {"a": np.zeros(3, bool)},
        {"a": np.array(["text"])},
    ],
    ids=["many", "long", "empty", "/", "meta", "3-d", "0-d", "uint16", "float16", "bool", "text"],
)
def test_arrays_that_nobody_would_read_are_not_written(path, counts, arrays):
    with pytest.raises((HopmaskError, ValueError, TypeError)):
        write(path, replace(counts(), arrays=arrays))
    assert not path.exists()


# What is refused of a description


DEEP = b'{"about":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
TEXTS = {
    "empty": b"",
    "no JSON": b"{",
    "no text": b"\xff\xfe",
    "no object": b"[1]",
    "deep": DEEP,
    "duplicate keys": canonical(META).replace(b'"reader"', b'"kind":"counts","reader"'),
    "spaces": json.dumps(META, sort_keys=True).encode(),
    "order": json.dumps(dict(reversed(META.items())), separators=(",", ":")).encode(),
    "tail": canonical(META) + b"\n",
    "byte order mark": b"\xef\xbb\xbf" + canonical(META),
    "raw text": canonical(META | {"kind": "é"}).replace(b"\\u00e9", "é".encode()),
    "NaN": canonical(META | {"about": {"x": float("nan")}}),
    "huge float": canonical(META).replace(b"{}", b'{"x":1e999}'),
    "huge integer": canonical(META).replace(b"{}", b'{"x":1' + b"0" * 10_000 + b"}"),
    "format": canonical(META | {"format": "other"}),
    **{f"no {left}": canonical({n: v for n, v in META.items() if n != left}) for left in META},
    "schema text": canonical(META | {"schema": "3"}),
    "schema true": canonical(META | {"schema": True}),
    "schema old": canonical(META | {"schema": 2}),
    "kind number": canonical(META | {"kind": 3}),
    "about list": canonical(META | {"about": []}),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_description_of_another_form_is_corrupt(described, text):
    with pytest.raises(CorruptStoreError, match="description cannot be read"):
        read_stamped(described(text))


@pytest.mark.parametrize(("schema", "reader"), [(5, 5), (3, 5)])
def test_a_document_that_takes_a_newer_reader_says_so(described, schema, reader):
    text = canonical(META | {"schema": schema, "reader": reader, "more": 1})
    with pytest.raises(SchemaTooNewError, match=f"schema {schema}, .* reads {reader}"):
        read_stamped(described(text))


def test_a_newer_document_that_this_reader_knows_is_read(described):
    path = described(canonical(META | {"schema": 5, "reader": 4, "more": 1}))
    assert read_stamped(path)[1].schema == 5


def test_a_description_of_megabytes_is_refused_before_it_is_read(described, monkeypatch):
    path = described(canonical(META | {"about": {"x": "a" * (2 << 20)}}))
    monkeypatch.setattr(document.json, "loads", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(StoreTooLargeError, match="its description has"):
        read_stamped(path)


@pytest.mark.parametrize(
    "meta", [np.zeros((2, 2), np.uint8), np.arange(3), np.arange(3.0)], ids=["2-d", "int", "float"]
)
def test_a_description_of_another_type_is_unsafe(described, meta):
    with pytest.raises(UnsafeStoreError, match="no description 'meta' of bytes"):
        read_stamped(described(meta))


def test_a_file_without_a_description_is_unsafe(path, contained):
    path.write_bytes(contained(b"".join(image.laid_out({"counts": np.arange(3)}))))
    with pytest.raises(UnsafeStoreError, match="no description"):
        read_stamped(path)


# What a message says


def test_a_damaged_file_without_prev_is_to_be_restored(path, counts):
    write(path, counts())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptStoreError, match=r"Nothing was loaded\. Restore a copy\."):
        read_stamped(path)


def test_a_damaged_file_with_prev_says_how_to_recover(path, counts):
    write(path, counts(0))
    write(path, counts(1))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptStoreError) as caught:
        read_stamped(path)
    assert str(caught.value) == (
        f"{path}: payload SHA-256 does not match its header (generation 2). Nothing was loaded. "
        f"Generation 1 verifies at {path}.prev: run `hopmask recover {path}`."
    )


def test_a_damaged_file_with_a_damaged_prev_promises_nothing(path, counts):
    for number in range(2):
        write(path, counts(number))
    for broken in (path, path.with_name("store.h5.prev")):
        broken.write_bytes(broken.read_bytes()[:600])
    with pytest.raises(CorruptStoreError, match=r"Restore a copy\."):
        read_stamped(path)


def test_a_reader_never_falls_back_to_prev(path, counts):
    for number in range(2):
        write(path, counts(number))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptStoreError):
        read(path, kinds=("counts",))
