"""Keys: ±1 bits that stand for a task's number, made from a seed on demand. No list is kept."""

import numpy as np
import torch
from torch import Tensor

from hopmask._checks import check_whole

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LEAST = 32  # key bits; fewer would not separate a handful of tasks


def key_bits(seed: int, tasks: Tensor, bits: int) -> Tensor:
    """Key of each task: pseudo-random spins that depend on the seed and the task's number alone.

    Any key is made on demand; a shorter key is the beginning of a longer one.

    Args:
        seed: the memory's seed.
        tasks: task numbers, integer (k,).
        bits: key bits.

    Returns:
        ±1 float32, (k, bits).

    Example:
        >>> bool((key_bits(0, torch.tensor([3]), 64) == key_bits(0, torch.tensor([3]), 64)).all())
        True

    Source:
        Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators" (splitmix64).
    """
    rows = tasks.cpu().numpy().astype(np.uint64)
    words = random_words(seed, rows, -(-bits // 64), domain=1)
    unpacked = np.unpackbits(words.astype("<u8").view(np.uint8), axis=1)[:, :bits]
    return torch.from_numpy(unpacked.astype(np.float32) * 2 - 1)


def random_words(seed: int, rows: np.ndarray, count: int, *, domain: int) -> np.ndarray:
    """uint64 (rows, count): word w of row r is splitmix64((2²⁰ r + w + 1) · φ64 + seed').

    Other domains of one seed give unrelated words. They are the same on every machine and in every
    version, as memories on disk rely on them.
    """
    (offset,) = np.random.SeedSequence([seed, domain]).generate_state(1, np.uint64)
    index = rows.astype(np.uint64)[:, None] << np.uint64(20)
    word = (index + np.arange(1, count + 1, dtype=np.uint64)) * _GOLDEN + offset
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = word ^ (word >> np.uint64(31))
    return mixed


class Keys:
    """The keys of one memory: the first bits of its joint vector.

    Args:
        seed: the memory's seed.
        bits: key bits.

    Raises:
        ConfigError: fewer than 32 bits.

    Example:
        >>> Keys(seed=0, bits=64).of(torch.arange(3)).shape
        torch.Size([3, 64])
    """

    def __init__(self, *, seed: int, bits: int) -> None:
        check_whole(bits, "key_bits", least=_LEAST)
        self.seed, self.bits = seed, bits
        self.where = slice(0, bits)

    def of(self, tasks: Tensor) -> Tensor:
        """Keys of tasks (k,): ±1, (k, bits)."""
        return key_bits(self.seed, tasks, self.bits)

    def nearest(self, states: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Of joint states (b, d): which key of (k, bits) is nearest (b,), and its overlap (b,).

        The overlap is negative where the negative of the key is what is near.
        """
        overlaps = states[:, self.where] @ keys.to(states).T / self.bits
        nearest = overlaps.abs().argmax(-1)
        return nearest, overlaps.gather(1, nearest[:, None])[:, 0]
