"""step_in_backward: each parameter is updated during backward(), and its gradient is freed."""

from __future__ import annotations

import gc

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch

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
    del opt.found_inf
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
