"""How full a memory is: measured on memories it gives back, not on formulas alone."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What a memory holds, and how safely.

    Attributes:
        rule: name of the learning rule.
        tasks: tasks stored.
        spins: d, size of the joint vector.
        load: α = tasks / d.
        nbytes: bytes of the state.
        packed_nbytes: bytes of a plain list of the same masks, one bit each.
        sampled: tasks that were recalled by their number for this report.
        recalled: share of them that came back as verified memories; where some were forgotten, an
            estimate, since the memory does not know which.
        recalled_by_half: the same by half of their keys: the first to fall as the memory fills.
        unstable: of the sampled task that is worst off, the spins that the energy alone would flip
            and the check bits mend; they mend 32 at most.

    Example:
        >>> import torch
        >>> from hopmask import MaskMemory
        >>> memory = MaskMemory({"hidden": 256})
        >>> memory.store({"hidden": torch.arange(256) % 3 == 0})
        0
        >>> memory.report().recalled
        1.0

    Source:
        Stability of a spin, z_i h_i > 0: Gardner 1988.
    """

    rule: str
    tasks: int
    spins: int
    load: float
    nbytes: int
    packed_nbytes: int
    sampled: int
    recalled: float
    recalled_by_half: float
    unstable: int

    def __str__(self) -> str:
        return (
            f"{self.tasks} tasks in {self.spins} spins (rule '{self.rule}', load {self.load:.4f}): "
            f"{self.recalled:.0%} of {self.sampled} recalled by number, "
            f"{self.recalled_by_half:.0%} by half of their keys, at most {self.unstable} unstable "
            "spins"
        )
