"""The step: many tensors and groups at once, norms, clipping, scaling, zeroing, skipping, schedules, fork.

The rules themselves are test_rules.py's; here every row goes through its class.
"""

from __future__ import annotations

import gc
import math
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastopt
from fastopt._native import runtime
from tests.support import reference
from tests.support.rows import (
    ROWS,
    TILE,
    Array,
    Row,
    Tensor,
    assert_right,
    assert_same_bits,
    core,
    expected_step,
    in_training,
    numbers,
    settings,
    variants,
)

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)

#: 0-d, empty, below a vector, beside a tile, more tiles than threads, in no order of size.
SHAPES = [(), (0,), (5,), (TILE + 1,), (2, 0, 3), (1,), (3, 7), (4 * TILE - 1,), (), (2, 2, 2, 2), (TILE,), (33,)]


def tensors(seed: int, shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [numbers(rng, math.prod(s), -3.0, 1.0).reshape(s) for s in shapes]


def copies(arrays: Sequence[Array]) -> list[Array]:
    return [a.copy() for a in arrays]


def everything(opt: Any) -> list[Array]:
    """All that a step may write: parameters, then states."""
    params = [p for group in opt.param_groups for p in group["params"]]
    return [*params, *(v for state in opt.state for name, v in state.items() if name != "step")]


def step(opt: Any, grads: Any, **options: Any) -> float | None:
    """One step, the gradients taken wherever the optimizer wants them."""
    return opt.step(lambda: grads, **options)  # type: ignore[no-any-return]


def assert_same_optimizers(a: Any, b: Any, label: str) -> None:
    for i, (x, y) in enumerate(zip(everything(a), everything(b), strict=True)):
        assert_same_bits(x, y, f"{label}, buffer {i}")
    assert [s["step"] for s in a.state] == [s["step"] for s in b.state], label


def last_variant(row: Row) -> dict[str, Any]:
    """All numbers away from their defaults."""
    *_, (_, values) = variants(row)
    return values


@rows
def test_many_tensors_in_one_step_as_one_at_a_time(row: Row) -> None:
    values, ws = last_variant(row), tensors(0)
    alone = [row.make([w], **values) for w in copies(ws)]
    with core(threads=1):
        for k in range(3):
            for opt, g in zip(alone, tensors(k + 1), strict=True):
                step(opt, [g])
    for setting in settings():
        opt = row.make(copies(ws), **values)
        with core(**setting):
            for k in range(3):
                step(opt, tensors(k + 1))
        states = iter(opt.state)
        for i, (single, w, state) in enumerate(zip(alone, opt.param_groups[0]["params"], states, strict=True)):
            label = f"{row.rule}, {setting}, tensor {i} of shape {w.shape}"
            assert_same_bits(w, everything(single)[0], label)
            for name, mine in single.state[0].items():
                if name != "step":
                    assert_same_bits(state[name], mine, f"{label}, {name}")


@rows
def test_groups_keep_their_own_hyper_parameters(row: Row) -> None:
    """Each variant a group, all in one step: as the same groups in optimizers of their own."""
    shapes = [(TILE + 3,), (), (17,)]
    chosen = [values for _, values in variants(row) if "convention" not in values]
    apart = [row.make(tensors(k, shapes), **values) for k, values in enumerate(chosen)]
    grads = [[tensors(100 * t + k, shapes) for k in range(len(chosen))] for t in range(3)]
    for gs in grads:
        for opt, g in zip(apart, gs, strict=True):
            step(opt, g)
    for setting in settings():
        together = row.make([{"params": tensors(k, shapes), **values} for k, values in enumerate(chosen)])
        with core(**setting):
            for gs in grads:
                step(together, [g for group in gs for g in group])
        for k, opt in enumerate(apart):
            mine = together.param_groups[k]["params"]
            for i, (a, b) in enumerate(zip(mine, everything(opt), strict=False)):
                assert_same_bits(a, b, f"{row.rule}, group {k} {chosen[k]}, {setting}, tensor {i}")
        states = [s for opt in apart for s in opt.state]
        for i, (a, b) in enumerate(zip(together.state, states, strict=True)):
            for name in a.keys() - {"step"}:
                assert_same_bits(a[name], b[name], f"{row.rule}, {setting}, {name} of tensor {i}")


def test_groups_of_one_class_may_have_different_rules() -> None:
    for cls in {row.cls for row in ROWS.values()}:
        mine = [row for row in ROWS.values() if row.cls is cls and row.rule != "nag"]  # NAG: one form for all groups
        apart = [row.make([tensors(k)[3]]) for k, row in enumerate(mine)]
        together = cls([{"params": [tensors(k)[3]], **row.chosen} for k, row in enumerate(mine)])
        for t in range(3):
            gs = [tensors(10 + 10 * t + k)[3] for k in range(len(mine))]
            step(together, gs)
            for opt, g in zip(apart, gs, strict=True):
                step(opt, [g])
        for k, opt in enumerate(apart):
            for name, a in together.state[k].items():
                assert name == "step" or np.array_equal(a, opt.state[0][name]), (mine[k].rule, name)
            assert_same_bits(together.param_groups[k]["params"][0], everything(opt)[0], mine[k].rule)


def exact_norm(grads: Sequence[Array]) -> float:
    return math.sqrt(math.fsum(float(x) ** 2 for g in grads for x in g.ravel()))


@pytest.mark.parametrize(
    ("low", "high"),
    [(-3.0, 1.0), (-30.0, -20.0), (20.0, 38.0), (-44.0, -38.0)],
    ids=["usual", "tiny", "huge", "subnormal"],
)
def test_norm_is_that_of_float64_and_the_same_bits_everywhere(low: float, high: float) -> None:
    rng = np.random.default_rng(0)
    grads = [numbers(rng, math.prod(s), low, high).reshape(s) for s in SHAPES]
    opt = fastopt.SGD(tensors(0), lr=0.0)
    norms = set()
    for setting in settings():
        with core(**setting):
            norms.add(opt.step(grads, max_norm=1.0))
    (norm,) = norms
    assert norm == pytest.approx(exact_norm(grads), rel=1e-12, abs=0.0)


def test_norm_does_not_depend_on_alignment_or_on_the_groups() -> None:
    ws, grads = tensors(0), tensors(1)
    norm = fastopt.SGD(ws).step(grads, max_norm=1.0)
    for offset in range(1, 4):
        moved = []
        for g in grads:
            room = np.zeros(g.size + 8, np.float32)[offset : offset + g.size]
            room[:] = g.ravel()
            moved.append(room.reshape(g.shape))
        assert fastopt.SGD(copies(ws)).step(moved, max_norm=1.0) == norm
    opt = fastopt.SGD([{"params": copies(ws)[:4]}, {"params": copies(ws)[4:], "lr": 1.0}])
    assert opt.step(grads, max_norm=1.0) == norm


def test_no_norm_unless_asked_and_zero_for_nothing() -> None:
    opt = fastopt.SGD(tensors(0))
    assert opt.step(tensors(1)) is None
    assert opt.step([np.zeros_like(g) for g in tensors(1)], max_norm=1.0) == 0.0
    nothing = fastopt.SGD([np.zeros(0, np.float32)])
    assert nothing.step([np.zeros(0, np.float32)], max_norm=1.0) == 0.0


@rows
def test_clipping_and_scaling_against_the_reference(row: Row) -> None:
    """max_norm and grad_scale with every other part of the prelude on: all in the reference's order."""
    values, t = last_variant(row), 3
    xs = [in_training(row, values, np.random.default_rng(k), n, t) for k, n in enumerate((1, 20, TILE + 7))]
    limit = exact_norm([x.g for x in xs])
    for max_norm, grad_scale in [
        (0.3 * limit, 1.0),
        (2 * limit, 1.0),
        (0.1 * limit, 0.25),
        (0.5 * limit, 3.0),
        (0.0, 1.0),
    ]:
        ys = [x.copy() for x in xs]
        got = row.update(values, ys, t, max_norm=max_norm, grad_scale=grad_scale)
        norm = reference.global_norm([x.g for x in xs], grad_scale)
        assert got == pytest.approx(norm, rel=1e-12, abs=0.0)
        for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
            label = f"max_norm {max_norm:g}, grad_scale {grad_scale}, tensor {i}"
            options = {"max_norm": max_norm, "grad_scale": grad_scale, "norm": norm}
            assert_right(row, y, expected_step(row, row.hyper(**values), x, t, **options), label)


@rows
def test_scaling_and_clipping_are_one_factor_formed_in_double(row: Row) -> None:
    grads = tensors(1)
    exact = exact_norm(grads)
    for grad_scale in (1.0, 0.1, -0.3, 1e-20, 3e20):
        limit = 0.37 * abs(grad_scale) * exact
        a, b = (row.make(tensors(0), **last_variant(row)) for _ in range(2))
        norm = step(a, grads, max_norm=limit, grad_scale=grad_scale)
        assert norm == pytest.approx(abs(grad_scale) * exact, rel=1e-12, abs=0.0)
        step(b, grads, grad_scale=grad_scale * (limit / norm))
        assert_same_optimizers(a, b, f"{row.rule}, clipped against scaled, grad_scale {grad_scale}")


def test_a_norm_equal_to_max_norm_is_not_clipped() -> None:
    a, b = fastopt.SGD(tensors(0)), fastopt.SGD(tensors(0))
    norm = fastopt.SGD(tensors(0)).step(tensors(1), max_norm=1.0)
    assert a.step(tensors(1), max_norm=norm) == norm
    b.step(tensors(1))
    assert_same_optimizers(a, b, "norm equal to max_norm")


def test_norm_is_taken_after_grad_scale_and_before_clip_value() -> None:
    grads = tensors(1)
    for kw in ({}, {"clip_value": 0.01}, {"maximize": True}, {"weight_decay": 0.5, "l1": 0.5}):
        opt = fastopt.SGD(tensors(0), **kw)
        assert opt.step(grads, max_norm=1.0, grad_scale=-0.5) == pytest.approx(0.5 * exact_norm(grads), rel=1e-12)


def test_a_norm_that_is_not_finite() -> None:
    for bad, expected in [(np.inf, np.inf), (np.nan, np.nan)]:
        w = np.ones(3, np.float32)
        norm = fastopt.SGD(w, lr=1.0).step(np.array([bad, 1.0, 0.0], np.float32), max_norm=1.0)
        np.testing.assert_equal(norm, expected)
        # ∞: the factor is 1/∞ = 0, and 0·∞ is NaN. NaN: the factor is NaN, as torch's is.
        np.testing.assert_array_equal(w, [np.nan, 1.0, 1.0] if bad == np.inf else [np.nan, np.nan, np.nan])
        w = np.ones(3, np.float32)
        fastopt.SGD(w, lr=1.0).step(np.array([bad, 1.0, 0.0], np.float32), max_norm=np.inf)  # only measures
        np.testing.assert_array_equal(w, [-bad, 0.0, 1.0])


@rows
def test_scaling_by_powers_of_two_is_exact(row: Row) -> None:
    a, b = (row.make(tensors(0), **last_variant(row)) for _ in range(2))
    for t in range(2):
        step(a, tensors(t + 1))
        step(b, [np.asarray(np.float32(1024.0) * g) for g in tensors(t + 1)], grad_scale=1 / 1024)
    assert_same_optimizers(a, b, row.rule)


@rows
@pytest.mark.parametrize("max_norm", [None, 1.0])
def test_zero_grads_changes_nothing_but_the_gradients(row: Row, max_norm: float | None) -> None:
    kept = row.make(tensors(0), **last_variant(row))
    step(kept, tensors(1), max_norm=max_norm)
    for setting in settings():
        opt, grads = row.make(tensors(0), **last_variant(row)), tensors(1)
        with core(**setting):
            step(opt, grads, max_norm=max_norm, zero_grads=True)
        assert_same_optimizers(opt, kept, f"{row.rule}, {setting}")
        for i, g in enumerate(grads):
            assert_same_bits(g, np.zeros_like(g), f"{row.rule}, {setting}, gradient {i} (+0.0)")


def test_gradients_are_read_only_without_zero_grads() -> None:
    grads = tensors(1)
    for g in grads:
        g.flags.writeable = False
    for row in ROWS.values():
        step(row.make(tensors(0)), grads, max_norm=1.0)
    for a, b in zip(grads, tensors(1), strict=True):
        assert_same_bits(a, b, "gradient")


def test_zero_grads_reaches_a_gradient_that_had_to_be_copied() -> None:
    grid = numbers(np.random.default_rng(0), 60).reshape(6, 10)
    before = grid.copy()
    w, v = np.ones((6, 5), np.float32), np.ones((6, 5), np.float32)
    fastopt.SGD(w).step(grid[:, ::2], zero_grads=True)
    fastopt.SGD(v).step(before[:, ::2].copy())
    assert_same_bits(w, v, "a strided gradient")
    assert not grid[:, ::2].any()
    assert_same_bits(grid[:, 1::2], before[:, 1::2], "what lies between")


@rows
def test_a_nonfinite_gradient_skips_the_whole_step(row: Row) -> None:
    values = last_variant(row)
    places = [(0, ()), (3, 0), (3, TILE), (7, 4 * TILE - 2), (9, (1, 1, 1, 0)), (11, 32)]
    expected = row.make(tensors(0), **values)
    for t in range(3):
        step(expected, tensors(t + 1))
    for setting in settings():
        opt = row.make(tensors(0), **values, skip_nonfinite=True)
        count = 0
        for t in range(3):
            for (tensor, where), bad in zip(places, [np.nan, np.inf, -np.inf] * 2, strict=True):
                grads = tensors(50)
                grads[tensor][where] = bad
                given, before = copies(grads), copies(everything(opt))
                with core(**setting):
                    norm = step(opt, grads, zero_grads=True)
                count += 1
                label = f"{row.rule}, {setting}, {bad} at {where} of tensor {tensor}"
                assert norm is not None, label
                assert not math.isfinite(norm), label
                assert opt.skipped == count, label
                assert {s["step"] for s in opt.state} == {t}, label
                for i, (a, b) in enumerate(zip(everything(opt), before, strict=True)):
                    assert_same_bits(a, b, f"{label}, buffer {i}")
                for i, (a, b) in enumerate(zip(grads, given, strict=True)):
                    assert_same_bits(a, b, f"{label}, gradient {i}")
            with core(**setting):
                assert math.isfinite(step(opt, tensors(t + 1)) or math.nan)
        assert_same_optimizers(opt, expected, f"{row.rule}, {setting}, after skipped steps")


def test_the_largest_gradients_are_finite() -> None:
    w = np.zeros(3 * TILE, np.float32)
    opt = fastopt.SGD(w, lr=1e-38, skip_nonfinite=True)
    g = np.full(w.size, np.finfo(np.float32).max)
    assert opt.step(g) == pytest.approx(math.sqrt(g.size) * float(g[0]), rel=1e-12)
    assert opt.skipped == 0
    assert (w < 0).all()


def test_without_skip_nonfinite_nan_goes_through() -> None:
    for row in ROWS.values():
        w, g = np.ones(20, np.float32), np.full(20, 0.5, np.float32)
        g[7] = np.nan
        opt = row.make(w)
        step(opt, g)
        assert np.flatnonzero(np.isnan(w)).tolist() == [7], row.rule
        assert opt.skipped == 0
        assert opt.state[0]["step"] == 1


@rows
def test_a_schedule_is_asked_once_per_step_counting_from_0(row: Row) -> None:
    rates = [0.1, 0.05, 0.0, 0.2]
    asked: list[int] = []

    def schedule(count: int) -> float:
        asked.append(count)
        return rates[count]

    values = {k: v for k, v in last_variant(row).items() if k != "lr"}
    a, b = row.make(tensors(0), **values, lr=schedule), row.make(tensors(0), **values, lr=1.0)
    for t, rate in enumerate(rates):
        b.param_groups[0]["lr"] = rate
        step(a, tensors(t + 1))
        step(b, tensors(t + 1))
        assert_same_optimizers(a, b, f"{row.rule}, step {t + 1}")
    assert sorted(set(asked)) == list(range(len(rates)))


def test_a_skipped_step_does_not_advance_the_schedule() -> None:
    asked: list[int] = []
    w = np.ones(2, np.float32)
    opt = fastopt.SGD(w, lr=lambda count: asked.append(count) or 0.5, skip_nonfinite=True)  # type: ignore[func-returns-value]
    for g in ([1.0, 1.0], [np.nan, 1.0], [1.0, 1.0]):
        opt.step(np.array(g, np.float32))
    assert asked[-1] == 1
    assert opt.skipped == 1
    np.testing.assert_array_equal(w, [0.0, 0.0])


@rows
def test_a_hyper_parameter_set_between_steps_counts_from_the_next_one(row: Row) -> None:
    """Against the reference, step by step, which is told the new values."""
    opt = row.make([tensors(0)[3]])
    for label, values in variants(row):
        if "convention" in values:
            continue
        opt.param_groups[0].update(values)
        t = opt.state[0]["step"] + 1
        before = Tensor(everything(opt)[0].copy(), tensors(t)[3], tuple(copies(everything(opt)[1:])))
        step(opt, [before.g])
        after = Tensor(everything(opt)[0], before.g, tuple(everything(opt)[1:]))
        assert_right(row, after, expected_step(row, opt.param_groups[0], before, t), f"step {t}, after {label}")


FORK = """
import os, sys
import numpy as np
import fastopt
from fastopt._native import _testing, runtime

def run(steps, opt):
    for k in range(steps):
        opt.step([np.full_like(w, 0.1 * (k + 1)) for w in opt.param_groups[0]["params"]], max_norm=1.0)
    return b"".join(w.tobytes() for w in opt.param_groups[0]["params"])

def make():
    rng = np.random.default_rng(0)
    return fastopt.Adam([rng.normal(size=n).astype(np.float32) for n in (100_000, 7, 33_000)])

runtime.set_num_threads(1)
expected = run(6, make())
runtime.set_num_threads(3)
_testing.set_serial_threshold(0)
opt = make()
run(3, opt)                     # the team of threads exists now, in the parent alone

def child(depth):
    for k in range(3, 6):
        opt.step([np.full_like(w, 0.1 * (k + 1)) for w in opt.param_groups[0]["params"]], max_norm=1.0)
    same = b"".join(w.tobytes() for w in opt.param_groups[0]["params"]) == expected
    if depth and same:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if run(6, make()) == expected else 4)
        same = os.waitpid(pid, 0)[1] == 0
    os._exit(0 if same else 3)

for depth in (0, 1, 0):
    pid = os.fork()
    if pid == 0:
        child(depth)
    status = os.waitpid(pid, 0)[1]
    if status:
        sys.exit(f"child: status {status}")
for k in range(3, 6):           # and the parent's team still works
    opt.step([np.full_like(w, 0.1 * (k + 1)) for w in opt.param_groups[0]["params"]], max_norm=1.0)
sys.exit(0 if b"".join(w.tobytes() for w in opt.param_groups[0]["params"]) == expected else "parent differs")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_steps_after_a_parallel_step_of_its_parent() -> None:
    """libgomp hangs when a child of fork enters it: the child must go down the serial path, to the same bits."""
    command = [sys.executable, "-c", FORK]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as parent:
        try:
            _, errors = parent.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(parent.pid, signal.SIGKILL)  # the child too
            raise
    assert parent.returncode == 0, errors


def test_optimizers_step_on_several_threads_of_python_at_once() -> None:
    """Each thread its own optimizer; the GIL is released inside a large step."""

    def run(seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        opt = fastopt.Adam([rng.normal(size=200_000).astype(np.float32)])
        for _ in range(5):
            opt.step([rng.normal(size=200_000).astype(np.float32)], max_norm=1.0)
        return bytes(opt.param_groups[0]["params"][0].tobytes())

    expected = [run(seed) for seed in range(4)]
    with core(threads=2), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == expected


def test_a_scale_that_overflows_float32_is_skipped() -> None:
    """The norm is finite in double, the scaled gradient would not be in float32."""
    w, g = np.ones(3, np.float32), np.full(3, 1e30, np.float32)
    opt = fastopt.SGD(w, skip_nonfinite=True)
    opt.step(g, grad_scale=1e20)
    assert opt.skipped == 1
    assert (w == 1).all()
    opt.step(g, grad_scale=1e20, max_norm=1.0)
    assert opt.skipped == 1
    assert (w < 1).all()
    assert np.isfinite(w).all()


MANY = 300  # tensors: their headers are fetched ahead


@pytest.mark.parametrize("at", [0, 1, 15, 16, 17, 150, MANY - 17, MANY - 16, MANY - 1])
@pytest.mark.parametrize("kind", [list, tuple])
def test_one_change_among_many_tensors_is_seen_wherever_it_stands(at: int, kind: Any) -> None:
    """A gradient elsewhere, of other strides, shape or type; a parameter that became read-only."""
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
    opt.step(kind(moved))  # and the step after it, when the table holds no address of the copy
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
    """A small step uses the caller's list as it is: a finalizer empties it before the step begins, or not in it."""
    ws = [np.ones(8, np.float32) for _ in range(2)]
    grads = [np.full(8, 2.0, np.float32) for _ in range(2)]
    opt = fastopt.SGD(ws, lr=0.5)
    opt.step(grads)  # not compared with each other: none was to be zeroed
    step, before = opt._plan.step, gc.get_threshold()
    counts, garbage = iter(range(collections, -1, -1)), list[Any]()

    def steal(phase: str, _: Any) -> None:
        if phase == "stop":
            garbage.extend([] for _ in range(100))  # so that the next container sets off the next collection
        elif next(counts, None) == 0:
            grads.clear()
            garbage.extend(np.full(8, 1e6, np.float32) for _ in range(8))  # in the memory that became free

    gc.collect()
    gc.callbacks.append(steal)
    gc.set_threshold(1)
    try:
        step(grads, 1.0, None, False, True)
    except ValueError:
        expected = 0.0  # the list was empty when the step began
    else:
        expected = -1.0
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(steal)
    for w in ws:
        np.testing.assert_array_equal(w, np.float32(expected))


def test_what_changed_in_place_since_the_last_step_is_seen() -> None:
    """The same object at the same address: of another type, byte order, shape or strides, or read-only."""
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


def test_arrays_whose_dtype_is_an_object_of_its_own_are_the_same_to_a_step() -> None:
    """Unpickled arrays have one; and it may go away while the optimizer lives."""
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
    """Its first elements up to a line are a call of their own; every element is updated once, nothing around it."""
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
