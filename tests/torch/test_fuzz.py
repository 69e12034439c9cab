"""Random changes of parameters, gradients and states: a step with records of earlier steps equals one without records.

A sequence goes on after an error: the next step must be right, too.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch

import fastopt.torch as ours

SHAPES = ((), (5,), (3, 4), (4, 3), (3, 4), (2, 1, 3), (1, 2, 1, 2, 1, 2), (0, 3), (3, 4))
CLASSES: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda ps: ours.SGD(ps, lr=0.1),
    "Momentum": lambda ps: ours.SGD(ps, lr=0.1, momentum=0.9, dampening=0.1),
    "NAG": lambda ps: ours.NAG(ps, lr=0.1, momentum=0.9),
    "Adam": lambda ps: ours.Adam(ps, lr=0.1, weight_decay=0.01),
    "RMSprop": lambda ps: ours.RMSprop(ps, lr=0.1, momentum=0.5),
}


class Life:
    """An optimizer and random changes of it and its tensors. The seed determines every choice."""

    def __init__(self, name: str, seed: int, forgets: bool) -> None:
        self.rng, self.torch_rng = random.Random(seed), torch.Generator().manual_seed(seed)
        self.forgets = forgets
        self.kept: list[Any] = []
        self.ps = [torch.nn.Parameter(self.numbers(shape)) for shape in SHAPES]
        self.opt = CLASSES[name]([{"params": self.ps[:5]}, {"params": self.ps[5:], "lr": 0.05}])

    def numbers(self, shape: Any) -> torch.Tensor:
        return torch.randn(*shape, generator=self.torch_rng) if shape else torch.randn(1, generator=self.torch_rng)[0]

    def parameter(self) -> Any:
        return self.rng.choice(self.ps)

    def state(self) -> tuple[dict[str, Any], str]:
        held = [(s, k) for p in self.ps if p in self.opt.state for s in [self.opt.state[p]] for k in s]
        return self.rng.choice(held) if held else ({"none": torch.zeros(1)}, "none")

    def relaid(self, x: Any) -> Any:
        """The same numbers in another layout, or with gaps, or another type, or a pending sign; or not the same."""
        return self.rng.choice(
            [
                lambda: x.clone(),
                lambda: x.mT.contiguous().mT if x.ndim > 1 else x.clone(),
                lambda: torch.stack([x, x], -1)[..., 0],
                lambda: torch._neg_view(-x),
                lambda: x.to(torch.bfloat16),
                lambda: x.double(),
                lambda: x.reshape(-1),
                lambda: x[..., None],
                lambda: x.reshape(-1)[:1].expand(x.shape) if x.numel() else x,
                lambda: torch._lazy_clone(x) if not x.requires_grad else x,
            ]
        )()

    # -- the changes --------------------------------------------------------------------------------------------------

    def fresh_gradients(self) -> None:
        for p in self.ps:
            if self.rng.random() < 0.7:
                p.grad = self.numbers(p.shape).to(p.dtype)

    def gradient_goes(self) -> None:
        self.parameter().grad = None

    def gradient_is_added_to(self) -> None:
        for p in self.ps:
            if p.grad is not None and p.grad.is_contiguous():
                p.grad.add_(0.25)

    def gradient_moves(self) -> None:
        p, q = self.parameter(), self.parameter()
        if p.grad is not None and p.grad.shape == q.shape and p.grad.dtype == q.dtype:
            q.grad, p.grad = p.grad, None

    def gradient_is_relaid(self) -> None:
        p = self.parameter()
        if p.grad is not None:
            p.grad.data = self.relaid(p.grad.data)

    def gradient_is_the_parameter(self) -> None:
        p = self.parameter()
        p.grad = p.data

    def gradient_of_nan(self) -> None:
        p = self.parameter()
        p.grad = torch.full_like(p.data, float("nan"))

    def parameter_is_relaid(self) -> None:
        p = self.parameter()
        p.data = self.relaid(p.data)

    def parameter_is_restored(self) -> None:
        for p, shape in zip(self.ps, SHAPES, strict=True):
            if p.dtype != torch.float32 or p.shape != shape:
                p.data, p.grad = self.numbers(shape), None

    def parameter_is_swapped(self) -> None:
        p = self.parameter()
        p.grad = None
        torch.utils.swap_tensors(p, torch.nn.Parameter(p.data.clone()))

    def memory_is_another(self) -> None:
        self.with_memory_freed(lambda: None)

    def memory_is_gone_meanwhile(self) -> None:
        self.with_memory_freed(self.step)

    def with_memory_freed(self, do: Callable[[], None]) -> None:
        p = self.parameter()
        p.data.data_ptr()  # torch cannot resize what it has still to copy
        storage = p.data.untyped_storage()
        copied = storage.clone()
        storage.resize_(0)
        try:
            do()
        finally:
            storage.resize_(copied.nbytes())
            storage.copy_(copied)

    def memory_is_shared(self) -> None:
        p = self.parameter()
        self.kept.append((torch._lazy_clone(p.data), repr(p.tolist())))

    def parameter_needs_no_gradient(self) -> None:
        p = self.parameter()
        p.requires_grad_(not p.requires_grad)

    def state_is_relaid(self) -> None:
        state, name = self.state()
        state[name] = self.relaid(state[name])

    def state_becomes_another_inside(self) -> None:
        state, name = self.state()
        state[name].data = self.relaid(state[name].data)

    def state_goes(self) -> None:
        state, name = self.state()
        self.rng.choice([state.clear, lambda: state.pop(name)])()

    def state_is_anothers(self) -> None:
        (a, k), (b, n) = self.state(), self.state()
        b[n] = a[k]

    def count_is_another(self) -> None:
        state, name = self.state()
        if name == "step":
            state[name] = torch.tensor(self.rng.choice([3, 4.0, -1.0]))

    def state_is_loaded(self) -> None:
        self.opt.load_state_dict(copy.deepcopy(self.opt.state_dict()))

    def states_are_cleared(self) -> None:
        self.opt.state.clear()

    def hyper_parameter_is_another(self) -> None:
        group = self.rng.choice(self.opt.param_groups)
        group["lr"] = self.rng.choice([0.1, 0.05, 0.02])
        if "momentum" in group:
            group["momentum"] = self.rng.choice([0.9, 0.0, 0.5])
        if "amsgrad" in group:
            group["amsgrad"] = self.rng.choice([True, False, False])

    def order_is_another(self) -> None:
        self.rng.shuffle(self.rng.choice(self.opt.param_groups)["params"])

    def groups_change_places(self) -> None:
        self.opt.param_groups.reverse()

    def group_is_added(self) -> None:
        if len(self.opt.param_groups[-1]["params"]) > 1:
            self.opt.add_param_group({"params": [self.opt.param_groups[-1]["params"].pop()], "lr": 0.3})

    def parameter_is_listed_elsewhere(self) -> None:
        a, b = self.rng.choice(self.opt.param_groups)["params"], self.rng.choice(self.opt.param_groups)["params"]
        if len(a) > 1:
            b.append(a.pop(0))

    # -- the step -----------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Replace the native step by a new one without records. Keep NAG's flag of the lookahead point."""
        if self.forgets:
            old = self.opt._native
            self.opt.__dict__["_tensor_step"] = self.opt._new_step()
            self.opt._native.looked_ahead = old.looked_ahead

    def step(self) -> None:
        options = self.rng.choice([{}, {}, {"max_norm": 0.5}, {"skip_nonfinite": True}])
        ahead = self.rng.choice([[], [self.gradient_moves, self.fresh_gradients], [self.gradient_goes]])
        self.forget()
        if isinstance(self.opt, ours.NAG):
            with self.opt.lookahead():
                for change in ahead:
                    change()
            self.forget()
        self.opt.step(**options)

    def some_time(self) -> list[Any]:
        """Make one or two changes and a step. Return everything that a user can observe."""
        said = [self.attempt(self.rng.choice(CHANGES), self) for _ in range(self.rng.choice([0, 0, 1, 2]))]
        said.append(self.attempt(self.step))
        assert all(repr(a.tolist()) == b for a, b in self.kept), "a copy that is still to be made was written to"
        found = [x for p in self.ps for x in (p.data, p.grad, *self.opt.state.get(p, {}).values())]
        return [said, *map(_numbers, found)]

    @staticmethod
    def attempt(do: Callable[..., Any], *args: Any) -> str:
        try:
            do(*args)
        except (TypeError, ValueError, KeyError, RuntimeError) as error:
            return re.sub("0x[0-9a-f]+", "", f"{type(error).__name__}: {error}")
        return ""


#: changes that cause no error are listed twice
CHANGES = [
    change
    for name, change in vars(Life).items()
    if name.split("_")[0] in ("gradient", "parameter", "memory", "state", "states", "count", "hyper", "order", "groups")
    and name not in ("parameter", "state")
] + 3 * [Life.fresh_gradients, Life.parameter_is_restored, Life.states_are_cleared, Life.gradient_is_added_to]


def _numbers(x: Any) -> Any:
    """The numbers as text, in which NaN equals NaN."""
    return None if x is None else (x.dtype, x.stride(), repr(x.tolist()))


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("name", CLASSES)
def test_records_of_earlier_steps_change_no_result(name: str, seed: int) -> None:
    with_records, without_records = Life(name, seed, False), Life(name, seed, True)
    for moment in range(60):
        assert with_records.some_time() == without_records.some_time(), f"after {moment} moments"
