"""What a run has measured so far: accuracies, digests, and which mask served which task."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from supsup_bridge.runs import metrics
from supsup_bridge.runs.evaluation import Scores


@dataclass(kw_only=True)
class Ledger:
    """The measurements of a run; nothing here is ever shown to task inference.

    Attributes:
        tasks: how many tasks the run is to learn.
        used: of each learned task, how many training batches each mask served.
        digests: of each mask, SHA-256.
        matrix: R, row i after learning task i, column j for task j; None where not measured.
        curve: the figures of each evaluation of all tasks learned.
        scores: the last such evaluation.

    Example:
        >>> ledger = Ledger(tasks=2)
        >>> ledger.learned([3])
        >>> ledger.scored(Scores(row=[0.5, None]), whole=True)
        >>> ledger.curve[0]["tasks"], ledger.mask_of(0)
        (1, 0)
    """

    tasks: int
    used: list[list[int]] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    matrix: list[list[float | None]] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)
    scores: Scores = field(default_factory=lambda: Scores(row=[]))

    @property
    def count(self) -> int:
        """Number of tasks learned."""
        return len(self.used)

    def learned(self, used: list[int]) -> None:
        """One more task was learned; `used` batches went to each mask."""
        self.used.append(used)

    def scored(self, scores: Scores, *, whole: bool) -> None:
        """An evaluation after the newest task, of all tasks or of that one alone."""
        if len(self.matrix) == self.count:  # scored anew
            self.matrix.pop()
            if whole and self.curve and self.curve[-1]["tasks"] == self.count:
                self.curve.pop()
        self.matrix.append(scores.row)
        if whole:
            self.scores = scores
            self.curve.append({"tasks": self.count, **scores.figures()})

    def mask_of(self, task: int) -> int:
        """The mask that most batches of a task went to."""
        used = self.used[task]
        return used.index(max(used))

    def masks_of(self, task: int) -> set[int]:
        """The masks most of whose batches were this task's; none where it got none of its own."""
        counts = torch.zeros(self.count, max(len(used) for used in self.used))
        for row, used in enumerate(self.used):
            counts[row, : len(used)] = torch.tensor(used)
        (most,) = torch.nonzero((counts.argmax(0) == task) & (counts.sum(0) > 0), as_tuple=True)
        return set(most.tolist())

    def start_anew(self) -> None:
        """Drop the scores: from now on tasks are inferred in another way."""
        self.matrix = [[None] * self.tasks for _ in self.used[:-1]]
        self.curve = []
        self.scores = Scores(row=[])

    def state(self) -> dict[str, Any]:
        """Everything, as numbers, names and lists; rows that are mostly empty without what is."""
        return {
            **asdict(self),
            "used": [[[m, n] for m, n in enumerate(row) if n] for row in self.used],
            "matrix": [[[j, r] for j, r in enumerate(row) if r is not None] for row in self.matrix],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the `state` of a ledger of the same run."""
        self.tasks, self.digests, self.curve = state["tasks"], state["digests"], state["curve"]
        self.scores = Scores(**state["scores"])
        self.matrix = [[dict(row).get(j) for j in range(self.tasks)] for row in state["matrix"]]
        self.used = []
        for row in state["used"]:
            counts = dict(row)
            self.used.append([counts.get(mask, 0) for mask in range(max(counts) + 1)])

    def figures(self) -> dict[str, Any]:
        """The accuracies of `result.json`; those of the last evaluation of all tasks."""
        whole = self.matrix[: self.curve[-1]["tasks"]] if self.curve else []
        followed = bool(whole) and all(row[task] is not None for task, row in enumerate(whole))
        return {
            **self.scores.figures(),
            "forgetting": metrics.forgetting(whole) if followed else None,
            "backward_transfer": metrics.backward_transfer(whole) if followed else None,
            "accuracy_per_task": [*self.scores.row],
            "accuracy_matrix": [[*row] for row in self.matrix],
            "curve": [{**point} for point in self.curve],
        }
