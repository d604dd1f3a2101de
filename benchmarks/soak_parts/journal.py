"""What writers announce and acknowledge: one line each, in one file that all of them append to."""

import json
import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path

KEPT = 64  # announcements of killed writers that are remembered


@dataclass(frozen=True)
class Entry:
    """A mask that a writer announced: whose it is, the how manieth, and its SHA-256."""

    writer: int
    number: int
    digest: str


class Journal:
    """The state that follows from the lines so far; it takes constant memory.

    A store is announced before it begins and acknowledged after it returned, a task is let go
    before it is forgotten, and a writer is said to be dead once it was waited for.

    Args:
        path: of the file; all processes name the same.

    Attributes:
        held: number of a task -> what was acknowledged there and not let go.
        flying: writer -> what it announced and did not acknowledge.
        unsure: what writers had in flight when they were killed.
        generation: the newest that was acknowledged.
        stored, forgotten: how many stores were acknowledged, and how many tasks were let go.
    """

    def __init__(self, path: Path) -> None:
        self.held: dict[int, Entry] = {}
        self.flying: dict[int, Entry] = {}
        self.unsure: deque[Entry] = deque(maxlen=KEPT)
        self.generation = self.stored = self.forgotten = 0
        self._path, self._read, self._rest = path, 0, b""

    def announce(self, entry: Entry) -> None:
        """A writer is about to store."""
        self._say("announce", entry.writer, entry.number, entry.digest)

    def acknowledge(self, entry: Entry, task: int, generation: int) -> None:
        """It has stored under a task's number; the file is of this generation or a newer one."""
        self._say("acknowledge", entry.writer, task, generation)

    def let_go(self, task: int) -> None:
        """A task is about to be forgotten."""
        self._say("let go", task)

    def bury(self, writer: int) -> None:
        """A writer is dead."""
        self._say("bury", writer)

    def follow(self) -> None:
        """Take in what was said since."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        self._read += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            self._take(*json.loads(line))

    def _take(self, what: str, *rest: int | str) -> None:
        match [what, *rest]:
            case ["announce", int(writer), int(number), str(digest)]:
                self.flying[writer] = Entry(writer, number, digest)
            case ["acknowledge", int(writer), int(task), int(generation)]:
                self.held[task] = self.flying.pop(writer)
                self.generation = max(self.generation, generation)
                self.stored += 1
            case ["let go", int(task)]:
                self.forgotten += 1
                self.held.pop(task, None)
            case ["bury", int(writer)]:
                if writer in self.flying:
                    self.unsure.append(self.flying.pop(writer))
            case _:
                raise ValueError(f"no such line: {what} {rest}")

    def _say(self, *words: int | str) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, json.dumps(words).encode() + b"\n")
        finally:
            os.close(file)
