"""Masks of many tasks in dense couplings: what `MaskMemory(couplings="dense")` keeps and does."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hopmask._undisturbed import undisturbed
from hopmask.couplings.dense import DenseCouplings, check_size
from hopmask.couplings.rules import LearningRule
from hopmask.errors import (
    ConfigError,
    CueError,
    NotForgettableError,
    OverloadWarning,
    UnknownTaskError,
)
from hopmask.memory import health
from hopmask.memory.address import ContentAddress
from hopmask.memory.duplicates import refuse_duplicate
from hopmask.memory.features import STRANGE, Description, Samples, as_sets
from hopmask.memory.groups import Groups
from hopmask.memory.health import LoadReport
from hopmask.memory.mask_penalty import MaskPenalty
from hopmask.memory.numbers import task_number, task_numbers
from hopmask.memory.query import Query
from hopmask.memory.signature_sums import SignatureSums
from hopmask.patterns.joint_code import JointCode
from hopmask.patterns.layout import Layout, Size
from hopmask.recall.options import Search
from hopmask.recall.result import Hit

KEY_BITS = 256  # unless a memory says otherwise


class DenseMasks:
    """Keys, check bits and masks as joint ±1 vectors in one reservoir.

    Args:
        sizes: name -> number of bits, or shape.
        rule: learning rule, by name or as an object.
        seed: of keys, check bits and features.
        key_bits: bits that stand for a task's number.
        signature_features: of the content address; 0 for none.
        dtype: torch.float32 or torch.float64.
        device: where to live.

    Attributes:
        couplings, code, address, numbered: as in `MaskMemory`.

    Raises:
        ConfigError: what nothing can be built from.
    """

    capacity: int | None = None  # nobody knows it beforehand
    groups = 1  # of a task's samples

    def __init__(
        self,
        sizes: Mapping[str, Size],
        *,
        rule: str | LearningRule,
        seed: int,
        key_bits: int,
        signature_features: int,
        dtype: torch.dtype,
        device: str | torch.device,
    ) -> None:
        check_size(Layout(sizes, head=0).size)  # before anything large is made
        self.code = JointCode(sizes, seed=seed, key_bits=key_bits)
        self.numbered = 0
        self.couplings = DenseCouplings(self.code.size, rule=rule, dtype=dtype, device=device)
        self.address: ContentAddress | None = None
        if signature_features != 0:
            self.address = ContentAddress(
                self.code.keys, features=signature_features, dtype=dtype, device=device
            )

    @property
    def nbytes(self) -> int:
        """Bytes of Ψ, μ, the address's sums and counters; independent of the number of tasks."""
        return self.couplings.nbytes + (self.address.nbytes if self.address else 0)

    @property
    def seed(self) -> int:
        """Of keys, check bits and features."""
        return self.code.keys.seed

    @property
    def key_bits(self) -> int | None:
        """Bits that stand for a task's number."""
        return self.code.keys.bits

    @property
    def mean(self) -> Tensor:
        """μ of the joint vectors, (d,)."""
        return self.couplings.mean

    @property
    def mean_extras(self) -> dict[str, Tensor]:
        """Dense couplings hold no extras."""
        return {}

    @property
    def tasks(self) -> tuple[int, ...]:
        """Numbers of the tasks held; see `MaskMemory.tasks`."""
        if self.numbered > self.couplings.count:
            raise ConfigError("dense couplings do not know which tasks were forgotten")
        return tuple(range(self.numbered))

    def to(self, device: str | torch.device) -> None:
        """Move everything to a device."""
        self.couplings.to(device)
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
        """Store one task under the next number; see `MaskMemory.store`."""
        _refuse(task=task, groups=groups, extras=extras)
        body, described = self._body_of(masks), self._described(signature)
        refuse_duplicate(self.couplings, self.code, self.numbered, body)
        number, pattern = self.numbered, self._pattern(self.numbered, body)
        with undisturbed():
            if described is None or self.address is None:
                self.couplings.write(pattern)
            else:
                with self.address.learning(number, described):
                    self.couplings.write(pattern)
            self.numbered += 1
        self._warn_if_full(number, pattern, check)
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
        """Store a task anew under its number; see `MaskMemory.replace`."""
        _refuse(groups=groups, extras=extras)
        described, body = self._described(signature), self._body_of(masks)
        number = task_number(task, self.numbered)
        refuse_duplicate(self.couplings, self.code, self.numbered, body, but=number)
        old, pattern = self._separable(number), self._pattern(number, body)
        mean = self.couplings.mean.clone()
        with undisturbed():
            self.couplings.remove(old)
            try:
                self.couplings.write(pattern)
            except BaseException:
                self.couplings.write(old)
                self.couplings.mean.copy_(mean)
                raise
            if self.address is not None:
                self.address.forget(number)
                if described is not None:
                    self.address.learn(number, described)
        self._warn_if_full(number, pattern, check)

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
        guess, strange = (None, None) if signature is None else self._guessed(signature)
        tasks, one = (None, True) if task is None else task_numbers(task, self.numbered)
        query = self._query(
            tasks=tasks, one=one, cue=cue, guess=guess, penalty=penalty, batch=batch, search=search
        )
        found = query.answer()
        recognized = query.recognized(found)
        if strange is not None:
            recognized = recognized & (strange.to(recognized.device) < STRANGE)
        masks = self.code.layout.split(found.state > 0)
        flat = query.flat
        return Hit(
            masks={name: mask[0] for name, mask in masks.items()} if flat else masks,
            task=_plain(query.tasks_of(found.state), flat),
            residual=_plain(self.couplings.residual(found.state), flat),
            energy=_plain(self.couplings.energy(found.state), flat),
            steps=_plain(found.steps, flat),
            verified=_plain(found.verified, flat),
            margin=_plain(found.margin, flat),
            recognized=_plain(recognized, flat),
            unstable=_plain(self.couplings.unstable(found.state), flat),
            trace=found.trace,
        )

    def forget(self, task: int) -> None:
        """Take a task out; see `MaskMemory.forget`."""
        number = task_number(task, self.numbered)
        pattern = self._separable(number)
        with undisturbed():
            self.couplings.remove(pattern)
            if self.address is not None:
                self.address.forget(number)

    def _separable(self, number: int) -> Tensor:
        """The pattern (d,) of a task that can be taken out of couplings and address."""
        found = self._query(tasks=torch.tensor([number], device="cpu")).answer()
        if self.address is not None and not self.address.can_forget():
            raise NotForgettableError(
                f"the content address holds {self.address.count} tasks, more than its "
                f"{self.code.keys.bits} key bits, and can no longer separate the share of one: "
                "nothing was forgotten. Use more key_bits"
            )
        if not bool(found.verified[0]):
            raise UnknownTaskError(
                f"task {number} cannot be recalled exactly, so it cannot be forgotten exactly: "
                "it was forgotten before, or the memory is too full"
            )
        return found.state[0]

    def report(self, *, sample: int, nbytes: int) -> LoadReport:
        """Recall some tasks by number; see `MaskMemory.report`."""
        return health.report_of(
            self.couplings, self.code, sample=sample, numbered=self.numbered, nbytes=nbytes
        )

    def _query(self, **question: Any) -> Query:
        search = question.pop("search", None) or Search()
        return Query(self.couplings, self.code, self.numbered, options=search, **question)

    def _pattern(self, task: int, body: Tensor) -> Tensor:
        """What is stored for a task's number and masks, (d,)."""
        return self.code.pattern(task, body, like=self.couplings.mean)[0]

    def _warn_if_full(self, task: int, pattern: Tensor, check: bool) -> None:
        """OverloadWarning where the newest task, or a few others, are not recalled; if asked to."""
        if not check:
            return
        trouble = health.overload(
            self.couplings, self.code, task=task, pattern=pattern[None], numbered=self.numbered
        )
        if trouble:
            warnings.warn(trouble, OverloadWarning, stacklevel=5)

    def _described(self, signature: Samples | SignatureSums | None) -> Description | None:
        """What the content address will need of a signature."""
        if isinstance(signature, SignatureSums):
            raise CueError("what a hub memory described is for hub couplings: give the samples")
        return None if signature is None else self._addressed().describe(signature)

    def _guessed(self, signature: Tensor) -> tuple[Tensor, Tensor]:
        """Key bits that the address guesses, (key bits,) or (batch, key bits), and strangeness."""
        sets = as_sets(signature)
        guess, strange = self._addressed().guess(sets)
        return (guess[0], strange) if signature.ndim == 1 else (guess, strange)

    def _addressed(self) -> ContentAddress:
        if self.address is None:
            raise CueError(
                "this memory has no content address: build it with signature_features=1024"
            )
        return self.address

    def _body_of(self, masks: Mapping[str, Tensor]) -> Tensor:
        return self.code.layout.join(masks).to(self.couplings.mean)


def _plain(value: Tensor, flat: bool) -> Any:
    return value[0].item() if flat else value


def _refuse(**options: object) -> None:
    """Raise ConfigError for options that dense couplings have no use for."""
    for name, value in options.items():
        if value is not None:
            raise ConfigError(
                f"{name}= is of hub couplings: leave it out, or build the memory with "
                "couplings='hub'"
            )
