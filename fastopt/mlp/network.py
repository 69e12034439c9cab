"""Dense networks of one shape, stacked in arrays: initial weights, forward, loss, backward, inference.

All buffers are allocated once. A `Pass` holds the views for one batch size. It runs in NumPy, or in one call into C if
a BLAS function is given (`sgemm`). Knows no optimizer and no epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fastopt._native import network as network_kernels
from fastopt._types import Array
from fastopt.mlp.blas import blas_threads_for, find_sgemm, is_small
from fastopt.regularization import BatchNorm, draw_key, dropout

ACTIVATIONS = ("relu", "tanh", "gelu", "identity")
INFERENCE_ROWS = 8192  # rows of one chunk: a few MB of activations for data of any length


@dataclass(frozen=True)
class Shape:
    """The shape of a network. Networks that are trained together have the same shape.

    sizes : numbers of features, of units of each hidden layer, of outputs.
    classes : True if the outputs are logits of classes; False if they are numbers.
    """

    sizes: tuple[int, ...]
    activation: str = "relu"
    classes: bool = True
    batch_norm: bool = False
    dropout: float = 0.0

    def sgemm_for(self, rows: int) -> Any:
        """SciPy's sgemm if batches of this many rows run in one call into C, else None.

        The products must be small. Dropout and batch norm are not implemented in the C code.
        """
        in_c = is_small(self.sizes, rows) and not (self.dropout or self.batch_norm)
        return find_sgemm() if in_c else None


@dataclass
class Weights:
    """One trained network. Per layer: a matrix (inputs, outputs), a bias, and the values of a batch norm or None."""

    matrices: list[Array]
    biases: list[Array]
    norms: list[dict[str, Any] | None]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of features, of units of each hidden layer, of outputs."""
        return (self.matrices[0].shape[0], *(w.shape[1] for w in self.matrices))

    def infer(self, x: Any, activation: str) -> Array:
        """Outputs for x (n, features), dense or sparse, in the precision of x."""
        starts = range(0, x.shape[0], INFERENCE_ROWS)
        with blas_threads_for(self.sizes, min(x.shape[0], INFERENCE_ROWS)):
            return np.concatenate([self._infer(x[i : i + INFERENCE_ROWS], activation) for i in starts])

    def _infer(self, x: Any, activation: str) -> Array:
        last = len(self.matrices) - 1
        for i, (w, b, norm) in enumerate(zip(self.matrices, self.biases, self.norms, strict=True)):
            z: Array = np.asarray(x @ w.astype(x.dtype, copy=False))
            if norm is not None:
                variance = norm["running_var"].astype(np.float64) + norm["eps"]
                scale = norm["weight"].astype(np.float64) / np.sqrt(variance)
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


def initial_weights(shape: Shape, rng: np.random.Generator) -> list[Array]:
    """Weights and biases [W0, b0, W1, b1, ...] in float32, with b = 0.

    W ~ N(0, 2 / inputs) for relu and gelu (He et al. 2015), else N(0, 1 / inputs) (LeCun et al. 1998).
    """
    gain = 2.0 if shape.activation in ("relu", "gelu") else 1.0
    params: list[Array] = []
    for inputs, outputs in pairwise(shape.sizes):
        weights = rng.standard_normal((inputs, outputs)) * np.sqrt(gain / inputs)
        params += [weights.astype(np.float32), np.zeros(outputs, np.float32)]
    return params


class Network:
    """`models` networks of one shape, for batches of at most `rows` samples each.

    matrices : per layer float32 (models, inputs, outputs). biases : (models, outputs). scales : (models, outputs), the
    γ of each batch norm. params : all of these. gradients : arrays like params, in the same order.
    rngs : one Generator per model, for dropout. sgemm : from `Shape.sgemm_for`, or None.
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
        self.output_grads = np.empty_like(self.outputs)
        self._passes: dict[tuple[int, int, int], Pass] = {}

    def _norm(self, layer: int, model: int) -> BatchNorm:
        norm = BatchNorm(self.scales[layer].shape[1])
        norm.weight, norm.bias = self.scales[layer][model], self.biases[layer][model]
        return norm

    def batch(self, first: int, last: int, rows: int) -> Pass:
        """The pass of models first to last (excluded) over batches of this many rows. It is made once and kept."""
        key = (first, last, rows)
        if key not in self._passes:
            self._passes[key] = Pass(self, first, last, rows)
        return self._passes[key]

    def of_model(self, k: int) -> list[Array]:
        """Views of everything that training changes in model k: its params, then its running statistics."""
        statistics = [a for norms in self.norms for a in (norms[k].running_mean, norms[k].running_var)]
        return [p[k] for p in self.params] + [a for a in statistics if a is not None]

    def set_weights(self, k: int, weights: Weights) -> None:
        """Copy weights into model k."""
        for mine, given in zip(self.of_model(k), _flat(weights), strict=True):
            mine[...] = given

    def weights(self, k: int, arrays: Sequence[Array] | None = None) -> Weights:
        """The weights of model k: views that training changes, or arrays in the order of `of_model`."""
        arrays = self.of_model(k) if arrays is None else arrays
        layers, count = len(self.matrices), len(self.scales)
        means, variances = arrays[2 * layers + count :: 2], arrays[2 * layers + count + 1 :: 2]
        gammas = arrays[2 * layers : 2 * layers + count]
        norms: list[dict[str, Any] | None] = [
            {"running_mean": mean, "running_var": var, "weight": gamma, "eps": norm[k].eps}
            for mean, var, gamma, norm in zip(means, variances, gammas, self.norms, strict=True)
        ]
        norms += [None] * (layers - count)
        return Weights(list(arrays[0 : 2 * layers : 2]), list(arrays[1 : 2 * layers : 2]), norms)


def _flat(weights: Weights) -> list[Array]:
    """The arrays of weights in the order of `Network.of_model`."""
    norms = [norm for norm in weights.norms if norm is not None]
    params = [a for pair in zip(weights.matrices, weights.biases, strict=True) for a in pair]
    statistics = [norm[name] for norm in norms for name in ("running_mean", "running_var")]
    return params + [norm["weight"] for norm in norms] + statistics


class _Buffers:
    """One hidden layer's flat buffers. Steps that the shape leaves out share the buffer of the step before."""

    def __init__(self, size: int, shape: Shape) -> None:
        self.products = np.empty(size, np.float32)
        self.normalized = np.empty(size, np.float32) if shape.batch_norm else self.products
        self.active = np.empty(size, np.float32) if shape.activation == "gelu" else self.normalized
        self.dropped = np.empty(size, np.float32) if shape.dropout else self.active
        self.gradient = np.empty(size, np.float32)


class _Layer:
    """One layer's views for a pass. below: the layer's inputs (models, rows, inputs)."""

    def __init__(self, net: Network, index: int, first: int, last: int, below: Array) -> None:
        models = slice(first, last)
        self.below, self.below_t = below, below.transpose(0, 2, 1)
        self.w, self.dw = net.matrices[index][models], net.gradients[2 * index][models]
        self.w_t = self.w.transpose(0, 2, 1)
        self.bias, self.dbias = net.biases[index][models], net.gradients[2 * index + 1][models]
        self.norms = net.norms[index][models] if index < len(net.norms) else []
        self.dscale = net.gradients[2 * len(net.matrices) + index][models] if self.norms else None
        rows, units = below.shape[1], self.w.shape[2]

        def view(flat: Array) -> Array:
            return flat[: (last - first) * rows * units].reshape(last - first, rows, units)

        if index == len(net.matrices) - 1:
            self.products = self.active = self.above = view(net.outputs)
            self.normalized, self.gradient = self.products, view(net.output_grads)
        else:
            buffers = net.buffers[index]
            self.products, self.normalized = view(buffers.products), view(buffers.normalized)
            self.active, self.above, self.gradient = view(buffers.active), view(buffers.dropped), view(buffers.gradient)
        # gelu's derivative needs its input, the other activations' derivatives need their output.
        self.kept = self.normalized if net.shape.activation == "gelu" else self.active
        self.dropout_keys: list[int] = []


class Pass:
    """Models first to last over batches of `rows` samples: fill `x`, then forward(), loss(targets), backward().

    If `fused` is not None, fused.run(targets, totals, weights, smoothing) does all three in one call into C.
    """

    def __init__(self, net: Network, first: int, last: int, rows: int) -> None:
        shape = net.shape
        self.shape, self.rngs, self.first, self.last, self.rows = shape, net.rngs[first:last], first, last, rows
        self.x = net.inputs[: (last - first) * rows * shape.sizes[0]].reshape(last - first, rows, -1)
        self.layers: list[_Layer] = []
        for i in range(len(net.matrices)):
            below = self.layers[-1].above if self.layers else self.x
            self.layers.append(_Layer(net, i, first, last, below))
        self.outputs, self.output_grads = self.layers[-1].products, self.layers[-1].gradient
        self.flat_outputs = self.outputs.reshape(-1, shape.sizes[-1])
        self.flat_output_grads = self.output_grads.reshape(-1, shape.sizes[-1])
        self.losses = np.empty((last - first, rows), np.float32)
        self.flat_losses = self.losses.reshape(-1)
        self.sums = np.empty((last - first, rows + 1))
        self.sparse: Any = None  # a batch in CSR that is used in place of x
        self.fused = None if net.sgemm is None else self._fuse(net.sgemm)

    def _fuse(self, sgemm: Any) -> network_kernels.NetworkPass:
        gelu = self.shape.activation == "gelu"
        layers = [
            (y.w, y.bias, y.dw, y.dbias, y.products, y.active if gelu else y.products, y.gradient) for y in self.layers
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
        bias = None if layer.norms else layer.bias
        network_kernels.activate(self.shape.activation, layer.normalized, layer.active, bias)
        if self.shape.dropout:
            layer.dropout_keys = [draw_key(rng) for rng in self.rngs]
            for key, x, y in zip(layer.dropout_keys, layer.active, layer.above, strict=True):
                dropout(x, self.shape.dropout, key=key, out=y)

    def backward(self) -> None:
        """From output_grads, the gradient of the loss at the outputs, to the gradients of all parameters."""
        network_kernels.activate_back("identity", self.output_grads, self.output_grads, self.layers[-1].dbias)
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
            for key, g in zip(layer.dropout_keys, layer.gradient, strict=True):
                dropout(g, self.shape.dropout, key=key, out=g)
        dbias = None if layer.norms else layer.dbias
        network_kernels.activate_back(self.shape.activation, layer.gradient, layer.kept, dbias)
        for k, norm in enumerate(layer.norms):
            norm.backward(layer.gradient[k], out=layer.gradient[k])
            layer.dbias[k] = norm.bias_grad
            if layer.dscale is not None:
                layer.dscale[k] = norm.weight_grad

    def loss(self, targets: Array, smoothing: float = 0.0) -> None:
        """Compute the loss of each sample, and output_grads for their mean.

        targets : int64 (models, rows) classes; or float32 (models, rows, outputs), probabilities or numbers.
        """
        scale = 1.0 / self.rows
        outputs, grads, losses = self.flat_outputs, self.flat_output_grads, self.flat_losses
        flat = targets.reshape(-1) if self.shape.classes and targets.ndim == 2 else targets.reshape(outputs.shape)
        if self.shape.classes:
            network_kernels.entropy_rows(outputs, flat, grads, losses, smoothing, scale)
        else:
            network_kernels.squared_error(outputs, flat, grads, losses, scale)

    def add_losses(self, totals: Array) -> None:
        """Add each model's losses to its total in float64, one by one: a pairwise sum would round in another way."""
        self.sums[:, 0] = totals
        self.sums[:, 1:] = self.losses
        np.add.accumulate(self.sums, 1, None, self.sums)
        totals[:] = self.sums[:, -1]


def mean_loss(outputs: Array, y: Array, weight: Array | None, classes: bool) -> float:
    """The weighted mean loss in float64: cross-entropy, or half the squared error summed over the outputs."""
    if classes:
        top = outputs.max(axis=1)
        rows = np.log(np.exp(outputs - top[:, None]).sum(axis=1)) + top - outputs[np.arange(len(y)), y]
    else:
        rows = 0.5 * ((outputs - y) ** 2).sum(axis=1)
    return float(np.average(rows, weights=weight))
