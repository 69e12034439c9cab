"""The gradients of a small network against the equations in float64. Needs NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastopt.mlp.network import Network, Shape, Weights, initial_weights


def exact_gradients(classes: bool, params: list[Any], x: Any, y: Any) -> list[Any]:
    """Compute the gradients from the equations in float64."""
    layers = [x.astype(np.float64)]
    for i in range(0, len(params), 2):
        z = layers[-1] @ params[i].astype(np.float64) + params[i + 1]
        layers.append(z if i + 2 == len(params) else np.maximum(z, 0))
    if classes:
        slope = np.exp(layers[-1]) / np.exp(layers[-1]).sum(axis=1, keepdims=True) - np.eye(3)[y]
    else:
        slope = layers[-1] - y[:, None]
    slope, grads = slope / len(y), []
    for i in range(len(params) - 2, -1, -2):
        grads = [layers[i // 2].T @ slope, slope.sum(axis=0), *grads]
        slope = (slope @ params[i].T) * (layers[i // 2] > 0)
    return grads


@pytest.mark.parametrize("hidden", [(), (5,), (6, 4), (5, 4, 3)])
@pytest.mark.parametrize("classes", [True, False], ids=["classes", "numbers"])
def test_gradients_follow_the_equations(classes: bool, hidden: tuple[int, ...]) -> None:
    rng = np.random.default_rng(7)
    net = Network(Shape((4, *hidden, 3 if classes else 1), classes=classes), 1, 9)
    params = initial_weights(net.shape, rng)
    params[1::2] = [rng.standard_normal(bias.shape).astype(np.float32) for bias in params[1::2]]
    net.set_weights(0, Weights(params[::2], params[1::2], [None] * (len(hidden) + 1)))
    one = net.batch(0, 1, 9)
    x = one.x[0] = rng.standard_normal((9, 4)).astype(np.float32)
    y = rng.integers(0, 3, 9) if classes else rng.standard_normal(9)
    one.forward()
    one.loss(y[None] if classes else y.astype(np.float32)[None, :, None])
    one.backward()
    for grad, exact in zip(net.gradients, exact_gradients(classes, params, x, y), strict=True):
        assert grad.dtype == np.float32
        np.testing.assert_allclose(grad[0], exact, rtol=1e-4, atol=2e-6)
