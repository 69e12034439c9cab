"""fastopt.torch.NAG in the textbook's form: the lookahead block, its end, and the gradients that a step accepts."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch

import fastopt.torch as ours
from fastopt._native import _testing, runtime


def _quadratic(w: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    return 0.5 * (a * w * w).sum() + w.sum()


@pytest.mark.parametrize("way", ["context", "closure"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 2])
def test_nag_follows_the_textbook_bit_for_bit(way: str, dtype: torch.dtype, threads: int) -> None:
    """a ← β a + ∇L(W − η β a);  W ← W − η a, bit for bit, with a schedule of η, which torch's form does not follow."""
    runtime.set_num_threads(threads)
    _testing.set_serial_threshold(0)
    generator = torch.Generator().manual_seed(0)
    curvature = torch.rand(9001, generator=generator) + 0.5
    p = torch.nn.Parameter(torch.randn(9001, generator=generator).to(dtype))
    w, a = p.detach().clone(), torch.zeros(9001)
    opt = ours.NAG([p], lr=0.1, momentum=0.75)
    for step in range(8):
        eta = opt.param_groups[0]["lr"] = 2.0 ** -(3 + step)

        def closure() -> torch.Tensor:
            opt.zero_grad()
            loss = _quadratic(p, curvature.to(dtype))
            loss.backward()
            return loss

        if way == "context":
            with opt.lookahead():
                closure()
            assert torch.equal(p.detach(), w)
            opt.step()
        else:
            assert opt.step(closure).requires_grad
        point = (w.float() - eta * 0.75 * a).to(dtype).requires_grad_()
        (gradient,) = torch.autograd.grad(_quadratic(point, curvature.to(dtype)), point)
        a = 0.75 * a + gradient.float()
        w = (w.float() - eta * a).to(dtype)
        assert torch.equal(p.detach(), w)
        assert torch.equal(opt.state[p]["momentum_buffer"], a)


def test_nag_refuses_gradients_of_another_point() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.NAG([p], lr=0.1)
    p.grad = torch.ones(3)
    with pytest.raises(RuntimeError, match="NAG's gradient must be taken at the lookahead point"):
        opt.step()
    with opt.lookahead():
        for forbidden in (
            opt.step,
            opt.state_dict,
            lambda: opt.load_state_dict(ours.NAG([p]).state_dict()),
            lambda: opt.add_param_group({"params": [torch.ones(1)]}),
            lambda: copy.deepcopy(opt),
            lambda: pickle.dumps(opt),
        ):
            with pytest.raises(RuntimeError, match=r"inside lookahead\(\)"):
                forbidden()
        with pytest.raises(RuntimeError, match="already"), opt.lookahead():
            pass
    opt.param_groups[0]["lr"] = 0.2
    with pytest.raises(RuntimeError, match="lr or momentum was changed since"):
        opt.step()
    opt.param_groups[0]["lr"] = 0.0
    opt.step()
    assert torch.equal(p.detach(), torch.ones(3))
    gapped = torch.nn.Parameter(torch.ones(3, 4)[:, ::2])
    with pytest.raises(ValueError, match="not dense"), ours.NAG([gapped]).lookahead():
        pass


def test_nag_restores_after_an_error() -> None:
    p = torch.nn.Parameter(torch.randn(1000))
    opt = ours.NAG([p], lr=0.1)
    for _ in range(2):
        opt.step(lambda: (p**2).sum().backward())
    before = p.detach().clone()

    def fail() -> None:
        with opt.lookahead():
            assert not torch.equal(p.detach(), before)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(p.detach(), before)
    with pytest.raises(RuntimeError, match="lookahead point"):
        opt.step()


def test_nag_checkpoint_and_errors() -> None:
    p = torch.nn.Parameter(torch.ones(4))
    opt = ours.NAG([p], lr=0.1, momentum=0.7, weight_decay=0.1)
    for _ in range(3):
        opt.step(lambda: (opt.zero_grad(), (p**2).sum().backward()))
    q = torch.nn.Parameter(p.detach().clone())
    other = ours.NAG([q])
    other.load_state_dict(pickle.loads(pickle.dumps(opt.state_dict())))
    for x, o in ((p, opt), (q, other)):
        o.step(lambda x=x, o=o: (o.zero_grad(), (x**2).sum().backward()))
    assert torch.equal(p, q)
    for kwargs, message in (
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"momentum": -0.1}, "Invalid momentum value: -0.1"),
        ({"weight_decay": -1}, "Invalid weight_decay value: -1"),
        ({"lr": torch.ones(2)}, "Tensor lr must be 1-element"),
    ):
        with pytest.raises(ValueError, match=message):
            ours.NAG([p], **kwargs)


# -- what is done inside the block ------------------------------------------------------------------------------------


def walked(*shapes: int, dtype: torch.dtype = torch.float32) -> tuple[list[Any], Any]:
    """Parameters and their optimizer, whose momentum is not zero."""
    generator = torch.Generator().manual_seed(2)
    params = [torch.nn.Parameter(torch.randn(2 * n, generator=generator).to(dtype)[:n]) for n in shapes]
    opt = ours.NAG(params, lr=0.1)
    for _ in range(2):
        take_step(opt, params)
    return params, opt


def take_step(opt: Any, params: list[Any]) -> None:
    opt.step(lambda: (opt.zero_grad(), sum((p.float() ** 2).sum() for p in params).backward()))


LOST: dict[str, Callable[[Any], Any]] = {
    "other memory": lambda p: setattr(p, "data", torch.full_like(p, 7.0)),
    "fewer elements": lambda p: setattr(p, "data", p.data[:3]),
    "another type": lambda p: setattr(p, "data", p.data.double()),
    "the same bytes as another type": lambda p: setattr(p, "data", p.data.view(torch.float16)),
    "gaps between its elements": lambda p: setattr(p, "data", torch.as_strided(p.data, p.shape, (2,))),
    "a sign that is pending": lambda p: setattr(p, "data", torch._neg_view(p.data)),
    "freed": lambda p: p.untyped_storage().resize_(0),
}


@pytest.mark.parametrize("what", LOST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("failing", [False, True], ids=["left", "left by an error"])
def test_a_parameter_that_cannot_be_put_back_is_named_and_all_others_are_put_back(
    what: str, dtype: torch.dtype, failing: bool
) -> None:
    params, opt = walked(5, 8, 3, 9, dtype=dtype)
    before = [p.detach().clone() for p in params]

    def spoil() -> None:
        with opt.lookahead():
            LOST[what](params[1])
            if failing:
                raise ZeroDivisionError

    with pytest.raises(RuntimeError, match=r"as all others are: parameter 1 was moved or replaced$") as raised:
        spoil()
    assert isinstance(raised.value.__context__, ZeroDivisionError) is failing
    assert all(torch.equal(params[i], before[i]) for i in (0, 2, 3))
    if what == "other memory":
        assert bool((params[1] == 7.0).all())
    if what == "freed":
        return
    params[1].data = before[1].clone()
    with pytest.raises(RuntimeError, match="NAG's gradient must be taken at the lookahead point"):
        opt.step()
    twin_params, twin = walked(5, 8, 3, 9, dtype=dtype)
    for o, ps in ((opt, params), (twin, twin_params)):
        o.state_dict()
        take_step(o, ps)
    assert all(torch.equal(p, q) for p, q in zip(params, twin_params, strict=True))


KEPT: dict[str, Callable[[Any, list[Any]], Any]] = {
    "no number as lr": lambda opt, ps: opt.param_groups[0].update(lr="fast"),
    "a state that is gone": lambda opt, ps: opt.state.clear(),
    "a state of another shape": lambda opt, ps: opt.state[ps[0]].update(momentum_buffer=torch.zeros(1)),
    "a parameter that left its group": lambda opt, ps: opt.param_groups[0]["params"].pop(),
    "other values": lambda opt, ps: ps[2].data.fill_(5.0),
    "turned in place": lambda opt, ps: ps[3].data.unsqueeze_(0).t_(),
    "looked at as a column": lambda opt, ps: setattr(ps[3], "data", ps[3].data[:, None]),
}


@pytest.mark.parametrize("what", KEPT)
def test_other_changes_inside_the_block_do_not_prevent_putting_back(what: str) -> None:
    params, opt = walked(5, 8, 3, 9)
    before = [p.detach().clone() for p in params]
    with opt.lookahead():
        KEPT[what](opt, params)
        assert not torch.equal(params[0], before[0])
    assert all(torch.equal(p.reshape(-1), q) for p, q in zip(params, before, strict=True))
    assert not opt._native.ahead


def test_a_failed_lookahead_moves_nothing_and_makes_no_state() -> None:
    params, opt = walked(5, 8)
    before = [p.detach().clone() for p in params]
    opt.add_param_group({"params": [torch.nn.Parameter(torch.ones(4, 4)[:, ::2])]})
    with pytest.raises(ValueError, match="not dense"), opt.lookahead():
        pass
    assert [id(p) for p in opt.state] == [id(p) for p in params]
    assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))
    del opt.param_groups[1]
    take_step(opt, params)


def test_a_refused_gradient_after_the_block_can_be_replaced() -> None:
    params, opt = walked(5, 8)
    twin_params, twin = walked(5, 8)
    take_step(twin, twin_params)
    with opt.lookahead():
        opt.zero_grad()
        sum((p**2).sum() for p in params).backward()
    good, params[1].grad = params[1].grad, params[1].grad.to_sparse()
    with pytest.raises(TypeError, match="gradient 1 is sparse"):
        opt.step()
    params[1].grad = good
    opt.step()
    assert all(torch.equal(p, q) for p, q in zip(params, twin_params, strict=True))
    with pytest.raises(RuntimeError, match="lookahead point"):
        opt.step()


def test_a_native_step_inside_the_block_is_refused() -> None:
    """Another thread can begin a step before the block is entered."""
    params, opt = walked(5)
    work = [(group, group["params"]) for group in opt.param_groups]
    with opt.lookahead():
        inside = params[0].detach().clone()
        with pytest.raises(RuntimeError, match="hold the lookahead point"):
            opt._take_step(opt._native, work, opt.state)
        assert torch.equal(params[0], inside)
