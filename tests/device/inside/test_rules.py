"""The pretended device refuses what CUDA refuses, and takes what CUDA takes.

Each mistake stands beside the correct form of the same thing. Both get a square tensor on the
device.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

Form = Callable[[Tensor], object]


def _cpu(*shape: int) -> Tensor:
    return torch.ones(shape)


def _places() -> Tensor:
    return torch.tensor([0, 2])


def _mask() -> Tensor:
    return torch.arange(3) != 1


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _set(x: Tensor, where: Any, value: Any) -> None:
    x[where] = value


def _linear(device: torch.device | str) -> torch.nn.Linear:
    return torch.nn.Linear(3, 2).to(device)


def _same_place(x: Tensor, name: str) -> None:
    assert x.device == torch.device(name)


# what is done -> a mistake, and the correct form
MISTAKES: dict[str, tuple[Form, Form]] = {
    "add": (lambda x: x + _cpu(3), lambda x: x + _cpu(3).to(x)),
    "add to a CPU tensor": (lambda x: _cpu(3, 3) + x, lambda x: _cpu(3, 3) + x.cpu()),
    "add in place": (lambda x: x.add_(_cpu(3)), lambda x: x.add_(x.new_ones(3))),
    "add in place to a CPU tensor": (
        lambda x: _cpu(3).add_(x[0]),
        lambda x: _cpu(3).add_(x[0].cpu()),
    ),
    "add a number in place to a CPU one": (
        lambda x: _cpu().add_(x[0, 0]),
        lambda x: _cpu().add_(float(x[0, 0])),
    ),
    "a number of the device": (lambda x: _cpu(3) * x[0, 0], lambda x: _cpu(3) * float(x[0, 0])),
    "tensor of the default device": (
        lambda x: x * torch.tensor([1.0, 2.0, 3.0]),
        lambda x: x * torch.tensor([1.0, 2.0, 3.0], device=x.device),
    ),
    "compare": (lambda x: x == _cpu(3), lambda x: x == x.new_ones(3)),
    "equal": (lambda x: torch.equal(x, _cpu(3, 3)), lambda x: torch.equal(x.cpu(), _cpu(3, 3))),
    "lerp": (lambda x: x.lerp(_cpu(3, 3), 0.5), lambda x: x.lerp(x.new_ones(3, 3), 0.5)),
    "arange in a mask": (
        lambda x: x * (torch.arange(3) < 2),
        lambda x: x * (torch.arange(3, device=x.device) < 2),
    ),
    "condition of where": (
        lambda x: torch.where(_mask(), x, 0.0),
        lambda x: torch.where(_mask().to(x.device), x, 0.0),
    ),
    "answer of where": (
        lambda x: torch.where(x > 0, x, _cpu(3)),
        lambda x: torch.where(x > 0, x, torch.tensor(1.0)),
    ),
    "masked_fill": (
        lambda x: x.masked_fill(_mask(), 0.0),
        lambda x: x.masked_fill(_mask().to(x.device), torch.tensor(0.0)),
    ),
    "masked_select": (
        lambda x: x[0].masked_select(_mask()),
        lambda x: x[0].masked_select(_mask().to(x.device)),
    ),
    "cat": (lambda x: torch.cat([x, _cpu(1, 3)]), lambda x: torch.cat([x, x.new_ones(1, 3)])),
    "stack": (lambda x: torch.stack([x[0], _cpu(3)]), lambda x: torch.stack([x[0], x[1]])),
    "stack of numbers": (
        lambda x: torch.stack([x[0, 0], _cpu()]),
        lambda x: torch.stack([x[0, 0], x.new_ones(())]),
    ),
    "matmul": (lambda x: x @ _cpu(3, 3), lambda x: x @ _cpu(3, 3).to(x.device)),
    "matmul with a vector": (lambda x: _cpu(3) @ x, lambda x: x.new_ones(3) @ x),
    "matmul of whole numbers": (lambda x: x.long() @ x.long(), lambda x: (x @ x).long()),
    "einsum": (
        lambda x: torch.einsum("ij,j->i", x, _cpu(3)),
        lambda x: torch.einsum("ij,j->i", x, x[0]),
    ),
    "addr_": (lambda x: x.addr_(_cpu(3), _cpu(3)), lambda x: x.addr_(x.new_ones(3), x.new_ones(3))),
    "addcmul_": (
        lambda x: x.addcmul_(_cpu(3, 1), _cpu(1, 3)),
        lambda x: x.addcmul_(x.new_ones(3, 1), x.new_ones(1, 3)),
    ),
    "index a CPU tensor": (
        lambda x: _cpu(3)[x[0].long()],
        lambda x: _cpu(3)[x[0].long().cpu()],
    ),
    "mask a CPU tensor": (lambda x: _cpu(3)[x[0] > 0], lambda x: _cpu(3)[(x[0] > 0).cpu()]),
    "index by a CPU tensor": (
        lambda x: x.index_select(0, _places()),
        lambda x: x[_places()],  # of all ways of indexing, [...] alone takes CPU indices
    ),
    "gather": (
        lambda x: x.gather(1, _places()[None]),
        lambda x: x.gather(1, _places()[None].to(x.device)),
    ),
    "scatter": (
        lambda x: x.scatter(1, _places()[None], 1.0),
        lambda x: x.scatter(1, _places()[None].to(x.device), 1.0),
    ),
    "order of a CPU generator": (
        lambda x: x.index_select(0, torch.randperm(3, generator=_generator())),
        lambda x: x[torch.randperm(3, generator=_generator())],
    ),
    "values of index_put_": (
        lambda x: _set(x, _places(), _cpu(2, 3)),
        lambda x: _set(x, _places(), x.new_ones(2, 3)),
    ),
    "values of a mask": (
        lambda x: _set(x, x > 0, _cpu(9)),
        lambda x: _set(x, x > 0, torch.tensor(2.0)),
    ),
    "index_put_ into a CPU tensor": (
        lambda x: _set(_cpu(3, 3), _places(), x[:2]),
        lambda x: _set(_cpu(3, 3), _places(), x[:2].cpu()),
    ),
    "a CPU generator": (
        lambda x: torch.rand(3, generator=_generator(), device=x.device),
        lambda x: torch.rand(3, generator=_generator()).to(x.device),
    ),
    "a CPU generator in randint": (
        lambda x: torch.randint(0, 2, (3,), generator=_generator(), device=x.device),
        lambda x: torch.randint(0, 2, (3,), device=x.device),
    ),
    "a CPU generator in randperm": (
        lambda x: torch.randperm(3, generator=_generator(), device=x.device),
        lambda x: torch.randperm(3, generator=_generator()).to(x.device),
    ),
    "a CPU generator in place": (
        lambda x: x.normal_(generator=_generator()),
        lambda x: x.normal_(),
    ),
    "a CPU generator in bernoulli": (
        lambda x: torch.bernoulli(x, generator=_generator()),
        lambda x: torch.bernoulli(x),
    ),
    "numpy": (lambda x: x.numpy(), lambda x: x.cpu().numpy()),
    "numpy of what it is made from": (lambda x: np.asarray(x), lambda x: np.asarray(x.cpu())),
    "device without a number": (
        lambda x: _same_place(x, x.device.type),  # "cuda" is not "cuda:0"
        lambda x: _same_place(x, f"{x.device.type}:0"),
    ),
    "isin": (
        lambda x: torch.isin(x, _cpu(2)),
        lambda x: torch.isin(x, _cpu(2).to(x.device)),
    ),
    "weights of a layer": (
        lambda x: _linear("cpu")(x),
        lambda x: _linear(x.device)(x),
    ),
    "labels of a loss": (
        lambda x: torch.nn.functional.cross_entropy(x, torch.tensor([0, 1, 2])),
        lambda x: torch.nn.functional.cross_entropy(x, torch.arange(3, device=x.device)),
    ),
    "vmap": (
        lambda x: torch.func.vmap(lambda row: row * _cpu(3))(x),
        lambda x: torch.func.vmap(lambda row: row * x[0])(x),
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_caught(device: torch.device, what: str) -> None:
    with pytest.raises((RuntimeError, TypeError, AssertionError)):
        MISTAKES[what][0](torch.ones(3, 3, device=device))


@pytest.mark.parametrize("what", MISTAKES)
def test_its_correct_form_works(device: torch.device, what: str) -> None:
    MISTAKES[what][1](torch.ones(3, 3, device=device))


# what CUDA takes, though two devices meet -> what comes out
TAKEN: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
    "a number of the CPU": (lambda x: x + torch.tensor(2.0), torch.full((3, 3), 3.0)),
    "a CPU number in place": (lambda x: x.mul_(torch.tensor(2.0)), torch.full((3, 3), 2.0)),
    "a CPU number first": (lambda x: torch.tensor(2.0) - x, torch.ones(3, 3)),
    "a number of Python": (lambda x: 2 * x, torch.full((3, 3), 2.0)),
    "copy_ from the CPU": (lambda x: x.copy_(torch.zeros(3, 3)), torch.zeros(3, 3)),
    "a slice set from the CPU": (
        lambda x: _put(x, slice(1, 3), torch.zeros(2, 3)),
        torch.tensor([[1.0] * 3, [0.0] * 3, [0.0] * 3]),
    ),
    "a CPU mask as index": (lambda x: x[_mask()], torch.ones(2, 3)),
    "CPU indices set": (
        lambda x: _put(x, _places(), 0.0),
        torch.tensor([[0.0] * 3, [1.0] * 3, [0.0] * 3]),
    ),
    "a list as index": (lambda x: x[[0, 2]], torch.ones(2, 3)),
    "indices of both": (lambda x: x[_places(), _places().to(x.device)], torch.ones(2)),
    "a CPU number as fill": (lambda x: x.fill_(torch.tensor(2.0)), torch.full((3, 3), 2.0)),
    "a tensor like another": (lambda x: _cpu(2).to(x), torch.ones(2)),
    "new_tensor": (lambda x: x.new_tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])),
    "a view written": (lambda x: _diagonal_zero(x), 1 - torch.eye(3)),
    "a deep copy": (lambda x: copy.deepcopy(x), torch.ones(3, 3)),
}


def _put(x: Tensor, where: Any, value: Any) -> Tensor:
    x[where] = value
    return x


def _diagonal_zero(x: Tensor) -> Tensor:
    x.diagonal().sub_(1)
    return x


@pytest.mark.parametrize("what", TAKEN)
def test_what_cuda_takes_works(device: torch.device, what: str) -> None:
    do, want = TAKEN[what]
    found = do(torch.ones(3, 3, device=device))
    assert found.device == device
    assert torch.equal(found.cpu(), want)


def test_a_cpu_tensor_takes_a_copy(device: torch.device) -> None:
    target = torch.zeros(3)
    target.copy_(torch.ones(3, device=device))
    target[1:] = torch.full((2,), 4.0, device=device)
    assert target.tolist() == [1, 4, 4]
    assert target.device.type == "cpu"


def test_a_gradient_lives_on_the_device(device: torch.device) -> None:
    x = torch.arange(3.0, device=device).requires_grad_()
    x.square().sum().backward()
    assert x.grad is not None
    assert x.grad.device == device
    assert x.grad.tolist() == [0, 2, 4]


def test_numbers_leave_the_device(device: torch.device) -> None:
    x = torch.arange(3, device=device)
    assert (int(x[2]), bool((x >= 0).all()), x.tolist()) == (2, True, [0, 1, 2])
    assert torch.tensor([x[1], x[2]]).tolist() == [1, 2]
