"""Closures, hooks, the profiler, autograd and torch.compile around a step."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

import fastopt.torch as ours


def test_closure_runs_with_gradients_and_is_returned() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.SGD([p], lr=0.1)

    def closure() -> torch.Tensor:
        opt.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        loss = opt.step(closure)
    assert loss.requires_grad
    torch.testing.assert_close(p.detach(), torch.full((3,), 0.8))
    assert opt.step() is None


@pytest.mark.parametrize("scheduled", [False, True])
def test_hooks_fire_once(scheduled: bool) -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opts = [ours.AdamW([p]), ours.Adam([p]), ours.AdamW([p])]
    opt = opts[0]
    if scheduled:
        torch.optim.lr_scheduler.StepLR(opt, 1)
    p.grad = torch.ones(3)
    calls: list[Any] = []
    handles = [
        opt.register_step_pre_hook(lambda o, args, kwargs: calls.append(("pre", o, args, kwargs))),
        opt.register_step_post_hook(lambda o, args, kwargs: calls.append(("post", o, args, kwargs))),
        register_optimizer_step_pre_hook(lambda o, *_: calls.append("all pre")),
        register_optimizer_step_post_hook(lambda o, *_: calls.append("all post")),
    ]
    try:
        opt.step(max_norm=5.0)
    finally:
        for handle in handles:
            handle.remove()
    assert [c if isinstance(c, str) else c[0] for c in calls] == ["all pre", "pre", "post", "all post"]
    assert calls[1][1] is opt
    assert calls[1][3]["max_norm"] == 5.0
    opt.step()
    assert len(calls) == 4
    assert float(opt.state[p]["step"]) == 2


def test_a_hook_may_change_the_arguments() -> None:
    p = torch.nn.Parameter(torch.zeros(1))
    opt = ours.SGD([p], lr=1.0)
    opt.register_step_pre_hook(lambda o, args, kwargs: (args, {**kwargs, "max_norm": 0.5}))
    p.grad = torch.ones(1)
    opt.step()
    assert float(p.detach()) == -0.5


def test_profiler_sees_the_step() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    opt = ours.Adam([p])
    with torch.autograd.profiler.profile() as profile:
        opt.step()
    assert "Optimizer.step#Adam.step" in {event.name for event in profile.function_events}


def test_autograd_is_told_of_the_change() -> None:
    """A backward through what a step has changed is an error, as with torch.optim."""
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.SGD([p])
    loss = (p * p).sum()
    p.grad = torch.ones(3)
    opt.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_inference_tensors() -> None:
    with torch.inference_mode():
        p = torch.ones(3)
        p.grad = torch.ones(3)
        ours.SGD([p], lr=1.0).step()
        assert torch.equal(p, torch.zeros(3))


def test_compiled_code_around_a_step() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.Adam([p], lr=0.1)

    def train() -> torch.Tensor:
        loss = (p * p).sum()
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss

    compiled = torch.compile(train, backend="eager")
    losses = [float(compiled().detach()) for _ in range(3)]
    assert losses[0] == 3.0
    assert losses[0] > losses[1] > losses[2]
    assert float(opt.state[p]["step"]) == 3


def test_stepping_inside_a_step_is_refused() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.Adam([p])
    p.grad = torch.ones(3)

    class Recursive(dict[str, Any]):
        pass

    seen: list[str] = []

    def enter(*_: Any) -> dict[str, Any]:
        with pytest.raises(RuntimeError, match="in the middle of a step"):
            opt.step()
        seen.append("refused")
        return original(*_)

    original = type(opt)._new_state
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(opt), "_new_state", enter)
        opt.step()
    assert seen == ["refused"]
    assert float(opt.state[p]["step"]) == 1
