"""Masks of many tasks on hub couplings: what `MaskMemory(couplings="hub")` keeps and does."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hopmask._room import zeros
from hopmask._undisturbed import undisturbed
from hopmask.couplings.hub import HubCouplings
from hopmask.errors import ConfigError, CueError, DuplicateError, NumericalError
from hopmask.memory.features import Samples
from hopmask.memory.groups import Groups
from hopmask.memory.health import LoadReport
from hopmask.memory.hub_address import HubAddress
from hopmask.memory.hub_recall import HubRecall
from hopmask.memory.mask_penalty import MaskPenalty
from hopmask.memory.numbers import free_number, given_numbers, listed, live_number, next_number
from hopmask.memory.signature_sums import SignatureSums
from hopmask.patterns.digest_code import DigestCode
from hopmask.patterns.layout import Size
from hopmask.recall.options import Search
from hopmask.recall.result import Hit

HUBS = 64  # unless a memory says otherwise
_UNIT = 2.0**-24  # of the sum of extras: every half float is a whole multiple


class HubMasks:
    """Masks, extras and signatures of up to K tasks in integers of constant size.

    Args:
        sizes, extras: name -> number of bits or values, or shape.
        hubs: K; default 64.
        seed: of keys, digests and features.
        precision: of the narrow couplings.
        signature_features: of the content address; 0 for none.
        signature_groups: of a task's samples.
        device: where to live.
        born: hubs at birth, of a memory that has grown; default K.

    Attributes:
        couplings, code, address: as in `MaskMemory`.
        extras_sum: Σ of the extras of all tasks, in units of 2⁻²⁴, int64 (values,).
        numbered: the largest number given out so far, plus 1.

    Raises:
        ConfigError: what nothing can be built from.
    """

    def __init__(
        self,
        sizes: Mapping[str, Size],
        *,
        seed: int,
        hubs: int | None = None,
        precision: str = "auto",
        extras: Mapping[str, Size] | None = None,
        signature_features: int,
        signature_groups: int = 1,
        device: str | torch.device,
        born: int | None = None,
    ) -> None:
        self.code = DigestCode(sizes, extras=extras, seed=seed)
        self.couplings = HubCouplings(
            self.code.size,
            hubs=HUBS if hubs is None else hubs,
            seed=seed,
            born=born,
            precision=precision,
            device=device,
        )
        self.address: HubAddress | None = None
        if signature_features != 0:
            self.address = HubAddress(
                self.couplings.keys,
                hubs=self.couplings.hubs,
                features=signature_features,
                groups=signature_groups,
                device=device,
            )
        elif signature_groups != 1:
            raise ConfigError(
                f"signature_groups={signature_groups!r:.40} is of a content address, which "
                "signature_features=0 leaves out: give features, or leave out the groups"
            )
        self.extras_sum = zeros(self.code.values, dtype=torch.int64, device=device)
        self.numbered = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all sums and flags; independent of the number of tasks."""
        address = self.address.nbytes if self.address else 0
        return self.couplings.nbytes + address + self.extras_sum.nbytes + 8

    @property
    def seed(self) -> int:
        """Of keys, digests and features."""
        return self.code.seed

    @property
    def key_bits(self) -> int | None:
        """The hubs carry the keys."""
        return None

    @property
    def groups(self) -> int:
        """Groups that a task's samples may be of."""
        return self.address.groups if self.address else 1

    @property
    def capacity(self) -> int:
        """Number of tasks that fit."""
        return self.couplings.hubs

    @property
    def mean(self) -> Tensor:
        """μ of the mask neurons, (D,)."""
        return self.couplings.mask_mean

    @property
    def mean_extras(self) -> dict[str, Tensor]:
        """Mean of the tasks' extras, name -> float32 (*shape); zeros while there are no tasks."""
        return {} if self.code.extras is None else self.code.extras.split(self._mean_values)

    @property
    def tasks(self) -> tuple[int, ...]:
        """Numbers of the tasks held, in order."""
        return tuple(self.couplings.live.nonzero()[:, 0].tolist())

    def to(self, device: str | torch.device) -> None:
        """Move everything to a device."""
        self.couplings.to(device)
        self.extras_sum = self.extras_sum.to(device)
        if self.address is not None:
            self.address.to(device)

    def store(
        self,
        masks: Mapping[str, Tensor],
        *,
        task: int | None,
        signature: Samples | SignatureSums | None,
        groups: Groups | None,
        extras: Mapping[str, Tensor] | None,
        check: bool,
    ) -> int:
        """Store one task under a free number; see `MaskMemory.store`. There is nothing to check."""
        live = self.couplings.live
        number = next_number(live, self.numbered) if task is None else free_number(task, live)
        self._put(number, masks, signature, groups, extras)
        return number

    def replace(
        self,
        task: int,
        masks: Mapping[str, Tensor],
        *,
        signature: Samples | SignatureSums | None,
        groups: Groups | None,
        extras: Mapping[str, Tensor] | None,
        check: bool,
    ) -> None:
        """Put others in the place of a task's masks; see `MaskMemory.replace`."""
        self._put(live_number(task, self.couplings.live), masks, signature, groups, extras)

    def forget(self, task: int) -> None:
        """Take a task out; see `MaskMemory.forget`."""
        number = live_number(task, self.couplings.live)
        held = self._proven(number)
        change = self._whole_extras(held)
        with undisturbed():
            self.couplings.drop(number, held=held)
            self.extras_sum -= change
            if self.address is not None:
                self.address.drop(number)

    def recall(
        self,
        task: int | Sequence[int] | Tensor | None,
        *,
        cue: Mapping[str, Tensor] | None,
        signature: Tensor | None,
        penalty: MaskPenalty | None,
        batch: int | None,
        search: Search,
    ) -> Hit:
        """Recall masks; see `MaskMemory.recall`."""
        recall = HubRecall(
            self.couplings, self.code, self.address, search, mean_values=self._mean_values
        )
        if task is not None:
            if cue is not None or batch is not None:
                raise CueError(
                    "a hub memory recalls a number exactly: leave out cue= and batch=, or task="
                )
            given, one = given_numbers(task)
            live = self.couplings.live
            numbers = torch.tensor([live_number(number, live) for number in given], device="cpu")
            return recall.by_number(numbers.to(self.couplings.device), flat=one)
        if signature is None and penalty is None:
            if cue is None:
                raise CueError("recall needs a task, cue=, signature= or penalty=, got none")
            if batch is not None:
                raise CueError(f"batch= ({batch!r}) goes with penalty= alone")
            return recall.by_cue(cue)
        return recall.by_data(cue=cue, signature=signature, penalty=penalty, batch=batch)

    def evidence(self, signature: Tensor) -> Tensor:
        """What the content address says of each sample; see `MaskMemory.evidence`."""
        if isinstance(signature, Tensor) and signature.ndim != 2:
            raise CueError(
                f"evidence is of samples (b, n), each by itself, got {tuple(signature.shape)}: "
                "give signature[None] for one sample, signature.flatten(0, -2) for sets"
            )
        return self._addressed().of_groups(signature)

    def describe(self, signature: Samples, groups: Groups | None) -> SignatureSums:
        """What a signature adds to the content address; see `MaskMemory.describe`."""
        return self._addressed().describe(signature, groups)

    def grow(self) -> None:
        """Twice the hubs; see `MaskMemory.grow`."""
        self.couplings.require_exact()
        if self.address is not None:
            self.address.check_growth()
        with undisturbed():
            self.couplings.grow()
            if self.address is not None:
                self.address.grow()

    def merge(self, other: "HubMasks") -> None:
        """Add another memory's tasks; see `MaskMemory.merge`."""
        _check_mergeable(self, other)
        if self.address is not None and other.address is not None:
            self.address.check_addition(other.address)
        with undisturbed():
            self.couplings.add(other.couplings)
            if self.address is not None and other.address is not None:
                self.address.add(other.address)
            self.extras_sum += other.extras_sum.to(self.extras_sum.device)
            self.numbered = max(self.numbered, other.numbered)

    def report(self, *, sample: int, nbytes: int) -> LoadReport:
        """Recall some tasks by number; see `MaskMemory.report`."""
        held = self.couplings.live.nonzero()[:, 0]
        places = torch.linspace(0, len(held) - 1, min(sample, len(held)), device=held.device)
        tasks = held[places.round().long()]
        found = self.couplings.recall(tasks)
        return LoadReport(
            rule=self.couplings.rule_name,
            tasks=len(held),
            spins=self.couplings.size,
            load=self.couplings.load,
            nbytes=nbytes,
            packed_nbytes=len(held) * -(-self.code.bits // 8),
            sampled=len(tasks),
            recalled=float(self.code.holds(tasks, found.spins).double().mean()),
            recalled_by_half=None,
            unstable=int(found.silent.max()),
        )

    def _put(
        self,
        number: int,
        masks: Mapping[str, Tensor],
        signature: Samples | SignatureSums | None,
        groups: Groups | None,
        extras: Mapping[str, Tensor] | None,
    ) -> None:
        """Store or replace: all of it, or nothing where this raises."""
        body = self.code.layout.bits(masks).to(self.couplings.device)
        pattern = self.code.pattern(number, body, extras)
        added: SignatureSums | None = None
        if signature is not None:
            added = self._addressed().fitting(signature, groups)
        elif groups is not None:
            raise CueError("groups= are of the samples of a signature: give signature=, too")
        change, held = self._whole_extras(pattern), None
        if bool(self.couplings.live[number]):
            held = self._proven(number)
            change = change - self._whole_extras(held)
        with undisturbed():
            self.couplings.put(number, pattern, held=held)
            self.extras_sum += change
            if added is not None and self.address is not None:
                self.address.put(number, added)
            self.numbered = max(self.numbered, number + 1)

    def _addressed(self) -> HubAddress:
        if self.address is None:
            raise CueError(
                "this memory has no content address: build it with signature_features=1024"
            )
        return self.address

    @property
    def _mean_values(self) -> Tensor:
        """Mean of the tasks' extras in a row, float32 (values,)."""
        return (self.extras_sum.double() * (_UNIT / max(1, self.couplings.count))).float()

    def _proven(self, number: int) -> Tensor:
        """The pattern of a live task, bool (size,), proven by its digest before it is changed."""
        self.couplings.require_exact()
        tasks = torch.tensor([number], device=self.couplings.device)
        spins = self.couplings.masks(tasks)
        if not bool(self.code.holds(tasks, spins)):
            raise NumericalError(
                f"task {number} does not hold its own digest: the couplings were damaged. Nothing "
                "was changed: load a saved memory"
            )
        return spins[0]

    def _whole_extras(self, pattern: Tensor) -> Tensor:
        """Extras of a pattern in whole units, int64 (values,)."""
        return (self.code.values_of(pattern).double() / _UNIT).long()


def _check_mergeable(one: HubMasks, other: HubMasks) -> None:
    """Raise unless two memories have the same form and different tasks."""
    mine, theirs = _form(one), _form(other)
    for what, value in mine.items():
        if value != theirs[what]:
            raise ConfigError(
                f"memories that are merged need the same {what}: one has {value!r:.80}, "
                f"the other {theirs[what]!r:.80}"
            )
    both = one.couplings.live & other.couplings.live.to(one.couplings.device)
    if bool(both.any()):
        shared = [int(task) for task in both.nonzero()]
        raise DuplicateError(
            f"both memories hold {listed(shared)}: nothing was merged. Store tasks under "
            "numbers of their own, with store(task=)"
        )


def _form(masks: HubMasks) -> dict[str, object]:
    """What two memories need to have in common to be added."""
    extras = masks.code.extras
    return {
        "layers in their order": [*masks.code.layout.shapes.items()],
        "extras in their order": [*extras.shapes.items()] if extras else [],
        "seed": masks.code.seed,
        "hubs at birth": masks.couplings.keys.born,
        "hubs": masks.couplings.hubs,
        "precision": masks.couplings.precision,
        "signature features": masks.address.features if masks.address else 0,
        "signature groups": masks.groups,
    }
