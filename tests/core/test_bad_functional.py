"""Bad buffers in each role of `fastopt.functional`: the error names the argument, and no byte changes."""

from __future__ import annotations

import numpy as np
import pytest

from fastopt import functional
from tests.support.bad_input import NEVER, NEVER_WRITTEN, SHAPE, SHAPES, buffers_of, call, floats, refused
from tests.support.rows import ROWS, Row

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


@rows
@pytest.mark.parametrize("role", ["param", "grad", "state"])
def test_bad_buffer_of_a_function(row: Row, role: str) -> None:
    names = {"param": ["param"], "grad": ["grad"], "state": [*row.cls.rules[row.rule]]}[role]
    kinds = {**NEVER, **(NEVER_WRITTEN if role != "grad" else {})}
    for name in names:
        for make, error, fragments in kinds.values():
            good, other = buffers_of(row), buffers_of(row)
            bad = make()
            if name == "param" and isinstance(bad, (list, tuple)):
                continue  # it would be a list of parameters
            watched = [*good.values(), *other.values(), bad]
            with refused(name, *fragments, unchanged=watched, kind=error):
                call(row, {**good, name: bad})
            lists = {k: [other[k], bad if k == name else good[k]] for k in good}
            with refused(name, " 1 ", *fragments, unchanged=watched, kind=error):
                call(row, lists, max_norm=1.0)
        if name == "param":
            continue
        for shape in SHAPES:
            good = buffers_of(row)
            bad = np.ones(shape, np.float32)
            with refused(name, str(shape), "(3, 4)", unchanged=[*good.values(), bad], kind=ValueError):
                call(row, {**good, name: bad})


@rows
def test_overlap_among_the_buffers_of_a_function(row: Row) -> None:
    names = [*buffers_of(row)]
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            for shift in (0, 1, 11, 12):
                block = np.abs(floats(36))
                buffers = buffers_of(row)
                buffers[first] = block[12:24].reshape(SHAPE)
                buffers[second] = block[12 + shift : 24 + shift].reshape(SHAPE)
                if shift == 12:
                    call(row, buffers, zero_grads=True)
                    continue
                with refused(first, second, "overlap", unchanged=[block, *buffers.values()], kind=ValueError):
                    call(row, buffers, zero_grads=True)


@rows
def test_memory_order_of_the_buffers_of_a_function(row: Row) -> None:
    """States must have the parameter's memory order, or elements of different indices would be combined."""
    for name in row.cls.rules[row.rule]:
        buffers = buffers_of(row)
        buffers[name] = np.asfortranarray(buffers[name])
        with refused(name, "param", "order", unchanged=[*buffers.values()], kind=ValueError):
            call(row, buffers)
    straight, fortran = buffers_of(row), {k: np.asfortranarray(v) for k, v in buffers_of(row).items()}
    call(row, straight)
    call(row, fortran)
    for name in straight:
        np.testing.assert_array_equal(straight[name], fortran[name], err_msg=name)


def test_bad_origin() -> None:
    for make, error, fragments in (*NEVER.values(), *NEVER_WRITTEN.values()):
        w, a, bad = floats(), floats(seed=1), make()
        with refused("origin", *fragments, unchanged=[w, a, bad], kind=error):
            functional.lookahead_(w, a, bad, lr=0.1)
        with refused("origin", *fragments, unchanged=[w, a, bad], kind=error):
            functional.lookahead_([floats(), w], [floats(), a], [floats(), bad], lr=0.1)
    for shape in SHAPES:
        w, a = floats(), floats(seed=1)
        with refused("origin", str(shape), "(3, 4)", unchanged=[w, a], kind=ValueError):
            functional.lookahead_(w, a, np.ones(shape, np.float32), lr=0.1)
    block = floats(30)
    w, a = block[:12].reshape(SHAPE), block[12:24].reshape(SHAPE)
    for origin in (w, a, block[1:13].reshape(SHAPE), block[23:24]):
        with refused("origin", unchanged=[block], kind=ValueError):
            functional.lookahead_(w, a, origin, lr=0.1)


def test_origins_may_not_overlap_one_another() -> None:
    ws, buffers, block = [floats(4), floats(4, seed=1)], [floats(4), floats(4)], floats(8)
    for origins in ([block[:4], block[:4]], [block[:4], block[3:7]]):
        with refused("origin", "overlap", unchanged=[*ws, *buffers, block], kind=ValueError):
            functional.lookahead_(ws, buffers, origins, lr=0.1)


def test_origin_in_another_memory_order() -> None:
    """It is refused, or `param[...] = origin` restores the parameter."""
    w, before = floats(), floats()
    origin = np.zeros(SHAPE, np.float32, order="F")
    message = ""
    try:
        functional.lookahead_(w, floats(seed=1), origin, lr=0.1)
    except ValueError as error:
        message = str(error)
    assert not message or ("origin" in message and "order" in message)
    np.testing.assert_array_equal(w if message else origin, before)
