"""The optimizers of fastopt.torch as rows of torch's test database, and how two runs are compared. Imports torch."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.testing._internal import common_optimizers as theirs

import fastopt.torch as ours

NAMES = ("SGD", "Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW")


def _row(name: str) -> theirs.OptimizerInfo:
    """The row of torch's test database of this name, with our class: inputs, error inputs, schedulers."""
    row = next(row for row in theirs.optim_db if row.optim_cls.__name__ == name)
    return theirs.OptimizerInfo(
        getattr(ours, name),
        optim_inputs_func=row.optim_inputs_func,
        scheduler_inputs=row.scheduler_inputs,
        supported_impls=("foreach", "fused") if "fused" in row.supported_impls else ("foreach",),
        supports_fused_on=("cpu",) if "fused" in row.supported_impls else (),
        supports_complex=False,
        optim_error_inputs_func=row.optim_error_inputs_func,
    )


ROWS = [_row(name) for name in NAMES]

#: sizes around the vector widths, several dimensions, 0-d, empty
SHAPES = [(), (1,), (7,), (8,), (16,), (17,), (33,), (3, 5), (2, 3, 4), (0,), (5000,)]


def parameters(seed: int = 0, dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    """A parameter of every shape, and some in other memory orders."""
    generator = torch.Generator().manual_seed(seed)
    plain = [torch.randn(shape, generator=generator) for shape in SHAPES]
    turned = [torch.randn(5, 7, generator=generator).t(), torch.randn(2, 4, 6, 3, generator=generator)]
    turned[1] = turned[1].contiguous(memory_format=torch.channels_last)
    return [torch.nn.Parameter(x.to(dtype)) for x in plain + turned]


def gradients(params: Sequence[torch.Tensor], steps: int, seed: int = 1) -> Iterator[list[torch.Tensor]]:
    """For each step a list of gradients without zeros, one per parameter."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        drawn = [torch.randn(p.shape, generator=generator) for p in params]
        yield [torch.empty_like(p).copy_(g + 0.01 * g.sign() + (g == 0)) for p, g in zip(params, drawn, strict=True)]


def pair(name: str, **kwargs: Any) -> tuple[Any, Any, list[Any], list[Any]]:
    """Our optimizer and torch's, each with its own copies of the same parameters."""
    mine, peers = parameters(), parameters()
    return getattr(ours, name)(mine, **kwargs), getattr(torch.optim, name)(peers, **kwargs), mine, peers


def walk(
    a: Any,
    b: Any,
    mine: Sequence[Any],
    peers: Sequence[Any],
    steps: int,
    seed: int = 1,
    each: Callable[[int], Any] = id,
) -> list[torch.Tensor]:
    """Step both with the same gradients. Return per parameter the sum of |changes| of each element of the peer."""
    way = [torch.zeros_like(p) for p in peers]
    for step, grads in enumerate(gradients(mine, steps, seed)):
        before = [p.detach().clone() for p in peers]
        for p, q, g in zip(mine, peers, grads, strict=True):
            p.grad, q.grad = g, g.clone(memory_format=torch.preserve_format)
        each(step)
        a.step()
        b.step()
        for w, p, q in zip(way, peers, before, strict=True):
            w += (p.detach() - q).abs()
    return way


def assert_same(mine: Sequence[Any], peers: Sequence[Any], way: Sequence[torch.Tensor], peers_own: float = 0.0) -> None:
    """Every element agrees within 1e-6 of its value plus 2e-6 of its sum of |changes|.

    peers_own : a relative error that the peers make themselves.
    """
    for i, (p, q, w) in enumerate(zip(mine, peers, way, strict=True)):
        p, q = p.detach(), q.detach()
        assert p.shape == q.shape
        assert w.numel() == 0 or bool((w > 0).all()), f"parameter {i} has elements that did not move"
        off = (p - q).abs() - ((1e-6 + peers_own) * q.abs() + 2e-6 * w)
        assert not bool((torch.isnan(off) | (off > 0)).any()), (
            f"parameter {i} {tuple(p.shape)}: {int((off > 0).sum())} of {p.numel()} elements differ, "
            f"by {float((p - q).abs().max()):.3g} at most"
        )


#: options with every state that a class has
FULL: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    "Adagrad": {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2},
    "Adadelta": {"rho": 0.8, "weight_decay": 0.1},
    "RMSprop": {"momentum": 0.5, "centered": True, "weight_decay": 0.1},
    "Adam": {"amsgrad": True, "weight_decay": 0.1, "betas": (0.8, 0.95)},
    "AdamW": {"amsgrad": True, "weight_decay": 0.1, "maximize": True},
}


def stepped(opt: Any, params: list[Any], steps: int = 1, seed: int = 1) -> list[torch.Tensor]:
    """Take steps with gradients from a seed; the parameters after them."""
    for grads in gradients(params, steps, seed):
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        opt.step()
    return [p.detach().clone() for p in params]


def equal(a: list[Any], b: list[Any]) -> bool:
    """Whether two lists of tensors are equal bit for bit."""
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def saved(opt: Any) -> Any:
    """The optimizer's state_dict, written by torch.save and read by torch.load."""
    file = io.BytesIO()
    torch.save(opt.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)
