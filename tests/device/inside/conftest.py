"""What the tests on the pretended device share."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from pretend import PretendTensor, pretended

Make = Callable[[torch.device], Mapping[str, Any]]


@pytest.fixture
def device() -> Iterator[torch.device]:
    """The pretended device, for one test."""
    with pretended() as device:
        yield device


@pytest.fixture(scope="session")
def same() -> Callable[..., None]:
    """(make, close, on_cpu): a function of a device gives the same on both devices.

    The function returns names and values. Tensors must be on its device, but for those `on_cpu`;
    floating ones must be equal, or, where `close`, nearly so.
    """

    def check(make: Make, *, close: bool = False, on_cpu: tuple[str, ...] = ()) -> None:
        want = make(torch.device("cpu"))
        with pretended() as device:
            got = make(device)
            assert want.keys() == got.keys()
            for name, value in want.items():
                if not isinstance(value, Tensor):
                    assert got[name] == pytest.approx(value, nan_ok=True), name
                    continue
                assert isinstance(got[name], PretendTensor) == (name not in on_cpu), name
                tolerance = 1e-4 if close and value.is_floating_point() else 0.0
                torch.testing.assert_close(
                    got[name].detach().cpu(),
                    value.detach(),
                    rtol=tolerance,
                    atol=tolerance,
                    equal_nan=True,
                    msg=lambda said, name=name: f"{name}: {said}",
                )

    return check
