"""The estimator's parameters, checked, as what training takes. Knows the optimizers' names and no data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np

import fastopt
from fastopt.mlp.fingerprint import described
from fastopt.mlp.network import ACTIVATIONS, Array
from fastopt.regularization import EarlyStopping


@dataclass(frozen=True)
class Settings:
    """How a network is trained, beside its shape and its data."""

    optimizer: Any
    lr: Any
    l1: float | None
    l2: float | None
    decoupled: bool | None
    batch_size: int | None
    epochs: int
    input_noise: float
    weight_noise: float
    label_smoothing: float
    mixup: float
    cutmix: float
    augment: Any
    sample_shape: tuple[int, ...] | None
    max_norm: float | None
    early_stopping: Any

    def together(self) -> tuple[Any, ...]:
        """What must be the same, or as good as, in networks trained together: all but rates and penalties."""
        each = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("lr", "l1", "l2")}
        return tuple(value if isinstance(value, (int, float)) else described(value) for value in each.values())


def integer(name: str, value: Any, low: int) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be >= {low}, got {value}")
    return int(value)


def real(name: str, value: Any, low: float, high: float = math.inf, *, open_low: bool = False) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    given = float(value)
    if not (low < given if open_low else low <= given) or not given <= high or math.isinf(given):
        border = f"> {low:g}" if open_low else f">= {low:g}"
        raise ValueError(f"{name} must be {border}{'' if high == math.inf else f' and <= {high:g}'}, got {value}")
    return float(value)


def boolean(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def verbose(value: Any) -> bool:
    """Whether anything is to be shown; scikit-learn's numbers say how much, of which 0 is nothing."""
    if not isinstance(value, (bool, np.bool_, Integral)):
        raise TypeError(f"verbose must be True, False or an int >= 0, got {value!r}")
    return integer("verbose", int(value), 0) > 0


def hidden_sizes(value: Any) -> tuple[int, ...]:
    if isinstance(value, Integral) and not isinstance(value, bool):
        value = (value,)
    if isinstance(value, (str, bytes)) or not (isinstance(value, Sequence) or hasattr(value, "__array__")):
        raise TypeError(f"hidden_layer_sizes must be a tuple of ints, got {value!r}")
    return tuple(integer(f"hidden_layer_sizes[{i}]", n, 1) for i, n in enumerate(value))


def activation(value: Any) -> str:
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise ValueError(f"activation must be {', '.join(map(repr, ACTIVATIONS))}, got {value!r}")
    return str(value)


def callbacks(value: Any) -> tuple[Callable[..., Any], ...]:
    """A function, or a sequence of them, or None."""
    if value is None or callable(value):
        return () if value is None else (value,)
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not all(map(callable, value)):
        raise TypeError(f"callbacks must be a function or a sequence of functions, got {value!r}")
    return tuple(value)


def resolve(params: dict[str, Any]) -> Settings:
    """All parameters checked that do not depend on data; a TypeError or ValueError that names the one that is wrong."""
    p = params
    optional = {name: p[name] if p[name] is None else real(name, p[name], 0.0) for name in ("l1", "l2")}
    s = Settings(
        optimizer=p["optimizer"],
        lr=_rate(p["lr"]),
        l1=optional["l1"],
        l2=optional["l2"],
        decoupled=None if p["decoupled"] is None else boolean("decoupled", p["decoupled"]),
        batch_size=None if p["batch_size"] is None else integer("batch_size", p["batch_size"], 1),
        epochs=integer("epochs", p["epochs"], 1),
        input_noise=real("input_noise", p["input_noise"], 0.0),
        weight_noise=real("weight_noise", p["weight_noise"], 0.0),
        label_smoothing=real("label_smoothing", p.get("label_smoothing", 0.0), 0.0, 1.0),
        mixup=real("mixup", p["mixup"], 0.0),
        cutmix=real("cutmix", p["cutmix"], 0.0),
        augment=p["augment"],
        sample_shape=_sample_shape(p["sample_shape"]),
        max_norm=None if p["max_norm"] is None else real("max_norm", p["max_norm"], 0.0, open_low=True),
        early_stopping=p["early_stopping"],
    )
    _check_combinations(s, p)
    return s


def _check_combinations(s: Settings, p: dict[str, Any]) -> None:
    if not isinstance(s.early_stopping, (bool, np.bool_, EarlyStopping)):
        raise TypeError(f"early_stopping must be True, False or an EarlyStopping, got {s.early_stopping!r}")
    if s.augment is not None and not callable(s.augment):
        raise TypeError(f"augment must be a transform of fastopt.regularization, got {s.augment!r}")
    if s.cutmix and (s.sample_shape is None or len(s.sample_shape) != 3):
        raise ValueError(f"cutmix needs sample_shape=(channels, height, width), got {s.sample_shape!r}")
    callbacks(p["callbacks"])
    verbose(p["verbose"])
    if s.batch_size == 1 and p["batch_norm"]:
        raise ValueError("batch_norm needs batches of at least two samples, got batch_size=1")
    rate = None if isinstance(s.lr, str) else s.lr
    optimizer_for(s, [np.zeros((1, 1), np.float32)], [np.zeros(1, np.float32)], [(rate, s.l1, s.l2)])


def _rate(value: Any) -> Any:
    if value is None or callable(value):
        return value
    if isinstance(value, str):
        if value != "search":
            raise ValueError(f"lr must be a number, a schedule, None or 'search', got {value!r}")
        return value
    return real("lr", value, 0.0)


def _sample_shape(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise TypeError(f"sample_shape must be a tuple of ints, got {value!r}")
    return tuple(integer(f"sample_shape[{i}]", n, 1) for i, n in enumerate(value))


# -- the optimizer ----------------------------------------------------------------------------------------------------


def available() -> dict[str, type[fastopt.Optimizer]]:
    """Every public optimizer by its name in small letters."""
    public = [getattr(fastopt, name) for name in fastopt.__all__]
    classes = [c for c in public if isinstance(c, type) and issubclass(c, fastopt.Optimizer)]
    return {c.__name__.lower(): c for c in classes if c is not fastopt.Optimizer}


def _maker(spec: Any) -> Callable[..., fastopt.Optimizer]:
    """From a name, a class, a functools.partial of one, or an instance whose settings are taken over."""
    if isinstance(spec, str):
        known = available()
        if spec.lower() not in known:
            raise ValueError(f"optimizer must be one of {', '.join(sorted(known))}, got {spec!r}")
        return known[spec.lower()]
    if isinstance(spec, fastopt.Optimizer):
        own = {k: v for k, v in spec.param_groups[0].items() if k not in ("params", "name")}
        common = {"convention": spec.convention, "skip_nonfinite": spec.skip_nonfinite}
        return partial(type(spec), **{**own, **common})
    made = spec.func if isinstance(spec, partial) else spec
    if isinstance(made, type) and issubclass(made, fastopt.Optimizer) and made is not fastopt.Optimizer:
        maker: Callable[..., fastopt.Optimizer] = spec
        return maker
    raise TypeError(f"optimizer must be a name, an optimizer or its class, got {spec!r}")


def with_values(spec: Any, values: dict[str, Any]) -> Any:
    """The optimizer of a specification with some settings in place of its own."""
    return partial(_maker(spec), **values)


def optimizer_for(
    s: Settings, matrices: list[Array], others: list[Array], rates: list[tuple[Any, float | None, float | None]]
) -> fastopt.Optimizer:
    """One optimizer over stacked parameters. rates: (lr, l1, l2) of all models, or of each in turn if they differ.

    Biases and the scales of batch norms are not penalized: they are a group of their own where there is a penalty.
    """
    make = _maker(s.optimizer)
    groups: list[dict[str, Any]] = []
    alike = len(rates) == 1
    for k, (lr, l1, l2) in enumerate(rates):
        rate = {} if lr is None else {"lr": lr}
        penalty = {name: v for name, v in (("l1", l1), ("weight_decay", l2)) if v is not None}
        if s.decoupled is not None:
            penalty["decoupled"] = s.decoupled
        groups.append({"params": [a if alike else a[k] for a in matrices], **rate, **penalty})
        groups.append({"params": [a if alike else a[k] for a in others], **rate, "weight_decay": 0.0, "l1": 0.0})
    return make(groups)
