"""Damage: what is wrong with a cue, so that recall has something to mend."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hopmask.errors import ConfigError, MaskError
from hopmask.patterns.spins import check_spins

KINDS = ("flips", "erasures", "block")


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A share of the spins of each cue is wrong or unknown.

    - `flips`: so many spins, at random places, are turned;
    - `erasures`: so many, at random places, are unknown, 0;
    - `block`: so many that follow one another are unknown, as where a layer is lost.

    Args:
        kind: one of these.
        share: of the spins, in [0, 1]; of d spins, round(share · d) are damaged in every cue.

    Raises:
        ConfigError: another kind, or a share outside [0, 1].

    Example:
        >>> cue = Damage(kind="flips", share=0.25).of(torch.ones(1, 8), torch.Generator())
        >>> int((cue == -1).sum())
        2

    Source:
        Flips and erasures as in a binary symmetric and a binary erasure channel: Shannon 1948;
        Elias 1955.
    """

    kind: str = "flips"
    share: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"unknown damage {self.kind!r}: known are {', '.join(KINDS)}")
        if not isinstance(self.share, int | float) or not 0 <= self.share <= 1:
            raise ConfigError(f"a share of damaged spins lies in [0, 1], got {self.share!r}")

    def __str__(self) -> str:
        return f"{100 * self.share:.4g}% {self.kind}" if self.share else "undamaged"

    def of(self, patterns: Tensor, generator: torch.Generator) -> Tensor:
        """Cues made of ±1 patterns (k, d), damaged each in places of its own; (k, d).

        Raises:
            MaskError: patterns of another shape or value.
        """
        if patterns.numel():
            check_spins(patterns, name="patterns")
        if patterns.ndim != 2:
            raise MaskError(f"patterns must have shape (k, d), got {tuple(patterns.shape)}")
        rows, size = patterns.shape
        number = round(self.share * size)
        if self.kind == "block":
            first = torch.randint(
                size - number + 1, (rows, 1), generator=generator, device=generator.device
            )
            places = first + torch.arange(number, device=generator.device)
        else:
            device, kind = generator.device, torch.float32
            coins = torch.rand(rows, size, generator=generator, device=device, dtype=kind)
            places = coins.argsort(-1)[:, :number]
        places = places.to(patterns.device)
        if self.kind == "flips":
            return patterns.scatter(-1, places, -patterns.gather(-1, places))
        return patterns.scatter(-1, places, 0.0)
