"""`python -m tests.support.digest` prints one hash over 50 steps of every rule, the layers, resamples, stumps and
networks: equal in any build.

All arithmetic before the kernels is exact, or in double with pow and sqrt as the only transcendental functions.
"""

from __future__ import annotations

import hashlib

import numpy as np

from fastopt import regularization
from fastopt._native import network as network_kernels
from fastopt._native import resample as resample_kernels
from fastopt.ensemble import DecisionStumpClassifier, DecisionStumpRegressor
from tests.support.rows import ROWS, TILE, variants

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
    for number in (*statistics(noise), *network(noise)):
        total.update(np.asarray(number, "<f8").tobytes())
    return total.hexdigest()


def layers(noise: np.ndarray) -> list[np.ndarray]:
    """Results of the regularization layers for noise: random numbers, sums, exponentials, logarithms."""
    x, dy = noise[:4800].reshape(15, 16, 20), noise[3:4803].reshape(15, 16, 20)
    found = [regularization.dropout(x, 0.3, key=7), regularization.multiply_noise(x, 0.2, key=2**40 + 1)]
    for channels_last in (False, True):
        bn = regularization.BatchNorm(20 if channels_last else 16, channels_last=channels_last)
        found += [bn.forward(x), bn.backward(dy), bn.running_var, bn.weight_grad]
    loss, grad = regularization.cross_entropy(x.reshape(-1, 20), np.arange(240) % 20, label_smoothing=0.1)
    affine = regularization.RandomAffine(40, shear=10)(x.reshape(15, 1, 16, 20), key=5)
    return [*found, np.float32(loss), grad, affine]


def statistics(noise: np.ndarray) -> list[np.ndarray]:
    """Results of the kernels of bootstrap and stump for noise, in float64."""
    x = noise[:3000].astype(float)
    strata, places = np.array([[0, 200, 210], [200, 2800, 2800]]), np.array([0, 1499, 2999])
    order = (np.arange(3000) * 7 % 3000).astype(np.uint32)
    found = [resample_kernels.resample_sums(x[None], strata, 5, 0, 9)]
    found.append(resample_kernels.resample_sums(np.stack([x, x[::-1], x * x]), strata, 5, 0, 9))
    found += [
        resample_kernels.resample_places(np.sort(x), order, places, strata, 6, 3, 9),
        resample_kernels.resample_rows(strata, 7, 1, 9),
    ]
    rows, y = np.round(20 * x).reshape(-1, 3), noise[3000:4000].astype(float)
    weights = np.abs(noise[4000:5000]).astype(float)
    labels = np.floor(2 * y + 2).astype(int)
    for target in (labels, labels % 2):
        found.append(DecisionStumpClassifier().fit(rows, target, sample_weight=weights).predict_proba(rows))
    return [*found, DecisionStumpRegressor().fit(rows, y, sample_weight=weights).predict(rows)]


def network(noise: np.ndarray) -> list[np.ndarray]:
    """Results of the network's kernels for noise, without matrix products."""
    found: list[np.ndarray] = []
    for name in ("identity", "relu", "tanh", "gelu"):
        x, bias = 4 * noise[:4500].reshape(3, 5, 300), noise[:900].reshape(3, 300).copy()
        y = np.empty_like(x) if name == "gelu" else x
        network_kernels.activate(name, x, y, bias)
        slope = noise[7:4507].reshape(3, 5, 300).copy()
        network_kernels.activate_back(name, slope, x, bias)
        found += [x, y, slope, bias]
    output, soft = noise[:600].reshape(200, 3).copy(), np.abs(noise[900:1500]).reshape(200, 3)
    for job in (
        lambda g, loss: network_kernels.squared_error(output, soft, g, loss, 0.005),
        lambda g, loss: network_kernels.entropy_rows(output, soft, g, loss, 0.1, 0.005),
        lambda g, loss: network_kernels.entropy_rows(output, np.arange(200) % 3, g, loss, 0.1, 0.005),
    ):
        gradient, losses = np.empty_like(output), np.empty(200, np.float32)
        job(gradient, losses)
        found += [gradient, losses]
    return found


if __name__ == "__main__":
    print(digest())
