"""Both packages on a pretended device, in a process of its own: torch never forgets a device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.utils.backend_registration

HERE = Path(__file__).parent


@pytest.mark.skipif(
    not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch has no devices written in Python",
)
def test_both_packages_work_on_a_second_device() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", HERE / "inside"],
        env={**os.environ, "HOPMASK_PRETEND_DEVICE": "1"},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_device_is_unknown_outside() -> None:
    with pytest.raises(RuntimeError):
        torch.device("pretend")
