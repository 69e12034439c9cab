"""Parameter norm penalties: value and gradient of L2, L1 and the elastic net, and the max-norm constraint.

fastopt's optimizers add the gradient in their step, by weight_decay and l1; `penalty_groups` chooses the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import numpy as np

from fastopt._checks import nonnegative, positive
from fastopt._native import layers as layer_kernels
from fastopt._types import Array
from fastopt.regularization.layer import Layout, as_list

#: A function of (index, parameter) that is True for a parameter without penalty.
Predicate = Callable[[int, Array], bool]


def is_vector(index: int, param: Array) -> bool:
    """True for one-dimensional parameters: biases and the weights of norm layers, which usually have no penalty."""
    return param.ndim <= 1


def _included(tensors: list[Array], exclude: Predicate | None) -> list[int]:
    return [i for i, p in enumerate(tensors) if exclude is None or not exclude(i, p)]


def norm_penalty(
    params: Array | Iterable[Array], *, l2: float = 0.0, l1: float = 0.0, exclude: Predicate | None = None
) -> float:
    """The value λ/2 ‖W‖² + l1 ‖W‖₁: L2 (ridge), L1 (lasso), or with both the elastic net.

    Parameters
    ----------
    params : a contiguous float32 array or a list of them.
    l2 : λ >= 0, what optimizers call weight_decay.
    l1 : >= 0.
    exclude : a function of (index, array) that is True for parameters without penalty, such as `is_vector`.

    Summed in double, in a fixed order. Tikhonov (1943); Tibshirani, "Regression shrinkage and selection via the lasso"
    (1996); Zou & Hastie, "Regularization and variable selection via the elastic net" (2005).

    >>> from fastopt.regularization import is_vector, norm_penalty
    >>> w, b = np.array([[3.0, -4.0]], np.float32), np.ones(1, np.float32)
    >>> norm_penalty([w, b], l2=0.1, l1=0.01, exclude=is_vector)
    1.32
    """
    l2, l1 = nonnegative("l2", l2), nonnegative("l1", l1)
    tensors = as_list(params, "params")
    total = 0.0
    for i in _included(tensors, exclude):
        for factor, power in ((l2 / 2, 2), (l1, 1)):
            if factor:
                total += factor * layer_kernels.sum_of_powers(tensors[i], power, f"parameter {i}")
    return total


def add_norm_penalty_(
    grads: Array | Iterable[Array],
    params: Array | Iterable[Array],
    *,
    l2: float = 0.0,
    l1: float = 0.0,
    exclude: Predicate | None = None,
) -> None:
    """g ← g + λ W + l1 sign(W) in place, sign(0) = 0: the gradient of `norm_penalty`, in one parallel region.

    For optimizers of other libraries; fastopt's optimizers do this in their step, by weight_decay and l1.

    >>> from fastopt.regularization import add_norm_penalty_
    >>> g = np.zeros(3, np.float32)
    >>> add_norm_penalty_(g, np.array([2.0, 0.0, -2.0], np.float32), l2=0.5, l1=1.0)
    >>> g
    array([ 2.,  0., -2.], dtype=float32)
    """
    l2, l1 = nonnegative("l2", l2), nonnegative("l1", l1)
    targets, weights = as_list(grads, "grads"), as_list(params, "params")
    if len(targets) != len(weights):
        raise ValueError(f"grads has {len(targets)} arrays, params has {len(weights)}")
    chosen = _included(weights, exclude)
    targets, weights = [targets[i] for i in chosen], [weights[i] for i in chosen]
    names = ("gradient", "gradient", "parameter")
    layer_kernels.each_of("penalize", targets, targets, weights, a=l2, b=l1, names=names)


def penalty_groups(
    params: Iterable[Array], *, weight_decay: float = 0.0, l1: float = 0.0, exclude: Predicate | None = is_vector
) -> list[dict[str, Any]]:
    """Param groups for an optimizer, with the penalty and without it for the parameters that `exclude` chooses.

    The groups hold the parameters in the given order, so gradients keep their order. Neighbours with the same penalty
    share a group.

    >>> import fastopt
    >>> from fastopt.regularization import penalty_groups
    >>> w, b = np.ones((2, 2), np.float32), np.ones(2, np.float32)
    >>> opt = fastopt.SGD(penalty_groups([w, b], weight_decay=0.5), lr=1.0)
    >>> opt.step([np.zeros_like(w), np.zeros_like(b)])
    >>> w[0], b
    (array([0.5, 0.5], dtype=float32), array([1., 1.], dtype=float32))
    """
    weight_decay, l1 = nonnegative("weight_decay", weight_decay), nonnegative("l1", l1)
    groups = []
    for free, run in groupby(enumerate(as_list(params, "params")), lambda item: bool(exclude and exclude(*item))):
        part = [p for _, p in run]
        groups.append({"params": part, "weight_decay": 0.0 if free else weight_decay, "l1": 0.0 if free else l1})
    return groups


def max_norm_(w: Array, max_norm: float, *, axis: int = 1) -> Array:
    """Project in place onto ‖row‖₂ <= max_norm (axis=1), or ‖column‖₂ <= max_norm (axis=0). Returns w.

        w ← w · min(1, max_norm/‖w‖)

    Parameters
    ----------
    w : float32, C order, two dimensions or more.
    max_norm : > 0.
    axis : 1: a row is w[i], the weights into one unit of a torch layer; 0: a column is w[..., j], as in Keras.

    A row within the limit keeps its bits, and so does a row whose norm is not finite. Srebro & Shraibman, "Rank,
    trace-norm and max-norm" (COLT 2005).

    >>> from fastopt.regularization import max_norm_
    >>> max_norm_(np.array([[3.0, 4.0], [0.3, 0.4]], np.float32), 1.0)
    array([[0.6, 0.8],
           [0.3, 0.4]], dtype=float32)
    """
    limit = positive("max_norm", max_norm)
    if isinstance(axis, (bool, np.ndarray)) or axis not in (0, 1):
        raise ValueError(f"axis must be 0 or 1, got {axis!r}")
    if not isinstance(w, np.ndarray) or w.ndim < 2:
        raise ValueError(f"w must be an array of at least two dimensions, got {getattr(w, 'shape', type(w).__name__)}")
    if w.size == 0:
        raise ValueError(f"w is empty: its shape is {w.shape}")
    count = w.shape[0] if axis == 1 else w.shape[-1]
    layout: Layout = (1, count, w.size // count, axis == 0)
    norms = np.sqrt(layer_kernels.channel_sums(w, layout, np.zeros(count), names=("w", ""))[:, 1])
    above = (norms > limit) & np.isfinite(norms)
    factors = np.where(above, limit / np.where(above, norms, 1.0), 1.0).astype(np.float32)
    return layer_kernels.scale_channels(w, layout, factors, w, name="w")
