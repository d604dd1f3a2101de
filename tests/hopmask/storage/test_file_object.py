"""Files in memory for HDF5: a view that takes no copy, and a file of what was written alone."""

import numpy as np
import pytest

from hopmask.errors import StoreFileError
from hopmask.storage import image
from hopmask.storage.file_object import Sparse, Window


@pytest.fixture
def window():
    return Window(memoryview(bytes(range(10))))


@pytest.fixture
def sparse():
    file = Sparse()
    for at, part in ((4, b"abcd"), (100, b"end"), (6, b"XY"), (2, b"_")):
        file.seek(at)
        assert file.write(part) == len(part)
    return file


def test_a_window_is_read_from_any_place(window):
    assert window.seek(3) == window.tell() == 3
    assert window.read(4) == bytes(range(3, 7))


def test_a_window_ends_where_its_bytes_end(window):
    assert window.seek(0, 2) == 10


@pytest.mark.parametrize(("at", "count"), [(0, 11), (9, 2), (10, 1), (2**62, 1)])
def test_nothing_is_read_from_behind_the_end_of_a_window(window, at, count):
    window.seek(at)
    with pytest.raises(OSError, match="cannot be read"):
        window.readinto(bytearray(count))


def test_no_more_than_a_megabyte_is_read_from_a_window_at_once():
    window = Window(memoryview(bytes(3 << 20)))
    assert window.readinto(bytearray(1 << 20)) == 1 << 20
    with pytest.raises(OSError, match="cannot be read"):
        window.readinto(bytearray((1 << 20) + 1))


def test_an_image_of_megabytes_of_names_is_refused(path, imaged):
    def make(file):
        for i in range(40):
            file["a" * 60_000 + str(i)] = np.arange(3)

    with pytest.raises(StoreFileError):
        image.parse(path, memoryview(imaged(make)))


def test_a_sparse_file_holds_what_was_written_last_and_zeros(sparse):
    assert sparse.between(0, 12) == b"\0\0_\0abXY\0\0\0\0"
    assert sparse.between(5, 7) == b"bX"
    assert sparse.between(98, 103) == b"\0\0end"
    assert sparse.between(7, 7) == b""


def test_a_sparse_file_ends_where_it_was_written_or_cut_to(sparse):
    assert sparse.seek(0, 2) == sparse.size == 103
    assert sparse.truncate(2**40) == sparse.size == 2**40
    assert sparse.between(2**40 - 4, 2**40) == bytes(4)
