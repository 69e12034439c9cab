"""Which BLAS the products get, and how many threads it: one where products are small, since its threads cost more there
than they do."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from typing import Any

from scipy.linalg import cython_blas  # type: ignore[import-untyped]
from threadpoolctl import ThreadpoolController

from fastopt import _core

SGEMM = cython_blas.__pyx_capi__.get("sgemm")  # scikit-learn brings SciPy, and SciPy a BLAS that C can call

SMALL = 2**23  # multiplications of a product below which BLAS runs on one thread: 0.15 ms; waking another takes as long


def is_small(sizes: Sequence[int], rows: int) -> bool:
    """Whether every product of a batch is small, sizes being features, units of layers, outputs. A matter of shapes
    alone, so that a network gets the same bits wherever it is trained."""
    return all(rows * a * b <= SMALL for a, b in pairwise(sizes))


def sgemm_for(shape: Any, rows: int) -> Any:
    """SciPy's sgemm, for networks whose batches are one call into C: products small, nothing random inside. Or None:
    NumPy's matmul."""
    plain = is_small(shape.sizes, rows) and not (shape.dropout or shape.batch_norm)
    return SGEMM if plain and _core.is_sgemm(SGEMM) else None


class _Single:
    """The limit in force in this process: of fits on several threads the first sets it, the last takes it back."""

    lock = threading.Lock()
    inside = 0
    limit: Any = None
    controller: ThreadpoolController | None = None


class _Alone:
    """The same for fastopt's threads."""

    lock = threading.Lock()
    inside = 0
    before = 1


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS runs on one thread within."""
    with _Single.lock:
        if _Single.inside == 0:
            if _Single.controller is None:
                _Single.controller = ThreadpoolController()
            _Single.limit = _Single.controller.limit(limits=1, user_api="blas")
        _Single.inside += 1
    try:
        yield
    finally:
        with _Single.lock:
            _Single.inside -= 1
            if _Single.inside == 0:
                _Single.limit.restore_original_limits()


@contextmanager
def own_thread() -> Iterator[None]:
    """fastopt's kernels run on one thread within, in the whole process; no bit depends on it."""
    with _Alone.lock:
        if _Alone.inside == 0:
            _Alone.before = _core.get_num_threads()
            _core.set_num_threads(1)
        _Alone.inside += 1
    try:
        yield
    finally:
        with _Alone.lock:
            _Alone.inside -= 1
            if _Alone.inside == 0:
                _core.set_num_threads(_Alone.before)


@contextmanager
def threads_for(job: Any) -> Iterator[None]:
    """What suits this job: at most BLAS's threads. With fastopt's beside them, which spin while the others want the
    cores, or on a machine that is busy with something else, a batch took ten times as long."""
    with own_thread(), threads_of(job.shape.sizes, job.batch_size):
        yield


def threads_of(sizes: Sequence[int], rows: int) -> AbstractContextManager[None]:
    """The same for products alone. A thread that BLAS wakes for one of them looks for more work for 26 ms, in the way
    of whatever else wants its core."""
    return one_thread() if is_small(sizes, rows) else nullcontext()
