"""Two small steps of every rule and one call of every kind of layer: the program that valgrind and `planted` run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from tests.support import digest
from tests.support.rows import ROWS, core, given


def main(argv: Sequence[str] | None = None) -> int:
    noise = digest.pseudo_random(5000, 1)
    for row in ROWS.values():
        for threads in (1, 2):
            with core(threads=threads, threshold=0):
                params = [noise[:n].copy() for n in (1, 33, 4101)]
                opt = row.make(params, weight_decay=0.1, clip_value=0.5)
                for t in range(2):
                    grads = [noise[t : t + p.size].copy() for p in params]
                    opt.step(given(grads), max_norm=1.0)
                assert all(np.isfinite(p).all() for p in params)
    assert digest.layers(noise)
    return 0


if __name__ == "__main__":
    sys.exit(main())
