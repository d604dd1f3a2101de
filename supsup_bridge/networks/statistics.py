"""Statistics of batch norms, as values that belong to a task beside its mask."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hopmask import ConfigError, NumericalError
from supsup_bridge.networks.fixed import Size

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm
_MEAN, _SPREAD = ".mean", ".std"


class NormStatistics:
    """Mean and standard deviation of what a module's batch norms see, under names of their own.

    Those of a norm "bn1" are "bn1.mean" and "bn1.std", (features,). They are the module's buffers
    running_mean and √running_var. The standard deviation and not the variance is kept, since a
    16-bit float holds the square of its range.

    Args:
        module: what holds the norms; they leave the statistics of the last batch in their buffers.

    Attributes:
        momenta: name of each norm -> the momentum that it was given with.

    Example:
        >>> statistics = NormStatistics(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
        >>> statistics.sizes
        {'1.mean': 3, '1.std': 3}
        >>> sorted(statistics.buffers({"1.mean": torch.zeros(3), "1.std": torch.ones(3)}))
        ['1.running_mean', '1.running_var']
    """

    def __init__(self, module: nn.Module) -> None:
        self._norms = {n: m for n, m in module.named_modules() if isinstance(m, BatchNorm)}
        self.momenta = {name: norm.momentum for name, norm in self._norms.items()}
        for norm in self._norms.values():
            _track(norm, like=next(module.parameters()))

    @property
    def training(self) -> dict[str, BatchNorm]:
        """Name -> each norm in training mode; others keep the statistics that they have."""
        return {name: norm for name, norm in self._norms.items() if norm.training}

    @property
    def sizes(self) -> dict[str, Size]:
        """Name of each statistic of the norms in training mode -> number of values."""
        features = {name: norm.num_features for name, norm in self.training.items()}
        return {name + what: size for name, size in features.items() for what in (_MEAN, _SPREAD)}

    def buffers(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Statistics as buffers of the module, by qualified name, in the module's precision."""
        found = {}
        for name, norm in self.training.items():
            like = norm.running_mean
            assert isinstance(like, Tensor)
            found[f"{name}.running_mean"] = values[name + _MEAN].to(like.dtype)
            found[f"{name}.running_var"] = values[name + _SPREAD].to(like.dtype).square()
        return found

    @property
    def unread(self) -> dict[str, Tensor]:
        """Buffers of norms in training mode, by qualified name, as a new norm has them.

        What they hold in truth, of images that the module saw once, no call reads.
        """
        found = {}
        for name, norm in self.training.items():
            for kind, buffer in norm.named_buffers(recurse=False):
                fresh = torch.ones_like if kind == "running_var" else torch.zeros_like
                found[f"{name}.{kind}"] = fresh(buffer)
        return found

    @contextmanager
    def given(self) -> Iterator[None]:
        """Evaluation mode of all norms, in which they use their buffers, for a block."""
        training = self.training
        try:
            for norm in training.values():
                norm.training = False
            yield
        finally:
            for norm in training.values():
                norm.training = True

    @contextmanager
    def used_once(self) -> Iterator[None]:
        """Refuses a norm that takes the statistics of two places, for a block of one pass.

        Raises:
            ConfigError: in the block, where a norm in training mode is called again.
        """
        called, hooks = set[str](), []

        def hook(name: str) -> Callable[..., None]:
            def note(*call: object) -> None:
                if name in called:
                    raise ConfigError(
                        f"batch norm '{name}' is used in two places of the module, whose "
                        "statistics differ: give each place a norm of its own"
                    )
                called.add(name)

            return note

        try:
            for name, norm in self.training.items():
                hooks.append(norm.register_forward_pre_hook(hook(name)))
            yield
        finally:
            for handle in hooks:
                handle.remove()

    def measured(
        self, batches: Iterable[Tensor], run: Callable[[Tensor], Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Means over batches of the statistics of each, weighted by its images.

        Args:
            batches: images (n_i, ...).
            run: passes a batch through the module, in training mode, and returns its buffers.

        Raises:
            ConfigError: there are no images.
        """
        images, sums = 0, dict[str, Tensor]()
        for batch in batches:
            images += len(batch)
            buffers = run(batch)
            for name in self.training:
                for kind in ("running_mean", "running_var"):
                    value = buffers[f"{name}.{kind}"].double() * len(batch)
                    sums[f"{name}.{kind}"] = sums.get(f"{name}.{kind}", 0) + value
        if not images:
            raise ConfigError("the statistics of batch norms need images, got none")
        found = {}
        for name, norm in self.training.items():
            like = norm.running_mean
            assert isinstance(like, Tensor)
            found[name + _MEAN] = (sums[f"{name}.running_mean"] / images).to(like)
            found[name + _SPREAD] = (sums[f"{name}.running_var"] / images).sqrt().to(like)
        return found


def rounded(statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Statistics in the precision of 16-bit floats, in which they are kept; float32.

    Raises:
        NumericalError: one is not finite in 16 bits.

    Example:
        >>> rounded({"bn.mean": torch.tensor([0.1])})
        {'bn.mean': tensor([0.1000])}
    """
    halves = {name: value.detach().half() for name, value in statistics.items()}
    for name, value in halves.items():
        if not bool(torch.isfinite(value).all()):
            raise NumericalError(
                f"statistic '{name}' of a batch norm is not finite in 16 bits (at most 65504): "
                "standardise the images"
            )
    return {name: value.float() for name, value in halves.items()}


def _track(norm: BatchNorm, *, like: Tensor) -> None:
    """Let a norm leave the statistics of the images it saw last in its buffers."""
    norm.momentum = 1.0
    if norm.running_mean is not None:
        return
    if not norm.training:
        raise ConfigError(
            "a batch norm without running statistics, in evaluation mode, predicts each image from "
            "its batch: build it with track_running_stats=True, or call module.train()"
        )
    norm.track_running_stats = True
    norm.running_mean = torch.zeros(norm.num_features, dtype=like.dtype, device=like.device)
    norm.running_var = torch.ones(norm.num_features, dtype=like.dtype, device=like.device)
    norm.num_batches_tracked = torch.tensor(0, dtype=torch.int64, device=like.device)
