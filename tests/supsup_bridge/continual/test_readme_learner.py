"""The learner of the README: a conv net, loaders, a save, and a new process that predicts."""

import json
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from supsup_bridge.continual.learner import SupSup
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.training.fit import Lesson

NET = """\
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from supsup_bridge import SupSup, split_digits

layers = nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Flatten()
net = nn.Sequential(*layers, nn.Linear(1024, 10))  # any module, images of any shape
"""
LEARN = """\
learner = SupSup(net)  # copies it, draws its weights from a seed
for task in split_digits():  # five tasks of two digits, one after the other
    data = TensorDataset(task.train_images.reshape(-1, 1, 8, 8), task.train_labels)
    learner.learn(DataLoader(data, batch_size=32, shuffle=True), epochs=10)
learner.save("digits")  # in any later process: SupSup.load("digits", module=net)
"""
PREDICT = """\
found = learner.predict(task.scored_images.reshape(-1, 1, 8, 8))  # found.task, found.label
"""
LATER = (
    "import json, torch\ntorch.set_num_threads(1)\n"
    + NET
    + 'learner = SupSup.load("digits", module=net)\ntask = split_digits()[4]\n'
    + PREDICT
    + "print(json.dumps([found.task.tolist(), found.label.tolist(), found.logits.tolist()]))\n"
)


def test_the_learner_of_the_readme_predicts_the_same_in_a_new_process(
    tmp_path: Path, monkeypatch
) -> None:
    lines = (NET + LEARN + PREDICT).splitlines()
    assert len([line for line in lines if line.strip()]) <= 12
    learned: list[str] = []
    run = Lesson.run

    def watched(*args, **options) -> dict[str, Tensor]:
        masks = run(*args, **options)
        learned.append(mask_digest(masks))
        return masks

    monkeypatch.setattr(Lesson, "run", watched)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(NET + LEARN + PREDICT, names)
    learner, task, found = names["learner"], names["task"], names["found"]
    assert isinstance(learner, SupSup)
    recalled = [mask_digest(learner.memory.recall(task=t).masks) for t in range(5)]
    assert recalled == learned
    assert float((found.task == 4).float().mean()) > 0.9
    assert float((found.label == task.scored_labels).float().mean()) > 0.9
    out = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True, check=True)
    tasks, labels, logits = json.loads(out.stdout)
    assert tasks == found.task.tolist()
    assert labels == found.label.tolist()
    assert torch.equal(torch.tensor(logits), found.logits)
