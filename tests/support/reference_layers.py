"""The regularization layers as their papers write them: plain NumPy, slow, float64, loops where loops are clearest.

They are written from the equations, never from the kernels. Both must use the same random numbers, so Philox is here,
too, written from its paper.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = Any

MASK = np.uint64(0xFFFFFFFF)


def philox(counters: Array, key: tuple[int, int]) -> Array:
    """Philox 4x32-10 (Salmon et al. 2011, section 3.4): (n, 4) counters to (n, 4) words."""
    r0, l0, r1, l1 = (np.asarray(counters, np.uint64)[:, i] for i in range(4))
    k0, k1 = key
    for _ in range(10):
        p, q = r0 * np.uint64(0xD2511F53), r1 * np.uint64(0xCD9E8D57)
        r0, l0, r1, l1 = (
            (q >> np.uint64(32)) ^ l0 ^ np.uint64(k0),
            q & MASK,
            (p >> np.uint64(32)) ^ l1 ^ np.uint64(k1),
            p & MASK,
        )
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return np.stack([r0, l0, r1, l1], 1).astype(np.uint32)


def halves(key: int) -> tuple[int, int]:
    return key & 0xFFFFFFFF, key >> 32


def words(n: int, key: int, stream: int = 0, offset: int = 0) -> Array:
    """Element i of a stream: word (i // 16) % 4 of counter 16 (i // 64) + i % 16."""
    i = np.arange(offset, offset + n, dtype=np.uint64)
    counter = i // np.uint64(64) * np.uint64(16) + i % np.uint64(16)
    columns = [counter & MASK, counter >> np.uint64(32), np.full(n, stream), np.zeros(n)]
    counters = np.stack([np.asarray(c, np.uint64) for c in columns], 1)
    return philox(counters, halves(key))[np.arange(n), (i // np.uint64(16) % np.uint64(4)).astype(int)]


def normals(n: int, key: int, stream: int = 0, offset: int = 0) -> Array:
    """Box & Muller (1958): elements j and j + 16 of each 32 are a pair, from the words at their places."""
    first = offset // 32 * 32
    w = words(offset + n - first + 32, key, stream, first)
    w = w[: w.size // 32 * 32].reshape(-1, 2, 16).astype(np.float64)
    radius = np.sqrt(-2.0 * np.log((np.floor(w[:, 0] / 2) + 0.5) / 2.0**31))
    angle = 2.0 * math.pi * w[:, 1] / 2.0**32
    z = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()
    return z[offset - first :][:n]


def dropout(x: Array, p: float, u: Array) -> Array:
    """Srivastava et al. (2014), inverted: 0 where u < p, else x / (1 − p)."""
    return np.where(u < p, 0.0, x / (1.0 - p) if p < 1 else 0.0)


# -- batch normalization ----------------------------------------------------------------------------------------------


def channels_first(x: Array, channels_last: bool) -> Array:
    """(C, everything else)."""
    axis = x.ndim - 1 if channels_last else 1
    return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)


def per_channel(v: Array, x: Array, channels_last: bool) -> Array:
    """v (C) in a shape that broadcasts against x."""
    return v.reshape([-1 if i == (x.ndim - 1 if channels_last else 1) else 1 for i in range(x.ndim)])


def batch_norm(x: Array, gamma: Array, beta: Array, eps: float, channels_last: bool = False) -> dict[str, Array]:
    """Ioffe & Szegedy (2015), algorithm 1, in float64."""
    x = np.asarray(x, np.float64)
    flat = channels_first(x, channels_last)
    mean = np.array([math.fsum(row) / row.size for row in flat])
    var = np.array([math.fsum((row - m) ** 2) / row.size for row, m in zip(flat, mean, strict=True)])
    hat = (x - per_channel(mean, x, channels_last)) / np.sqrt(per_channel(var, x, channels_last) + eps)
    y = per_channel(gamma, x, channels_last) * hat + per_channel(beta, x, channels_last)
    return {"y": y, "mean": mean, "var": var, "hat": hat}


def batch_norm_backward(x: Array, dy: Array, gamma: Array, eps: float, channels_last: bool = False) -> dict[str, Array]:
    """Ioffe & Szegedy (2015), the six derivatives of section 3, put together."""
    dy = np.asarray(dy, np.float64)
    f = batch_norm(x, gamma, np.zeros_like(gamma), eps, channels_last)
    n = channels_first(dy, channels_last).shape[1]
    dbeta = channels_first(dy, channels_last).sum(1)
    dgamma = channels_first(dy * f["hat"], channels_last).sum(1)
    scale = per_channel(gamma / np.sqrt(f["var"] + eps), dy, channels_last)
    mean = per_channel(dbeta / n, dy, channels_last) + f["hat"] * per_channel(dgamma / n, dy, channels_last)
    return {"dx": scale * (dy - mean), "dgamma": dgamma, "dbeta": dbeta}


# -- labels -----------------------------------------------------------------------------------------------------------


def one_hot(targets: Array, classes: int) -> Array:
    return np.array([[float(c == t) for c in range(classes)] for t in targets]).reshape(len(targets), classes)


def log_softmax(z: Array) -> Array:
    z = np.asarray(z, np.float64)
    with np.errstate(invalid="ignore"):
        shifted = z - z.max(1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def cross_entropy(
    z: Array, targets: Array, weight: Array | None, ignore: int, smoothing: float, reduction: str
) -> tuple[Any, Array]:
    """Σ_c w_c t'_c (−ln softmax_c), t' = (1 − ε) t + ε/K, row by row: (loss, gradient)."""
    rows, classes = np.shape(z)
    w = np.ones(classes) if weight is None else np.asarray(weight, np.float64)
    soft = np.ndim(targets) == 2
    t = np.asarray(targets, np.float64) if soft else one_hot(targets, classes)
    q = w * ((1.0 - smoothing) * t + smoothing / classes)
    counts = np.ones(rows, bool) if soft else np.asarray(targets) != ignore
    logp = log_softmax(z)
    losses = np.where(counts, -np.where(q > 0, q * logp, 0.0).sum(1), 0.0)
    grad = np.where(counts[:, None], q.sum(1, keepdims=True) * np.exp(logp) - q, 0.0)
    if reduction == "none":
        return losses, grad
    if reduction == "sum":
        return losses.sum(), grad
    total = rows if soft else sum(w[t] for t, c in zip(targets, counts, strict=True) if c)
    return losses.sum() / total, grad / total


def timm_box(lam: float, height: int, width: int, cy: int, cx: int) -> tuple[int, int, int, int]:
    """timm.data.mixup.rand_bbox with the center given: int(size · √(1 − λ)) // 2 to either side, clipped."""
    ratio = math.sqrt(1.0 - lam)
    cut_h, cut_w = int(height * ratio), int(width * ratio)
    y0, y1 = np.clip([cy - cut_h // 2, cy + cut_h // 2], 0, height)
    x0, x1 = np.clip([cx - cut_w // 2, cx + cut_w // 2], 0, width)
    return int(y0), int(y1), int(x0), int(x1)


def torchvision_box(lam: float, height: int, width: int, cy: int, cx: int) -> tuple[int, int, int, int]:
    """torchvision.transforms.v2.CutMix._get_params with the center given."""
    r = 0.5 * math.sqrt(1.0 - lam)
    half_h, half_w = int(r * height), int(r * width)
    return max(cy - half_h, 0), min(cy + half_h, height), max(cx - half_w, 0), min(cx + half_w, width)


# -- images (planes: arrays of height, width) -------------------------------------------------------------------------


def mirrored(i: int, n: int) -> int:
    """Reflected without repeating the edge, as numpy.pad's mode "reflect"."""
    if n == 1:
        return 0
    while not 0 <= i < n:
        i = -i if i < 0 else 2 * (n - 1) - i
    return i


def pixel(plane: Array, y: int, x: int, fill: float, reflect: bool) -> float:
    h, w = plane.shape
    if reflect:
        return float(plane[mirrored(y, h), mirrored(x, w)])
    return float(plane[y, x]) if 0 <= y < h and 0 <= x < w else float(fill)


def crop(plane: Array, dy: int, dx: int, size: tuple[int, int], fill: float, reflect: bool) -> Array:
    return np.array([[pixel(plane, y + dy, x + dx, fill, reflect) for x in range(size[1])] for y in range(size[0])])


def warp(plane: Array, m: Array, fill: float, reflect: bool) -> Array:
    """Bilinear interpolation at (m0 y + m1 x + m2, m3 y + m4 x + m5)."""
    h, w = plane.shape
    out = np.empty((h, w))
    for i in range(h):
        for j in range(w):
            y, x = m[0] * i + m[1] * j + m[2], m[3] * i + m[4] * j + m[5]
            y0, x0 = math.floor(y), math.floor(x)
            fy, fx = y - y0, x - x0
            out[i, j] = sum(
                weight * pixel(plane, y0 + dy, x0 + dx, fill, reflect)
                for dy, dx, weight in (
                    (0, 0, (1 - fy) * (1 - fx)),
                    (0, 1, (1 - fy) * fx),
                    (1, 0, fy * (1 - fx)),
                    (1, 1, fy * fx),
                )
            )
    return out


def to_byte(v: Array) -> Array:
    """To the nearest, halves up, within 0 … 255."""
    return np.floor(np.clip(v, 0, 255) + 0.5).astype(np.uint8)


# -- early stopping ---------------------------------------------------------------------------------------------------


def stops_at(values: Array, patience: int, delta: float, start: int, cooldown: int) -> tuple[int | None, int | None]:
    """Minimizing: (the update that stops or None, the best update or None), by looking back over the whole history."""
    best, best_at, counted, cooling = math.inf, None, 0, 0
    for i, v in enumerate(values):
        if i < start:
            continue
        if v < best - (delta if best < math.inf else 0.0):
            best, best_at, counted, cooling = v, i, 0, cooldown
        elif cooling:
            cooling -= 1
        else:
            counted += 1
            if counted == patience:
                return i, best_at
    return None, best_at
