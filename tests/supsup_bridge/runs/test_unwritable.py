"""What is said of a place that a run cannot write to."""

import errno
from pathlib import Path

import pytest

from hopmask import ConfigError
from hopmask.errors import StoreFileError
from supsup_bridge.runs.unwritable import unwritable


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES])
def test_a_wrong_place_is_bad_input(number: int) -> None:
    error = unwritable(Path("out"), OSError(number, "why"), remedy="another")
    assert type(error) is ConfigError


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_full_disk_is_no_bad_input(number: int) -> None:
    error = unwritable(Path("out"), OSError(number, "why"), remedy="make room")
    assert type(error) is StoreFileError
    assert all(part in str(error) for part in ("out", "why", "make room"))
