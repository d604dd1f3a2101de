"""What a fault is."""

from typing import NamedTuple


class Fault(NamedTuple):
    """A fault: in this file, `old` becomes `new`.

    Tests of the module run first, and those of `also`, further files of tests/hopmask.
    """

    name: str
    file: str
    old: str
    new: str
    also: tuple[str, ...] = ()
