"""Another thread changes an array of indices while a kernel runs: the kernel must use the values that were checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastopt._native import layers, network, resample, stump
from fastopt.regularization import cross_entropy
from tests.support.changing import while_it_runs

Case = tuple[Callable[[], Any], np.ndarray[Any, Any]]
ROWS = 200_000


def floats(*shape: int) -> Any:
    return np.random.default_rng(0).random(shape, np.float32)


def entropy(classes: int) -> Case:
    z, targets = floats(ROWS, classes), np.zeros(ROWS, np.int64)
    return lambda: cross_entropy(z, targets)[1], targets


def entropy_rows() -> Case:
    z, targets, grad, losses = floats(ROWS, 20), np.zeros(ROWS, np.int64), floats(ROWS, 20), np.empty(ROWS, np.float32)
    return lambda: (network.entropy_rows(z, targets, grad, losses, 0.0, 1.0), grad.copy())[1], targets


def mix() -> Case:
    x, partner, half = floats(ROWS, 100), np.zeros(ROWS, np.int64), np.full(ROWS, 0.5, np.float32)
    return lambda: layers.mix(x, partner, half, half), partner


def images(kernel: str, numbers: int, changed: str) -> Case:
    x = np.random.default_rng(0).integers(0, 255, (4000, 3, 80, 80), np.uint8)
    given = {"place": np.zeros((4000, numbers), np.int64), "partner": np.zeros(4000, np.int64)}
    given["place"][:, 1::2] = 30
    paste = {"other": x, "partner": given["partner"]} if kernel == "paste" else {}
    fill = np.zeros(3, np.uint8)
    return lambda: layers.images(kernel, x, False, place=given["place"], fill=fill, **paste), given[changed]


def places(changed: int) -> Case:
    rows = 2000
    arrays = np.arange(rows, dtype=np.uint32), np.arange(0, rows, 40), np.array([[0, rows, rows]])
    x = np.arange(rows, dtype=float)
    return lambda: resample.resample_places(x, *arrays, 7, 0, 4000), arrays[changed]


def labels(classes: int) -> Case:
    order = np.argsort(floats(20, ROWS), axis=1).astype(np.uint32) * 2 + 1
    search, weight, label = stump.StumpSearch(order), np.ones(ROWS), np.zeros(ROWS, np.int32)
    label[::3] = classes - 1
    label[1::7] = 1
    return lambda: np.concatenate([np.ravel(v) for v in search.classes(weight, label, classes)]), label


CASES: dict[str, Callable[[], Case]] = {
    "targets of cross_entropy": lambda: entropy(100),
    "targets of cross_entropy, few classes": lambda: entropy(16),
    "targets of a network": entropy_rows,
    "partners": mix,
    "partners of boxes": lambda: images("paste", 4, "partner"),
    "boxes": lambda: images("paste", 4, "place"),
    "windows": lambda: images("crop", 2, "place"),
    "order of values": lambda: places(0),
    "places": lambda: places(1),
    "strata": lambda: places(2),
    "labels of a stump, 2": lambda: labels(2),
    "labels of a stump, 3": lambda: labels(3),
}


@pytest.mark.parametrize("name", CASES)
def test_a_kernel_uses_the_indices_that_were_checked(name: str) -> None:
    """The changed values are valid, too, so that a kernel that reads them gives a wrong result and does not crash."""
    call, array = CASES[name]()
    expected, before = call(), array.copy()
    got = while_it_runs(call, lambda: array.__setitem__(..., array[::-1] // 2 + (array.max() == 0)))
    assert not np.array_equal(array, before)
    assert np.array_equal(got, expected)


def test_a_stump_keeps_its_order() -> None:
    order = np.array([[0, 3, 5, 7]], np.uint32)
    search = stump.StumpSearch(order)
    order[:] = 2**32 - 1
    assert search.squares(np.ones(4), np.arange(4.0))[:3] == (0, 1, 2)
