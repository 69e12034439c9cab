"""A step notices every change of its arrays since the last step, and accepts arrays at any place in memory."""

from __future__ import annotations

import gc
import pickle
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastopt
from fastopt._native import runtime
from tests.support.rows import (
    Array,
)

MANY = 300  # tensors, enough for the code that prefetches array headers


@pytest.mark.parametrize("at", [0, 1, 15, 16, 17, 150, MANY - 17, MANY - 16, MANY - 1])
@pytest.mark.parametrize("kind", [list, tuple])
def test_one_change_among_many_tensors_is_seen_wherever_it_stands(at: int, kind: Any) -> None:
    """One gradient gets another address, strides, shape or type, or one parameter becomes read-only."""
    rng = np.random.default_rng(at)
    ws = [rng.normal(size=(2, 3)).astype(np.float32) for _ in range(MANY)]
    grads = [rng.normal(size=(2, 3)).astype(np.float32) for _ in range(MANY)]
    opt = fastopt.SGD(ws, lr=0.5)
    opt.step(kind(grads))
    expected = [w - np.float32(0.5) * g for w, g in zip(ws, grads, strict=True)]
    opt.step(kind(grads))
    for w, e in zip(ws, expected, strict=True):
        np.testing.assert_array_equal(w, e)

    moved = [*grads[:at], np.asfortranarray(-grads[at]), *grads[at + 1 :]]
    opt.step(kind(moved))  # twice: the second step must not use the address of the first step's copy
    opt.step(kind(moved))
    for i, (w, e) in enumerate(zip(ws, expected, strict=True)):
        g = np.float32(0.5) * moved[i]
        np.testing.assert_array_equal(w, e - g - g, err_msg=f"tensor {i}")

    before = [w.copy() for w in ws]
    wrong: dict[str, Any] = {"shape": np.ones((3, 2), np.float32), "float32": np.ones((2, 3)), "list": [1.0]}
    for text, x in wrong.items():
        with pytest.raises((TypeError, ValueError), match=f"gradient {at} .*{text}"):
            opt.step(kind([*grads[:at], x, *grads[at + 1 :]]))
    ws[at].flags.writeable = False
    with pytest.raises(ValueError, match=f"parameter {at} is read-only"):
        opt.step(kind(grads))
    for w, b in zip(ws, before, strict=True):
        np.testing.assert_array_equal(w, b)


@pytest.mark.parametrize("collections", range(6))
def test_garbage_collection_takes_no_gradient_away_in_the_middle_of_a_step(collections: int) -> None:
    """A small step reads the caller's list directly. A finalizer may empty the list before the step, but not during
    it."""
    ws = [np.ones(8, np.float32) for _ in range(2)]
    grads = [np.full(8, 2.0, np.float32) for _ in range(2)]
    opt = fastopt.SGD(ws, lr=0.5)
    opt.step(grads)  # this step need not compare the gradients with each other, because none is zeroed
    step, before = opt._array_step.step, gc.get_threshold()
    counts, garbage = iter(range(collections, -1, -1)), list[Any]()

    def steal(phase: str, _: Any) -> None:
        if phase == "stop":
            garbage.extend([] for _ in range(100))  # so that the next container starts a collection
        elif next(counts, None) == 0:
            grads.clear()
            garbage.extend(np.full(8, 1e6, np.float32) for _ in range(8))  # they take the memory of the gradients

    gc.collect()
    gc.callbacks.append(steal)
    gc.set_threshold(1)
    try:
        step(grads, 1.0, None, False, True)
    except ValueError:
        expected = 0.0  # the list was emptied before the step began
    else:
        expected = -1.0
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(steal)
    for w in ws:
        np.testing.assert_array_equal(w, np.float32(expected))


def test_what_changed_in_place_since_the_last_step_is_seen() -> None:
    """The same memory with another type, byte order, shape or strides, or read-only."""
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    base = np.arange(1, 7, dtype=np.float32)
    opt, before = fastopt.SGD([w], lr=0.5), w.copy()

    def view(**how: Any) -> Array:
        return np.ndarray(buffer=base, **{"shape": (2, 3), "dtype": np.float32, **how})

    opt.step([view()])
    np.testing.assert_array_equal(w, before - np.float32(0.5) * view())
    before = w.copy()
    swapped = np.dtype(np.float32).newbyteorder()
    refused: list[dict[str, Any]] = [{"dtype": np.int32}, {"dtype": swapped}, {"shape": (3, 2)}, {"shape": 6}]
    for how in refused:
        with pytest.raises((TypeError, ValueError), match="gradient 0 has"):
            opt.step([view(**how)])
    g = view()
    g.flags.writeable = False
    with pytest.raises(ValueError, match="gradient 0 is read-only"):
        opt.step([g], zero_grads=True)
    np.testing.assert_array_equal(w, before)
    opt.step([view(strides=(4, 8))])
    np.testing.assert_array_equal(w, before - np.float32(0.5) * view(strides=(4, 8)))


def test_a_step_accepts_arrays_with_their_own_dtype_object() -> None:
    """Unpickled arrays have a dtype object of their own, which may be freed while the optimizer lives."""
    w = pickle.loads(pickle.dumps(np.ones(3, np.float32)))
    assert w.dtype is not np.dtype(np.float32)
    g = np.arange(1, 4, dtype=np.float32)
    opt = fastopt.SGD([w], lr=0.5)
    for _ in range(3):
        opt.step([g])
    np.testing.assert_array_equal(w, np.float32(1) - np.float32(1.5) * g)


class Pair(NamedTuple):
    first: Array
    second: Array


def test_gradients_in_a_named_tuple() -> None:
    ws = [np.ones(3, np.float32), np.ones((), np.float32)]
    opt = fastopt.SGD(ws, lr=0.5)
    for _ in range(2):
        opt.step(Pair(np.full(3, 2.0, np.float32), np.full((), 4.0, np.float32)))
    np.testing.assert_array_equal(ws[0], np.float32(-1))
    np.testing.assert_array_equal(ws[1], np.float32(-3))


@pytest.mark.parametrize("word", [0, 1, 7, 15])
@pytest.mark.parametrize("zero", [False, True])
def test_a_parameter_may_begin_anywhere_in_a_cache_line(word: int, zero: bool) -> None:
    """The kernel treats the first elements separately. Every element is updated once, and nothing around the array."""
    for n in (runtime.SHORT - 1, runtime.SHORT, runtime.SHORT + 1, runtime.TILE + 17, 2 * runtime.TILE + 5):
        around = np.full(n + 48, 7.0, np.float32)
        first = 16 - around.ctypes.data // 4 % 16 + word
        w, g = around[first : first + n], np.random.default_rng(n).normal(size=n + 1).astype(np.float32)[1:]
        expected, given = w - np.float32(0.5) * g, g.copy()
        fastopt.SGD([w], lr=0.5).step([g], zero_grads=zero)
        np.testing.assert_array_equal(w, expected)
        np.testing.assert_array_equal(g, np.zeros(n) if zero else given)
        assert (around[:first] == 7).all()
        assert (around[first + n :] == 7).all()
