"""A stream without task boundaries: the learner notices by itself when something new begins.

    python examples/novelty.py [BATCHES]

Batches of two digits each come from one task, then from the next. Nobody says when.
"""

import sys

import torch

from supsup_bridge import SupSup, mlp, split_digits


def main(batches: int = 200) -> None:
    *tasks, foreign = split_digits()  # the last two digits are never learned
    learner = SupSup(mlp([64, 300, 100, 100]), task_free=True, ask_every=20)
    draw, seen = torch.Generator().manual_seed(0), -1
    for number, task in enumerate(tasks):
        for batch in range(batches):
            chosen = torch.randint(len(task.train_labels), (32,), generator=draw)
            mask, _ = learner.observe(task.train_images[chosen], task.train_labels[chosen])
            if mask > seen:
                print(f"batch {number * batches + batch}, of {task.name}: new, mask {mask}")
                seen = mask
    learner.close()
    print(f"{len(learner)} masks for {len(tasks)} tasks")
    for number, task in enumerate([*tasks, foreign]):
        found = learner.predict(task.scored_images)
        known, mask = found.recognized.float().mean(), int(found.task.mode().values)
        what = "never learned" if task is foreign else f"task {number}"
        print(f"{task.name} ({what}): mostly mask {mask}, {known:.0%} recognized")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
