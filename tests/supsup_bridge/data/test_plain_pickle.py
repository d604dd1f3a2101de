"""Pickles of plain data: arrays as they were, and nothing else is ever looked up."""

import os
import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from supsup_bridge import DataError
from supsup_bridge.data.plain_pickle import plain

# {'data': two rows of three bytes, 'labels': [1, 2]} as Python 2 and its numpy wrote it, protocol 2
OF_PYTHON_2 = (
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\n"
    b"q\x04K\x00\x85U\x01b\x87Rq\x05(K\x01K\x02K\x03\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87R"
    b"q\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06\x00\x7f\x80\x81\xfe"
    b"\xfftbU\x06labels]q\x08(K\x01K\x02eu."
)


def test_a_file_of_python_2_gives_its_array_and_labels() -> None:
    held = plain(OF_PYTHON_2, "a file")
    assert held[b"labels"] == [1, 2]
    assert held[b"data"].tolist() == [[0, 127, 128], [129, 254, 255]]
    assert held[b"data"].dtype == np.uint8


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_as_they_were(protocol: int, order: Any) -> None:
    array = np.asarray(np.arange(12, dtype=np.uint8).reshape(3, 4), order=order)
    held = plain(pickle.dumps({"data": array}, protocol=protocol), "a file")
    assert np.array_equal(held["data"], array)


class _Calls:
    """Its pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("depth", [0, 1])
def test_a_function_that_a_pickle_names_is_not_called(depth: int, tmp_path: Path) -> None:
    value: Any = _Calls(os.mkdir, str(tmp_path / "made"))
    with pytest.raises(DataError, match=r"train.*mkdir"):
        plain(pickle.dumps([value] if depth else value, protocol=2), "train")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "value",
    [
        Fraction(1, 2),
        {"data": np.zeros(3)},
        {"data": np.array([{}], dtype=object)},
        {"data": np.zeros(2, np.dtype([("a", np.uint8)]))},
        np.uint8,
        np.random.default_rng(0),
    ],
    ids=["a class", "floats", "objects", "records", "a type", "a generator"],
)
def test_anything_else_is_refused_by_name(value: Any) -> None:
    with pytest.raises(DataError, match=r"^train is no whole pickle of plain arrays"):
        plain(pickle.dumps(value, protocol=3), "train")


@pytest.mark.parametrize(
    "instruction",
    [
        b"cnumpy\nndarray\n}b.",  # sets what the class of arrays is made of
        b"cnumpy\nndarray\n(N}tb.",
        b"cbuiltins\neval\n.",
        b"cnumpy.core.multiarray\nscalar\n.",
    ],
    ids=["state of the class", "attributes of the class", "eval", "scalar"],
)
def test_hostile_instructions_are_refused(instruction: bytes) -> None:
    with pytest.raises(DataError, match="train"):
        plain(b"\x80\x02" + instruction, "train")
    assert plain(OF_PYTHON_2, "a file")[b"data"].shape == (2, 3)  # nothing of it stayed


@pytest.mark.parametrize("length", range(len(OF_PYTHON_2)))
def test_a_truncated_pickle_is_refused_by_name(length: int) -> None:
    with pytest.raises(DataError, match="train"):
        plain(OF_PYTHON_2[:length], "train")


def test_an_array_of_fewer_bytes_than_its_shape_says_is_refused() -> None:
    with pytest.raises(DataError, match="6 bytes"):
        plain(OF_PYTHON_2.replace(b"K\x02K\x03\x86", b"K\x02K\x04\x86"), "train")


def test_a_dict_that_holds_itself_many_times_over_is_read_at_once() -> None:
    inside: dict[str, Any] = {}
    for _ in range(60):
        inside = {"one": inside, "other": inside}
    assert plain(pickle.dumps(inside), "a file").keys() == {"one", "other"}
