"""The settings of a learner: each with its default, checked before any work is done."""

from dataclasses import dataclass, field
from typing import TypedDict

from hopmask import ConfigError, rule_named
from supsup_bridge.continual.task_agnostic.novelty import EPSILON
from supsup_bridge.inference.named import INFERENCES, check_objective, follows_gradient
from supsup_bridge.inference.objectives import OBJECTIVES
from supsup_bridge.inference.recall import RECALLS
from supsup_bridge.inference.signatures import SIGNATURES
from supsup_bridge.networks.masked import MASKS
from supsup_bridge.training.settings import TrainingSettings, is_count

_OF_HOPFIELD = {
    "rule": "storkey",
    "key_bits": 256,
    "signature_features": 2048,
    "recall": "both",
    "signature": "input",
}
_OF_BANK = {"inference": "try-all", "objective": "H", "epsilon": EPSILON}
_COUNTS = ("bits", "key_bits", "classes", "infer_samples", "ask_every", "budget")


class MoreOptions(TypedDict, total=False):
    """The options of `SupSup` that few need, as in `LearnerSettings`."""

    mask_init: str
    rule: str | None
    key_bits: int | None
    signature_features: int | None
    recall: str | None
    signature: str | None
    inference: str | None
    objective: str | None
    epsilon: float | None
    classes: int | None
    infer_samples: int
    ask_every: int
    budget: int | None


@dataclass(frozen=True, kw_only=True)
class LearnerSettings:
    """All settings of `SupSup`; see there. Those of the other kind of memory are None."""

    memory: str = "hopfield"
    masks: str | None = None
    bits: int | None = None
    weights: str = "fixed"
    seed: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)
    mask_init: str = "random"
    rule: str | None = None
    key_bits: int | None = None
    signature_features: int | None = None
    recall: str | None = None
    signature: str | None = None
    inference: str | None = None
    objective: str | None = None
    epsilon: float | None = None
    classes: int | None = None
    infer_samples: int = 1
    task_free: bool = False
    ask_every: int = 20
    budget: int | None = None

    def __post_init__(self) -> None:
        self._check_names()
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and not is_count(value):
                raise ConfigError(f"{name} must be a positive whole number, got {value!r}")
        if not is_count(self.seed, least=0):
            raise ConfigError(f"seed must be a whole number of at least 0, got {self.seed!r}")
        if not isinstance(self.training, TrainingSettings):
            raise ConfigError(f"training must be TrainingSettings, got {self.training!r}")
        if self.budget is not None and not self.task_free:
            raise ConfigError(
                "budget is for task_free=True, where the learner decides when a mask is new: leave "
                "it out"
            )
        hopfield = self.memory == "hopfield"
        for name in _OF_BANK if hopfield else _OF_HOPFIELD:
            if getattr(self, name) is not None:
                other = "bank" if hopfield else "hopfield"
                raise ConfigError(
                    f"{name} is for memory='{other}', got memory='{self.memory}': leave it out"
                )
        if hopfield and self.masks == "weight":
            raise ConfigError(
                "a Hopfield memory of one bit per weight would need the square of the number of "
                "weights: use masks='hashed' or 'unit', or memory='bank'"
            )
        for name, value in (_OF_HOPFIELD if hopfield else _OF_BANK).items():
            if getattr(self, name) is None and not (name == "objective" and self._is_exhaustive):
                object.__setattr__(self, name, value)
        if hopfield:
            rule_named(str(self.rule))
            features = self.signature_features
            if not is_count(features, least=0):
                raise ConfigError(f"signature_features must be at least 0, got {features!r}")
        else:
            check_objective(str(self.inference), self.objective)

    @property
    def mask_kind(self) -> str:
        """The kind of masks, where it was left open as well."""
        return self.masks or ("hashed" if self.memory == "hopfield" else "weight")

    @property
    def has_address(self) -> bool:
        """Whether the memory has a content address."""
        return bool(self.signature_features)

    @property
    def _is_exhaustive(self) -> bool:
        return not follows_gradient(self.inference or str(_OF_BANK["inference"]))

    def _check_names(self) -> None:
        for name, known in (
            ("memory", ("hopfield", "bank")),
            ("masks", (*MASKS, None)),
            ("weights", ("fixed", "given")),
            ("mask_init", ("random", "shared", "mean")),
            ("recall", (*RECALLS, "paper", None)),
            ("inference", (*INFERENCES, None)),
            ("objective", (*OBJECTIVES, None)),
        ):
            value = getattr(self, name)
            if value not in known:
                names = ", ".join(k for k in known if k)
                raise ConfigError(f"{name} must be one of {names}, got {value!r}")
        named = self.signature is None or self.signature in SIGNATURES
        if not named and not (isinstance(self.signature, str) and ":" in self.signature):
            raise ConfigError(
                f"signature must be one of {', '.join(SIGNATURES)} or package.module:function, "
                f"got {self.signature!r}"
            )
