"""Gradient scalers, clipping by the global norm, and steps that are skipped."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch

import fastopt.torch as ours
from fastopt._native import _testing, runtime
from tests.support.torch_rows import (
    FULL,
    NAMES,
    assert_same,
    equal,
    gradients,
    pair,
    parameters,
    stepped,
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("unscaled", [False, True])
def test_grad_scaler(name: str, unscaled: bool) -> None:
    """As torch's fused optimizers: unscaled in the pass, skipped on an infinity, the gradients not rewritten."""
    a, b, mine, peers = pair(name, **FULL[name])
    scalers = [torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=3) for _ in range(2)]
    way = [torch.zeros_like(p) for p in peers]
    for step, grads in enumerate(gradients(mine, 9)):
        before = [p.detach().clone() for p in peers]
        for opt, params, scaler in ((a, mine, scalers[0]), (b, peers, scalers[1])):
            for p, g in zip(params, grads, strict=True):
                p.grad = scaler.scale(g.clone(memory_format=torch.preserve_format))
            if step == 4:
                params[3].grad.view(-1)[2] = torch.inf
            kept = [p.grad.clone() for p in params]
            if unscaled:
                scaler.unscale_(opt)
            scaler.step(opt)
            if opt is a and not unscaled and step != 4:
                assert equal([p.grad for p in params], kept)
            scaler.update()
        assert scalers[0].get_scale() == scalers[1].get_scale()
        for w, q, old in zip(way, peers, before, strict=True):
            w += (q.detach() - old).abs()
            assert (step == 4) == torch.equal(q.detach(), old) or q.numel() == 0
    assert_same(mine, peers, way)
    if name != "SGD":
        assert float(a.state[mine[0]]["step"]) == 8
    assert not hasattr(a, "grad_scale")


@pytest.mark.parametrize("scale", [0.0, -2.0, float("inf"), float("nan")])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.Adam([p])
    p.grad = torch.ones(3)
    opt.grad_scale = torch.tensor(scale)
    with pytest.raises(ValueError, match=f"grad_scale must be > 0 and finite, got {scale}"):
        opt.step()
    assert torch.equal(p.detach(), torch.ones(3))
    assert not opt.state


def test_a_skipped_first_step_counts_for_nothing() -> None:
    """Damped momentum: what was skipped was not the first step."""
    p, q = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    opt, peer = (m.SGD([x], lr=1.0, momentum=0.5, dampening=0.5) for m, x in ((ours, p), (torch.optim, q)))
    p.grad = torch.tensor([1.0, torch.nan])
    opt.step(skip_nonfinite=True)
    assert torch.equal(p.detach(), torch.zeros(2))
    assert opt.grad_norm != opt.grad_norm
    p.grad, q.grad = torch.ones(2), torch.ones(2)
    for x in (opt, peer):
        x.step()
        x.step()
    assert torch.equal(p, q)


def test_a_step_that_fails_leaves_no_trace() -> None:
    p, q = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    opt = ours.SGD([p, q], lr=1.0, momentum=0.5, dampening=0.5)
    p.grad, q.grad = torch.ones(2), torch.eye(2)[0].to_sparse()
    with pytest.raises(TypeError, match="gradient 1 is sparse"):
        opt.step()
    assert not opt.state
    q.grad = torch.ones(2)
    opt.step()
    assert torch.equal(p.detach(), torch.full((2,), -1.0))


@pytest.mark.parametrize("name", NAMES)
def test_norms(name: str) -> None:
    """clip_grad_norm_ before the step, and the same by max_norm in one pass, the gradients untouched."""
    a, b, mine, peers = pair(name, **FULL[name])
    way = [torch.zeros_like(p) for p in peers]
    for grads in gradients(mine, 5):
        before = [p.detach().clone() for p in peers]
        for p, q, g in zip(mine, peers, grads, strict=True):
            p.grad, q.grad = g, g.clone(memory_format=torch.preserve_format)
        norm = torch.nn.utils.clip_grad_norm_(peers, 1.0)
        a.step(max_norm=1.0)
        b.step()
        assert a.grad_norm == pytest.approx(float(norm), rel=1e-6)
        assert equal([p.grad for p in mine], grads)
        for w, q, old in zip(way, peers, before, strict=True):
            w += (q.detach() - old).abs()
    for p, q, w in zip(mine, peers, way, strict=True):
        assert bool(((p - q).abs() <= 1e-6 * q.abs() + 2e-5 * w).all()), "torch divides by norm + 1e-6"
    a.step()
    for bad, error in ((-1.0, ValueError), ("1", TypeError)):
        with pytest.raises(error, match="max_norm must be"):
            a.step(max_norm=bad)


def test_skip_nonfinite() -> None:
    p, q = torch.nn.Parameter(torch.ones(5)), torch.nn.Parameter(torch.ones(5))
    opt = ours.Adam([p, q])
    p.grad, q.grad = torch.ones(5), torch.tensor([1, 1, torch.inf, 1, 1])
    opt.step(skip_nonfinite=True)
    assert opt.grad_norm == float("inf")
    assert torch.equal(p.detach(), torch.ones(5))
    q.grad = torch.ones(5)
    opt.step(skip_nonfinite=True)
    assert opt.grad_norm == pytest.approx(10**0.5)
    assert float(opt.state[p]["step"]) == 1


def test_threads_change_no_bit() -> None:
    results = []
    for threads in (1, 2, 3, 7):
        runtime.set_num_threads(threads)
        _testing.set_serial_threshold(0)
        params = parameters()
        opt = ours.AdamW(params, lr=0.01)
        results.append(stepped(opt, params, 5))
    assert all(equal(results[0], other) for other in results[1:])
