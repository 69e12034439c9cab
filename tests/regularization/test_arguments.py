"""A number that a public function takes is refused with its name, or the result is finite. Gradients of layers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastopt import regularization as r
from fastopt.regularization.layer import RandomLayer

X = np.random.default_rng(0).random((4, 3, 8, 8), np.float32)
PIXELS = (X * 255).astype(np.uint8)
Z, INDEX = X[:, :, 0, 0].copy(), np.array([0, 1, 2, 0])
SOFT = np.full((4, 3), 1 / 3, np.float32)
NAN, INF = float("nan"), float("inf")
VALUES = [NAN, INF, -INF, -1, 0, 1, 5e-324, 1e-40, -1e-40, 1 - 1e-16, 1 - 1e-11, 1e39, 1e300, 10**400, 2**70]
VALUES += [None, True, "x", np.zeros(3), np.zeros((2, 2)), [], (1.0, 2.0), np.float64(0.5), b"1", 1j]


def fit(**settings: Any) -> Any:
    stopping = r.EarlyStopping(**settings)
    return [float(stopping.update(v)) for v in (3.0, 1.0, 2.0)]


def both_ways(layer: Any) -> Any:
    return layer.forward(X), layer.backward(X)


def norm(**options: Any) -> Any:
    layer = r.BatchNorm(3, **options)
    return layer.forward(X), layer.backward(X), layer.running_mean, layer.eval().forward(X)


def penalize(**options: Any) -> Any:
    return [r.add_norm_penalty_(g := X.copy(), X, **options), g][1]


def tune(cls: Any, x: Any = X, **fixed: Any) -> Callable[..., Any]:
    return lambda **given: cls(**{**fixed, **given})(x, rng=0)


#: a call with one argument of the given name, and the names
CALLS: dict[str, tuple[Callable[..., Any], str]] = {
    "dropout": (lambda **k: r.dropout(X, **k), "p key"),
    "dropout_bits": (lambda **k: r.dropout_bits(**{"size": 9, "p": 0.5, "key": 1, **k}), "p key"),
    "Dropout": (lambda **k: both_ways(r.Dropout(**k)), "p"),
    "SpatialDropout": (lambda **k: both_ways(r.SpatialDropout(**k)), "p"),
    "GaussianDropout": (lambda **k: both_ways(r.GaussianDropout(**k)), "p"),
    "StochasticDepth": (lambda **k: both_ways(r.StochasticDepth(**k)), "p mode"),
    "GaussianNoise": (lambda **k: both_ways(r.GaussianNoise(**k)), "std"),
    "times noise": (lambda **k: both_ways(r.GaussianNoise(multiplicative=True, **k)), "std"),
    "add_noise": (lambda **k: r.add_noise(X, **{"std": 0.1, **k}), "std key"),
    "multiply_noise": (lambda **k: r.multiply_noise(X, **{"std": 0.1, **k}), "std key"),
    "GradientNoise": (lambda **k: r.GradientNoise(**k).add_(X.copy(), 3), "eta gamma"),
    "perturbed": (lambda **k: r.perturbed(X.copy(), **k).__enter__(), "std"),
    "norm_penalty": (lambda **k: r.norm_penalty(X, **k), "l1 l2"),
    "add_norm_penalty_": (penalize, "l1 l2"),
    "penalty_groups": (lambda **k: list(r.penalty_groups([X], **k)[0].values())[1:], "l1 weight_decay"),
    "EarlyStopping": (fit, "patience min_delta baseline start_from min_epochs latch cooldown"),
    "EarlyStopping, choices": (fit, "mode check_finite relative restore_best"),
    "max_norm_": (lambda **k: r.max_norm_(X.copy(), **{"max_norm": 1.0, **k}), "max_norm axis"),
    "BatchNorm": (norm, "eps momentum"),
    "batch_norm": (lambda **k: r.batch_norm(X, *np.ones((2, 3), np.float32), **k), "eps"),
    "smooth_labels": (lambda **k: r.smooth_labels(INDEX, **{"num_classes": 3, **k}), "smoothing"),
    "cross_entropy": (lambda **k: r.cross_entropy(Z, INDEX, **k), "label_smoothing ignore_index reduction"),
    "soft": (lambda **k: r.cross_entropy(Z, SOFT, **k), "label_smoothing"),
    "mixup": (lambda **k: r.mixup(X, rng=0, **k), "alpha p mode pairing"),
    "cutmix": (lambda **k: r.cutmix(X, rng=0, **k), "alpha p mode pairing"),
    "MixupCutmix": (lambda **k: r.MixupCutmix(rng=0, **k)(X), "mixup_alpha cutmix_alpha p switch_p mode pairing"),
    "targets": (lambda **k: r.mixup(X, rng=0)[1].targets(INDEX, num_classes=3, **k), "smoothing"),
    "RandomFlip": (tune(r.RandomFlip), "horizontal vertical"),
    "RandomCrop": (tune(r.RandomCrop), "padding fill mode"),
    "RandomCrop of bytes": (tune(r.RandomCrop, PIXELS, padding=2), "fill"),
    "RandomErasing": (tune(r.RandomErasing, p=1.0), "p scale ratio fill"),
    "RandomErasing of bytes": (tune(r.RandomErasing, PIXELS, p=1.0), "fill"),
    "Cutout": (tune(r.Cutout, size=3), "size fill"),
    "RandomBrightnessContrast": (tune(r.RandomBrightnessContrast), "brightness contrast pivot max_value clip"),
    "RandomAffine": (tune(r.RandomAffine), "degrees translate scale shear fill mode"),
    "Jitter": (tune(r.Jitter), "std"),
    "Scaling": (tune(r.Scaling), "std"),
    "WindowShift": (tune(r.WindowShift, X[:, 0, 0].copy(), most=2), "most fill mode"),
}  # fmt: skip


def numbers(result: Any) -> list[Any]:
    """All arrays and numbers in a result."""
    if isinstance(result, (tuple, list)):
        return [n for part in result for n in numbers(part)]
    return [] if result is None else [np.asarray(result)]


def outcome(call: str, name: str, value: Any) -> tuple[Any, str]:
    """The result, or None and the message of the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return CALLS[call][0](**{name: value}), ""
        except (TypeError, ValueError) as error:
            return None, str(error)


@pytest.mark.parametrize(("call", "name"), [(c, n) for c, (_, names) in CALLS.items() for n in names.split()])
def test_a_number_is_refused_or_right(call: str, name: str) -> None:
    for value in VALUES:
        label = f"{call}({name}={value!r})"
        result, message = outcome(call, name, value)
        if message:
            assert re.search(rf"\b{name}\b", message), f"{label}: {message}"
            continue
        assert not (isinstance(value, float) and not np.isfinite(value)), f"{label} was accepted"
        assert all(np.isfinite(n).all() for n in numbers(result)), f"{label} is not finite"


@pytest.mark.parametrize("p", [1 - 1e-16, 1 - 2**-33, 1 - 1e-11])
def test_a_rate_that_rounds_to_one_drops_all(p: float) -> None:
    assert not r.dropout(X, p, rng=0).any()
    assert not r.dropout_bits(100, p, key=1).any()
    assert not r.SpatialDropout(p, rng=0)(X).any()
    assert not r.StochasticDepth(p, rng=0)(X).any()


def test_a_rate_near_one_keeps_the_mean() -> None:
    """The scale is that of the rounded rate: with 2⁻³² of the elements kept, 2³²."""
    key = next(k for k in range(10**6) if r.dropout_bits(64, 1 - 2**-10, k).any())
    kept = np.unpackbits(r.dropout_bits(64, 1 - 2**-10, key), bitorder="little")
    assert np.array_equal(r.dropout(np.ones(64, np.float32), 1 - 2**-10, key=key), kept * np.float32(1024))


LAYERS = [c for c in vars(r).values() if isinstance(c, type) and issubclass(c, RandomLayer)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cls", [*LAYERS, r.BatchNorm])
def test_backward_checks_the_gradient(cls: Any, training: bool) -> None:
    layer = (cls(3) if cls is r.BatchNorm else cls(0.5)).train(training)
    with pytest.raises(RuntimeError, match="needs a forward"):
        layer.backward(X)
    layer.forward(X)
    for bad in (X[:3], X[..., :4].copy(), X.reshape(4, -1), X.astype(np.float64), X.tolist(), None):
        with pytest.raises((TypeError, ValueError), match="grad"):
            layer.backward(bad)
    assert layer.backward(X).shape == X.shape


@pytest.mark.parametrize("cls", [*LAYERS, r.MixupCutmix])
def test_the_first_lines_say_that_equal_seeds_share_their_numbers(cls: Any) -> None:
    assert "same integer seed" in "\n".join(cls.__doc__.splitlines()[:5])
