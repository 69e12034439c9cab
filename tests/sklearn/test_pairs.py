"""Two options at once, against fits in float64: all pairs of the estimators' options, and each way to train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("torch")

from scipy.sparse import csr_array

from fastopt.regularization import EarlyStopping
from fastopt.sklearn import MLPClassifier, MLPRegressor, fit_many
from tests.sklearn.test_reference import CLASSES, COMMON, NUMBERS, WEIGHTS, Slow, X, check, compare
from tests.support.pairwise import pairwise


def rolled(samples: Any, rng: Any) -> Any:
    return np.roll(samples, int(rng.integers(4)), axis=-1)


def falling(step: int) -> float:
    return 0.008 / (1 + step / 8)


OPTIONS: dict[str, list[Any]] = {
    "activation": ["relu", "tanh", "gelu", "identity"], "optimizer": ["momentum", "sgd", "nag", "adam"],
    "batch_size": [32, None, 149], "early_stopping": [False, True, EarlyStopping(1, mode="max")],
    "hidden_layer_sizes": [(9, 7), (5,), ()], "numbers": [False, True], "weighted": [False, True],
    "lr": [0.005, falling], "l1": [None, 1e-3], "l2": [None, 0.1], "decoupled": [None, True], "dropout": [0.0, 0.3],
    "batch_norm": [False, True], "input_noise": [0.0, 0.2], "weight_noise": [0.0, 0.05], "mixup": [0.0, 0.4],
    "cutmix": [0.0, 1.0], "augment": [None, rolled], "max_norm": [None, 0.8], "warm_start": [False, True],
    "label_smoothing": [0.0, 0.2], "class_weight": [None, {0: 3.0, 1: 0.5}], "sparse": [False, True],
}  # fmt: skip


def allowed(part: dict[str, Any]) -> bool:
    """Only a classifier smooths labels and weights classes; a sparse X is not changed."""
    by_class = part.get("label_smoothing") or part.get("class_weight")
    changed = any(part.get(name) for name in ("input_noise", "mixup", "cutmix", "augment"))
    return not (part.get("numbers") and by_class) and not (part.get("sparse") and changed)


ROWS = pairwise(OPTIONS, allowed)


def name_of(row: dict[str, Any]) -> str:
    return " ".join(f"{k}={OPTIONS[k].index(v)}" for k, v in row.items() if v != OPTIONS[k][0])


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_every_pair_of_options_follows_the_equations(row: dict[str, Any]) -> None:
    row = {"sample_shape": (1, 4, 4), **row}
    numbers, weighted, sparse = (row.pop(name) for name in ("numbers", "weighted", "sparse"))
    class_weight = row.pop("class_weight")
    if numbers:
        row.pop("label_smoothing")
    weight = WEIGHTS if weighted else None
    check(row, NUMBERS if numbers else CLASSES, weight, x=csr_array(X) if sparse else X, class_weight=class_weight)


def by_parts(model: Any, y: Any, weight: Any, path: Path) -> None:
    for _ in range(4):
        model.partial_fit(X, y, sample_weight=weight, **({"classes": np.unique(y)} if y.ndim == 1 else {}))


def by_checkpoint(model: Any, y: Any, weight: Any, path: Path) -> None:
    model.set_params(epochs=2).fit(X, y, weight, checkpoint=path)
    model.set_params(epochs=4).fit(X, y, weight, checkpoint=path)


@pytest.mark.parametrize("way", [by_parts, by_checkpoint])
@pytest.mark.parametrize("numbers", [False, True])
@pytest.mark.parametrize(
    "options",
    [{"l1": 1e-3, "max_norm": 0.8}, {"batch_norm": True, "dropout": 0.3, "optimizer": "adam", "lr": 1e-3},
     {"mixup": 0.4, "weight_noise": 0.05}, {"optimizer": "nag", "lr": falling}],
    ids=lambda options: " ".join(options),
)  # fmt: skip
def test_training_in_parts_follows_the_equations(way: Any, numbers: bool, options: Any, tmp_path: Path) -> None:
    """Partial fits and a continued checkpoint reach the weights of one slow fit."""
    params, y = {**COMMON, **options}, NUMBERS if numbers else CLASSES
    model = (MLPRegressor if numbers else MLPClassifier)(**params)
    way(model, y, WEIGHTS, tmp_path / "fit.npz")
    compare(model, Slow(params, y, WEIGHTS).fit())


@pytest.mark.parametrize("numbers", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"decoupled": True}, {"max_norm": 0.8}, {"batch_norm": True, "dropout": 0.3}, {"batch_size": None},
     {"input_noise": 0.2, "weight_noise": 0.05}, {"early_stopping": True, "optimizer": "nag"}],
    ids=lambda options: " ".join(options),
)  # fmt: skip
def test_networks_trained_together_follow_the_equations(options: Any, numbers: bool) -> None:
    """Each with its own penalties, rate, seed and weights."""
    own = [{"l2": 0.1, "random_state": 3}, {"l1": 1e-3, "lr": 0.005, "random_state": 4}, {"l1": 1e-3, "l2": 0.05}]
    params, y = [{**COMMON, "lr": 0.01, **options, **mine} for mine in own], NUMBERS if numbers else CLASSES
    models = [(MLPRegressor if numbers else MLPClassifier)(**p) for p in params]
    weights = [None, WEIGHTS, WEIGHTS[::-1].copy()]
    fit_many(models, [X] * 3, [y] * 3, weights)
    for model, p, weight in zip(models, params, weights, strict=True):
        compare(model, Slow(p, y, weight).fit())


@pytest.mark.parametrize("class_weight", [None, {0: 3.0, 1: 0.5}])
def test_given_validation_samples_all_have_one_weight(class_weight: Any) -> None:
    model = MLPClassifier(**{**COMMON, "class_weight": class_weight})
    model.fit(X, CLASSES, sample_weight=WEIGHTS, X_val=X[:40], y_val=CLASSES[:40])
    right = model.predict_proba(X[:40].astype(np.float64))[np.arange(40), CLASSES[:40]]
    np.testing.assert_allclose(model.history_["val_loss"][-1], -np.log(right).mean(), rtol=1e-5)
    np.testing.assert_allclose(model.history_["val_score"][-1], np.mean(model.predict(X[:40]) == CLASSES[:40]))
