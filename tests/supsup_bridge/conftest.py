"""What the tests of supsup_bridge share."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from supsup_bridge import Experiment, MaskedNetwork, RunSettings, Task, fix_weights, mlp
from supsup_bridge.data import image_files
from supsup_bridge.data import pictures as picture_crops
from supsup_bridge.networks.masked import PER_WEIGHT

MNIST_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@pytest.fixture(scope="session")
def generator() -> Callable[[int], torch.Generator]:
    """Seed -> a generator of its own."""
    return lambda seed: torch.Generator().manual_seed(seed)


@pytest.fixture(scope="session")
def hashed() -> Callable[..., MaskedNetwork]:
    """Sizes, bits and two generators -> fully connected layers under hashed masks."""

    def make(
        sizes: list[int], *, bits: int, network: torch.Generator, spread: torch.Generator
    ) -> MaskedNetwork:
        module = fix_weights(mlp(sizes), network)
        return MaskedNetwork(module, masks="hashed", bits=bits, spread=spread)

    return make


class _Quiet:
    """An observer that looks away."""

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None: ...

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None: ...

    def learned(self, task: Task, number: int) -> None: ...


@pytest.fixture(scope="session")
def quiet() -> _Quiet:
    return _Quiet()


@pytest.fixture(scope="session")
def small() -> Callable[..., RunSettings]:
    """Settings of a run that takes about a second; hashed and unit masks are short ones."""

    def settings(**changes: Any) -> RunSettings:
        changes = {"quick": "batches" not in changes, "tasks": 2, "device": "cpu", **changes}
        default = "unit" if changes.get("network") == "paper" else "weight"
        if changes.get("masks", default) not in PER_WEIGHT:
            changes.setdefault("bits", 256)
        return RunSettings(**changes)

    return settings


@pytest.fixture(scope="session")
def finished(small: Callable[..., RunSettings], quiet: _Quiet) -> Callable[..., Experiment]:
    """Settings -> an experiment that has run; equal settings share one run. Not to be changed."""
    kept: dict[tuple[Any, ...], Experiment] = {}

    def run(**changes: Any) -> Experiment:
        key = tuple(sorted(changes.items()))
        if key not in kept:
            kept[key] = Experiment(small(**changes))
            kept[key].run(quiet)
        return kept[key]

    return run


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Side -> a folder with train/CLASS and val/CLASS of square pictures, 12 and 4 of 4 classes.

    Each class has a shade of its own under noise, so that it can be learned.
    """

    def make(side: int) -> Path:
        root, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(side)
        for part, each in (("train", 12), ("val", 4)):
            for label in range(4):
                folder = root / part / f"class{label}"
                folder.mkdir(parents=True)
                for number in range(each):
                    noise = draw.integers(0, 80, (side, side, 3), dtype=np.uint8)
                    Image.fromarray(noise + 55 * label).save(folder / f"{number}.png")
        return root

    return make


@pytest.fixture
def small_crops(monkeypatch: pytest.MonkeyPatch) -> int:
    """Streamed pictures are cropped to 16 x 16, not 224 x 224."""
    for module in (picture_crops, image_files):
        monkeypatch.setattr(module, "SIDE", 16)
    return 16


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """The folder with MNIST's four files, where HOPMASK_DATA says where data lies."""
    given = os.environ.get("HOPMASK_DATA")
    if not given:
        pytest.skip("HOPMASK_DATA is not set: there is no MNIST to read")
    folder = Path(given)
    folder = folder / "mnist" if (folder / "mnist").is_dir() else folder
    for name in MNIST_NAMES:
        if not (folder / name).is_file() and not (folder / f"{name}.gz").is_file():
            pytest.skip(f"HOPMASK_DATA names a folder without MNIST's {name}")
    return folder


@pytest.fixture(scope="session")
def mnist_packed(mnist_folder: Path) -> dict[str, bytes]:
    """Name of each of MNIST's files -> its gzip'ed content."""
    packed = {}
    for name in MNIST_NAMES:
        path = mnist_folder / f"{name}.gz"
        packed[name] = (
            path.read_bytes()
            if path.is_file()
            else gzip.compress((mnist_folder / name).read_bytes(), compresslevel=1)
        )
    return packed
