"""Digest code: one task's masks, extras and a digest that proves them, as bits of one pattern."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from hopmask._checks import is_tensor, kind_of
from hopmask.errors import ConfigError, MaskError, unknown_name
from hopmask.patterns.layout import Layout, Masks, Size

_DIGEST = 64  # bits
_HALF = 16  # bits of an extra value


class DigestCode:
    """The pattern [masks of all layers | extras, 16 bits each | digest, 64 bits] of a task.

    Extras are real values that belong to a task beside its masks, such as statistics of
    normalisation, as IEEE half floats, most significant bit first. The digest is BLAKE2b of seed,
    task number, masks and extras: a recalled pattern that holds its own digest is right, but for a
    chance of 2⁻⁶⁴.

    Args:
        sizes: name of each layer -> number of bits, or shape, of its mask.
        extras: name of each extra -> number of values, or shape.
        seed: the memory's seed.

    Attributes:
        layout: of the masks, (bits,).
        extras: of the extras, (values,); None where there are none.

    Raises:
        ConfigError: sizes that nothing can be built from, or an extra named like a mask.

    Example:
        >>> code = DigestCode({"hidden": 100}, extras={"mean": 3}, seed=0)
        >>> body = code.layout.bits({"hidden": torch.ones(100)})
        >>> pattern = code.pattern(7, body, {"mean": torch.tensor([0.5, 1, 2])})
        >>> pattern.shape, code.holds(torch.tensor([7, 8]), pattern.expand(2, -1))
        (torch.Size([212]), tensor([ True, False]))
        >>> code.extras_of(pattern)
        {'mean': tensor([0.5000, 1.0000, 2.0000])}

    Source:
        BLAKE2: Aumasson et al. 2013.
    """

    def __init__(
        self, sizes: Mapping[str, Size], *, extras: Mapping[str, Size] | None = None, seed: int
    ) -> None:
        self.layout = Layout(sizes, head=0)
        self.extras = Layout(extras, head=0) if extras else None
        if both := sorted({*sizes} & {*(extras or {})}):
            raise ConfigError(f"extra {both[0]!r} is named like a mask: give it another name")
        self.seed = seed
        self.bits = self.layout.size
        self.values = self.extras.size if self.extras else 0
        self.size = self.bits + _HALF * self.values + _DIGEST

    def pattern(self, task: int, body: Tensor, extras: Mapping[str, Tensor] | None) -> Tensor:
        """What is stored for a task: bool (size,).

        Args:
            task: number.
            body: its masks, from `layout.bits`, bool (bits,).
            extras: name -> values; all that were declared.

        Raises:
            MaskError: extras that are missing, misnamed, of another shape, not finite, or beyond
                the range of half floats.
        """
        halves = self.halves(extras).to(body.device)
        rest = torch.cat([body, _unpacked(halves)])
        (digest,) = self._digests([task], rest[None])
        return torch.cat([rest, digest.to(body.device)])

    def halves(self, extras: Mapping[str, Tensor] | None) -> Tensor:
        """Extras as half floats, (values,); MaskError where they do not fit."""
        if self.extras is None:
            if extras:
                raise MaskError(
                    f"the memory has no extras, got {list(extras)}: declare them with extras="
                )
            return torch.zeros(0, dtype=torch.float16, device="cpu")
        if extras is not None and not isinstance(extras, Mapping):
            raise MaskError(f"extras must map names to values, got {type(extras).__name__}")
        given = dict(extras or {})
        parts = []
        for name in given:
            if name not in self.extras.shapes:
                raise MaskError(unknown_name("extra", name, self.extras.shapes))
        for name, shape in self.extras.shapes.items():
            if name not in given:
                raise MaskError(f"extra '{name}' is missing: give {list(self.extras.shapes)}")
            value = given[name]
            if not is_tensor(value) or not value.is_floating_point():
                raise MaskError(
                    f"extra '{name}' must be a dense floating tensor, got {kind_of(value)}"
                )
            if tuple(value.shape) != shape:
                raise MaskError(
                    f"extra '{name}' has shape {tuple(value.shape)}, the memory holds {shape}"
                )
            half = value.detach().to(torch.float16).flatten()
            if not bool(torch.isfinite(half).all()):
                raise MaskError(
                    f"extra '{name}' is not finite in 16 bits (at most 65504): it is stored as "
                    "half floats"
                )
            parts.append(half)
        return torch.cat(parts)

    def holds(self, tasks: Tensor, patterns: Tensor) -> Tensor:
        """Which patterns (b, size) hold the digest of a task (b,) and of their other bits; (b,)."""
        digests = self._digests(tasks.tolist(), patterns[:, : self.size - _DIGEST])
        return (patterns[:, -_DIGEST:].cpu() == digests).all(-1).to(patterns.device)

    def masks_of(self, patterns: Tensor) -> Masks:
        """Masks of patterns (..., size), name -> bool (..., *shape)."""
        return self.layout.split(patterns)

    def extras_of(self, patterns: Tensor) -> dict[str, Tensor]:
        """Extras of patterns (..., size), name -> float32 (..., *shape)."""
        return {} if self.extras is None else self.extras.split(self.values_of(patterns))

    def values_of(self, patterns: Tensor) -> Tensor:
        """The same in a row, float32 (..., values)."""
        bits = patterns[..., self.bits : self.size - _DIGEST]
        return _packed(bits).float()

    def _digests(self, tasks: list[int], rest: Tensor) -> Tensor:
        """Digests of tasks and all bits but the digest, bool (b, 64), on the CPU."""
        rows = np.packbits(rest.cpu().numpy(), axis=-1)
        found = bytearray()
        for task, row in zip(tasks, rows, strict=True):
            made = hashlib.blake2b(digest_size=_DIGEST // 8, person=b"hopmask task")
            made.update(self.seed.to_bytes(8, "little") + task.to_bytes(8, "little"))
            made.update(row.data)
            found += made.digest()
        bits = np.unpackbits(np.frombuffer(found, np.uint8)).reshape(len(tasks), _DIGEST)
        return torch.from_numpy(bits.astype(np.bool_))


def _unpacked(halves: Tensor) -> Tensor:
    """Half floats (v,) as bits, bool (16 v,)."""
    words = halves.cpu().numpy().astype("<f2").view("<u2").astype(">u2").view(np.uint8)
    return torch.from_numpy(np.unpackbits(words).astype(np.bool_)).to(halves.device)


def _packed(bits: Tensor) -> Tensor:
    """Bits (..., 16 v) as half floats (..., v)."""
    words = np.packbits(bits.cpu().numpy(), axis=-1)
    halves = np.ascontiguousarray(words).view(">u2").astype("<u2").view("<f2")
    shaped = halves.reshape(*bits.shape[:-1], bits.shape[-1] // 16)
    return torch.from_numpy(shaped.copy()).to(bits.device)
