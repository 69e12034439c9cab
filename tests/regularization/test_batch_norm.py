"""Batch normalization against a float64 reference, finite differences, torch and Keras; layouts; extreme values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastopt.regularization import BatchNorm, batch_norm
from tests.support import reference_layers as reference
from tests.support.rows import THRESHOLD, TILE, Array, assert_same_bits, core, settings

#: (N, C, ...): rows, planes smaller and larger than one unit of the sums, odd remainders, one sample.
SHAPES: dict[tuple[int, ...], str] = {
    (2, 1): "the least that has a variance",
    (7, 3): "rows",
    (1030, 5): "more rows than a slab",
    (259, 600): "more columns than a block, a slab and three rows",
    (5, 3, 1): "planes of one element",
    (4, 3, 7): "planes below a vector",
    (300, 3, 5): "many small planes in one unit",
    (3, 4, 17, 31): "planes of a unit and more",
    (1, 3, 33): "one sample",
    (2, 2, TILE + 9): "a plane of more than a tile",
    (3, 2, 2, 3, 5): "volumes",
    (2, 4, THRESHOLD // 8 + 3): "the serial threshold and more",
}
layouts = pytest.mark.parametrize("channels_last", [False, True], ids=["channels first", "channels last"])
shapes = pytest.mark.parametrize("shape", SHAPES, ids=SHAPES.values())


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def laid_out(x: Array, channels_last: bool) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if channels_last else x


def layer_of(channels: int, **options: Any) -> BatchNorm:
    bn = BatchNorm(channels, **options)
    bn.weight = floats(channels, seed=10) + np.float32(0.1)
    bn.bias = floats(channels, seed=11)
    return bn


@layouts
@shapes
def test_forward_and_backward(shape: tuple[int, ...], channels_last: bool) -> None:
    x = laid_out(floats(*shape) * 3 + 2, channels_last)
    dy = laid_out(floats(*shape, seed=1), channels_last)
    eps = 1e-2  # for two close values a large 1/σ would amplify the rounding of float32
    bn = layer_of(shape[1], channels_last=channels_last, eps=eps)
    y = bn.forward(x)
    dx = bn.backward(dy)
    f = reference.batch_norm(x, bn.weight.astype(float), bn.bias.astype(float), eps, channels_last)
    b = reference.batch_norm_backward(x, dy, bn.weight.astype(float), eps, channels_last)
    scale = np.abs(bn.weight).max() * max(1, np.abs(f["hat"]).max())
    assert np.abs(y - f["y"]).max() < 4e-7 * (scale + np.abs(bn.bias).max())
    wide = np.abs(bn.weight / np.sqrt(f["var"] + eps)).max() * np.abs(dy).max() * max(1, np.abs(f["hat"]).max()) ** 2
    assert np.abs(dx - b["dx"]).max() < 1e-6 * wide
    n = x.size / shape[1]
    assert np.abs(bn.weight_grad - b["dgamma"]).max() < 1e-7 * n * np.abs(dy).max() * np.abs(f["hat"]).max()
    assert np.allclose(bn.bias_grad, b["dbeta"], rtol=1e-6, atol=1e-7 * n)
    assert np.allclose(bn.running_mean, 0.1 * f["mean"], rtol=1e-6)
    assert np.allclose(bn.running_var, 0.9 + 0.1 * f["var"] * n / (n - 1), rtol=1e-6)


@layouts
@shapes
def test_same_bits(shape: tuple[int, ...], channels_last: bool) -> None:
    """On every instruction set and number of threads, into `out`, and in place in inference."""
    x, dy = (laid_out(floats(*shape, seed=s), channels_last) for s in (0, 1))
    expected: list[Array] = []
    for setting in settings():
        with core(**setting):
            bn = layer_of(shape[1], channels_last=channels_last)
            y = bn.forward(x, out=np.full_like(x, 9))
            dx = dy.copy()
            assert bn.backward(dx, out=dx) is dx
            bn.eval()
            inferred = x.copy()
            assert bn.forward(inferred, out=inferred) is inferred
            got = [y, dx, inferred, bn.weight_grad, bn.bias_grad, bn.running_mean, bn.running_var]
            expected = expected or [np.copy(a) for a in got]
            for i, (a, b) in enumerate(zip(got, expected, strict=True)):
                assert_same_bits(a, b, f"{i}, {setting}")


def numeric_gradient(f: Callable[[Array], float], x: Array) -> Array:
    """Central differences in float64."""
    grad = np.empty_like(x)
    for i in np.ndindex(x.shape):
        h = 1e-5
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        grad[i] = (f(up) - f(down)) / (2 * h)
    return grad


@layouts
def test_finite_differences(channels_last: bool) -> None:
    """The gradient of the reference is the derivative of its forward."""
    x = laid_out(floats(4, 3, 5), channels_last).astype(np.float64)
    dy = laid_out(floats(4, 3, 5, seed=1), channels_last).astype(np.float64)
    gamma, beta = floats(3, seed=2).astype(np.float64), floats(3, seed=3).astype(np.float64)

    def loss(x: Array, gamma: Array, beta: Array) -> float:
        return float((dy * reference.batch_norm(x, gamma, beta, 1e-3, channels_last)["y"]).sum())

    b = reference.batch_norm_backward(x, dy, gamma, 1e-3, channels_last)
    assert np.allclose(numeric_gradient(lambda v: loss(v, gamma, beta), x), b["dx"], atol=1e-8)
    assert np.allclose(numeric_gradient(lambda v: loss(x, v, beta), gamma), b["dgamma"], atol=1e-8)
    assert np.allclose(numeric_gradient(lambda v: loss(x, gamma, v), beta), b["dbeta"], atol=1e-8)


@layouts
@pytest.mark.parametrize(("mean", "std"), [(1e4, 1.0), (-1e6, 1.0), (1e4, 1e-2), (0.0, 1e-15), (1e15, 1e12)])
def test_statistics_far_from_zero(mean: float, std: float, channels_last: bool) -> None:
    """A mean far from 0 does not reduce the accuracy of the variance: shifted sums give 1e-12."""
    x = (floats(64, 3, 20, 20) * std + mean).astype(np.float32)
    bn = BatchNorm(3, momentum=1.0, eps=1e-45, channels_last=channels_last)
    y = bn.forward(laid_out(x, channels_last))
    flat = np.moveaxis(x, 1, 0).reshape(3, -1).astype(np.float64)
    exact_mean = flat.mean(1)
    exact_var = ((flat - exact_mean[:, None]) ** 2).mean(1)
    n = flat.shape[1]
    assert np.allclose(bn.running_mean, exact_mean, rtol=1e-7)
    assert np.allclose(bn.running_var, exact_var * n / (n - 1), rtol=2e-7)
    hat = (flat - exact_mean[:, None]) / np.sqrt(exact_var)[:, None]
    got = np.moveaxis(y, -1 if channels_last else 1, 0).reshape(3, -1)
    assert np.abs(got - hat).max() < 1e-5


def test_outliers() -> None:
    """The sums are shifted by the first value. Even if it is an outlier, the error stays below 1e-5."""
    x = floats(1000, 2)
    x[0] = 1e7
    bn = BatchNorm(2, momentum=1.0)
    bn.forward(x)
    assert np.allclose(bn.running_mean, x.astype(np.float64).mean(0), rtol=1e-6)
    assert np.allclose(bn.running_var, x.astype(np.float64).var(0, ddof=1), rtol=1e-6)


def test_constant_channels() -> None:
    """Without variance y = β, there is no NaN, and the gradient at x is 0 up to rounding."""
    x = np.full((6, 2, 3), 12345.678, np.float32)
    bn = layer_of(2)
    assert np.array_equal(bn.forward(x), np.broadcast_to(bn.bias[:, None], x.shape))
    dx = bn.backward(np.ones_like(x))
    assert np.abs(dx).max() < 1e-3
    assert not bn.weight_grad.any()


def test_a_variance_beyond_float32() -> None:
    x = floats(64, 2) * np.float32(1e30)
    x[:, 1] *= np.float32(1e-30)
    bn = BatchNorm(2, momentum=1.0)
    with pytest.warns(UserWarning, match="channel 0 keeps its running statistics"):
        y = bn.forward(x)
    assert np.allclose(y, (x - x.mean(0, dtype=float)) / x.std(0, dtype=float), atol=1e-5)
    assert (bn.running_mean[0], bn.running_var[0]) == (0, 1)
    assert np.allclose(bn.running_var[1], x[:, 1].var(dtype=float, ddof=1))


@layouts
@pytest.mark.filterwarnings("ignore:channel")
@pytest.mark.parametrize("spread", [1e29, 1e31, 2.0**127, 3.4e38])
@pytest.mark.parametrize("mean", [0.0, -1.0, 0.7])
def test_spreads_near_the_end_of_float32(spread: float, mean: float, channels_last: bool) -> None:
    """Differences from the mean are beyond float32; the second channel is ordinary and keeps its bits."""
    x = np.tile([[1.0], [-1.0], [-1.0], [-1.0]], (2, 2)) * (1 - abs(mean) / 2) + mean / 2
    x = np.stack([x * spread, x], 1).astype(np.float32)
    dy = floats(*x.shape, seed=1)
    given, dgiven = laid_out(x, channels_last), laid_out(dy, channels_last)
    bn, plain = BatchNorm(2, channels_last=channels_last), BatchNorm(1)
    f = reference.batch_norm(given, np.ones(2), np.zeros(2), 1e-5, channels_last)
    b = reference.batch_norm_backward(given, dgiven, np.ones(2), 1e-5, channels_last)
    y, dx = bn.forward(given), bn.backward(dgiven)
    assert np.allclose(y, f["y"], rtol=2e-6, atol=2e-6)
    assert np.allclose(
        dx, b["dx"], rtol=1e-5, atol=1e-5 * np.abs(b["dx"]).max(axis=(0, 2 - channels_last), keepdims=True) + 1e-44
    )
    assert np.allclose(bn.weight_grad, b["dgamma"], rtol=1e-5, atol=1e-5)
    if not channels_last:
        assert_same_bits(y[:, 1:].copy(), plain.forward(x[:, 1:].copy()), "the ordinary channel")
    stats = x[:, 0].mean(dtype=float).astype(np.float32).reshape(1), np.full(1, 3e38, np.float32)
    inferred = batch_norm(x[:, :1].copy(), *stats)
    assert np.allclose(inferred, (x[:, :1].astype(float) - stats[0]) / np.sqrt(3e38), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "bad"), [(n, v) for n in ("running_mean", "running_var") for v in (np.nan, np.inf)] + [("running_var", -1)]
)
def test_running_statistics_are_checked(name: str, bad: float) -> None:
    bn, x = BatchNorm(2), floats(3, 2)
    state = {**bn.state_dict(), name: np.array([1, bad], np.float32)}
    with pytest.raises(ValueError, match=f"{name} must be finite"):
        bn.load_state_dict(state)
    with pytest.raises(ValueError, match=f"{name} must be finite"):
        batch_norm(x, **{**{n: np.ones(2, np.float32) for n in ("running_mean", "running_var")}, name: state[name]})
    setattr(bn.eval(), name, state[name])
    with pytest.raises(ValueError, match=f"{name} must be finite"):
        bn.forward(x)


def test_a_scale_beyond_float32_is_refused() -> None:
    bn = BatchNorm(2, eps=1e-30)
    bn.weight[1] = 1e30
    with pytest.raises(ValueError, match=r"of channel 1 is .*, beyond float32"):
        bn.forward(np.ones((3, 2), np.float32))


def test_nonfinite_values_pass_through() -> None:
    x = floats(5, 2)
    x[3, 0] = np.nan
    bn = BatchNorm(2)
    with pytest.warns(UserWarning, match="channel 0 keeps its running statistics"):
        y = bn.forward(x)
    assert np.isnan(y[:, 0]).all()
    assert np.isfinite(y[:, 1]).all()
    assert (bn.running_mean != 0).tolist() == [False, True]


def test_inference_and_frozen() -> None:
    x, dy = floats(9, 3, 4), floats(9, 3, 4, seed=1)
    bn = layer_of(3)
    for _ in range(3):
        bn.forward(floats(9, 3, 4, seed=5) + 1)
    mean, var = bn.running_mean.copy(), bn.running_var.copy()
    hat = (x - mean[:, None]) / np.sqrt(var + bn.eps)[:, None]
    expected = hat * bn.weight[:, None] + bn.bias[:, None]
    bn.frozen = True
    frozen = bn.forward(x)
    dx = bn.backward(dy)
    assert np.allclose(dx, dy * (bn.weight / np.sqrt(var + bn.eps))[:, None], rtol=1e-6)
    assert np.allclose(bn.weight_grad, (dy * hat).sum((0, 2)), atol=1e-5)
    assert np.allclose(bn.bias_grad, dy.sum((0, 2)), atol=1e-5)
    bn.eval()
    assert np.array_equal(bn.forward(x), frozen)
    assert np.allclose(frozen, expected, atol=1e-6)
    assert np.array_equal(batch_norm(x, mean, var, bn.weight, bn.bias), frozen)
    assert np.array_equal(bn.running_mean, mean)
    assert bn.num_batches_tracked == 3
    one = bn.forward(x[:1, :, :1].copy())  # one value per channel: allowed with running statistics
    assert np.allclose(one, expected[:1, :, :1], atol=1e-6)


def test_without_affine_and_running_statistics() -> None:
    x = floats(6, 3)
    bn = BatchNorm(3, affine=False, track_running_stats=False)
    y = bn.forward(x)
    assert np.array_equal(bn.eval().forward(x), y)
    assert np.allclose(y, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), atol=1e-6)
    bn.backward(x)
    assert (bn.weight_grad, bn.bias_grad, bn.running_mean) == (None, None, None)
    assert bn.state_dict() == {"num_batches_tracked": 0}


def test_momentum() -> None:
    """momentum weighs the batch in torch, the old value in Keras. Only torch's variance is unbiased."""
    batches = [floats(8, 2, seed=s) * (s + 1) + s for s in range(4)]
    for options, weight, ddof in (
        ({}, 0.1, 1),
        ({"momentum": 0.3}, 0.3, 1),
        ({"convention": "keras"}, 0.01, 0),
        ({"convention": "keras", "momentum": 0.8}, 0.2, 0),
        ({"momentum": "cumulative"}, None, 1),
    ):
        bn = BatchNorm(2, **options)
        mean, var = np.zeros(2), np.ones(2)
        for t, x in enumerate(batches):
            bn.forward(x)
            new = 1 / (t + 1) if weight is None else weight
            mean = (1 - new) * mean + new * x.astype(float).mean(0)
            var = (1 - new) * var + new * x.astype(float).var(0, ddof=ddof)
        assert np.allclose(bn.running_mean, mean, rtol=1e-6), options
        assert np.allclose(bn.running_var, var, rtol=1e-6), options
    assert (BatchNorm(2).eps, BatchNorm(2, convention="keras").eps) == (1e-5, 1e-3)


@layouts
def test_sync(channels_last: bool) -> None:
    """Three workers with unequal parts compute what one worker computes on the whole batch."""
    x, dy = floats(12, 3, 5) * 2 + 100, floats(12, 3, 5, seed=1)
    alone = layer_of(3, channels_last=channels_last)
    y = alone.forward(laid_out(x, channels_last))
    dx = alone.backward(laid_out(dy, channels_last))
    cuts = [slice(0, 1), slice(1, 5), slice(5, 12)]
    workers = [layer_of(3, channels_last=channels_last) for _ in cuts]
    outputs = in_lockstep(
        workers, lambda bn, cut: bn.forward(laid_out(np.ascontiguousarray(x[cut]), channels_last)), cuts
    )
    assert np.allclose(np.concatenate(outputs), y, atol=1e-6)
    outputs = in_lockstep(
        workers, lambda bn, cut: bn.backward(laid_out(np.ascontiguousarray(dy[cut]), channels_last)), cuts
    )
    assert np.allclose(np.concatenate(outputs), dx, atol=1e-6)
    for bn in workers:
        assert np.allclose(bn.running_var, alone.running_var, rtol=1e-6)
        assert np.allclose(bn.running_mean, alone.running_mean, rtol=1e-6)
    assert np.allclose(sum(bn.weight_grad for bn in workers), alone.weight_grad, atol=1e-5)
    assert np.allclose(sum(bn.bias_grad for bn in workers), alone.bias_grad, atol=1e-5)


def in_lockstep(workers: list[BatchNorm], call: Callable[[BatchNorm, slice], Array], cuts: list[slice]) -> list[Array]:
    """Run each worker on its own thread; sync adds the arrays at a barrier."""
    import threading

    barrier, shared = threading.Barrier(len(workers)), [np.zeros(0)] * len(workers)
    results: list[Any] = [None] * len(workers)

    def run(i: int) -> None:
        def add(a: Array) -> Array:
            shared[i] = a
            barrier.wait(30)
            total = np.sum(shared, axis=0)
            barrier.wait(30)
            return total

        workers[i].sync = add
        results[i] = call(workers[i], cuts[i])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(workers))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    return results


def test_a_sync_that_fails_changes_nothing() -> None:
    def fail(a: Array) -> Array:
        raise OSError("no network")

    bn = BatchNorm(2, sync=fail)
    out = np.full((3, 2), 7, np.float32)
    with pytest.raises(OSError, match="no network"):
        bn.forward(floats(3, 2), out=out)
    assert (out == 7).all()
    assert bn.num_batches_tracked == 0
    assert not bn.running_mean.any()


def test_state_dict() -> None:
    bn = layer_of(3)
    bn.forward(floats(5, 3))
    other = BatchNorm(3)
    other.load_state_dict(bn.state_dict())
    x = floats(4, 3, seed=9)
    assert np.array_equal(other.forward(x), bn.forward(x))
    assert np.array_equal(other.running_var, bn.running_var)
    state = bn.state_dict()
    for change in ({"weight": np.ones(4, np.float32)}, {"running_var": np.ones(3)}, {"num_batches_tracked": -1}):
        before = other.state_dict()
        with pytest.raises(ValueError, match=next(iter(change))):
            other.load_state_dict({**state, **change})
        assert all(np.array_equal(before[k], other.state_dict()[k]) for k in before)
    with pytest.raises(ValueError, match="state_dict has"):
        other.load_state_dict({k: v for k, v in state.items() if k != "bias"})


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (floats(4, 2, 5), "x has 2 channels"),
        (floats(5), "at least two dimensions"),
        (floats(0, 3, 5), "x is empty"),
        (floats(1, 3), "one value per channel"),
        (floats(1, 3, 1, 1), "one value per channel"),
        (floats(4, 3, 5).astype(np.float64), "x has dtype float64"),
        (floats(4, 3, 5)[:, :, ::2], "x is not C-contiguous"),
        (floats(4, 3, 5).tolist(), "x must be a float32"),
    ],
)
def test_bad_x(x: Any, message: str) -> None:
    bn = BatchNorm(3)
    with pytest.raises((TypeError, ValueError), match=message):
        bn.forward(x)
    assert not bn.running_mean.any()


def test_bad_out() -> None:
    bn, x = BatchNorm(3), floats(4, 3, 5)
    for out, message in (
        (x, "must be another array"),
        (floats(4, 3, 4), "out has shape"),
        (np.empty(x.shape), "out has dtype float64"),
    ):
        before = x.copy()
        with pytest.raises((TypeError, ValueError), match=message):
            bn.forward(x, out=out)
        assert np.array_equal(x, before)
    assert not bn.running_mean.any()


def test_bad_backward() -> None:
    bn, x = BatchNorm(3), floats(4, 3, 5)
    with pytest.raises(RuntimeError, match="needs a forward"):
        bn.backward(x)
    bn.forward(x)
    with pytest.raises(ValueError, match="grad has shape"):
        bn.backward(floats(4, 3, 4))
    block = np.zeros(2 * x.size, np.float32)
    grad, overlapping = block[: x.size].reshape(x.shape), block[7 : 7 + x.size].reshape(x.shape)
    with pytest.raises(ValueError, match="out overlaps grad"):
        bn.backward(grad, out=overlapping)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"num_features": 0}, "num_features"),
        ({"num_features": 2.0}, "num_features"),
        ({"eps": 0}, "eps"),
        ({"eps": 1e39}, "eps"),
        ({"momentum": 1.5}, "momentum"),
        ({"momentum": "sum"}, "momentum"),
        ({"convention": "jax"}, "convention"),
        ({"frozen": True, "track_running_stats": False}, "frozen"),
        ({"affine": 1}, "affine"),
    ],
)
def test_bad_settings(settings: dict[str, Any], name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        BatchNorm(**{"num_features": 2, **settings})


@pytest.mark.peer
@layouts
@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 5), (4, 3, 17, 9), (64, 40, 14, 14)])
@pytest.mark.parametrize("momentum", [0.1, 0.35, None])
def test_torch(shape: tuple[int, ...], momentum: float | None, channels_last: bool) -> None:
    torch = pytest.importorskip("torch")
    cls = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}[len(shape)]
    theirs = cls(shape[1], momentum=momentum)
    bn = layer_of(shape[1], momentum="cumulative" if momentum is None else momentum, channels_last=channels_last)
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(bn.weight))
        theirs.bias.copy_(torch.from_numpy(bn.bias))
    for t in range(3):
        x, dy = floats(*shape, seed=t) * 2 + 1, floats(*shape, seed=t + 10)
        tx = torch.from_numpy(x).requires_grad_()
        ty = theirs(tx)
        theirs.zero_grad()
        ty.backward(torch.from_numpy(dy))
        y = bn.forward(laid_out(x, channels_last))
        dx = bn.backward(laid_out(dy, channels_last))
        assert np.allclose(y, laid_out(ty.detach().numpy(), channels_last), atol=3e-6)
        assert np.allclose(dx, laid_out(tx.grad.numpy(), channels_last), atol=1e-5)
        assert np.allclose(bn.weight_grad, theirs.weight.grad.numpy(), rtol=1e-4, atol=1e-3)
        assert np.allclose(bn.bias_grad, theirs.bias.grad.numpy(), rtol=1e-4, atol=1e-3)
        assert np.allclose(bn.running_mean, theirs.running_mean.numpy(), rtol=1e-5, atol=1e-6)
        assert np.allclose(bn.running_var, theirs.running_var.numpy(), rtol=1e-5)
    bn.eval()
    theirs.eval()
    with torch.no_grad():
        assert np.allclose(
            bn.forward(laid_out(x, channels_last)),
            laid_out(theirs(torch.from_numpy(x)).numpy(), channels_last),
            atol=3e-6,
        )


@pytest.mark.peer
def test_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moving statistics equal those of keras.layers.BatchNormalization on the torch backend."""
    pytest.importorskip("torch")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    theirs = keras.layers.BatchNormalization(momentum=0.9)
    bn = BatchNorm(4, momentum=0.9, convention="keras", channels_last=True)
    for t in range(3):
        x = floats(6, 5, 5, 4, seed=t) * 3 + 2
        expected = keras.ops.convert_to_numpy(theirs(x, training=True))
        assert np.allclose(bn.forward(x), expected, atol=2e-5)
        assert np.allclose(bn.running_mean, keras.ops.convert_to_numpy(theirs.moving_mean), rtol=1e-4, atol=1e-5)
        assert np.allclose(bn.running_var, keras.ops.convert_to_numpy(theirs.moving_variance), rtol=1e-4)
    expected = keras.ops.convert_to_numpy(theirs(x, training=False))
    assert np.allclose(bn.eval().forward(x), expected, atol=2e-5)


@pytest.mark.filterwarnings("ignore:channel")
def test_an_infinity_affects_its_channel_alone() -> None:
    x = np.array([[1, 2], [np.inf, 3], [2, 5]], np.float32)
    bn, plain = BatchNorm(2), BatchNorm(1)
    y, expected = bn.forward(x), plain.forward(x[:, 1:].copy())
    assert np.isnan(y[:, 0]).all()
    assert np.array_equal(y[:, 1:], expected)
    assert np.isnan(bn.backward(np.ones((3, 2), np.float32))[:, 0]).all()
