"""Methods of Avalanche that keep images of earlier tasks: replay, GEM, A-GEM, iCaRL."""

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from avalanche.training.plugins import AGEMPlugin, GEMPlugin, ReplayPlugin
from avalanche.training.storage_policy import ReservoirSamplingBuffer
from avalanche.training.supervised import ICaRL
from torch import Tensor, nn

from hopmask import ConfigError
from hopmask.errors import MissingDependencyError
from supsup_bridge.adapters.rivals.methods import Method, check_buffer, check_number
from supsup_bridge.adapters.rivals.networks import Terms, Trainable
from supsup_bridge.adapters.rivals.training import (
    ChangedLoss,
    Course,
    TaskExperience,
    optimiser_for,
)
from supsup_bridge.training.settings import is_count


class Replay(Method):
    """Experience replay: each step sees a batch of the task, and as many images of a buffer.

    The buffer has a random sample of each task, all equally large. Without task boundaries (NNs) it
    is a reservoir of all images that were trained on, pass after pass; the optimiser goes on from
    task to task, and its rate stays as it is.

    Source:
        Chaudhry et al. 2019 (arXiv 1902.10486), by Avalanche's `ReplayPlugin`; the reservoir is
        Vitter's (1985), by `ReservoirSamplingBuffer`.
    """

    def __init__(self, terms: Terms, *, buffer: int = 200) -> None:
        super().__init__(terms)
        check_buffer(buffer, least=1)
        self._free = terms.scenario == "NNs"
        policy = ReservoirSamplingBuffer(buffer) if self._free else None
        self._plugin = _Replay(buffer, storage_policy=policy)
        self.plugins = [self._plugin]

    def teach(self, strategy: Any, experience: TaskExperience, steps: int) -> None:
        if not self._free:
            return super().teach(strategy, experience, steps)
        self.limits[0].steps = 1
        for part in experience.batches(self.terms.training, alone=self.pointwise):
            strategy.train(part, eval_streams=[])

    def images(self) -> int:
        return len(self._plugin.storage_policy.buffer)


class _Replay(ReplayPlugin):  # type: ignore[misc]
    """Avalanche's, without the call that it warns of."""

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        self.storage_policy.post_adapt(strategy, strategy.experience)


class Gem(Method):
    """Gradient episodic memory: the step's gradient, moved so that no earlier task's loss rises.

    min ‖g̃ − g‖² with ⟨g̃, g_t⟩ ≥ 0 for the gradient g_t of the kept images of each earlier task,
    solved in the dual with duals of at least `strength`. Each step has a pass over all kept images.

    Source:
        Lopez-Paz and Ranzato 2017 (arXiv 1706.08840), by Avalanche's `GEMPlugin`. GEM keeps the
        last images of a task, Avalanche random ones.
    """

    def __init__(self, terms: Terms, *, buffer: int = 200, strength: float = 0.5) -> None:
        super().__init__(terms)
        check_buffer(buffer, least=terms.tasks)
        check_number("strength", strength)
        if find_spec("quadprog") is None:
            raise MissingDependencyError(
                "learner gem solves a quadratic programme by a package that is not installed, "
                "quadprog: python -m pip install 'hopmask[rivals]'"
            )
        self._plugin = GEMPlugin(buffer // terms.tasks, strength)
        self.plugins = [self._plugin]

    def images(self) -> int:
        return sum(map(len, self._plugin.memory_x.values()))


class Agem(Method):
    """Averaged GEM: g̃ = g − ⟨g, r⟩ / ⟨r, r⟩ r where ⟨g, r⟩ < 0.

    r is the gradient of `sample` kept images of earlier tasks, drawn anew for each step.

    Source:
        Chaudhry et al. 2019 (arXiv 1812.00420), by Avalanche's `AGEMPlugin`.
    """

    def __init__(self, terms: Terms, *, buffer: int = 200, sample: int | None = None) -> None:
        super().__init__(terms)
        check_buffer(buffer, least=terms.tasks)
        sample = max(terms.training.batch, terms.tasks) if sample is None else sample
        if not is_count(sample, least=terms.tasks):
            raise ConfigError(
                f"sample must be a whole number of at least one image a task, {terms.tasks}, got "
                f"{sample!r}"
            )
        self._plugin = AGEMPlugin(buffer // terms.tasks, sample)
        self.plugins = [self._plugin]

    def images(self) -> int:
        return sum(map(len, self._plugin.buffers))


class Icarl(Method):
    """iCaRL: features trained by binary cross-entropies, the answer is the class of nearest mean.

    New labels have targets 0 and 1, earlier ones the outputs of the network before the task. A
    buffer of exemplars, as many of each class, is chosen by herding; they are trained on with the
    task's images, and their mean features (with those of their mirror images, for pictures) are
    what an image is compared with. Mixup and label smoothing are left out.

    Source:
        Rebuffi et al. 2017 (arXiv 1611.07725), by Avalanche's `ICaRL`.
    """

    unserved = "its classes must be of one task each, and compared by all their means"

    def __init__(self, terms: Terms, *, buffer: int = 200) -> None:
        super().__init__(terms)
        check_buffer(buffer, least=terms.outputs)
        self.training = replace(terms.training, mixup=0.0, smoothing=0.0)
        self._buffer, self._exemplars = buffer, list[Tensor]()

    def network(self) -> tuple[nn.Module, bool]:
        made = Trainable(self.terms)
        trunk, new = made.parts()
        return nn.Sequential(trunk, new(0)), made.pointwise

    def strategy(self, loss: ChangedLoss, course: Course) -> Any:
        trunk, head = self.model.children()
        made = ICaRL(
            feature_extractor=trunk,
            classifier=head,
            memory_size=self._buffer,
            buffer_transform=None,
            fixed_memory=True,
            plugins=[loss, *self.limits, course],
            **self.common(optimiser_for(self.terms.training)(self.model.parameters())),
        )
        (self._exemplars,) = (p.x_memory for p in made.plugins if hasattr(p, "x_memory"))
        return made

    def images(self) -> int:
        return sum(map(len, self._exemplars))
