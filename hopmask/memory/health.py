"""How full a memory is: measured on memories it gives back, not on formulas alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hopmask.couplings.base import Couplings
from hopmask.patterns.check_bits import MENDED
from hopmask.patterns.joint_code import JointCode
from hopmask.recall.descent import descend
from hopmask.recall.dynamics import SETTLE
from hopmask.recall.landscape import Landscape

_OLDEST = 4  # tasks, from the first, that are recalled after each store


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
        recalled_by_half: the same by half of their keys: the first to fall as the memory fills;
            None for hub couplings, which hold every task until they are full.
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
    recalled_by_half: float | None
    unstable: int

    def __str__(self) -> str:
        half = self.recalled_by_half
        return (
            f"{self.tasks} tasks in {self.spins} spins (rule '{self.rule}', load {self.load:.4f}): "
            f"{self.recalled:.0%} of {self.sampled} recalled by number, "
            f"{'' if half is None else f'{half:.0%} by half of their keys, '}"
            f"at most {self.unstable} unstable spins"
        )


def report_of(
    couplings: Couplings, code: JointCode, *, sample: int, numbered: int, nbytes: int
) -> LoadReport:
    """Recall some tasks by their number and measure how safely they are held.

    Args:
        couplings: not empty.
        code: of its patterns.
        sample: how many tasks, spread evenly.
        numbered: how many task numbers were given out.
        nbytes: of the whole memory's state.
    """
    tasks = torch.linspace(
        0, numbered - 1, min(sample, numbered), dtype=torch.float32, device="cpu"
    )
    tasks = tasks.round().long()
    state, held, _ = recalled_by_key(couplings, code, tasks, bits=code.keys.bits, numbered=numbered)
    _, easily, _ = recalled_by_key(
        couplings, code, tasks, bits=code.keys.bits // 2, numbered=numbered
    )
    unstable = couplings.unstable(state[held])
    of_all = numbered / couplings.count  # numbers that were forgotten are among the sample
    return LoadReport(
        rule=couplings.rule_name,
        tasks=couplings.count,
        spins=couplings.size,
        load=couplings.load,
        nbytes=nbytes,
        packed_nbytes=couplings.count * -(-code.bits // 8),
        sampled=len(tasks),
        recalled=float((held.double().mean() * of_all).clamp(max=1)),
        recalled_by_half=float((easily.double().mean() * of_all).clamp(max=1)),
        unstable=int(unstable.max()) if len(unstable) else 0,
    )


def overload(
    couplings: Couplings, code: JointCode, *, task: int, pattern: Tensor, numbered: int
) -> str:
    """What to warn of after a task was stored as `pattern` (1, d); "" while all is well.

    The newest task is recalled, and, unless some were forgotten and it is not known which, the
    oldest, under storkey the first to fade where masks overlap, and another one at each store. One
    is lost, or about to be: half of its key no longer recalls it, or mending had to reach beyond an
    eighth of the spins that it can mend.
    """
    wrong = int(couplings.unstable(pattern)[0])
    full = lost = ""
    if wrong > MENDED:
        lost = f"task {task} is stored, but {wrong} of its spins would flip"
    elif couplings.count > 1:
        earlier = [*range(min(task, _OLDEST)), task * 40503 % 65521 % max(task, 1)]
        sample = torch.tensor(
            [*(earlier if numbered == couplings.count else []), task], device="cpu"
        )
        bits = code.keys.bits
        _, held, reach = recalled_by_key(couplings, code, sample, bits=bits // 2, numbered=numbered)
        if not bool(held.all()):
            weak = int(sample[held.logical_not().cpu()][0])
            full = f"task {weak} is recalled by its number, but not by half of its key"
            _, held, reach = recalled_by_key(couplings, code, sample, bits=bits, numbered=numbered)
        if not bool(held.all()):
            lost = f"task {int(sample[held.logical_not().cpu()][0])} is no longer recalled"
        if not full and int(reach.max()) > MENDED // 8:
            weak, far = int(sample[int(reach.argmax())]), int(reach.max())
            full = (
                f"task {weak} is recalled by mending as far as its {far} least firm spins, and the "
                f"check bits mend {MENDED}"
            )
    if not lost and not full:
        return ""
    rule = couplings.rule_name
    remedy = "a larger memory" + ("" if rule == "projection" else " or rule 'projection'")
    return (
        f"the memory is {'too full' if lost else 'full'} ({couplings.count} tasks, rule '{rule}', "
        f"{couplings.size} spins, load {couplings.load:.3f}): {lost or full}. Use {remedy}"
        f"{'' if lost else ' before the next task'}"
    )


def recalled_by_key(
    couplings: Couplings, code: JointCode, tasks: Tensor, *, bits: int, numbered: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Recall some tasks (k,) by the first bits of their keys.

    Returns:
        The states (k, d); which are these tasks (k,); and how far mending had to reach: the place,
        from 1, of the firmest spin that was turned, among all in order of firmness, or 0 (k,).
    """
    cue = code.by_key(tasks, like=couplings.mean, bits=bits)
    landscape = Landscape(couplings, None, len(tasks)).holding(cue)
    keys = code.keys_of(numbered, like=cue)
    settled = descend(landscape, cue, SETTLE).state
    firm = settled * couplings.field(settled)
    state, verified = code.read(settled, firm, keys)
    found, _ = code.keys.nearest(state, keys)
    place = firm.argsort(-1).argsort(-1) + 1
    reach = torch.where(state != settled, place, 0).amax(-1)
    return state, verified & (found == tasks.to(found)), reach
