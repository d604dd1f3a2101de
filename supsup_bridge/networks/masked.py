"""Any module seen through masks: its weights stay as they are, the masks come with each call."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from hopmask import ConfigError, MaskError
from hopmask.errors import unknown_name
from supsup_bridge.networks.attention import attends, plain_attention
from supsup_bridge.networks.calls import Calls
from supsup_bridge.networks.fixed import (
    REFERENCE,
    FixedNetwork,
    Predictor,
    Size,
    evenly,
    misfits_named,
    refuse_lazy,
    shape_of,
)
from supsup_bridge.networks.mask_codes import (
    HashedCode,
    MaskCode,
    SignedCode,
    UnitCode,
    WeightCode,
)
from supsup_bridge.networks.precision import without_autocast
from supsup_bridge.networks.statistics import BatchNorm, NormStatistics, rounded

_log = logging.getLogger(__name__)
PER_WEIGHT = ("weight", "signed")  # one bit per weight
MASKS = (*PER_WEIGHT, "unit", "hashed")
_InstanceNorm = nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d
_Norm = BatchNorm | _InstanceNorm
_SHARE = 32  # weights of one hashed bit, unless `bits` is given


class MaskedNetwork(FixedNetwork):
    """A module f(x, W) as f(x, W ⊙ M): it owns a frozen copy of W and is given M.

    Masks are of its Linear and Conv2d layers, by the layers' names in the module. Everything else
    (biases of weight-masked layers, normalisation) stays as it is. The module that was given is
    never changed, nor are the buffers of the copy: no statistic of one task reaches another.

    Batch normalisation follows the module's mode. In evaluation mode its statistics are the
    module's own. In training mode they belong to the task: `statistics` measures them for a mask,
    and a call that is given them beside the masks uses them, so that no image's logits depend on
    another. A call without them, as in training, uses those of its images, and a predictor without
    them those of its reference images, never of scored ones. Dropout is off: a mask is trained and
    used on one and the same function. Instance normalisation in training mode takes its statistics
    from each image, so that its running statistics, which nothing reads, are left out of the copy.

    Args:
        module: takes images (n, ...) and returns logits (n, outputs).
        masks: "weight" (one bit per weight, which cuts it), "signed" (one bit per weight, which
            flips its sign), "unit" (one per unit or channel of each layer but the last; useless in
            front of a batch norm, which divides it out again), or "hashed" (`bits` shared by all
            weights).
        bits: length of a hashed mask; default one bit for 32 weights.
        spread: generator of the hashed map; default one of seed 0.

    Attributes:
        mask_sizes: name of each mask -> number of bits, or shape.
        outputs: units of the last masked layer, in the order in which the module registers them.

    Raises:
        ConfigError: a module without maskable layers, or options that do not fit; in a call, a
            batch norm in training mode that the module uses twice.

    Example:
        >>> module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> network = MaskedNetwork(module)
        >>> network.mask_sizes
        {'0': (3, 4), '2': (2, 3)}
        >>> masks = {name: torch.ones(size) for name, size in network.mask_sizes.items()}
        >>> images = torch.randn(5, 4)
        >>> torch.equal(network(images, masks), module(images))
        True

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), eqs. 1 and 5.
    """

    def __init__(
        self,
        module: nn.Module,
        masks: str = "weight",
        *,
        bits: int | None = None,
        spread: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if masks not in MASKS:
            raise ConfigError(f"masks must be one of {', '.join(MASKS)}, got {masks!r}")
        if masks != "hashed" and (bits is not None or spread is not None):
            raise ConfigError(f"bits and spread are of hashed masks, not of {masks} masks")
        refuse_lazy(module)
        copy = deepcopy(module).requires_grad_(False)
        bare = isinstance(module, nn.Linear | nn.Conv2d)  # a layer alone has no name in itself
        self.module = nn.Sequential(copy) if bare else copy
        self.training = module.training
        self._layers = _maskable(self.module)
        self._norms, self._calls = NormStatistics(self.module), Calls(self.module)
        self._attends = attends(self.module)
        _forget_unread(self.module)
        self._still()
        if masks == "unit" and any(isinstance(m, _Norm) for m in self.module.modules()):
            _log.warning(
                "unit masks scale a layer's outputs, and batch or instance normalisation right "
                "after it divides that out again: such masks learn little; use weight or hashed "
                "masks, or another normalisation"
            )
        self.code: MaskCode
        if masks == "weight":
            self.code = WeightCode(self._layers)
        elif masks == "signed":
            self.code = SignedCode(self._layers)
        elif masks == "unit":
            self.code = UnitCode(self._layers)
        else:
            weights = sum(layer.weight.numel() for layer in self._layers.values())
            spread = spread or torch.Generator("cpu").manual_seed(0)
            bits = -(-weights // _SHARE) if bits is None else bits
            self.code = HashedCode(self._layers, bits=bits, spread=spread)
        self.mask_sizes: dict[str, Size] = self.code.sizes
        self.outputs = len(list(self._layers.values())[-1].weight)

    @property
    def score_bounds(self) -> dict[str, float]:
        return self.code.bounds

    @property
    def pointwise(self) -> bool:
        return not self._norms.training

    @property
    def statistics_sizes(self) -> dict[str, Size]:
        return self._norms.sizes

    @property
    def identity(self) -> dict[str, Tensor]:
        unread = {f"module.{name}": value for name, value in self._norms.unread.items()}
        return {**super().identity, **unread}

    @property
    def momenta(self) -> dict[str, float | None]:
        """Name of each batch norm -> its momentum in the module that was given."""
        return self._norms.momenta

    def train(self, mode: bool = True) -> "MaskedNetwork":
        """Training or evaluation mode of the normalisations; dropout stays off."""
        super().train(mode)
        self._still()
        return self

    def _still(self) -> None:
        """Evaluation mode for whatever is no normalisation, so that nothing is drawn at random."""
        for part in self.module.modules():
            if not isinstance(part, _Norm):
                part.training = False

    def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        """Logits f(x, W ⊙ M).

        Args:
            images: (n, ...), or (b, n, ...) for b masks at once.
            masks: name -> bool, or levels in [0, 1], (*size) or (b, *size); every name, and all
                statistics or none.

        Returns:
            (n, outputs) or (b, n, outputs).

        Raises:
            MaskError: a name that is missing or unknown, or a mask of another shape.
        """
        batched = self._check(masks)
        with self._calls.one():
            values = self.code.masked(self._layers, masks)
            rows = len(next(iter(values.values()))) if batched else None
            values |= self._buffers_under(masks, rows=rows)
            return self._call(images, values, given=self.pointwise_given(masks), batched=batched)

    def masked_parameters(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name of each masked parameter of `module` -> its value W ⊙ M.

        Args:
            masks: name -> levels in [0, 1] (*size) or (b, *size).

        Raises:
            MaskError: as in a call.
        """
        self._check(masks)
        with self._calls.one():
            return self.code.masked(self._layers, masks)

    def task_buffers(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name of each buffer of `module` that belongs to the task -> its value.

        Args:
            masks: the task's, with its statistics.

        Raises:
            MaskError: as in a call, and where statistics are missing.
        """
        self._check(masks)
        if not self.pointwise_given(masks):
            raise MaskError(
                f"the statistics of a task are missing: give {list(self.statistics_sizes)} beside "
                "its masks"
            )
        return self._norms.buffers(masks)

    def statistics(
        self, masks: Mapping[str, Tensor], batches: Iterable[Tensor]
    ) -> dict[str, Tensor]:
        return rounded(self._measured(masks, batches)) if self.statistics_sizes else {}

    def predictor(self, masks: Mapping[str, Tensor], reference: Tensor) -> Predictor:
        self._check(masks)
        if not self.pointwise_given(masks):
            masks = {**masks, **self._measured(masks, [evenly(reference, REFERENCE)])}
        with self._calls.one():
            buffers = self._buffers_under(masks, rows=None)
            values = {**self.code.masked(self._layers, masks), **buffers}

        def predict(images: Tensor) -> Tensor:
            with misfits_named(self, images), self._calls.one():
                return self._call(images, values, given=True, batched=False)

        return predict

    def _measured(
        self, masks: Mapping[str, Tensor], batches: Iterable[Tensor]
    ) -> dict[str, Tensor]:
        """Statistics of the norms in training mode, as they are."""
        values = self.masked_parameters(masks)

        def run(images: Tensor) -> dict[str, Tensor]:
            with misfits_named(self, images), self._calls.one():
                buffers = self._buffers_under({}, rows=None)
                self._call(images, {**values, **buffers}, given=False, batched=False)
            return buffers  # of these images

        with torch.no_grad(), without_autocast(self.device):
            return self._norms.measured(batches, run)

    def _call(
        self, images: Tensor, values: dict[str, Tensor], *, given: bool, batched: bool
    ) -> Tensor:
        """Logits under parameters and buffers, which are changed unless statistics are given."""

        def run(images: Tensor, values: dict[str, Tensor]) -> Tensor:
            logits: Tensor = functional_call(self.module, values, (images,), tie_weights=False)
            return logits

        norms = self._norms.given() if given else self._norms.used_once()
        with _unchanged(images), norms:
            if not batched:
                return run(images, values)
            with plain_attention() if self._attends else nullcontext():
                answer: Tensor = vmap(run, randomness="different")(images, values)
            return answer

    def _buffers_under(self, masks: Mapping[str, Tensor], *, rows: int | None) -> dict[str, Tensor]:
        """Copies of the module's buffers, so that a call leaves nothing behind, or those given."""
        own = {name: buffer.clone() for name, buffer in self.module.named_buffers()}
        if rows is not None:
            own = {name: buffer.expand(rows, *buffer.shape).clone() for name, buffer in own.items()}
        return {**own, **self._norms.buffers(masks)} if self.pointwise_given(masks) else own

    def _check(self, masks: Mapping[str, Tensor]) -> bool:
        """Whether the masks come in a batch; MaskError unless they are this network's."""
        statistics = self.statistics_sizes
        wanted = {**self.mask_sizes, **statistics}
        for name in masks:
            if name not in wanted:
                raise MaskError(unknown_name("mask", name, wanted))
        if statistics.keys().isdisjoint(masks):
            wanted = self.mask_sizes
        batches = set()
        for name, size in wanted.items():
            if name not in masks:
                raise MaskError(f"mask '{name}' is missing: give {list(wanted)}")
            shape = shape_of(size)
            came = tuple(masks[name].shape)
            if came[len(came) - len(shape) :] != shape or len(came) > len(shape) + 1:
                raise MaskError(
                    f"mask '{name}' must have shape {shape} or (batch, ...), got {came}"
                )
            batches.add(came[: len(came) - len(shape)])
        if len(batches) > 1:
            raise MaskError(f"the masks must have one batch size, got {sorted(batches)}")
        return batches != {()}


def _forget_unread(module: nn.Module) -> None:
    """Take the running statistics from instance norms in training mode."""
    for norm in module.modules():
        if isinstance(norm, _InstanceNorm) and norm.training and norm.track_running_stats:
            norm.track_running_stats = False
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None


def _maskable(module: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Name -> layer of every Linear and Conv2d."""
    layers = {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    }
    if not layers:
        raise ConfigError(
            f"{type(module).__name__} has no Linear or Conv2d layer: there is nothing to mask"
        )
    for name, layer in layers.items():
        if "weight" not in layer._parameters:
            raise ConfigError(
                f"the weight of layer '{name}' is computed from others (weight norm or another "
                "parametrisation): remove the parametrisation before masking the module"
            )
    return layers


@contextmanager
def _unchanged(images: Tensor) -> Iterator[None]:
    """ConfigError where a block changes images in place, which the next mask would see."""
    before = None if images.is_inference() else images._version
    yield
    if before is not None and images._version != before:
        raise ConfigError(
            "the module changes its images in place, and the next mask would see other ones: let "
            "it compute with a copy, such as x = x - 1 in place of x.sub_(1)"
        )
