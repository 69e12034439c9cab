"""Tensors of many shapes, one step of any optimizer, and comparisons of whole optimizers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.support.rows import (
    TILE,
    Array,
    Row,
    assert_same_bits,
    numbers,
    variants,
)

#: 0-d, empty, smaller than a vector, around a tile, more tiles than threads, in random order of size
SHAPES = [(), (0,), (5,), (TILE + 1,), (2, 0, 3), (1,), (3, 7), (4 * TILE - 1,), (), (2, 2, 2, 2), (TILE,), (33,)]


def tensors(seed: int, shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [numbers(rng, math.prod(s), -3.0, 1.0).reshape(s) for s in shapes]


def copies(arrays: Sequence[Array]) -> list[Array]:
    return [a.copy() for a in arrays]


def everything(opt: Any) -> list[Array]:
    """All arrays that a step writes: parameters, then states."""
    params = [p for group in opt.param_groups for p in group["params"]]
    return [*params, *(v for state in opt.state for name, v in state.items() if name != "step")]


def step(opt: Any, grads: Any, **options: Any) -> float | None:
    """One step; the gradients are passed as a closure, which every optimizer accepts."""
    return opt.step(lambda: grads, **options)  # type: ignore[no-any-return]


def assert_same_optimizers(a: Any, b: Any, label: str) -> None:
    for i, (x, y) in enumerate(zip(everything(a), everything(b), strict=True)):
        assert_same_bits(x, y, f"{label}, buffer {i}")
    assert [s["step"] for s in a.state] == [s["step"] for s in b.state], label


def last_variant(row: Row) -> dict[str, Any]:
    """Arguments with all numbers different from their defaults."""
    *_, (_, values) = variants(row)
    return values


def exact_norm(grads: Sequence[Array]) -> float:
    return math.sqrt(math.fsum(float(x) ** 2 for g in grads for x in g.ravel()))
