"""Nesterov's accelerated gradient in the textbook's form, which torch.optim does not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from fastopt import optimizers
from fastopt._native.spans import Lookahead
from fastopt.torch._step import TensorStep
from fastopt.torch.optimizers import Group, TorchOptimizer, _value, refuse_modes


class NAG(TorchOptimizer):
    """Nesterov's accelerated gradient in the textbook's form: a ← β a + ∇L(W − η β a);  W ← W − η a.

    Compute the gradient at the lookahead point W − η β a, in a block or by a closure::

        with optimizer.lookahead():      # the parameters hold W − η β a
            loss = criterion(model(x), y)
            loss.backward()
        optimizer.step()

        optimizer.step(closure)          # the same: the closure is called there

    SGD(nesterov=True) is torch's form: its parameters are the lookahead points.

    Parameters
    ----------
    params : see torch.optim.Optimizer.
    lr : η >= 0, 1e-3.
    momentum : β >= 0, 0.9.
    weight_decay : λ >= 0, 0: adds λW to the gradient, with W at the lookahead point.
    maximize : ascend instead.

    State: momentum_buffer (a). See fastopt.NAG.
    """

    equations = optimizers.NAG
    counts = False

    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, torch.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for name, value in (("learning rate", lr), ("momentum value", momentum), ("weight_decay value", weight_decay)):
            if not value >= 0.0:
                raise ValueError(f"Invalid {name}: {value}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "maximize": maximize})

    @classmethod
    def fixed(cls) -> dict[str, Any]:
        return {"lookahead": True}

    def lookahead(self) -> Lookahead:
        """In the block the parameters hold W − η β a. However the block ends, they get W back, bit for bit.

        RuntimeError at the end of the block if a parameter was given other memory in it (p.data = …). It names the
        parameter; all others have W back.
        """

        def arguments() -> tuple[TensorStep, Any, list[float], Any]:
            refuse_modes("NAG has no operations of torch")
            work = self._with_specs(self._native, [(group, group["params"]) for group in self.param_groups])
            return self._native, (work, self.state), [spec.scalars(1)["shift"] for spec, _, _ in work], self._shifts()

        return Lookahead(arguments)

    def _step(
        self, closure: Callable[[], Any] | None, *, max_norm: float | None = None, skip_nonfinite: bool = False
    ) -> Any:
        """The gradients must have been computed inside lookahead(). A closure is called inside it."""
        loss = None
        self._refuse_at_lookahead("leave the block before the step")
        if closure is not None:
            with self.lookahead(), torch.enable_grad():
                loss = closure()
        if any(lr * momentum for lr, momentum in self._shifts()):  # otherwise the lookahead point is W
            if self._native.looked_ahead is None:
                raise RuntimeError(
                    "NAG's gradient must be taken at the lookahead point W − η β a: compute it inside "
                    "'with optimizer.lookahead():', or pass a function as in optimizer.step(closure)"
                )
            if self._native.looked_ahead != self._shifts():
                raise RuntimeError("lr or momentum was changed since lookahead(): the gradient is of another point")
        super()._step(None, max_norm=max_norm, skip_nonfinite=skip_nonfinite)
        self._native.looked_ahead = None
        return loss

    def _shifts(self) -> list[tuple[float, float]]:
        return [(_value("lr", group["lr"]), _value("momentum", group["momentum"])) for group in self.param_groups]

    def _refuse_at_lookahead(self, what: str) -> None:
        if self._native.ahead:
            raise RuntimeError(f"the parameters hold W − η β a inside lookahead(): {what}")

    def add_param_group(self, param_group: Group) -> None:
        self._refuse_at_lookahead("a param group cannot be added")
        super().add_param_group(param_group)

    def __getstate__(self) -> dict[str, Any]:
        self._refuse_at_lookahead("leave the block to take a copy")
        return super().__getstate__()  # type: ignore[no-any-return]

    def state_dict(self) -> dict[str, Any]:
        self._refuse_at_lookahead("leave the block to take a checkpoint")
        return super().state_dict()  # type: ignore[no-any-return]

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self._refuse_at_lookahead("leave the block to load a state")
        super().load_state_dict(state_dict)
        self._native.looked_ahead = None  # the gradients belong to the lookahead point of the old momentum
