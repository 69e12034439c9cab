"""Tensors that change between two steps: fastopt.torch must see each change, or refuse the tensor."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch

import fastopt.torch as ours
from fastopt.torch import tensors


def _example() -> torch.Tensor:
    return torch.zeros(4, 6)


def _set_data(view: Callable[[Any], Any]) -> Callable[[Any], None]:
    def change(x: Any) -> None:
        x.data = view(x.data)

    return change


def _negate(x: Any) -> None:
    x.data = torch._neg_view(x.data)


#: what can happen to a tensor that remains the same Python object
CHANGES: tuple[Callable[[Any], Any], ...] = (
    _set_data(lambda x: x.clone()),
    _set_data(lambda x: x.view(torch.int32)),
    _set_data(lambda x: x.view(torch.bfloat16)),
    _set_data(lambda x: x[1:]),
    _set_data(lambda x: x[:-1]),
    _set_data(lambda x: x[:, :3]),
    lambda x: x.t_(),
    lambda x: x.resize_(2, 2),
    lambda x: x.as_strided_((4, 6), (1, 4)),
    lambda x: x.as_strided_((4, 6), (0, 0)),
    lambda x: x.set_(_example()),
    lambda x: x.set_(x.untyped_storage(), 3, (3, 6), (6, 1)),
    lambda x: x.untyped_storage().resize_(0),
    lambda x: torch._lazy_clone(x),
    lambda x: torch.utils.swap_tensors(x, _example()),
    lambda x: x.share_memory_(),
)


def _tensors_of(opt: Any, p: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"parameter": p, "gradient": p.grad, **opt.state[p]}


def _after(
    change: Callable[[torch.Tensor], Any], what: str, forget: bool, shape: tuple[int, ...] = (4, 6)
) -> list[torch.Tensor] | str:
    """All numbers after three steps, a change of one tensor, and two more; or what was said of it."""
    torch.manual_seed(0)
    ps = [torch.nn.Parameter(torch.randn(shape), requires_grad=False) for _ in range(2)]
    opt = ours.Adam(ps, lr=0.1)
    for p in ps:
        p.grad = torch.randn(shape)
    for _ in range(3):
        opt.step()
    try:
        change(_tensors_of(opt, ps[1])[what])
        for _ in range(2):
            if forget:
                del opt.__dict__["_tensor_step"]
            opt.step()
    except (TypeError, ValueError, RuntimeError) as error:
        return re.sub("0x[0-9a-f]+", "", str(error))
    found = [x for p in ps for x in _tensors_of(opt, p).values() if x is not None]
    return [x.detach().resolve_neg().clone() for x in found]


def _cases() -> list[tuple[Callable[[Any], Any], tuple[int, ...], str]]:
    """Every change of every tensor. A negation in place is noticed for one element only (see _views.pxd)."""
    changes = [
        *((c, (4, 6)) for c in CHANGES),
        (_set_data(lambda x: torch._neg_view(x.clone())), (4, 6)),
        (_negate, ()),
    ]
    return [(*c, name) for c in changes for name in ("parameter", "gradient", "exp_avg", "exp_avg_sq")]


@pytest.mark.parametrize(("change", "shape", "what"), _cases())
def test_every_change_of_a_tensor_is_seen(
    change: Callable[[torch.Tensor], Any], shape: tuple[int, ...], what: str
) -> None:
    """An optimizer that stepped before the change gives what one gives that reads every tensor for the first time."""
    seen, expected = (_after(change, what, forget, shape) for forget in (False, True))
    if isinstance(seen, str):
        assert seen == expected
    else:
        assert len(seen) == len(expected)
        for a, b in zip(seen, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)  # a variance of another sign has no root


def test_a_step_count_that_the_user_writes_or_replaces_is_read() -> None:
    """Each step by hand: Adam's first step moves by lr whatever came before in t."""
    p = torch.nn.Parameter(torch.zeros(64))
    opt = ours.Adam([p], lr=1.0, betas=(0.0, 0.0))
    p.grad = torch.ones(64)
    for _ in range(3):
        opt.step()
    step = opt.state[p]["step"]
    assert float(step) == 3.0
    step.fill_(10.0)
    opt.step()
    assert float(opt.state[p]["step"]) == 11.0
    step.data = torch.tensor(20.0, dtype=torch.float64)
    opt.step()
    assert float(opt.state[p]["step"]) == 21.0
    opt.state[p]["step"] = torch.tensor(30)
    opt.step()
    opt.step()
    assert int(opt.state[p]["step"]) == 32
    assert opt.state[p]["step"].dtype == torch.int64


def test_a_refused_gradient_is_refused_again() -> None:
    p = torch.nn.Parameter(torch.ones(4, 6))
    opt = ours.SGD([p], lr=1.0)
    p.grad = torch.ones(4, 6)
    for _ in range(3):
        opt.step()
    p.grad = torch.ones(4, 6)
    p.grad.data = torch.ones(7)
    for _ in range(3):
        with pytest.raises(ValueError, match=re.escape("gradient 0 has shape (7,), parameter has (4, 6)")):
            opt.step()
    assert (p == -2.0).all()
    p.grad.data = torch.full((4, 6), 2.0)
    opt.step()
    assert (p == -4.0).all()


def test_a_gradient_whose_copy_failed_is_copied_at_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    p = torch.nn.Parameter(torch.zeros(2, 3))
    opt = ours.SGD([p], lr=1.0)
    p.grad = torch.zeros(2, 3)
    for _ in range(3):
        opt.step()
    p.grad = torch.arange(6.0).view(3, 2).t()

    def no_memory(grad: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(tensors, "copied_gradient", no_memory)
        with pytest.raises(MemoryError):
            opt.step()
    opt.step()
    assert (p == -p.grad).all()


def _nag_whose_first_span_held(grad: torch.Tensor) -> tuple[torch.nn.Parameter, torch.nn.Parameter, ours.NAG]:
    """The second parameter's gradient, the first one having had none."""
    p = torch.nn.Parameter(torch.zeros(2, 3))
    q = torch.nn.Parameter(torch.empty_like(grad).zero_())
    opt = ours.NAG([p, q], lr=1.0, momentum=0.5)
    for _ in range(3):
        with opt.lookahead():
            q.grad = grad
        opt.step()
    q.grad, p.grad = None, grad
    return p, q, opt


def test_a_gradient_of_another_layout_given_to_another_parameter_before_a_lookahead() -> None:
    grad = torch.arange(6.0).view(3, 2).t()
    p, _, opt = _nag_whose_first_span_held(grad)
    with opt.lookahead():
        pass
    opt.step()
    assert (p == -grad).all()


def test_a_gradient_of_another_size_given_to_another_parameter_before_a_lookahead() -> None:
    p, _, opt = _nag_whose_first_span_held(torch.arange(6.0).view(2, 3))
    p.data = torch.zeros(4000)
    opt.state[p].clear()
    with opt.lookahead():
        pass
    with pytest.raises(ValueError, match=re.escape("gradient 0 has shape (2, 3), parameter has (4000,)")):
        opt.step()
    assert (p == 0.0).all()
