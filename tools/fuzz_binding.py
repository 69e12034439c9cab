"""Fuzzes the checks of array arguments, guided by coverage: a call either succeeds or changes nothing.

`python -m tools fuzz_binding [--seconds 600]`. Parameters and gradients are views of one block of memory with random
shapes, strides, dtypes, byte orders and positions (they may overlap), or subclasses, lists and objects that are not
arrays. A bad argument must raise TypeError or ValueError and leave the block unchanged; a step may write to the
parameters alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from tools import fuzzing

WORDS = 256  # of the block
LARGEST = 256
DTYPES = ["<f4", "<f4", "<f4", "<f4", "<f4", ">f4", "<f8", "<i4", "<f2", "<c8", "S4", "?"]
NO_ARRAYS: list[Any] = [None, 0, 1.5, "x", b"y", (), [], {}, [1.0], {"params": None}, object(), np.float32(1)]
RULES = ["SGD", "Momentum", "NAG", "Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW"]


class Subclass(np.ndarray):
    """A subclass of ndarray, which fastopt refuses."""


class Draw:
    """Draws small numbers from the fuzzer's bytes; 0 after the last byte."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def __call__(self, n: int) -> int:
        self.at += 1
        return self.data[self.at - 1] % n if self.at <= len(self.data) else 0


def buffer(draw: Draw, block: np.ndarray[Any, Any]) -> Any:
    """A view of the block, or an object that is not an array."""
    if draw(12) == 11:
        return NO_ARRAYS[draw(len(NO_ARRAYS))]
    dtype = np.dtype(DTYPES[draw(len(DTYPES))])
    shape = tuple(draw(5) for _ in range(draw(4)))
    start = draw(250) * 4 + (draw(4) if draw(8) == 7 else 0)
    strides: list[int] | None = None
    if draw(3) == 2:
        strides = [(draw(7) - 3) * 4 for _ in shape]
    try:
        view: Any = np.ndarray(shape, dtype, block.data, start, strides, order="F" if draw(4) == 3 else "C")
    except (ValueError, TypeError):
        view = block[start // 4 % 200 :][: draw(20)]
    if draw(16) == 15:
        view = view.view(Subclass)
    if draw(16) == 15:
        view.flags.writeable = False
    return view


def grouped(draw: Draw, block: np.ndarray[Any, Any]) -> Any:
    """One buffer, or a list, tuple, generator, group or groups of them."""
    kind = draw(7)
    if kind == 0:
        return buffer(draw, block)
    buffers = [buffer(draw, block) for _ in range(draw(4) + (kind < 4))]
    if kind == 5:
        return tuple(buffers)
    if kind == 6:
        return [{"params": buffers, "lr": draw(3)}, {"params": buffer(draw, block)}][: 1 + draw(2)]
    return buffers


def gradients(draw: Draw, opt: Any, block: np.ndarray[Any, Any]) -> Any:
    """Gradients in the shapes of the parameters; in one of three cases any buffers."""
    if draw(3) == 2:
        return grouped(draw, block)
    params = [p for group in opt.param_groups for p in group["params"]]
    grads: list[Any] = [np.full_like(p, draw(9) - 4) for p in params]
    if grads and draw(3) == 2:
        grads[draw(len(grads))] = buffer(draw, block)
    return grads[0] if len(grads) == 1 and draw(2) else grads


def check(data: bytes) -> str:
    """Make an optimizer and step it. Return "refused" or "taken"; raise on a wrong result."""
    import fastopt

    draw = Draw(data)
    block = np.arange(1, WORDS + 1, dtype=np.float32)
    outcome, before = "refused", block.tobytes()
    inside = np.zeros(WORDS, bool)
    try:
        opt = getattr(fastopt, RULES[draw(len(RULES))])(grouped(draw, block), lr=draw(3) / 4)
        for group in opt.param_groups:
            for p in group["params"]:
                first = (p.ctypes.data - block.ctypes.data) // 4
                inside[max(first, 0) : first + p.size] |= p.size > 0
        for _ in range(1 + draw(3)):
            grads = gradients(draw, opt, block)
            before = block.tobytes()
            zero = draw(4) == 3
            opt.step((lambda g=grads: g) if draw(2) else grads, zero_grads=zero, max_norm=draw(3) or None)
            changed = block.view(np.uint32) != np.frombuffer(before, np.uint32)
            assert zero or not (changed & ~inside).any(), f"words {np.flatnonzero(changed & ~inside)} were written"
            outcome, before = "taken", block.tobytes()
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "lookahead" not in str(error):  # NAG needs a function
            raise
        assert block.tobytes() == before, "a refused call wrote something"
    return outcome


def main(argv: Sequence[str] | None = None) -> int:
    import atheris

    with atheris.instrument_imports(include=["fastopt"]):
        import fastopt
    assert fastopt.__version__
    return fuzzing.run(argv, "fuzz_binding", lambda data: void(check(data)), LARGEST)


def void(_: str) -> None:
    """libFuzzer requires a target that returns None."""


if __name__ == "__main__":
    sys.exit(main())
