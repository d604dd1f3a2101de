"""The settings of a learner: each with its default, checked before any work is done."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypedDict

from hopmask import ConfigError, rule_named
from hopmask.errors import unknown_name
from supsup_bridge.continual.task_agnostic.novelty import EPSILON
from supsup_bridge.data.pixel_scale import UNKNOWN, PixelScale
from supsup_bridge.data.task import Task
from supsup_bridge.inference.named import INFERENCES, check_objective, follows_gradient
from supsup_bridge.inference.objectives import OBJECTIVES
from supsup_bridge.inference.recall import RECALLS
from supsup_bridge.inference.signatures import SIGNATURES
from supsup_bridge.networks.masked import MASKS, PER_WEIGHT
from supsup_bridge.training.settings import TrainingSettings, is_count

DENSE_MASKS = tuple(m for m in MASKS if m not in PER_WEIGHT)  # dense couplings hold these
FEATURES = 2048  # of the content address
MOST_HUBS = 65_536
INITS = ("random", "shared", "mean", "ones", "nearest", "previous", "earlier")  # see `Starts`
OF_TASKS = INITS[3:]  # starts that a learner without task boundaries does not take
OF_EARLIER = ("mean", *INITS[4:])  # starts that depend on the tasks learned before
ASK_EVERY = 20  # batches between two novelty tests
_OF_DENSE = {"rule": "storkey", "key_bits": 256}
_OF_HUBS = ("hubs", "signature_groups")
_OF_HOPFIELD = (*_OF_HUBS, *_OF_DENSE, "signature_features", "recall", "signature")
_OF_BANK = ("inference", "epsilon")
_OF_STREAMS = ("budget", "ask_every", "epsilon")
_COUNTS = (
    *("bits", *_OF_HUBS, "key_bits", "classes", "infer_samples"),
    *("ask_every", "budget"),
)


class MoreOptions(TypedDict, total=False):
    """The options of `SupSup` that few need, as in `LearnerSettings`."""

    mask_init: str
    hubs: int | None
    rule: str | None
    key_bits: int | None
    signature_features: int | None
    signature_groups: int | None
    recall: str | None
    signature: str | None
    inference: str | None
    objective: str | None
    epsilon: float | None
    classes: int | None
    infer_samples: int | None
    pixels: PixelScale | str | None
    ask_every: int | None
    budget: int | None


def check_options(given: Iterable[str]) -> None:
    """Raise ConfigError for a name that is none of `MoreOptions`."""
    for name in given:
        if name not in MoreOptions.__annotations__:
            known = [*LearnerSettings.__dataclass_fields__, "inputs", "outputs", "device"]
            raise ConfigError(unknown_name("option", name, known))


@dataclass(frozen=True, kw_only=True)
class LearnerSettings:
    """All settings of `SupSup`; see there. None where the learner has no use for one."""

    memory: str = "hopfield"
    masks: str | None = None
    bits: int | None = None
    weights: str = "fixed"
    seed: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)
    mask_init: str = "random"
    hubs: int | None = None
    rule: str | None = None
    key_bits: int | None = None
    signature_features: int | None = None
    signature_groups: int | None = None
    recall: str | None = None
    signature: str | None = None
    inference: str | None = None
    objective: str | None = None
    epsilon: float | None = None
    classes: int | None = None
    infer_samples: int | None = None
    pixels: PixelScale | str | None = None
    task_free: bool = False
    ask_every: int | None = None
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
        if not (isinstance(self.pixels, PixelScale | None) or self.pixels == UNKNOWN):
            raise ConfigError(
                f"pixels must be a PixelScale, {UNKNOWN!r} or None, got {self.pixels!r}"
            )
        self._refuse_what_is_ignored()
        if self.memory == "bank":
            self._complete_bank()
        else:
            self._complete_hopfield()
        if self.task_free and self.ask_every is None:
            object.__setattr__(self, "ask_every", ASK_EVERY)

    def taught_by(self, data: object, *, tasks: int) -> "LearnerSettings":
        """The settings once a learner of so many tasks has learned the data.

        A first `Task` says how images are made of pixels, where `pixels` leaves it open.
        """
        if not isinstance(data, Task) or self.pixels is not None or tasks > 0:
            return self
        return replace(self, pixels=data.scale or UNKNOWN)

    @property
    def mask_kind(self) -> str:
        """The kind of masks, where it was left open as well."""
        return self.masks or "weight"

    @property
    def on_hubs(self) -> bool:
        """Whether masks go to a Hopfield memory with hub couplings."""
        return self.memory == "hopfield" and self.mask_kind not in DENSE_MASKS

    @property
    def has_address(self) -> bool:
        """Whether the memory has a content address."""
        return bool(self.signature_features)

    @property
    def by_class(self) -> bool:
        """Whether the content address keeps a mean of each class of a task."""
        return (self.signature_groups or 1) > 1

    def _refuse_what_is_ignored(self) -> None:
        """Raise ConfigError for options that such a learner has no use for."""
        for name in _OF_STREAMS:
            if getattr(self, name) is not None and not self.task_free:
                raise ConfigError(
                    f"{name} is for task_free=True, where the learner decides when a mask is new: "
                    "leave it out"
                )
        if self.task_free and self.mask_init in OF_TASKS:
            raise ConfigError(
                f"mask_init='{self.mask_init}' is for tasks that are given, and task_free=True is "
                "given none: use mask_init='mean', 'random' or 'shared'"
            )
        changes = [name for name in ("augment", "mixup") if getattr(self.training, name)]
        if self.task_free and changes:
            raise ConfigError(
                f"{changes[0]} is for learn(data); observe(images, labels) takes a batch as it is: "
                "leave it out, and change images before observe"
            )
        check_start(self.mask_init, self.mask_kind)
        hopfield = self.memory == "hopfield"
        for name in _OF_BANK if hopfield else _OF_HOPFIELD:
            if getattr(self, name) is not None:
                other = "bank" if hopfield else "hopfield"
                raise ConfigError(
                    f"{name} is for memory='{other}', got memory='{self.memory}': leave it out"
                )
        for name in _OF_DENSE if self.on_hubs else _OF_HUBS:
            if getattr(self, name) is not None:
                remedy = "masks='hashed' or 'unit'" if self.on_hubs else "masks='weight'"
                raise ConfigError(
                    f"{name} is for {remedy}, got {self.mask_kind} masks: leave it out, or use "
                    f"{remedy}"
                )
        if hopfield and not self.on_hubs and self.objective is not None:
            raise ConfigError(
                "objective is for masks='weight' on hubs, or memory='bank': dense couplings follow "
                "the entropy. Leave it out"
            )

    def _complete_bank(self) -> None:
        """Fill in what was left open, and check it."""
        inference = self.inference or "try-all"
        object.__setattr__(self, "inference", inference)
        check_objective(inference, self.objective)
        if self.objective is None and follows_gradient(inference):
            object.__setattr__(self, "objective", "H")
        if self.task_free and self.epsilon is None:
            object.__setattr__(self, "epsilon", EPSILON)

    def _complete_hopfield(self) -> None:
        """Fill in what was left open, and check it."""
        if self.signature_features is None:
            object.__setattr__(self, "signature_features", FEATURES)
        if not is_count(self.signature_features, least=0):
            raise ConfigError(
                f"signature_features must be at least 0, got {self.signature_features!r}"
            )
        if self.recall is None:
            object.__setattr__(self, "recall", self._usual_recall())
        reads = self.recall in ("both", "address", "posterior")
        if reads and not self.has_address:
            raise ConfigError(
                f"recall='{self.recall}' reads the content address, which signature_features=0 "
                "leaves out: give features, or use recall='entropy'"
            )
        if self.signature is not None and not self.has_address:
            raise ConfigError(
                "signature is for the content address, which signature_features=0 leaves out: give "
                "features, or leave out the signature"
            )
        if self.recall == "posterior" and (self.task_free or not self.by_class):
            raise ConfigError(
                "recall='posterior' weighs the classes of given tasks: use signature_groups=, the "
                "number of classes of a task, and no task_free; or recall='both'"
            )
        if self.mask_kind == "signed" and self.signature in ("outputs", "gradient"):
            raise ConfigError(
                f"signature '{self.signature}' is of the network at half mask, where signed "
                "weights cancel out to 0: use signature 'input', or masks='weight'"
            )
        if not self.on_hubs:
            for name, value in _OF_DENSE.items():
                if getattr(self, name) is None:
                    object.__setattr__(self, name, value)
            rule_named(str(self.rule))
            return
        if self.signature_groups is None:
            object.__setattr__(self, "signature_groups", 1)
        if self.signature_groups != 1 and not self.has_address:
            raise ConfigError(
                f"signature_groups={self.signature_groups} is of the content address, which "
                "signature_features=0 leaves out: give features, or leave out the groups"
            )
        if self.recall == "paper":
            raise ConfigError(
                "recall='paper' descends on dense couplings: use masks='unit' or 'hashed'"
            )
        if self.recall in ("address", "posterior") and self.objective is not None:
            raise ConfigError(
                "objective is for a recall that follows a gradient: leave it out, or use "
                "recall='both' or 'entropy'"
            )

    def _usual_recall(self) -> str:
        """The recall of a Hopfield memory that was left open."""
        if not self.has_address:
            return "entropy"
        weighs = self.by_class and not self.task_free and self.objective is None
        return "posterior" if weighs else "both"

    def _check_names(self) -> None:
        for name, known in (
            ("memory", ("hopfield", "bank")),
            ("masks", (*MASKS, None)),
            ("weights", ("fixed", "given")),
            ("mask_init", INITS),
            ("recall", (*RECALLS, "posterior", "paper", None)),
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


def check_start(mask_init: str | None, masks: str | None) -> None:
    """Raise ConfigError for a start that means nothing with masks of that kind."""
    if mask_init == "ones" and masks == "hashed":
        raise ConfigError(
            "mask_init 'ones' keeps every weight, and half of the weights under a hashed mask are "
            "off whatever its bits: use another start, or weight masks"
        )
