"""Two options at once: every pair of the estimators' options against the slow fits, and fit_many with penalties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("torch")

from scipy.sparse import csr_array

from fastopt.regularization import EarlyStopping
from tests.sklearn.test_reference import CLASSES, NUMBERS, WEIGHTS, X, check
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
