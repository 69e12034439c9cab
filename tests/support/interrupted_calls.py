"""Public calls that change an object, and all that a user can see of it: as before or as after an interruption.

A generator that the caller passes to a single call (GradientNoise) is not part of it.
"""

from __future__ import annotations

import copy
import pickle
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fastopt
from fastopt import regularization
from tests.support.interrupts import WAYS
from tests.support.rows import ROWS, Row


@dataclass(frozen=True)
class Call:
    """build() makes what `call` changes or reads. `repeats`: the call may be made again after it took place."""

    build: Callable[[], Any]
    call: Callable[[Any], Any]
    repeats: bool = True


def visible(x: Any) -> Any:
    """All that a user can see of x, in a form that can be compared."""
    if isinstance(x, np.ndarray):
        return x.dtype.str, x.shape, x.tobytes()
    if isinstance(x, np.random.Generator):
        return repr(x.bit_generator.state)
    if isinstance(x, dict):
        return {k: visible(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [visible(v) for v in x]
    if isinstance(x, fastopt.Optimizer):
        return visible([x.state_dict(), [group["params"] for group in x.param_groups], x._array_step.single])
    if isinstance(x, regularization.EarlyStopping):
        return visible([x.state_dict(), x._params, x._best])
    if type(x).__module__.startswith("torch"):
        return [str(x.dtype), x.tolist()]
    if type(x).__module__.startswith("fastopt"):
        return visible(x.state_dict() if hasattr(x, "state_dict") else vars(x))
    return repr(x)


def params() -> list[Any]:
    return [np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), np.ones(4, np.float32)]


def strided() -> list[Any]:
    return [np.ones((3, 4), np.float32).T[:2], np.ones(8, np.float32)[::2]]


def made(row: Row, *more: Any) -> Callable[[], list[Any]]:
    def build() -> list[Any]:
        opt = row.make(params(), weight_decay=0.1)
        opt.step(strided) if row.rule == "nag" else opt.step(strided())
        return [opt, *(copy.deepcopy(x) for x in more)]

    return build


def step(x: list[Any], **options: Any) -> None:
    grads = x[1]
    x[0].step(lambda: grads, **options)


def loaded(row: Row) -> dict[str, Any]:
    other = row.make([{"params": p, "name": f"group {i}"} for i, p in enumerate(params())], lr=0.25)
    saved = other.state_dict()
    for state in saved["state"]:
        state["step"] = 7
    for group in saved["param_groups"]:
        group["steps"] = 7
    return saved


def two_groups(row: Row) -> Callable[[], list[Any]]:
    return lambda: [row.make([{"params": p} for p in params()], lr=0.5), loaded(row)]


def core_calls() -> Iterator[tuple[str, Call]]:
    """Of the optimizers, for each rule."""
    for rule, row in ROWS.items():
        new = {"params": [np.ones(3, np.float32)], "lr": 0.3, "name": "late"}
        yield f"{rule}: construct", Call(lambda: [params()], lambda x, row=row: row.make(x[0]))  # type: ignore[misc]
        yield f"{rule}: add_param_group", Call(made(row, new), lambda x: x[0].add_param_group(x[1]), False)
        for options in ({}, {"max_norm": 0.5}, {"zero_grads": True, "grad_scale": 0.5, "max_norm": 1.0}):
            yield f"{rule}: step {options}", Call(made(row, strided()), lambda x, o=options: step(x, **o))  # type: ignore[misc]
        yield f"{rule}: load_state_dict", Call(two_groups(row), lambda x: x[0].load_state_dict(x[1]))
        yield f"{rule}: update", Call(two_groups(row), lambda x: x[0].param_groups[0].update(lr=0.1, l1=0.2, name="n"))
        yield f"{rule}: state_dict", Call(made(row), lambda x: x[0].state_dict())
        yield f"{rule}: deepcopy", Call(made(row), lambda x: copy.deepcopy(x[0]))
        yield f"{rule}: pickle", Call(made(row), lambda x: pickle.loads(pickle.dumps(x[0])))
    yield "save and load", Call(made(ROWS["adam"]), save_and_load)
    yield "lookahead", Call(made(ROWS["nag"]), looked_ahead)


def save_and_load(x: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        x[0].save(Path(folder) / "opt.npz", params=True)
        x[0].load(Path(folder) / "opt.npz")


def looked_ahead(x: list[Any]) -> None:
    with x[0].lookahead():
        pass


def layer_calls() -> Iterator[tuple[str, Call]]:
    """Of the layers and the other objects of fastopt.regularization."""
    x = np.linspace(-2, 2, 24, dtype=np.float32).reshape(4, 3, 2)
    layers = {
        "dropout": lambda: regularization.Dropout(0.5, rng=0),
        "noise": lambda: regularization.GaussianNoise(0.1, rng=0),
        "batch norm": lambda: regularization.BatchNorm(3),
    }
    for name, make in layers.items():
        yield f"{name}: forward", Call(lambda make=make: [make()], lambda y: y[0].forward(x))  # type: ignore[misc]
        yield f"{name}: backward", Call(lambda make=make: [forwarded(make(), x)], lambda y: y[0].backward(x))  # type: ignore[misc]
    yield "perturbed", Call(lambda: params()[:1], in_perturbed)
    yield "early stopping", Call(lambda: [stopping(), params()], lambda y: y[0].update(0.5, y[1]))


def forwarded(layer: Any, x: Any) -> Any:
    layer.forward(x)
    return layer


def in_perturbed(x: list[Any]) -> None:
    with regularization.perturbed(x, 0.1, rng=0):
        pass


def stopping() -> Any:
    monitor = regularization.EarlyStopping(3)
    monitor.update(1.0, [p + 1 for p in params()])
    return monitor


def torch_calls() -> Iterator[tuple[str, Call]]:
    """Of fastopt.torch."""
    import torch

    import fastopt.torch as ours

    def build(name: str) -> list[Any]:
        ps = [torch.nn.Parameter(torch.linspace(-1, 1, 6).reshape(3, 2).t()), torch.nn.Parameter(torch.ones(4))]
        opt = getattr(ours, name)(ps, lr=0.1)
        for p in ps:
            p.grad = torch.ones(p.shape)
        opt.step()
        return [opt, ps, {"params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.2}, copy.deepcopy(opt.state_dict())]

    for name in ("SGD", "Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW"):
        calls = {
            "step": Call(lambda n=name: build(n)[:2], lambda x: x[0].step()),  # type: ignore[misc]
            "construct": Call(lambda n=name: build(n)[1:2], lambda x, n=name: getattr(ours, n)(x[0])),  # type: ignore[misc]
            "add_param_group": Call(
                lambda n=name: build(n)[:3],  # type: ignore[misc]
                lambda x: x[0].add_param_group(dict(x[2])),
                False,
            ),
        }
        yield from ((f"torch.{name}: {what}", call) for what, call in calls.items())


CALLS = {"core": core_calls, "regularization": layer_calls, "torch": torch_calls}


def faults(call: Call, way: str, *, all_places: bool = False) -> tuple[int, list[str]]:
    """Interrupt the call at all places, or at some; return the number of interruptions and what went wrong."""
    call.call(call.build())  # what is imported or made at the first call only
    done = call.build()
    before = visible(call.build())
    call.call(done)
    after = visible(done)
    found, k, hits, missed = [], 1, 0, 0
    while missed < (20 if all_places and way == "allocation" else 1 + 2 * (way == "allocation")):
        x = call.build()
        came = WAYS[way](k, lambda x=x: call.call(x))  # type: ignore[misc]
        hits, missed = hits + came, 0 if came else missed + 1
        now = visible(x)
        if now not in (before, after):
            found.append(f"{way} {k}: neither as before nor as after")
        try:
            if now == before or call.repeats:
                call.call(x)
            if now == before and visible(x) != after:
                found.append(f"{way} {k}: the next call has another result")
        except Exception as error:
            found.append(f"{way} {k}: then {error!r}")
        k += 1 if all_places else 1 + k // 2
    return hits, found
