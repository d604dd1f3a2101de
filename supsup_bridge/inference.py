"""Which task is this? Task inference over an explicit bank of masks, from unlabelled images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, log2

import torch
from torch import Tensor

from hopmask import ConfigError, EmptyMemoryError, NumericalError
from supsup_bridge.bank import MaskBank
from supsup_bridge.networks import FixedNetwork, Masks
from supsup_bridge.objectives import Objective, entropy

_NOTHING = 1e-6  # a share of a mask in a superposition that rounding leaves of 0


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """The masks to use for b sets of images.

    Attributes:
        task: number of the task (b,).
        masks: name -> bool (b, *size).
        steps: updates or backward passes that it took (b,).
        converged: whether there is an answer at all (b,): a recall that verified as a memory, or
            an inference over a bank that preferred one mask to another. Where all logits are 0 at
            the superposition, for example, no mask has any support.
    """

    task: Tensor
    masks: Masks
    steps: Tensor
    converged: Tensor


class TaskInference(ABC):
    """Infers the task of sets of unlabelled images; each set comes from one task."""

    @abstractmethod
    def infer(self, images: Tensor) -> Inferred:
        """The masks to use for images (b, n, ...): b sets of n images.

        Raises:
            EmptyMemoryError: no task was learned.
        """

    def sets(self, pool: Tensor, *, sets: int, samples: int, generator: torch.Generator) -> Tensor:
        """Draw (sets, samples, ...) from a pool (n, ...), without repeats within a set.

        Raises:
            ConfigError: more samples than the pool has.
        """
        if not 1 <= samples <= len(pool):
            raise ConfigError(
                f"task inference can see 1 to {len(pool)} images of this benchmark's recall part, "
                f"got {samples}: lower --infer-samples"
            )
        draws = [torch.randperm(len(pool), generator=generator)[:samples] for _ in range(sets)]
        return pool[torch.stack(draws).to(pool.device)]


class BankInference(TaskInference):
    """Task inference by a rule over all masks of a `MaskBank`.

    Args:
        network: the fixed network.
        bank: the masks.
        objective: of logits (..., outputs): `entropy`, or, for the ways that follow a gradient,
            `superfluous` with its `labels` bound.
        chunk: sets, or masks, that pass through the network at once.

    Example:
        >>> from supsup_bridge import MaskBank, UnitNetwork
        >>> network = UnitNetwork([4, 8, 3], network=torch.Generator().manual_seed(0))
        >>> bank = MaskBank(network.mask_sizes)
        >>> for mask in torch.eye(8)[:4] > 0:
        ...     task = bank.store({"hidden1": mask})
        >>> OneShot(network=network, bank=bank).infer(torch.ones(2, 1, 4)).task.shape
        torch.Size([2])
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
        if self.bank.count == 0:
            raise EmptyMemoryError("the bank holds no mask: store a task before asking for one")
        answers = [self.decide(part) for part in torch.split(images, self.chunk)]
        tasks = torch.cat([task for task, _, _ in answers])
        distinct, place = torch.unique(tasks, return_inverse=True)
        stored = [self.bank.recall(task=int(task)).masks for task in distinct]
        return Inferred(
            task=tasks,
            masks={n: torch.stack([m[n] for m in stored])[place] for n in stored[0]},
            steps=torch.cat([torch.full_like(task, steps) for task, _, steps in answers]),
            converged=torch.cat([sure for _, sure, _ in answers]),
        )

    @abstractmethod
    def decide(self, images: Tensor) -> tuple[Tensor, Tensor, int]:
        """For sets (b, n, ...): task of each, whether it was preferred, and the steps it took."""

    def support(self, images: Tensor, levels: Masks) -> Tensor:
        """−∂H/∂α_i of each mask at the superposition `levels`, for each set.

        H is the objective's mean over a set's images. With p(α) = f(x, W ⊙ Σ α_i M_i) the chain
        rule gives ∂H/∂α_i = ⟨∂H/∂M, M_i⟩: one backward pass, and one product with all masks.

        Args:
            images: (b, n, ...).
            levels: Σ α_i M_i, name -> (*size), or (b, *size).

        Returns:
            (b, k).
        """
        return -self.bank.scores(slopes(self.network, self.objective, images, levels))

    def logits(self, images: Tensor) -> Iterator[Tensor]:
        """Logits of images (b, n, ...) through the masks, (masks at once, b, n, outputs).

        Raises:
            NumericalError: the images hold NaN or infinity.
        """
        if not bool(torch.isfinite(images).all()):
            raise NumericalError("the images are not finite: they hold NaN or infinity")
        for first in range(0, self.bank.count, self.chunk):
            tasks = range(first, min(first + self.chunk, self.bank.count))
            stored = [self.bank.recall(task=task).masks for task in tasks]
            masks = {name: torch.stack([m[name] for m in stored]).float() for name in stored[0]}
            with torch.no_grad():
                if self.network.pointwise:  # every image for itself: all sets in one pass
                    flat = images.flatten(0, 1)
                    logits = self.network(flat.expand(len(tasks), *flat.shape), masks)
                    yield logits.unflatten(1, images.shape[:2])
                else:
                    passes = [self.network(s.expand(len(tasks), *s.shape), masks) for s in images]
                    yield torch.stack(passes, 1)


def slopes(network: FixedNetwork, objective: Objective, images: Tensor, levels: Masks) -> Masks:
    """∂H/∂M of each set of images at given levels of the masks; one forward and backward pass.

    Args:
        network: the fixed network.
        objective: H of logits (..., outputs); its mean over a set's images is what is derived.
        images: (b, n, ...).
        levels: name -> (*size), or (b, *size).

    Returns:
        name -> (b, *size).

    Raises:
        NumericalError: the objective is not finite.
    """
    real = {}
    for name, level in levels.items():
        size = network.mask_sizes[name]
        shape = (size,) if isinstance(size, int) else size
        real[name] = level.detach().to(images).expand(len(images), *shape).clone().requires_grad_()
    with torch.enable_grad():
        value = objective(network(images, real)).mean(-1)
        gradients = torch.autograd.grad(value.sum(), list(real.values()))
    if not bool(torch.isfinite(value).all()):
        raise NumericalError("the objective is not finite: check the images for NaN")
    return dict(zip(real, gradients, strict=True))


class OneShot(BankInference):
    """argmax_i (−∂H/∂α_i) at α = 1/k: one pass at the running mean of the masks.

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), eq. 4.
    """

    def decide(self, images: Tensor) -> tuple[Tensor, Tensor, int]:
        support = self.support(images, self.bank.mean)
        return support.argmax(-1), _differ(support), 1


class Binary(BankInference):
    """⌈log₂ k⌉ steps; each keeps the half of the masks with the largest −∂H/∂α_i.

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), algorithm 1 (binary search).
    """

    def decide(self, images: Tensor) -> tuple[Tensor, Tensor, int]:
        count = self.bank.count
        levels = self.bank.mean
        kept = torch.ones(len(images), count, dtype=torch.bool, device=images.device)
        sure = torch.ones(len(images), dtype=torch.bool, device=images.device)
        left, steps = count, 0
        while left > 1:
            support = self.support(images, levels)
            sure &= _differ(support)
            support = support.masked_fill(~kept, -torch.inf)
            left, steps = ceil(left / 2), steps + 1
            best = support.topk(left, dim=-1).indices
            kept = torch.zeros_like(kept).scatter_(1, best, True)
            if left > 1:
                levels = self.bank.superpose(kept.float() / left)
        assert steps == (ceil(log2(count)) if count > 1 else 0)
        return kept.int().argmax(-1), sure, steps


class Descent(BankInference):
    """Gradient descent on α over the simplex, from 1/k; the largest α at the end.

    α ← α − η (∇H − mean ∇H) / max |∇H − mean ∇H| / (number of α > 0), then negative values are cut
    off and the rest is scaled to Σ α = 1. The step is relative, so that one η serves any objective
    and number of tasks; masks that were cut off stay off.

    Args:
        steps: how many.
        rate: η, in (0, 1].

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), eq. 3.
    """

    def __init__(
        self,
        *,
        network: FixedNetwork,
        bank: MaskBank,
        objective: Objective = entropy,
        chunk: int = 16,
        steps: int = 20,
        rate: float = 0.5,
    ) -> None:
        if steps < 1 or not 0 < rate <= 1:
            raise ConfigError(f"descent needs steps >= 1 and a rate in (0, 1], got {steps}, {rate}")
        super().__init__(network=network, bank=bank, objective=objective, chunk=chunk)
        self.steps, self.rate = steps, rate

    def decide(self, images: Tensor) -> tuple[Tensor, Tensor, int]:
        weights = torch.full((len(images), self.bank.count), 1 / self.bank.count).to(images)
        levels = self.bank.mean
        for step in range(self.steps):
            if step:
                levels = self.bank.superpose(weights)
            active = weights > 0
            number = active.sum(-1, keepdim=True)
            support = self.support(images, levels)
            support = torch.where(active, support, 0)
            support = torch.where(active, support - support.sum(-1, keepdim=True) / number, 0)
            largest = support.abs().amax(-1, keepdim=True).clamp_min(1e-30)
            weights = weights + self.rate * support / largest / number
            weights = torch.where(weights > _NOTHING, weights, 0)
            weights = weights / weights.sum(-1, keepdim=True)
            if bool(((weights > 0).sum(-1) == 1).all()):
                break
        return weights.argmax(-1), _differ(weights), step + 1


class TryAll(BankInference):
    """argmin_i H(f(x, W ⊙ M_i)): every mask is tried; k forward passes.

    Source:
        The exhaustive search that Wortsman et al. 2020 (arXiv 2006.14769), section 3.3, avoids.
    """

    def decide(self, images: Tensor) -> tuple[Tensor, Tensor, int]:
        values = [self.objective(logits).mean(-1) for logits in self.logits(images)]
        found = torch.cat(values)
        return found.argmin(0), _differ(found.T), self.bank.count


class ArgmaxLogits(BankInference):
    """argmax_i of the largest real logit under M_i, averaged over a set's images; k passes.

    Args:
        labels: how many outputs are real; superfluous ones are left out.

    Source:
        The usual class-incremental read-out of separate heads: one softmax over all of them.
    """

    def __init__(
        self, *, network: FixedNetwork, bank: MaskBank, labels: int, chunk: int = 16
    ) -> None:
        if not 1 <= labels <= network.outputs:
            raise ConfigError(
                f"labels must lie in 1 .. {network.outputs} (the network's outputs), got {labels}"
            )
        super().__init__(network=network, bank=bank, chunk=chunk)
        self.labels = labels

    def decide(self, images: Tensor) -> tuple[Tensor, Tensor, int]:
        values = [logits[..., : self.labels].amax(-1).mean(-1) for logits in self.logits(images)]
        found = torch.cat(values)
        return found.argmax(0), _differ(found.T), self.bank.count


def _differ(values: Tensor) -> Tensor:
    """Whether the k values of each row are not all the same; one mask alone is always preferred."""
    return (values.amax(-1) > values.amin(-1)) | (values.shape[-1] == 1)


_POINTING: dict[str, Callable[..., BankInference]] = {
    "one-shot": OneShot,
    "binary": Binary,
    "descent": Descent,
}
INFERENCES = (*_POINTING, "try-all", "argmax")


def inference_named(
    name: str, *, network: FixedNetwork, bank: MaskBank, objective: Objective, labels: int
) -> BankInference:
    """A way of task inference over a bank, by its name in `INFERENCES`.

    Args:
        name: such as "one-shot".
        network: the fixed network.
        bank: the masks.
        objective: for the ways that follow its gradient.
        labels: how many outputs are real.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in INFERENCES:
        raise ConfigError(f"inference must be one of {', '.join(INFERENCES)}, got {name!r}")
    if name == "argmax":
        return ArgmaxLogits(network=network, bank=bank, labels=labels)
    if name == "try-all":
        return TryAll(network=network, bank=bank)
    return _POINTING[name](network=network, bank=bank, objective=objective)


def follows_gradient(name: str) -> bool:
    """Whether a way of inference takes an objective and follows its gradient."""
    return name in _POINTING


def check_objective(name: str, objective: str | None) -> None:
    """Raise ConfigError where an objective is given to a way of inference that takes none."""
    if objective is not None and not follows_gradient(name):
        raise ConfigError(
            f"inference '{name}' follows no gradient, so it takes no objective: leave out "
            f"--objective, or use {', '.join(_POINTING)}"
        )
