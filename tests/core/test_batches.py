"""fastopt.batches: every sample once per pass, views without shuffling, the same order for the same rng."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt import batches

SIZES = [1, 2, 3, 7, 10, 11, 100]  # 1, a divisor, no divisor, all, more than all


def data(n: int = 10) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Samples whose values are their own positions, and labels that name the same positions."""
    return np.arange(n) * 10.0 + np.zeros((4, n)).T[:, :1], np.arange(n) * 10


@pytest.mark.parametrize("n", [0, 1, 9, 10])
@pytest.mark.parametrize("size", [*SIZES, None])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
def test_every_sample_once_per_pass(n: int, size: int | None, shuffle: bool, drop_last: bool) -> None:
    x, y = np.arange(n * 6).reshape(n, 3, 2), np.arange(n)
    loader = batches(x, y, batch_size=size, shuffle=shuffle, rng=0, drop_last=drop_last)
    for _ in range(3):
        passed = list(loader)
        assert len(passed) == len(loader)
        sizes = [len(b) for _, b in passed]
        full = n if size is None else size
        whole, rest = divmod(n, full) if n else (0, 0)
        assert sizes == [full] * whole + [rest] * bool(rest and not drop_last)
        for a, b in passed:
            np.testing.assert_array_equal(a, x[b])  # a row of y stays with its row of x
        seen = Counter(int(i) for _, b in passed for i in b)
        assert set(seen.values()) <= {1}
        assert len(seen) == (n - rest if drop_last else n)
        if not shuffle:
            assert [int(i) for _, b in passed for i in b] == list(range(sum(sizes)))


def test_stochastic_is_the_default() -> None:
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    loader = batches(x, y)
    assert len(loader) == 10
    orders = []
    for _ in range(4):
        passed = list(loader)
        assert all(a.shape == (1, 2) and b.shape == (1,) for a, b in passed)
        orders.append(tuple(int(b[0]) for _, b in passed))
    assert len(set(orders)) > 1
    assert all(sorted(order) == list(range(10)) for order in orders)


def test_each_pass_has_an_order_of_its_own() -> None:
    loader = batches(np.arange(50), batch_size=7, rng=1)
    orders = {tuple(np.concatenate(list(loader))) for _ in range(5)}
    assert len(orders) == 5
    assert tuple(range(50)) not in orders


def test_the_same_rng_gives_the_same_order() -> None:
    def passes(rng: Any, count: int = 3) -> list[list[int]]:
        loader = batches(np.arange(20), batch_size=3, rng=rng)
        return [np.concatenate(list(loader)).tolist() for _ in range(count)]

    assert passes(7) == passes(7) == passes(np.random.default_rng(7))
    assert passes(7) != passes(8)
    assert passes(None) != passes(None)
    shared = np.random.default_rng(7)
    assert passes(shared, 1) + passes(shared, 2) == passes(7)  # one generator serves one pass after another
    state = shared.bit_generator.state
    passed = [list(batches(np.arange(9), batch_size=size, shuffle=False, rng=shared)) for size in (1, 2, None)]
    passed += [list(batches(np.arange(9), batch_size=None, rng=shared))]
    assert [len(p) for p in passed] == [9, 5, 1, 1]
    assert shared.bit_generator.state == state  # without shuffling the generator is not used


def test_all_arrays_are_shuffled_alike() -> None:
    columns = [np.arange(30) * k for k in range(1, 5)]
    for a, b, c, d in batches(*columns, batch_size=4, rng=0):
        assert (b == 2 * a).all()
        assert (c == 3 * a).all()
        assert (d == 4 * a).all()


def test_views_and_copies() -> None:
    x = np.arange(40.0).reshape(10, 4)
    y = np.asfortranarray(x)
    for a, b in batches(x, y, batch_size=3, shuffle=False):
        assert np.shares_memory(a, x)
        assert np.shares_memory(b, y)
    for a, b in batches(x, y, batch_size=3):
        assert not np.shares_memory(a, x)
        assert a.flags.c_contiguous
        np.testing.assert_array_equal(a, b)
    ((a, b),) = batches(x, y, batch_size=None)
    assert a is x
    assert b is y
    for a in batches(x, batch_size=4, shuffle=False):
        a += 100.0  # through the view
    assert (x >= 100).all()


def test_one_array_comes_without_a_tuple() -> None:
    x = np.arange(6)
    for shuffle, size in itertools.product((True, False), (1, 4, None)):
        for a in batches(x, batch_size=size, shuffle=shuffle):
            assert type(a) is np.ndarray
        for item in batches(x, x, batch_size=size, shuffle=shuffle):
            assert type(item) is tuple
            assert len(item) == 2


def test_inputs_that_are_converted_to_arrays() -> None:
    x = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    ((a, b, c),) = batches(x, (1, 2, 3), ["a", "b", "c"], batch_size=None)
    assert a.tolist() == x
    assert b.tolist() == [1, 2, 3]
    assert c.tolist() == ["a", "b", "c"]
    for dtype in (np.float32, np.int8, bool, complex, object, "M8[s]"):
        assert next(iter(batches(np.zeros(3, dtype)))).dtype == dtype


def test_a_mask_is_not_lost() -> None:
    """A masked array is refused or keeps its mask: batches of the masked values would be a silent error."""
    x = np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False])
    try:
        passed = list(batches(x, batch_size=2, shuffle=False))
    except TypeError:
        return
    assert all(isinstance(a, np.ma.MaskedArray) for a in passed)


def test_two_passes_at_once() -> None:
    loader = batches(np.arange(12), batch_size=5, rng=0)
    a, b = zip(*zip(loader, loader, strict=True), strict=True)
    for passed in (a, b):
        assert sorted(np.concatenate(passed).tolist()) == list(range(12))
    assert np.concatenate(a).tolist() != np.concatenate(b).tolist()
    first = iter(loader)
    next(first)
    assert sum(map(len, loader)) == 12  # an unfinished pass does not change the next one
    assert sum(map(len, first)) == 7


def test_length_is_that_of_the_pass() -> None:
    for n, size, drop_last in itertools.product(range(12), (1, 2, 3, 5, 11, 12, 13, None), (True, False)):
        loader = batches(np.arange(n), batch_size=size, drop_last=drop_last)
        assert type(len(loader)) is int
        assert len(loader) == sum(1 for _ in loader)
        assert bool(loader) == (len(loader) > 0)


def test_sizes_of_numpy() -> None:
    for size in (np.int64(4), np.uint8(4), np.array(4)):
        assert [len(a) for a in batches(np.arange(10), batch_size=size)] == [4, 4, 2]


def test_errors() -> None:
    x = np.arange(10)
    with pytest.raises(TypeError, match="at least one array"):
        batches()
    for arrays, place in [((x, x[:9]), 1), ((x, x, np.arange(11)), 2), ((x[:0], x), 1)]:
        with pytest.raises(ValueError, match=f"array {place} has {len(arrays[place])} samples, array 0 has"):
            batches(*arrays)
    for bad, place in [((np.array(3.0),), 0), ((x, 3), 1), ((None,), 0), ((x, "text"), 1)]:
        with pytest.raises(ValueError, match=f"array {place} has no dimensions"):
            batches(*bad)
    for size in (0, -1, np.int64(-5)):
        with pytest.raises(ValueError, match=f"batch_size must be >= 1.*{size}"):
            batches(x, batch_size=size)
    for size in (1.0, "3", True, False, [3], np.float64(3), 2.5):
        with pytest.raises(TypeError, match="batch_size must be an int"):
            batches(x, batch_size=size)
    with pytest.raises(TypeError):
        batches(x, rng="seed")
    with pytest.raises(TypeError):
        batches(x, 3, size=3)


def test_repr() -> None:
    text = repr(batches(np.arange(12345), batch_size=7, drop_last=True))
    for part in ("7", "12,345", "shuffle=True", "drop_last=True"):
        assert part in text
    assert "all" in repr(batches(np.arange(3), batch_size=None))


def test_an_epoch_of_training() -> None:
    """The three forms of gradient descent find the same line."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3)).astype(np.float32)
    y = x @ np.array([1.0, -2.0, 0.5], np.float32)
    for size, epochs in [(1, 30), (16, 100), (None, 400)]:
        w = np.zeros(3, np.float32)
        opt = fastopt.SGD(w, lr=0.05)
        loader = batches(x, y, batch_size=size, rng=0)
        for _ in range(epochs):
            for a, b in loader:
                opt.step(a.T @ (a @ w - b) / np.float32(len(b)))
        np.testing.assert_allclose(w, [1.0, -2.0, 0.5], atol=1e-3)
        assert opt.state[0]["step"] == epochs * len(loader)
