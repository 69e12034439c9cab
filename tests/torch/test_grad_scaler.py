"""torch.amp.GradScaler: what an error inside of its step leaves behind, and the steps that are skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch

import fastopt.torch as ours
from tests.support.torch_rows import FULL, NAMES, equal


def _hook(opt: Any) -> Callable[[], Any]:
    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    return opt.register_step_pre_hook(fail).remove  # type: ignore[no-any-return]


def _lr(opt: Any) -> Callable[[], Any]:
    kept, opt.param_groups[0]["lr"] = opt.param_groups[0]["lr"], "fast"
    return lambda: opt.param_groups[0].update(lr=kept)


def _parameter(opt: Any) -> Callable[[], Any]:
    p = opt.param_groups[0]["params"][0]
    kept, p.data = p.data, p.data.double()
    return lambda: setattr(p, "data", kept)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", [_hook, _lr, _parameter])
@pytest.mark.parametrize("again", ["plain step", "scaler"])
def test_an_error_leaves_no_scale_behind(name: str, fault: Any, again: str) -> None:
    """After it a plain step, or the scaler's step once more, is what it would have been."""
    results = []
    for faulty in (False, True):
        p = torch.nn.Parameter(torch.linspace(1, 2, 5))
        opt = getattr(ours, name)([p], lr=0.1, **FULL[name])
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        scaler.scale((p * p).sum()).backward()
        if faulty:
            undo = fault(opt)
            with pytest.raises((TypeError, KeyboardInterrupt)):
                scaler.step(opt)
            undo()
            assert not {"grad_scale", "found_inf"} & opt.__dict__.keys()
        if again == "scaler":
            scaler.step(opt)
        else:
            p.grad = torch.ones(5)
            opt.step()
        results.append(p)
    assert equal(results[:1], results[1:])


@pytest.mark.parametrize("name", NAMES)
def test_skipped_steps_are_counted(name: str) -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opt = getattr(ours, name)([p], **FULL[name])
    scaler = torch.amp.GradScaler("cpu")
    assert opt.skipped == 0
    for expected in (1, 2):
        scaler.scale((p * torch.tensor(float("inf"))).sum()).backward()
        scaler.step(opt)
        scaler.update()
        assert opt.skipped == expected
        opt.zero_grad()
    p.grad = torch.full((3,), float("nan"))
    opt.step(skip_nonfinite=True)
    assert opt.skipped == 3
    assert torch.equal(p.detach(), torch.ones(3))
    p.grad = torch.ones(3)
    opt.step(skip_nonfinite=True)
    opt.step()
    assert opt.skipped == 3
    assert not torch.equal(p.detach(), torch.ones(3))
