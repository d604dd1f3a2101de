"""Checkpoints: what a run needs to go on where it stopped, in DIR/checkpoint, without pickle.

`memory.h5` holds the masks so far. `run.h5` holds everything else (the settings, what was measured,
the mask in training with its optimiser and generators, the position in the data) and names the
state of the memory that it goes with by its SHA-256. It is written after the memory, so that
whatever a kill leaves, the memory it names stands in `memory.h5` or `memory.h5.prev`.
"""

import platform
import shutil
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hopmask
from hopmask import ConfigError, CorruptStoreError, MaskMemory, StoreFileError, storage
from supsup_bridge.bank import MaskBank
from supsup_bridge.experiment import Experiment, device_named
from supsup_bridge.settings import RunSettings
from supsup_bridge.tree import packed, unpacked

FOLDER = "checkpoint"
KIND = "checkpoint"
_SHARE = 0.02  # of a run's time that its checkpoints may take
_FIRST = (0.01, 5e8)  # seconds, and bytes of memory a second, that one is first expected to take
_VERSIONS = ("hopmask", "python", "torch", "numpy")


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint that was read.

    Attributes:
        settings: of the run.
        state: what `Experiment.restore` takes; None of a run that has only just begun.
        memory: the masks that go with it; None as well.
        versions: of the programs that wrote it, by name.
    """

    settings: RunSettings
    state: dict[str, Any] | None
    memory: MaskMemory | MaskBank | None
    versions: dict[str, str]


class Checkpoints:
    """Writes an experiment's state so seldom that it takes 2 % of the time, and when asked to.

    Args:
        out: folder of the run's results.
        experiment: the run.

    Example:
        >>> import tempfile
        >>> run = Experiment(RunSettings(bits=256, quick=True))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoints = Checkpoints(Path(folder), run)
        ...     with checkpoints.locked():
        ...         checkpoints.write()
        ...     read(Path(folder)).settings == run.settings
        True

    Source:
        Checkpoint interval from cost: Young 1974, "A first order approximation to the optimum
        checkpoint interval"; here a bound on the cost decides.
    """

    def __init__(self, out: Path, experiment: Experiment) -> None:
        self.folder, self.experiment = out / FOLDER, experiment
        self.seconds = 0.0  # spent on checkpoints
        self.stop = False  # asked to write one and to interrupt the run
        self._last = time.monotonic()
        self._memory: tuple[object, str] | None = None  # which state was saved, and its SHA-256
        slowest, rate = _FIRST
        self._cost = {False: slowest, True: slowest + experiment.memory.nbytes / rate}

    def locked(self) -> AbstractContextManager[object]:
        """Hold the folder, so that no other process goes on with the same run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return storage.writing(self.folder / "run", wait=0)

    def __call__(self) -> None:
        """Write a checkpoint if it is time to; called wherever the run's state is consistent.

        Raises:
            KeyboardInterrupt: `stop` is set; a checkpoint was written.
        """
        if self.stop:
            self.write()
            raise KeyboardInterrupt
        changed = self._memory is None or self._memory[0] != self.experiment.memory_state
        if (time.monotonic() - self._last) * _SHARE >= self._cost[changed]:
            self.write()

    def begin(self) -> None:
        """Write the settings, so that a run can be gone on with from its first step on.

        Raises:
            StoreFileError: they cannot be written.
        """
        if not exists(self.folder.parent):
            self._commit(None, None)

    def write(self) -> None:
        """Write a checkpoint; it is on the disk for good.

        Raises:
            StoreFileError: it cannot be written; the one before is intact.
        """
        start = time.monotonic()
        version = self.experiment.memory_state
        changed = self._memory is None or self._memory[0] != version
        if changed:
            stamp = self.experiment.kept.save(self.folder / "memory.h5")
            self._memory = (version, stamp.sha256)
        assert self._memory is not None
        self._commit(self._memory[1], self.experiment.state())
        self._last = time.monotonic()
        self._cost[changed] = self._last - start
        self.seconds += self._last - start

    def _commit(self, memory: str | None, state: dict[str, Any] | None) -> None:
        about = {
            "memory": memory,
            "settings": asdict(self.experiment.settings),
            "versions": versions(),
        }
        document = storage.Document(kind=KIND, about=about, arrays=packed(state))
        storage.write(self.folder / "run.h5", document)

    def remove(self) -> None:
        """Delete the checkpoint of a run that is finished."""
        (self.folder / "run.h5").unlink(missing_ok=True)  # first: without it there is nothing
        shutil.rmtree(self.folder, ignore_errors=True)


def exists(out: Path) -> bool:
    """Whether a folder of results holds a checkpoint."""
    return (out / FOLDER / "run.h5").exists()


def read(out: Path) -> Saved:
    """The last checkpoint of the run in a folder of results.

    Raises:
        ConfigError: there is none.
        StoreFileError: it is damaged.
    """
    folder = out / FOLDER
    if not exists(out):
        done = (out / "result.json").exists()
        why = "its run is finished" if done else "no run was interrupted there after its start"
        raise ConfigError(f"{out} holds no checkpoint: {why}. Start a run with supsup run")
    document = storage.read(folder / "run.h5", kinds=(KIND,))
    about = document.about
    try:
        settings = RunSettings(**about["settings"])
        return Saved(
            settings=settings,
            state=unpacked(document.arrays),
            memory=_memory(folder, settings, digest) if (digest := about["memory"]) else None,
            versions=dict(about["versions"]),
        )
    except (KeyError, TypeError, ConfigError) as error:
        raise CorruptStoreError(
            f"{folder / 'run.h5'} is whole, but of a run that this version does not know ({error})"
        ) from error


def versions() -> dict[str, str]:
    """Of what a run's figures depend on."""
    own = (hopmask.__version__, platform.python_version(), torch.__version__, np.__version__)
    return dict(zip(_VERSIONS, map(str, own), strict=True))


def _memory(folder: Path, settings: RunSettings, digest: str) -> MaskMemory | MaskBank:
    """The memory of that SHA-256, which is the file's newest state or the one before."""
    try:
        return _load(folder / "memory.h5", settings, digest)
    except StoreFileError as error:
        try:
            return _load(folder / "memory.h5.prev", settings, digest)
        except StoreFileError:
            raise error from None


def _load(path: Path, settings: RunSettings, digest: str) -> MaskMemory | MaskBank:
    device = device_named(settings.device)
    if settings.memory == "bank":
        return MaskBank.load(path, device=device, expect_sha256=digest)
    memory = hopmask.load(path, device=device, expect_sha256=digest)
    assert isinstance(memory, MaskMemory)  # as a run saves it
    return memory
