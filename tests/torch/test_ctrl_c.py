"""Ctrl-C at every place of a step of fastopt.torch where Python handles it: the step happens wholly or not at all."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch

import fastopt.torch as ours
from tests.support.interrupts import pressed
from tests.support.torch_rows import NAMES


def made(name: str, steps: int) -> tuple[Any, list[Any]]:
    """An optimizer before its next step. Some parameters have gaps; the gradients are transposed."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(5, 8, generator=generator)
    params = [torch.nn.Parameter(x) for x in (base[:, ::4], base[:, 1::4], base[:, 2::4], torch.ones(4, 3))]
    opt = getattr(ours, name)(params, lr=0.1, weight_decay=0.1)
    for step in range(steps + 1):
        if step:
            opt.step()
        for p in params:
            p.grad = torch.randn(p.shape[::-1], generator=generator).t()
    return opt, params


def state(opt: Any, params: list[Any]) -> list[Any]:
    states = [{key: value.clone() for key, value in opt.state.get(p, {}).items()} for p in params]
    return [[p.detach().clone() for p in params], states]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [0, 1])
def test_an_interrupted_step_happens_wholly_or_not_at_all(name: str, steps: int) -> None:
    opt, params = made(name, steps)
    before = str(state(opt, params))
    opt.step()
    after = str(state(opt, params))
    found = set()
    k, came = 0, True
    while came:
        k += 1
        opt, params = made(name, steps)
        versions = [p._version for p in params]
        came = pressed(k, opt.step)
        torch.set_grad_enabled(True)  # torch's no_grad() is Python, too
        is_now = str(state(opt, params))
        assert is_now in (before, after), k
        assert is_now == before or all(p._version > old for p, old in zip(params, versions, strict=True)), k
        found.add(is_now)
    assert found == {before, after}
    assert k > 30


def made_nag() -> tuple[Any, list[Any]]:
    """NAG before its second step."""
    params = [torch.nn.Parameter(torch.linspace(-1.0, 1.0, 5)), torch.nn.Parameter(torch.ones(4, 3))]
    opt = ours.NAG(params, lr=0.1)
    take_nag(opt)
    return opt, params


def take_nag(opt: Any) -> None:
    def closure() -> None:
        for p in opt.param_groups[0]["params"]:
            p.grad = 2 * p.detach()

    opt.step(closure)


def test_an_interrupted_step_of_nag_happens_wholly_or_not_at_all() -> None:
    opt, params = made_nag()
    before = str(state(opt, params))
    take_nag(opt)
    after = str(state(opt, params))
    found = set()
    k, came = 0, True
    while came:
        k += 1
        opt, params = made_nag()
        came = pressed(k, lambda opt=opt: take_nag(opt))  # type: ignore[misc]
        torch.set_grad_enabled(True)
        is_now = str(state(opt, params))
        assert is_now in (before, after), k
        found.add(is_now)
        take_nag(opt)
        assert str(state(opt, params)) != is_now, k
    assert found == {before, after}
    assert k > 30
