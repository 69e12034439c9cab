"""Label smoothing, the cross-entropy that has it, mixup and cutmix."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastopt._native import layers as layer_kernels
from fastopt.conventions import flag, positive
from fastopt.regularization.common import Array, Rng, choice, probability, whole

REDUCTIONS = ("mean", "sum", "none")
MODES = ("batch", "pair", "sample")
PAIRINGS = ("permutation", "roll", "flip")


def smooth_labels(targets: Array, smoothing: float = 0.1, *, num_classes: int | None = None) -> Array:
    """(1 − ε) t + ε/K: float32 (N, K).

    Parameters
    ----------
    targets : integers (N,) in [0, K), which need num_classes; or float32 (N, K), rows of probabilities.
    smoothing : ε in [0, 1].

    Szegedy et al., "Rethinking the Inception architecture", CVPR 2016, section 7.

    >>> import numpy as np
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
    """Rows of probabilities; a row of an identity matrix for an integer."""
    t = np.asarray(targets)
    if t.ndim == 2 and t.dtype == np.float32 and num_classes in (None, t.shape[1]):
        return _checked_soft(t)
    if t.ndim != 1 or t.dtype.kind not in "iu" or num_classes is None:
        raise ValueError(
            "targets must be integers of shape (N,) with num_classes, or float32 of shape (N, num_classes); "
            f"got {t.dtype} of shape {t.shape} and num_classes={num_classes}"
        )
    classes = whole("num_classes", num_classes, 1)
    bad = np.flatnonzero((t < 0) | (t >= classes))
    if bad.size:
        raise ValueError(f"target {bad[0]} is {t[bad[0]]}, expected a class from 0 to {classes - 1}")
    soft = np.zeros((t.size, classes), np.float32)
    soft[np.arange(t.size), t] = 1.0
    return soft


def _checked_soft(t: Array) -> Array:
    """float32 (N, K), nothing negative, no NaN."""
    if t.size and not t.min() >= 0:
        raise ValueError(f"targets must be >= 0, the least is {t.min()}")
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
    """Softmax cross-entropy and its gradient in one pass: (loss, gradient at the logits).

        loss of a row = Σ_c w_c t'_c (ln Σ_k exp z_k − z_c),   t' = (1 − ε) t + ε/K

    Parameters
    ----------
    logits : z, float32 (N, K), C order; any finite size. NaN in a row makes its loss and gradient NaN; −inf is a class
        of probability 0.
    targets : integers (N,), t one at the class; or float32 (N, K), t itself (rows of probabilities).
    weight : w, float32 (K,), >= 0; None: ones.
    ignore_index : rows with this target have loss and gradient 0 and do not count in the mean.
    label_smoothing : ε in [0, 1].
    reduction : "mean": a float, the sum over Σ w of the targets' classes that count (over N for soft targets), as in
        torch; NaN if none counts; "sum": a float; "none": float32 (N,), and the gradient of their sum.
    out : float32 (N, K) for the gradient, apart from all inputs.

    Szegedy et al. (2016). The loss is summed in double.

    >>> import numpy as np
    >>> from fastopt.regularization import cross_entropy
    >>> loss, grad = cross_entropy(np.array([[2, 0], [0, 2]], np.float32), np.array([0, 0]), label_smoothing=0.1)
    >>> round(loss, 4), grad.round(4)
    (1.1269, array([[-0.0346,  0.0346],
           [-0.4154,  0.4154]], dtype=float32))
    """
    eps = probability("label_smoothing", label_smoothing)
    choice("reduction", reduction, REDUCTIONS)
    ignore = whole("ignore_index", ignore_index, -(2**63), 2**63 - 1)
    if not isinstance(logits, np.ndarray) or logits.ndim != 2 or logits.size == 0:
        raise ValueError(f"logits must be (N, K), neither of them 0; got {getattr(logits, 'shape', type(logits))}")
    w = None if weight is None else _checked_weight(weight, logits.shape[1])
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
        index = np.minimum(index, 2**63 - 1)  # what is no class must not become a negative number
    return layer_kernels.entropy(logits, np.ascontiguousarray(index, np.int64), None, w, ignore, eps, reduction, out)


def _checked_weight(weight: Any, classes: int) -> Array:
    if not isinstance(weight, np.ndarray) or weight.dtype != np.float32 or weight.shape != (classes,):
        raise ValueError(f"weight must be float32 of shape ({classes},), got {weight!r:.60}")
    if not (weight.min() >= 0 and np.isfinite(weight).all()):
        raise ValueError(f"weight must be finite and >= 0, got {weight!r:.60}")
    return np.ascontiguousarray(weight)


class Mix(NamedTuple):
    """How a batch was mixed: sample i is lam[i] · x[i] + (1 − lam[i]) · x[partner[i]], by value or by area."""

    lam: Array  # float64 (N,)
    partner: Array  # int64 (N,)

    def targets(self, targets: Array, *, num_classes: int | None = None, smoothing: float = 0.0) -> Array:
        """The targets mixed alike, smoothed before: float32 (N, K). Arguments as of `smooth_labels`."""
        soft = smooth_labels(targets, smoothing, num_classes=num_classes)
        if len(soft) != len(self.lam):
            raise ValueError(f"targets has {len(soft)} rows, {len(self.lam)} samples were mixed")
        lam = self.lam[:, None]
        return (lam * soft + (1.0 - lam) * soft[self.partner]).astype(np.float32)


def _partners(n: int, pairing: str, mode: str, rng: np.random.Generator) -> Array:
    """Whom each sample is mixed with. In mode "pair" i's partner's partner is i: both share a weight."""
    choice("pairing", pairing, PAIRINGS)
    if pairing == "flip":
        return np.arange(n - 1, -1, -1)
    if mode == "pair":
        if pairing == "roll":
            raise ValueError("mode='pair' needs pairing='permutation' or 'flip': a roll makes no pairs")
        order = rng.permutation(n)
        partner = np.empty(n, np.int64)
        partner[order] = order[np.minimum(np.arange(n) ^ 1, n - 1)]  # neighbours; an odd one is alone
        return partner
    return np.roll(np.arange(n), 1) if pairing == "roll" else rng.permutation(n)


def _weights(n: int, alpha: float, mode: str, p: float, partner: Array, rng: np.random.Generator) -> Array:
    """lam ~ Beta(alpha, alpha) once, per pair or per sample; 1 where it is not to be mixed (chance 1 − p each)."""
    draws = 1 if mode == "batch" else n
    lam = rng.beta(alpha, alpha, draws)
    lam = np.where(rng.random(draws) < p, lam, 1.0)
    if mode == "batch":
        return np.full(n, lam[0])
    return lam[np.minimum(np.arange(n), partner)] if mode == "pair" else lam


def _drawn(x: Any, alpha: float, rng: Rng, mode: str, pairing: str, p: float) -> tuple[Mix, np.random.Generator]:
    alpha, p = positive("alpha", alpha), probability("p", p)
    choice("mode", mode, MODES)
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
    """x̃ᵢ = λ xᵢ + (1 − λ) xⱼ with λ ~ Beta(alpha, alpha): the mixed batch, and how (for the targets).

    Parameters
    ----------
    x : float32 (N, ...), C order.
    alpha : > 0.
    mode : λ drawn per "batch", per "pair" (i and its partner share it) or per "sample" (timm's "elem").
    pairing : j from a random "permutation", the sample before ("roll", as torchvision) or the batch backwards ("flip",
        as timm).
    p : the chance that a batch, pair or sample is mixed at all.
    out : float32 like x, not overlapping it.

    Zhang, Cisse, Dauphin & Lopez-Paz, "mixup: beyond empirical risk minimization", ICLR 2018.

    >>> import numpy as np
    >>> from fastopt.regularization import mixup
    >>> x = np.array([[0.0], [1.0]], np.float32)
    >>> mixed, mix = mixup(x, 1.0, rng=0, pairing="roll")
    >>> np.allclose(mixed[:, 0], 1 - mix.targets(np.array([0, 1]), num_classes=2)[:, 0])
    True
    """
    mix, _ = _drawn(x, alpha, rng, mode, pairing, p)
    return _mixed(x, mix, out), mix


def _mixed(x: Array, mix: Mix, out: Array | None) -> Array:
    return layer_kernels.mix(x, mix.partner, mix.lam.astype(np.float32), (1.0 - mix.lam).astype(np.float32), out)


def _boxes(lam: Array, height: int, width: int, shared: Array, rng: np.random.Generator) -> Array:
    """Boxes of the share 1 − lam about a uniform center, clipped to the image: int64 (N, 4), y0 y1 x0 x1.

    shared: the sample whose center each sample uses, so that those with one weight have one box.
    """
    ratio = np.sqrt(1.0 - lam)
    center = np.stack([rng.integers(height, size=len(lam)), rng.integers(width, size=len(lam))], 1)[shared]
    half = np.stack([(height * ratio).astype(np.int64), (width * ratio).astype(np.int64)], 1) // 2
    low = np.maximum(center - half, 0)
    high = np.minimum(center + half, [height, width])
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
    """A box of a partner's image in each image: the new batch, and how (for the targets).

        side lengths ⌊√(1 − λ) H⌋, ⌊√(1 − λ) W⌋ (made even) about a uniform center, clipped to the image;
        λ is then 1 − box area / (H W)

    Parameters
    ----------
    x : float32 or uint8 (N, C, H, W), or (N, H, W, C) with channels_last; C order.
    alpha, mode, pairing, p : as in `mixup`; what shares λ shares the box.
    out : an array like x, not overlapping it.

    Yun et al., "CutMix: regularization strategy to train strong classifiers", ICCV 2019.

    >>> import numpy as np
    >>> from fastopt.regularization import cutmix
    >>> x = np.zeros((2, 1, 4, 4), np.uint8); x[1] = 1
    >>> cut, mix = cutmix(x, rng=1, pairing="roll")
    >>> bool(np.isclose(mix.lam[0], 1 - cut[0].mean()))
    True
    """
    mix, generator = _drawn(x, alpha, rng, mode, pairing, p)
    return _cut(x, mix, mode, channels_last, generator, out)


def _cut(
    x: Array, mix: Mix, mode: str, channels_last: bool, rng: np.random.Generator, out: Array | None
) -> tuple[Array, Mix]:
    if x.ndim != 4:
        raise ValueError(f"x must be (N, C, H, W), or (N, H, W, C) with channels_last; got shape {x.shape}")
    height, width = x.shape[1:3] if channels_last else x.shape[2:4]
    each = np.arange(len(x))
    shared = {"batch": each * 0, "pair": np.minimum(each, mix.partner), "sample": each}[mode]
    box = _boxes(mix.lam, height, width, shared, rng)
    area = (box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2])
    y = layer_kernels.images("paste", x, channels_last, out, place=box, other=x, partner=mix.partner)
    return y, Mix(1.0 - area / (height * width), mix.partner)


class MixupCutmix:
    """mixup or cutmix, chosen anew for each batch.

    Parameters
    ----------
    mixup_alpha, cutmix_alpha : >= 0; 0 leaves that one out.
    p : the chance that a batch is mixed (mode "batch"), or each pair or sample.
    switch_p : the chance of cutmix where both are in.
    mode, pairing : as in `mixup`.

    >>> import numpy as np
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
            0.0 if alpha == 0 else positive(name, alpha)
            for name, alpha in (("mixup_alpha", mixup_alpha), ("cutmix_alpha", cutmix_alpha))
        )
        if self.mixup_alpha == self.cutmix_alpha == 0.0:
            raise ValueError("mixup_alpha and cutmix_alpha are both 0: nothing would be mixed")
        self.p, self.switch_p = probability("p", p), probability("switch_p", switch_p)
        self.mode, self.pairing = choice("mode", mode, MODES), choice("pairing", pairing, PAIRINGS)
        self.channels_last = flag("channels_last", channels_last)
        self.rng = np.random.default_rng(rng)

    def __call__(self, x: Array, out: Array | None = None) -> tuple[Array, Mix]:
        """The new batch (float32; see `mixup` and `cutmix`) and how it was mixed."""
        share = self.switch_p if self.mixup_alpha and self.cutmix_alpha else float(self.cutmix_alpha > 0.0)
        if self.rng.random() < share:
            mix, rng = _drawn(x, self.cutmix_alpha, self.rng, self.mode, self.pairing, self.p)
            return _cut(x, mix, self.mode, self.channels_last, rng, out)
        return mixup(x, self.mixup_alpha, rng=self.rng, mode=self.mode, pairing=self.pairing, p=self.p, out=out)
