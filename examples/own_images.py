"""Your own network on your own pictures: task after task, and none is forgotten.

    python examples/own_images.py FOLDER [EPOCHS]

FOLDER has a folder of pictures for each class. Every two classes, by name, are a task (one that is
left over is not learned). Every fifth picture is held out, and finds its own task.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from supsup_bridge import SupSup, TrainingSettings

SIDE = 32  # pixels that every picture is scaled to
KINDS = {".jpg", ".jpeg", ".png"}


def network() -> nn.Module:  # any module over images will do
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * (SIDE // 4) ** 2, 10)),
    )


def pictures(folder: Path) -> Tensor:
    """The pictures in a folder, (n, 3, SIDE, SIDE) around 0."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in KINDS)
    scaled = [Image.open(file).convert("RGB").resize((SIDE, SIDE)) for file in files]
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in scaled]))
    return pixels.permute(0, 3, 1, 2) / 127.5 - 1


def main(folder: Path, epochs: int = 20) -> None:
    training = TrainingSettings(epochs=epochs)
    learner = SupSup(network(), signature_groups=2, training=training)
    classes = sorted(path for path in folder.glob("[!.]*") if path.is_dir())
    held_out = []
    for one, other in zip(classes[::2], classes[1::2], strict=False):
        first, second = pictures(one), pictures(other)
        images = torch.cat([first, second])
        labels = (torch.arange(len(images)) >= len(first)).long()
        held = torch.arange(len(images)) % 5 == 0
        data = TensorDataset(images[~held], labels[~held])
        task = learner.learn(DataLoader(data, batch_size=32, shuffle=True))
        print(f"task {task}: {one.name} or {other.name}")
        held_out.append((images[held], labels[held]))
    print(learner.evaluate(held_out, protocol="image"))  # each picture names its own task
    learner.save("own-images")  # in a later process: SupSup.load("own-images", module=network())


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:])) if sys.argv[1:] else sys.exit(__doc__)
