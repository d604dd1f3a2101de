"""Addresses: key bits from a task's number, content bits from its data. Nothing is stored here."""

import numpy as np
import torch
from torch import Tensor

from hopmask.errors import CueError

_NO_VARIATION = 1e-6  # spread of a vector, relative to its largest entry, that is rounding
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def key_bits(seed: int, tasks: Tensor, bits: int, *, domain: int = 1) -> Tensor:
    """Key of each task: pseudo-random spins that depend on the seed and the task's number alone.

    Word w of task t is splitmix64((2²⁰ t + w + 1) · φ64 + seed'), so any key is made on demand and
    no list of keys exists; a shorter key is the beginning of a longer one.

    Args:
        seed: the memory's seed.
        tasks: task numbers, integer (k,).
        bits: key bits.
        domain: other domains of one seed give unrelated bits.

    Returns:
        ±1 float32, (k, bits).

    Example:
        >>> bool((key_bits(0, torch.tensor([3]), 64) == key_bits(0, torch.tensor([3]), 64)).all())
        True

    Source:
        Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators" (splitmix64).
    """
    (offset,) = np.random.SeedSequence([seed, domain]).generate_state(1, np.uint64)
    index = tasks.cpu().numpy().astype(np.uint64)[:, None] << np.uint64(20)
    word = (index + np.arange(1, -(-bits // 64) + 1, dtype=np.uint64)) * _GOLDEN + offset
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word ^= word >> np.uint64(31)
    unpacked = np.unpackbits(word.astype("<u8").view(np.uint8), axis=1)[:, :bits]
    return torch.from_numpy(unpacked.astype(np.float32) * 2 - 1)


class ContentAddress:
    """Bits of a real vector: its fixed random projection, of which `bits_of` keeps the sign.

    p = R (s − mean(s)) / ‖s − mean(s)‖ with R of ±1 from the same generator as the keys. The stored
    bits depend on the vector alone, never on what else was stored. Centring on the memories happens
    at recall, where the running mean of the stored bits is at hand. R is no state: it is made from
    the seed when a vector comes, and kept for the next one of that length.

    Args:
        seed: the memory's seed.
        bits: number of address bits.

    Example:
        >>> address = ContentAddress(seed=0, bits=8)
        >>> address.bits_of(torch.arange(5.0)).shape
        torch.Size([8])

    Source:
        Charikar 2002, "Similarity estimation techniques from rounding algorithms"; ±1 projections:
        Achlioptas 2003.
    """

    def __init__(self, *, seed: int, bits: int) -> None:
        self.seed, self.bits = seed, bits
        self._map = torch.zeros(
            0, bits, dtype=torch.float32
        )  # R, made anew when a vector of another length comes

    def project(self, vector: Tensor) -> Tensor:
        """p of vectors (..., n): (..., bits), of about unit variance a bit.

        Raises:
            CueError: not a finite, floating vector, or one without any variation.
        """
        if not isinstance(vector, Tensor) or vector.ndim == 0 or not vector.is_floating_point():
            raise CueError("a signature must be a floating tensor of shape (n,) or (batch, n)")
        exact = vector.detach().double()
        if vector.numel() == 0 or not bool(torch.isfinite(exact).all()):
            raise CueError("the signature is empty or holds NaN or infinity")
        largest = exact.abs().amax(-1, keepdim=True)
        exact = exact / largest.clamp_min(torch.finfo(torch.float64).tiny)
        centred = exact - exact.mean(-1, keepdim=True)
        norm: Tensor = centred.norm(dim=-1, keepdim=True)
        if not bool((norm > _NO_VARIATION * exact.shape[-1] ** 0.5).all()):
            raise CueError("the signature is constant: it tells no task from another")
        return (centred / norm).float() @ self._matrix(vector.shape[-1]).to(vector.device)

    def bits_of(self, vector: Tensor) -> Tensor:
        """±1 bits of vectors (..., n): (..., bits); see `project` for what is refused."""
        return torch.where(self.project(vector) >= 0, 1.0, -1.0)

    def _matrix(self, length: int) -> Tensor:
        if self._map.shape[0] != length:
            self._map = key_bits(self.seed, torch.arange(length), self.bits, domain=2)
        return self._map
