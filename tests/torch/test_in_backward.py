"""step_in_backward: each parameter is updated during backward(), and its gradient is freed."""

from __future__ import annotations

import gc
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch
from torch.utils.checkpoint import checkpoint

import fastopt.torch as ours
from tests.support.torch_rows import (
    FULL,
    NAMES,
    equal,
    saved,
)


def _model() -> torch.nn.Module:
    torch.manual_seed(5)
    shared = torch.nn.Linear(8, 8)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), shared, shared, torch.nn.Linear(8, 1))


@pytest.mark.parametrize("name", NAMES)
def test_in_backward_gives_the_bits_of_the_ordinary_step(name: str) -> None:
    """The same bits; no gradient stays; a parameter that is used twice is stepped once."""
    x = torch.randn(32, 4)
    models = [_model(), _model()]
    opts = [getattr(ours, name)(m.parameters(), lr=0.01, **FULL[name]) for m in models]
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(opt, 0.9) for opt in opts]
    with ours.step_in_backward(opts[0]):
        for _ in range(5):
            for model, opt, scheduler in zip(models, opts, schedulers, strict=True):
                model(x).pow(2).mean().backward()
                if opt is opts[0]:
                    assert all(p.grad is None for p in model.parameters())
                opt.step()
                opt.zero_grad()
                scheduler.step()
    assert equal(list(models[0].parameters()), list(models[1].parameters()))
    for model, opt in zip(models, opts, strict=True):
        model(x).pow(2).mean().backward()
        assert all(p.grad is not None for p in model.parameters())
        opt.step()
    assert equal(list(models[0].parameters()), list(models[1].parameters()))


def test_in_backward_frees_each_gradient() -> None:
    """No gradient is alive when the next one is computed."""
    layers = [torch.nn.Linear(64, 64, bias=False) for _ in range(6)]
    params = [layer.weight for layer in layers]
    opt = ours.SGD(params, lr=0.1)
    alive: list[int] = []
    ours.step_in_backward(opt)
    for p in params:
        p.register_post_accumulate_grad_hook(lambda _: alive.append(sum(p.grad is not None for p in params)))
    torch.nn.Sequential(*layers)(torch.ones(1, 64)).sum().backward()
    assert alive == [0] * 6


def test_in_backward_refuses_what_needs_all_gradients() -> None:
    model = _model()
    opt = ours.Adam(model.parameters())
    with pytest.raises(TypeError, match=r"needs an optimizer of fastopt\.torch, got Adam"):
        ours.step_in_backward(torch.optim.Adam(model.parameters()))
    with pytest.raises(RuntimeError, match="NAG cannot step in backward"):
        ours.step_in_backward(ours.NAG(model.parameters()))
    handle = ours.step_in_backward(opt)
    with pytest.raises(RuntimeError, match="already"):
        ours.step_in_backward(opt)
    for kwargs in ({"max_norm": 1.0}, {"skip_nonfinite": True}):
        with pytest.raises(RuntimeError, match="need all gradients at once"):
            opt.step(**kwargs)
    opt.found_inf = torch.zeros(())
    with pytest.raises(RuntimeError, match="a GradScaler needs all gradients"):
        opt.step()
    extra = torch.nn.Parameter(torch.ones(3))
    opt.add_param_group({"params": [extra]})
    (extra * 2).sum().backward()
    assert extra.grad is None
    assert not torch.equal(extra.detach(), torch.ones(3))
    handle.remove()
    opt.step(max_norm=1.0)


def test_an_old_handle_does_not_end_a_new_one() -> None:
    opt = ours.Adam(_model().parameters())
    handle = ours.step_in_backward(opt)
    handle.remove()
    second = ours.step_in_backward(opt)
    handle.remove()
    with pytest.raises(RuntimeError, match="already"):
        ours.step_in_backward(opt)
    with pytest.raises(RuntimeError, match="need all gradients at once"):
        opt.step(max_norm=1.0)
    second.remove()
    opt.step(max_norm=1.0)


def test_in_backward_after_loading_and_deletion() -> None:
    model = _model()
    opt = ours.Adam(model.parameters())
    ours.step_in_backward(opt)
    state = saved(opt)
    state["param_groups"][0]["lr"] = 0.0
    opt.load_state_dict(state)
    before = [p.detach().clone() for p in model.parameters()]
    model(torch.ones(2, 4)).sum().backward()
    assert equal(before, list(model.parameters())), "the loaded groups count"
    assert not any(p.grad is not None for p in model.parameters())
    del opt
    gc.collect()
    model(torch.ones(2, 4)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def _plain(lin: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    return lin(torch.tanh(lin(x)))


def _in_checkpoints(reentrant: bool) -> Any:
    def forward(lin: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(lin, torch.tanh(checkpoint(lin, x, use_reentrant=reentrant)), use_reentrant=reentrant)

    return forward


def _half(first: bool) -> Any:
    """The inner or the outer use of the parameters is inside of a reentrant checkpoint."""

    def forward(lin: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(checkpoint(lin, x, use_reentrant=True) if first else lin(x))
        return lin(y) if first else checkpoint(lin, y, use_reentrant=True)

    return forward


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("forward", "refused"),
    [
        pytest.param(_plain, False, id="plain"),
        pytest.param(_in_checkpoints(False), False, id="checkpoint"),
        pytest.param(_in_checkpoints(True), False, id="reentrant"),
        pytest.param(_half(False), False, id="reentrant, then plain"),
        pytest.param(_half(True), True, id="plain, then reentrant"),
    ],
)
def test_a_parameter_used_twice_is_stepped_once_with_its_whole_gradient(name: str, forward: Any, refused: bool) -> None:
    """A reentrant checkpoint is a backward inside a backward: torch calls the hooks of its parameters in both."""
    x = torch.linspace(-1, 1, 12).reshape(3, 4).requires_grad_()
    results = []
    for in_backward in (False, True):
        torch.manual_seed(0)
        lin = torch.nn.Linear(4, 4)
        opt = getattr(ours, name)(lin.parameters(), lr=0.01, **FULL[name])
        if in_backward:
            ours.step_in_backward(opt)
        for _ in range(3):
            loss = forward(lin, x).square().sum()
            if in_backward and refused:
                with pytest.raises(RuntimeError, match=r"gets a second gradient.*a reentrant checkpoint"):
                    loss.backward()
                return
            loss.backward()
            opt.step()
            opt.zero_grad()
        results.append(list(lin.parameters()))
    assert equal(*results)


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize("again", ["accumulate", "retain_graph", "double backward"])
def test_a_second_backward_before_step_is_refused(again: str) -> None:
    """The first one has updated the parameter. Silently, the result would not be that of one step."""
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.Adam([p], lr=0.1)
    ours.step_in_backward(opt)
    x = torch.arange(3.0, requires_grad=True)
    loss = (p * x).sum()
    loss.backward(retain_graph=again == "retain_graph", create_graph=again == "double backward")
    once = p.detach().clone()
    second = loss if again == "retain_graph" else (p * x * (x.grad if again == "double backward" else 1)).sum()
    with pytest.raises(RuntimeError, match=r"call step\(\) after each backward|modified by an inplace operation"):
        second.backward()
    assert torch.equal(p.detach(), once)
    opt.zero_grad()
    opt.step()
    (p * 2).sum().backward()
    assert float(opt.state[p]["step"]) == 2


def test_a_gradient_penalty_is_one_gradient() -> None:
    """torch.autograd.grad calls no hook; the backward through it gives the whole gradient."""
    results = []
    for in_backward in (False, True):
        model = _model()
        opt = ours.Adam(model.parameters(), lr=0.1)
        if in_backward:
            ours.step_in_backward(opt)
        for _ in range(2):
            x = torch.ones(2, 4, requires_grad=True)
            y = model(x).sum()
            (slope,) = torch.autograd.grad(y, x, create_graph=True)
            (y + slope.square().sum()).backward()
            opt.step()
            opt.zero_grad()
        results.append(list(model.parameters()))
    assert equal(*results)


def test_hooks_of_users() -> None:
    """A hook on the gradient, and one after the accumulation that was there before, change what is stepped with."""
    p = torch.nn.Parameter(torch.zeros(3))
    p.register_hook(lambda g: g * 2)
    p.register_post_accumulate_grad_hook(lambda q: setattr(q, "grad", q.grad * 3))
    opt = ours.SGD([p], lr=1.0)
    with ours.step_in_backward(opt):
        p.sum().backward()
    assert torch.equal(p.detach(), torch.full((3,), -6.0))
