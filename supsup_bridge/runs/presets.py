"""Default sizes and training of each benchmark and kind of mask; a run's settings overrule them.

Those of CIFAR were compared on held-out training images of one task of CIFAR-100, with the task
given (see `benchmarks/picture_settings.py`: a short training does better without strong changes of
images), and the inference on those of five tasks (see docs/data_sets.md); other pictures took them
over. The defaults of the MNIST benchmarks were chosen on parts of
MNIST's training images alone, and on other permutations than the runs use. The digits come without
a test part: their defaults were chosen on other random splits of the same 1797 images, so images
that a run scores were among the images looked at, and the figures on digits are optimistic to that
extent.
"""

from dataclasses import dataclass, replace
from typing import Any

from hopmask import ConfigError
from supsup_bridge.continual.building import device_named
from supsup_bridge.data.benchmarks import check_benchmark
from supsup_bridge.networks.precision import precision_on
from supsup_bridge.runs.settings import RunSettings
from supsup_bridge.training.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What a run uses where its settings say nothing.

    Attributes:
        network: name of the architecture.
        bits: mask bits (hashed), or hidden units per layer (unit); not used by weight masks.
        outputs: output units, superfluous ones included.
        rule: of dense couplings.
        key_bits: of dense couplings: bits of a task's key.
        features: random features of the content address; 0 for none.
        class_means: whether the address of a memory on hubs keeps one mean per class, not per task.
        signature: what the address sees of an image.
        recall: how a Hopfield memory with an address infers the task, unless an objective asks
            for a search.
        infer_samples: images that a task inference sees.
        inference: how a bank infers the task.
        objective: whose gradient points at a task, where one does.
        mask_init: where scores start.
        ask_every: NNs: batches between two novelty tests.
        training: how masks are trained.
    """

    network: str = "lenet-300-100"
    bits: int = 0
    outputs: int = 100
    rule: str = "storkey"
    key_bits: int = 256
    features: int = 2048
    class_means: bool = False
    signature: str = "input"
    recall: str = "both"
    infer_samples: int = 1
    inference: str = "one-shot"
    objective: str = "H"
    mask_init: str = "random"
    ask_every: int = 100
    training: TrainingSettings


_QUICK = 20  # training steps per task of a quick run
_TOO_LARGE = "{} keeps no content address of images this large: leave out {}"
_ASK = 20  # divides the batches of a task of digits, 80, and of a quick run
_DIGITS = TrainingSettings(epochs=20, batch=64, contrast=1.0, noise=1.5)
_PAPER = TrainingSettings(epochs=1, optimiser="sgd", rate=0.1, contrast=0)
_THOUSAND = TrainingSettings(epochs=3, max_batches=1000, contrast=0)  # batches of 128
_WEIGHTS = replace(_THOUSAND, rate=3e-3, diluted_every=16)
_PICTURES = TrainingSettings(
    epochs=60,
    rate=3e-3,
    averaging=0.99,
    smoothing=0.1,
    mixup=0.6,
    contrast=0,
    augment="strong",
    precision="auto",
)
_STREAMED = 64  # images of 224 x 224 pixels in a batch
_SMALL_PICTURES = Preset(
    network="gem-resnet18",
    outputs=10,
    class_means=True,
    signature="patches",
    recall="posterior",
    inference="try-all",
    training=_PICTURES,
)

_PRESETS: dict[tuple[str, str, str], Preset] = {
    ("split-digits", "hashed", "standard"): Preset(bits=2048, ask_every=_ASK, training=_DIGITS),
    ("split-digits", "unit", "standard"): Preset(
        network="layer-norm", bits=1024, infer_samples=64, ask_every=_ASK, training=_DIGITS
    ),
    ("split-digits", "weight", "standard"): Preset(
        features=1024,
        class_means=True,
        recall="posterior",
        inference="try-all",
        ask_every=_ASK,
        training=_DIGITS,
    ),
    ("split-mnist", "hashed", "standard"): Preset(
        bits=5120, features=4096, training=TrainingSettings(epochs=6)
    ),
    ("split-mnist", "unit", "standard"): Preset(
        network="layer-norm",
        bits=2048,
        features=4096,
        infer_samples=64,
        training=TrainingSettings(epochs=3),
    ),
    ("split-mnist", "unit", "paper"): Preset(
        network="paper",
        bits=2048,
        outputs=10,
        features=0,
        infer_samples=64,
        training=_PAPER,
    ),
    ("split-mnist", "weight", "standard"): Preset(
        features=4096,
        class_means=True,
        signature="patches",
        recall="posterior",
        inference="try-all",
        training=TrainingSettings(epochs=6, rate=3e-3),
    ),
    ("permuted-mnist", "hashed", "standard"): Preset(bits=8192, key_bits=512, training=_THOUSAND),
    ("permuted-mnist", "unit", "standard"): Preset(  # superfluous outputs cost 0.05 of accuracy
        network="layer-norm",
        bits=2048,
        outputs=10,
        key_bits=1024,
        infer_samples=64,
        training=replace(_THOUSAND, max_batches=500),
    ),
    ("permuted-mnist", "weight", "standard"): Preset(outputs=500, objective="G", training=_WEIGHTS),
    ("rotated-mnist", "hashed", "standard"): Preset(  # neighbours' masks are too alike for storkey
        bits=8192, key_bits=512, rule="projection", training=_THOUSAND
    ),
    ("rotated-mnist", "unit", "standard"): Preset(
        network="layer-norm", bits=2048, key_bits=512, infer_samples=64, training=_THOUSAND
    ),
    ("rotated-mnist", "weight", "standard"): Preset(
        network="fc-1024-1024",
        outputs=200,
        inference="binary",
        mask_init="shared",
        training=_WEIGHTS,
    ),
    ("split-cifar10", "weight", "standard"): _SMALL_PICTURES,
    ("split-cifar100", "weight", "standard"): _SMALL_PICTURES,
    ("split-tiny-imagenet", "weight", "standard"): _SMALL_PICTURES,
    ("split-tiny-imagenet-32", "weight", "standard"): _SMALL_PICTURES,
    ("folder", "weight", "standard"): _SMALL_PICTURES,
    ("split-imagenet", "weight", "standard"): Preset(  # an address of pixels says little here
        network="resnet50",
        outputs=10,
        features=0,
        inference="try-all",
        training=replace(_PICTURES, epochs=100, batch=_STREAMED),  # about 8 GB
    ),
    ("idx", "weight", "standard"): Preset(
        features=4096,
        class_means=True,
        inference="try-all",
        training=TrainingSettings(epochs=6, rate=3e-3),
    ),
}


def preset(benchmark: str, masks: str, network: str = "standard") -> Preset:
    """The preset of a benchmark.

    Args:
        benchmark: such as "split-mnist".
        masks: "hashed", "unit", "weight" or "signed". Signed masks go as weight masks do, but that
            a bank tries every mask: their mean is close to no network at all, and its gradient
            names the task less surely.
        network: "paper" for HopSupSup as published (SplitMNIST, unit masks); any other network
            goes with the standard preset.

    Raises:
        ConfigError: no such combination.

    Example:
        >>> preset("split-digits", "hashed").bits
        2048
    """
    check_benchmark(benchmark)
    kind = "paper" if network == "paper" else "standard"
    if masks == "signed":
        return replace(preset(benchmark, "weight", network), inference="try-all")
    try:
        return _PRESETS[benchmark, masks, kind]
    except KeyError:
        known = ", ".join(f"{b} with {m} masks ({n})" for b, m, n in _PRESETS)
        raise ConfigError(
            f"no {benchmark} with {masks} masks on the {kind} network. There are: {known}"
        ) from None


def recall_of(settings: RunSettings, chosen: Preset) -> str:
    """How a Hopfield memory infers the task.

    Raises:
        ConfigError: a posterior where no class has a mean of its own, or an address where images
            are too large for one.

    Example:
        >>> settings = RunSettings(objective="G")
        >>> recall_of(settings, preset("split-digits", "weight"))
        'both'
    """
    if settings.network == "paper":
        return "paper"
    reads = settings.recall in ("both", "address", "posterior") or settings.signature is not None
    if reads and not chosen.features:
        raise ConfigError(_TOO_LARGE.format(settings.benchmark, "--recall and --signature"))
    if settings.recall == "posterior" and not chosen.class_means:
        raise ConfigError(
            f"recall posterior weighs classes: {settings.benchmark} with {settings.masks} masks "
            "keeps no mean of each: use weight masks on a split benchmark, or --recall both"
        )
    if not chosen.features:
        return settings.recall or "entropy"
    weighs = settings.objective is None and settings.scenario != "NNs"
    weighs = weighs and settings.classes_per_task != 1  # one class has nothing to weigh
    usual = "both" if chosen.recall == "posterior" and not weighs else chosen.recall
    return settings.recall or usual


def resolved(settings: RunSettings, *, streamed: bool = False) -> Preset:
    """The benchmark's preset with what the settings change in it.

    Args:
        settings: of the run.
        streamed: whether the pictures of a folder are large, and read batch by batch.

    Raises:
        ConfigError: settings that the benchmark cannot have.

    Example:
        >>> folder = RunSettings(benchmark="folder")
        >>> resolved(folder).features, resolved(folder, streamed=True).features
        (2048, 0)
    """
    chosen = preset(settings.benchmark, str(settings.masks), settings.network)
    if streamed and settings.benchmark == "folder":
        training = replace(chosen.training, batch=_STREAMED)
        chosen = replace(chosen, features=0, training=training)
    if settings.network != "standard":
        chosen = replace(chosen, network=settings.network)
    if settings.signature_features and not chosen.features:
        raise ConfigError(_TOO_LARGE.format(settings.benchmark, "--signature-features"))
    if settings.signature_features is not None:
        chosen = replace(chosen, features=settings.signature_features)
    if not chosen.features:
        chosen = replace(chosen, class_means=False)
    given: dict[str, Any] = {
        "bits": settings.bits,
        "outputs": settings.output_size or max(chosen.outputs, settings.classes_per_task or 0),
        "infer_samples": 1 if settings.protocol == "image" else settings.infer_samples,
        "signature": settings.signature,
        "recall": recall_of(settings, chosen),
        "inference": settings.inference,
        "mask_init": settings.mask_init,
        "objective": settings.objective,
    }
    chosen = replace(chosen, **{name: value for name, value in given.items() if value is not None})
    precision = settings.train_in or chosen.training.precision
    if precision == "auto":
        precision = precision_on(precision, device_named(settings.device))
    training = replace(chosen.training, sparsity=settings.sparsity, precision=precision)
    if settings.batches is not None:
        training = replace(training, max_batches=settings.batches, epochs=settings.batches)
    if settings.scenario == "NNs":  # where the images of a batch are also compared with tasks
        training = replace(training, augment=None, mixup=0.0)
    if settings.augment not in (None, "strong"):
        changes = None if settings.augment == "none" else settings.augment
        training = replace(training, augment=changes, mixup=0.0, smoothing=0.0)
    if settings.quick:
        training = replace(training, max_batches=_QUICK)
    return replace(chosen, training=training)
