"""Every kind of bad buffer in every role, and every hyper-parameter out of its range: an error that names the argument
and both values, not one byte changed, and an optimizer that goes on as if nothing had been."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt import functional
from fastopt._native import step as native_step
from tests.support.rows import ROWS, Array, Row, contents, given

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
SHAPE = (3, 4)
F32 = np.dtype(np.float32).str  # "<f4", or ">f4" on a big-endian machine
SWAPPED = np.dtype(np.float32).newbyteorder().str
LARGEST = float(np.finfo(np.float32).max)


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape or SHAPE).astype(np.float32)


@contextmanager
def refused(*fragments: str, unchanged: Any = None, kind: Any = (TypeError, ValueError)) -> Iterator[None]:
    """A TypeError or ValueError whose message holds every fragment and that leaves optimizers and arrays as they were.

    An array is compared byte by byte, gaps of a strided view excluded.
    """
    watched = list(unchanged or ())
    before = [_bytes(x) for x in watched]
    with pytest.raises(kind) as error:
        yield
    assert error.type in (TypeError, ValueError), f"{error.type} is neither: {error.value}"
    for fragment in fragments:
        assert fragment in str(error.value), f"{fragment!r} is not in {str(error.value)!r}"
    assert [_bytes(x) for x in watched] == before, f"something changed before {error.value!r}"


def _bytes(x: Any) -> Any:
    if isinstance(x, fastopt.Optimizer):
        return contents(x)
    return x.tobytes() if isinstance(x, np.ndarray) else None


def grads_for(opt: Any, seed: int = 1) -> list[Array]:
    params = [p for group in opt.param_groups for p in group["params"]]
    return [floats(*p.shape, seed=seed + i) if p.ndim else np.ones((), np.float32) for i, p in enumerate(params)]


def goes_on(opt: Any, twin: Any) -> None:
    """One more step of both leaves the same bytes."""
    for k in range(2):
        for one in (opt, twin):
            one.step(given(grads_for(one, 10 + k)))
    assert contents(opt) == contents(twin)


# -- the buffers ------------------------------------------------------------------------------------------------------


class Subclass(np.ndarray):
    pass


class FakeCupy:
    """Looks like an array of another library in every way that NumPy asks about."""

    __module__ = "cupy"
    dtype, shape, ndim, size, strides = np.dtype(np.float32), SHAPE, 2, 12, (16, 4)

    def __array__(self, *_: Any, **__: Any) -> Array:
        return floats()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": SHAPE, "typestr": F32, "data": (0, False), "version": 3}


class Interface:
    """NumPy would take it through __array_interface__: a hidden copy."""

    def __init__(self) -> None:
        self.__array_interface__ = floats().__array_interface__


def unaligned() -> Array:
    room = np.zeros(12 * 4 + 8, np.uint8)
    a = room[1 + (-room.ctypes.data) % 4 :][:48].view(np.float32).reshape(SHAPE)
    assert not a.flags.aligned
    return a


Bad = tuple[Callable[[], Any], type[Exception], tuple[str, ...]]

#: Refused in every role: how to make it, the error, what its message names beside the argument.
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
    "matrix": (lambda: _matrix(), TypeError, ("float32 numpy.ndarray", "matrix")),
    "subclass": (lambda: floats().view(Subclass), TypeError, ("float32 numpy.ndarray", "Subclass")),
    "recarray": (lambda: floats().view(np.recarray), TypeError, ("float32 numpy.ndarray", "recarray")),
    "cupy": (FakeCupy, TypeError, ("float32 numpy.ndarray", "cupy.FakeCupy", "x.get()")),
    "__array_interface__": (Interface, TypeError, ("float32 numpy.ndarray", "Interface")),
}

#: Refused wherever the shape is known: the same size, other dimensions, and the rest.
SHAPES = [(12,), (4, 3), (3, 4, 1), (1, 3, 4), (2, 6), (3, 5), (4, 4), (3,), (), (0,), (0, 4), (3, 0), (1, 1)]

#: Refused where the buffer is written; as gradients they are copied.
NEVER_WRITTEN: dict[str, Bad] = {
    "every second": (lambda: floats(3, 8)[:, ::2], ValueError, ("not contiguous", "(3, 4)", "(32, 8)")),
    "columns": (lambda: floats(3, 9)[:, 2:6], ValueError, ("not contiguous", "(3, 4)", "(36, 4)")),
    "reversed": (lambda: floats()[::-1], ValueError, ("not contiguous", "(3, 4)", "(-16, 4)")),
    "reversed twice": (lambda: floats()[::-1, ::-1], ValueError, ("not contiguous", "(-16, -4)")),
    "transposed slice": (lambda: floats(5, 3)[:4].T[:, ::-1], ValueError, ("not contiguous", "(4, -12)")),
    "one element repeated": (lambda: _repeated((0, 0)), ValueError, ("not contiguous", "(0, 0)")),
    "one row repeated": (lambda: _repeated((0, 4)), ValueError, ("not contiguous", "(0, 4)")),
    "overlapping windows": (lambda: _repeated((4, 4)), ValueError, ("not contiguous", "(4, 4)")),
    "read-only": (lambda: _read_only(floats()), ValueError, ("read-only",)),
    "from bytes": (lambda: np.frombuffer(floats().tobytes(), np.float32).reshape(SHAPE), ValueError, ("read-only",)),
}


def _matrix() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.asmatrix(floats())


def _repeated(strides: tuple[int, int]) -> Array:
    return np.lib.stride_tricks.as_strided(floats(), SHAPE, strides, writeable=True)


def _read_only(a: Array) -> Array:
    a.flags.writeable = False
    return a


def peer_tensor(library: str) -> Any:
    """An array of torch or JAX, of the right dtype and shape."""
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


# -- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*NEVER, *NEVER_WRITTEN, *peers])
def test_bad_parameter(kind: str) -> None:
    make, error, fragments = bad_buffer(kind)
    for row in ROWS.values():
        good, bad = [floats(), floats(5)], make()
        named = ["param group"] if kind == "dict" else ["parameter 1", *fragments]
        with refused(*named, unchanged=[*good, bad], kind=error):
            row.make([good[0], bad, good[1]])
        with refused("parameter 1", *fragments, unchanged=[*good, bad], kind=error):
            row.make([{"params": good[:1]}, {"params": [bad, good[1]]}])
        if isinstance(bad, np.ndarray) and bad.ndim:
            with refused("parameter ", *fragments, unchanged=[bad], kind=error):
                row.make(bad)
        opt = row.make([floats(), floats(5)])
        opt.step(given(grads_for(opt)))
        twin = copy.deepcopy(opt)
        with refused("parameter 3", *fragments, unchanged=[opt, good[0], bad], kind=error):
            opt.add_param_group({"params": [good[0], bad]})
        goes_on(opt, twin)


def test_params_that_are_no_arrays_at_all() -> None:
    for bad in (None, 1.0, "w", b"w", {"w": floats()}, {"params": [floats()]}, np.float32(1), object()):
        with refused("params", type(bad).__name__, kind=TypeError):
            fastopt.SGD(bad)
    for empty in ([], (), iter(())):
        with refused("params", "empty", kind=ValueError):
            fastopt.SGD(empty)
    with refused("object", "float32", kind=TypeError):
        fastopt.SGD(np.array([floats(2), floats(3)], dtype=object))


def _move(p: Array) -> None:
    """Give it other memory of the same size; what it had is taken by others."""
    address, shape, taken = p.ctypes.data, p.shape, []
    while p.ctypes.data == address:
        p.resize(10_000, refcheck=False)
        taken += [np.empty(shape, np.float32) for _ in range(9)]
        p.__setstate__((1, shape, p.dtype, False, bytes(4 * taken[0].size)))


#: What may happen to a parameter after the optimizer was made, and what the message names.
ACCIDENTS: dict[str, tuple[Callable[[Array], Any], tuple[str, ...]]] = {
    "resized": (lambda p: p.resize((400, 300), refcheck=False), ("(400, 300)",)),
    "moved": (lambda p: _move(p), ("moved",)),
    "shrunk": (lambda p: p.resize((2, 2), refcheck=False), ("(2, 2)",)),
    "read-only": (lambda p: setattr(p.flags, "writeable", False), ("read-only",)),
    "dtype int32": (lambda p: setattr(p, "dtype", np.int32), ("dtype", "int32", "float32")),
    "dtype float64": (lambda p: setattr(p, "dtype", np.float64), ("dtype", "float64", "float32")),
    "byte order": (lambda p: setattr(p, "dtype", SWAPPED), ("byte order", SWAPPED)),
}


@rows
@pytest.mark.parametrize("accident", ACCIDENTS)
def test_parameter_spoiled_after_construction(row: Row, accident: str) -> None:
    spoil, fragments = ACCIDENTS[accident]
    params = [floats(), floats(6, seed=1).copy(), floats(3, 4, seed=2).copy()]
    opt = row.make(params)
    grads = grads_for(opt)
    opt.step(given(grads))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        spoil(params[2])
    later = [*grads[:2], np.ones_like(params[2], np.float32)]
    with refused("parameter 2", *fragments, unchanged=[opt, *params, *later]):
        opt.step(given(later))
    with refused("parameter 2", *fragments, unchanged=[opt, *params, *grads]):
        opt.step(given(grads), max_norm=1.0, zero_grads=True)
    if accident == "read-only":
        params[2].flags.writeable = True
        twin = copy.deepcopy(opt)
        goes_on(opt, twin)


@pytest.mark.parametrize("rule", ["sgd", "nag", "adam"])
def test_parameter_reshaped_in_place_is_refused_or_all_goes_on(rule: str) -> None:
    row, w = ROWS[rule], floats()
    opt = row.make(w)
    opt.step(given(floats(seed=1)))
    before = contents(opt)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        w.shape = (4, 3)
    message = ""
    try:
        opt.step(given(floats(4, 3, seed=2)))
    except ValueError as error:
        message = str(error)
    if message:
        assert "parameter" in message
        assert contents(opt) == before
        return
    twin = copy.deepcopy(opt)
    opt.load_state_dict(opt.state_dict())
    for one in (opt, twin):
        one.step(given(floats(4, 3, seed=3)))
    assert contents(opt) == contents(twin)


# -- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*NEVER, *peers])
@pytest.mark.parametrize("options", [{}, {"max_norm": 1.0, "zero_grads": True}], ids=["plain", "clipped, zeroed"])
def test_bad_gradient(kind: str, options: dict[str, Any]) -> None:
    make, error, fragments = bad_buffer(kind)
    for row in ROWS.values():
        for place in (0, 1, 2):
            opt = row.make([floats(seed=k) for k in range(3)], skip_nonfinite=place == 1)
            opt.step(given(grads_for(opt)))
            twin = copy.deepcopy(opt)
            grads: list[Any] = grads_for(opt, 5)
            bad = grads[place] = make()
            with refused(f"gradient {place} ", *fragments, unchanged=[opt, *grads], kind=error):
                opt.step(given(grads), **options)
            goes_on(opt, twin)
            if callable(bad):
                continue  # as the only gradient it would be a closure
            opt = row.make(floats())
            with refused("gradient ", *fragments, unchanged=[opt, bad], kind=error):
                opt.step(given(bad), **options)


@rows
def test_gradient_of_a_wrong_shape_names_both(row: Row) -> None:
    params = [floats(), floats(7), np.ones((), np.float32), floats(0, 4)]
    opt = row.make(params)
    opt.step(given(grads_for(opt)))
    twin = copy.deepcopy(opt)
    for place, p in enumerate(params):
        for shape in SHAPES:
            for order in ("C", "F"):
                if shape == p.shape:
                    continue
                grads = grads_for(opt)
                grads[place] = np.ones(shape, np.float32, order=order)
                message = f"gradient {place} has shape {shape}, parameter has {p.shape}"
                with refused(message, unchanged=[opt, *grads], kind=ValueError):
                    opt.step(given(grads), zero_grads=True)
    goes_on(opt, twin)
    single = row.make(floats())
    with refused("gradient has shape (12,), parameter has (3, 4)", unchanged=[single], kind=ValueError):
        single.step(given(floats(12)))


@rows
def test_wrong_number_of_gradients(row: Row) -> None:
    opt = row.make([floats(), floats(7)])
    opt.step(given(grads_for(opt)))
    twin = copy.deepcopy(opt)
    good = grads_for(opt)
    for bad in ([], good[:1], [*good, good[0]], tuple(good[:1]), iter(good[:1]), {id(g): g for g in good[:1]}.values()):
        with refused("2 gradients", unchanged=[opt, *good], kind=ValueError):
            opt.step(given(bad))
    for bad in (good[0], None, 3, "gradients", {"a": good[0], "b": good[1]}, np.float32(1), good[0].view(Subclass)):
        with refused("gradients", type(bad).__name__, unchanged=[opt, *good], kind=TypeError):
            opt.step(given(bad))
    goes_on(opt, twin)
    single = row.make(floats())
    for bad in ([floats()], (floats(),), None):
        with refused("gradient ", type(bad).__name__, unchanged=[single], kind=TypeError):
            single.step(given(bad))


def test_zero_grads_needs_writable_gradients() -> None:
    for row in ROWS.values():
        opt = row.make([floats(), floats(7)])
        grads = grads_for(opt)
        for bad in (_read_only(floats(7)), _read_only(floats(14))[::2], np.broadcast_to(np.float32(1), 7)):
            with refused("gradient 1 is read-only", unchanged=[opt, *grads, bad], kind=ValueError):
                opt.step(given([grads[0], bad]), zero_grads=True)
            opt.step(given([grads[0], bad]))


def test_what_a_gradient_may_be() -> None:
    """Not contiguous, in the other order, read-only, one element repeated: the same bits as a plain copy."""
    kinds = [make for make, _, _ in NEVER_WRITTEN.values()]
    kinds += [lambda: np.asfortranarray(floats()), lambda: floats(4, 3).T, lambda: floats(6, 8)[::2, ::-2]]
    for row in ROWS.values():
        for make in kinds:
            a, b = row.make(floats()), row.make(floats())
            a.step(given(make()))
            b.step(given(np.array(make(), order="C")))
            assert contents(a) == contents(b)


# -- overlap ----------------------------------------------------------------------------------------------------------


def test_every_overlap_of_gradient_and_parameter() -> None:
    """Parameters at words 4-7 and 12-15 of one block, the gradient at every place: refused exactly where they meet."""
    for options in ({}, {"zero_grads": True}):
        block = floats(24)
        params = [block[4:8], block[12:16]]
        opt = fastopt.Momentum(params)
        other = floats(4)
        for start in range(21):
            g = block[start : start + 4]
            hits = [i for i, p in enumerate((4, 12)) if abs(start - p) < 4]
            for place in (0, 1):
                grads = [other, g] if place else [g, other]
                if hits:
                    message = f"gradient {place} overlaps parameter {hits[0]}"
                    with refused(message, unchanged=[opt, block, other], kind=ValueError):
                        opt.step(grads, **options)
                else:
                    opt.step(grads, **options)


@rows
def test_overlap_of_gradient_and_state(row: Row) -> None:
    opt = row.make([floats(), floats()])
    opt.step(given(grads_for(opt)))
    twin = copy.deepcopy(opt)
    for i, state in enumerate(opt.state):
        for name in state.keys() - {"step"}:
            for g in (state[name], state[name].T.copy().T, state[name][::-1]):
                grads = [floats(), g]
                if not np.shares_memory(g, state[name]):
                    continue
                with refused(f"gradient 1 overlaps {name} {i}", unchanged=[opt, grads[0]], kind=ValueError):
                    opt.step(given(grads))
    goes_on(opt, twin)


def test_strided_gradient_may_not_touch_a_parameter() -> None:
    block = floats(40)
    opt = fastopt.SGD([block[:4], block[20:24]])
    for g, owner in [(block[3::5][:4], 0), (block[23::4][:4], 1), (block[:20:5], 0), (block[3::-1], 0)]:
        with refused(f"gradient 1 overlaps parameter {owner}", unchanged=[opt, block], kind=ValueError):
            opt.step([floats(4), g])
    opt.step([floats(4), block[24:40:4]])


def test_overlap_of_parameters() -> None:
    block = floats(32)
    for row in ROWS.values():
        for i, j, message in [
            (0, 0, "parameter 1 overlaps parameter 0"),
            (0, 3, "parameter 1 overlaps parameter 0"),
            (3, 0, "parameter 0 overlaps parameter 1"),
        ]:
            with refused(message, unchanged=[block], kind=ValueError):
                row.make([block[i : i + 4], block[j : j + 4]])
        with refused("overlaps", "parameter 2", "parameter 0", unchanged=[block], kind=ValueError):
            row.make([block[:16], block[20:24], block[6:8]])
        with refused("parameter 2 overlaps parameter 0", unchanged=[block], kind=ValueError):
            row.make([{"params": block[:4]}, {"params": [block[8:], block[3:4]]}])
        row.make([block[:4], block[4:8], block[2:2], block[8:]])  # neighbours, and an empty one inside
        opt = row.make([block[:4]])
        with refused("parameter 1 overlaps parameter 0", unchanged=[opt, block], kind=ValueError):
            opt.add_param_group({"params": block[3:8]})
        for name in opt.state[0].keys() - {"step"}:
            with refused("parameter 1", "overlap", name, unchanged=[opt, block], kind=ValueError):
                opt.add_param_group({"params": opt.state[0][name]})


def test_gradients_may_overlap_unless_they_are_zeroed() -> None:
    block = floats(16)
    left, right = block[:4], block[3:7]
    for first, second in [(left, left), (left, right), (right, left), (block, right)]:
        for k in range(2):  # twice: what is remembered of a step must not let the next one pass
            opt = fastopt.Momentum([np.ones_like(first), np.ones_like(second), floats(3)])
            grads = [first, second, floats(3)]
            opt.step(grads)
            if k:
                opt.step([first.copy(), second.copy(), floats(3)], zero_grads=True)
            with refused("overlaps gradient", unchanged=[opt, block], kind=ValueError):
                opt.step(grads, zero_grads=True)
            with refused("overlaps gradient", unchanged=[opt, block], kind=ValueError):
                opt.step(grads, zero_grads=True)
            opt.step(grads)
    opt = fastopt.SGD([floats(4), floats(0), floats(4)])
    opt.step([block[:4], block[2:2], block[4:8]], zero_grads=True)
    assert not block[:8].any()


def test_interleaved_gradients_do_not_overlap() -> None:
    grid = floats(4, 2)
    opt = fastopt.SGD([np.ones(4, np.float32), np.ones(4, np.float32)])
    opt.step([grid[:, 0], grid[:, 1]], zero_grads=True)
    assert not grid.any()


# -- functional -------------------------------------------------------------------------------------------------------


def buffers_of(row: Row) -> dict[str, Array]:
    names = ("param", "grad", *row.cls.rules[row.rule])
    return {name: np.abs(floats(seed=k)) for k, name in enumerate(names)}


def call(row: Row, buffers: dict[str, Any], **options: Any) -> Any:
    return getattr(functional, f"{row.rule}_")(*buffers.values(), **{"step": 2, **options})


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
                continue  # a list of parameters
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
    """Element i of a state belongs to element i of the parameter: in another memory order it would be another one's."""
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
    """Refused, or `param[...] = origin` leads back."""
    w, before = floats(), floats()
    origin = np.zeros(SHAPE, np.float32, order="F")
    message = ""
    try:
        functional.lookahead_(w, floats(seed=1), origin, lr=0.1)
    except ValueError as error:
        message = str(error)
    assert not message or ("origin" in message and "order" in message)
    np.testing.assert_array_equal(w if message else origin, before)


# -- hyper-parameters -------------------------------------------------------------------------------------------------

BELOW_ONE = float(np.nextafter(1.0, 0.0))
ABOVE = float(np.nextafter(LARGEST, np.inf))
HALF_OPEN = ([0.0, -0.0, 0, 0.5, BELOW_ONE, np.float32(0.5), Fraction(1, 2), 5e-324], [1.0, 1, -5e-324, -1.0, 1.5])
POSITIVE_OR_0 = ([0.0, 0, 5e-324, 1.0, np.int64(3), np.float16(2), LARGEST], [-5e-324, -1, -1.0, ABOVE, 10**300])
HUGE = 10**400  # no float at all
#: name -> values at and inside the range, values just outside and far outside
RANGES: dict[str, tuple[list[Any], list[Any]]] = {
    **dict.fromkeys(("momentum", "alpha", "rho"), HALF_OPEN),
    "dampening": ([0.0, 1.0, 1, 0.5], [-5e-324, float(np.nextafter(1.0, 2.0)), -1, 2]),
    **dict.fromkeys(
        ("lr", "eps", "eps_root", "lr_decay", "initial_accumulator_value", "weight_decay", "l1"), POSITIVE_OR_0
    ),
    "clip_value": ([5e-324, 1.0, LARGEST], [0.0, 0, -0.0, -1.0, ABOVE]),
}
NO_NUMBERS = [float("nan"), float("inf"), -float("inf"), "0.5", b"0", True, False, np.True_, 0.5j, (0.5,)]
FLAGS = {
    *("decoupled", "maximize", "amsgrad", "centered", "nesterov", "lookahead"),
    *("eps_in_sqrt", "lr_in_momentum", "corrected_v", "max_corrected_v"),
}
NO_FLAGS = [0, 1, 1.0, "True", "", (), float("nan"), np.int8(1)]
PAIRS = {
    "betas": (
        [(0.0, 0.0), (0.9, 0.999), [0.5, 0.5], (BELOW_ONE, BELOW_ONE), (0, np.float32(0.5))],
        [(1.0, 0.5), (0.5, 1.0), (-0.1, 0.5), (0.5, -0.1), (float("nan"), 0.5), (0.5, float("inf")), ("0.5", 0.5)],
        [0.9, "ab", (0.9,), (0.9, 0.9, 0.9), (), object()],
    )
}


def hyper_parameters(row: Row) -> list[str]:
    """Those whose ranges this file knows; a new optimizer's own have their ranges in its `checks`."""
    names = [k for k in row.make(floats()).param_groups[0] if k != "params" and k not in row.cls.checks]
    assert not [k for k in names if k not in RANGES and k not in PAIRS and k not in FLAGS], "add its range above"
    return names


def cases(name: str) -> tuple[list[Any], list[tuple[Any, str]]]:
    """Good values, and bad ones with what the message quotes of them."""
    if name in FLAGS:
        return [True, False, np.True_], [(v, repr(v)) for v in NO_FLAGS]
    if name in PAIRS:
        good, outside, other = PAIRS[name]
        wrong = [(v, repr(next(x for x in v if not (isinstance(x, float) and 0 <= x < 1)))) for v in outside]
        return good, [*wrong, *((v, repr(v)) for v in other)]
    good, outside = RANGES[name]
    return good, [(v, repr(v)) for v in (*outside, *NO_NUMBERS)]


@rows
def test_hyper_parameters_out_of_range(row: Row) -> None:
    opt = row.make([floats(), floats(3)])
    opt.step(given(grads_for(opt)))
    twin = copy.deepcopy(opt)
    for name in hyper_parameters(row):
        for value, quoted in cases(name)[1]:
            w = floats()
            with refused(name, quoted, unchanged=[w]):
                row.cls(w, **{**row.chosen, name: value})
            with refused(name, quoted, unchanged=[w]):
                row.cls([{"params": w, **row.chosen, name: value}])
            with refused(name, quoted, unchanged=[opt]):
                opt.param_groups[0][name] = value
            with refused(name, quoted, unchanged=[opt, w]):
                opt.add_param_group({"params": w, name: value})
            if name not in row.cls.implied.get(row.rule, {}):
                buffers = buffers_of(row)
                with refused(name, quoted, unchanged=[*buffers.values()]):
                    call(row, buffers, **{name: value})
        if name != "clip_value":
            with refused(name, "None", unchanged=[opt]):
                opt.param_groups[0][name] = None
    goes_on(opt, twin)


def test_integers_beyond_every_float() -> None:
    for row in ROWS.values():
        opt = row.make(floats())
        for name in hyper_parameters(row):
            for value in (HUGE, -HUGE, Fraction(HUGE)):
                with refused(name, unchanged=[opt]):
                    row.cls(floats(), **{**row.chosen, name: value})
                with refused(name, unchanged=[opt]):
                    opt.param_groups[0][name] = value
        for option in ("max_norm", "grad_scale"):
            with refused(option, unchanged=[opt]):
                opt.step(floats, **{option: HUGE})


def test_step_beyond_every_float() -> None:
    """Bias corrections are 1 by then: taken or refused, but no OverflowError."""
    for row in ROWS.values():
        with contextlib.suppress(TypeError, ValueError):
            call(row, buffers_of(row), step=HUGE)


@rows
def test_hyper_parameters_at_their_bounds(row: Row) -> None:
    for name in hyper_parameters(row):
        for value in cases(name)[0]:
            opt = row.cls(floats(), **{**row.chosen, name: value})
            got = opt.param_groups[0][name]
            assert got == (tuple(value) if isinstance(value, list) else value)
            assert type(got) in (float, bool, tuple)
            if row.cls.rule_of(opt.param_groups[0]) == row.rule:
                group = row.make(floats()).param_groups[0]
                group[name] = value
                assert group[name] == got
    assert row.make(floats()).param_groups[0]["clip_value"] is None


def test_a_number_that_the_cache_of_functional_has_seen_is_still_checked() -> None:
    """1.0 == 1 == True: whoever remembers checked arguments must not take one for the other."""
    w, g = floats(), floats(seed=1)
    good = {"lr": 1.0, "maximize": True, "weight_decay": 0.0}
    functional.sgd_(w, g, step=1, **good)
    for name, bad in [("lr", True), ("maximize", 1), ("weight_decay", False)]:
        with refused(name, unchanged=[w, g], kind=TypeError):
            functional.sgd_(w, g, step=1, **{**good, name: bad})


def test_unhashable_arguments_are_named() -> None:
    w, g = floats(), floats(seed=1)
    for name, value in [("lr", np.array(0.1)), ("l1", [0.1]), ("weight_decay", {}), ("convention", ["torch"])]:
        with refused(name, unchanged=[w, g]):
            functional.sgd_(w, g, step=1, **{name: value})
        with refused(name, unchanged=[w]):
            fastopt.SGD(w, **{name: value})


@rows
def test_unknown_names(row: Row) -> None:
    opt = row.make(floats())
    for name in ("learning_rate", "Lr", "", "params_", "skip_nonfinite", "convention", "step", "steps", "state"):
        with refused(repr(name), unchanged=[opt], kind=TypeError):
            opt.param_groups[0][name] = 0.1
        with refused(repr(name), unchanged=[opt], kind=TypeError):
            opt.add_param_group({"params": floats(), name: 0.1})
        with refused(repr(name), kind=TypeError):
            row.cls([{"params": floats(), name: 0.1}])
    for name in ("learning_rate", "Lr", "steps", "foreach", "fused"):
        with refused(repr(name), kind=TypeError):
            row.cls(floats(), **{name: 0.1})
        with refused(repr(name), kind=TypeError):
            call(row, buffers_of(row), **{name: 0.1})


def test_unknown_conventions() -> None:
    for cls in {row.cls for row in ROWS.values()} | {fastopt.AdamW}:
        for bad in ("pytorch", "Torch", "", None, 3, ("torch",)):
            with refused("convention", "textbook, torch, keras, optax, sklearn", repr(bad), kind=ValueError):
                cls(floats(), convention=bad)


@pytest.mark.parametrize("name", ["Adagrad", "Adadelta", "RMSprop", "AdamW"])
def test_sklearn_has_only_sgd_and_adam(name: str) -> None:
    with refused("sklearn", name, kind=ValueError):
        getattr(fastopt, name)(floats(), convention="sklearn")


def test_options_of_a_step_out_of_range() -> None:
    nan, inf = float("nan"), float("inf")
    for row in ROWS.values():
        opt = row.make(floats())
        opt.step(given(floats(seed=1)))
        g = floats(seed=2)
        for bad in (-1.0, -5e-324, nan, -inf, "1", True, 1j, [1.0], ()):
            with refused("max_norm", repr(bad), unchanged=[opt, g]):
                opt.step(given(g), max_norm=bad, zero_grads=True)
        for bad in (nan, inf, -inf, "1", None, 1j, [1.0], False, ABOVE, -ABOVE, np.array([2.0])):
            with refused("grad_scale", repr(bad), unchanged=[opt, g]):
                opt.step(given(g), grad_scale=bad, zero_grads=True)
        opt.step(given(g), max_norm=0, grad_scale=-0.5)
        assert opt.step(given(g), max_norm=inf) == opt.step(given(g), max_norm=ABOVE) > 0


@pytest.mark.parametrize("bad", [True, np.array(1.0), np.array([1.0, 2.0])], ids=["True", "0-d", "two"])
def test_grad_scale_is_one_number(bad: Any) -> None:
    opt = fastopt.SGD(floats())
    with refused("grad_scale", unchanged=[opt], kind=TypeError):
        opt.step(floats(), grad_scale=bad)
    with refused("grad_scale", kind=TypeError):
        functional.sgd_(floats(), floats(seed=1), step=1, grad_scale=bad)
    with refused("max_norm", kind=TypeError):
        opt.step(floats(), max_norm=bad)


def test_skip_nonfinite_is_a_flag() -> None:
    for bad in ("no", 1, 0.0, [], np.array([True, False])):
        with refused("skip_nonfinite", repr(bad), kind=TypeError):
            fastopt.SGD(floats(), skip_nonfinite=bad)
        with refused("skip_nonfinite", repr(bad), kind=TypeError):
            functional.sgd_(floats(), floats(seed=1), step=1, skip_nonfinite=bad)


def test_zero_grads_is_a_flag() -> None:
    """Gradients are not thrown away because "no" is not empty."""
    opt, g = fastopt.SGD(floats()), floats(seed=1)
    for bad in ("no", 1, 0.0, None, [], np.array([True, False])):
        with refused("zero_grads", repr(bad), unchanged=[opt, g], kind=TypeError):
            opt.step(g, zero_grads=bad)
        with refused("zero_grads", repr(bad), unchanged=[g], kind=TypeError):
            functional.sgd_(floats(), g, step=1, zero_grads=bad)
    opt.step(g, zero_grads=np.True_)
    assert not g.any()


def test_rates_that_schedules_return() -> None:
    for row in ROWS.values():
        rates: list[Any] = [0.1]
        w, g = floats(), floats(seed=1)
        opt = row.make([w], lr=lambda _, rates=rates: rates[0])
        opt.step(given([g]))
        twin = copy.deepcopy(opt)
        for bad in (float("nan"), float("inf"), -1e-9, ABOVE, None, "0.1", 1j, [0.1], True, HUGE):
            rates[0] = bad
            with refused("lr(1)", "" if bad == HUGE else repr(bad), unchanged=[opt, g]):
                opt.step(given([g]), zero_grads=True)
        rates[0] = 0.1
        goes_on(opt, twin)


def test_a_schedule_that_fails_changes_nothing() -> None:
    def broken(count: int) -> float:
        if count:
            raise KeyError(count)
        return 0.1

    opt = fastopt.Adam([{"params": floats()}, {"params": floats(3), "lr": broken}, {"params": floats(2)}])
    opt.step(grads_for(opt))
    opt.param_groups[0]["lr"] = 0.5  # its scalars are formed again, and then the second group's rate fails
    before = contents(opt)
    for _ in range(2):
        with pytest.raises(KeyError):
            opt.step(grads_for(opt))
        assert contents(opt) == before
    opt.param_groups[1]["lr"] = 0.1
    twin = copy.deepcopy(opt)
    goes_on(opt, twin)


# -- param groups -----------------------------------------------------------------------------------------------------


@rows
def test_updates_of_a_group_are_all_or_nothing(row: Row) -> None:
    opt = row.make([floats()])
    twin = copy.deepcopy(opt)
    group = opt.param_groups[0]
    for bad in ({"lr": 0.5, "weight_decay": -1.0}, {"weight_decay": 0.5, "lr": "x"}, {"lr": 0.5, "nonsense": 1}):
        with refused(unchanged=[opt]):
            group.update(bad)
        with refused(unchanged=[opt]):
            group.update(**bad)
        with refused(unchanged=[opt]):
            group |= bad
        with refused(unchanged=[opt]):
            opt.param_groups[0] |= bad
    for change in ("del", "pop", "popitem", "clear", "pop unknown"):
        with refused("removed", unchanged=[opt], kind=TypeError):
            if change == "del":
                del group["lr"]
            elif change == "pop unknown":
                group.pop("nonsense", None)
            else:
                getattr(group, change)(*(["lr"] if change == "pop" else []))
    with refused(unchanged=[opt]):
        group.setdefault("nonsense", 1)
    assert group.setdefault("lr", 7.0) == group["lr"] != 7.0
    goes_on(opt, twin)
    group |= {"lr": 0.25, "weight_decay": 0.5}
    assert (opt.param_groups[0]["lr"], opt.param_groups[0]["weight_decay"]) == (0.25, 0.5)


@rows
def test_params_of_a_group_stay(row: Row) -> None:
    w = floats()
    opt = row.make([w])
    group = opt.param_groups[0]
    for bad in ([floats()], (w,), [], None, w):
        with refused("params", unchanged=[opt, w]):
            group["params"] = bad
        with refused("params", unchanged=[opt, w]):
            group.update(lr=0.5, params=bad)
    with pytest.raises(TypeError):
        group["params"][0] = floats()
    group["params"] = group["params"]
    assert group["params"][0] is w


def test_values_that_need_other_states_are_refused() -> None:
    """Each rule of a class against the arguments of its other rules."""
    for row in ROWS.values():
        others = [other for other in ROWS.values() if other.cls is row.cls and other.rule != row.rule]
        opt = row.make([floats()])
        opt.step(given([floats(seed=1)]))
        twin = copy.deepcopy(opt)
        for other in others:
            if row.cls.rule_of({**opt.param_groups[0], **other.chosen}) == row.rule:
                continue
            with refused("states", unchanged=[opt], kind=ValueError):
                opt.param_groups[0].update({"lr": 0.5, **other.chosen})
        goes_on(opt, twin)


def test_groups_that_are_no_groups() -> None:
    for bad in (
        [{"lr": 0.1}],
        [{}],
        [{"params": floats()}, floats()],
        [floats(), {"params": floats()}],
        [{"params": floats()}, None],
        [{"params": floats()}, {"lr": 0.1}],
        [{"params": None}],
        [{"params": 3}],
        [{"params": "w"}],
        [{"params": {"w": floats()}}],
        [{"params": [{"params": floats()}]}],
        [{"params": [[floats()]]}],
    ):
        with refused("param", kind=TypeError):
            fastopt.Adam(bad)
    opt = fastopt.Adam(floats())
    opt.step(floats(seed=1))
    twin = copy.deepcopy(opt)
    for bad in (None, [], [floats()], floats(), "params", {}, {"lr": 0.1}, {"params": None}, {"params": {"w": 1}}):
        with refused("param", unchanged=[opt], kind=TypeError):
            opt.add_param_group(bad)
    for one in (opt, twin, again := copy.deepcopy(opt)):
        one.step(floats(seed=2))  # still one array, not a list of one
    assert contents(opt) == contents(twin) == contents(again)


def test_messages_name_optimizers_and_what_they_have() -> None:
    with pytest.raises(TypeError, match="SGD has no hyper-parameter 'momentum'; it has clip_value, decoupled"):
        fastopt.SGD(floats(), momentum=0.9)


@pytest.mark.parametrize(
    ("corrections", "message"),
    [
        ({"lr": ((0.9, 2),)}, "power of a bias correction must be -1 or 0.5, got 2 for lr"),
        ({"lr": ((0.9, -1),) * 3}, "at most 4 corrected scalars with 2 factors"),
    ],
)
def test_a_correction_that_the_core_does_not_have(corrections: Any, message: str) -> None:
    w = np.ones(3, np.float32)
    plan = native_step.Plan([("sgd", [(w,)])], [("parameter",)], True)
    with pytest.raises(ValueError, match=message):
        plan.set(0, {"lr": 0.1}, corrections, 1)
