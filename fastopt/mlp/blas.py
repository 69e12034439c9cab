"""Which BLAS computes the matrix products, and with how many threads. Small products run on one thread.

SciPy provides a BLAS function that C can call. Without SciPy, NumPy's matmul computes all products.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
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


def one_blas_thread() -> AbstractContextManager[Any]:
    """A block in which BLAS uses one thread. After a product, an idle BLAS thread spins for up to 26 ms on its core."""
    found = _controller()
    return nullcontext() if found is None else found.limit(limits=1, user_api="blas")


def blas_threads_for(sizes: Sequence[int], rows: int) -> AbstractContextManager[Any]:
    """A block for the products of such batches: one BLAS thread if all of them are small."""
    return one_blas_thread() if is_small(sizes, rows) else nullcontext()
