"""A step of many tensors and groups, schedules, fork and Python threads.

The rules themselves are tested in test_rules.py; here every row goes through its class."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastopt
from tests.support import environment
from tests.support.rows import (
    ROWS,
    TILE,
    Row,
    Tensor,
    assert_right,
    assert_same_bits,
    core,
    expected_step,
    settings,
    variants,
)
from tests.support.stepping import assert_same_optimizers, copies, everything, last_variant, step, tensors

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


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
    """Groups with different values in one step give the same bits as separate optimizers."""
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
        mine = [
            row for row in ROWS.values() if row.cls is cls and row.rule != "nag"
        ]  # NAG's groups must all have the same form
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


def test_a_schedule_may_set_hyper_parameters_of_every_group() -> None:
    """They count for the step whose learning rate the schedule returns, and the step is taken once."""

    def schedule(count: int) -> float:
        for group in scheduled.param_groups:
            group["momentum"] = 0.5 + 0.1 * count
        return 0.1

    def groups(lr: object) -> list[dict[str, object]]:
        return [{"params": [w], "lr": lr} for w in tensors(0)[-2:]]

    scheduled, constant = fastopt.Momentum(groups(schedule)), fastopt.Momentum(groups(0.1))
    for t in range(3):
        for group in constant.param_groups:
            group["momentum"] = 0.5 + 0.1 * t
        constant.step(tensors(t + 1)[-2:])
        scheduled.step(tensors(t + 1)[-2:])
        assert_same_optimizers(scheduled, constant, f"step {t + 1}")


def test_a_schedule_that_replaces_itself_is_asked_for_that_step_and_no_more() -> None:
    w = np.zeros(1, np.float32)

    def schedule(count: int) -> float:
        opt.param_groups[0]["lr"] = 4.0
        return 1.0

    opt = fastopt.SGD(w, lr=schedule)
    for _ in range(2):
        opt.step(np.ones(1, np.float32))
    assert w[0] == -5.0


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
    """Every step is compared with the reference, which gets the new values."""
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
    """libgomp hangs in a child of fork, so the child must use the serial path, with the same bits."""
    command = [sys.executable, "-c", FORK]
    with subprocess.Popen(
        command, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        try:
            _, errors = parent.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(parent.pid, signal.SIGKILL)  # its child, too
            raise
    assert parent.returncode == 0, errors


def test_optimizers_step_on_several_threads_of_python_at_once() -> None:
    """Each thread has its own optimizer; a large step releases the GIL."""

    def run(seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        opt = fastopt.Adam([rng.normal(size=200_000).astype(np.float32)])
        for _ in range(5):
            opt.step([rng.normal(size=200_000).astype(np.float32)], max_norm=1.0)
        return bytes(opt.param_groups[0]["params"][0].tobytes())

    expected = [run(seed) for seed in range(4)]
    with core(threads=2), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == expected
