"""The sidecar: it notes how a writer left the file, and copies of it note nothing."""

import shutil

import pytest

from hopmask.storage.sidecar import Sidecar

SEALS = [bytes([number]) * 32 for number in range(3)]


@pytest.fixture
def sidecar(path):
    return Sidecar(path)


def test_nothing_is_noted_at_first(sidecar):
    assert not sidecar.noted(SEALS[0])
    sidecar.sign()
    assert not sidecar.noted(SEALS[0])


def test_one_or_two_seals_are_noted(sidecar):
    sidecar.note(*SEALS[:2])
    assert [sidecar.noted(seal) for seal in SEALS] == [True, True, False]
    sidecar.note(SEALS[2])
    assert [sidecar.noted(seal) for seal in SEALS] == [False, False, True]


def test_notes_and_signatures_do_not_touch_each_other(sidecar):
    sidecar.sign()
    number = sidecar.signature()
    sidecar.note(SEALS[0])
    assert sidecar.signature() == number > 0
    sidecar.sign()
    assert sidecar.noted(SEALS[0])


def test_the_size_never_changes(sidecar):
    sizes = []
    for seals in (SEALS[:2], SEALS[2:]):
        sidecar.note(*seals)
        sizes.append(sidecar.place.stat().st_size)
    assert sizes == [213, 213]


def test_a_copy_of_the_sidecar_notes_nothing(sidecar, tmp_path):
    sidecar.sign()
    sidecar.note(SEALS[0])
    shutil.copy2(sidecar.place, tmp_path / "copy.h5.lock")
    assert not Sidecar(tmp_path / "copy.h5").noted(SEALS[0])


@pytest.mark.parametrize("text", [b"", b"\xff" * 300, b"1 2", b"\n" * 213])
def test_any_other_text_notes_nothing(path, text):
    path.with_name(path.name + ".lock").write_bytes(text)
    assert not Sidecar(path).noted(SEALS[0])
