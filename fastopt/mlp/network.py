"""Dense networks of one shape side by side: start, forward, back, inference. A BLAS for the products.

All buffers are allocated once; a batch of a size is a `Pass` over them, made once: in Python with NumPy's BLAS, or,
given a `sgemm`, in one call into C. Knows no optimizer and no epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fastopt._native import network as network_kernels
from fastopt.mlp.blas import threads_of
from fastopt.regularization import BatchNorm, draw_key, dropout

Array = np.ndarray[Any, Any]

ACTIVATIONS = ("relu", "tanh", "gelu", "identity")
INFERENCE_ROWS = 8192  # activations of one chunk: a few MB however long the data


@dataclass(frozen=True)
class Shape:
    """What networks must share to be trained together.

    sizes : features, hidden layers, outputs.
    classes : the outputs are logits of classes; else numbers.
    """

    sizes: tuple[int, ...]
    activation: str = "relu"
    classes: bool = True
    batch_norm: bool = False
    dropout: float = 0.0


@dataclass
class Weights:
    """One trained network: per layer a matrix (inputs, outputs), a bias, and the statistics of a batch norm or None."""

    matrices: list[Array]
    biases: list[Array]
    norms: list[dict[str, Any] | None]

    def infer(self, x: Any, activation: str) -> Array:
        """Outputs for (n, features), dense or sparse, in the precision of x."""
        starts = range(0, x.shape[0], INFERENCE_ROWS)
        sizes = (x.shape[1], *(w.shape[1] for w in self.matrices))
        with threads_of(sizes, min(x.shape[0], INFERENCE_ROWS)):
            return np.concatenate([self._infer(x[i : i + INFERENCE_ROWS], activation) for i in starts])

    def _infer(self, x: Any, activation: str) -> Array:
        last = len(self.matrices) - 1
        for i, (w, b, norm) in enumerate(zip(self.matrices, self.biases, self.norms, strict=True)):
            z: Array = np.asarray(x @ w.astype(x.dtype, copy=False))
            if norm is not None:
                scale = norm["weight"].astype(np.float64) / np.sqrt(
                    norm["running_var"].astype(np.float64) + norm["eps"]
                )
                z -= norm["running_mean"].astype(z.dtype)
                z *= scale.astype(z.dtype)
            z += b.astype(z.dtype, copy=False)
            x = z if i == last else activate(activation, z)
        return np.asarray(x)


def activate(name: str, z: Array) -> Array:
    """The activation of z in its own precision, in place."""
    if name == "relu":
        return np.maximum(z, 0, out=z)
    if name == "tanh":
        return np.tanh(z, out=z)
    if name == "gelu":
        z *= 0.5 * (1.0 + np.tanh(0.7978845608028654 * (z + 0.044715 * z**3)))
    return z


def initial(shape: Shape, rng: np.random.Generator) -> list[Array]:
    """Weights and biases [W0, b0, W1, b1, ...] in float32: W ~ N(0, 2 / inputs), or N(0, 1 / inputs) for activations
    that let both signs through, b = 0 (He et al. 2015; LeCun et al. 1998)."""
    gain = 2.0 if shape.activation in ("relu", "gelu") else 1.0
    params: list[Array] = []
    for inputs, outputs in pairwise(shape.sizes):
        weights = rng.standard_normal((inputs, outputs)) * np.sqrt(gain / inputs)
        params += [weights.astype(np.float32), np.zeros(outputs, np.float32)]
    return params


class Network:
    """`models` networks of one shape, for batches of at most `rows` samples each.

    matrices : per layer float32 (models, inputs, outputs); biases : (models, outputs); scales : the γ of batch norms,
    (models, outputs), or None. gradients has the arrays of `params` in their order. rngs: a Generator per model, for
    dropout. sgemm: what blas.sgemm() found, for passes in C, which have neither dropout nor batch norm; or None.
    """

    def __init__(
        self, shape: Shape, models: int, rows: int, rngs: Sequence[np.random.Generator] = (), sgemm: Any = None
    ) -> None:
        self.shape, self.models, self.rows, self.rngs, self.sgemm = shape, models, rows, list(rngs), sgemm
        pairs = list(pairwise(shape.sizes))
        self.matrices = [np.zeros((models, *pair), np.float32) for pair in pairs]
        self.biases = [np.zeros((models, n), np.float32) for _, n in pairs]
        hidden = shape.sizes[1:-1]
        self.scales = [np.ones((models, n), np.float32) for n in hidden if shape.batch_norm]
        self.params: list[Array] = [a for pair in zip(self.matrices, self.biases, strict=True) for a in pair]
        self.params += self.scales
        self.gradients = [np.zeros_like(p) for p in self.params]
        self.norms = [[self._norm(i, k) for k in range(models)] for i in range(len(self.scales))]
        self.inputs = np.empty(models * rows * shape.sizes[0], np.float32)
        self.buffers = [_Buffers(models * rows * n, shape) for n in hidden]
        self.outputs = np.empty(models * rows * shape.sizes[-1], np.float32)
        self.slopes = np.empty_like(self.outputs)
        self._passes: dict[tuple[int, int, int], Pass] = {}

    def _norm(self, layer: int, model: int) -> BatchNorm:
        norm = BatchNorm(self.scales[layer].shape[1])
        norm.weight, norm.bias = self.scales[layer][model], self.biases[layer][model]
        return norm

    def batch(self, first: int, last: int, rows: int) -> Pass:
        """The pass of models first to last over batches of so many rows."""
        key = (first, last, rows)
        if key not in self._passes:
            self._passes[key] = Pass(self, first, last, rows)
        return self._passes[key]

    def of_model(self, k: int) -> list[Array]:
        """Views of all that training changes in a model: params, then the running statistics."""
        statistics = [a for norms in self.norms for a in (norms[k].running_mean, norms[k].running_var)]
        return [p[k] for p in self.params] + [a for a in statistics if a is not None]

    def weights(self, k: int) -> Weights:
        """A model's weights: views, which training changes."""
        norms: list[dict[str, Any] | None] = [
            {**{n: getattr(norms[k], n) for n in ("running_mean", "running_var", "weight", "eps")}}
            for norms in self.norms
        ]
        norms += [None] * (len(self.matrices) - len(norms))
        return Weights([w[k] for w in self.matrices], [b[k] for b in self.biases], norms)


class _Buffers:
    """Of one hidden layer: products, normalized products, activations, dropped activations, gradient. Flat."""

    def __init__(self, size: int, shape: Shape) -> None:
        self.products = np.empty(size, np.float32)
        self.normalized = np.empty(size, np.float32) if shape.batch_norm else self.products
        self.active = np.empty(size, np.float32) if shape.activation == "gelu" else self.normalized
        self.dropped = np.empty(size, np.float32) if shape.dropout else self.active
        self.gradient = np.empty(size, np.float32)


class _Layer:
    """Views for one layer of a pass, made once."""

    def __init__(self, net: Network, index: int, first: int, last: int, below: Array) -> None:
        models = slice(first, last)
        self.below, self.below_t = below, below.transpose(0, 2, 1)
        self.w, self.dw = net.matrices[index][models], net.gradients[2 * index][models]
        self.w_t = self.w.transpose(0, 2, 1)
        self.bias, self.dbias = net.biases[index][models], net.gradients[2 * index + 1][models]
        self.norms = net.norms[index][models] if index < len(net.norms) else []
        self.dscale = net.gradients[2 * len(net.matrices) + index][models] if self.norms else None
        rows, units = below.shape[1], self.w.shape[2]

        def cut(flat: Array) -> Array:
            return flat[: (last - first) * rows * units].reshape(last - first, rows, units)

        if index == len(net.matrices) - 1:
            self.products = self.active = self.above = cut(net.outputs)
            self.normalized, self.gradient = self.products, cut(net.slopes)
        else:
            buffers = net.buffers[index]
            self.products, self.normalized = cut(buffers.products), cut(buffers.normalized)
            self.active, self.above, self.gradient = cut(buffers.active), cut(buffers.dropped), cut(buffers.gradient)
        self.kept = self.normalized if net.shape.activation == "gelu" else self.active
        self.keys: list[int] = []


class Pass:
    """Models first to last on batches of `rows`: fill `x`, forward(), write the loss's slope, back()."""

    def __init__(self, net: Network, first: int, last: int, rows: int) -> None:
        shape = net.shape
        self.shape, self.rngs, self.first, self.last, self.rows = shape, net.rngs[first:last], first, last, rows
        self.x = net.inputs[: (last - first) * rows * shape.sizes[0]].reshape(last - first, rows, -1)
        self.layers: list[_Layer] = []
        for i in range(len(net.matrices)):
            below = self.layers[-1].above if self.layers else self.x
            self.layers.append(_Layer(net, i, first, last, below))
        self.outputs, self.slopes = self.layers[-1].products, self.layers[-1].gradient
        self.flat_outputs = self.outputs.reshape(-1, shape.sizes[-1])
        self.flat_slopes = self.slopes.reshape(-1, shape.sizes[-1])
        self.losses = np.empty((last - first, rows), np.float32)
        self.flat_losses = self.losses.reshape(-1)
        self.sparse: Any = None  # a batch in CSR takes the place of x
        self.fused = None if net.sgemm is None else self._fuse(net.sgemm)

    def _fuse(self, sgemm: Any) -> network_kernels.NetworkPass:
        """forward, loss and back as one."""
        apart = self.shape.activation == "gelu"
        layers = [
            (y.w, y.bias, y.dw, y.dbias, y.products, y.active if apart else y.products, y.gradient) for y in self.layers
        ]
        return network_kernels.NetworkPass(
            sgemm, self.x, layers, self.losses, self.shape.activation, self.shape.classes
        )

    def forward(self) -> None:
        """From x to outputs."""
        for i, layer in enumerate(self.layers):
            if i == 0 and self.sparse is not None:
                layer.products[0] = self.sparse @ layer.w[0]
            else:
                np.matmul(layer.below, layer.w, out=layer.products)
            if layer is self.layers[-1]:
                network_kernels.activate("identity", layer.products, layer.products, layer.bias)
            else:
                self._activate(layer)

    def _activate(self, layer: _Layer) -> None:
        for norm, x, y in zip(layer.norms, layer.products, layer.normalized, strict=bool(layer.norms)):
            norm.forward(x, out=y)
        network_kernels.activate(
            self.shape.activation, layer.normalized, layer.active, None if layer.norms else layer.bias
        )
        if self.shape.dropout:
            layer.keys = [draw_key(rng) for rng in self.rngs]
            for key, x, y in zip(layer.keys, layer.active, layer.above, strict=True):
                dropout(x, self.shape.dropout, key=key, out=y)

    def back(self) -> None:
        """From slopes, the gradient of the loss at the outputs, to the gradients of all parameters."""
        network_kernels.activate_back("identity", self.slopes, self.slopes, self.layers[-1].dbias)
        for i in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[i]
            if i < len(self.layers) - 1:
                self._activate_back(layer)
            if i == 0 and self.sparse is not None:
                layer.dw[0] = self.sparse.T @ layer.gradient[0]
            else:
                np.matmul(layer.below_t, layer.gradient, out=layer.dw)
            if i:
                np.matmul(layer.gradient, layer.w_t, out=self.layers[i - 1].gradient)

    def _activate_back(self, layer: _Layer) -> None:
        if self.shape.dropout:
            for key, g in zip(layer.keys, layer.gradient, strict=True):
                dropout(g, self.shape.dropout, key=key, out=g)
        network_kernels.activate_back(
            self.shape.activation, layer.gradient, layer.kept, None if layer.norms else layer.dbias
        )
        for k, norm in enumerate(layer.norms):
            norm.backward(layer.gradient[k], out=layer.gradient[k])
            layer.dbias[k] = norm.bias_grad
            if layer.dscale is not None:
                layer.dscale[k] = norm.weight_grad

    def loss(self, targets: Array, smoothing: float = 0.0) -> None:
        """Losses per sample, and the slopes of their mean. targets: (models, rows) classes, or probabilities or numbers
        (models, rows, outputs)."""
        scale = 1.0 / self.rows
        if self.shape.classes:
            flat = targets.reshape(-1) if targets.ndim == 2 else targets.reshape(self.flat_outputs.shape)
            network_kernels.entropy_rows(self.flat_outputs, flat, self.flat_slopes, self.flat_losses, smoothing, scale)
        else:
            flat = targets.reshape(self.flat_outputs.shape)
            network_kernels.squared_error(self.flat_outputs, flat, self.flat_slopes, self.flat_losses, scale)
