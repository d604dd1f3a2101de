"""The container: nothing of a file is parsed unless every byte of it is as it was written."""

import hashlib
import os
import struct
from pathlib import Path

import pytest

from hopmask.errors import (
    CorruptStoreError,
    NotAHopmaskStoreError,
    SchemaTooNewError,
    StoreFileError,
    StoreNotFoundError,
    StoreTooLargeError,
    TruncatedStoreError,
)
from hopmask.storage import container, read_stamped, write
from hopmask.storage.container import (
    HEADER,
    LARGEST,
    Header,
    read_content,
    read_header,
    verified_header,
)
from hopmask.storage.system import read_into

PAYLOAD = bytes(range(200))
LINE = {"store": b"s" * 16, "origin": b"o" * 16, "branched": 3}


@pytest.fixture
def file(path, contained):
    """A file of the container's with 200 bytes of payload."""
    path.write_bytes(contained(PAYLOAD, generation=7, **LINE))
    return path


def resealed(content, at, form, value):
    """Put another value into a header, and seal the header anew."""
    block = bytearray(content)
    struct.pack_into(form, block, at, value)
    block[72:104] = bytes(32)
    block[72:104] = hashlib.sha256(block[:HEADER]).digest()
    return bytes(block)


# The header


def test_every_field_stands_where_it_is_documented(file):
    block = file.read_bytes()[:HEADER]
    assert block[:16] == b"\x89HOPMASK\r\n\x1a\n".ljust(16, b"\0")
    assert struct.unpack_from("<IIQQ", block, 16) == (1, 512, 7, 200)
    assert block[40:72] == hashlib.sha256(PAYLOAD).digest()
    assert block[72:104] == hashlib.sha256(block[:72] + bytes(32) + block[104:]).digest()
    assert block[104:120] == b"s" * 16
    assert block[120:136] == b"o" * 16
    assert struct.unpack_from("<Q", block, 136) == (3,)
    assert block[144:] == bytes(368)


def test_a_header_comes_back(file):
    digest = hashlib.sha256(PAYLOAD).digest()
    expected = Header(generation=7, length=200, digest=digest, **LINE)
    assert read_header(file) == expected
    content = read_content(file)
    assert content.header == verified_header(file) == expected
    assert content.payload == PAYLOAD


@pytest.mark.parametrize("generation", [1, 2**63 - 1])
def test_a_generation_may_be_any_number_from_one(path, contained, generation):
    path.write_bytes(contained(PAYLOAD, generation=generation))
    assert read_header(path).generation == generation


def test_a_payload_may_be_empty(path, contained):
    path.write_bytes(contained(b""))
    assert read_content(path).payload == b""


@pytest.mark.parametrize(
    ("at", "form", "value", "error"),
    [
        (16, "<I", 0, CorruptStoreError),
        (16, "<I", 2, SchemaTooNewError),
        (20, "<I", 1024, CorruptStoreError),
        (24, "<Q", 0, CorruptStoreError),
        (24, "<Q", 2**64 - 1, CorruptStoreError),
        (32, "<Q", 199, CorruptStoreError),
        (32, "<Q", 201, TruncatedStoreError),
        (32, "<Q", 2**64 - 1, TruncatedStoreError),
        (40, "<Q", 0, CorruptStoreError),
        (144, "<B", 1, CorruptStoreError),
        (511, "<B", 128, CorruptStoreError),
    ],
)
@pytest.mark.usefixtures("unparsed")
def test_a_sealed_header_of_another_form_is_refused(file, at, form, value, error):
    file.write_bytes(resealed(file.read_bytes(), at, form, value))
    with pytest.raises(error):
        read_stamped(file)


@pytest.mark.parametrize("at", [16, 72, 104, 511])
def test_a_header_changed_without_its_seal_is_refused(file, at):
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptStoreError, match="does not match the header's own SHA-256"):
        read_header(file)


# Damage


@pytest.mark.usefixtures("unparsed")
def test_a_bit_flipped_in_any_byte_is_noticed_before_anything_is_parsed(path, counts):
    write(path, counts())
    whole = path.read_bytes()
    silent = []
    with path.open("r+b", buffering=0) as handle:
        for at, byte in enumerate(whole):
            os.pwrite(handle.fileno(), bytes([byte ^ 1 << at % 8]), at)
            try:
                read_stamped(path)
            except StoreFileError:
                os.pwrite(handle.fileno(), bytes([byte]), at)
                continue
            silent.append(at)
    assert silent == []
    assert path.read_bytes() == whole


@pytest.mark.usefixtures("unparsed")
def test_a_file_cut_at_any_length_is_noticed_before_anything_is_parsed(path, counts):
    write(path, counts())
    whole = path.read_bytes()
    with path.open("r+b") as handle:
        for length in range(len(whole) - 1, -1, -1):
            handle.truncate(length)
            error = TruncatedStoreError if length else NotAHopmaskStoreError
            with pytest.raises(error):
                read_stamped(path)


@pytest.mark.parametrize("tail", [b"\0", b"garbage" * 99], ids=len)
@pytest.mark.usefixtures("unparsed")
def test_a_tail_is_noticed_before_anything_is_parsed(path, counts, tail):
    write(path, counts())
    path.write_bytes(path.read_bytes() + tail)
    with pytest.raises(CorruptStoreError, match=f"{len(tail)} bytes behind its end"):
        read_stamped(path)


@pytest.mark.parametrize(("begin", "end"), [(0, HEADER), (100, HEADER), (HEADER, None), (0, None)])
@pytest.mark.usefixtures("unparsed")
def test_a_part_that_was_zeroed_is_noticed(path, counts, begin, end):
    write(path, counts())
    content = bytearray(path.read_bytes())
    content[begin:end] = bytes(len(content[begin:end]))
    path.write_bytes(content)
    with pytest.raises(StoreFileError):
        read_stamped(path)


def test_a_header_before_the_payload_of_another_generation_is_noticed(path, counts):
    write(path, counts(0))
    first = path.read_bytes()
    write(path, counts(1))
    path.write_bytes(path.read_bytes()[:HEADER] + first[HEADER:])
    with pytest.raises(
        CorruptStoreError, match=r"SHA-256 does not match its header \(generation 2"
    ):
        read_stamped(path)


@pytest.mark.parametrize(
    "content", [b"", b"x", bytes(4096), b"\x89HDF\r\n\x1a\n" + bytes(999)], ids=len
)
@pytest.mark.usefixtures("unparsed")
def test_a_file_that_begins_otherwise_is_none_of_hopmasks(path, content):
    path.write_bytes(content)
    with pytest.raises(NotAHopmaskStoreError):
        read_stamped(path)


def test_a_file_that_begins_otherwise_is_not_read_to_its_end(path, monkeypatch):
    path.write_bytes(PAYLOAD * 9)
    read = []

    def counting(handle, buffer):
        read.append(len(buffer))
        return read_into(handle, buffer)

    monkeypatch.setattr(container, "read_into", counting)
    with pytest.raises(NotAHopmaskStoreError):
        read_content(path)
    assert sum(read) <= HEADER


def test_a_file_that_shrinks_while_it_is_read_is_noticed(file, monkeypatch):
    calls = []

    def shrinking(handle, buffer):
        calls.append(handle)
        if len(calls) == 2:
            os.truncate(file, HEADER + 10)
        return read_into(handle, buffer)

    monkeypatch.setattr(container, "read_into", shrinking)
    with pytest.raises(TruncatedStoreError, match="cut short"):
        read_content(file)


def test_a_file_that_comes_in_small_steps_is_read_whole(file, monkeypatch):
    monkeypatch.setattr(container, "read_into", lambda handle, part: read_into(handle, part[:7]))
    assert read_content(file).payload == PAYLOAD


def test_a_reading_error_is_a_store_file_error(file, monkeypatch):
    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(container, "read_into", broken)
    with pytest.raises(StoreFileError, match=r"cannot be read: .*Input/output error"):
        read_content(file)


@pytest.mark.parametrize("part", [1, 99, 100, 200, 201])
def test_a_payload_is_verified_part_by_part(file, monkeypatch, part):
    monkeypatch.setattr(container, "PART", part)
    assert verified_header(file) == read_header(file)
    content = bytearray(file.read_bytes())
    for at in (HEADER, HEADER + 99, HEADER + 100, HEADER + 199):
        content[at] ^= 1
        file.write_bytes(content)
        content[at] ^= 1
        with pytest.raises(CorruptStoreError, match="payload SHA-256"):
            verified_header(file)


def test_a_file_that_shrinks_while_it_is_verified_is_noticed(file, monkeypatch):
    monkeypatch.setattr(container, "PART", 64)
    calls = []

    def shrinking(handle, buffer):
        calls.append(handle)
        if len(calls) == 3:
            os.truncate(file, HEADER + 70)
        return read_into(handle, buffer)

    monkeypatch.setattr(container, "read_into", shrinking)
    with pytest.raises(TruncatedStoreError):
        verified_header(file)


def test_a_file_that_does_not_fit_into_memory_is_too_large(file, monkeypatch):
    def none_left(content):
        if content == 2000:
            raise MemoryError
        return bytearray(content)

    file.write_bytes(Header(generation=1, length=2000, digest=bytes(32), store=bytes(16)).packed())
    with file.open("r+b") as handle:
        handle.truncate(HEADER + 2000)
    monkeypatch.setattr(container, "bytearray", none_left, raising=False)
    with pytest.raises(StoreTooLargeError, match="2000 bytes of memory"):
        read_stamped(file)


# What is no plain file


@pytest.mark.parametrize("reader", [read_header, read_content, verified_header, read_stamped])
def test_a_file_that_is_not_there_is_not_found(path, reader):
    with pytest.raises(StoreNotFoundError, match=r"store\.h5"):
        reader(path)


def test_a_pipe_is_refused_without_waiting_for_it(path):
    os.mkfifo(path)
    with pytest.raises(NotAHopmaskStoreError, match="no file but a folder or a device"):
        read_stamped(path)


@pytest.mark.parametrize("special", ["/dev/null", "/dev/zero"])
def test_a_device_is_refused(path, special):
    path.symlink_to(special)
    with pytest.raises(NotAHopmaskStoreError):
        read_stamped(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(NotAHopmaskStoreError):
        read_stamped(tmp_path)


@pytest.mark.parametrize("name", ["a\0b", "a" * 300, "loop"])
def test_a_name_that_opens_nothing_is_refused(tmp_path, name):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StoreFileError):
        read_stamped(tmp_path / name)


@pytest.mark.usefixtures("unparsed")
def test_a_sparse_file_of_terabytes_is_refused_at_once(path):
    with path.open("wb") as handle:
        handle.truncate(1 << 40)
    with pytest.raises(StoreTooLargeError, match=f"more than the {LARGEST}"):
        read_stamped(path)


@pytest.mark.usefixtures("unparsed")
def test_a_sparse_file_behind_a_sound_header_is_refused_at_once(file, monkeypatch):
    monkeypatch.setattr(container, "LARGEST", 1 << 60)
    with file.open("r+b") as handle:
        handle.truncate(1 << 40)
    with pytest.raises(CorruptStoreError, match="behind its end"):
        read_stamped(file)


def test_no_descriptor_stays_open(file, tmp_path):
    before = len([*Path("/proc/self/fd").iterdir()])
    read_content(file)
    for broken in (tmp_path, tmp_path / "none"):
        with pytest.raises(StoreFileError):
            read_content(broken)
    file.write_bytes(b"\x89HOPMASK")
    with pytest.raises(StoreFileError):
        read_content(file)
    assert len([*Path("/proc/self/fd").iterdir()]) == before
