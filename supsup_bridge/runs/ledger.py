"""What a run has measured so far: accuracies, digests, and which mask served which task."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

from supsup_bridge.continual.scoring import SCORED_BATCH
from supsup_bridge.data.task import Task
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.runs import metrics
from supsup_bridge.runs.evaluation import Scores


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
        curve: the figures of each evaluation of all tasks learned.
        scores: the last such evaluation.

    Example:
        >>> ledger = Ledger(tasks=2)
        >>> ledger.learned({0: 3})
        >>> ledger.scored(Scores(row=[0.5, None]), whole=True)
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
    scores: Scores = field(default_factory=lambda: Scores(row=[]))

    @property
    def count(self) -> int:
        """Number of tasks learned."""
        return len(self.used)

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

    def note(self, mask: int, masks: Masks) -> None:
        """Note digest and bytes of a mask as it was learned, in place of earlier ones."""
        self.digests[mask : mask + 1] = [mask_digest(masks)]
        self.csc[mask : mask + 1] = [metrics.csc_bytes(masks)]

    def scored(self, scores: Scores, *, whole: bool) -> None:
        """An evaluation after the newest task, of all tasks or of that one alone."""
        if len(self.matrix) == self.count:  # scored anew
            self.matrix.pop()
            if whole and self.curve and self.curve[-1]["tasks"] == self.count:
                self.curve.pop()
        self.matrix.append({task: r for task, r in enumerate(scores.row) if r is not None})
        if whole:
            self.scores = scores
            self.curve.append({"tasks": self.count, **scores.figures()})

    def mask_of(self, task: int) -> int:
        """The mask that most batches of a task went to; of equals the first."""
        used = self.used[task]
        return min(used, key=lambda mask: (-used[mask], mask))

    def masks_of(self, task: int) -> set[int]:
        """The masks most of whose batches were this task's; of equal tasks the first has them."""
        most: dict[int, tuple[int, int]] = {}  # mask -> batches, and the task that they were of
        for row, used in enumerate(self.used):
            for mask, batches in used.items():
                if batches > most.get(mask, (0, 0))[0]:
                    most[mask] = batches, row
        return {mask for mask, (_, row) in most.items() if row == task}

    def start_anew(self) -> None:
        """Drop the scores: from now on tasks are inferred in another way."""
        self.matrix = [{} for _ in self.used[:-1]]
        self.curve = []
        self.scores = Scores(row=[])

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

    def figures(self) -> dict[str, Any]:
        """The accuracies of `result.json`; those of the last evaluation of all tasks."""
        matrix = [[row.get(task) for task in range(self.tasks)] for row in self.matrix]
        whole = matrix[: self.curve[-1]["tasks"]] if self.curve else []
        followed = bool(whole) and all(row[task] is not None for task, row in enumerate(whole))
        return {
            **self.scores.figures(),
            "forgetting": metrics.forgetting(whole) if followed else None,
            "backward_transfer": metrics.backward_transfer(whole) if followed else None,
            "accuracy_per_task": [*self.scores.row],
            "per_task": {
                "accuracy_given_task": self._per_task(self.scores.given),
                "task_inference_accuracy": self._per_task(self.scores.inferred),
                "exact_recall_rate": self._per_task(self.scores.exact),
            },
            "accuracy_matrix": matrix,
            "task_names": self.names[: self.count],
            "images": {
                part: [counts[part] for counts in self.images[: self.count]]
                for part in ("train", "inference", "scored")
            },
            "curve": [{**point} for point in self.curve],
        }

    def _per_task(self, values: Sequence[float]) -> list[float] | None:
        """Means per task of an evaluation's values: one per task, per scored batch or image."""
        if not values or not self.curve:
            return None
        scored = [counts["scored"] for counts in self.images[: self.curve[-1]["tasks"]]]
        batches = [-(-images // SCORED_BATCH) for images in scored]
        possible = ([1] * len(scored), batches, scored)
        parts = next((some for some in possible if sum(some) == len(values)), None)
        if parts is None:
            return None
        ends = list(accumulate(parts))
        return [sum(values[end - part : end]) / part for part, end in zip(parts, ends, strict=True)]
