"""`python tests/digest.py` prints one hash over 50 steps of every rule, and the layers: equal wherever they are built.

All arithmetic before the kernels is exact or in double without transcendental functions but pow and sqrt.
"""

from __future__ import annotations

import hashlib

import numpy as np
from rows import ROWS, TILE, variants

from fastopt import regularization

SIZES = (1, 7, 33, 1000, TILE + 5)


def pseudo_random(n: int, seed: int) -> np.ndarray:
    """Floats in [-1, 1) from a linear congruential generator: the same on any machine and NumPy."""
    x = np.empty(n, np.uint64)
    state = np.uint64(seed)
    with np.errstate(over="ignore"):
        for i in range(n):
            state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
            x[i] = state
    return ((x >> np.uint64(40)).astype(np.float64) / 2**23 - 1.0).astype(np.float32)


def digest(steps: int = 50) -> str:
    """SHA-256 over parameters, states (little-endian) and norms of the last step of every rule and variant."""
    total = hashlib.sha256()
    noise = pseudo_random(sum(SIZES) + steps, 1)
    starts = np.cumsum([0, *SIZES[:-1]])
    for rule, row in ROWS.items():
        for label, values in variants(row):
            params = [noise[a : a + n].copy() for a, n in zip(starts, SIZES, strict=True)]
            opt = row.make(params, **values)
            for t in range(steps):
                grads = [noise[a + t : a + t + n].copy() for a, n in zip(starts, SIZES, strict=True)]
                norm = opt.step(lambda grads=grads: grads, max_norm=1.0)
            total.update(f"{rule} {label} {norm!r}".encode())
            for p, state in zip(params, opt.state, strict=True):
                for array in (p, *(a for name, a in state.items() if name != "step")):
                    total.update(np.ascontiguousarray(array).astype("<f4").tobytes())
    for array in layers(noise):
        total.update(np.ascontiguousarray(array).astype("<f4").tobytes())
    return total.hexdigest()


def layers(noise: np.ndarray) -> list[np.ndarray]:
    """What the regularization layers make of noise: random numbers, sums, exponentials, logarithms."""
    x, dy = noise[:4800].reshape(15, 16, 20), noise[3:4803].reshape(15, 16, 20)
    found = [regularization.dropout(x, 0.3, key=7), regularization.multiply_noise(x, 0.2, key=2**40 + 1)]
    for channels_last in (False, True):
        bn = regularization.BatchNorm(20 if channels_last else 16, channels_last=channels_last)
        found += [bn.forward(x), bn.backward(dy), bn.running_var, bn.weight_grad]
    loss, grad = regularization.cross_entropy(x.reshape(-1, 20), np.arange(240) % 20, label_smoothing=0.1)
    affine = regularization.RandomAffine(40, shear=10)(x.reshape(15, 1, 16, 20), key=5)
    return [*found, np.float32(loss), grad, affine]


if __name__ == "__main__":
    print(digest())
