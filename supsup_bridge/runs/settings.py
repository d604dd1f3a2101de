"""The settings of a run: each with its default, checked before any work is done."""

from dataclasses import dataclass
from math import isfinite

from hopmask import ConfigError
from hopmask.errors import MemoryFullError, unknown_name
from supsup_bridge.continual.scoring import PROTOCOLS
from supsup_bridge.continual.settings import INITS, MOST_HUBS, OF_TASKS, check_start
from supsup_bridge.data.benchmarks import (
    BENCHMARKS,
    check_benchmark,
    default_classes,
    default_tasks,
)
from supsup_bridge.inference.named import INFERENCES
from supsup_bridge.inference.objectives import OBJECTIVES
from supsup_bridge.inference.recall import RECALLS
from supsup_bridge.inference.signatures import SIGNATURES
from supsup_bridge.networks.masked import MASKS, PER_WEIGHT
from supsup_bridge.networks.registry import NETWORKS, sized_by_bits
from supsup_bridge.runs.learners import check_learner
from supsup_bridge.runs.setting_checks import (
    check_address,
    check_augment,
    check_bank,
    check_dense,
    check_switches,
)
from supsup_bridge.training.settings import AUGMENTATIONS, is_count

SCENARIOS = ("GG", "GNs", "GNu", "NNs")
MEMORIES = ("hopfield", "bank")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What to run. None means: what the benchmark's preset says.

    Args:
        benchmark: "split-digits", "split-mnist", "permuted-mnist", "rotated-mnist",
            "split-cifar10", "split-cifar100", "split-tiny-imagenet", "split-tiny-imagenet-32",
            "split-imagenet", "folder" or "idx".
        scenario: "GG" (the task is given), "GNs" (only the label counts), "GNu" (task and label
            count) or "NNs" (not given in training either; only the label counts).
        memory: "hopfield" (constant size, masks deleted) or "bank" (every mask kept).
        masks: "weight" (default) or "signed", which a Hopfield memory holds on hubs; "hashed" or
            "unit" (default of the paper's network), which it holds in dense couplings. What is said
            of weight masks holds for signed ones.
        bits: mask bits (hashed), or hidden units per layer (unit).
        hubs: of weight masks in a Hopfield memory: a power of two, and the number of tasks that
            fit; default the smallest that holds the run's tasks (NNs: 64, doubled whenever full).
        rule: of dense couplings: "storkey", "storkey-matrix", "hebbian", "projection".
        recall: of a Hopfield memory: "entropy" (default without an address), "address", "both"
            (default) or "posterior" (weight masks with a mean of each class; default of
            split-digits, split-mnist, and pictures of which an address is kept, unless an objective
            or NNs is given). Scenario GG infers
            nothing: recall, inference and objective are of the learner that the run leaves behind.
        signature: of a Hopfield memory: what the content address computes from images to recognize
            a task: "input", "patches" (responses of random filters), "outputs" or "gradient" (of
            the network at half mask), or "package.module:function" of images (..., pixels);
            default the benchmark's.
        signature_features: of a Hopfield memory: random features of the content address; 0 for
            none, so that recall is by entropy, the memory is smaller, and tasks are learned faster.
        inference: of a bank: "one-shot", "binary", "descent", "try-all" or "argmax".
        objective: whose gradient points at a task, of weight masks in a Hopfield memory and of a
            bank's inference by gradient: "H" (entropy) or "G" (superfluous outputs).
        output_size: output units, superfluous ones included.
        sparsity: share of the mask's entries that is kept, from 0 to 1, at most half of each layer
            (top-k under the Erdős–Rényi budget, the paper's use of the word); None for thresholded
            scores.
        mask_init: scores start "random" for each task, from one "shared" draw, the "mean" of the
            masks so far (Transfer), "ones" (every weight kept), or one earlier mask: of the
            "nearest" task by the run's task inference, the "previous", or a random "earlier" one.
        batches: training steps per task; not together with `quick`.
        augment: of benchmarks of pictures: "strong" (default) changes training images as the preset
            says, blends them and smooths labels; "crop-flip" crops and mirrors them alone, better
            for a short training; "none" takes them as they are. NNs always does the last.
        train_in: precision of layers in training, "float32" or "bfloat16". Default float32; of
            pictures what suits the device (see `TrainingSettings`), filled in when the run begins.
        tasks: how many tasks; default the benchmark's own number, or as many as the classes of its
            data make, which stays None until the data is read.
        classes_per_task: of benchmarks that split a data set by the seed: classes of a task.
        seed: of everything.
        infer_samples: images that one inference sees (the paper's network: at each step).
        protocol: "batch": one inference serves 128 scored images and sees others of their task, as
            in the paper; "image": every scored image infers its own task from itself alone.
        network: a name: "standard" (the preset's), "lenet-300-100", "fc-100-100", "layer-norm"
            (unit masks), "package.module:function" (called with inputs and outputs, returns a
            module), or "paper": batch-norm, the paper's training and recall schedule.
        epsilon: NNs on a bank: a mask is recognized where it stands out by 1/epsilon standard
            deviations (default 0.04); see `NoveltyTest`.
        ask_every: NNs: batches between two novelty tests; default the preset's, or a task's
            batches where these are fewer.
        budget: NNs: masks allocated at most; None for no limit.
        evaluate_every: score all tasks (of more than 100, a sample of 100) after every so many;
            default after each of the first ten, then at 20, 50, 100, 200, 500 ... In between the
            newest task alone is scored, beyond 100 tasks every tenth. At the end all are.
        quick: 20 training steps per task, to see that everything runs; figures mean nothing.
        device: "auto", "cpu" or "cuda".
        learner: "supsup", or the name of a learner to compare it with; that has no memory of masks,
            so that whatever is said of masks, memory and recall must be left out.
        tasks_at_once: tasks that are trained in one computation, of those with equally many images;
            default: as many as the device is fastest with (see `tasks_at_once`). Masks are the same
            up to rounding. Not together with `workers`, nor where those are refused.
        workers: worker processes train the tasks, with one thread each; see `Workers`. Sums of
            several threads round in another way, so that other masks come out; how many workers
            there are changes nothing. Not for NNs, nor for a `mask_init` from earlier masks.

    Raises:
        ConfigError: a value that is not one of these, or values that do not go together.

    Example:
        >>> RunSettings(masks="unit", seed=1).scenario
        'GNu'

    Source:
        Scenarios: Wortsman et al. 2020 (arXiv 2006.14769), table 1.
    """

    benchmark: str = "split-digits"
    scenario: str = "GNu"
    memory: str = "hopfield"
    masks: str | None = None
    bits: int | None = None
    hubs: int | None = None
    rule: str | None = None
    recall: str | None = None
    signature: str | None = None
    signature_features: int | None = None
    inference: str | None = None
    objective: str | None = None
    output_size: int | None = None
    sparsity: float | None = None
    mask_init: str | None = None
    batches: int | None = None
    augment: str | None = None
    train_in: str | None = None
    tasks: int | None = None
    classes_per_task: int | None = None
    seed: int = 0
    infer_samples: int | None = None
    protocol: str = "batch"
    network: str = "standard"
    epsilon: float | None = None
    ask_every: int | None = None
    budget: int | None = None
    evaluate_every: int | None = None
    quick: bool = False
    device: str = "auto"
    learner: str = "supsup"
    tasks_at_once: int | None = None
    workers: bool = False

    def __post_init__(self) -> None:
        self._check_names()
        check_learner(self)
        for name in (
            *("bits", "hubs", "output_size", "batches", "infer_samples"),
            *("ask_every", "budget", "evaluate_every", "tasks", "tasks_at_once"),
            "classes_per_task",
        ):
            if getattr(self, name) is not None:
                self._check_count(name, 1)
        self._check_count("seed", 0)
        if self.signature_features is not None:
            self._check_count("signature_features", 0)
        if self.epsilon is not None and not (_is_real(self.epsilon) and self.epsilon > 0):
            raise ConfigError(
                f"epsilon must be positive, got {self.epsilon!r}: give a number above 0"
            )
        if self.sparsity is not None and not (_is_real(self.sparsity) and 0 < self.sparsity <= 1):
            raise ConfigError(
                f"sparsity must lie in (0, 1], got {self.sparsity!r}: it is the share of weights "
                "that a mask keeps, half of each layer at most"
            )
        if self.masks is None:
            kind = "unit" if self.network == "paper" and self.memory == "hopfield" else "weight"
            object.__setattr__(self, "masks", kind)
        if self.tasks is None:
            object.__setattr__(self, "tasks", default_tasks(self.benchmark))
        classes = default_classes(self.benchmark)
        if self.classes_per_task is None:
            object.__setattr__(self, "classes_per_task", classes)
        elif classes is None:
            able = ", ".join(name for name in BENCHMARKS if default_classes(name) is not None)
            raise ConfigError(
                f"classes_per_task is for {able}; the tasks of {self.benchmark} are what they are: "
                "leave out --classes-per-task"
            )
        named = "layer-norm" if self.network == "standard" else self.network
        if self.bits is not None and not sized_by_bits(named, str(self.masks)):
            raise ConfigError(
                "bits is for hashed masks, and for the units of layer-norm and paper: leave it out"
            )
        if self.masks in ("hashed", "signed") and self.sparsity is not None:
            on = "half of the weights are" if self.masks == "hashed" else "every weight is"
            raise ConfigError(
                f"sparsity is for weight and unit masks: with {self.masks} masks {on} always on"
            )
        check_start(self.mask_init, self.masks)
        check_augment(self)
        if self.quick and self.batches is not None:
            raise ConfigError(
                f"quick means few training steps per task, and batches={self.batches} gives their "
                "number: leave out --quick or --batches"
            )
        self._check_scenario()
        check_switches(self)
        if self.memory == "hopfield":
            self._check_hopfield()
        else:
            check_bank(self)

    def _check_names(self) -> None:
        check_benchmark(self.benchmark)
        for name, known in (
            ("scenario", SCENARIOS),
            ("memory", MEMORIES),
            ("masks", (*MASKS, None)),
            ("recall", (*RECALLS, "posterior", None)),
            ("protocol", PROTOCOLS),
            ("inference", (*INFERENCES, None)),
            ("objective", (*OBJECTIVES, None)),
            ("mask_init", (*INITS, None)),
            ("augment", ("none", *AUGMENTATIONS, None)),
            ("train_in", ("float32", "bfloat16", None)),
            ("device", ("auto", "cpu", "cuda")),
        ):
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(unknown_name(name, value, filter(None, known)))
        for name, own in (("network", ("standard", *NETWORKS)), ("signature", SIGNATURES)):
            value = getattr(self, name)
            if value is None and name == "signature":
                continue
            if callable(value):
                raise ConfigError(
                    f"{name} takes a name, as a run is repeated from its settings, got "
                    f"{type(value).__name__}: name a function as 'package.module:function', or "
                    "give the object itself to SupSup(module)"
                )
            if value not in own and not (isinstance(value, str) and ":" in value):
                raise ConfigError(unknown_name(name, value, [*own, "package.module:function"]))

    def _check_count(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if not is_count(value, least=least):
            raise ConfigError(
                f"{name} must be at least {least}, got {value!r}: give a whole number"
            )

    def _check_scenario(self) -> None:
        for name in ("ask_every", "budget", "epsilon"):
            if self.scenario != "NNs" and getattr(self, name) is not None:
                raise ConfigError(
                    f"{name} is for scenario NNs, where the learner allocates masks by itself, got "
                    f"scenario {self.scenario}: leave out --{name.replace('_', '-')}"
                )
        if self.scenario == "NNs" and self.mask_init in OF_TASKS:
            raise ConfigError(
                f"mask_init '{self.mask_init}' is for tasks that are given, and scenario NNs is "
                "given none: use --mask-init mean, random or shared"
            )
        if self.protocol == "image":
            self._check_image_protocol()

    def _check_image_protocol(self) -> None:
        if self.scenario == "GG" or self.network == "paper":
            raise ConfigError(
                "protocol image infers the task of an image from itself; scenario GG gives it, and "
                "the paper's network infers it from many batches: leave out --protocol"
            )
        if self.infer_samples not in (None, 1):
            raise ConfigError(
                "protocol image infers the task from the scored image itself, got infer_samples="
                f"{self.infer_samples}: leave out --infer-samples, or use --protocol batch"
            )

    def _check_hopfield(self) -> None:
        if self.network == "paper" and self.masks in PER_WEIGHT:
            raise ConfigError(
                "the paper's network has unit masks: leave out --masks, or use the standard network"
            )
        if self.masks in PER_WEIGHT:
            self._check_hubs()
        else:
            check_dense(self)
        check_address(self)
        if self.epsilon is not None:
            raise ConfigError(
                "epsilon is for --memory bank: a Hopfield memory recognizes a task by the entropy "
                "under the recalled mask. Leave out --epsilon"
            )
        if self.scenario == "NNs" and self.network == "paper":
            raise ConfigError(
                "the paper's network recalls from many batches, not from the one at hand: scenario "
                "NNs takes the standard network"
            )
        if self.inference is not None:
            raise ConfigError(
                "inference is for --memory bank; a Hopfield memory infers the task by recall: "
                "leave out --inference"
            )
        if self.network == "paper" and self.recall not in (None, "entropy"):
            raise ConfigError(
                f"the paper's network recalls by energy and entropy alone, not by "
                f"'{self.recall}': leave out --recall, or use the standard network"
            )

    def _check_hubs(self) -> None:
        """Weight or signed masks in a Hopfield memory."""
        if self.rule is not None:
            raise ConfigError(
                "rule is for dense couplings; weight masks are on hubs, exactly, with one rule: "
                "leave out --rule, or use --masks hashed or unit"
            )
        if self.objective is not None and self.recall in ("address", "posterior"):
            raise ConfigError(
                f"recall by {self.recall} follows no gradient, so it takes no objective: leave out "
                "--objective, or use --recall both or entropy"
            )
        if self.hubs is None:
            return
        if not 2 <= self.hubs <= MOST_HUBS or self.hubs & (self.hubs - 1):
            raise ConfigError(
                f"hubs must be a power of two from 2 to {MOST_HUBS}, got {self.hubs}: give "
                f"{power_of_two(min(self.hubs, MOST_HUBS))}"
            )
        if self.scenario != "NNs" and self.tasks is not None and self.hubs < self.tasks:
            raise MemoryFullError(
                f"{self.hubs} hubs hold {self.hubs} tasks, and the run has {self.tasks}: give "
                f"--hubs {power_of_two(self.tasks)}, or leave it out"
            )


def power_of_two(tasks: int) -> int:
    """The smallest number of hubs that holds so many tasks.

    Example:
        >>> [power_of_two(tasks) for tasks in (1, 5, 8, 250)]
        [2, 8, 8, 256]
    """
    return max(2, 1 << (tasks - 1).bit_length())


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
