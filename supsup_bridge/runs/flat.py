"""Settings as rows."""

from collections.abc import Iterator, Mapping
from typing import Any


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Settings as rows, those inside others by a dotted name; None is a dash.

    Example:
        >>> list(flat({"bits": None, "training": {"rate": 0.01}}))
        [('bits', '–'), ('training.rate', '0.01')]
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield before + name, "–" if value is None else str(value)
