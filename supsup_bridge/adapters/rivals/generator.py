"""Generative replay, by Avalanche: a VAE draws images of earlier tasks."""

from collections.abc import Iterable
from typing import Any

import torch
from avalanche.models.generator import MlpVAE, VAE_loss
from avalanche.training.plugins import GenerativeReplayPlugin, TrainGeneratorAfterExpPlugin
from avalanche.training.supervised import VAETraining
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.adapters.rivals.methods import Method
from supsup_bridge.adapters.rivals.networks import Terms
from supsup_bridge.adapters.rivals.training import LimitedBatches, TaskExperience
from supsup_bridge.training.settings import is_count


class GenerativeReplay(Method):
    """Generative replay: each step sees a batch, and as many images that a generator draws.

    Their labels are those that the network gave before the task. The generator is Avalanche's VAE
    for flat images, trained after each task for as many steps, with images of its own earlier self
    among the task's. Its range is that of the first task's pixels; Avalanche's is MNIST's. Its
    Adam goes on from task to task at a constant rate. Avalanche's VAE draws with a deviation of
    exp(v) / 2, where its loss takes v for the logarithm of a variance.

    Source:
        Shin et al. 2017 (arXiv 1705.08690), by Avalanche's `GenerativeReplayPlugin` and `MlpVAE`;
        rate and weight decay of the VAE are those of Avalanche's `GenerativeReplay`. The paper's
        generator is a GAN, and its share of new images falls with the number of tasks.
    """

    unserved = "nothing says of which task an image is that its generator draws"

    def __init__(self, terms: Terms, *, latent: int = 2) -> None:
        super().__init__(terms)
        if not is_count(latent):
            raise ConfigError(f"latent must be a positive whole number, got {latent!r}")
        shape = (terms.inputs,) if isinstance(terms.inputs, int) else tuple(terms.inputs)
        self._vae = MlpVAE(shape, nhid=latent, n_classes=1, device=terms.device)
        self.limits.append(LimitedBatches())
        adam = torch.optim.Adam(self._vae.parameters(), lr=0.01, weight_decay=1e-4)
        trainer = VAETraining(
            model=self._vae,
            criterion=VAE_loss,
            plugins=[GenerativeReplayPlugin(), self.limits[1]],
            **self.common(adam),
        )
        self.plugins = [
            TrainGeneratorAfterExpPlugin(),
            GenerativeReplayPlugin(generator_strategy=trainer),
        ]

    def teach(self, strategy: Any, experience: TaskExperience, steps: int) -> None:
        if not strategy.clock.train_exp_counter:
            self._vae.decoder.invTrans = experience.pixels()
        super().teach(strategy, experience, steps)

    def kept(self) -> Iterable[Tensor]:
        return [value for value in self._vae.state_dict().values() if value.is_floating_point()]
