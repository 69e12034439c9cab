"""Buffers that every function must refuse, and the check that a refusal changed nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt import functional
from tests.support.rows import Array, Row, contents, given

SHAPE = (3, 4)


F32 = np.dtype(np.float32).str  # "<f4", or ">f4" on a big-endian machine


SWAPPED = np.dtype(np.float32).newbyteorder().str


LARGEST = float(np.finfo(np.float32).max)


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape or SHAPE).astype(np.float32)


@contextmanager
def refused(*fragments: str, unchanged: Any = None, kind: Any = (TypeError, ValueError)) -> Iterator[None]:
    """Expect a TypeError or ValueError whose message has every fragment; optimizers and arrays must be unchanged.

    Arrays are compared byte by byte, without the gaps of a strided view.
    """
    watched = list(unchanged or ())
    before = [bytes_of(x) for x in watched]
    with pytest.raises(kind) as error:
        yield
    assert error.type in (TypeError, ValueError), f"{error.type} is neither: {error.value}"
    for fragment in fragments:
        assert fragment in str(error.value), f"{fragment!r} is not in {str(error.value)!r}"
    assert [bytes_of(x) for x in watched] == before, f"something changed before {error.value!r}"


def bytes_of(x: Any) -> Any:
    if isinstance(x, fastopt.Optimizer):
        return contents(x)
    return x.tobytes() if isinstance(x, np.ndarray) else None


def grads_for(opt: Any, seed: int = 1) -> list[Array]:
    params = [p for group in opt.param_groups for p in group["params"]]
    return [floats(*p.shape, seed=seed + i) if p.ndim else np.ones((), np.float32) for i, p in enumerate(params)]


def goes_on(opt: Any, twin: Any) -> None:
    """Two more steps of both optimizers give the same bytes."""
    for k in range(2):
        for one in (opt, twin):
            one.step(given(grads_for(one, 10 + k)))
    assert contents(opt) == contents(twin)


class Subclass(np.ndarray):
    pass


class FakeCupy:
    """An object with every attribute that NumPy looks for in an array of another library."""

    __module__ = "cupy"
    dtype, shape, ndim, size, strides = np.dtype(np.float32), SHAPE, 2, 12, (16, 4)

    def __array__(self, *_: Any, **__: Any) -> Array:
        return floats()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": SHAPE, "typestr": F32, "data": (0, False), "version": 3}


class Interface:
    """NumPy would convert it by __array_interface__, which is a hidden copy."""

    def __init__(self) -> None:
        self.__array_interface__ = floats().__array_interface__


def unaligned() -> Array:
    room = np.zeros(12 * 4 + 8, np.uint8)
    a = room[1 + (-room.ctypes.data) % 4 :][:48].view(np.float32).reshape(SHAPE)
    assert not a.flags.aligned
    return a


Bad = tuple[Callable[[], Any], type[Exception], tuple[str, ...]]


#: Refused in every role: how to make it, the error, and what the message names beside the argument.
NEVER: dict[str, Bad] = {
    **{
        name: (lambda name=name: np.ones(SHAPE, name), TypeError, ("dtype", name, "float32"))
        for name in ("float64", "float16", "int32", "int8", "uint32", "complex64", "bool", "object", "longdouble")
        if name != "longdouble"
    },
    "str": (lambda: np.full(SHAPE, "1.0"), TypeError, ("dtype", "<U3", "float32")),
    "datetime64": (lambda: np.zeros(SHAPE, "M8[s]"), TypeError, ("dtype", "datetime64", "float32")),
    "structured": (lambda: np.zeros(SHAPE, [("x", np.float32)]), TypeError, ("dtype", "'x'", "float32")),
    "subarray": (lambda: np.zeros(3, [("x", np.float32, (4,))])["x"].astype("f8"), TypeError, ("float64", "float32")),
    "byte order": (lambda: floats().astype(SWAPPED), ValueError, ("byte order", SWAPPED, F32)),
    "unaligned": (unaligned, ValueError, ("not aligned", "4 bytes")),
    "None": (lambda: None, TypeError, ("float32 numpy.ndarray", "NoneType")),
    "list": (lambda: floats().tolist(), TypeError, ("float32 numpy.ndarray", "list", "numpy.asarray")),
    "tuple": (lambda: tuple(floats()), TypeError, ("float32 numpy.ndarray", "tuple")),
    "float": (lambda: 1.0, TypeError, ("float32 numpy.ndarray", "float")),
    "numpy scalar": (lambda: np.float32(1.0), TypeError, ("float32 numpy.ndarray", "got float32")),
    "text": (lambda: "weights", TypeError, ("float32 numpy.ndarray", "str")),
    "bytes": (lambda: bytes(48), TypeError, ("float32 numpy.ndarray", "bytes")),
    "memoryview": (lambda: memoryview(floats()), TypeError, ("float32 numpy.ndarray", "memoryview")),
    "dict": (lambda: {"w": floats()}, TypeError, ("float32 numpy.ndarray", "dict")),
    "generator": (lambda: (x for x in floats()), TypeError, ("float32 numpy.ndarray", "generator")),
    "function": (lambda: floats, TypeError, ("float32 numpy.ndarray", "function")),
    "class": (lambda: np.ndarray, TypeError, ("float32 numpy.ndarray", "type")),
    "masked": (lambda: np.ma.masked_array(floats(), floats() > 0), TypeError, ("MaskedArray", "mask", "filled")),
    "matrix": (lambda: matrix_of_floats(), TypeError, ("float32 numpy.ndarray", "matrix")),
    "subclass": (lambda: floats().view(Subclass), TypeError, ("float32 numpy.ndarray", "Subclass")),
    "recarray": (lambda: floats().view(np.recarray), TypeError, ("float32 numpy.ndarray", "recarray")),
    "cupy": (FakeCupy, TypeError, ("float32 numpy.ndarray", "cupy.FakeCupy", "x.get()")),
    "__array_interface__": (Interface, TypeError, ("float32 numpy.ndarray", "Interface")),
}


#: Wrong shapes for SHAPE: some with the same size, some with other sizes.
SHAPES = [(12,), (4, 3), (3, 4, 1), (1, 3, 4), (2, 6), (3, 5), (4, 4), (3,), (), (0,), (0, 4), (3, 0), (1, 1)]


#: Refused as arrays that are written; gradients of these kinds are copied.
NEVER_WRITTEN: dict[str, Bad] = {
    "every second": (lambda: floats(3, 8)[:, ::2], ValueError, ("not contiguous", "(3, 4)", "(32, 8)")),
    "columns": (lambda: floats(3, 9)[:, 2:6], ValueError, ("not contiguous", "(3, 4)", "(36, 4)")),
    "reversed": (lambda: floats()[::-1], ValueError, ("not contiguous", "(3, 4)", "(-16, 4)")),
    "reversed twice": (lambda: floats()[::-1, ::-1], ValueError, ("not contiguous", "(-16, -4)")),
    "transposed slice": (lambda: floats(5, 3)[:4].T[:, ::-1], ValueError, ("not contiguous", "(4, -12)")),
    "one element repeated": (lambda: repeated((0, 0)), ValueError, ("not contiguous", "(0, 0)")),
    "one row repeated": (lambda: repeated((0, 4)), ValueError, ("not contiguous", "(0, 4)")),
    "overlapping windows": (lambda: repeated((4, 4)), ValueError, ("not contiguous", "(4, 4)")),
    "read-only": (lambda: read_only(floats()), ValueError, ("read-only",)),
    "from bytes": (lambda: np.frombuffer(floats().tobytes(), np.float32).reshape(SHAPE), ValueError, ("read-only",)),
}


def matrix_of_floats() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.asmatrix(floats())


def repeated(strides: tuple[int, int]) -> Array:
    return np.lib.stride_tricks.as_strided(floats(), SHAPE, strides, writeable=True)


def read_only(a: Array) -> Array:
    a.flags.writeable = False
    return a


def peer_tensor(library: str) -> Any:
    """An array of torch or JAX with the right dtype and shape."""
    if library == "torch":
        return pytest.importorskip("torch").ones(SHAPE)
    return pytest.importorskip("jax").numpy.ones(SHAPE)


PEERS: dict[str, tuple[str, ...]] = {"torch": ("torch.Tensor", "tensor.numpy()"), "jax": ("ArrayImpl", "numpy.array")}


peers = [pytest.param(name, marks=pytest.mark.peer) for name in PEERS]


def bad_buffer(kind: str) -> Bad:
    if kind in PEERS:
        tensor = peer_tensor(kind)
        return (lambda: tensor), TypeError, ("float32 numpy.ndarray", *PEERS[kind])
    return NEVER[kind] if kind in NEVER else NEVER_WRITTEN[kind]


def buffers_of(row: Row) -> dict[str, Array]:
    names = ("param", "grad", *row.cls.rules[row.rule])
    return {name: np.abs(floats(seed=k)) for k, name in enumerate(names)}


def call(row: Row, buffers: dict[str, Any], **options: Any) -> Any:
    return getattr(functional, f"{row.rule}_")(*buffers.values(), **{"step": 2, **options})
