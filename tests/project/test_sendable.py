"""Copies of every public object with a state, in memory, from a file or in another process, go on like the original."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

import joblib
import torch

import fastopt
import fastopt.torch as adapter
from fastopt import ensemble, regularization, sklearn, validation
from fastopt import regularization as reg
from tests.support.rows import ROWS, arrays, contents, given, steps

RNG = np.random.default_rng(3)
X = RNG.normal(size=(40, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)
IMAGES = RNG.random((4, 2, 6, 6)).astype(np.float32)


class Case(NamedTuple):
    """A function that makes an object, and one that uses it further and returns the numbers that come out."""

    make: Callable[[], Any]
    go_on: Callable[[Any], Any]


def step(opt: Any) -> Any:
    opt.step(given(arrays(9)), max_norm=2.0)
    return contents(opt), opt.skipped


def torch_opt(name: str) -> Any:
    params = [torch.nn.Parameter(torch.from_numpy(a)) for a in (X.copy(), X[0].copy())]
    opt = getattr(adapter, name)(params, lr=0.1)
    torch_step(opt)
    return opt


def torch_step(opt: Any) -> Any:
    params = opt.param_groups[0]["params"]

    def closure() -> float:
        for p in params:
            p.grad = p.detach() / 3
        return 0.0

    opt.step(closure)
    return [p.detach().numpy().copy() for p in params]


def forward(layer: Any) -> Any:
    first = layer.backward(IMAGES + 1)
    again = [layer.forward(IMAGES) + 0, layer.backward(IMAGES) + 0]
    for name in ("weight", "bias"):
        if hasattr(layer, name):
            getattr(layer, name)[...] += 1  # as an optimizer does
    return first, again, layer.eval().forward(IMAGES) + 0


def after_forward(layer: Any) -> Any:
    layer.forward(IMAGES)
    return layer


def stopper() -> Any:
    early, w = reg.EarlyStopping(patience=3), X.copy()
    early.update(1.0, w)
    return early


def updates(early: Any) -> Any:
    w = X + 1
    stops = [early.update(value, w) for value in (0.5, 2.0)]
    w += 1
    early.restore()
    return stops, w, early.restore(w), w, early.state_dict()


def noise(layer: Any) -> Any:
    grad = X.copy()
    layer.add_(grad, 3)
    return grad


def mix(layer: Any) -> Any:
    x, mixed = layer(IMAGES)
    return x, mixed.lam, mixed.partner


def partial(model: Any) -> Any:
    before = model.predict(X)
    return before, model.partial_fit(X, Y).coefs_, model.intercepts_


def refit(model: Any) -> Any:
    before = model.predict(X)
    if hasattr(model, "warm_start"):
        model.set_params(warm_start=True)
    if hasattr(model, "n_estimators"):
        model.set_params(n_estimators=6)
    return before, model.fit(X, Y).predict(X)


def transformed(transform: Any) -> Any:
    return transform(IMAGES[0] if isinstance(transform, reg.WindowShift) else IMAGES, rng=0)


def splits(cv: Any) -> Any:
    return [np.concatenate(split) for split in cv.split(X, Y)]


def net(cls: Any, **params: Any) -> Any:
    return cls((4,), epochs=2, batch_size=8, random_state=0, **params).fit(X, Y)


def fitted(cls: Any) -> Any:
    options = {"n_estimators": 3, "random_state": 0} if "n_estimators" in inspect.signature(cls).parameters else {}
    return cls(**{k: v for k, v in options.items() if k in inspect.signature(cls).parameters}).fit(X, Y)


LAYERS = {
    "BatchNorm": lambda: reg.BatchNorm(2),
    "GaussianNoise": lambda: reg.GaussianNoise(0.3, rng=1),
    **{n: (lambda n=n: getattr(reg, n)(0.4, rng=1)) for n in ("Dropout", "GaussianDropout", "SpatialDropout")},
    "StochasticDepth": lambda: reg.StochasticDepth(0.4, rng=1),
}
TRANSFORMS = {
    "Compose": lambda: reg.Compose([reg.RandomFlip(), reg.Cutout(2)]),
    "Cutout": lambda: reg.Cutout(2, fill=[0.1, 0.2]),
    "WindowShift": lambda: reg.WindowShift(2),
    **{n: (lambda n=n: getattr(reg, n)(0.4)) for n in ("Jitter", "Scaling")},
    **{n: getattr(reg, n) for n in ("RandomAffine", "RandomBrightnessContrast", "RandomErasing", "RandomFlip")},
    "RandomCrop": lambda: reg.RandomCrop((4, 4), 1, fill=[0.1, 0.2]),
}
NETS = {
    "plain": lambda: net(sklearn.MLPClassifier),
    "MLPClassifier": lambda: net(sklearn.MLPClassifier, batch_norm=True, dropout=0.2, optimizer="nag"),
    "MLPRegressor": lambda: net(sklearn.MLPRegressor, input_noise=0.1, optimizer="adam"),
}
CASES: dict[str, Case] = {
    **{f"row {n}": Case(lambda row=row: steps(row.make(arrays(0)), 1, 2), step) for n, row in ROWS.items()},
    "AdamW": Case(lambda: steps(fastopt.AdamW(arrays(0), 0.1), 1, 2), step),
    **{f"torch.{n}": Case(lambda n=n: torch_opt(n), torch_step) for n in adapter.__all__ if n[0].isupper()},
    **{n: Case(lambda make=make: after_forward(make()), forward) for n, make in LAYERS.items()},
    **{n: Case(make, transformed) for n, make in TRANSFORMS.items()},
    **{n: Case(make, partial) for n, make in NETS.items()},
    "early": Case(lambda: net(sklearn.MLPClassifier, early_stopping=stopper(), batch_norm=True), refit),
    "EarlyStopping": Case(stopper, updates),
    "GradientNoise": Case(lambda: reg.GradientNoise(0.3, rng=1), noise),
    "MixupCutmix": Case(lambda: reg.MixupCutmix(rng=1), mix),
    **{n: Case(lambda n=n: fitted(getattr(ensemble, n)), refit) for n in ensemble.__all__},
    "folds": Case(lambda: validation.KFold(4, shuffle=True, rng=np.random.default_rng(1)), splits),
    "purged": Case(lambda: validation.PurgedKFold(4, times=np.arange(40.0), end_times=np.arange(40.0) + 1), splits),
    "batches": Case(lambda: fastopt.batches(X, batch_size=7, shuffle=True, rng=1), list),
}
del CASES["torch.InBackward"]  # it holds hooks of a graph


def out_of_band(x: Any, folder: Path) -> Any:
    buffers: list[Any] = []
    data = pickle.dumps(x, 5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(b.raw()) for b in buffers])


def from_joblib(x: Any, folder: Path, **options: Any) -> Any:
    joblib.dump(x, folder / "x.joblib")
    return joblib.load(folder / "x.joblib", **options)


WAYS: dict[str, Callable[[Any, Path], Any]] = {
    **{f"pickle {k}": (lambda x, _, k=k: pickle.loads(pickle.dumps(x, k))) for k in range(2, 6)},
    "out of band": out_of_band,
    "deepcopy": lambda x, _: copy.deepcopy(x),
    "joblib": from_joblib,
    "mmap": lambda x, folder: from_joblib(x, folder, mmap_mode="r"),
}
if find_spec("cloudpickle"):
    WAYS["cloudpickle"] = lambda x, _: pickle.loads(__import__("cloudpickle").dumps(x))


@pytest.mark.parametrize("name", CASES)
def test_a_copy_goes_on_like_the_original(name: str, tmp_path: Path) -> None:
    make, go_on = CASES[name]
    original = make()
    copies = {way: send(original, tmp_path) for way, send in WAYS.items()}
    expected = go_on(original)
    for way, other in copies.items():
        np.testing.assert_equal(go_on(other), expected, err_msg=way)


def go_on_with(name: str, x: Any) -> Any:
    """For another process."""
    return CASES[name].go_on(x)


@pytest.mark.slow
def test_objects_go_on_in_a_worker_of_joblib() -> None:
    """joblib sends arrays as read-only maps of a file, as if all of them were large."""
    objects = {name: make() for name, (make, _) in CASES.items()}
    calls = [joblib.delayed(go_on_with)(*item) for item in objects.items()]
    got = joblib.Parallel(2, backend="loky", max_nbytes=1)(calls)
    for (name, original), result in zip(objects.items(), got, strict=True):
        np.testing.assert_equal(result, go_on_with(name, original), err_msg=name)


def test_every_class_has_a_row() -> None:
    bases = (fastopt.Optimizer, reg.Layer, reg.Transform, ensemble.DecisionStumpClassifier.__mro__[-3])
    modules = (fastopt, regularization, ensemble, sklearn)
    classes = {c for m in modules for c in map(m.__dict__.get, m.__all__) if inspect.isclass(c) and c not in bases}
    shown = {type(make()) for make, _ in CASES.values()}
    assert {c for c in classes if hasattr(c, "fit") or issubclass(c, bases)} <= shown
