"""Steps inside backward(): each parameter is updated when its gradient is complete, and the gradient is freed.

torch calls the hook of a parameter whenever it has added to its gradient: once in each backward(). Between two calls of
step() a second call means that the first gradient was only a part. Such a call is an error.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any

import torch

from fastopt.torch._step import TensorStep
from fastopt.torch.nag import NAG
from fastopt.torch.optimizers import TorchOptimizer, refuse_modes


class InBackward:
    """The handle that step_in_backward returns. remove(), or the end of a `with` block, ends the steps in backward."""

    def __init__(self, optimizer: TorchOptimizer) -> None:
        self._optimizer = weakref.ref(optimizer)
        self._hooks: list[Any] = []
        self.steps = 0  # calls of step() since
        for group in optimizer.param_groups:
            self.watch(group)

    def watch(self, group: dict[str, Any]) -> None:
        """Step the parameters of this group in backward."""
        for p in group["params"]:
            if p.requires_grad:
                self._hooks.append(p.register_post_accumulate_grad_hook(_Hook(self._optimizer)))

    def remove(self) -> None:
        """From now on backward() keeps the gradients, and step() updates."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        optimizer = self._optimizer()
        if optimizer is not None and optimizer.__dict__.get("_in_backward") is self:
            del optimizer._in_backward

    def __enter__(self) -> InBackward:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class _Hook:
    """Updates one parameter. It finds the param group in each step, because load_state_dict replaces the groups."""

    def __init__(self, optimizer: weakref.ref[TorchOptimizer]) -> None:
        self.optimizer = optimizer
        self.place: tuple[int, int] = (0, 0)
        self.native: TensorStep | None = None
        self.last = -1  # the handle's `steps` at the last update

    def __call__(self, p: Any) -> None:
        optimizer = self.optimizer()
        if optimizer is None or p.grad is None:
            return
        steps = optimizer._in_backward.steps
        if self.last == steps:
            raise RuntimeError(
                f"a parameter of shape {tuple(p.shape)} gets a second gradient, but backward() updated it since the "
                "last step(): call step() after each backward(). step_in_backward can neither accumulate gradients nor "
                "update a parameter that is used inside and outside of a reentrant checkpoint"
            )
        if _is_nested():
            return  # a later part of the outer backward may add to this gradient: step() updates
        refuse_modes("step_in_backward has no operations of torch")
        if self.native is None:
            self.native = optimizer._new_step()
        optimizer._take_step(self.native, [(self._group(optimizer, p), [p])], optimizer.state)
        p.grad, self.last = None, steps

    def _group(self, optimizer: TorchOptimizer, p: Any) -> dict[str, Any]:
        g, i = self.place
        groups: list[dict[str, Any]] = optimizer.param_groups
        if not (g < len(groups) and i < len(groups[g]["params"]) and groups[g]["params"][i] is p):
            places = [(g, i) for g, group in enumerate(groups) for i, q in enumerate(group["params"]) if q is p]
            if not places:
                raise RuntimeError("a parameter of step_in_backward is no longer in the optimizer's param_groups")
            self.place = g, i = places[0]
        return groups[g]


def _is_nested() -> bool:
    """Whether this backward was started by another one, as reentrant checkpoints do."""
    frame, count = sys._getframe(2), 0
    while frame is not None and count < 2:
        count += frame.f_code in BACKWARD
        frame = frame.f_back  # type: ignore[assignment]
    return count == 2


#: the functions of torch that start a backward
BACKWARD = (torch.autograd.backward.__code__, torch.autograd.grad.__code__)


def step_in_backward(optimizer: TorchOptimizer) -> InBackward:
    """From now on backward() updates each parameter as soon as its gradient is accumulated, and frees the gradient.

    So the gradients of a model are never all in memory at once. The results are those of step() after backward(). Call
    step() after each backward(), too: it ends the iteration, a learning-rate scheduler counts its calls, and it updates
    each parameter that still has a gradient. These are the parameters that had requires_grad=False when
    step_in_backward was called, and those used inside checkpoint(use_reentrant=True), whose gradients may be parts.

    A hook on the parameter (register_post_accumulate_grad_hook) sees the gradient only if it was registered before.

    Parameters
    ----------
    optimizer : an optimizer of fastopt.torch, except NAG.

    Returns a handle. Its remove() ends the steps in backward; it is a context manager as well.

    RuntimeError for NAG, whose parameters hold the lookahead point during backward. RuntimeError with several processes
    unless the parameters are DTensors: other gradients are not averaged yet when they are accumulated. Until remove(),
    step(max_norm=...), step(skip_nonfinite=True) and a GradScaler raise RuntimeError: they need all gradients at once.
    RuntimeError in backward() if a parameter that was updated gets a second gradient before step() is called: in
    another backward(), or in a reentrant checkpoint of a parameter that is used outside of it as well.
    """
    if not isinstance(optimizer, TorchOptimizer):
        raise TypeError(f"step_in_backward needs an optimizer of fastopt.torch, got {type(optimizer).__name__}")
    if isinstance(optimizer, NAG):
        raise RuntimeError("NAG cannot step in backward: its parameters hold the lookahead point there")
    if "_in_backward" in optimizer.__dict__:
        raise RuntimeError("this optimizer steps in backward already")
    _refuse_replicas(optimizer)
    optimizer._in_backward = handle = InBackward(optimizer)
    return handle


def _refuse_replicas(optimizer: TorchOptimizer) -> None:
    from fastopt.torch.tensors import is_distributed

    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return
    if not all(is_distributed(p) for group in optimizer.param_groups for p in group["params"]):
        raise RuntimeError(
            "with several processes a gradient is not averaged yet when it is accumulated: "
            "step_in_backward works with fully_shard, not with DistributedDataParallel"
        )
