"""Noise on inputs, weights and gradients: values, the schedule, and that perturbed weights are restored."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt._native import layers as layer_kernels
from fastopt._native import runtime
from fastopt.regularization import (
    Dropout,
    GaussianNoise,
    GradientNoise,
    StochasticDepth,
    add_noise,
    draw_key,
    multiply_noise,
    perturbed,
)
from tests.support import reference_layers as reference
from tests.support.rows import ROWS, THRESHOLD, TILE, Array, Row, assert_same_bits, core, given, params_of, settings


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 255, 257, TILE + 1, 2 * TILE + 19, THRESHOLD + 1])
def test_values(size: int) -> None:
    x = floats(size)
    n = reference.normals(size, 7)
    for function, expected in ((add_noise, x + 0.3 * n), (multiply_noise, x * (1 + 0.3 * n))):
        with core(isa=runtime.available_isas()[0], threads=1):
            plain = function(x, 0.3, key=7)
        assert np.allclose(plain, expected, atol=3e-6)
        for setting in settings():
            with core(**setting):
                out = np.empty_like(x)
                assert function(x, 0.3, key=7, out=out) is out
                assert_same_bits(out, plain, f"{size}, {setting}")
                in_place = x.copy()
                assert_same_bits(function(in_place, 0.3, key=7, out=in_place), plain, f"in place, {size}, {setting}")


def test_moments() -> None:
    n = 1 << 20
    y = add_noise(np.full(n, 2, np.float32), 0.5, rng=0)
    assert abs(y.mean() - 2) < 4 * 0.5 / math.sqrt(n)
    assert abs(y.var() - 0.25) < 4 * 0.25 * math.sqrt(2 / n)
    y = multiply_noise(np.full(n, 2, np.float32), 0.5, rng=0)
    assert abs(y.var() - 1.0) < 4 * math.sqrt(2 / n)


def test_no_noise_is_the_identity() -> None:
    odd = np.array([-0.0, np.nan, np.inf, 1e-45], np.float32)
    for function in (add_noise, multiply_noise):
        assert_same_bits(function(odd, 0.0, rng=0), odd, function.__name__)


@pytest.mark.parametrize("multiplicative", [False, True])
def test_layer(multiplicative: bool) -> None:
    x, dy = floats(50, 40), floats(50, 40, seed=1)
    layer = GaussianNoise(0.3, multiplicative=multiplicative, rng=2)
    y = layer.forward(x)
    factor = y.astype(np.float64) / x if multiplicative else 1.0
    assert np.allclose(layer.backward(dy), factor * dy, rtol=1e-5)
    assert not np.array_equal(layer.forward(x), y)
    layer.eval()
    assert layer.forward(x) is x
    assert layer.backward(dy) is dy


def tensors() -> list[Array]:
    odd = np.array([np.nan, np.inf, -0.0, 1e-45], np.float32)
    return [
        floats(3, 5),
        np.asfortranarray(floats(40, 30)),
        odd,
        floats(0),
        np.full((), 0.5, np.float32),
        floats(TILE + 3),
    ]


def test_perturbed() -> None:
    params = tensors()
    before = [p.copy(order="K") for p in params]
    block = perturbed(params, 0.1, rng=4)
    seen = []
    rng = np.random.default_rng(4)
    for _ in range(2):
        key = draw_key(rng)
        with block:
            seen.append([p.copy(order="K") for p in params])
            for i, (p, w) in enumerate(zip(params, before, strict=True)):
                flat = w.ravel(order="K")
                expected = layer_kernels.each("add_normal", flat, a=0.1, key=key, stream=i)
                assert_same_bits(p.ravel(order="K"), expected, f"tensor {i}")
        for p, w in zip(params, before, strict=True):
            assert p.tobytes() == w.tobytes()
    assert not np.array_equal(seen[0][0], seen[1][0])


def _interrupted(params: list[Array], error: type[BaseException]) -> None:
    params[0][:] = 7  # other writes inside the block
    raise error


def test_perturbed_weights_are_restored_after_any_exit() -> None:
    for error in (ValueError, KeyboardInterrupt, SystemExit, GeneratorExit):
        params = tensors()
        before = [p.tobytes() for p in params]
        with pytest.raises(error), perturbed(params, 0.1):
            _interrupted(params, error)
        assert [p.tobytes() for p in params] == before


def test_perturbed_misuse() -> None:
    w = floats(5)
    before = w.tobytes()
    block = perturbed(w, 0.1, rng=0)
    with pytest.raises(RuntimeError, match="not entered"):
        block.__exit__(None, None, None)
    block.__enter__()
    with pytest.raises(RuntimeError, match="entered already"):
        block.__enter__()
    del block  # without __exit__
    assert w.tobytes() == before
    with pytest.raises(ValueError, match="overlaps"):
        perturbed([w, w[1:]], 0.1)
    with pytest.raises(TypeError, match="parameter 0 has dtype float64"):
        perturbed(np.zeros(3), 0.1)
    with pytest.raises(ValueError, match="params is empty"):
        perturbed([], 0.1)
    with pytest.raises(ValueError, match=r"std must be in \[0"):
        perturbed(w, -1.0)
    frozen = floats(3)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        perturbed(frozen, 0.1)


def test_a_generator_that_fails_perturbs_nothing() -> None:
    w = floats(5)
    before = w.tobytes()

    class Broken(np.random.Generator):
        def integers(self, *_: Any, **__: Any) -> Any:
            raise OSError("no randomness")

    block = perturbed(w, 0.1, rng=Broken(np.random.PCG64(0)))
    with pytest.raises(OSError, match="no randomness"), block:
        raise AssertionError("entered")
    assert w.tobytes() == before


def test_schedule() -> None:
    """Neelakantan et al. (2015), equation 1: σ² = η / (1 + t)^γ."""
    noise = GradientNoise(0.3, 0.55)
    for t in (0, 1, 10, 1000):
        assert noise.std(t) ** 2 == pytest.approx(0.3 / (1 + t) ** 0.55)
    assert GradientNoise(0.01, 0.0).std(99) == pytest.approx(0.1)


def test_add_in_place() -> None:
    grads = [floats(7), np.asfortranarray(floats(5, 3)), floats(TILE + 1)]
    before = [g.copy(order="K") for g in grads]
    GradientNoise(0.04, 0.0, rng=1).add_(grads, 3)
    for i, (g, old) in enumerate(zip(grads, before, strict=True)):
        expected = layer_kernels.each("add_normal", old.ravel(order="K"), a=0.2, key=draw_key(1), stream=i)
        assert_same_bits(g.ravel(order="K"), expected, f"gradient {i}")


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_step_with_noise(row: Row) -> None:
    """A step with noise equals a step on scaled gradients plus noise, on every instruction set and thread count."""
    sizes = (1, 17, TILE - 1, TILE + 1, 2 * TILE + 19)
    values = {"weight_decay": 0.1, "l1": 0.01, "clip_value": 1.5}
    start = [floats(n, seed=n) for n in sizes]
    grads = [2 * floats(n, seed=n + 1) for n in sizes]

    def run(noise: Any, gradients: Any, scale: float) -> list[Array]:
        opt = row.make([p.copy() for p in start], **values)
        for t in range(3):
            opt.step(given(gradients(t)), grad_scale=scale, noise=noise)
        return [*params_of(opt), *(a for s in opt.state for n, a in s.items() if n != "step")]

    def noisy(t: int) -> list[Array]:
        scaled = [np.float32(0.5) * g for g in grads]
        keys = [draw_key(rng) for rng in [np.random.default_rng(8)] for _ in range(t + 1)]
        std = GradientNoise(0.3).std(t)
        return [layer_kernels.each("add_normal", g, a=std, key=keys[t], stream=i) for i, g in enumerate(scaled)]

    expected = run(None, noisy, 1.0)
    for setting in settings():
        with core(**setting):
            got = run(GradientNoise(0.3, rng=8), lambda t: grads, 0.5)
        for a, b in zip(got, expected, strict=True):
            assert_same_bits(a, b, f"{row.rule}, {setting}")


def test_step_with_noise_leaves_or_zeroes_gradients() -> None:
    w, g = floats(TILE + 5), floats(TILE + 5, seed=1)
    before = g.copy()
    fastopt.SGD(w).step(g, noise=GradientNoise(rng=0))
    assert np.array_equal(g, before)
    other = floats(TILE + 5)
    fastopt.SGD(other).step(g, noise=GradientNoise(rng=0), zero_grads=True)
    assert not g.any()
    assert np.array_equal(w, other)


def test_the_norm_excludes_the_noise() -> None:
    w, g = np.zeros(4, np.float32), np.full(4, 3, np.float32)
    opt = fastopt.SGD(w, lr=1.0)
    assert opt.step(g, max_norm=1.0, noise=GradientNoise(0.01, rng=0)) == 6.0
    assert np.allclose(w, -0.5, atol=0.5)
    opt = fastopt.SGD(np.zeros(4, np.float32), lr=1.0)
    g[0] = np.nan
    skipping = fastopt.SGD(np.zeros(4, np.float32), skip_nonfinite=True)
    skipping.step(g, noise=GradientNoise(rng=0))
    assert skipping.skipped == 1


def test_step_refuses_other_types_of_noise() -> None:
    w = floats(3)
    before = w.tobytes()
    with pytest.raises(TypeError, match="noise must be a"):
        fastopt.SGD(w).step(floats(3), noise=0.1)  # type: ignore[arg-type]
    assert w.tobytes() == before


def test_backward_needs_a_forward() -> None:
    for layer in (GaussianNoise(0.1), GaussianNoise(0.1, multiplicative=True), Dropout(0.5), StochasticDepth(0.5)):
        with pytest.raises(RuntimeError, match="forward before"):
            layer.backward(floats(3))


@pytest.mark.parametrize("std", [-1.0, math.nan, math.inf, "0.1", None])
def test_step_refuses_a_bad_deviation(std: Any) -> None:
    class Bad:
        def draw(self, t: int) -> Any:
            return std, 0

    w = floats(3)
    before = w.tobytes()
    with pytest.raises((TypeError, ValueError), match="standard deviation of the noise"):
        fastopt.SGD(w).step(floats(3), noise=Bad())
    assert w.tobytes() == before
