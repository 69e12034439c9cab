"""Batch normalization, forward and backward. The statistics are shifted sums in double, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastopt._checks import LARGEST, flag, integer, number, one_of, warn
from fastopt._native import layers as layer_kernels
from fastopt._types import Array
from fastopt.regularization.layer import Layer, Layout, layout_of, probability

#: The defaults of each library. keeps: momentum weighs the old value. unbiased: the running variance is unbiased.
CONVENTIONS: dict[str, dict[str, Any]] = {
    "torch": {"eps": 1e-5, "momentum": 0.1, "keeps": False, "unbiased": True},
    "keras": {"eps": 1e-3, "momentum": 0.99, "keeps": True, "unbiased": False},
}
STATE = ("running_mean", "running_var", "weight", "bias")

#: A function that returns the elementwise sums of a float64 array over all workers. It may overwrite its argument.
Sync = Callable[[Array], Array]


class _Forward(NamedTuple):
    """What backward needs from the last forward."""

    x: Array
    layout: Layout
    mean: Array
    invstd: Array
    unit: Array | float  # x, mean and 1/invstd are those of the data times this power of two, 1 for ordinary data
    size: float  # elements per channel, over all workers
    batch_statistics: bool


class BatchNorm(Layer):
    """Batch normalization per channel of (N, C), (N, C, ...) or, with channels_last, (N, ..., C).

        y = γ (x − μ) / √(σ² + ε) + β

    Training uses the mean μ and the biased variance σ² of the batch. Inference, and training if `frozen`, use the
    running statistics.

    Parameters
    ----------
    num_features : C.
    eps, momentum : None: the convention's defaults. momentum is the weight of the batch in the running statistics
        (torch), or of their old value (keras); "cumulative" averages all batches equally (torch's momentum=None).
    affine : have γ (`weight`, initially ones) and β (`bias`, zeros), float32 arrays that an optimizer may update.
    track_running_stats : with False inference, too, uses the statistics of the batch.
    convention : "torch" (1e-5, 0.1; the running variance is unbiased) or "keras" (1e-3, 0.99; biased).
    channels_last : the channels are the last axis instead of the second one.
    frozen : training uses the running statistics and does not update them; γ and β still get gradients.
    sync : for many workers: a function that returns the sums of a float64 array over all workers. A training forward
        calls it twice, backward once. Statistics and input gradients are then those of the whole batch; the gradients
        of γ and β are this worker's share.

    backward returns the gradient at x and sets `weight_grad` and `bias_grad` (float32). The layer keeps a reference to
    x until then; do not change x. Training on one value per channel raises ValueError. A channel whose statistics are
    not finite float32 numbers keeps its running statistics, with a warning; its output may be NaN.

    Ioffe & Szegedy, "Batch normalization", ICML 2015. The sums are over x − x₀ with x₀ the first value of the channel,
    which keeps the accuracy of double for any mean and spread (Chan, Golub & LeVeque 1983).

    >>> from fastopt.regularization import BatchNorm
    >>> bn = BatchNorm(2)
    >>> x = np.array([[1, 10], [2, 20], [6, 30]], np.float32)
    >>> bn.forward(x).round(3)
    array([[-0.926, -1.225],
           [-0.463,  0.   ],
           [ 1.389,  1.225]], dtype=float32)
    >>> bn.running_mean, bn.running_var
    (array([0.3, 2. ], dtype=float32), array([ 1.6, 10.9], dtype=float32))
    >>> bn.backward(np.array([[1, 0], [0, 0], [0, 1]], np.float32)).round(3)
    array([[ 0.176,  0.02 ],
           [-0.22 , -0.041],
           [ 0.044,  0.02 ]], dtype=float32)
    >>> bn.bias_grad
    array([1., 1.], dtype=float32)
    """

    def __init__(
        self,
        num_features: int,
        eps: float | None = None,
        momentum: float | str | None = None,
        *,
        affine: bool = True,
        track_running_stats: bool = True,
        convention: str = "torch",
        channels_last: bool = False,
        frozen: bool = False,
        sync: Sync | None = None,
    ) -> None:
        self.num_features = n = integer("num_features", num_features, 1)
        self.convention = one_of("convention", convention, CONVENTIONS)
        defaults = CONVENTIONS[self.convention]
        self.eps = number("eps", defaults["eps"] if eps is None else eps, 1e-76, LARGEST)  # 1/√eps must be a float32
        momentum = defaults["momentum"] if momentum is None else momentum
        cumulative = isinstance(momentum, str) and momentum == "cumulative"
        self.momentum = momentum if cumulative else probability("momentum", momentum)
        self.track_running_stats = flag("track_running_stats", track_running_stats)
        self.channels_last = flag("channels_last", channels_last)
        self.frozen = flag("frozen", frozen)
        if self.frozen and not self.track_running_stats:
            raise ValueError("frozen needs running statistics: track_running_stats is False")
        self.sync = sync
        self.weight = np.ones(n, np.float32) if flag("affine", affine) else None
        self.bias = np.zeros(n, np.float32) if affine else None
        self.weight_grad: Array | None = None
        self.bias_grad: Array | None = None
        self.running_mean = np.zeros(n, np.float32) if track_running_stats else None
        self.running_var = np.ones(n, np.float32) if track_running_stats else None
        self.num_batches_tracked = 0
        self._forward: _Forward | None = None

    def forward(self, x: Array, out: Array | None = None) -> Array:
        """y for x (float32, C order), written to `out` if given; in training out must not be x."""
        layout = layout_of(x, self.channels_last)
        if layout[1] != self.num_features:
            raise ValueError(f"x has {layout[1]} channels (shape {x.shape}), this BatchNorm has {self.num_features}")
        update = self.training and not self.frozen
        if update or self.running_mean is None or self.running_var is None:
            count, mean, var = self._statistics(x, layout)
            batch_statistics = True
        else:
            count, batch_statistics = float(layout[0] * layout[2]), False
            mean, var = (self._vector(getattr(self, name), name).astype(np.float64) for name in STATE[:2])
        f = self._scaled(x, layout, count, mean, var, batch_statistics)
        high, low, scale = self._factors(f.mean, f.invstd)
        bias = np.zeros_like(scale) if self.bias is None else self._vector(self.bias, "bias")
        in_place = not self.training and f.x is x
        y = layer_kernels.normalize(f.x, layout, high, low, scale, bias, out, same_allowed=in_place)
        if update and self.track_running_stats:
            self._update_running(count, mean, var)
        # backward needs x, which an operation in place overwrites
        self._forward = None if np.may_share_memory(f.x, y) else f
        return y

    def _scaled(self, x: Array, layout: Layout, count: float, mean: Array, var: Array, batch: bool) -> _Forward:
        """x and its statistics, times 2⁻⁶⁴ in channels where x − mean might be beyond float32."""
        invstd = 1.0 / np.sqrt(var + self.eps)
        huge = np.abs(mean) + np.sqrt(count * var if batch else 0.0) > 2.0**100
        if not huge.any():
            return _Forward(x, layout, mean, invstd, 1.0, count, batch)
        unit = np.where(huge, 2.0**-64, 1.0)
        small = layer_kernels.scale_channels(x, layout, unit.astype(np.float32))
        return _Forward(small, layout, mean * unit, invstd / unit, unit, count, batch)

    def _statistics(self, x: Array, layout: Layout) -> tuple[float, Array, Array]:
        """(count, mean, biased variance) per channel, over all workers."""
        outer, channels, inner, last = layout
        count = float(outer * inner)
        if count == 1 and self.sync is None:
            raise ValueError(f"x has one value per channel (shape {x.shape}), which has no variance")
        first = x.reshape(-1, channels)[0] if last else x.reshape(outer, channels, inner)[0, :, 0]
        shift = np.ascontiguousarray(first, np.float64)
        sums = layer_kernels.channel_sums(x, layout, shift)
        offset = sums[:, 0] / count
        with np.errstate(invalid="ignore"):  # a channel with an infinity becomes NaN without a warning
            mean, squares = shift + offset, np.maximum(sums[:, 1] - sums[:, 0] * offset, 0.0)
        if self.sync is not None:
            count, mean, squares = self._merge(self.sync, count, mean, squares)
        return count, mean, squares / count

    @staticmethod
    def _merge(sync: Sync, count: float, mean: Array, squares: Array) -> tuple[float, Array, Array]:
        """(count, mean, sum of squared deviations) of the whole batch: first the mean, then the deviations from it."""
        total = sync(np.concatenate([[count], count * mean]))
        overall = total[1:] / total[0]
        if total[0] == 1:
            raise ValueError("x has one value per channel over all workers, which has no variance")
        return float(total[0]), overall, sync(squares + count * (mean - overall) ** 2)

    def _factors(self, mean: Array, invstd: Array) -> tuple[Array, Array, Array]:
        """float32 (high, low, scale): high + low is the mean, almost as accurate as in double; scale = γ/√(σ² + ε)."""
        high = mean.astype(np.float32)
        with np.errstate(invalid="ignore"):
            low = (mean - high).astype(np.float32)
        weight = 1.0 if self.weight is None else self._vector(self.weight, "weight").astype(np.float64)
        with np.errstate(over="ignore"):
            scale = (invstd * weight).astype(np.float32)
        beyond = np.isinf(scale) & np.isfinite(weight)
        if beyond.any():
            c = int(beyond.argmax())
            raise ValueError(f"weight/√(variance + eps) of channel {c} is {(invstd * weight)[c]:g}, beyond float32")
        return high, low, scale

    def _vector(self, a: Array, name: str) -> Array:
        """a in C order, checked in every call since users may assign weight and bias."""
        if not isinstance(a, np.ndarray) or a.dtype != np.float32 or a.shape != (self.num_features,):
            raise ValueError(f"{name} must be float32 of shape ({self.num_features},), got {a!r:.60}")
        if name in STATE[:2] and not (np.isfinite(a).all() and (name == "running_mean" or a.min() >= 0)):
            raise ValueError(f"{name} must be finite{' and >= 0' * (name == 'running_var')}, got {a!r:.60}")
        return np.ascontiguousarray(a)

    def _update_running(self, count: float, mean: Array, var: Array) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        defaults = CONVENTIONS[self.convention]
        if self.momentum == "cumulative":
            new = 1.0 / self.num_batches_tracked
        else:
            new = 1.0 - float(self.momentum) if defaults["keeps"] else float(self.momentum)
        if defaults["unbiased"]:
            var = var * (count / (count - 1.0))
        olds = (self.running_mean, self.running_var)
        news = [
            (1.0 - new) * old.astype(np.float64) + new * batch for old, batch in zip(olds, (mean, var), strict=True)
        ]
        known = (np.abs(news) <= LARGEST).all(axis=0)
        for old, values in zip(olds, news, strict=True):
            np.copyto(old, values, where=known, casting="same_kind")
        if not known.all():
            c = int(known.argmin())
            warn(f"channel {c} keeps its running statistics: the batch has mean {mean[c]:g} and variance {var[c]:g}")

    def backward(self, grad: Array, out: Array | None = None) -> Array:
        """The gradient at the x of the last forward, written to `out` if given; out may be grad."""
        if self._forward is None:
            raise RuntimeError("backward needs a forward before it that was not in place")
        f = self._forward
        sums = layer_kernels.channel_sums(f.x, f.layout, f.mean, grad)
        total = self.sync(sums.copy()) if self.sync is not None and f.batch_statistics else sums
        high, low, _ = self._factors(f.mean, f.invstd)
        scale = self._factors(f.mean, f.invstd * f.unit)[2]
        if f.batch_statistics:
            bias = (total[:, 0] / f.size).astype(np.float32)
            slope = (total[:, 1] / f.size * f.invstd**2).astype(np.float32)
            result = layer_kernels.normalize_back(f.x, grad, f.layout, high, low, scale, bias, slope, out)
        else:
            result = layer_kernels.scale_channels(grad, f.layout, scale, out, name="grad")
        if self.weight is not None:
            self.weight_grad = (sums[:, 1] * f.invstd).astype(np.float32)
        if self.bias is not None:
            self.bias_grad = sums[:, 0].astype(np.float32)
        return result

    def state_dict(self) -> dict[str, Any]:
        """Copies of the running statistics, weight and bias that the layer has, and num_batches_tracked."""
        arrays = {name: getattr(self, name) for name in STATE}
        found = {name: a.copy() for name, a in arrays.items() if a is not None}
        return {**found, "num_batches_tracked": self.num_batches_tracked}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy these values; all names and shapes are checked before anything is written."""
        own = self.state_dict()
        if set(state_dict) != set(own):
            raise ValueError(f"state_dict has {', '.join(sorted(state_dict))}, this layer {', '.join(sorted(own))}")
        names = [name for name in STATE if name in own]
        for name in names:
            self._vector(state_dict[name], name)
        batches = integer("num_batches_tracked", state_dict["num_batches_tracked"])
        for name in names:
            getattr(self, name)[...] = state_dict[name]
        self.num_batches_tracked = batches

    def __repr__(self) -> str:
        return (
            f"BatchNorm({self.num_features}, eps={self.eps:g}, momentum={self.momentum}, "
            f"convention={self.convention!r}, channels_last={self.channels_last}, frozen={self.frozen})"
        )


def batch_norm(
    x: Array,
    running_mean: Array,
    running_var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
    channels_last: bool = False,
    out: Array | None = None,
) -> Array:
    """γ (x − μ) / √(σ² + ε) + β with given statistics.

    running_mean, running_var, weight (γ), bias (β) : float32 (C,). x : as in `BatchNorm`. out may be x.

    >>> from fastopt.regularization import batch_norm
    >>> batch_norm(np.array([[3.0]], np.float32), np.ones(1, np.float32), np.full(1, 4, np.float32), eps=1e-12)
    array([[1.]], dtype=float32)
    """
    layer = BatchNorm(np.size(running_mean), eps, affine=False, channels_last=channels_last).eval()
    layer.running_mean, layer.running_var, layer.weight = running_mean, running_var, weight
    layer.bias = bias
    return layer.forward(x, out)
