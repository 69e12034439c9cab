"""Validates the regularization layers against their peers, then times both in turns in one process.

A case is one call of fastopt and the calls of other libraries for the same task. Libraries that can write into a given
buffer get one, allocated once.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastopt
from bench.report import Options, Report, between, duration, ratios, seconds
from bench.timing import Run, Spread, interleave, ratio
from fastopt import regularization
from fastopt._native import layers as layer_kernels

Array = Any
Call = Callable[[], object]

SHAPE = (256, 64, 32, 32)  # 16.8 million floats, 64 MiB
LOGITS = (65536, 100)
IMAGES = (256, 32, 32, 3)
#: Contenders without a target: a plain copy, and a faster form that torch users rarely write.
COPY, BY_LERP = "copy (memory's speed)", "torch, lerp, out="


@dataclass(frozen=True)
class Case:
    """One comparison. build() returns fastopt's call and the peers' calls; target is their time over fastopt's."""

    name: str
    needs: tuple[str, ...]  # modules that the peers need
    target: float
    bytes: int  # the minimum traffic in memory
    build: Callable[[], tuple[Call, dict[str, Call]]]


def report(options: Options) -> Report:
    threads = max(options.threads)
    fastopt.set_num_threads(threads)
    notes, records = ["", f"{threads} threads"], []
    for case in CASES:
        missing = [m for m in case.needs if not _installed(m)]
        if missing:
            notes.append(f"{case.name} skipped: {', '.join(missing)} not installed")
            continue
        _set_threads(threads, case.needs)
        records += measure(case, options.rounds, threads)
    head = ["layer", "contender", "time", "quartiles", "GB/s", "time / fastopt's", "target", ""]
    return Report("layers", "Regularization layers and their peers", head, [_shown(r) for r in records], records, notes)


def measure(case: Case, rounds: int, threads: int) -> list[dict[str, Any]]:
    ours, peers = case.build()
    runs = [Run("fastopt", ours), *(Run(name, call) for name, call in peers.items())]
    samples = interleave(runs, rounds)
    records = []
    for run in runs:
        time = seconds(Spread.of(samples[run.name]))
        against = ratios(ratio(samples[run.name], samples["fastopt"]))
        base = {"layer": case.name, "contender": run.name, "threads": threads, **time, **against}
        records.append({**base, "bytes_per_second": case.bytes / time["median"]})
        if run.name not in ("fastopt", COPY, BY_LERP):
            records[-1] |= {"target": case.target, "met": against["ratio"] >= case.target}
    return records


def _shown(r: dict[str, Any]) -> list[Any]:
    target = f">= {r['target']:g}" if "target" in r else ""
    verdict = "" if "met" not in r else "met" if r["met"] else "MISSED"
    quartiles = f"{duration(r['q1'])} – {duration(r['q3'])}"
    against = between(Spread(r["ratio"], r["ratio_q1"], r["ratio_q3"]), 1)
    speed = f"{r['bytes_per_second'] / 1e9:.1f}"
    return [r["layer"], r["contender"], duration(r["median"]), quartiles, speed, against, target, verdict]


def _installed(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _set_threads(threads: int, modules: Sequence[str]) -> None:
    if "torch" in modules:
        importlib.import_module("torch").set_num_threads(threads)
    if "cv2" in modules:
        importlib.import_module("cv2").setNumThreads(threads)


def _floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def _close(got: Array, expected: Array, tolerance: float, label: str) -> None:
    error = float(np.abs(np.asarray(got, np.float64) - expected).max())
    if not error <= tolerance:
        raise AssertionError(f"{label}: the error is {error:g}, allowed is {tolerance:g}")


def _moments(sample: Array, mean: float, std: float, label: str) -> None:
    _close([sample.mean(dtype=float), sample.std(dtype=float)], [mean, std], 3e-3, label)


def _copy(x: Array, out: Array) -> dict[str, Call]:
    """A copy, as a measure of the memory bandwidth: one read, one write."""
    return {COPY: lambda: layer_kernels.each("copy", x, out)}


def dropout() -> tuple[Call, dict[str, Call]]:
    import torch

    x, p = _floats(*SHAPE), 0.3
    out, rng = np.empty_like(x), np.random.default_rng(0)
    t, warm = torch.from_numpy(x), torch.ones(SHAPE)
    theirs = torch.nn.functional.dropout

    def ours() -> Array:
        return regularization.dropout(x, p, rng=rng, out=out)

    for name, y in (("fastopt", ours()), ("torch", theirs(t, p, True).numpy())):
        kept = y != 0
        _close(y[kept], x[kept] / (1 - p), 1e-5, name)
        _close(kept.mean(), 1 - p, 1e-3, name)
    return ours, {
        "torch": lambda: theirs(t, p, True),
        "torch, in place": lambda: theirs(warm, p, True, True),
        **_copy(x, out),
    }


def noise() -> tuple[Call, dict[str, Call]]:
    import torch

    x, std = _floats(*SHAPE), 0.1
    out, rng = np.empty_like(x), np.random.default_rng(0)
    t, warm = torch.from_numpy(x), torch.empty(SHAPE)
    other = np.empty_like(x)

    def ours() -> Array:
        return regularization.add_noise(x, std, rng=rng, out=out)

    def theirs() -> Any:
        torch.randn(SHAPE, out=warm)
        return torch.add(t, warm, alpha=std, out=warm)

    def numpy() -> Array:
        rng.standard_normal(out=other, dtype=np.float32)
        np.multiply(other, np.float32(std), out=other)
        return np.add(other, x, out=other)

    for name, y in (("fastopt", ours()), ("torch", theirs().numpy()), ("NumPy", numpy())):
        _moments(y - x, 0.0, std, name)
    return ours, {
        "torch": lambda: t + std * torch.randn_like(t),
        "torch, out=": theirs,
        "NumPy, out=": numpy,
        **_copy(x, out),
    }


def _batch_norms() -> tuple[Array, Array, Any, Any, Any]:
    """(x, dy, our layer, torch's layer, torch's input), after both layers gave equal results."""
    import torch

    x, dy = _floats(*SHAPE) + 3, _floats(*SHAPE, seed=1)
    bn, theirs = regularization.BatchNorm(SHAPE[1]), torch.nn.BatchNorm2d(SHAPE[1])
    t = torch.from_numpy(x).requires_grad_()
    _close(bn.forward(x), theirs(t).detach().numpy(), 1e-5, "batch norm forward")
    theirs(t).backward(torch.from_numpy(dy))
    _close(bn.backward(dy), t.grad.numpy(), 1e-5, "batch norm backward")
    _close(bn.weight_grad, theirs.weight.grad.numpy(), 0.5, "batch norm, gradient of the weight")
    return x, dy, bn, theirs, t


def batch_norm_forward() -> tuple[Call, dict[str, Call]]:
    import torch

    x, _, bn, theirs, t = _batch_norms()
    out, plain = np.empty_like(x), t.detach()
    warm = (torch.empty(SHAPE), torch.empty(SHAPE[1]), torch.empty(SHAPE[1]))
    arguments = (plain, theirs.weight.detach(), theirs.bias.detach(), theirs.running_mean, theirs.running_var)

    def allocating() -> Any:
        with torch.no_grad():
            return theirs(plain)

    def in_warm_buffers() -> Any:
        return torch.ops.aten.native_batch_norm.out(
            *arguments, True, 0.1, 1e-5, out=warm[0], save_mean=warm[1], save_invstd=warm[2]
        )

    _close(bn.forward(x, out=out), in_warm_buffers()[0].numpy(), 1e-5, "native_batch_norm.out")
    return lambda: bn.forward(x, out=out), {"torch": allocating, "torch, out=": in_warm_buffers, **_copy(x, out)}


def batch_norm_both() -> tuple[Call, dict[str, Call]]:
    import torch

    x, dy, bn, theirs, t = _batch_norms()
    out, dx, g = np.empty_like(x), np.empty_like(x), torch.from_numpy(dy)

    def ours() -> None:
        bn.forward(x, out=out)
        bn.backward(dy, out=dx)

    def autograd() -> None:
        t.grad = None
        theirs(t).backward(g)

    return ours, {"torch": autograd, **_copy(x, out)}


def cross_entropy() -> tuple[Call, dict[str, Call]]:
    import torch

    z, index = _floats(*LOGITS) * 3, np.random.default_rng(1).integers(0, LOGITS[1], LOGITS[0])
    grad, t, targets = np.empty_like(z), torch.from_numpy(z).requires_grad_(), torch.from_numpy(index)

    def ours() -> Any:
        return regularization.cross_entropy(z, index, label_smoothing=0.1, out=grad)

    def theirs() -> Any:
        t.grad = None
        loss = torch.nn.functional.cross_entropy(t, targets, label_smoothing=0.1)
        loss.backward()
        return loss

    _close(ours()[0], theirs().item(), 1e-5, "loss")
    _close(grad, t.grad.numpy(), 1e-9, "gradient")
    return ours, {"torch": theirs, **_copy(z, grad)}


def mixup() -> tuple[Call, dict[str, Call]]:
    import torch

    x, rng = _floats(*SHAPE), np.random.default_rng(0)
    out = np.empty_like(x)
    t, warm, mixed = torch.from_numpy(x), torch.empty(SHAPE), torch.empty(SHAPE)
    y, mix = regularization.mixup(x, 0.4, rng=rng, out=out)
    lam, perm = float(mix.lam[0]), torch.from_numpy(mix.partner)

    def expression() -> Any:
        return lam * t + (1 - lam) * t[perm]

    def in_warm_buffers() -> Any:
        torch.index_select(t, 0, perm, out=warm)
        torch.mul(warm, 1 - lam, out=warm)
        return torch.add(warm, t, alpha=lam, out=mixed)

    def by_lerp() -> Any:
        torch.index_select(t, 0, perm, out=warm)
        return torch.lerp(warm, t, lam, out=mixed)

    _close(y, expression().numpy(), 1e-5, "mixup")
    for name, call in (("out=", in_warm_buffers), ("lerp", by_lerp)):
        _close(y, call().numpy(), 1e-5, f"mixup, {name}")
    peers = {"torch": expression, "torch, out=": in_warm_buffers, BY_LERP: by_lerp, **_copy(x, out)}
    return lambda: regularization.mixup(x, 0.4, rng=rng, out=out), peers


def augmentation() -> tuple[Call, dict[str, Call]]:
    """Flip, pad by 4 and crop, erase, brightness and contrast; (N, H, W, C), the layout of OpenCV."""
    x = np.random.default_rng(0).integers(0, 256, IMAGES).astype(np.uint8)
    out, rng = np.empty_like(x), np.random.default_rng(0)
    chain = regularization.Compose(
        [
            regularization.RandomFlip(channels_last=True),
            regularization.RandomCrop(padding=4, channels_last=True),
            regularization.RandomErasing(0.5, scale=1 / 16, ratio=(1, 1), channels_last=True),
            regularization.RandomBrightnessContrast(0.2, 0.2, pivot=0.0, channels_last=True),
        ]
    )
    peers = {"OpenCV, image by image": _opencv(x, np.empty_like(x), rng), "albumentations": _albumentations(x)}
    mean = [float(np.asarray(call()).mean()) for call in (lambda: chain(x, rng=rng, out=out), *peers.values())]
    _close(mean, [mean[0]] * 3, 8.0, "mean brightness")
    return lambda: chain(x, rng=rng, out=out), peers


def _opencv(x: Array, out: Array, rng: np.random.Generator) -> Call:
    """OpenCV image by image; the random numbers are drawn once for the whole batch."""
    import cv2

    n, side = IMAGES[0], IMAGES[1]

    def run() -> Array:
        flips, erases = rng.random(n) < 0.5, rng.random(n) < 0.5
        crop, box = rng.integers(0, 9, (n, 2)), rng.integers(0, side - 7, (n, 2))
        gain, bias = rng.uniform(0.8, 1.2, n), rng.uniform(-51, 51, n)
        for i in range(n):
            image = cv2.flip(x[i], 1) if flips[i] else x[i]
            image = cv2.copyMakeBorder(image, 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=0)
            (top, left), (y, column) = crop[i], box[i]
            image = image[top : top + side, left : left + side].copy()
            if erases[i]:
                image[y : y + 8, column : column + 8] = 0
            cv2.addWeighted(
                image, gain[i], image, 0, bias[i], dst=out[i]
            )  # it saturates, while convertScaleAbs takes the absolute value
        return out

    return run


def _albumentations(x: Array) -> Call:
    import albumentations as A

    chain = A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.PadIfNeeded(40, 40, border_mode=0),
            A.RandomCrop(32, 32),
            A.CoarseDropout(num_holes_range=(1, 1), hole_height_range=(8, 8), hole_width_range=(8, 8), p=0.5),
            A.RandomBrightnessContrast(0.2, 0.2, p=1.0),
        ]
    )
    return lambda: np.stack([chain(image=image)["image"] for image in x])


FLOATS = 4 * int(np.prod(SHAPE))
CASES = (
    Case("dropout", ("torch",), 8.0, 2 * FLOATS, dropout),
    Case("x + σ n", ("torch",), 4.0, 2 * FLOATS, noise),
    Case("batch norm, forward", ("torch",), 1.5, 3 * FLOATS, batch_norm_forward),
    Case("batch norm, forward and backward", ("torch",), 1.5, 8 * FLOATS, batch_norm_both),
    Case("cross-entropy, smoothed, with gradient", ("torch",), 2.0, 8 * int(np.prod(LOGITS)), cross_entropy),
    Case("mixup", ("torch",), 2.0, 3 * FLOATS, mixup),
    Case("flip, crop, erase, brightness", ("cv2", "albumentations"), 3.0, 2 * int(np.prod(IMAGES)), augmentation),
)
