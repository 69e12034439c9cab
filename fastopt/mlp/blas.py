"""Which BLAS the products get, and how many threads it: one where products are small, since its threads cost more there
than they do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from itertools import pairwise
from typing import Any

from scipy.linalg import cython_blas  # type: ignore[import-untyped]
from threadpoolctl import ThreadpoolController

from fastopt._native import network as network_kernels
from fastopt._native import runtime

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
    return SGEMM if plain and network_kernels.is_sgemm(SGEMM) else None


class _OneThread:
    """A block in which some pools have one thread, in the whole process: of those inside at once the first sees to it,
    the last takes it back. Ctrl-C may come between any two steps of that, and whatever else may be raised: what was
    before is written down before anything is set, and crossed out when all of it is back.

    pools: what has get_num_threads() and set_num_threads(n); asked for when the block is first entered.
    """

    def __init__(self, pools: Callable[[], Sequence[Any]]) -> None:
        self.pools = cache(pools)
        self.lock = threading.Lock()
        self.inside: set[object] = set()
        self.before: list[tuple[Any, int]] = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        me = object()
        try:
            try:
                self._enter(me)
                yield
            finally:
                self._leave(me)
        finally:
            self._leave(me)  # once more: the first time may not have come to its end

    def _enter(self, me: object) -> None:
        with self.lock:
            self.inside.add(me)
            self.before = self.before or [(pool, pool.get_num_threads()) for pool in self.pools()]
            for pool, _ in self.before:
                pool.set_num_threads(1)

    def _leave(self, me: object) -> None:
        with self.lock:
            self.inside.discard(me)
            if not self.inside:
                for pool, threads in self.before:
                    pool.set_num_threads(threads)
                self.before = []


def _blas() -> Sequence[Any]:
    return ThreadpoolController().select(user_api="blas").lib_controllers  # type: ignore[no-any-return]


one_thread = _OneThread(_blas)  # BLAS's
own_thread = _OneThread(lambda: [runtime])  # fastopt's; no bit depends on it


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
