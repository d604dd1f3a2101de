"""Checkpoints: what a run needs to continue where it stopped, in DIR/checkpoint, without pickle.

`memory.0.h5` or `memory.1.h5` holds the masks so far. `run.h5` holds everything else (the settings,
the data folder, what was measured, the mask in training with its optimiser and generators, the
position in the data) and names the memory that belongs to it, by slot and SHA-256. A memory is
written to the slot that `run.h5` does not name, so that whatever fails in whatever order, the
memory that `run.h5` names is there.
"""

import logging
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

import hopmask
from hopmask import ConfigError, MaskMemory, storage
from hopmask.errors import CorruptStoreError, StoreFileError, StoreLockedError
from supsup_bridge.data.files import DataError
from supsup_bridge.data.fingerprint import fingerprints
from supsup_bridge.data.task import Task
from supsup_bridge.runs.experiment import Experiment
from supsup_bridge.runs.presets import Preset
from supsup_bridge.runs.settings import RunSettings
from supsup_bridge.runs.state_tree import packed, unpacked
from supsup_bridge.runs.timing import Pace
from supsup_bridge.stores.bank import MaskBank

_log = logging.getLogger(__name__)
FOLDER = "checkpoint"
KIND = "checkpoint"
_FIRST = (0.01, 5e8)  # seconds, and bytes of memory a second, that one is first expected to take


class Resumable(Protocol):
    """What a checkpoint needs of a run: an `Experiment`, or a `Shard` of one."""

    @property
    def settings(self) -> RunSettings: ...

    @property
    def stream(self) -> Sequence[Task]: ...

    @property
    def preset(self) -> Preset: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def kept(self) -> MaskMemory | MaskBank: ...

    @property
    def memory_state(self) -> object: ...

    @property
    def waiting(self) -> bool: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any], memory: MaskMemory | MaskBank) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where the memory of a checkpoint lies: 0 or 1, and its SHA-256."""

    number: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint that was read.

    Attributes:
        settings: of the run.
        state: what `Experiment.restore` takes; None of a run that has only just begun.
        slot: where the masks of that state lie; None as well.
        data: folder of the data set's files that the run was given.
        contents: `fingerprints` of its tasks; empty where an earlier version took none.
        preset: the settings that the benchmark's defaults filled in.
        surroundings: what of programs and machine the figures may depend on, by name.
        shard: numbers of the first task and of the one after the last, of a part of a run.
    """

    settings: RunSettings
    state: dict[str, Any] | None
    slot: Slot | None
    data: Path | None
    contents: tuple[str, ...]
    preset: dict[str, Any]
    surroundings: dict[str, str]
    shard: tuple[int, int] | None


class Checkpoints:
    """Writes an experiment's state so seldom that it takes 2 % of the time, and on request.

    Args:
        out: folder of the run's results.
        experiment: the run.
        slot: where the memory lies, of a run that is continued.
        data: folder of the data set's files, if the run was given one.
        shard: numbers of the tasks, of a part of a run.

    Example:
        >>> import tempfile
        >>> run = Experiment(RunSettings(quick=True))
        >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder)):
        ...     Checkpoints(Path(folder), run).write()
        ...     read(Path(folder)).settings == run.settings
        True

    Source:
        Checkpoint interval from cost: Young 1974, "A first order approximation to the optimum
        checkpoint interval"; here a bound on the cost decides.
    """

    def __init__(
        self,
        out: Path,
        experiment: Resumable,
        *,
        slot: Slot | None = None,
        data: str | Path | None = None,
        shard: range | None = None,
    ) -> None:
        self.folder, self.experiment = out / FOLDER, experiment
        self.seconds = 0.0  # spent on checkpoints
        self.stop = False  # to write one and to interrupt the run at the next call
        self._data, self._shard = data, shard
        self._contents = fingerprints(experiment.stream)
        self._slot, self._of = slot, experiment.memory_state  # what run.h5 names, and what it holds
        self._pace = Pace()
        least, rate = _FIRST
        self._cost = {False: least, True: least + experiment.kept.nbytes / rate}

    def __call__(self) -> None:
        """Write a checkpoint if it is time to; called wherever the run's state is consistent.

        A checkpoint that cannot be written is logged, and tried again when the next one is due.

        Raises:
            KeyboardInterrupt: `stop` is set; a checkpoint was written, if it could be.
        """
        if self.stop or self._pace.is_due(cost=self._cost[self._is_changed()]):
            try:
                self.write()
            except StoreFileError as error:
                self._pace.done()
                _log.warning("no checkpoint could be written, and the run continues: %s", error)
        if self.stop:
            raise KeyboardInterrupt

    def begin(self) -> None:
        """Write the settings, so that a run can be continued from its first step on.

        Raises:
            StoreFileError: they cannot be written.
        """
        self._commit(None, None)

    def write(self) -> None:
        """Write a checkpoint; it is on the disk for good.

        Raises:
            StoreFileError: it cannot be written; the one before is intact.
        """
        start, slot, state = time.monotonic(), self._slot, self.experiment.memory_state
        changed = self._is_changed()
        if slot is None or changed:
            number = 0 if slot is None else 1 - slot.number
            memory = slot_file(self.folder, number)
            memory.unlink(missing_ok=True)  # no checkpoint's
            slot = Slot(number=number, sha256=self.experiment.kept.save(memory).sha256)
        self._commit(slot, self.experiment.state())
        self._slot, self._of = slot, state
        self._pace.done()
        self._cost[changed] = time.monotonic() - start
        self.seconds += self._cost[changed]

    def remove(self) -> None:
        """Delete the checkpoint of a run that is finished."""
        forget(self.folder.parent)

    def _is_changed(self) -> bool:
        """Whether the memory differs from the file that run.h5 names."""
        return self._slot is None or self._of != self.experiment.memory_state

    def _commit(self, slot: Slot | None, state: dict[str, Any] | None) -> None:
        about = {
            "memory": None if slot is None else asdict(slot),
            "settings": asdict(self.experiment.settings),
            "preset": asdict(self.experiment.preset),
            "data": None if self._data is None else str(Path(self._data).absolute()),
            "contents": self._contents,
            "surroundings": surroundings(self.experiment.device),
            "shard": None if self._shard is None else [self._shard.start, self._shard.stop],
        }
        document = storage.Document(kind=KIND, about=about, arrays=packed(state))
        storage.write(self.folder / "run.h5", document)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the checkpoint of a folder of results, so that no other process has the same run.

    Raises:
        ConfigError: another process holds it.
        StoreFileError: the folder cannot be written to.
    """
    folder = out / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreFileError(f"cannot write to {folder}: {error}") from error
    with ExitStack() as held:
        try:
            held.enter_context(storage.writing(folder / "run", wait=0))
        except StoreLockedError as error:
            raise ConfigError(
                f"another process works on the run in {out} ({error}): wait for its end"
            ) from error
        yield


def forget(out: Path) -> None:
    """Delete the checkpoint of a folder of results, and what locks it; other files stay."""
    folder = out / FOLDER
    memories = [slot_file(folder, number) for number in (0, 1)]
    for path in (folder / "run.h5", *memories):  # run.h5 first: without it there is nothing
        for ending in ("", ".prev", ".lock"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        for draft in folder.glob(f".{path.name}.*.tmp"):
            draft.unlink(missing_ok=True)
    (folder / "run.lock").unlink(missing_ok=True)
    with suppress(OSError):  # files of others are in it
        folder.rmdir()


def exists(out: Path) -> bool:
    """Whether a folder of results holds a checkpoint."""
    return (out / FOLDER / "run.h5").exists()


def read(out: Path) -> Saved:
    """The last checkpoint of the run in a folder of results.

    Raises:
        ConfigError: there is none.
        StoreFileError: it is damaged.
    """
    if not exists(out):
        done = (out / "result.json").exists()
        why = "its run is finished" if done else "no run was interrupted there after its start"
        raise ConfigError(f"{out} holds no checkpoint: {why}. Start a run with supsup run")
    path = out / FOLDER / "run.h5"
    document = storage.read(path, kinds=(KIND,))
    about = document.about
    try:
        return Saved(
            settings=RunSettings(**about["settings"]),
            state=unpacked(document.arrays),
            slot=None if about["memory"] is None else Slot(**about["memory"]),
            data=None if about["data"] is None else Path(about["data"]),
            contents=tuple(about.get("contents", ())),
            preset=dict(about["preset"]),
            surroundings=dict(about["surroundings"]),
            shard=None if about["shard"] is None else tuple(about["shard"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptStoreError(
            f"{path} is whole, but of a run that this version does not know ({error})"
        ) from error


def resumed(out: Path, saved: Saved, *, data: str | Path | None = None) -> Experiment:
    """The run of a checkpoint, where it stopped.

    Args:
        out: folder of the run's results.
        saved: the checkpoint that was read there.
        data: folder of the data set's files; None for the one that the checkpoint names.

    Raises:
        ConfigError: the data folder that the checkpoint names no longer exists, or the
            benchmark's defaults are others than when the run began; and as for `Experiment`.
        DataError: as for `Experiment`; or the data changed since the run began.
        StoreFileError: the memory is damaged, or this version does not know such a state.
    """
    if saved.shard is not None:
        raise ConfigError(
            f"{out} holds a part of a run: continue it with its own supsup learn, and put parts "
            "together with supsup merge"
        )
    if data is None and saved.data is not None and not saved.data.exists():
        raise ConfigError(
            f"the run in {out} read its data from {saved.data}, which no longer exists: give the "
            "data's new folder as --data"
        )
    run = Experiment(saved.settings, data=saved.data if data is None else data)
    restore(run, out, saved)
    return run


def check_defaults(run: Resumable, out: Path, saved: Saved) -> None:
    """Raise ConfigError if the defaults of a run are others than those of a checkpoint."""
    begun, now = saved.preset, asdict(run.preset)
    if changed := [name for name in now if begun.get(name) != now[name]]:
        raise ConfigError(
            f"the run in {out} was begun with other defaults of {saved.settings.benchmark}: "
            f"{changed[0]} was {begun.get(changed[0])!r:.300}, and is {now[changed[0]]!r:.300}. "
            "Continue it with the version that began it, or start it anew"
        )


def check_data(run: Resumable, now: Sequence[str], out: Path, saved: Saved) -> None:
    """Raise DataError if a run's tasks, of fingerprints `now`, are not those of a checkpoint."""
    for number, (there, here) in enumerate(zip(saved.contents, now, strict=False)):
        if there != here:
            raise DataError(
                f"the data of the run in {out} changed since it began: task {number} is "
                f"'{run.stream[number].name}' now, and had other classes or images. Put the data "
                "back as they were, or start the run anew"
            )


def restore(run: Resumable, out: Path, saved: Saved) -> None:
    """Bring a run that was made alike to where the checkpoint in its folder stands.

    Raises:
        ConfigError: the benchmark's defaults are others than when the run began.
        DataError: the data changed since then.
        StoreFileError: the memory is damaged, or this version does not know such a state.
    """
    check_defaults(run, out, saved)
    check_data(run, fingerprints(run.stream), out, saved)
    if saved.state is None or saved.slot is None:
        return
    path = slot_file(out / FOLDER, saved.slot.number)
    memory: object
    if saved.settings.memory == "bank":
        memory = MaskBank.load(path, device=run.device, expect_sha256=saved.slot.sha256)
    else:
        memory = hopmask.load(path, device=run.device, expect_sha256=saved.slot.sha256)
    if not isinstance(memory, MaskMemory | MaskBank):
        raise CorruptStoreError(f"{path} is whole, but holds no masks: {type(memory).__name__}")
    try:
        run.restore(saved.state, memory)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise CorruptStoreError(
            f"{out / FOLDER} is whole, but of a run that this version does not know ({error!r})"
        ) from error


def slot_file(folder: Path, number: int) -> Path:
    """Of a checkpoint's memory."""
    return folder / f"memory.{number}.h5"


def surroundings(device: torch.device) -> dict[str, str]:
    """What of programs and machine a run's figures may depend on."""
    return {
        "hopmask": hopmask.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "threads": str(torch.get_num_threads()),
        "device": str(device),
    }
