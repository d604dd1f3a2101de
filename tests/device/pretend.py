"""A pretended second device: tensors that compute on the CPU and refuse what CUDA refuses.

`with pretended() as device` gives the device "pretend". torch knows the name of a device for good:
only a process of its own should enter the context. The tensors of the device are `PretendTensor`s,
each around a CPU tensor that holds the numbers. Factory functions, moves, autograd, `torch.func`
and in-place operations work as on any device. Refused is what CUDA refuses:

- tensors of two devices in one operation, but for CPU tensors without dimensions in pointwise
  operations or as the value of a fill, for CPU indices of a tensor on the device, and for copies;
- a CPU generator for numbers that are drawn on the device;
- numpy arrays that share a tensor's memory;
- matrix products of whole numbers.

There are no generators of this device: draw on the CPU and move the numbers. One leniency is known:
a gradient that is given to `backward` may be of another device.

Source:
    Wrapper subclasses and backends in Python: the docs of `torch.utils._python_dispatch` and
    `torch.library`; the rules: aten/src/ATen/native (TensorIterator.cpp, IndexingUtils.h,
    TensorAdvancedIndexing.cpp) and the device checks that torchgen writes into CUDA's kernels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

NAME = "pretend"
DEVICE = f"{NAME}:0"

_COPIES = {"copy_", "_to_copy"}  # take a source on any device
_PUTTING = {"index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"}
_INDEXING = {"index", "_unsafe_index", *_PUTTING}
_BY_SELF = {*_INDEXING, "fill", "fill_"}  # these work where their first argument lives
_PRODUCTS = {"mm", "bmm", "addmm", "addmm_", "baddbmm", "baddbmm_", "mv", "addmv", "addmv_", "dot"}


class PretendTensor(Tensor):
    """A tensor on the pretended device.

    Attributes:
        held: the CPU tensor with its numbers; views hold views of it.
    """

    held: Tensor

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> "PretendTensor":
        made: PretendTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(DEVICE),
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _run(func, *args, **(kwargs or {}))

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"PretendTensor({self.cpu()})"

    def tolist(self) -> Any:
        """The numbers as lists, copied to the CPU."""
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """As on CUDA: a copy where `force` asks for one, else an error."""
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(
            f"can't convert {DEVICE} device type tensor to numpy: use Tensor.cpu() first"
        )


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Makes the tensors that are asked for on the device, and sees operations on others too."""

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _run(func, *args, **(kwargs or {}))


class _Calls(TorchFunctionMode):
    """Takes lists of numbers to the device, which torch fills without telling a dispatch mode."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor):
            if isinstance(args[0], list | tuple):
                args = (_each(_number, args[0]), *args[1:])
            if _is_here(kwargs.get("device")):
                device = kwargs.pop("device")
                return func(*args, **kwargs).to(device)
        if args and isinstance(args[0], PretendTensor):
            if func is Tensor.new_tensor:
                device = kwargs.pop("device", DEVICE)
                return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs}).to(device)
            if func in (Tensor.__getitem__, Tensor.__setitem__):
                args = (args[0], _index(args[1]), *args[2:])
        return func(*args, **kwargs)


@contextmanager
def pretended() -> Iterator[torch.device]:
    """The device, while the context lasts; torch knows its name in this process from then on.

    Example:
        Not in the process of other tests: `torch.ones(2, device=device) + torch.ones(2)` raises
        RuntimeError under `with pretended() as device`.
    """
    _register()
    with _Calls(), _Operations():  # type: ignore[no-untyped-call]
        yield torch.device(DEVICE)


@cache
def _register() -> None:
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend(NAME)


def _is_here(device: object) -> bool:
    return device is not None and torch.device(device).type == NAME  # type: ignore[call-overload]


def _number(part: Any) -> Any:
    return part.item() if isinstance(part, PretendTensor) else part


def _index(index: Any) -> Any:
    """An index with tensors in the place of lists."""
    if isinstance(index, tuple):
        return tuple(_index(part) for part in index)
    return torch.tensor(index) if isinstance(index, list) else index


class _Given(NamedTuple):
    """One tensor among an operation's arguments."""

    name: str
    value: Tensor
    written: bool


def _run(func: torch._ops.OpOverload, *args: Any, **kwargs: Any) -> Any:
    """Do on the CPU what an operation is to do on the device, or refuse it."""
    name = func._schema.name.removeprefix("aten::")
    given = list(_given(func, args, kwargs))
    here = any(isinstance(one.value, PretendTensor) for one in given)
    if here and name in _BY_SELF:
        here = isinstance(args[0], PretendTensor)
    if name not in _COPIES:
        _refuse_mixed(func, name, given, here)
    if kwargs.get("device") is not None:
        here = _is_here(kwargs["device"])
        kwargs["device"] = torch.device("cpu") if here else kwargs["device"]
    if here and any(isinstance(one, torch.Generator) for one in (*args, *kwargs.values())):
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu': {name}")
    if here and name in _PRODUCTS and not given[0].value.is_floating_point():
        raise RuntimeError(f'"{name}" not implemented on {NAME} for {given[0].value.dtype}')
    answer = func(*_each(_bare, args), **{key: _each(_bare, one) for key, one in kwargs.items()})
    if torch.Tag.inplace_view in func.tags and isinstance(args[0], PretendTensor):
        with torch._C._DisableTorchDispatch():  # the shape of what holds the tensor changes alike
            func(*args, **kwargs)
    own = {id(_bare(one.value)): one.value for one in given}  # what was written comes back itself
    return _each(lambda part: own[id(part)] if id(part) in own else _put(part, here), answer)


@cache
def _arguments(func: torch._ops.OpOverload) -> dict[str, bool]:
    """Names of an operation's arguments in order -> whether it writes to them."""
    return {
        argument.name: argument.alias_info is not None and argument.alias_info.is_write
        for argument in func._schema.arguments
    }


def _given(
    func: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[_Given]:
    arguments = _arguments(func)
    for name, value in (*zip(arguments, args, strict=False), *kwargs.items()):
        for part in value if isinstance(value, list | tuple) else (value,):
            if isinstance(part, Tensor):
                yield _Given(name, part, arguments[name])


def _refuse_mixed(
    func: torch._ops.OpOverload, name: str, given: Sequence[_Given], here: bool
) -> None:
    """Raise RuntimeError for tensors of another device than the operation's."""
    for one in given:
        if isinstance(one.value, PretendTensor) == here:
            continue
        if here and one.name == "indices" and name in _INDEXING:
            continue
        number = one.value.dim() == 0 and not one.written
        if number and (torch.Tag.pointwise in func.tags or one.name in ("value", "values")):
            continue
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but argument '{one.name}' "
            f"{tuple(one.value.shape)} of {name} is on {one.value.device}, not on "
            f"{DEVICE if here else 'cpu'}"
        )


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    """A value, or the values of a list or tuple, changed."""
    if isinstance(value, list | tuple):
        return type(value)(_each(change, part) for part in value)
    return change(value)


def _bare(part: Any) -> Any:
    return part.held if isinstance(part, PretendTensor) else part


def _put(part: Any, here: bool) -> Any:
    return PretendTensor(part) if here and isinstance(part, Tensor) else part
