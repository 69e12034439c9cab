"""Bad parameters and gradients of an optimizer, and arrays that overlap: the error names the argument, no byte changes,
and the optimizer continues as if the call had not been made."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastopt
from tests.support.bad_input import (
    NEVER,
    NEVER_WRITTEN,
    SHAPES,
    SWAPPED,
    Subclass,
    bad_buffer,
    floats,
    goes_on,
    grads_for,
    peers,
    read_only,
    refused,
)
from tests.support.rows import ROWS, Array, Row, contents, given

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


@pytest.mark.parametrize("kind", [*NEVER, *NEVER_WRITTEN, *peers])
def test_bad_parameter(kind: str) -> None:
    make, error, fragments = bad_buffer(kind)
    for row in ROWS.values():
        good, bad = [floats(), floats(5)], make()
        named = ["param group"] if kind == "dict" else ["parameter 1", *fragments]
        with refused(*named, unchanged=[*good, bad], kind=error):
            row.make([good[0], bad, good[1]])
        with refused("parameter 1", *fragments, unchanged=[*good, bad], kind=error):
            row.make([{"params": good[:1]}, {"params": [bad, good[1]]}])
        if isinstance(bad, np.ndarray) and bad.ndim:
            with refused("parameter ", *fragments, unchanged=[bad], kind=error):
                row.make(bad)
        opt = row.make([floats(), floats(5)])
        opt.step(given(grads_for(opt)))
        twin = copy.deepcopy(opt)
        with refused("parameter 3", *fragments, unchanged=[opt, good[0], bad], kind=error):
            opt.add_param_group({"params": [good[0], bad]})
        goes_on(opt, twin)


def test_params_that_are_no_arrays_at_all() -> None:
    for bad in (None, 1.0, "w", b"w", {"w": floats()}, {"params": [floats()]}, np.float32(1), object()):
        with refused("params", type(bad).__name__, kind=TypeError):
            fastopt.SGD(bad)
    for empty in ([], (), iter(())):
        with refused("params", "empty", kind=ValueError):
            fastopt.SGD(empty)
    with refused("object", "float32", kind=TypeError):
        fastopt.SGD(np.array([floats(2), floats(3)], dtype=object))


def _move(p: Array) -> None:
    """Move the array to other memory and fill its old memory with other arrays."""
    address, shape, taken = p.ctypes.data, p.shape, []
    while p.ctypes.data == address:
        p.resize(10_000, refcheck=False)
        taken += [np.empty(shape, np.float32) for _ in range(9)]
        p.__setstate__((1, shape, p.dtype, False, bytes(4 * taken[0].size)))


#: Changes of a parameter after the optimizer was made, and what the message must name.
ACCIDENTS: dict[str, tuple[Callable[[Array], Any], tuple[str, ...]]] = {
    "resized": (lambda p: p.resize((400, 300), refcheck=False), ("(400, 300)",)),
    "moved": (lambda p: _move(p), ("moved",)),
    "shrunk": (lambda p: p.resize((2, 2), refcheck=False), ("(2, 2)",)),
    "read-only": (lambda p: setattr(p.flags, "writeable", False), ("read-only",)),
    "dtype int32": (lambda p: setattr(p, "dtype", np.int32), ("dtype", "int32", "float32")),
    "dtype float64": (lambda p: setattr(p, "dtype", np.float64), ("dtype", "float64", "float32")),
    "byte order": (lambda p: setattr(p, "dtype", SWAPPED), ("byte order", SWAPPED)),
}


@rows
@pytest.mark.parametrize("accident", ACCIDENTS)
def test_parameter_changed_after_construction(row: Row, accident: str) -> None:
    change, fragments = ACCIDENTS[accident]
    params = [floats(), floats(6, seed=1).copy(), floats(3, 4, seed=2).copy()]
    opt = row.make(params)
    grads = grads_for(opt)
    opt.step(given(grads))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        change(params[2])
    later = [*grads[:2], np.ones_like(params[2], np.float32)]
    with refused("parameter 2", *fragments, unchanged=[opt, *params, *later]):
        opt.step(given(later))
    with refused("parameter 2", *fragments, unchanged=[opt, *params, *grads]):
        opt.step(given(grads), max_norm=1.0, zero_grads=True)
    if accident == "read-only":
        params[2].flags.writeable = True
        twin = copy.deepcopy(opt)
        goes_on(opt, twin)


@pytest.mark.parametrize("rule", ["sgd", "nag", "adam"])
def test_parameter_reshaped_in_place_is_refused_or_works(rule: str) -> None:
    row, w = ROWS[rule], floats()
    opt = row.make(w)
    opt.step(given(floats(seed=1)))
    before = contents(opt)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        w.shape = (4, 3)
    message = ""
    try:
        opt.step(given(floats(4, 3, seed=2)))
    except ValueError as error:
        message = str(error)
    if message:
        assert "parameter" in message
        assert contents(opt) == before
        return
    twin = copy.deepcopy(opt)
    opt.load_state_dict(opt.state_dict())
    for one in (opt, twin):
        one.step(given(floats(4, 3, seed=3)))
    assert contents(opt) == contents(twin)


@pytest.mark.parametrize("kind", [*NEVER, *peers])
@pytest.mark.parametrize("options", [{}, {"max_norm": 1.0, "zero_grads": True}], ids=["plain", "clipped, zeroed"])
def test_bad_gradient(kind: str, options: dict[str, Any]) -> None:
    make, error, fragments = bad_buffer(kind)
    for row in ROWS.values():
        for place in (0, 1, 2):
            opt = row.make([floats(seed=k) for k in range(3)], skip_nonfinite=place == 1)
            opt.step(given(grads_for(opt)))
            twin = copy.deepcopy(opt)
            grads: list[Any] = grads_for(opt, 5)
            bad = grads[place] = make()
            with refused(f"gradient {place} ", *fragments, unchanged=[opt, *grads], kind=error):
                opt.step(given(grads), **options)
            goes_on(opt, twin)
            if callable(bad):
                continue  # a callable as the only gradient is a closure, which is allowed
            opt = row.make(floats())
            with refused("gradient ", *fragments, unchanged=[opt, bad], kind=error):
                opt.step(given(bad), **options)


@rows
def test_gradient_of_a_wrong_shape_names_both(row: Row) -> None:
    params = [floats(), floats(7), np.ones((), np.float32), floats(0, 4)]
    opt = row.make(params)
    opt.step(given(grads_for(opt)))
    twin = copy.deepcopy(opt)
    for place, p in enumerate(params):
        for shape in SHAPES:
            for order in ("C", "F"):
                if shape == p.shape:
                    continue
                grads = grads_for(opt)
                grads[place] = np.ones(shape, np.float32, order=order)
                message = f"gradient {place} has shape {shape}, parameter has {p.shape}"
                with refused(message, unchanged=[opt, *grads], kind=ValueError):
                    opt.step(given(grads), zero_grads=True)
    goes_on(opt, twin)
    single = row.make(floats())
    with refused("gradient has shape (12,), parameter has (3, 4)", unchanged=[single], kind=ValueError):
        single.step(given(floats(12)))


@rows
def test_wrong_number_of_gradients(row: Row) -> None:
    opt = row.make([floats(), floats(7)])
    opt.step(given(grads_for(opt)))
    twin = copy.deepcopy(opt)
    good = grads_for(opt)
    for bad in ([], good[:1], [*good, good[0]], tuple(good[:1]), iter(good[:1]), {id(g): g for g in good[:1]}.values()):
        with refused("2 gradients", unchanged=[opt, *good], kind=ValueError):
            opt.step(given(bad))
    for bad in (good[0], None, 3, "gradients", {"a": good[0], "b": good[1]}, np.float32(1), good[0].view(Subclass)):
        with refused("gradients", type(bad).__name__, unchanged=[opt, *good], kind=TypeError):
            opt.step(given(bad))
    goes_on(opt, twin)
    single = row.make(floats())
    for bad in ([floats()], (floats(),), None):
        with refused("gradient ", type(bad).__name__, unchanged=[single], kind=TypeError):
            single.step(given(bad))


def test_zero_grads_needs_writable_gradients() -> None:
    for row in ROWS.values():
        opt = row.make([floats(), floats(7)])
        grads = grads_for(opt)
        for bad in (read_only(floats(7)), read_only(floats(14))[::2], np.broadcast_to(np.float32(1), 7)):
            with refused("gradient 1 is read-only", unchanged=[opt, *grads, bad], kind=ValueError):
                opt.step(given([grads[0], bad]), zero_grads=True)
            opt.step(given([grads[0], bad]))


def test_what_a_gradient_may_be() -> None:
    """A gradient may be non-contiguous, in the other order, read-only or one repeated element: same bits as a copy."""
    kinds = [make for make, _, _ in NEVER_WRITTEN.values()]
    kinds += [lambda: np.asfortranarray(floats()), lambda: floats(4, 3).T, lambda: floats(6, 8)[::2, ::-2]]
    for row in ROWS.values():
        for make in kinds:
            a, b = row.make(floats()), row.make(floats())
            a.step(given(make()))
            b.step(given(np.array(make(), order="C")))
            assert contents(a) == contents(b)


def test_every_overlap_of_gradient_and_parameter() -> None:
    """Parameters at words 4-7 and 12-15 of a block, the gradient at every place: refused if and only if they
    overlap."""
    for options in ({}, {"zero_grads": True}):
        block = floats(24)
        params = [block[4:8], block[12:16]]
        opt = fastopt.Momentum(params)
        other = floats(4)
        for start in range(21):
            g = block[start : start + 4]
            hits = [i for i, p in enumerate((4, 12)) if abs(start - p) < 4]
            for place in (0, 1):
                grads = [other, g] if place else [g, other]
                if hits:
                    message = f"gradient {place} overlaps parameter {hits[0]}"
                    with refused(message, unchanged=[opt, block, other], kind=ValueError):
                        opt.step(grads, **options)
                else:
                    opt.step(grads, **options)


@rows
def test_overlap_of_gradient_and_state(row: Row) -> None:
    opt = row.make([floats(), floats()])
    opt.step(given(grads_for(opt)))
    twin = copy.deepcopy(opt)
    for i, state in enumerate(opt.state):
        for name in state.keys() - {"step"}:
            for g in (state[name], state[name].T.copy().T, state[name][::-1]):
                grads = [floats(), g]
                if not np.shares_memory(g, state[name]):
                    continue
                with refused(f"gradient 1 overlaps {name} {i}", unchanged=[opt, grads[0]], kind=ValueError):
                    opt.step(given(grads))
    goes_on(opt, twin)


def test_strided_gradient_may_not_touch_a_parameter() -> None:
    block = floats(40)
    opt = fastopt.SGD([block[:4], block[20:24]])
    for g, owner in [(block[3::5][:4], 0), (block[23::4][:4], 1), (block[:20:5], 0), (block[3::-1], 0)]:
        with refused(f"gradient 1 overlaps parameter {owner}", unchanged=[opt, block], kind=ValueError):
            opt.step([floats(4), g])
    opt.step([floats(4), block[24:40:4]])


def test_overlap_of_parameters() -> None:
    block = floats(32)
    for row in ROWS.values():
        for i, j, message in [
            (0, 0, "parameter 1 overlaps parameter 0"),
            (0, 3, "parameter 1 overlaps parameter 0"),
            (3, 0, "parameter 0 overlaps parameter 1"),
        ]:
            with refused(message, unchanged=[block], kind=ValueError):
                row.make([block[i : i + 4], block[j : j + 4]])
        with refused("overlaps", "parameter 2", "parameter 0", unchanged=[block], kind=ValueError):
            row.make([block[:16], block[20:24], block[6:8]])
        with refused("parameter 2 overlaps parameter 0", unchanged=[block], kind=ValueError):
            row.make([{"params": block[:4]}, {"params": [block[8:], block[3:4]]}])
        row.make(
            [block[:4], block[4:8], block[2:2], block[8:]]
        )  # adjacent parameters, and an empty one inside another, are allowed
        opt = row.make([block[:4]])
        with refused("parameter 1 overlaps parameter 0", unchanged=[opt, block], kind=ValueError):
            opt.add_param_group({"params": block[3:8]})
        for name in opt.state[0].keys() - {"step"}:
            with refused("parameter 1", "overlap", name, unchanged=[opt, block], kind=ValueError):
                opt.add_param_group({"params": opt.state[0][name]})


def test_gradients_may_overlap_unless_they_are_zeroed() -> None:
    block = floats(16)
    left, right = block[:4], block[3:7]
    for first, second in [(left, left), (left, right), (right, left), (block, right)]:
        for k in range(2):  # twice: the checks of a step must not be skipped in the next one
            opt = fastopt.Momentum([np.ones_like(first), np.ones_like(second), floats(3)])
            grads = [first, second, floats(3)]
            opt.step(grads)
            if k:
                opt.step([first.copy(), second.copy(), floats(3)], zero_grads=True)
            with refused("overlaps gradient", unchanged=[opt, block], kind=ValueError):
                opt.step(grads, zero_grads=True)
            with refused("overlaps gradient", unchanged=[opt, block], kind=ValueError):
                opt.step(grads, zero_grads=True)
            opt.step(grads)
    opt = fastopt.SGD([floats(4), floats(0), floats(4)])
    opt.step([block[:4], block[2:2], block[4:8]], zero_grads=True)
    assert not block[:8].any()


def test_interleaved_gradients_do_not_overlap() -> None:
    grid = floats(4, 2)
    opt = fastopt.SGD([np.ones(4, np.float32), np.ones(4, np.float32)])
    opt.step([grid[:, 0], grid[:, 1]], zero_grads=True)
    assert not grid.any()
