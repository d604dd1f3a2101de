"""`import hopmask` needs torch, numpy and h5py alone."""

import subprocess
import sys
from pathlib import Path

_OPTIONAL = ("scipy", "rich", "matplotlib", "sklearn", "hypothesis")

_WITHOUT = """
import sys

for name in {optional}:
    sys.modules[name] = None  # an import of it raises ModuleNotFoundError

import torch
import hopmask

memory = hopmask.MaskMemory({{"hidden": 256}}, seed=0)
masks = torch.rand(2, 256, generator=torch.Generator().manual_seed(0)) < 0.5
for mask in masks:
    memory.store({{"hidden": mask}}, signature=mask.float())
memory.save("memory.h5")
memory = hopmask.load("memory.h5")
for hit in (
    memory.recall(task=1),
    memory.recall(cue={{"hidden": masks[1]}}),
    memory.recall(signature=masks[1].float()),
):
    assert hit.verified and torch.equal(hit.masks["hidden"], masks[1])
"""


def test_a_memory_works_without_the_optional_packages(tmp_path: Path) -> None:
    code = _WITHOUT.format(optional=_OPTIONAL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
