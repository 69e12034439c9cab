"""Early stopping: when to stop, and the best parameters, kept in buffers that are allocated once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from fastopt._native import layers as layer_kernels
from fastopt.conventions import flag, nonnegative, number
from fastopt.regularization.common import Array, as_list, choice, whole

any_value = number(-math.inf, math.inf)
FIELDS = ("best_value", "best_step", "step", "wait", "cooling", "reason")


class EarlyStopping(layer_kernels.Restorer):
    """Stop when a monitored value has not improved for `patience` updates; keep and restore the best parameters.

    An update improves if value < best − δ (mode="min") or value > best + δ ("max"), with δ = min_delta, or
    min_delta · |best| if `relative`.

    Parameters
    ----------
    patience : >= 1, the updates in a row without improvement after which to stop.
    min_delta : >= 0, in units of the value; with relative=True a fraction of the best one.
    mode : "min" or "max".
    baseline : None, or a value that must be beaten (by δ) before an improvement resets the patience, as in Keras.
    start_from : the first updates that are not looked at (0: none).
    cooldown : the updates after an improvement that do not count against the patience.
    restore_best : put the best parameters back when the block is left, by whatever: the end, an exception, Ctrl-C.
    check_finite : stop at the first value that is NaN or infinite; else such a value is no improvement.
    reduce : a function of the value, applied first: with many workers an average over them, so that all decide alike.

    Attributes: best_value, best_step (the update it came from, from 0), step (updates so far), wait, stopped, reason
    (None, "patience" or "not finite").

    Prechelt, "Early stopping – but when?" (1998).

    >>> import numpy as np
    >>> from fastopt.regularization import EarlyStopping
    >>> w = np.zeros(2, np.float32)
    >>> with EarlyStopping(patience=2) as stopping:
    ...     for loss in [3.0, 1.0, 2.0, 1.5, 0.1]:
    ...         w += 1  # a step of training
    ...         if stopping.update(loss, w):
    ...             break
    >>> stopping.reason, stopping.best_value, stopping.best_step, w
    ('patience', 1.0, 1, array([2., 2.], dtype=float32))
    """

    def __init__(
        self,
        patience: int = 10,
        *,
        min_delta: float = 0.0,
        relative: bool = False,
        mode: str = "min",
        baseline: float | None = None,
        start_from: int = 0,
        cooldown: int = 0,
        restore_best: bool = True,
        check_finite: bool = True,
        reduce: Callable[[float], float] | None = None,
    ) -> None:
        self.patience = whole("patience", patience, 1)
        self.min_delta = nonnegative("min_delta", min_delta)
        self.relative = flag("relative", relative)
        self.mode = choice("mode", mode, ("min", "max"))
        self.baseline = None if baseline is None else any_value("baseline", baseline)
        self.start_from = whole("start_from", start_from, 0)
        self.cooldown = whole("cooldown", cooldown, 0)
        self.restore_best = flag("restore_best", restore_best)
        self.check_finite = flag("check_finite", check_finite)
        if reduce is not None and not callable(reduce):
            raise TypeError(f"reduce must be a function of the value, got {reduce!r}")
        self.reduce = reduce
        self._params = None
        self.reset()

    def reset(self) -> None:
        """Begin again: no best value, no step. The buffers stay."""
        self.best_value: float | None = None
        self.best_step: int | None = None
        self.step = 0
        self.wait = 0
        self.cooling = 0
        self.reason: str | None = None
        self._best = None

    @property
    def stopped(self) -> bool:
        return self.reason is not None

    def update(self, value: float, params: Array | Iterable[Array] | None = None) -> bool:
        """Take the next value, and the parameters it belongs to. Returns whether to stop.

        The parameters are float32 arrays, the same ones in each update; they are copied if the value is the best.
        """
        if isinstance(value, bool) or not hasattr(value, "__float__") or getattr(value, "shape", ()) != ():
            raise TypeError(f"value must be a number, got {value!r}")
        value = float(value if self.reduce is None else self.reduce(float(value)))
        tensors = None if params is None else as_list(params, "params")
        improved = self.step >= self.start_from and self._beats(value, self.best_value)
        if tensors is not None:
            self._keep(tensors, improved)
        self._count(value, improved)
        return self.stopped

    def _count(self, value: float, improved: bool) -> None:
        counts = self.step >= self.start_from
        self.step += 1
        if not math.isfinite(value) and self.check_finite:
            self.reason = self.reason or "not finite"
        if improved:
            self.best_value, self.best_step = value, self.step - 1
        if improved and (self.baseline is None or self._beats(value, self.baseline)):
            self.wait, self.cooling = 0, self.cooldown
        elif self.cooling > 0:
            self.cooling -= 1
        elif counts:
            self.wait += 1
        if self.wait >= self.patience:
            self.reason = self.reason or "patience"

    def _beats(self, value: float, other: float | None) -> bool:
        if not math.isfinite(value):
            return False
        if other is None:
            return True
        delta = self.min_delta * (abs(other) if self.relative else 1.0)
        return bool(value < other - delta if self.mode == "min" else value > other + delta)

    def _keep(self, tensors: list[Array], improved: bool) -> None:
        names = ("parameter", "best parameter", "")
        self._check_alike(tensors)
        if self._best is None and improved:
            layer_kernels.each_of(
                "copy", tensors, tensors, names=("parameter", "parameter", "")
            )  # checked, not changed
            self._best = [p.copy(order="K") for p in tensors]
        elif self._best is not None and improved:
            layer_kernels.each_of("copy", tensors, self._best, names=names)
        self._params = tensors

    def _check_alike(self, tensors: list[Array]) -> None:
        """In every update: at the block's end it would be too late."""
        if self._best is None:
            return
        if len(tensors) != len(self._best):
            raise ValueError(f"params has {len(tensors)} arrays, it had {len(self._best)} in the updates before")
        for i, (p, best) in enumerate(zip(tensors, self._best, strict=True)):
            if not isinstance(p, np.ndarray) or p.dtype != best.dtype:
                raise TypeError(f"parameter {i} must be a float32 array, got {getattr(p, 'dtype', type(p).__name__)}")
            if p.shape != best.shape:
                raise ValueError(f"parameter {i} has shape {p.shape}, the best one {best.shape}")

    @property
    def best_params(self) -> list[Array]:
        """Copies of the best parameters; empty before there are any."""
        return [p.copy(order="K") for p in self._best or ()]

    def restore(self, params: Array | Iterable[Array] | None = None) -> bool:
        """Put the best parameters into `params`, or into those of the last update. False if there are none yet."""
        targets = self._params if params is None else as_list(params, "params")
        if self._best is None or targets is None:
            return False
        if len(targets) != len(self._best):
            raise ValueError(f"params has {len(targets)} arrays, the best parameters are {len(self._best)}")
        layer_kernels.each_of("copy", self._best, targets, names=("best parameter", "parameter", ""))
        return True

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, and copies of the best parameters; what a run needs to go on."""
        return {**{name: getattr(self, name) for name in FIELDS}, "best_params": self.best_params}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state_dict, copying it. The settings are those of this object."""
        missing = {*FIELDS, "best_params"} - set(state_dict)
        if missing:
            raise ValueError(f"state_dict lacks {', '.join(sorted(missing))}")
        for name in ("step", "wait", "cooling"):
            whole(name, state_dict[name], 0)
        if state_dict["best_value"] is not None:
            any_value("best_value", state_dict["best_value"])
            whole("best_step", state_dict["best_step"], 0)
        if state_dict["reason"] not in (None, "patience", "not finite"):
            raise ValueError(f"reason must be None, 'patience' or 'not finite', got {state_dict['reason']!r}")
        best = list(state_dict["best_params"])
        for i, p in enumerate(best):
            if not isinstance(p, np.ndarray) or p.dtype != np.float32:
                raise TypeError(f"best parameter {i} of state_dict must be a float32 array, got {type(p).__name__}")
        self._best = [p.copy(order="K") for p in best] or None
        for name in FIELDS:
            setattr(self, name, state_dict[name])

    def __repr__(self) -> str:
        state = f"step {self.step}, best {self.best_value} at {self.best_step}, wait {self.wait}, reason {self.reason}"
        return f"EarlyStopping(patience={self.patience}, mode={self.mode!r}: {state})"
