"""How a soak is watched from outside: memory of its processes over time, and their reports."""

import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

_PAGE = os.sysconf("SC_PAGE_SIZE")
_PERCENTILES = (50, 95, 99, 100)
KEPT = 20  # messages that are shown


def resident(process: int) -> float:
    """Megabytes of a process that are in memory (Linux)."""
    pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    return int(pages) * _PAGE / 1e6


@dataclass
class Memory:
    """Resident megabytes of one process, over seconds."""

    times: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)

    def sample(self, process: int) -> None:
        """Once more."""
        self.times.append(time.monotonic())
        self.sizes.append(resident(process))

    def figures(self) -> dict[str, float]:
        """Medians of the first and of the last quarter, their ratio, and the slope over all."""
        quarter = max(1, len(self.sizes) // 4)
        first, last = np.median(self.sizes[:quarter]), np.median(self.sizes[-quarter:])
        hours = (np.array(self.times) - self.times[0]) / 3600
        slope = np.polyfit(hours, self.sizes, 1)[0] if len(set(hours)) > 1 else 0.0
        return {
            "first_quarter_mb": round(float(first), 1),
            "last_quarter_mb": round(float(last), 1),
            "most_mb": round(max(self.sizes), 1),
            "last_over_first": round(float(last / first), 4),
            "slope_mb_per_hour": round(float(slope), 2),
        }


def reports(paths: Iterable[Path]) -> dict[str, Any]:
    """What the processes reported: numbers of operations, their latencies, and what was wrong."""
    times: dict[str, list[float]] = {}
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for path in paths:
        for line in path.read_text().splitlines():
            kind, _, value = line.rpartition(" ")
            if line.startswith("! "):
                wrong.append(f"{path.stem}: {line[2:]}")
            elif value.startswith("x"):
                counts[kind] += int(value[1:])
            else:
                times.setdefault(kind, []).append(float(value))
    return {
        "operations": {**{kind: len(times[kind]) for kind in sorted(times)}, **counts},
        "milliseconds": {
            kind: {
                "max" if share == 100 else f"{share} %": round(1000 * float(value), 2)
                for share, value in zip(
                    _PERCENTILES, np.percentile(times[kind], _PERCENTILES), strict=True
                )
            }
            for kind in sorted(times)
        },
        "wrong": len(wrong),
        "messages": wrong[:KEPT],
    }
