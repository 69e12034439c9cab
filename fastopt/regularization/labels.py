"""Label smoothing, cross-entropy with it, mixup and cutmix."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastopt._checks import flag, integer, nonnegative, one_of, positive
from fastopt._native import layers as layer_kernels
from fastopt._types import Array, Rng
from fastopt.regularization.layer import probability

REDUCTIONS = ("mean", "sum", "none")
MODES = ("batch", "pair", "sample")
PAIRINGS = ("permutation", "roll", "flip")


def smooth_labels(targets: Array, smoothing: float = 0.1, *, num_classes: int | None = None) -> Array:
    """(1 − ε) t + ε/K as float32 (N, K), where t is the one-hot row of a class or a row of probabilities.

    Parameters
    ----------
    targets : integers (N,) in [0, K), with num_classes=K; or float32 (N, K), rows of probabilities.
    smoothing : ε in [0, 1].

    Szegedy et al., "Rethinking the Inception architecture", CVPR 2016, section 7.

    >>> from fastopt.regularization import smooth_labels
    >>> smooth_labels(np.array([0, 2]), 0.3, num_classes=3)
    array([[0.8, 0.1, 0.1],
           [0.1, 0.1, 0.8]], dtype=float32)
    """
    eps = probability("smoothing", smoothing)
    soft = _as_soft(targets, num_classes).astype(np.float64)
    smooth: Array = (1.0 - eps) * soft + eps / soft.shape[1]
    return smooth.astype(np.float32)


def _as_soft(targets: Any, num_classes: int | None) -> Array:
    """Float32 (N, K) rows of probabilities; one-hot rows for integers."""
    t = np.asarray(targets)
    if t.ndim == 2 and t.dtype == np.float32 and num_classes in (None, t.shape[1]):
        return _checked_soft(t)
    if t.ndim != 1 or t.dtype.kind not in "iu" or num_classes is None:
        raise ValueError(
            "targets must be integers of shape (N,) with num_classes, or float32 of shape (N, num_classes); "
            f"got {t.dtype} of shape {t.shape} and num_classes={num_classes}"
        )
    classes = integer("num_classes", num_classes, 1)
    bad = np.flatnonzero((t < 0) | (t >= classes))
    if bad.size:
        raise ValueError(f"target {bad[0]} is {t[bad[0]]}, expected a class from 0 to {classes - 1}")
    soft = np.zeros((t.size, classes), np.float32)
    soft[np.arange(t.size), t] = 1.0
    return soft


def _checked_soft(t: Array) -> Array:
    """t; ValueError if an element is negative, NaN or infinite."""
    if t.size and not 0 <= t.min() <= t.max() < np.inf:
        raise ValueError(f"targets must be >= 0 and finite, they are from {t.min()} to {t.max()}")
    return t


def cross_entropy(
    logits: Array,
    targets: Array,
    *,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    out: Array | None = None,
) -> tuple[Any, Array]:
    """Softmax cross-entropy and its gradient in one pass. Returns (loss, gradient at the logits).

        loss of a row = Σ_c w_c t'_c (ln Σ_k exp z_k − z_c),   t' = (1 − ε) t + ε/K

    Parameters
    ----------
    logits : z, float32 (N, K), C order. Finite logits of any size do not overflow. A NaN makes the loss and the
        gradient of its row NaN; −inf is a class of probability 0. Or (N, K, d1, ...) as in torch: each of N·d1·… places
        is a row, targets have the shape (N, d1, ...) or (N, K, d1, ...), and a copy in row order is made.
    targets : integers (N,), for one-hot t; or float32 (N, K), the rows t of probabilities.
    weight : w, float32 (K,), >= 0; None: ones.
    ignore_index : rows with this target have loss and gradient 0 and do not count in the mean.
    label_smoothing : ε in [0, 1].
    reduction : "mean": a float, the sum divided by the Σ w of the rows' classes (by N for rows of probabilities), as in
        torch; NaN if all rows are ignored. "sum": a float. "none": float32 (N,), with the gradient of their sum.
    out : float32 (N, K) for the gradient; it must not overlap an input.

    Szegedy et al. (2016). The loss is summed in double.

    >>> from fastopt.regularization import cross_entropy
    >>> loss, grad = cross_entropy(np.array([[2, 0], [0, 2]], np.float32), np.array([0, 0]), label_smoothing=0.1)
    >>> round(loss, 4), grad.round(4)
    (1.1269, array([[-0.0346,  0.0346],
           [-0.4154,  0.4154]], dtype=float32))
    """
    eps = probability("label_smoothing", label_smoothing)
    one_of("reduction", reduction, REDUCTIONS)
    ignore = integer("ignore_index", ignore_index, -(2**63), 2**63 - 1)
    if not isinstance(logits, np.ndarray) or logits.ndim < 2 or logits.size == 0:
        raise ValueError(
            f"logits must be (N, K) or (N, K, ...), none of 0; got {getattr(logits, 'shape', type(logits))}"
        )
    w = None if weight is None else _checked_weight(weight, logits.shape[1])
    if logits.ndim > 2:
        options = {"weight": w, "ignore_index": ignore, "label_smoothing": eps, "reduction": reduction}
        return _entropy_of_places(logits, targets, out, options)
    if isinstance(targets, np.ndarray) and targets.dtype.kind == "f":
        if ignore >= 0:
            raise ValueError(f"ignore_index={ignore} has no meaning for soft targets")
        return layer_kernels.entropy(logits, None, _checked_soft(targets), w, ignore, eps, reduction, out)
    index = np.asarray(targets)
    if index.dtype.kind not in "iu" or index.shape != logits.shape[:1]:
        raise ValueError(
            f"targets must be integers of shape ({len(logits)},) or float32 of shape {logits.shape}; "
            f"got {index.dtype} of shape {index.shape}"
        )
    if index.dtype == np.uint64:
        index = np.minimum(index, 2**63 - 1)  # beyond int64 it must not wrap around to ignore_index
    return layer_kernels.entropy(logits, np.ascontiguousarray(index, np.int64), None, w, ignore, eps, reduction, out)


def _entropy_of_places(z: Array, targets: Any, out: Array | None, options: dict[str, Any]) -> tuple[Any, Array]:
    """The cross-entropy of logits (N, K, d1, ...), by way of rows (N·d1·…, K)."""
    y, classes, places = np.asarray(targets), z.shape[1], (len(z), *z.shape[2:])
    if y.shape != (z.shape if y.dtype.kind == "f" else places):
        raise ValueError(
            f"targets must be integers of shape {places} or float32 of shape {z.shape}, got {y.dtype} {y.shape}"
        )
    by_row = np.ascontiguousarray(np.moveaxis(z, 1, -1))
    y = np.moveaxis(y, 1, -1).reshape(-1, classes) if y.dtype.kind == "f" else y.reshape(-1)
    loss, grad = cross_entropy(by_row.reshape(-1, classes), y, **options)
    grad = np.ascontiguousarray(np.moveaxis(grad.reshape(by_row.shape), -1, 1))
    grad = grad if out is None else layer_kernels.each("copy", grad, out, names=("the gradient", "out", ""))
    return (loss.reshape(places) if isinstance(loss, np.ndarray) else loss), grad


def _checked_weight(weight: Any, classes: int) -> Array:
    if not isinstance(weight, np.ndarray) or weight.dtype != np.float32 or weight.shape != (classes,):
        raise ValueError(f"weight must be float32 of shape ({classes},), got {weight!r:.60}")
    if not (weight.min() >= 0 and np.isfinite(weight).all()):
        raise ValueError(f"weight must be finite and >= 0, got {weight!r:.60}")
    return np.ascontiguousarray(weight)


class Mix(NamedTuple):
    """How a batch was mixed: sample i is lam[i] · x[i] + (1 − lam[i]) · x[partner[i]], in value or in area."""

    lam: Array  # float64 (N,)
    partner: Array  # int64 (N,)

    def targets(self, targets: Array, *, num_classes: int | None = None, smoothing: float = 0.0) -> Array:
        """The targets, mixed like the samples.

        Integers (N,) with num_classes=K are classes, and float32 (N, K) are rows of probabilities; both are smoothed by
        `smooth_labels` first. Floats of any shape (N, ...) without num_classes and smoothing are values of a
        regression. Returns float32; for values the dtype of the targets.
        """
        y, eps = np.asarray(targets), probability("smoothing", smoothing)
        if eps > 0.0 or num_classes is not None or y.dtype.kind != "f":
            y = smooth_labels(y, eps, num_classes=num_classes)
        if y.shape[:1] != self.lam.shape:
            raise ValueError(f"targets has {len(y) if y.ndim else 'no'} rows, {len(self.lam)} samples were mixed")
        lam = self.lam.reshape(-1, *[1] * (y.ndim - 1))
        own, other = (np.where(part > 0.0, rows, 0.0) for part, rows in ((lam, y), (1.0 - lam, y[self.partner])))
        mixed: Array = lam * own + (1.0 - lam) * other
        return mixed.astype(y.dtype)


def _partners(n: int, pairing: str, mode: str, rng: np.random.Generator) -> Array:
    """The index of each sample's partner. In mode "pair" the partner of i's partner is i, so that both share λ."""
    one_of("pairing", pairing, PAIRINGS)
    if pairing == "flip":
        return np.arange(n - 1, -1, -1)
    if mode == "pair":
        if pairing == "roll":
            raise ValueError("mode='pair' needs pairing='permutation' or 'flip': a roll makes no pairs")
        order = rng.permutation(n)
        partner = np.empty(n, np.int64)
        partner[order] = order[
            np.minimum(np.arange(n) ^ 1, n - 1)
        ]  # pairs of neighbours in `order`; if n is odd, one sample has no partner
        return partner
    return np.roll(np.arange(n), 1) if pairing == "roll" else rng.permutation(n)


def _weights(n: int, alpha: float, mode: str, p: float, partner: Array, rng: np.random.Generator) -> Array:
    """λ ~ Beta(alpha, alpha) for the batch, each pair or each sample; with probability 1 − p it is 1 (not mixed)."""
    draws = 1 if mode == "batch" else n
    lam = rng.beta(alpha, alpha, draws)
    lam = np.where(rng.random(draws) < p, lam, 1.0)
    if mode == "batch":
        return np.full(n, lam[0])
    return lam[np.minimum(np.arange(n), partner)] if mode == "pair" else lam


def _draw_mix(x: Any, alpha: float, rng: Rng, mode: str, pairing: str, p: float) -> tuple[Mix, np.random.Generator]:
    alpha, p = positive("alpha", alpha), probability("p", p)
    one_of("mode", mode, MODES)
    if not isinstance(x, np.ndarray) or x.ndim < 1 or x.size == 0:
        raise ValueError(f"x must be an array of samples that is not empty, got {getattr(x, 'shape', type(x))}")
    generator = np.random.default_rng(rng)
    partner = _partners(len(x), pairing, mode, generator).astype(np.int64)
    return Mix(_weights(len(x), alpha, mode, p, partner, generator), partner), generator


def mixup(
    x: Array,
    alpha: float = 0.2,
    *,
    rng: Rng = None,
    mode: str = "batch",
    pairing: str = "permutation",
    p: float = 1.0,
    out: Array | None = None,
) -> tuple[Array, Mix]:
    """x̃ᵢ = λ xᵢ + (1 − λ) xⱼ with λ ~ Beta(alpha, alpha). Returns (mixed batch, `Mix` to mix the targets).

    Parameters
    ----------
    x : float32 (N, ...), C order.
    alpha : > 0.
    mode : one λ per "batch", per "pair" (i and its partner share it) or per "sample" (timm's "elem").
    pairing : the partner j: from a random "permutation"; the previous sample ("roll", as in torchvision); or from the
        batch in reverse order ("flip", as in timm).
    p : the probability that a batch, pair or sample is mixed at all. If λ is 1, xⱼ has no influence, even if it is NaN.
    out : float32 like x; it must not overlap x.

    Zhang, Cisse, Dauphin & Lopez-Paz, "mixup: beyond empirical risk minimization", ICLR 2018.

    >>> from fastopt.regularization import mixup
    >>> x = np.array([[0.0], [1.0]], np.float32)
    >>> mixed, mix = mixup(x, 1.0, rng=0, pairing="roll")
    >>> np.allclose(mixed[:, 0], 1 - mix.targets(np.array([0, 1]), num_classes=2)[:, 0])
    True
    """
    mix, _ = _draw_mix(x, alpha, rng, mode, pairing, p)
    lam, rest = mix.lam.astype(np.float32), (1.0 - mix.lam).astype(np.float32)
    return layer_kernels.mix(x, mix.partner, lam, rest, out), mix


def _boxes(lam: Array, height: int, width: int, shared: Array, rng: np.random.Generator) -> Array:
    """int64 (N, 4), y0 y1 x0 x1: boxes with the share 1 − lam of the area and a uniform center, clipped to the image.

    A side that is rounded to 0 in a thin image becomes 1 or 2 pixels, and the other side keeps the area.
    shared: sample i uses the center of sample shared[i], so that samples with the same λ have the same box.
    """
    share, size = 1.0 - lam, np.array([height, width])
    center = np.stack([rng.integers(height, size=len(lam)), rng.integers(width, size=len(lam))], 1)[shared]
    side = (size * np.sqrt(share)[:, None]).astype(np.int64) // 2 * 2
    for i in (0, 1):
        thin = (side[:, i] == 0) & (share * height * width >= 0.5)
        short = np.clip(np.rint(size[i] * np.sqrt(share[thin])), 1, size[i])
        side[thin, i] = short
        side[thin, 1 - i] = np.clip(np.rint(share[thin] * height * width / short), 1, size[1 - i])
    low = np.maximum(center - side // 2, 0)
    high = np.minimum(center - side // 2 + side, size)
    return np.ascontiguousarray(np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], 1))


def cutmix(
    x: Array,
    alpha: float = 1.0,
    *,
    rng: Rng = None,
    mode: str = "batch",
    pairing: str = "permutation",
    p: float = 1.0,
    channels_last: bool = False,
    out: Array | None = None,
) -> tuple[Array, Mix]:
    """Paste a box of the partner's image into each image. Returns (new batch, `Mix` to mix the targets).

        sides ⌊√(1 − λ) H⌋ and ⌊√(1 − λ) W⌋, rounded down to even, about a uniform center, clipped to the image;
        the `Mix` holds λ = 1 − box area / (H W)

    A side of 0 becomes 1 or 2 pixels, and the other one so long that the box has the share 1 − λ, as in thin images.

    Parameters
    ----------
    x : float32 or uint8 (N, C, H, W), or (N, H, W, C) with channels_last; C order.
    alpha, mode, pairing, p : as in `mixup`; samples that share λ share the box.
    out : an array like x; it must not overlap x.

    Yun et al., "CutMix: regularization strategy to train strong classifiers", ICCV 2019.

    >>> from fastopt.regularization import cutmix
    >>> x = np.zeros((2, 1, 4, 4), np.uint8); x[1] = 1
    >>> cut, mix = cutmix(x, rng=1, pairing="roll")
    >>> bool(np.isclose(mix.lam[0], 1 - cut[0].mean()))
    True
    """
    mix, generator = _draw_mix(x, alpha, rng, mode, pairing, p)
    if x.ndim != 4:
        raise ValueError(f"x must be (N, C, H, W), or (N, H, W, C) with channels_last; got shape {x.shape}")
    height, width = x.shape[1:3] if channels_last else x.shape[2:4]
    index = np.arange(len(x))
    shared = {"batch": index * 0, "pair": np.minimum(index, mix.partner), "sample": index}[mode]
    box = _boxes(mix.lam, height, width, shared, generator)
    area = (box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2])
    y = layer_kernels.images("paste", x, channels_last, out, place=box, other=x, partner=mix.partner)
    return y, Mix(1.0 - area / (height * width), mix.partner)


class MixupCutmix:
    """Applies mixup or cutmix, chosen at random for each batch.

    Objects with the same integer seed draw the same numbers; for independent ones pass one Generator to all.

    Parameters
    ----------
    mixup_alpha, cutmix_alpha : >= 0; 0 switches mixup or cutmix off.
    p : as in `mixup`.
    switch_p : the probability of cutmix if both may be applied.
    mode, pairing : as in `mixup`.

    >>> from fastopt.regularization import MixupCutmix
    >>> mixer = MixupCutmix(mixup_alpha=0.8, cutmix_alpha=1.0, rng=0)
    >>> x, mix = mixer(np.ones((4, 3, 8, 8), np.float32))
    >>> mix.targets(np.array([0, 1, 2, 1]), num_classes=3, smoothing=0.1).shape
    (4, 3)
    """

    def __init__(
        self,
        mixup_alpha: float = 0.8,
        cutmix_alpha: float = 1.0,
        *,
        p: float = 1.0,
        switch_p: float = 0.5,
        mode: str = "batch",
        pairing: str = "permutation",
        channels_last: bool = False,
        rng: Rng = None,
    ) -> None:
        self.mixup_alpha, self.cutmix_alpha = (
            nonnegative(name, alpha) for name, alpha in (("mixup_alpha", mixup_alpha), ("cutmix_alpha", cutmix_alpha))
        )
        if self.mixup_alpha == self.cutmix_alpha == 0.0:
            raise ValueError("mixup_alpha and cutmix_alpha are both 0: one of them must be > 0")
        self.p, self.switch_p = probability("p", p), probability("switch_p", switch_p)
        self.mode, self.pairing = one_of("mode", mode, MODES), one_of("pairing", pairing, PAIRINGS)
        self.channels_last = flag("channels_last", channels_last)
        self.rng = np.random.default_rng(rng)

    def __call__(self, x: Array, out: Array | None = None) -> tuple[Array, Mix]:
        """(new batch, `Mix`) for float32 images, as returned by `mixup` or `cutmix`."""
        share = self.switch_p if self.mixup_alpha and self.cutmix_alpha else float(self.cutmix_alpha > 0.0)
        options: dict[str, Any] = {"rng": self.rng, "mode": self.mode, "pairing": self.pairing, "p": self.p, "out": out}
        if self.rng.random() < share:
            return cutmix(x, self.cutmix_alpha, channels_last=self.channels_last, **options)
        return mixup(x, self.mixup_alpha, **options)
