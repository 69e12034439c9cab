"""More than 2³¹ elements in one tensor, on a few megabytes: small files in memory that are mapped many times.

An element of such a file is updated once for every address at which it is mapped. Exact sums of small integers then
show whether each index was updated exactly once, with the gradient of the same index.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

import fastopt
from tests.support.rows import Array, assert_same_bits, core

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or sys.maxsize < 2**32, reason="needs memfd_create and 64-bit addresses"
)

PAGE = 1024  # floats
PERIOD = 1024  # pages of a parameter's file; a gradient's file has one more, so that no pair of elements occurs twice
N = 2**31 + 3 * PERIOD * PAGE + 777  # ends within a page, a vector and a tile
PAGES = -(-N // PAGE)
MIDDLE = (
    PAGES // 2 - PERIOD // 2,
    PAGES // 2 + PERIOD // 2,
)  # pages around the border between two threads are mapped once


@dataclass
class Mapping:
    """N floats at consecutive addresses. Each piece maps a range of pages to one small file, repeatedly."""

    pieces: list[tuple[int, int, int]]  # first page, last page + 1, pages of the file
    address: int = 0
    files: list[Array] = field(default_factory=list)  # the content of each file, by page

    def __enter__(self) -> Mapping:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.mmap.restype = ctypes.c_void_p
        self.libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self.libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        no_reserve, fixed = 0x4000, 0x10
        self.address = self._map(None, PAGES, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve, -1)
        for start, stop, period in self.pieces:
            descriptor = os.memfd_create("fastopt")
            os.ftruncate(descriptor, period * PAGE * 4)
            for page in range(start, stop, period):
                pages = min(period, stop - page)
                at = self.address + page * PAGE * 4
                self._map(at, pages, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | fixed, descriptor)
            real = mmap.mmap(descriptor, period * PAGE * 4)
            self.files.append(np.frombuffer(real, np.float32).reshape(period, PAGE))
            os.close(descriptor)
        return self

    def _map(self, address: int | None, pages: int, protection: int, flags: int, descriptor: int) -> int:
        got = self.libc.mmap(address, pages * PAGE * 4, protection, flags, descriptor, 0)
        if got is None or got == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "mmap")
        return int(got)

    def __exit__(self, *_: object) -> None:
        self.libc.munmap(self.address, PAGES * PAGE * 4)

    def array(self) -> Array:
        return np.frombuffer((ctypes.c_float * N).from_address(self.address), np.float32)

    def sums(self, gradient: Array) -> Iterator[Array]:
        """By piece, the sum that each element of the file receives if every index is updated once."""
        for start, stop, period in self.pieces:
            page = np.arange(start, min(stop, PAGES - 1))
            met = np.bincount(
                (page - start) % period * len(gradient) + page % len(gradient), minlength=period * len(gradient)
            )
            sums = met.reshape(period, -1).astype(float) @ gradient
            if stop == PAGES:  # the last page is incomplete
                rest = N - (PAGES - 1) * PAGE
                sums[(PAGES - 1 - start) % period, :rest] += gradient[(PAGES - 1) % len(gradient), :rest]
            yield sums

    def last(self, gradient: Array) -> Iterator[Array]:
        """By piece, the gradient of the last index that is mapped to each element."""
        for start, stop, period in self.pieces:
            page = np.arange(max(start, stop - period), stop)
            values = np.zeros((period, PAGE), np.float32)
            values[(page - start) % period] = gradient[page % len(gradient)]
            if stop == PAGES:
                rest = N - (PAGES - 1) * PAGE
                before = PAGES - 1 - period
                values[(PAGES - 1 - start) % period, rest:] = gradient[before % len(gradient), rest:]
            yield values


def parameter() -> Mapping:
    """One file for each of two threads, and one for the border between them."""
    first, second = MIDDLE
    return Mapping([(0, first, PERIOD), (first, second, PERIOD), (second, PAGES, PERIOD)])


def gradient() -> Mapping:
    return Mapping([(0, PAGES, PERIOD + 1)])


def test_more_than_2_to_the_31_elements() -> None:
    with parameter() as w, gradient() as g, parameter() as a:
        values = np.random.default_rng(0).integers(-3, 4, (PERIOD + 1, PAGE)).astype(np.float32)
        g.files[0][...] = values
        sums = list(w.sums(values.astype(float)))
        squares = sum_of_squares(values)
        opt = fastopt.SGD(w.array(), lr=1.0)
        for steps, threads in enumerate((1, 2), 1):
            with core(threads=threads):
                norm = opt.step(g.array(), max_norm=1e30)
            assert norm == math.sqrt(squares)  # integers below 2^53: exact in any order
            for i, (file, expected) in enumerate(zip(w.files, sums, strict=True)):
                label = f"SGD, step {steps} on {threads} threads, piece {i}"
                assert_same_bits(file + 0.0, (-steps * expected).astype(np.float32) + 0.0, label)
        with core(threads=2):  # a state too: with β = 0 it is the gradient of the last update
            fastopt.functional.momentum_(w.array(), g.array(), a.array(), step=1, lr=1.0, momentum=0.0)
        for i, (file, expected) in enumerate(zip(w.files, sums, strict=True)):
            assert_same_bits(file + 0.0, (-3 * expected).astype(np.float32) + 0.0, f"Momentum, piece {i}")
        for i, (file, expected) in enumerate(zip(a.files, a.last(values), strict=True)):
            assert_same_bits(file + 0.0, expected + 0.0, f"Momentum's state, piece {i}")


def sum_of_squares(values: Array) -> int:
    """Over all N elements of the gradient."""
    exact = (values.astype(np.int64) ** 2).sum(axis=1)
    whole, rest = divmod(PAGES - 1, len(values))
    tail = (values[(PAGES - 1) % len(values), : N - (PAGES - 1) * PAGE].astype(np.int64) ** 2).sum()
    return int(whole * exact.sum() + exact[:rest].sum() + tail)
