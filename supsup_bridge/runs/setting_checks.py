"""What the settings of a run may not hold together: checks of a `RunSettings`."""

from typing import Any

from hopmask import ConfigError, rule_named
from supsup_bridge.data.benchmarks import PICTURES
from supsup_bridge.inference.named import check_objective


def check_augment(settings: Any) -> None:
    """Raise ConfigError where flat images, or those of NNs, would be augmented."""
    if settings.augment is None:
        return
    if settings.benchmark not in PICTURES:
        raise ConfigError(
            f"augment changes pictures ({', '.join(PICTURES)}), and {settings.benchmark} has flat "
            "images: leave out --augment"
        )
    if settings.scenario == "NNs":
        raise ConfigError(
            "scenario NNs looks at the very batches that it is taught, and trains on them as "
            "they are: leave out --augment"
        )


def check_switches(settings: Any) -> None:
    """Raise ConfigError for switches that are none, or that the scenario does not allow."""
    for name in ("workers", "quick"):
        if not isinstance(value := getattr(settings, name), bool):
            raise ConfigError(f"{name} must be True or False, got {value!r}")
    if settings.workers and settings.scenario == "NNs":
        raise ConfigError(
            "workers train tasks apart from one another, and scenario NNs decides from the "
            "masks so far whether a task is new: leave out --jobs"
        )
    if settings.tasks_at_once not in (None, 1):
        if settings.workers:
            raise ConfigError(
                "workers have one thread each, which trains one task after the other fastest: "
                "leave out --tasks-at-once, or --jobs"
            )
        if settings.scenario == "NNs":
            raise ConfigError(
                "scenario NNs learns from one stream of batches: leave out --tasks-at-once"
            )


def check_dense(settings: Any) -> None:
    """Raise ConfigError for what hashed or unit masks in dense couplings do not take."""
    for name in ("hubs", "objective"):
        if getattr(settings, name) is not None:
            raise ConfigError(
                f"{name} is for weight masks, got {settings.masks} masks in dense couplings: leave "
                f"out --{name}, or use --masks weight"
            )
    if settings.rule is not None:
        rule_named(settings.rule)


def check_address(settings: Any) -> None:
    """Raise ConfigError where a content address is described that is not read, or read without."""
    by_entropy = settings.recall == "entropy" or settings.network == "paper"
    if settings.signature is not None and by_entropy:
        raise ConfigError(
            "recall by entropy alone reads no address: leave out --signature, or both --recall "
            "entropy and --network paper"
        )
    if settings.signature_features is not None and settings.network == "paper":
        raise ConfigError(
            "the paper's network recalls by energy and entropy alone: leave out "
            "--signature-features"
        )
    if settings.signature_features == 0:
        if settings.signature is not None:
            raise ConfigError(
                "signature is for the content address, which signature_features 0 leaves out: "
                "leave out one of --signature and --signature-features"
            )
        if settings.recall not in (None, "entropy"):
            raise ConfigError(
                f"recall {settings.recall} reads the content address, which signature_features 0 "
                "leaves out: leave out --signature-features, or use --recall entropy"
            )


def check_bank(settings: Any) -> None:
    """Raise ConfigError for what a bank of masks does not take."""
    for name in ("hubs", "rule", "recall", "signature", "signature_features"):
        if getattr(settings, name) is not None:
            raise ConfigError(f"{name} is for --memory hopfield: a bank takes --inference")
    if settings.network == "paper":
        raise ConfigError("the paper's network is that of HopSupSup: use --memory hopfield")
    if settings.inference is not None:
        check_objective(settings.inference, settings.objective)
