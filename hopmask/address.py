"""Addresses: key bits from a task's number, content bits from its data. No list is kept here."""

import numpy as np
import torch
from torch import Tensor

from hopmask.errors import ConfigError, CueError

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


class Addresses:
    """The head [key | content address] of a memory's joint vector: what is stored, what asks.

    Args:
        seed: the memory's seed.
        key_bits: bits that stand for a task's number.
        signature_bits: bits of the content address; 0 for none.

    Raises:
        ConfigError: numbers of bits that nothing can be built from.

    Example:
        >>> Addresses(seed=0, key_bits=64, signature_bits=0).head(task=3, signature=None).shape
        torch.Size([64])
    """

    def __init__(self, *, seed: int, key_bits: int, signature_bits: int) -> None:
        for name, bits, least in (("key", key_bits, 32), ("signature", signature_bits, 0)):
            if isinstance(bits, bool) or not isinstance(bits, int) or bits < least:
                raise ConfigError(f"{name}_bits must be at least {least}, got {bits!r}")
        self.seed, self.key_bits, self.signature_bits = seed, key_bits, signature_bits
        self.width = key_bits + signature_bits
        self.key = slice(0, key_bits)
        self.content = slice(key_bits, self.width)
        self.signature_length = 0  # of every signature; 0 until there is one
        self._content = ContentAddress(seed=seed, bits=signature_bits)

    def keys(self, tasks: Tensor) -> Tensor:
        """Keys of tasks (k,): ±1, (k, key_bits)."""
        return key_bits(self.seed, tasks, self.key_bits)

    def nearest(self, states: Tensor, tasks: int) -> tuple[Tensor, Tensor]:
        """Of joint states (b, d): the task below `tasks` of nearest key (b,), and its overlap (b,).

        The overlap is negative where the negative of the key is what is near.
        """
        overlaps = states[:, self.key] @ self.keys(torch.arange(tasks)).to(states).T / self.key_bits
        nearest = overlaps.abs().argmax(-1)
        return nearest, overlaps.gather(1, nearest[:, None])[:, 0]

    def head(self, task: int, signature: Tensor | None) -> Tensor:
        """±1 bits (width,) to store with a task; CueError for a signature that does not fit."""
        if signature is None:  # the key goes on: as good as random, as no data asks for it
            return key_bits(self.seed, torch.tensor([task]), self.width)[0]
        self._check(signature)
        if signature.ndim != 1:
            raise CueError(f"store takes one signature (n,), got shape {tuple(signature.shape)}")
        bits = self._content.bits_of(signature)
        return torch.cat([self.keys(torch.tensor([task]))[0].to(bits), bits])

    def cue(self, signature: Tensor, mean: Tensor, count: int) -> Tensor:
        """Graded address bits of signatures (n,) or (b, n), centred on what is stored.

        p − (1 − 1/k) μ (p·μ) / (μ·μ), with μ the mean (d,) of the k joint vectors stored.
        """
        self._check(signature)
        if self.signature_length == 0:
            raise CueError("no task was stored with a signature: give one to store(...)")
        bits, mean = self._content.project(signature).to(mean), mean[self.content]
        along = (bits @ mean) / mean.square().sum().clamp_min(1e-30)
        return bits - (1 - 1 / count) * along[..., None] * mean

    def _check(self, signature: Tensor) -> None:
        if self.signature_bits == 0:
            raise CueError("this memory has no content address: build it with signature_bits=512")
        if not isinstance(signature, Tensor) or signature.ndim == 0:
            raise CueError("a signature must be a floating tensor of shape (n,) or (batch, n)")
        if self.signature_length not in (0, signature.shape[-1]):
            raise CueError(
                f"the memory's signatures have length {self.signature_length}, got "
                f"{signature.shape[-1]}: compute them in the same way for every store and recall"
            )
