"""Checkpoints: exchanged with torch.optim, copied, loaded from old versions, and refused when they are wrong."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch

import fastopt.torch as ours
from tests.support.torch_rows import (
    FULL,
    NAMES,
    assert_same,
    equal,
    gradients,
    pair,
    parameters,
    saved,
    stepped,
    walk,
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["ours to torch", "torch to ours", "ours to ours"])
def test_checkpoints_interchange(name: str, way: str) -> None:
    """Train, save, load on the other side, go on: as if nothing had happened."""
    a, b, mine, peers = pair(name, **FULL[name])
    walk(a, b, mine, peers, 7)
    source, target = (torch.optim, ours) if way == "torch to ours" else (ours, torch.optim)
    target = ours if way == "ours to ours" else target
    opt, params = (b, peers) if source is torch.optim else (a, mine)
    new = [torch.nn.Parameter(p.detach().clone(memory_format=torch.preserve_format)) for p in params]
    other = getattr(target, name)(new)
    other.load_state_dict(saved(opt))
    assert other.param_groups[0]["lr"] == opt.param_groups[0]["lr"]
    passed = walk(other, opt, new, params, 7, seed=2)
    assert_same(new, params, passed)
    if way == "ours to ours":
        assert equal(new, params)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_copies(name: str, copied: Any) -> None:
    params = parameters()
    opt = getattr(ours, name)(params, **FULL[name])
    stepped(opt, params, 3)
    other = copied(opt)
    theirs = other.param_groups[0]["params"]
    assert theirs[2] is not params[2]
    assert equal(stepped(opt, params, 3, seed=5), stepped(other, theirs, 3, seed=5))
    assert other._step_supports_amp_scaling


@pytest.mark.parametrize("name", ["Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW"])
def test_old_states(name: str) -> None:
    """Checkpoints of old torch: step as a number, groups without today's options."""
    params = parameters()
    opt = getattr(ours, name)(params)
    stepped(opt, params, 3)
    state = saved(opt)
    for s in state["state"].values():
        s["step"] = float(s["step"])
    for group in state["param_groups"]:
        for key in ("foreach", "maximize", "capturable", "differentiable", "fused", "amsgrad", "centered"):
            group.pop(key, None)
    new = [torch.nn.Parameter(p.detach().clone(memory_format=torch.preserve_format)) for p in params]
    other = getattr(ours, name)(new)
    other.load_state_dict(state)
    assert equal(stepped(opt, params, 3, seed=5), stepped(other, new, 3, seed=5))
    assert float(other.state[new[0]]["step"]) == 6


def test_a_momentum_that_becomes_zero_and_nonzero_again_is_seen() -> None:
    """Without momentum the update is that of another optimizer: each hyper-parameter that decides it is read."""
    p, q = (torch.nn.Parameter(torch.arange(5.0)) for _ in range(2))
    mine, peer = ours.SGD([p], lr=0.5), torch.optim.SGD([q], lr=0.5)
    for momentum, dampening, nesterov in ((0, 0, False), (0.5, 0.25, False), (0, 0.25, False), (0.75, 0, True)):
        for opt, x in ((mine, p), (peer, q)):
            opt.param_groups[0].update(momentum=momentum, dampening=dampening, nesterov=nesterov)
            for _ in range(2):
                x.grad = x.detach() * 0.5 + 1.0
                opt.step()
        assert torch.equal(p, q), f"momentum {momentum}"


def test_a_momentum_buffer_of_none_counts_as_missing() -> None:
    """As old torch saved SGD: the first step is not damped."""
    p, q = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    for x, module in ((p, ours), (q, torch.optim)):
        opt = module.SGD([x], lr=1.0, momentum=0.5, dampening=0.5)
        opt.state[x] = {"momentum_buffer": None}
        x.grad = torch.ones(2)
        opt.step()
        opt.step()
    assert torch.equal(p, q)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_states_of_16_bit_parameters_stay_float32(name: str, dtype: torch.dtype) -> None:
    params = parameters(dtype=dtype)
    opt = getattr(ours, name)(params, **FULL[name])
    for grads in gradients(params, 3):
        for p, g in zip(params, grads, strict=True):
            p.grad = g.to(dtype)
        opt.step()
    new = [torch.nn.Parameter(p.detach().clone(memory_format=torch.preserve_format)) for p in params]
    other = getattr(ours, name)(new)
    seen: list[torch.dtype] = []
    other.register_load_state_dict_post_hook(
        lambda o: seen.extend(x.dtype for s in o.state.values() for x in s.values())
    )
    other.load_state_dict(saved(opt))
    assert set(seen) == {torch.float32}, "also for hooks"
    for p, q in zip(params, new, strict=True):
        assert opt.state[p].keys() == other.state[q].keys()
        for key, x in opt.state[p].items():
            assert torch.equal(x, other.state[q][key])
    peer_params = [torch.nn.Parameter(p.detach().clone()) for p in params]
    peer = getattr(torch.optim, name)(peer_params)
    for p, q in zip(peer_params, new, strict=True):
        p.grad, q.grad = torch.ones_like(p), torch.ones_like(q)
    peer.load_state_dict(saved(opt))
    peer.step()
    assert {x.dtype for s in peer.state.values() for k, x in s.items() if k != "step"} == {dtype}
    other.load_state_dict(saved(peer))
    other.step()
    assert {x.dtype for s in other.state.values() for x in s.values()} == {torch.float32}


def test_loading_hooks_and_errors() -> None:
    params = parameters()
    opt = ours.Adam(params)
    stepped(opt, params)
    changed = opt.state_dict()
    opt.register_load_state_dict_pre_hook(lambda o, d: {**d, "param_groups": [{**d["param_groups"][0], "lr": 0.5}]})
    opt.load_state_dict(changed)
    assert opt.param_groups[0]["lr"] == 0.5
    with pytest.raises(ValueError, match="different number of parameter groups"):
        ours.Adam([{"params": params[:1]}, {"params": params[1:]}]).load_state_dict(changed)
    assert len(opt._optimizer_load_state_dict_pre_hooks) == 1
    assert not opt._optimizer_load_state_dict_post_hooks


@pytest.mark.parametrize("made", [torch.tensor, lambda x: torch.tensor([x], dtype=torch.float64), float])
@pytest.mark.parametrize("value", [3.5, -1.0, float("nan"), float("inf"), 2.0**53], ids=str)
@pytest.mark.parametrize("hooked", [False, True])
def test_a_number_that_is_no_step_count_is_not_loaded(made: Callable[[float], Any], value: float, hooked: bool) -> None:
    p, q = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))
    opt = ours.Adam([p, q], lr=0.5)
    p.grad, q.grad = torch.ones(3), torch.ones(2)
    opt.step()
    before, loaded = copy.deepcopy(opt.state_dict()), copy.deepcopy(opt.state_dict())
    loaded["param_groups"][0]["lr"] = 0.25
    spoiled = copy.deepcopy(loaded)
    spoiled["state"][1]["step"] = made(value)
    if hooked:
        opt.register_load_state_dict_pre_hook(lambda _, d: spoiled)
    with pytest.raises(ValueError, match=r"step 1 must be a whole number >= 0 and below 2\*\*53, got ") as raised:
        opt.load_state_dict(loaded if hooked else spoiled)
    assert str(raised.value).endswith(f"got {value!r}")
    assert str(opt.state_dict()) == str(before)
    assert (len(opt._optimizer_load_state_dict_pre_hooks), len(opt._optimizer_load_state_dict_post_hooks)) == (
        hooked,
        0,
    )


def test_a_state_of_another_optimizer_is_refused() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    other = ours.RMSprop([p])
    p.grad = torch.ones(3)
    other.step()
    adam = ours.Adam([p])
    state = adam.state_dict()
    state["state"] = other.state_dict()["state"]
    adam.load_state_dict(state)
    with pytest.raises(KeyError, match="the state of parameter 0 has no 'exp_avg': it holds 'step', 'square_avg'"):
        adam.step()


@pytest.mark.parametrize("source", [*NAMES, "NAG"])
@pytest.mark.parametrize("target", [*NAMES, "NAG"])
def test_groups_of_another_optimizer_are_not_loaded(source: str, target: str) -> None:
    """What is missing is named. Adam and AdamW have the same, and SGD has all that NAG needs."""
    p = torch.nn.Parameter(torch.ones(3))
    opt = getattr(ours, target)([p], lr=0.5)
    before = str(opt.state_dict())
    groups = getattr(ours, source)([p], lr=0.25).state_dict()
    missing = {k for k, v in opt.defaults.items() if v is not None and type(v) is not bool} - {
        *groups["param_groups"][0]
    }
    if not missing:
        opt.load_state_dict(groups)
        assert opt.param_groups[0]["lr"] == 0.25
        assert source == target or {source, target} <= {"Adam", "AdamW"} or (source, target) in LIKE
        return
    with pytest.raises(ValueError, match=rf"param group 0 of the state_dict has no .*, which {target} needs") as raised:
        opt.load_state_dict(groups)
    assert all(name in str(raised.value) for name in missing)
    assert str(opt.state_dict()) == before


#: a source that has all hyper-parameters of a target
LIKE = [("SGD", "NAG"), ("RMSprop", "NAG")]


@pytest.mark.parametrize("wide", [False, True])
def test_step_counts_of_any_kind(wide: bool) -> None:
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if wide else torch.float32)
    try:
        opt, peer = ours.Adam([p]), torch.optim.Adam([torch.nn.Parameter(p.detach().clone())])
        peer.param_groups[0]["params"][0].grad = p.grad.clone()
        opt.step()
        peer.step()
    finally:
        torch.set_default_dtype(before)
    count = opt.state[p]["step"]
    assert count.dtype == peer.state[peer.param_groups[0]["params"][0]]["step"].dtype
    for value in (torch.tensor(7), torch.tensor(7.0, dtype=torch.float64), torch.tensor([7.0])):
        opt.state[p]["step"] = value
        opt.step()
        assert float(value) == 8.0


def test_nothing_is_kept_alive() -> None:
    model = torch.nn.Linear(10, 10)
    opt = ours.Adam(model.parameters())
    model(torch.ones(1, 10)).sum().backward()
    opt.step()
    gradient, state = weakref.ref(model.weight.grad), weakref.ref(opt.state[model.weight]["exp_avg"])
    gc.collect()
    gc.disable()
    try:
        opt.zero_grad()
        assert gradient() is None
        opt.state.clear()
        assert state() is None
        gone = weakref.ref(opt)
        del opt
        assert gone() is None
    finally:
        gc.enable()
