"""Early stopping: decides when to stop, and keeps the best parameters in buffers that are allocated once."""

from __future__ import annotations

import copyreg
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from fastopt._checks import Sendable, flag, integer, number, one_of, optional
from fastopt._native import layers as layer_kernels
from fastopt._types import Array
from fastopt.regularization.layer import as_list

FIELDS = ("best_value", "best_step", "step", "wait", "cooling", "reason")


class EarlyStopping(Sendable, layer_kernels.Restorer):
    """Stop when a monitored value has not improved for `patience` updates; keep and restore the best parameters.

    A value is an improvement if value < best − δ (mode="min") or value > best + δ (mode="max"), with δ = min_delta, or
    δ = min_delta · |best| if `relative`.

    Parameters
    ----------
    patience : the number of updates in a row without improvement after which to stop; 0 is like 1.
    min_delta : >= 0, in units of the value; with relative=True a fraction of the best value.
    mode : "min" or "max".
    baseline : None, or a value: only improvements that also beat it (by δ) reset the patience, as in Keras.
    start_from : the number of updates at the beginning whose values are ignored, also NaN and infinity.
    min_epochs : patience stops only at this update (from 1) or later. Earlier values count, other than with start_from.
    latch : update keeps returning True after it has done so once; with False a later improvement lets training go on.
    cooldown : the number of updates after an improvement that do not count against the patience.
    restore_best : at the end of the `with` block, also after an exception or Ctrl-C, restore the best parameters. So
        change parameters in place (w += 1): an update inside the block raises ValueError if it gets other arrays.
    check_finite : stop at the first NaN or infinity; with False such a value is only no improvement.
    reduce : a function that is applied to each value first. With many workers it averages over them, so that all of
        them stop at the same update.

    Attributes: best_value; best_step, the update (from 0) of best_value; step, the number of updates; wait, the number
    of updates without improvement; stopped; reason (None, "patience" or "not finite").

    Prechelt, "Early stopping – but when?" (1998).

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
        min_epochs: int = 0,
        latch: bool = False,
        cooldown: int = 0,
        restore_best: bool = True,
        check_finite: bool = True,
        reduce: Callable[[float], float] | None = None,
    ) -> None:
        self.patience = integer("patience", patience)
        self.min_delta = number("min_delta", min_delta, 0.0)
        self.relative = flag("relative", relative)
        self.mode = one_of("mode", mode, ("min", "max"))
        self.baseline = optional(number, "baseline", baseline)
        self.start_from = integer("start_from", start_from)
        self.min_epochs, self.latch = integer("min_epochs", min_epochs), flag("latch", latch)
        self.cooldown = integer("cooldown", cooldown)
        self.restore_best = flag("restore_best", restore_best)
        self.check_finite = flag("check_finite", check_finite)
        if reduce is not None and not callable(reduce):
            raise TypeError(f"reduce must be a function of the value, got {reduce!r}")
        self.reduce = reduce
        self.reset()

    def reset(self) -> None:
        """Forget all updates and the best parameters."""
        self.best_value: float | None = None
        self.best_step: int | None = None
        self.step = 0
        self.wait = 0
        self.cooling = 0
        self.reason: str | None = None
        self._best = self._params = None

    @property
    def stopped(self) -> bool:
        return self.reason is not None

    def update(self, value: float, params: Array | Iterable[Array] | None = None) -> bool:
        """Record the next value and the parameters that gave it. Returns True if training should stop.

        The parameters are float32 arrays, the same ones in each update. They are copied if the value is the best.
        """
        if isinstance(value, bool) or not hasattr(value, "__float__") or getattr(value, "shape", ()) != ():
            raise TypeError(f"value must be a number, got {value!r}")
        value = float(value if self.reduce is None else self.reduce(float(value)))
        tensors = None if params is None else as_list(params, "params")
        improved = self.step >= self.start_from and self._beats(value, self.best_value)
        taken, before = self._taken, {name: getattr(self, name) for name in FIELDS}
        try:
            self._count(value, improved)
            if tensors is not None:
                self._keep(tensors, improved)
        except BaseException:
            if self._taken == taken:  # the best parameters are those of before
                vars(self).update(before)
            raise
        return self.stopped

    def _count(self, value: float, improved: bool) -> None:
        counts = self.step >= self.start_from
        self.step += 1
        latched = self.reason if self.latch else None
        if improved:
            self.best_value, self.best_step = value, self.step - 1
        if improved and (self.baseline is None or self._beats(value, self.baseline)):
            self.wait, self.cooling = 0, self.cooldown
        elif self.cooling > 0:
            self.cooling -= 1
        elif counts:
            self.wait += 1
        ended = self.wait >= max(self.patience, 1) and self.step >= self.min_epochs
        diverged = counts and self.check_finite and not math.isfinite(value)
        self.reason = latched or ("not finite" if diverged else "patience" if ended else None)

    def _beats(self, value: float, other: float | None) -> bool:
        if not math.isfinite(value):
            return False
        if other is None:
            return True
        delta = self.min_delta * (abs(other) if self.relative else 1.0)
        return bool(value < other - delta if self.mode == "min" else value > other + delta)

    def _keep(self, tensors: list[Array], improved: bool) -> None:
        self._check_same_shapes(tensors)  # checked in every update, because the end of the block must not raise
        if self._inside and self.restore_best:
            for i, (p, former) in enumerate(zip(tensors, self._params or (), strict=False)):
                if p is not former and p.ctypes.data != former.ctypes.data:
                    raise ValueError(
                        f"parameter {i} is another array than in the update before, and the best values would be "
                        "restored into an array that training does not use: change it in place (w += 1, w[:] = ...)"
                    )
        best = self._best
        if improved and best is None:
            # a copy of each tensor onto itself checks all of them and changes nothing
            layer_kernels.each_of("copy", tensors, tensors, names=("parameter", "parameter", ""))
            best = [p.copy(order="K") for p in tensors]
        self._take(tensors, best if improved else None)

    def _check_same_shapes(self, tensors: list[Array]) -> None:
        if self._best is None:
            return
        if len(tensors) != len(self._best):
            raise ValueError(f"params has {len(tensors)} arrays, earlier updates had {len(self._best)}")
        for i, (p, best) in enumerate(zip(tensors, self._best, strict=True)):
            if not isinstance(p, np.ndarray) or p.dtype != best.dtype:
                raise TypeError(f"parameter {i} must be a float32 array, got {getattr(p, 'dtype', type(p).__name__)}")
            if p.shape != best.shape:
                raise ValueError(f"parameter {i} has shape {p.shape}, the best one {best.shape}")

    @property
    def best_params(self) -> list[Array]:
        """Copies of the best parameters; an empty list before the first improvement."""
        return [p.copy(order="K") for p in self._best or ()]

    def restore(self, params: Array | Iterable[Array] | None = None) -> bool:
        """Copy the best parameters into `params`, or into those of the last update. Returns False if there are none."""
        targets = self._params if params is None else as_list(params, "params")
        if self._best is None or targets is None:
            return False
        if len(targets) != len(self._best):
            raise ValueError(f"params has {len(targets)} arrays, the best parameters are {len(self._best)}")
        layer_kernels.each_of("copy", self._best, targets, names=("best parameter", "parameter", ""))
        return True

    def state_dict(self) -> dict[str, Any]:
        """The numbers, and copies of the best parameters, with which another object can continue."""
        return {**{name: getattr(self, name) for name in FIELDS}, "best_params": self.best_params}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a copy of a state_dict. The settings of this object stay."""
        missing = {*FIELDS, "best_params"} - set(state_dict)
        if missing:
            raise ValueError(f"state_dict lacks {', '.join(sorted(missing))}")
        for name in ("step", "wait", "cooling"):
            integer(name, state_dict[name])
        if state_dict["best_value"] is not None:
            number("best_value", state_dict["best_value"])
            integer("best_step", state_dict["best_step"])
        one_of("reason", state_dict["reason"], (None, "patience", "not finite"))
        best = list(state_dict["best_params"])
        for i, p in enumerate(best):
            if not isinstance(p, np.ndarray) or p.dtype != np.float32:
                raise TypeError(f"best parameter {i} of state_dict must be a float32 array, got {type(p).__name__}")
        self._best = [p.copy(order="K") for p in best] or None
        for name in FIELDS:
            setattr(self, name, state_dict[name])

    def __reduce__(self) -> tuple[Any, ...]:  # a copy is outside of the block
        arrays = {name: getattr(self, name) for name in ("_params", "_best", "restore_best")}
        return copyreg.__newobj__, (type(self),), {**vars(self), **arrays}  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        state = f"step {self.step}, best {self.best_value} at {self.best_step}, wait {self.wait}, reason {self.reason}"
        return f"EarlyStopping(patience={self.patience}, mode={self.mode!r}: {state})"
