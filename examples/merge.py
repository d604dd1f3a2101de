"""Two machines learn different tasks; one learner answers for all of them.

    python examples/merge.py learn 0 2 first     # on one machine: tasks 0 and 1
    python examples/merge.py learn 2 5 second    # on another: tasks 2 to 4
    python examples/merge.py merge first second  # wherever both folders are

Without arguments it does all three, the learning in two processes of this machine.
"""

import subprocess
import sys

from supsup_bridge import SupSup, TrainingSettings, split_digits


def new_learner() -> SupSup:
    """Alike everywhere: the same network, settings and seed."""
    training = TrainingSettings(epochs=10, batch=32)
    return SupSup("lenet-300-100", inputs=64, outputs=10, seed=0, hubs=8, training=training)


def learn(first: int, end: int, folder: str) -> None:
    learner, tasks = new_learner(), split_digits()
    for number in range(first, end):
        data = tasks[number].train_images, tasks[number].train_labels
        learner.learn(data, task=number)  # a number that no other machine uses
    learner.save(folder)
    print(f"{folder}: tasks {learner.tasks}")


def merge(folders: list[str]) -> None:
    learner = new_learner()
    for folder in folders:
        learner.merge(SupSup.load(folder))
    print(f"merged: tasks {learner.tasks}")
    print(learner.evaluate(split_digits(), protocol="image"))
    learner.save("merged")


def main(command: str = "both", *rest: str) -> None:
    if command == "learn":
        learn(int(rest[0]), int(rest[1]), rest[2])
    elif command == "merge":
        merge([*rest])
    else:
        parts = ("0", "2", "first"), ("2", "5", "second")
        commands = [[sys.executable, __file__, "learn", *part] for part in parts]
        processes = [subprocess.Popen(command) for command in commands]
        if any(process.wait() for process in processes):
            sys.exit("a process failed: see above")
        merge([part[-1] for part in parts])


if __name__ == "__main__":
    main(*sys.argv[1:])
