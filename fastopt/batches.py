"""Stochastic, mini-batch and full-batch iteration over arrays of equal length. Knows no model and no optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastopt._checks import flag, integer


class Batches:
    """What `batches` returns: iterate over it once per epoch; len() is the number of batches of an epoch."""

    def __init__(
        self,
        arrays: tuple[Any, ...],
        batch_size: int | None,
        shuffle: bool,
        rng: int | np.random.Generator | None,
        drop_last: bool,
    ) -> None:
        if not arrays:
            raise TypeError("batches() needs at least one array")
        self.arrays = tuple(a if isinstance(a, np.ndarray) else np.asarray(a) for a in arrays)  # keeps masks
        for i, a in enumerate(self.arrays):
            if a.ndim == 0:
                raise ValueError(f"array {i} has no dimensions: there are no samples to batch")
        self.n_samples = len(self.arrays[0])
        for i, a in enumerate(self.arrays):
            if len(a) != self.n_samples:
                raise ValueError(f"array {i} has {len(a)} samples, array 0 has {self.n_samples}")
        self.batch_size = None if batch_size is None else integer("batch_size", batch_size, 1)
        self.shuffle = flag("shuffle", shuffle)
        self.drop_last = flag("drop_last", drop_last)
        self.rng = np.random.default_rng(rng)

    def __len__(self) -> int:
        if self.batch_size is None:
            return int(self.n_samples > 0)
        whole, rest = divmod(self.n_samples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        if self.batch_size is None:
            if self.n_samples:
                yield self._one(self.arrays)  # not shuffled: the order does not matter if all samples are one batch
            return
        order = self.rng.permutation(self.n_samples) if self.shuffle else None
        for i in range(len(self)):
            batch = slice(i * self.batch_size, (i + 1) * self.batch_size)
            chosen = batch if order is None else order[batch]
            yield self._one(tuple(a[chosen] for a in self.arrays))

    @staticmethod
    def _one(arrays: tuple[Any, ...]) -> Any:
        return arrays[0] if len(arrays) == 1 else arrays

    def __repr__(self) -> str:
        return (
            f"batches of {self.batch_size or 'all'} of {self.n_samples:,} samples "
            f"(shuffle={self.shuffle}, drop_last={self.drop_last})"
        )


def batches(
    *arrays: Any,
    batch_size: int | None = 1,
    shuffle: bool = True,
    rng: int | np.random.Generator | None = None,
    drop_last: bool = False,
) -> Batches:
    """Iterate over arrays of equal length, batch by batch.

    Parameters
    ----------
    arrays : (n, ...) each, split along the first axis. Anything that numpy.asarray accepts.
    batch_size : 1 (stochastic), n (mini-batch) or None (the full batch: the arrays themselves).
    shuffle : if True, each pass has a new random order and batches are copies. If False, batches are views.
    rng : None, a seed or a numpy.random.Generator. Each pass draws its order from the same generator.
    drop_last : leave out a last batch that is smaller than the others.

    Yields tuples of arrays, or the array itself if there is only one. Raises ValueError for unequal lengths.

    >>> import numpy as np
    >>> x, y = np.arange(5), np.arange(5) * 10
    >>> for a, b in batches(x, y, batch_size=2, shuffle=False):
    ...     print(a, b)
    [0 1] [ 0 10]
    [2 3] [20 30]
    [4] [40]
    """
    return Batches(arrays, batch_size, shuffle, rng, drop_last)
