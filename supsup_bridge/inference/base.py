"""Task inference over an explicit bank of masks, from unlabelled images."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hopmask import ConfigError, EmptyMemoryError, NumericalError
from supsup_bridge.inference.objectives import Objective, entropy
from supsup_bridge.inference.slopes import slopes
from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.networks.precision import without_autocast
from supsup_bridge.rng import shuffled
from supsup_bridge.stores.bank import MaskBank
from supsup_bridge.stores.protocols import for_forward


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """The masks to use for b sets of images.

    Attributes:
        task: number of the task (b,).
        masks: name -> bool (b, *size).
        extras: what else belongs to each task, name -> float32 (b, *size).
        steps: updates or backward passes that it took (b,).
        verified: whether there is an answer at all (b,): a recall that verified as a memory, or
            an inference over a bank that preferred one mask to another. Where all logits are 0 at
            the superposition, for example, no mask has any support.
        label: of each image (b, n), where the inference names it; else None, and the largest logit
            under the masks does.
    """

    task: Tensor
    masks: Masks
    steps: Tensor
    verified: Tensor
    extras: Masks = field(default_factory=dict)
    label: Tensor | None = None

    def of_set(self, row: int) -> Masks:
        """Masks and extras for one set, name -> (*size), as a forward pass takes them."""
        return {name: value[row] for name, value in (*self.masks.items(), *self.extras.items())}

    def part(self, rows: slice) -> "Inferred":
        """The same of some of the sets."""
        return Inferred(
            task=self.task[rows],
            masks={name: value[rows] for name, value in self.masks.items()},
            extras={name: value[rows] for name, value in self.extras.items()},
            steps=self.steps[rows],
            verified=self.verified[rows],
            label=None if self.label is None else self.label[rows],
        )

    @classmethod
    def joined(cls, parts: Sequence["Inferred"]) -> "Inferred":
        """Parts of the sets, in order, as one."""
        labels = [part.label for part in parts if part.label is not None]
        return cls(
            task=torch.cat([part.task for part in parts]),
            masks=_joined([part.masks for part in parts]),
            extras=_joined([part.extras for part in parts]),
            steps=torch.cat([part.steps for part in parts]),
            verified=torch.cat([part.verified for part in parts]),
            label=torch.cat(labels) if labels else None,
        )


class TaskInference(ABC):
    """Infers the task of sets of unlabelled images; each set comes from one task.

    Answers do not depend on `torch.autocast`: it is switched off within.
    """

    @property
    def at_once(self) -> int:
        """Sets, of any tasks, for one call where each call reads a large memory; else 1."""
        return 1

    @abstractmethod
    def infer(self, images: Tensor) -> Inferred:
        """The masks to use for sets of images.

        Args:
            images: (b, n, ...): b sets of n images.

        Raises:
            ConfigError: images without the axis of sets, or that the network cannot take.
            EmptyMemoryError: no task was learned.
            NumericalError: the images hold NaN or infinity.
        """

    def recognizes(self, images: Tensor, found: Inferred) -> Tensor:
        """Whether sets of images (b, n, ...) are of the task that `infer` found for them; (b,).

        Here, whether there was an answer at all.
        """
        return found.verified

    def sets(self, pool: Tensor, *, sets: int, samples: int, generator: torch.Generator) -> Tensor:
        """Draw (sets, samples, ...) from a pool; see `drawn_sets`."""
        return drawn_sets(pool, sets=sets, samples=samples, generator=generator)


class BankInference(TaskInference):
    """Task inference by a rule over all masks of a `MaskBank`.

    Args:
        network: the fixed network.
        bank: the masks.
        objective: of logits (..., outputs): `entropy`, or, for the ways that follow a gradient,
            `superfluous` with its `labels` bound.
        chunk: sets, or masks, that pass through the network at once.
    """

    def __init__(
        self,
        *,
        network: FixedNetwork,
        bank: MaskBank,
        objective: Objective = entropy,
        chunk: int = 16,
    ) -> None:
        self.network, self.bank, self.objective, self.chunk = network, bank, objective, chunk

    def infer(self, images: Tensor) -> Inferred:
        check_sets(images)
        if self.bank.count == 0:
            raise EmptyMemoryError("the bank holds no mask: store a task before inferring one")
        with without_autocast(images.device):
            answers = [self.decide(part) for part in torch.split(images, self.chunk)]
        tasks = torch.cat([task for task, _, _ in answers])
        distinct, place = torch.unique(tasks, return_inverse=True)
        stored = [self.bank.recall(task=int(task)) for task in distinct]
        return Inferred(
            task=tasks,
            masks={n: value[place] for n, value in _stacked([s.masks for s in stored]).items()},
            extras={n: value[place] for n, value in _stacked([s.extras for s in stored]).items()},
            steps=torch.cat([torch.full_like(task, steps) for task, _, steps in answers]),
            verified=torch.cat([sure for _, sure, _ in answers]),
        )

    @abstractmethod
    def decide(self, images: Tensor) -> tuple[Tensor, Tensor, int]:
        """For sets (b, n, ...): task of each, whether it was preferred, and the steps it took."""

    def support(self, images: Tensor, levels: Masks) -> Tensor:
        """−∂H/∂α_i of each mask at the superposition `levels`, for each set.

        Extras are those of the superposition, and do not take part in the gradient.

        H is the objective's mean over a set's images. With p(α) = f(x, W ⊙ Σ α_i M_i) the chain
        rule gives ∂H/∂α_i = ⟨∂H/∂M, M_i⟩: one backward pass, and one product with all masks.

        Args:
            images: (b, n, ...).
            levels: Σ α_i M_i, and extras where there are any, name -> (*size), or (b, *size).

        Returns:
            (b, k).
        """
        return -self.bank.scores(slopes(self.network, self.objective, images, levels))

    @property
    def middle(self) -> Masks:
        """The superposition of equal weights: means of masks and extras."""
        return {**self.bank.mean, **self.bank.mean_extras}

    def logits(self, images: Tensor) -> Iterator[Tensor]:
        """Logits of images (b, n, ...) through the masks, (masks at once, b, n, outputs).

        Raises:
            NumericalError: the images hold NaN or infinity.
        """
        if not bool(torch.isfinite(images).all()):
            raise NumericalError("the images are not finite: they hold NaN or infinity")
        for first in range(0, self.bank.count, self.chunk):
            tasks = range(first, min(first + self.chunk, self.bank.count))
            stored = [for_forward(self.bank.recall(task=task)) for task in tasks]
            masks = {name: value.float() for name, value in _stacked(stored).items()}
            with torch.no_grad():
                if self.network.pointwise_given(masks):  # all sets in one pass
                    flat = images.flatten(0, 1)
                    logits = self.network(flat.expand(len(tasks), *flat.shape), masks)
                    yield logits.unflatten(1, images.shape[:2])
                else:
                    passes = [self.network(s.expand(len(tasks), *s.shape), masks) for s in images]
                    yield torch.stack(passes, 1)


def drawn_sets(pool: Tensor, *, sets: int, samples: int, generator: torch.Generator) -> Tensor:
    """Draw (sets, samples, ...) from a pool (n, ...), without repeats within a set.

    Raises:
        ConfigError: more samples than the pool has.
    """
    if not 1 <= samples <= len(pool):
        raise ConfigError(
            f"a task inference can see 1 to {len(pool)} images, as many as there are to infer the "
            f"task from, got {samples}: lower infer_samples"
        )
    draws = [shuffled(len(pool), generator)[:samples] for _ in range(sets)]
    return pool[torch.stack(draws).to(pool.device)]


def _joined(parts: Sequence[Masks]) -> Masks:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _stacked(parts: Sequence[Masks]) -> Masks:
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}


def check_sets(images: Tensor) -> None:
    """Raise ConfigError unless these are sets of images (b, n, ...), n >= 1."""
    if not isinstance(images, Tensor) or not images.is_floating_point():
        came = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise ConfigError(f"images must be a floating-point tensor (b, n, ...), got {came}")
    if images.ndim < 3 or images.shape[1] == 0:
        raise ConfigError(
            f"task inference takes sets of images (b, n, ...), n >= 1, got {tuple(images.shape)}: "
            "give images[None] for one set"
        )


def differ(values: Tensor, *, least: Tensor | float = 0.0) -> Tensor:
    """Whether the k values of each row differ by more than `least`; one alone always does."""
    return (values.amax(-1) - values.amin(-1) > least) | (values.shape[-1] == 1)
