"""Which BLAS computes the matrix products, and with how many threads. Small products run on one thread.

SciPy provides a BLAS function that C can call. Without SciPy, NumPy's matmul computes all products.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from itertools import pairwise
from typing import Any

from fastopt._native import network as network_kernels

# Multiplications of a product below which BLAS runs on one thread: 0.15 ms. Waking a second thread takes as long.
SMALL = 2**23


def is_small(sizes: Sequence[int], rows: int) -> bool:
    """Whether every product of a batch is small. sizes: features, units of the hidden layers, outputs.

    Depends on shapes alone, so that a network gets the same bits on every machine.
    """
    return all(rows * a * b <= SMALL for a, b in pairwise(sizes))


@cache
def find_sgemm() -> Any:
    """The capsule of SciPy's sgemm; None without SciPy, or if its signature is another one."""
    try:
        found = importlib.import_module("scipy.linalg.cython_blas").__pyx_capi__.get("sgemm")
    except ImportError:
        return None
    return found if network_kernels.is_sgemm(found) else None


@cache
def _controller() -> Any:
    """threadpoolctl's view of the BLAS libraries in this process; None if threadpoolctl is not installed."""
    try:
        return importlib.import_module("threadpoolctl").ThreadpoolController()
    except ImportError:
        return None


_lock = threading.Lock()
_blocks: list[Any] = []  # the open blocks; the first one set the limit, and the last one to end restores the old one
_limits: list[Any] = []


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """A block in which BLAS uses one thread. After a product, an idle BLAS thread spins for up to 26 ms on its core.

    The number is one of the whole process. Blocks of several threads may overlap in any order.
    """
    found, block = _controller(), object()
    try:
        with _lock:
            _blocks.append(block)
            if found is not None and not _limits:
                _limits.append(found.limit(limits=1, user_api="blas"))
        yield
    finally:
        with _lock:
            if block in _blocks:
                _blocks.remove(block)
            while _limits and not _blocks:
                _limits.pop().restore_original_limits()


def blas_threads_for(sizes: Sequence[int], rows: int) -> AbstractContextManager[Any]:
    """A block for the products of such batches: one BLAS thread if all of them are small."""
    return one_blas_thread() if is_small(sizes, rows) else nullcontext()
