"""The rare cases of a step: tensors that are distributed, have gaps, need a copy, or must be refused.

The native step (_step.pyx) calls these functions, and users do not. Holds no formula.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import torch

from fastopt._native import runtime

#: the types of parameters and gradients
TYPES = (torch.float32, torch.bfloat16, torch.float16)


def is_possible(x: Any) -> bool:
    """Whether a step could take a parameter of this type, layout and device. One on "meta" has no numbers yet."""
    return bool(x.layout is torch.strided and x.dtype in TYPES and x.device.type in ("cpu", "meta"))


def looks_ahead(p: Any) -> bool:
    """Whether a lookahead moves this parameter: not if it is frozen and of a kind that no step can take."""
    return bool(p.requires_grad or (is_possible(p) and p.device.type == "cpu"))


def is_in_storage(x: Any) -> bool:
    """Whether all elements of a strided tensor lie in its storage, which may have been resized since."""
    return bool(x.numel() == 0 or _reach(x) <= x.untyped_storage().nbytes())


def _reach(x: Any) -> int:
    """The bytes from the start of its storage to the end of the tensor's last element."""
    inside = sum((n - 1) * stride for n, stride in zip(x.shape, x.stride(), strict=True))
    return int((x.storage_offset() + inside + 1) * x.element_size())


def is_distributed(x: Any) -> bool:
    """Whether x is a DTensor. Imports nothing."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


@torch.no_grad()
def local(x: Any, label: str) -> Any:
    """The tensor whose memory holds the numbers: x, or this process's shard of a DTensor. TypeError otherwise."""
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
    """The shard of the gradient that matches this process's shard of the parameter."""
    if is_distributed(grad):
        if not is_distributed(parameter):
            raise TypeError(f"{label} is a DTensor, its parameter is not: pass grad.full_tensor()")
        if grad.device_mesh != parameter.device_mesh or grad.placements != parameter.placements:
            grad = grad.redistribute(parameter.device_mesh, parameter.placements)
    return local(grad, label)


def instead(cls: type) -> str:
    """The advice to use the torch class that an optimizer replaces: its namesake, or the nearest one."""
    names = (base.__name__ for base in cls.__mro__ if base.__module__.startswith("torch.optim."))
    name = next((name for name in names if name != "Optimizer"), "SGD(nesterov=True)")
    return f"use torch.optim.{name}"


def refuse(x: Any, label: str, advice: str) -> NoReturn:
    """Raise a TypeError that says what this tensor is; advice: what to use for it."""
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
        what = "has no memory" if x.data_ptr() == 0 else f"is at address {x.data_ptr():#x}"
        raise ValueError(f"{label} {what}, expected a multiple of {x.element_size()}: pass x.clone()")
    raise TypeError(f"{label} {what}")


def _check_storage(x: Any, label: str) -> None:
    """ValueError if a dense CPU tensor reaches beyond its storage."""
    if x.layout is torch.strided and x.device.type == "cpu" and not is_in_storage(x):
        raise ValueError(
            f"{label} has shape {tuple(x.shape)} and reaches to byte {_reach(x)} of its storage, which has "
            f"{x.untyped_storage().nbytes()}: was it freed or resized?"
        )


def check_mode(label: str) -> None:
    """RuntimeError outside of inference mode; called for a parameter that was made inside it."""
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
    """ValueError for a number, or a tensor of one, that cannot be a step count. The next step refuses other objects."""
    if isinstance(step, torch.Tensor) and step.numel() == 1 and step.device.type == "cpu" and not is_distributed(step):
        step = step.item()
    if isinstance(step, (int, float)) and not (0 <= step < 2**53 and step == int(step)):
        raise ValueError(f"{label} must be a whole number >= 0 and below 2**53, got {step!r}")


@torch.no_grad()
def dense_copy(x: Any, label: str) -> tuple[Any, Any]:
    """A parameter with gaps between its elements, and a dense copy that the kernel updates in its place. Both are plain
    tensors, so that copying back is one call into C."""
    if _may_overlap(x):
        raise ValueError(
            f"{label} has elements that share memory (shape {tuple(x.shape)}, strides {x.stride()}): "
            "it cannot be updated in place, pass x.contiguous()"
        )
    plain = x.detach().as_subclass(torch.Tensor)
    return plain, torch.empty_like(plain, memory_format=torch.preserve_format).copy_(plain)


def _may_overlap(x: Any) -> bool:
    reach = 1  # elements from the first to the last one of the dimensions with smaller strides
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size > 1:
            if stride < reach:
                return bool(x.numel() > 0)
            reach += stride * (size - 1)
    return False


@torch.no_grad()
def check_apart(parameters: list[Any]) -> None:
    """ValueError if two parameters share an element. Called if one has gaps, because the dense copies do not overlap.

    Each parameter marks its bytes in an image of its storage; a byte that is marked already is shared.
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
        marks = image.as_strided(shape, strides, size * x.storage_offset())
        if bool(marks.any()):
            raise ValueError(f"a parameter of shape {tuple(x.shape)}, strides {x.stride()} overlaps another in memory")
        marks.fill_(True)


HUGE = 4 << 20  # bytes, from which on NumPy asks for huge pages, too


@torch.no_grad()
def filled_like(parameter: Any, value: float) -> Any:
    """A new state: float32 in the memory layout of its parameter, every element `value`."""
    state = torch.empty_like(parameter, dtype=torch.float32, memory_format=torch.preserve_format)
    if type(state) is torch.Tensor and state.device.type == "cpu" and state.nbytes >= HUGE:
        runtime.ask_for_huge_pages(state.data_ptr(), state.nbytes)
    return state.fill_(value)


@torch.no_grad()
def converted_state(state: Any, parameter: Any) -> Any:
    """A copy of the state as float32 in the memory layout of its parameter."""
    return torch.empty_like(parameter, dtype=torch.float32, memory_format=torch.preserve_format).copy_(state)


@torch.no_grad()
def copied_gradient(grad: Any, parameter: Any) -> Any:
    """A copy of the gradient in the memory layout of its parameter."""
    return torch.empty_like(parameter, dtype=grad.dtype, memory_format=torch.preserve_format).copy_(grad)
