"""Scalars at both ends of float32's range against the reference, new states that overflow, the warning of an ε inside
the root, and the recorded bits of every rule and kernel."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt
from tests.support import ROOT
from tests.support.reference import step as reference_step
from tests.support.rows import (
    ROWS,
    Array,
    Row,
    Tensor,
    assert_right,
    assert_within,
    contents,
    expected_step,
    given,
    in_training,
    numbers,
    variants,
)

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
FACTORS = {"momentum", "alpha", "rho", "betas"}
NEAR_ONE = [*(1 - 2.0**-k for k in (7, 9, 10, 11, 14, 20, 24, 30, 52)), 1 - 1e-13]

#: hyper-parameter -> values at both ends of its range, and between. The smallest lr and clip_value are larger than
#: float32's smallest number: otherwise their products with g underflow, whatever the scalar is.
ENDS: Mapping[str, list[float]] = {
    **{name: [0.0, SMALLEST, 1e-20, *NEAR_ONE] for name in ("momentum", "alpha", "rho")},
    "dampening": [0.0, SMALLEST, 1 - 2.0**-52, 1.0],
    "lr": [0.0, 1e-28, 1e30],
    "eps": [SMALLEST, 1e-30, 1e30, LARGEST],
    "eps_root": [0.0, SMALLEST, 1e30, LARGEST],
    "lr_decay": [0.0, 1e-300, 1e30],
    "weight_decay": [0.0, SMALLEST, 1e-20, 1e12],
    "l1": [0.0, SMALLEST, 1e12],
    "clip_value": [1e-28, LARGEST],
}


def ends(row: Row) -> list[dict[str, Any]]:
    """For each hyper-parameter that is a number, its values at the ends."""
    h = row.hyper()
    found = [{name: x} for name in h if name in ENDS for x in ENDS[name] if row.keeps({name: x})]
    found += [{"betas": pair} for b in NEAR_ONE if "betas" in h for pair in ((b, 0.99), (0.9, b), (b, b))]
    return found + [{"weight_decay": 10.0**-k, "lr": 1e-3, "decoupled": True} for k in (1, 4, 8, 30)]


@rows
@pytest.mark.filterwarnings("ignore:eps=")
@pytest.mark.parametrize("t", [1, 7])
def test_scalars_at_both_ends_of_their_ranges(row: Row, t: int) -> None:
    for k, values in enumerate(ends(row)):
        x = in_training(row, {}, np.random.default_rng([k, t]), 65, t)
        y = x.copy()
        row.update(values, [y], t)
        assert_right(row, y, expected_step(row, row.hyper(**values), x, t), f"{values}, t={t}")


@pytest.mark.parametrize(
    "row", [row for row in ROWS.values() if FACTORS & row.hyper().keys()], ids=lambda row: row.rule
)
@pytest.mark.parametrize("distance", [2.0**-11 + 0.49 * 2.0**-24, 2.0**-14 + 0.49 * 2.0**-24])
def test_averages_over_many_steps_when_beta_is_near_one(row: Row, distance: float) -> None:
    """A β that was rounded to float32 would be forgotten at another rate, and the error would grow with each step."""
    names = sorted(FACTORS & row.hyper().keys())
    values: dict[str, Any] = {n: (1 - distance,) * 2 if n == "betas" else 1 - distance for n in names}
    rng = np.random.default_rng(0)
    x = Tensor(numbers(rng, 8), numbers(rng, 8, -0.5, 0.5), tuple(numbers(rng, 8, 1.0, 2.0) for _ in row.names()[1:]))
    x = Tensor(x.w, np.abs(x.g), tuple(np.abs(s) for s in x.states))
    old: Any = tuple(s.astype(float) for s in x.states)
    here, h, exact = old, row.hyper(**values), [x.w.astype(float)]
    for t in range(1, 2001):
        row.update(values, [x], t)
        (w,), (here,), _ = reference_step(row.rule, exact, [x.g.astype(float)], [here], t, h, norm=0.0)
        exact = [w]
    for name, a, b, before in zip(row.names()[1:], x.states, here, old, strict=True):
        assert_within(a, b, np.abs(a - b) / np.maximum(np.abs(b), before), 1e-5, f"{row.rule}, {values}, {name}")


@rows
def test_a_decoupled_decay_below_half_an_ulp_is_not_lost(row: Row) -> None:
    """Each step takes 1e-8·w away, a sixth of the least ulp of w; the update makes the rounding go both ways."""
    rng = np.random.default_rng(0)
    start, gs = rng.uniform(1, 2, 4000).astype(np.float32), rng.normal(size=(200, 4000)).astype(np.float32)
    mean = []
    for decay in (0.0, 1e-4):
        opt = row.make(start.copy(), lr=1e-4, weight_decay=decay, decoupled=True)
        for g in gs:
            opt.step(given(g))
        mean.append(opt.param_groups[0]["params"][0].mean(dtype=float))
    assert mean[1] - mean[0] == pytest.approx(-200 * 1e-8 * start.mean(dtype=float), rel=0.3)


def test_a_scale_beyond_float32_is_formed_in_double() -> None:
    for scale, max_norm, size in [(1e-40, None, 3e35), (1e-30, 1e-20, 1e30), (1.0, 1e-12, 3e38), (-2e-44, None, 3e38)]:
        w, g = np.zeros(300, np.float32), np.full(300, size, np.float32)
        norm = abs(scale) * float(g[0]) * 300**0.5
        fastopt.SGD(w, lr=1.0).step(g, grad_scale=scale, max_norm=max_norm)
        want = -scale * float(g[0]) * (1.0 if max_norm is None or norm <= max_norm else max_norm / norm)
        np.testing.assert_allclose(w, want, rtol=2e-7)


@rows
def test_large_finite_gradients(row: Row) -> None:
    """From 1e19 to 5e20 g² overflows or not, by the order of (1 − β)·g·g."""
    for label, values in variants(row):
        x = in_training(row, values, np.random.default_rng(0), 33, 3)
        x.g = np.geomspace(1e19, 1.2e19, 33).astype(np.float32)
        y = x.copy()
        row.update(values, [y], 3)
        assert_right(row, y, expected_step(row, row.hyper(**values), x, 3), f"{label}, gradients of 1e19")
        for size in (1e20, 5e20, 1e25, 3e38):
            w = np.ones(4000, np.float32)
            opt = row.make([w], **values, skip_nonfinite=True)
            opt.step(given([np.ones_like(w)]))
            before = contents(opt)
            g = np.ones_like(w)
            g[3000] = size
            assert np.isfinite(opt.step(given([g])) or np.nan)
            arrays = [w, *(s for name, s in opt.state[0].items() if name != "step")]
            assert all(np.isfinite(a).all() for a in arrays), (row.rule, label, size)
            assert opt.skipped == 0 or contents(opt)[:3] == before[:3], (row.rule, label, size)
            trial = Tensor(np.ones(1, np.float32), np.full(1, size, np.float32), ())
            trial.states = tuple(np.zeros(1, np.float32) for _ in row.names()[1:])
            row.update(values, [trial], 1)
            if opt.skipped == 0 and "clip_value" not in values:
                assert all(np.isfinite(s).all() for s in trial.states), (row.rule, label, size)


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "RMSprop", "Adagrad"])
def test_an_eps_inside_the_root_that_belongs_outside_is_warned_of_once(kind: str) -> None:
    cls, match = getattr(fastopt, kind), r"eps\*\*2.*eps_in_sqrt=False"
    w = np.ones(3, np.float32)
    with pytest.warns(UserWarning, match=match) as seen:
        opt = cls([w], eps=1e-8)
    assert len(seen) == 1
    assert Path(seen[0].filename).name == "test_scalars.py"
    with pytest.warns(UserWarning, match=match) as seen:
        opt.add_param_group({"params": [w.copy()], "eps": 1e-12})
    assert len(seen) == 1
    with pytest.warns(UserWarning, match=match):
        opt.param_groups[0]["eps"] = 1e-7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for values in ({}, {"eps": 9e-13}, {"eps": 1e-8, "eps_in_sqrt": False}, {"eps": 1e-8, "eps_in_sqrt": True}):
            other = cls([w.copy(), w.copy()], **values)
        other = cls([w.copy()])
        other.add_param_group({"params": [w.copy()]})
        other.load_state_dict(opt.state_dict())
        cls(w, convention="keras", eps=1e-7)
        fastopt.Adadelta(w, eps=1e-6)


@pytest.mark.parametrize("rule", [rule for rule, row in ROWS.items() if "eps_in_sqrt" in row.hyper()])
def test_functional_warns_of_an_eps_inside_the_root(rule: str) -> None:
    for _ in range(2):
        x = Tensor(np.ones(3, np.float32), np.ones(3, np.float32), tuple(np.zeros((4, 3), np.float32)))
        x.states = x.states[: len(ROWS[rule].names()) - 1]
        with pytest.warns(UserWarning, match=r"eps\*\*2.*eps_in_sqrt=False"):
            ROWS[rule].update({"eps": 1e-8}, [x], 1)


def test_the_last_step_that_can_be_counted() -> None:
    """What a step counts, state_dict writes and load_state_dict reads."""
    for row in ROWS.values():
        opt = row.make([np.ones(2, np.float32)])
        opt.param_groups[0].clock.steps = 2**53 - 1
        opt.step(given([np.ones(2, np.float32)]))
        opt.load_state_dict(opt.state_dict())
        before = contents(opt)
        with pytest.raises(ValueError, match=r"2\*\*53"):
            opt.step(given([np.ones(2, np.float32)]))
        assert contents(opt) == before


def test_an_infinite_norm_clips_as_torch_does() -> None:
    torch = pytest.importorskip("torch")
    for bad in (np.inf, -np.inf, np.nan):
        g: Array = np.array([bad, 1.0, -2.0], np.float32)
        p = torch.nn.Parameter(torch.zeros(3))
        p.grad = torch.from_numpy(g.copy())
        torch.nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=False)
        w = np.zeros(3, np.float32)
        fastopt.SGD(w, lr=1.0).step(g, max_norm=1.0)
        np.testing.assert_array_equal(-w, p.grad.numpy())


@pytest.mark.skipif(sys.platform == "win32" or shutil.which("gcc") is None, reason="needs gcc")
def test_every_rule_and_kernel_has_its_recorded_bits(tmp_path: Path) -> None:
    """The long check, python -m tools bits, does this for all compilers, instruction sets and numbers of threads."""
    if not (ROOT / "tools" / "bits.py").exists():
        pytest.skip("not here: the tests were not run from a source tree")
    from tools.bits import RECORD, Build, compiled
    from tools.shell import run

    isa = fastopt._native.runtime.available_isas()[-1]
    text = run(compiled(Build("gcc", ("-O1",)), tmp_path), isa, "1")
    assert text.splitlines() == RECORD.read_text(encoding="utf-8").splitlines()
