"""Parameters of 16 bits in fastopt.torch: every pattern, rounding, float32 states, norms; on every instruction set."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch

import fastopt.torch as ours
from fastopt._native import _testing, runtime
from tests.support.rows import ISAS
from tests.support.torch_rows import NAMES, gradients, parameters

HALVES = [torch.bfloat16, torch.float16]


def _every_pattern(dtype: torch.dtype) -> torch.Tensor:
    return torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)


def _float_patterns(dtype: torch.dtype) -> torch.Tensor:
    """Every 16-bit number, the ties between neighbours and what lies beside them, overflow, and random bits."""
    low = _every_pattern(dtype).float().view(torch.int32)
    half = 1 << (15 if dtype == torch.bfloat16 else 12)
    near = torch.cat([low + half + d for d in (-1, 0, 1)])
    tiny = torch.arange(0, 2**16, dtype=torch.int32)  # float's subnormals
    drawn = torch.randint(-(2**31), 2**31 - 1, (2**18,), dtype=torch.int64).to(torch.int32)
    edges = torch.tensor([65519.0, 65519.996, 65520.0, 65536.0, 3.3895e38, 3.4e38, 5.96e-8, 2.98e-8, 2.9803e-8])
    return torch.cat([low, near, tiny, drawn, edges.view(torch.int32), (-edges).view(torch.int32)]).view(torch.float32)


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> None:
    assert torch.equal(torch.isnan(a), torch.isnan(b))
    kept = ~torch.isnan(b)
    assert torch.equal(a[kept].view(torch.int16), b[kept].view(torch.int16))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", HALVES)
def test_rounding_to_nearest_even(isa: str, dtype: torch.dtype) -> None:
    """W ← 0 − g with a float32 gradient: every kind of float, rounded as torch rounds it."""
    runtime.set_isa(isa)
    x = _float_patterns(dtype)
    p = torch.nn.Parameter(torch.zeros(x.numel(), dtype=dtype))
    p.grad_dtype = torch.float32
    p.grad = -x
    ours.SGD([p], lr=1.0).step()
    expected = (torch.zeros_like(x) + x).to(dtype)
    _same_bits(p.detach(), expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", HALVES)
def test_every_pattern_survives(isa: str, dtype: torch.dtype) -> None:
    runtime.set_isa(isa)
    x = _every_pattern(dtype)
    p = torch.nn.Parameter(x.clone())
    p.grad = torch.ones_like(x)
    ours.SGD([p], lr=0.0).step()
    _same_bits(p.detach(), x)
    w = torch.nn.Parameter(torch.zeros(x.numel()))
    w.grad_dtype = dtype
    w.grad = x
    ours.SGD([w], lr=1.0).step()
    numbers = ~torch.isnan(x)
    assert torch.equal(w.detach()[numbers], (0.0 - x.float())[numbers])
    assert bool(torch.isnan(w.detach()[~numbers]).all())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", HALVES)
def test_16_bit_parameters_are_stepped_in_float32(name: str, dtype: torch.dtype) -> None:
    """Bit for bit what float32 gives, rounded once per step; the states are float32."""
    low = parameters(dtype=dtype)
    wide = [torch.nn.Parameter(p.detach().float()) for p in low]
    extra = {"amsgrad": True} if name.startswith("Adam") else {"momentum": 0.6} if name in ("SGD", "RMSprop") else {}
    a = getattr(ours, name)(low, weight_decay=0.1, **extra)
    b = getattr(ours, name)(wide, weight_decay=0.1, **extra)
    for grads in gradients(low, 10):
        for p, q, g in zip(low, wide, grads, strict=True):
            p.grad = g.to(dtype)
            q.grad = p.grad.float()
        a.step()
        b.step()
        for p, q in zip(low, wide, strict=True):
            q.data = q.data.to(dtype).float()
            assert torch.equal(p.detach().float(), q.detach())
    for p, q in zip(low, wide, strict=True):
        for key, x in a.state[p].items():
            assert x.dtype == torch.float32
            assert torch.equal(x, b.state[q][key]), key


@pytest.mark.parametrize("dtype", HALVES)
def test_16_bit_norm_and_threads(dtype: torch.dtype) -> None:
    g = [torch.randn(70_001), torch.randn(33), torch.randn(4097)]
    found = []
    for isa in ISAS:
        for threads in (1, 2, 3):
            runtime.set_isa(isa)
            runtime.set_num_threads(threads)
            _testing.set_serial_threshold(0)
            ps = [torch.nn.Parameter(torch.ones(x.shape, dtype=dtype)) for x in g]
            for p, x in zip(ps, g, strict=True):
                p.grad = x.to(dtype)
            opt = ours.Adam(ps, lr=0.1)
            opt.step(max_norm=1.0)
            norm = float(torch.linalg.vector_norm(torch.cat([p.grad.double() for p in ps])))
            assert opt.grad_norm == pytest.approx(norm, rel=1e-12)
            found.append((opt.grad_norm, [p.detach().clone() for p in ps]))
    for norm, ps in found[1:]:
        assert norm == found[0][0]
        assert all(torch.equal(p, q) for p, q in zip(ps, found[0][1], strict=True))
