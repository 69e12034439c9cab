"""The four forms of dropout: masks against a reference, rates, backward, layouts, edge cases, torch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastopt.regularization import (
    Dropout,
    GaussianDropout,
    SpatialDropout,
    StochasticDepth,
    draw_key,
    dropout,
    dropout_bits,
)
from tests.support import reference_layers as reference
from tests.support.rows import THRESHOLD, TILE, Array, assert_same_bits, core, settings

SIZES = (0, 1, 15, 16, 17, 63, 64, 65, 255, 256, 257, TILE - 1, TILE, TILE + 1, 2 * TILE + 19, THRESHOLD + 1)
N = 1 << 20


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("p", [0.0, 2.0**-32, 0.1, 0.5, 0.9, 1 - 2.0**-32, 1.0])
@pytest.mark.parametrize("size", SIZES)
def test_values(size: int, p: float) -> None:
    """The exact values of the equation on every instruction set and number of threads."""
    x = floats(size)
    u = reference.words(size, 77) / 2.0**32
    scale = np.float32(1.0 / (1.0 - p)) if p < 1 else np.float32(0)
    expected = np.where(u < p, np.float32(0), x * scale)
    for setting in settings():
        with core(**setting):
            assert_same_bits(dropout(x, p, key=77, out=np.full_like(x, 9)), expected, f"{size}, {p}, {setting}")
    assert np.allclose(expected, reference.dropout(x, p, u), rtol=2e-7)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.95])
def test_rate_and_mean(p: float) -> None:
    for seed in range(3):
        y = dropout(np.ones(N, np.float32), p, rng=seed)
        assert abs((y == 0).mean() - p) < 4 * math.sqrt(p * (1 - p) / N)
        assert abs(y.mean() - 1) < 4 * math.sqrt(p / (1 - p) / N)


def test_masks_of_calls_are_independent() -> None:
    layer = Dropout(0.5, rng=0)
    first, second = (layer.forward(np.ones(N, np.float32)) for _ in range(2))
    assert abs((first * second).mean() - 1) < 4 * math.sqrt(3 / N)


def test_key_of_a_generator() -> None:
    """A call draws one key: the same seed gives the same mask, and a generator advances."""
    x = np.ones(1000, np.float32)
    assert np.array_equal(dropout(x, rng=5), dropout(x, key=draw_key(5)))
    rng = np.random.default_rng(5)
    assert np.array_equal(dropout(x, rng=rng), dropout(x, rng=5))
    assert rng.bit_generator.state == _after_one_draw(5)
    assert not np.array_equal(dropout(x, rng=rng), dropout(x, rng=5))
    assert not np.array_equal(dropout(x), dropout(x))


def _after_one_draw(seed: int) -> object:
    rng = np.random.default_rng(seed)
    rng.integers(2**64, dtype=np.uint64)
    return rng.bit_generator.state


def layers() -> list[object]:
    return [Dropout(0.4, rng=1), SpatialDropout(0.4, rng=1), GaussianDropout(0.4, rng=1), StochasticDepth(0.4, rng=1)]


@pytest.mark.parametrize("layer", layers(), ids=lambda layer: type(layer).__name__)
def test_backward_is_the_derivative(layer: object) -> None:
    """Each layer is y = m x with a mask m, so that dx = m dy. In inference both are the identity."""
    x, dy = floats(6, 5, 7), floats(6, 5, 7, seed=1)
    y = layer.forward(x)
    m = y.astype(np.float64) / x
    assert np.allclose(layer.backward(dy), m * dy, rtol=1e-6, atol=0)
    assert (m != 1).any()
    in_place = dy.copy()
    assert layer.backward(in_place, out=in_place) is in_place
    assert np.array_equal(in_place, layer.backward(dy))
    layer.eval()
    assert layer.forward(x) is x
    assert layer.backward(dy) is dy
    out = np.empty_like(x)
    assert np.array_equal(layer.forward(x, out=out), x)
    layer.train()
    assert not np.array_equal(layer(x), y)  # another mask


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (3, 4, 5, 6), (2, 3, 70, 70)])
def test_spatial(shape: tuple[int, ...], channels_last: bool) -> None:
    """Each channel of a sample is kept or dropped as a whole; both layouts drop the same channels."""
    x = floats(*shape) + 10
    expected_mask = reference.words(shape[0] * shape[1], draw_key(3)) / 2.0**32 >= 0.3
    expected = x * np.float32(1 / 0.7) * expected_mask.reshape(shape[:2] + (1,) * (len(shape) - 2))
    given = np.ascontiguousarray(np.moveaxis(x, 1, -1)) if channels_last else x
    for setting in settings():
        with core(**setting):
            y = SpatialDropout(0.3, channels_last=channels_last, rng=3).forward(given)
        assert_same_bits(np.moveaxis(y, -1, 1) if channels_last else y, expected.astype(np.float32), str(setting))


def test_stochastic_depth() -> None:
    x = floats(400, 3, 2) + 10
    y = StochasticDepth(0.3, rng=0).forward(x)
    kept = reference.words(400, draw_key(0)) / 2.0**32 >= 0.3
    assert np.array_equal(y, x * np.float32(1 / 0.7) * kept[:, None, None].astype(np.float32))
    batch = [StochasticDepth(0.5, mode="batch", rng=seed).forward(x) for seed in range(40)]
    assert all((y == 0).all() or np.allclose(y, 2 * x) for y in batch)
    assert 8 < sum(bool((y == 0).all()) for y in batch) < 32


def test_gaussian_dropout() -> None:
    y = GaussianDropout(0.2, rng=0).forward(np.full(N, 3, np.float32))
    assert abs(y.mean() - 3) < 4 * 1.5 / math.sqrt(N)
    assert abs(y.std() - 3 * math.sqrt(0.2 / 0.8)) < 0.01


@pytest.mark.parametrize("size", [1, 7, 8, 9, 255, 257, TILE + 1, 2 * TILE + 19])
def test_bits(size: int) -> None:
    for p in (0.0, 0.3, 1.0):
        y = dropout(np.ones(size, np.float32), p, key=9)
        for setting in settings():
            with core(**setting):
                bits = dropout_bits(size, p, 9)
            unpacked = np.unpackbits(bits, bitorder="little")
            assert np.array_equal(unpacked[:size], y != 0)
            assert not unpacked[size:].any()
    layer = Dropout(0.3, rng=0)
    y = layer.forward(np.ones(size, np.float32))
    assert np.array_equal(np.unpackbits(layer.mask(size), bitorder="little")[:size], y != 0)


def test_edges() -> None:
    """p = 0 changes nothing, p = 1 drops all. A dropped NaN becomes 0; a kept NaN or infinity stays."""
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38] * 100, np.float32)
    assert dropout(odd, 0.0) is odd
    assert not dropout(odd, 1.0).any()
    y = dropout(odd, 0.5, key=1)
    kept = reference.words(odd.size, 1) / 2.0**32 >= 0.5
    with np.errstate(over="ignore"):
        assert_same_bits(y[kept], odd[kept] * np.float32(2), "kept")
    assert not y[~kept].any()
    for layer in (SpatialDropout(1.0), StochasticDepth(1.0), Dropout(1.0)):
        assert not layer.forward(odd.reshape(20, 30)).any()
        assert not layer.backward(np.ones((20, 30), np.float32)).any()
    before = odd.copy()
    assert dropout(odd, 1.0, out=odd) is odd
    assert not odd.any()
    assert np.isnan(before[0])


@pytest.mark.peer
def test_torch_agrees_where_nothing_is_random() -> None:
    torch = pytest.importorskip("torch")
    x = floats(4, 3, 5)
    t = torch.from_numpy(x)
    for p in (0.0, 1.0):
        assert np.array_equal(dropout(x, p), torch.nn.functional.dropout(t, p).numpy())
    assert np.array_equal(dropout(x, 0.3, training=False), torch.nn.functional.dropout(t, 0.3, training=False).numpy())
    torch.manual_seed(0)
    theirs = torch.nn.functional.dropout(t, 0.3).numpy()  # kept elements have the same value
    ours = dropout(x, 0.3, rng=0)
    both = (theirs != 0) & (ours != 0)
    assert both.any()
    assert np.array_equal(ours[both], theirs[both])
