"""What the core asks about a tensor that is not a plain one: where its numbers are, a copy of it, or why it is refused.

Called by _core (fastopt/_tensors.pxi) on the way of a step, never by users. Holds no formula.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import torch

from fastopt._native import runtime
from fastopt.torch import _step

#: DLPack's code and bits of the types that a step may meet
CODES = {torch.float32: (2, 32), torch.float64: (2, 64), torch.float16: (2, 16), torch.bfloat16: (4, 16)}
CODES |= {torch.int64: (0, 64)}
OTHER = (255, 0)
TYPES = (torch.float32, torch.bfloat16, torch.float16)


def bind(exchange: bool = True, remember: bool = True) -> bool:
    """How the core looks at tensors: by DLPack's C exchange API if this torch has it, or else through describe().

    What it calls behind the update must not be Python, where Ctrl-C would halve the step.
    """
    capsule = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None) if exchange else None
    version = getattr(torch._C, "_increment_version", torch.autograd.graph.increment_version)
    found = records() if remember else None
    calls = torch.Tensor.is_neg, torch.Tensor.is_inference, torch.Tensor.copy_, version
    return _step.bind_torch(sys.modules[__name__], torch.Tensor, torch.nn.Parameter, *calls, capsule, found)


def records() -> tuple[int, int, int] | None:
    """Where the core recognizes a tensor that it has looked at: by bytes that would have changed if the tensor had.

    Offsets of the pointer to torch's record of a tensor in the Python object; of the pointer to the record of its
    storage in that; of the address of the numbers in that. They are found by the values that must stand there, and
    what may happen to a tensor is tried out: all of it must show. None if anything is not as expected: another torch.
    """
    try:
        x = _example()
        storage = x.untyped_storage()
        in_object = _find(id(x), torch.Tensor.__basicsize__, x._cdata)
        in_record = _find(x._cdata, WINDOW, storage._cdata)
        in_storage = _find(storage._cdata, WINDOW, storage.data_ptr())
        found = in_object, in_record, in_storage
        ends = _ends_inside(found) and _ends_with_size(found)
        return found if ends and all(_shows(change, found) for change in CHANGES) else None
    except (AttributeError, ValueError, RuntimeError):
        return None


def _example() -> Any:
    """Whatever the defaults are where this package is imported."""
    return torch.zeros(4, 6, dtype=torch.float32, device="cpu")


#: bytes from the start of a record in which a pointer is searched for
WINDOW = 64


def _find(start: int, length: int, value: int) -> int:
    return 8 * struct.unpack(f"{length // 8}Q", ctypes.string_at(start, length)).index(value)


def _shows(change: Callable[[Any], Any], found: tuple[int, int, int]) -> bool:
    """Whether the bytes that the core compares differ after this was done to a tensor, and were the same before."""
    x = _example()
    storage = x.untyped_storage()  # kept, lest the next one lies where this one was
    before, again = _seen(x, found), _seen(x, found)
    change(x)
    return before == again != _seen(x, found) and storage is not None


def _ends_inside(found: tuple[int, int, int]) -> bool:
    """Whether torch's record of a tensor reaches as far as the core looks: the last word there tells a pending sign."""
    x = _example()
    plain, turned = x.data, torch._neg_view(x.data)
    words = []
    for y in (plain, turned, plain, turned):
        x.data = y
        words.append(_seen(x, found)[0][-8:])
    return words[0] == words[2] != words[1] == words[3]


def _ends_with_size(found: tuple[int, int, int]) -> bool:
    """Whether what is compared of the record of a storage ends with how many bytes there are, which the core reads."""
    x = _example()
    storage, told = x.untyped_storage(), []
    for size in (96, 4000, 40, 0):
        storage.resize_(size)
        told.append(int.from_bytes(_seen(x, found)[1][-8:], sys.byteorder) == size)
    return all(told)


def _seen(x: Any, found: tuple[int, int, int]) -> tuple[bytes, bytes]:
    record = struct.unpack("Q", ctypes.string_at(id(x) + found[0], 8))[0]
    storage = struct.unpack("Q", ctypes.string_at(record + found[1], 8))[0]
    of_tensor = ctypes.string_at(record + found[1], _step.RECORD_BYTES[0])
    return of_tensor, ctypes.string_at(storage + found[2], _step.RECORD_BYTES[1])


def _set_data(view: Callable[[Any], Any]) -> Callable[[Any], None]:
    def change(x: Any) -> None:
        x.data = view(x.data)

    return change


#: what can become of a tensor that stays the same object: each must show in the bytes that are compared. Nothing that
#: reaches beyond this process: sharing the memory, which may start a server, is left to the tests
CHANGES: tuple[Callable[[Any], Any], ...] = (
    _set_data(lambda x: x.clone()),
    _set_data(lambda x: x.view(torch.int32)),
    _set_data(lambda x: x.view(torch.bfloat16)),
    _set_data(lambda x: x[1:]),
    _set_data(lambda x: x[:-1]),
    _set_data(lambda x: x[:, :3]),
    _set_data(torch._neg_view),
    lambda x: x.t_(),
    lambda x: x.resize_(2, 2),
    lambda x: x.as_strided_((4, 6), (1, 4)),
    lambda x: x.as_strided_((4, 6), (0, 0)),
    lambda x: x.set_(_example()),
    lambda x: x.set_(x.untyped_storage(), 3, (3, 6), (6, 1)),
    lambda x: x.untyped_storage().resize_(0),
    lambda x: torch._lazy_clone(x),
    lambda x: torch.utils.swap_tensors(x, _example()),
)


def is_in_storage(x: Any) -> bool:
    """Whether all elements of a strided tensor lie in its storage, which may have been resized since."""
    return bool(x.numel() == 0 or _reach(x) <= x.untyped_storage().nbytes())


def _reach(x: Any) -> int:
    """The bytes from the start of its storage to the end of the tensor's last element."""
    inside = sum((n - 1) * stride for n, stride in zip(x.shape, x.stride(), strict=True))
    return int((x.storage_offset() + inside + 1) * x.element_size())


def describe(x: Any) -> tuple[Any, Any, int, int, int] | None:
    """Shape, strides, address, DLPack's code and bits of a strided tensor in this machine's memory; or None."""
    if x.layout is not torch.strided or x.device.type != "cpu":
        return None
    return tuple(x.shape), x.stride(), x.data_ptr(), *CODES.get(x.dtype, OTHER)


def is_distributed(x: Any) -> bool:
    """Whether x is a DTensor; loads nothing."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


@torch.no_grad()
def local(x: Any, label: str) -> Any:
    """The tensor with the numbers: x itself, or the shard of a DTensor that this process has."""
    if is_distributed(x):
        x = x.to_local()
        if type(x).__name__ == "AsyncCollectiveTensor":
            x = x.wait()
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{label} must be a tensor, got {type(x).__name__}")
    if type(x).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        raise TypeError(
            f"{label} is a {type(x).__module__}.{type(x).__name__}, which hides its numbers: use torch.optim for it"
        )
    return x


@torch.no_grad()
def local_gradient(grad: Any, parameter: Any, label: str) -> Any:
    """The gradient's shard that belongs to the parameter's."""
    if is_distributed(grad):
        if not is_distributed(parameter):
            raise TypeError(f"{label} is a DTensor, its parameter is not: pass grad.full_tensor()")
        if grad.device_mesh != parameter.device_mesh or grad.placements != parameter.placements:
            grad = grad.redistribute(parameter.device_mesh, parameter.placements)
    return local(grad, label)


def instead(cls: type) -> str:
    """The advice to use what an optimizer stands for in torch: its namesake there, or what comes nearest."""
    names = (base.__name__ for base in cls.__mro__ if base.__module__.startswith("torch.optim."))
    name = next((name for name in names if name != "Optimizer"), "SGD(nesterov=True)")
    return f"use torch.optim.{name}"


def refuse(x: Any, label: str, cls: type) -> NoReturn:
    """TypeError: what this tensor is, and what to use for it; cls: the optimizer's class."""
    advice = instead(cls)
    expected = "expected float32, bfloat16 or float16"
    if x.layout in (torch.jagged, torch._mkldnn):
        what = f"has layout {x.layout}, expected a plain dense tensor: {advice} for it"
    elif x.layout is not torch.strided:
        what = f"is sparse ({x.layout}): use a dense one, as of Embedding(sparse=False), or torch.optim.SparseAdam"
    elif x.device.type != "cpu":
        what = f"is on device {x.device}: fastopt is for CPUs, {advice} there"
    elif x.dtype.is_complex:
        what = f"has dtype {x.dtype}, {expected}: optimize torch.view_as_real(x), or {advice}"
    elif x.dtype not in TYPES:
        what = f"has dtype {x.dtype}, {expected}: convert it with .float(), or {advice}"
    else:
        _check_storage(x, label)
        raise ValueError(
            f"{label} is at address {x.data_ptr():#x}, expected a multiple of {x.element_size()} that is not 0"
        )
    raise TypeError(f"{label} {what}")


def _check_storage(x: Any, label: str) -> None:
    """ValueError if a tensor that can be looked at lies beyond its storage."""
    if x.layout is torch.strided and x.device.type == "cpu" and not is_in_storage(x):
        raise ValueError(
            f"{label} has shape {tuple(x.shape)} and reaches to byte {_reach(x)} of its storage, which has "
            f"{x.untyped_storage().nbytes()}: was it freed or resized?"
        )


def check_mode(label: str) -> None:
    """RuntimeError outside of inference mode: for a parameter that was made within."""
    if not torch.is_inference_mode_enabled():
        raise RuntimeError(
            f"{label} was made under torch.inference_mode(): torch allows no update of it outside, pass x.clone()"
        )


def refuse_state(x: Any, label: str) -> NoReturn:
    _check_storage(x, label)
    raise TypeError(f"{label} must be a dense float32 tensor of the CPU, got {x.dtype} on {x.device} ({x.layout})")


def refuse_step(x: Any, label: str) -> NoReturn:
    _check_storage(x, label)
    raise TypeError(
        f"{label} must be a CPU tensor of one float32, float64 or int64, got {x.dtype} on {x.device}, "
        f"shape {tuple(x.shape)}"
    )


def check_count(step: Any, label: str) -> None:
    """ValueError for a number, also one in a tensor, that counts no steps; what is no number the next step refuses."""
    if isinstance(step, torch.Tensor) and step.numel() == 1 and step.device.type == "cpu" and not is_distributed(step):
        step = step.item()
    if isinstance(step, (int, float)) and not (0 <= step < 2**53 and step == int(step)):
        raise ValueError(f"{label} must be a whole number >= 0 and below 2**53, got {step!r}")


@torch.no_grad()
def stand_in(x: Any, label: str) -> tuple[Any, Any]:
    """A parameter with gaps between its elements, and a dense copy that is stepped in its place: both as plain tensors,
    so that the way back from one to the other is a call into C."""
    if _may_overlap(x):
        raise ValueError(
            f"{label} has elements that share memory (shape {tuple(x.shape)}, strides {x.stride()}): "
            "it cannot be updated in place, pass x.contiguous()"
        )
    plain = x.detach().as_subclass(torch.Tensor)
    return plain, torch.empty_like(plain, memory_format=torch.preserve_format).copy_(plain)


def _may_overlap(x: Any) -> bool:
    reach = 1  # how far the dimensions inside one extend, in elements
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size > 1:
            if stride < reach:
                return bool(x.numel() > 0)
            reach += stride * (size - 1)
    return False


@torch.no_grad()
def check_apart(parameters: list[Any]) -> None:
    """ValueError if two parameters share an element, where one has gaps: their stand-ins do not show it.

    Each parameter marks its elements, byte by byte, in an image of the storage that it lies in.
    """
    images: dict[int, Any] = {}
    seen: set[int] = set()
    for x in parameters:
        if id(x) in seen or is_distributed(x) or x.numel() == 0:
            continue
        seen.add(id(x))
        storage = x.untyped_storage()
        shape, size = (*x.shape, x.element_size()), x.element_size()
        image = images.setdefault(storage.data_ptr(), torch.zeros(storage.nbytes(), dtype=torch.bool, device="cpu"))
        strides = (*(size * stride for stride in x.stride()), 1)
        mine = image.as_strided(shape, strides, size * x.storage_offset())
        if bool(mine.any()):
            raise ValueError(f"a parameter of shape {tuple(x.shape)}, strides {x.stride()} overlaps another in memory")
        mine.fill_(True)


HUGE = 4 << 20  # bytes; from here on huge pages are worth asking for, as NumPy finds, too


@torch.no_grad()
def filled_like(parameter: Any, value: float) -> Any:
    """A state: float32 in the memory layout of its parameter, all elements `value`."""
    state = torch.empty_like(parameter, dtype=torch.float32, memory_format=torch.preserve_format)
    if type(state) is torch.Tensor and state.device.type == "cpu" and state.nbytes >= HUGE:
        runtime.ask_for_huge_pages(state.data_ptr(), state.nbytes)
    return state.fill_(value)


@torch.no_grad()
def relaid(state: Any, parameter: Any) -> Any:
    """A state as float32 in the memory layout of its parameter."""
    return torch.empty_like(parameter, dtype=torch.float32, memory_format=torch.preserve_format).copy_(state)


@torch.no_grad()
def copied(grad: Any, parameter: Any) -> Any:
    """A gradient in the memory layout of its parameter."""
    return torch.empty_like(parameter, dtype=grad.dtype, memory_format=torch.preserve_format).copy_(grad)


bind()
