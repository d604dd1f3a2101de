"""What a run remembers of its data, to notice that they changed before it continues."""

from collections.abc import Sequence
from hashlib import sha256

from supsup_bridge.data.image_files import FileStream
from supsup_bridge.data.task import Task

_TASKS = 256  # of which a fingerprint is taken; further tasks come from the same data
_IMAGES = 10_000  # scored images whose pixels are looked at


def fingerprints(tasks: Sequence[Task]) -> list[str]:
    """A few digits for each of the first 256 tasks; equal for tasks of the same data.

    A task's are of its name, its classes, and how many images of each train and are scored. For
    pictures that stay in their files, those of training and their sizes count, too, and otherwise
    the pixels of what is scored, of the first tasks of 10,000 such images in all. Folders may move.

    Args:
        tasks: of a run.

    Example:
        >>> from supsup_bridge import split_digits
        >>> fingerprints(split_digits())[:2] == fingerprints(split_digits(tasks=2))
        True
    """
    found, left = list[str](), _IMAGES
    for number in range(min(len(tasks), _TASKS)):
        task = tasks[number]
        counts = [part.bincount().tolist() for part in (task.train_labels, task.scored_labels)]
        digest = sha256(repr((task.name, task.classes, counts)).encode())
        if isinstance(task.streamed, FileStream):
            for path in task.streamed.data.files:
                named = (path.parent.name, path.name, path.stat().st_size)
                digest.update(repr(named).encode())
        elif (left := left - len(task.scored_labels)) >= 0:
            digest.update(task.scored_images.cpu().numpy().tobytes())
        found.append(digest.hexdigest()[:16])
    return found
