"""What a run has measured so far: accuracies, digests, and which mask served which task."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from supsup_bridge.data.task import Task
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.runs import metrics
from supsup_bridge.runs.evaluation import Scores

_MATRIX = 256  # tasks up to which a result holds the whole accuracy matrix
Value = TypeVar("Value")


@dataclass(kw_only=True)
class Ledger:
    """The measurements of a run; nothing here is ever shown to task inference.

    Everything here grows with the number of tasks, nothing with the square of that number: rows
    hold what was measured and leave out the rest.

    Attributes:
        tasks: how many tasks the run is to learn.
        names: of the tasks that were begun.
        images: numbers of images of each of them: "train", "inference" and "scored".
        used: of each learned task, how many training batches each mask served, by mask.
        digests: of each mask, SHA-256.
        csc: of each mask, its bytes as compressed sparse columns.
        matrix: R, row i after learning task i: the measured accuracies, by task.
        curve: the figures of each evaluation of all tasks learned, or of a sample of them.
        scores: the last such evaluation.

    Example:
        >>> ledger = Ledger(tasks=2)
        >>> ledger.learned({0: 3})
        >>> ledger.scored(Scores(row={0: 0.5}), point=True)
        >>> ledger.curve[0]["tasks"], ledger.mask_of(0), ledger.matrix
        (1, 0, [{0: 0.5}])
    """

    tasks: int
    names: list[str] = field(default_factory=list)
    images: list[dict[str, int]] = field(default_factory=list)
    used: list[dict[int, int]] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    csc: list[int] = field(default_factory=list)
    matrix: list[dict[int, float]] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)
    scores: Scores = field(default_factory=Scores)

    def __post_init__(self) -> None:
        self._most: dict[int, tuple[int, int]] = {}  # mask -> batches, and the task they were of

    @property
    def count(self) -> int:
        """Number of tasks learned."""
        return len(self.used)

    @property
    def is_whole(self) -> bool:
        """Whether the last point of the curve scored every task that was learned."""
        last = self.curve[-1] if self.curve else {"tasks": 0, "scored": 0}
        return last["tasks"] == last["scored"] == self.count

    def begun(self, task: Task) -> None:
        """The task after those learned is being learned; it may begin again after a break."""
        counts = {
            "train": len(task.train_labels),
            "inference": task.inference_count,
            "scored": len(task.scored_labels),
        }
        self.names[self.count :] = [task.name]
        self.images[self.count :] = [counts]

    def learned(self, used: Mapping[int, int]) -> None:
        """One more task was learned; `used` says how many batches each mask served."""
        self.used.append(dict(used))
        self._claim(self.count - 1)

    def note(self, mask: int, masks: Masks) -> None:
        """Note digest and bytes of a mask as it was learned, in place of earlier ones."""
        self.digests[mask : mask + 1] = [mask_digest(masks)]
        self.csc[mask : mask + 1] = [metrics.csc_bytes(masks)]

    def scored(self, scores: Scores, *, point: bool) -> None:
        """What was scored after the newest task: a point of the curve, or that task or none."""
        if len(self.matrix) == self.count:  # scored anew
            self.matrix.pop()
            if point and self.curve and self.curve[-1]["tasks"] == self.count:
                self.curve.pop()
        self.matrix.append(dict(scores.row))
        if point:
            self.scores = scores
            measured = {"tasks": self.count, "scored": len(scores.row)}
            self.curve.append({**measured, **scores.figures()})

    def mask_of(self, task: int) -> int:
        """The mask that most batches of a task went to; of equals the first."""
        used = self.used[task]
        return min(used, key=lambda mask: (-used[mask], mask))

    def masks_of(self, task: int) -> set[int]:
        """The masks most of whose batches were this task's; of equal tasks the first has them."""
        return {mask for mask in self.used[task] if self._most[mask][1] == task}

    def extend(self, other: "Ledger") -> None:
        """Add the tasks of another ledger, which was learned apart, after these; no scores."""
        for name in ("names", "images", "digests", "csc"):
            getattr(self, name).extend(getattr(other, name))
        for used in other.used:
            self.learned(used)
        self.tasks += other.tasks

    def start_anew(self) -> None:
        """Drop the scores: from now on tasks are inferred in another way."""
        self.matrix = [{} for _ in self.used[:-1]]
        self.curve = []
        self.scores = Scores()

    def state(self) -> dict[str, Any]:
        """Everything, as numbers, names, lists and dicts."""
        return asdict(self)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of a ledger of the same run."""
        self.tasks, self.digests, self.curve = state["tasks"], state["digests"], state["curve"]
        self.csc = state["csc"]
        self.names, self.images = state["names"], state["images"]
        self.used, self.matrix = state["used"], state["matrix"]
        self.scores = Scores(**state["scores"])
        self._most = {}
        for task in range(self.count):
            self._claim(task)

    def measured(self) -> list[list[float]]:
        """The entries of the accuracy matrix that were measured: [row, column, accuracy]."""
        rows = enumerate(self.matrix)
        return [[row, task, value] for row, found in rows for task, value in found.items()]

    def figures(self) -> dict[str, Any]:
        """The accuracies of `result.json`; those of the last point of the curve.

        Of more than 256 tasks, entries that were measured stand in place of the accuracy matrix.
        """
        followed, tasks = self._followed(), range(self.tasks)
        matrix: dict[str, Any] = {"accuracy_matrix": None, "measured": self.measured()}
        if self.tasks <= _MATRIX:
            matrix = {"accuracy_matrix": [[*map(row.get, tasks)] for row in self.matrix]}
        return {
            **self.scores.figures(),
            "forgetting": metrics.forgetting(followed) if followed else None,
            "backward_transfer": metrics.backward_transfer(followed) if followed else None,
            "accuracy_per_task": [*map(self.scores.row.get, tasks)] if self.scores.row else [],
            "per_task": {
                "accuracy_given_task": self._per_task(self.scores.given),
                "task_inference_accuracy": self._rates(self.scores.inferred),
                "exact_recall_rate": self._rates(self.scores.exact),
                "inferences": self._per_task(self.scores.inferences),
                "mistaken_for": self._per_task(
                    {
                        task: [[mask, times] for mask, times in counts.items()]
                        for task, counts in self.scores.mistaken.items()
                    }
                ),
            },
            **matrix,
            "task_names": self.names[: self.count],
            "images": {
                part: [counts[part] for counts in self.images[: self.count]]
                for part in ("train", "inference", "scored")
            },
            "curve": [{**point} for point in self.curve],
        }

    def _claim(self, task: int) -> None:
        """Give a task the masks that it used more than any task before."""
        for mask, batches in self.used[task].items():
            if batches > self._most.get(mask, (0, 0))[0]:
                self._most[mask] = batches, task

    def _followed(self) -> metrics.Matrix:
        """The accuracy matrix of the tasks scored both when learned and at the last point."""
        last = self.curve[-1]["tasks"] if self.curve else 0
        rows = self.matrix[:last]
        tasks = [task for task, row in enumerate(rows) if task in row and task in rows[-1]]
        return [[rows[after].get(task) for task in tasks] for after in tasks]

    def _rates(self, counts: Mapping[int, int]) -> list[float | None] | None:
        """Counts of the last point over the number of inferences, per task."""
        inferences = self.scores.inferences
        return self._per_task({task: count / inferences[task] for task, count in counts.items()})

    def _per_task(self, values: Mapping[int, Value]) -> list[Value | None] | None:
        """Values of the last point per task, None where it did not score; None of nothing."""
        return [*map(values.get, range(self.curve[-1]["tasks"]))] if values else None
