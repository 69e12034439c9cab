"""How a network is trained: settings, their checks, and the optimizer made from them. Knows no data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np

import fastopt
from fastopt._checks import flag, integer, number, one_of, optional, positive
from fastopt._types import Array
from fastopt.mlp.network import ACTIVATIONS
from fastopt.regularization import EarlyStopping


@dataclass(frozen=True)
class TrainingSettings:
    """All settings of a training except the shape and the data. `check_settings` makes them from parameters."""

    optimizer: Any = "adam"
    lr: Any = None
    l1: float | None = None
    l2: float | None = None
    decoupled: bool | None = None
    batch_size: int | None = 64
    epochs: int = 100
    input_noise: float = 0.0
    weight_noise: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    augment: Any = None
    sample_shape: tuple[int, ...] | None = None
    max_norm: float | None = None
    early_stopping: Any = False

    @property
    def mixes(self) -> bool:
        """Whether samples are mixed, by mixup or cutmix."""
        return bool(self.mixup or self.cutmix)

    @property
    def changes_samples(self) -> bool:
        """Whether batches are augmented, noisy or mixed."""
        return bool(self.mixes or self.input_noise or self.augment is not None)

    def shared(self) -> list[Any]:
        """The settings that must be equal in networks that are trained together: all except lr, l1 and l2."""
        return [plain(getattr(self, f.name)) for f in fields(self) if f.name not in ("lr", "l1", "l2")]


def check_settings(p: Mapping[str, Any]) -> TrainingSettings:
    """Check those parameters p of the estimator that can be checked without data.

    Raises a TypeError or ValueError that names the parameter.
    """
    settings = TrainingSettings(
        optimizer=p["optimizer"],
        lr=_check_lr(p["lr"]),
        l1=optional(number, "l1", p["l1"], 0.0),
        l2=optional(number, "l2", p["l2"], 0.0),
        decoupled=optional(flag, "decoupled", p["decoupled"]),
        batch_size=optional(integer, "batch_size", p["batch_size"], 1),
        epochs=integer("epochs", p["epochs"], 1),
        input_noise=number("input_noise", p["input_noise"], 0.0),
        weight_noise=number("weight_noise", p["weight_noise"], 0.0),
        label_smoothing=number("label_smoothing", p.get("label_smoothing", 0.0), 0.0, 1.0),
        mixup=number("mixup", p["mixup"], 0.0),
        cutmix=number("cutmix", p["cutmix"], 0.0),
        augment=p["augment"],
        sample_shape=optional(_check_sizes, "sample_shape", p["sample_shape"]),
        max_norm=optional(positive, "max_norm", p["max_norm"]),
        early_stopping=p["early_stopping"],
    )
    _check_combinations(settings, p)
    return settings


def _check_combinations(s: TrainingSettings, p: Mapping[str, Any]) -> None:
    if not isinstance(s.early_stopping, (bool, np.bool_, EarlyStopping)):
        raise TypeError(f"early_stopping must be True, False or an EarlyStopping, got {s.early_stopping!r}")
    if s.augment is not None and not callable(s.augment):
        raise TypeError(f"augment must be a transform of fastopt.regularization, got {s.augment!r}")
    if s.cutmix and (s.sample_shape is None or len(s.sample_shape) != 3):
        raise ValueError(f"cutmix needs sample_shape=(channels, height, width), got {s.sample_shape!r}")
    check_callbacks(p["callbacks"])
    check_verbose(p["verbose"])
    if s.batch_size == 1 and p["batch_norm"]:
        raise ValueError("batch_norm needs batches of at least two samples, got batch_size=1")
    lr = None if isinstance(s.lr, str) else s.lr
    make_optimizer(s, [np.zeros((1, 1), np.float32)], [np.zeros(1, np.float32)], [(lr, s.l1, s.l2)])


def check_verbose(value: Any) -> bool:
    """Whether a progress bar is shown. scikit-learn passes ints, where 0 is silent."""
    if not isinstance(value, (bool, np.bool_, Integral)):
        raise TypeError(f"verbose must be True, False or an int >= 0, got {value!r}")
    return integer("verbose", int(value)) > 0


def check_hidden(value: Any) -> tuple[int, ...]:
    """The sizes of the hidden layers; a single int is one layer."""
    one = isinstance(value, Integral) and not isinstance(value, bool)
    return _check_sizes("hidden_layer_sizes", (value,) if one else value)


def check_activation(value: Any) -> str:
    return str(one_of("activation", value, ACTIVATIONS))


def check_callbacks(value: Any) -> tuple[Callable[..., Any], ...]:
    """A function, a sequence of functions, or None."""
    if value is None or callable(value):
        return () if value is None else (value,)
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not all(map(callable, value)):
        raise TypeError(f"callbacks must be a function or a sequence of functions, got {value!r}")
    return tuple(value)


def _check_lr(value: Any) -> Any:
    if isinstance(value, str):
        if value != "search":
            raise ValueError(f"lr must be a number, a schedule, None or 'search', got {value!r}")
        return value
    return value if callable(value) else optional(number, "lr", value, 0.0)


def _check_sizes(name: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, (str, bytes)) or not (isinstance(value, Sequence) or hasattr(value, "__array__")):
        raise TypeError(f"{name} must be a tuple of ints, got {value!r}")
    return tuple(integer(f"{name}[{i}]", n, 1) for i, n in enumerate(value))


def plain(value: Any) -> Any:
    """A setting as plain values that can be compared with ==.

    Objects become their class and attributes, optimizers their class and hyper-parameters, arrays a hash. Functions,
    classes and objects without attributes are returned as they are: they are equal only to themselves.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return [str(value.dtype), list(value.shape), hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()]
    if isinstance(value, dict):
        return {repr(plain(k)): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, partial):
        return [partial, value.func, plain(value.args), plain(value.keywords)]
    if isinstance(value, fastopt.Optimizer):
        return [type(value), plain(_hyper_parameters(value))]
    if isinstance(value, type) or not hasattr(value, "__dict__") or hasattr(value, "__qualname__"):
        return value
    return [type(value), plain(vars(value))]


# -- the optimizer ----------------------------------------------------------------------------------------------------


def available_optimizers() -> dict[str, type[fastopt.Optimizer]]:
    """Every public optimizer class by its name."""
    public = {name: getattr(fastopt, name) for name in fastopt.__all__}
    classes = {name: c for name, c in public.items() if isinstance(c, type) and issubclass(c, fastopt.Optimizer)}
    return {name: c for name, c in classes.items() if c is not fastopt.Optimizer}


def _hyper_parameters(optimizer: fastopt.Optimizer) -> dict[str, Any]:
    own = {k: v for k, v in optimizer.param_groups[0].items() if k not in ("params", "name")}
    return {**own, "convention": optimizer.convention, "skip_nonfinite": optimizer.skip_nonfinite}


def _factory(spec: Any) -> Callable[..., fastopt.Optimizer]:
    """A function that makes the optimizer from params. spec: a name, a class, a partial of a class, or an instance."""
    if isinstance(spec, str):
        known = {name.lower(): c for name, c in available_optimizers().items()}
        if spec.lower() not in known:
            raise ValueError(f"optimizer must be one of {', '.join(sorted(known))}, got {spec!r}")
        return known[spec.lower()]
    if isinstance(spec, fastopt.Optimizer):
        return partial(type(spec), **_hyper_parameters(spec))
    made = spec.func if isinstance(spec, partial) else spec
    if isinstance(made, type) and issubclass(made, fastopt.Optimizer) and made is not fastopt.Optimizer:
        factory: Callable[..., fastopt.Optimizer] = spec
        return factory
    raise TypeError(f"optimizer must be a name, an optimizer or its class, got {spec!r}")


def with_hyper_parameters(spec: Any, values: dict[str, Any]) -> Any:
    """The same optimizer with these hyper-parameters in place of its own."""
    return partial(_factory(spec), **values)


def make_optimizer(
    s: TrainingSettings,
    matrices: list[Array],
    others: list[Array],
    rates: list[tuple[Any, float | None, float | None]],
) -> fastopt.Optimizer:
    """One optimizer over stacked parameters, whose first axis is the model.

    rates: (lr, l1, l2); one entry for all models, or one per model. Biases and the scales of batch norms (`others`) are
    not penalized.
    """
    make = _factory(s.optimizer)
    groups: list[dict[str, Any]] = []
    for k, (lr, l1, l2) in enumerate(rates):
        rate = {} if lr is None else {"lr": lr}
        penalty = {"l1": l1, "weight_decay": l2, "decoupled": s.decoupled}
        penalty = {name: v for name, v in penalty.items() if v is not None}
        own = [[a if len(rates) == 1 else a[k] for a in arrays] for arrays in (matrices, others)]
        groups.append({"params": own[0], **rate, **penalty})
        groups.append({"params": own[1], **rate, "weight_decay": 0.0, "l1": 0.0})
    return make(groups)
