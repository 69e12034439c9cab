"""Hyper-parameters of fastopt.torch: read anew in each step, as tensors, from every scheduler of torch."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch

import fastopt.torch as ours
from tests.support.torch_rows import (
    FULL,
    NAMES,
    assert_same,
    equal,
    pair,
    parameters,
    stepped,
    walk,
)


@pytest.mark.parametrize("name", NAMES)
def test_changed_hyper_parameters_count_from_the_next_step_on(name: str) -> None:
    a, b, mine, peers = pair(name, **FULL[name])
    changes: list[dict[str, Any]] = [{"lr": 0.02}, {"weight_decay": 0.3}, {"maximize": not FULL[name].get("maximize")}]
    changes += [{k: v} for k, v in {"eps": 1e-3, "momentum": 0.7, "alpha": 0.9, "rho": 0.5}.items() if k in a.defaults]
    changes += [{"betas": (0.5, 0.6)}] if "betas" in a.defaults else []
    changes += [{"dampening": 0.6}] if "dampening" in a.defaults else []
    changes += [{"lr_decay": 0.7}] if "lr_decay" in a.defaults else []

    def change(step: int) -> None:
        for opt in (a, b):
            opt.param_groups[0].update(changes[step % len(changes)])

    assert_same(mine, peers, walk(a, b, mine, peers, 2 * len(changes), each=change))


@pytest.mark.parametrize("name", NAMES)
def test_tensor_hyper_parameters(name: str) -> None:
    """A tensor lr counts as it is at the step, also when it is changed in place."""
    a, b, mine, peers = pair(name)
    rates = torch.tensor(0.01), torch.tensor([0.01])
    for opt, rate in zip((a, b), rates, strict=True):
        opt.param_groups[0]["lr"] = rate
    if "betas" in a.defaults:
        for opt in (a, b):
            opt.param_groups[0]["betas"] = (torch.tensor(0.8), torch.tensor(0.9))

    def change(step: int) -> None:
        for rate in rates:
            rate.mul_(0.8)

    assert_same(mine, peers, walk(a, b, mine, peers, 6, each=change))
    getattr(ours, name)(parameters(), lr=torch.tensor(0.1))


SCHEDULERS = {
    "StepLR": lambda s, o: s.StepLR(o, 2, 0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 4], 0.5),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.3, 3),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.3, 0.9, 5),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.8),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 6),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda t: 1 / (t + 1)),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda t: 0.9),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.1, total_steps=12),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.001, 0.1, 2, cycle_momentum="momentum" in o.defaults),
    "SequentialLR": lambda s, o: s.SequentialLR(o, [s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.9)], [2]),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.9)]),
    "ReduceLROnPlateau": lambda s, o: s.ReduceLROnPlateau(o, patience=1),
    "SWALR": lambda s, o: torch.optim.swa_utils.SWALR(o, 0.05, 3),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_schedulers(name: str, scheduler: str) -> None:
    a, b, mine, peers = pair(name, **FULL[name])
    made = [SCHEDULERS[scheduler](torch.optim.lr_scheduler, opt) for opt in (a, b)]
    rates = set()

    def change(step: int) -> None:
        if step > 0:
            for x in made:
                x.step(*[1.0] if scheduler == "ReduceLROnPlateau" else [])
        assert a.param_groups[0]["lr"] == b.param_groups[0]["lr"]
        rates.add(a.param_groups[0]["lr"])

    assert_same(mine, peers, walk(a, b, mine, peers, 10, each=change))
    assert len(rates) > 1


def test_every_scheduler_of_torch_is_tested() -> None:
    theirs = {name for name in torch.optim.lr_scheduler.__all__ if name not in ("LRScheduler",)}
    assert theirs <= SCHEDULERS.keys()


@pytest.mark.parametrize("name", NAMES)
def test_lr_of_zero_moves_nothing(name: str) -> None:
    params = parameters()
    before = [p.detach().clone() for p in params]
    opt = getattr(ours, name)(params, lr=0.0, **{k: v for k, v in FULL[name].items() if k != "lr"})
    assert equal(stepped(opt, params, 3), before)


@pytest.mark.parametrize("name", [*NAMES, "NAG"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), torch.tensor(float("nan"))], ids=str)
def test_a_hyper_parameter_that_is_not_finite_is_named(name: str, bad: Any) -> None:
    """Written into a group, where torch does not check it. Nothing changes."""
    params = parameters()
    opt = getattr(ours, name)(params)
    before = [p.detach().clone() for p in params]
    for p in params:
        p.grad = torch.ones_like(p)
    for key, value in opt.defaults.items():
        if value is None or isinstance(value, bool) or key == "initial_accumulator_value":
            continue
        opt.param_groups[0][key] = (value[0], bad) if isinstance(value, tuple) else bad
        label = rf"{key}\[1\]" if isinstance(value, tuple) else key
        with pytest.raises(ValueError, match=f"^{label} must be finite, got .*(nan|inf)"):
            opt.step(lambda: None)
        opt.param_groups[0][key] = value
    assert equal(before, params)
