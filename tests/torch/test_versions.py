"""Autograd notices what a step has written: the versions of these tensors are counted up."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch

import fastopt.torch as ours
from tests.support.torch_rows import FULL, NAMES, parameters, stepped

ALL = {**{name: FULL[name] for name in NAMES}, "NAG": {"momentum": 0.5, "weight_decay": 0.1}}


def _versions(opt: Any, params: list[Any]) -> dict[tuple[int, str], int]:
    """Of every parameter, its gradient, states and step count, none of which is replaced between two calls."""
    named = [(i, {"parameter": p, "gradient": p.grad, **opt.state[p]}) for i, p in enumerate(params)]
    return {(i, name): x._version for i, tensors in named for name, x in tensors.items()}


def _ready(name: str, dtype: torch.dtype = torch.float32) -> tuple[Any, list[Any]]:
    """An optimizer after two steps, whose parameters have gradients. One has gaps, except for NAG, which refuses it."""
    params = parameters(dtype=dtype)
    if name != "NAG":
        params.append(torch.nn.Parameter(torch.randn(6, 8).to(dtype)[:, ::2]))
    opt = getattr(ours, name)(params, **ALL[name])
    for _ in range(2):
        with opt.lookahead() if name == "NAG" else torch.enable_grad():
            for p in params:
                p.grad = torch.ones_like(p)
        opt.step()
    return opt, params


@pytest.mark.parametrize("how", ["again", "first", "skipped"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_step_counts_up_the_versions_of_what_it_writes(name: str, dtype: torch.dtype, how: str) -> None:
    """how: with tensors known from the last step, with tensors read anew, or with a step that is skipped."""
    opt, params = _ready(name, dtype)
    if how == "first":
        del opt.__dict__["_tensor_step"]
    if how == "skipped":
        params[5].grad.fill_(torch.inf)
    before = _versions(opt, params)
    opt.step(skip_nonfinite=how == "skipped")
    after = _versions(opt, params)
    written = {key for key in before if key[1] != "gradient" and how != "skipped"}
    assert {key for key in before if after[key] > before[key]} == written


def test_states_of_other_layouts_count_up_too() -> None:
    """A state that is converted is another tensor afterwards; the step count may be of any type."""
    p = torch.nn.Parameter(torch.randn(4, 6).t())
    opt = ours.Adam([p])
    p.grad = torch.ones(6, 4)
    opt.step()
    opt.state[p].update(exp_avg=torch.zeros(6, 4), step=torch.tensor(3))
    opt.step()
    before = _versions(opt, [p])
    opt.step()
    assert [name for (_, name), version in _versions(opt, [p]).items() if version == before[0, name]] == ["gradient"]


def test_a_lookahead_counts_up_the_parameters_only() -> None:
    opt, params = _ready("NAG")
    before = _versions(opt, params)
    with opt.lookahead():
        inside = _versions(opt, params)
    after = _versions(opt, params)
    for key in before:
        moved = key[1] == "parameter"
        assert (inside[key] > before[key]) == (after[key] > inside[key]) == moved, key
    opt.step()
    assert all(version > after[key] for key, version in _versions(opt, params).items() if key[1] != "gradient")


def test_a_step_in_backward_counts_up_states() -> None:
    p = torch.nn.Parameter(torch.ones(4))
    opt = ours.Adam([p])
    ours.step_in_backward(opt)
    for _ in range(2):
        p.sum().backward()
        opt.step()
    before = {name: x._version for name, x in opt.state[p].items()}
    p.sum().backward()
    assert all(x._version > before[name] for name, x in opt.state[p].items())


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_that_saved_a_state_is_refused_after_a_step(name: str) -> None:
    params = [torch.nn.Parameter(torch.ones(4))]
    opt = getattr(ours, name)(params, **ALL[name])
    stepped(opt, params)
    for key, state in opt.state[params[0]].items():
        if not state.is_floating_point():
            continue
        x = torch.ones_like(state, requires_grad=True)
        loss = (x * state).sum()
        stepped(opt, params)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
        assert state._version > 0, key
