"""A step under a torch mode, a torch.func transform or a trace: by torch's operations, or refused; never unseen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import fastopt.torch as ours
from tests.support.torch_rows import FULL, NAMES


class Recording(TorchDispatchMode):
    """Writes down the names of the operations."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


class RecordingCalls(TorchFunctionMode):
    """Writes down the names of the functions."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(getattr(func, "__name__", str(func)))
        return func(*args, **(kwargs or {}))


def _with_gradient(library: Any, name: str, **kwargs: Any) -> tuple[Any, torch.nn.Parameter]:
    p = torch.nn.Parameter(torch.linspace(0.5, 2.0, 5))
    p.grad = torch.linspace(-1.0, 1.5, 5)
    return getattr(library, name)([p], **kwargs), p


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", [Recording, RecordingCalls])
@pytest.mark.parametrize("hooked", [False, True])
def test_a_mode_sees_the_operations_of_torch(name: str, mode: Any, hooked: bool) -> None:
    """Before it the optimizer has states of its own steps, and after it they serve for more. Hooks are called once."""
    found = []
    for library in (torch.optim, ours):
        opt, p = _with_gradient(library, name, **FULL[name])
        opt.step()
        calls: list[int] = []
        if hooked:
            opt.register_step_post_hook(lambda *_, calls=calls: calls.append(1))
        with mode() as recorded:
            opt.step()
        assert len(calls) == hooked
        opt.step()
        called = [x for x in recorded.seen if "profiler" not in x and "record_function" not in x and x != "__get__"]
        found.append((called, p.detach()))
    (theirs, q), (mine, p) = found
    assert mine == theirs
    assert len(mine) > 1
    torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_saved_tensors_that_may_be_mutated(name: str) -> None:
    """allow_mutation_on_saved_tensors copies what the step changes: a second backward gives the same gradients."""
    layer = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    opt = getattr(ours, name)(layer.parameters(), **FULL[name])
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        loss = layer(torch.ones(4, 6)).pow(2).mean()
        loss.backward(retain_graph=True)
        before = [p.grad.clone() for p in layer.parameters()]
        opt.step()
        opt.zero_grad()
        loss.backward()
    assert all(torch.equal(p.grad, g) for p, g in zip(layer.parameters(), before, strict=True))


def _stepped_inside(library: Any, name: str) -> Callable[[Any, Any], Any]:
    def f(x: Any, g: Any) -> Any:
        x = x.clone()
        x.grad = g
        options = {k: v for k, v in FULL[name].items() if k != "amsgrad"}  # for which torch has no vmap
        getattr(library, name)([x], **options).step()
        return x * 1

    return f


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "transformed",
    [
        torch.func.functionalize,
        lambda f: lambda x, g: torch.func.vmap(f)(x.expand(2, 3), g.expand(2, 3)),
        lambda f: lambda x, g: torch.jit.trace(f, (x, g), check_trace=False)(2 * x, 3 * g),
        lambda f: lambda x, g: make_fx(f)(x, g)(2 * x, 3 * g),
    ],
    ids=["functionalize", "vmap", "jit.trace", "make_fx"],
)
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore:There is a performance drop"
)
def test_transforms_give_what_torch_gives(name: str, transformed: Any) -> None:
    theirs, mine = (
        transformed(_stepped_inside(lib, name))(torch.ones(3), torch.ones(3)) for lib in (torch.optim, ours)
    )
    assert torch.equal(mine, theirs)
    assert not torch.equal(mine, torch.ones_like(mine)), "the step is a part of it"


def _mixed(opt: Any) -> None:
    opt.param_groups[0]["params"][0].data = torch.ones(5).bfloat16()
    opt.param_groups[0]["params"][0].grad = torch.ones(5).bfloat16()


@pytest.mark.parametrize("name", [*NAMES, "NAG"])
def test_what_torch_has_no_operations_for_is_refused(name: str) -> None:
    cases: list[tuple[Callable[[Any], Any], str]] = [
        (lambda opt: opt.step(max_norm=1.0), "max_norm, skip_nonfinite"),
        (lambda opt: opt.step(skip_nonfinite=True), "max_norm, skip_nonfinite"),
        (lambda opt: (setattr(opt, "grad_scale", torch.ones(())), opt.step()), "a GradScaler"),
        (lambda opt: (_mixed(opt), opt.step()), "a parameter is torch.bfloat16"),
    ]
    if name == "NAG":
        cases = [(lambda opt: opt.step(), "NAG has"), (lambda opt: opt.lookahead().__enter__(), "NAG has")]
    for act, message in cases:
        opt, p = _with_gradient(ours, name, **FULL.get(name, {"momentum": 0.0}))
        with Recording(), pytest.raises(RuntimeError, match=f"could not see this step: .*{message}.*has? no|no oper"):
            act(opt)
        if p.dtype == torch.float32:
            assert torch.equal(p.detach(), torch.linspace(0.5, 2.0, 5))
        assert not opt.state or name == "Adagrad"


def test_steps_in_backward_are_refused() -> None:
    opt, p = _with_gradient(ours, "Adam")
    p.grad = None
    ours.step_in_backward(opt)
    with Recording(), pytest.raises(RuntimeError, match="step_in_backward has no operations of torch"):
        (p * 2).sum().backward()
    assert not opt.state


def test_a_default_device_is_no_such_mode() -> None:
    """It is a mode for torch, but concerns new tensors only: the step keeps its bits."""
    opts = [_with_gradient(ours, "Adam", lr=0.1) for _ in range(2)]
    for (opt, _), device in zip(opts, (torch.device("cpu"), torch.device("meta")), strict=True):
        with device:
            opt.step(max_norm=1.0)
    assert torch.equal(opts[0][1], opts[1][1])
