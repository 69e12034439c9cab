"""Ctrl-C and a failed allocation in each public call; `python -m tools interruptions` takes all."""

from __future__ import annotations

import gc
import importlib.util
import warnings
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt.regularization import perturbed
from tests.support.interrupted_calls import CALLS, Call, faults
from tests.support.interrupts import WAYS

ALL = {
    name: call
    for suite, calls in CALLS.items()
    if suite != "torch" or importlib.util.find_spec("torch")
    for name, call in calls()
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", ALL.values(), ids=ALL)
def test_an_interrupted_call_leaves_everything_as_before_or_as_after(call: Call, way: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hits, found = faults(call, way)
    assert not found
    assert hits > 0 or way == "allocation"


def block_of(kind: str) -> tuple[Any, Any, list[Any]]:
    """What holds a block, the block, and its parameters."""
    if kind == "torch":
        torch = pytest.importorskip("torch")
        nag = pytest.importorskip("fastopt.torch").NAG
        p = torch.nn.Parameter(torch.ones(5))
        opt = nag([p], lr=0.1)
        opt.step(lambda: setattr(p, "grad", torch.ones(5)))
        return opt, opt.lookahead(), [p.detach().numpy()]
    params = [np.ones(5, np.float32), np.ones((2, 3), np.float32)]
    if kind == "perturbed":
        return params, perturbed(params, 0.1, rng=0), params
    opt = fastopt.NAG(params, lr=0.1)
    opt.step(lambda: [np.ones_like(p) for p in params])
    return opt, opt.lookahead(), params


@pytest.mark.parametrize("kind", ["nag", "torch", "perturbed"])
@pytest.mark.parametrize("cycle", [False, True])
def test_an_open_block_is_undone_when_its_last_reference_goes(kind: str, cycle: bool) -> None:
    owner, block, params = block_of(kind)
    before = [p.copy() for p in params]
    block.__enter__()
    assert any((p != q).any() for p, q in zip(params, before, strict=True))
    held = [owner, block]
    if cycle:
        held.append(held)
    del owner, block, held
    gc.collect()
    assert all((p == q).all() for p, q in zip(params, before, strict=True))


def test_a_group_is_added_behind_others_wherever_its_memory_is() -> None:
    """The intervals of memory stay sorted: every overlap with an earlier group is found."""
    memory = np.zeros((40, 16), np.float32)
    order = np.random.default_rng(0).permutation(20) * 2
    opt = fastopt.Adam(memory[order[0]])
    for i in order[1:]:
        opt.add_param_group({"params": memory[i]})
    for i in order:
        with pytest.raises(ValueError, match="overlaps"):
            opt.add_param_group({"params": memory[i, 8:]})
    opt.add_param_group({"params": memory[1]})
    assert len(opt.param_groups) == 21
    opt.step([np.ones(16, np.float32)] * 21, max_norm=1.0)
    assert (memory[order] != 0).all()
    assert (memory[1] != 0).all()


def test_a_gradient_that_a_new_group_overlaps_is_refused() -> None:
    w, g = np.zeros(4, np.float32), np.ones(4, np.float32)
    opt = fastopt.SGD([w])
    opt.step([g])
    opt.add_param_group({"params": g})
    with pytest.raises(ValueError, match="overlaps"):
        opt.step([g, np.ones(4, np.float32)])
