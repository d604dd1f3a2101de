"""Random streams: one seed of a run, and an unrelated generator for each purpose and task."""

import zlib

import numpy as np
import torch


def stream_seed(seed: int, purpose: str, *index: int) -> int:
    """A 63-bit seed for one purpose; other purposes, indices and seeds give unrelated ones.

    torch's CPU generator takes the low 32 bits: among n streams two coincide with a chance of about
    n²/2³³, one in a thousand for 2500.

    Args:
        seed: the run's seed, >= 0.
        purpose: what the numbers are for: "network", "map", "scores", ...
        index: task, batch or other numbers that tell streams of one purpose apart.

    Example:
        >>> stream_seed(0, "network") == stream_seed(0, "scores", 0)
        False

    Source:
        numpy's SeedSequence (O'Neill 2015): https://numpy.org/doc/stable/reference/random/parallel
    """
    key = (zlib.crc32(purpose.encode()), *index)
    (word,) = np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)
    return int(word >> np.uint64(1))


def stream(seed: int, purpose: str, *index: int) -> torch.Generator:
    """A CPU generator seeded by `stream_seed`.

    Example:
        >>> torch.rand(1, generator=stream(0, "network")).shape
        torch.Size([1])
    """
    return torch.Generator("cpu").manual_seed(stream_seed(seed, purpose, *index))


def shuffled(count: int, generator: torch.Generator) -> torch.Tensor:
    """The numbers 0 ... count − 1 in random order, on the generator's device.

    Example:
        >>> sorted(shuffled(3, stream(0, "order")).tolist())
        [0, 1, 2]
    """
    return torch.randperm(count, generator=generator, dtype=torch.int64, device=generator.device)
