"""How many threads BLAS gets: one where products are small, since its threads cost more there than they do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from threadpoolctl import ThreadpoolController

SMALL = 2**21  # multiplications of a product below which one thread is faster (measured on two cores)


def is_small(shape: Any, rows: int) -> bool:
    """Whether every product of a batch is small. A matter of shapes alone, so that a network gets the same bits
    wherever it is trained."""
    return all(rows * a * b <= SMALL for a, b in pairwise(shape.sizes))


class _Single:
    """The limit in force in this process: of fits on several threads the first sets it, the last takes it back."""

    lock = threading.Lock()
    inside = 0
    limit: Any = None
    controller: ThreadpoolController | None = None


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
def threads_for(job: Any) -> Iterator[None]:
    """What suits this job."""
    if not is_small(job.shape, job.batch_size):
        yield
        return
    with one_thread():
        yield
