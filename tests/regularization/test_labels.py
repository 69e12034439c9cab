"""Cross-entropy against its definition, finite differences and torch; mixup and cutmix as in timm and torchvision."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from fastopt._native import layers
from fastopt.regularization import Mix, MixupCutmix, cross_entropy, cutmix, mixup, smooth_labels
from tests.support import reference_layers as reference
from tests.support.rows import Array, assert_same_bits, core, settings

#: (rows, classes): classes around the vector width, rows around a unit of work, more classes than a tile.
SIZES = [(1, 1), (1, 2), (5, 3), (4, 15), (4, 16), (4, 17), (300, 100), (1000, 10), (2, 5000)]
REDUCTIONS = ("mean", "sum", "none")


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def inputs(rows: int, classes: int, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """(logits, classes, soft targets, weights); one weight in four is 0."""
    rng = np.random.default_rng(seed)
    soft = rng.random((rows, classes)) ** 4
    soft[rng.random((rows, classes)) < 0.3] = 0
    soft[:, 0] += 0.1
    weight = rng.random(classes) * (rng.random(classes) > 0.25)
    weight[0] = 0.5
    soft = (soft / soft.sum(1, keepdims=True)).astype(np.float32)
    return floats(rows, classes, seed=seed) * 5, rng.integers(0, classes, rows), soft, weight.astype(np.float32)


def close(got: tuple[Any, Array], expected: tuple[Any, Array], label: str) -> None:
    loss, grad = got
    size = np.abs(expected[1]).max() + 1e-30
    assert np.allclose(loss, expected[0], rtol=1e-6, atol=1e-7), (label, loss, expected[0])
    assert np.abs(grad - expected[1]).max() <= 4e-7 * max(size, np.abs(grad).max()), label


@pytest.mark.parametrize(("rows", "classes"), SIZES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_values(rows: int, classes: int, smoothing: float) -> None:
    z, index, soft, weight = inputs(rows, classes)
    index[index == index[0]] = 0
    for reduction, w, ignore in itertools.product(REDUCTIONS, (None, weight), (-100, 1)):
        options = {"weight": w, "ignore_index": ignore, "label_smoothing": smoothing, "reduction": reduction}
        got = cross_entropy(z, index, **options)
        close(got, reference.cross_entropy(z, index, w, ignore, smoothing, reduction), str(options))
        if ignore < 0:
            got = cross_entropy(z, soft, **options)
            close(got, reference.cross_entropy(z, soft, w, ignore, smoothing, reduction), f"soft, {options}")
    for dtype in (np.int8, np.uint8, np.int32, np.uint64):
        if classes < 127:
            assert np.array_equal(cross_entropy(z, index.astype(dtype))[1], cross_entropy(z, index)[1])


@pytest.mark.parametrize(("rows", "classes"), SIZES)
def test_same_bits(rows: int, classes: int) -> None:
    z, index, soft, weight = inputs(rows, classes, seed=1)
    for targets, reduction in itertools.product((index, soft), REDUCTIONS):
        expected = None
        for setting in settings():
            with core(**setting):
                out = np.full_like(z, 9)
                loss, grad = cross_entropy(z, targets, weight=weight, label_smoothing=0.2, reduction=reduction, out=out)
            assert grad is out
            expected = expected or (np.copy(loss), grad.copy())
            assert np.array_equal(loss, expected[0])
            assert_same_bits(grad, expected[1], str(setting))


def test_finite_differences() -> None:
    """The gradient of the reference is the derivative of its loss."""
    z, index, soft, weight = inputs(4, 5)
    z = z.astype(np.float64)
    for targets, ignore in ((index, int(index[1])), (soft, -1)):
        _, grad = reference.cross_entropy(z, targets, weight, ignore, 0.2, "mean")
        for i in np.ndindex(z.shape):
            up, down = z.copy(), z.copy()
            up[i] += 1e-5
            down[i] -= 1e-5
            losses = [reference.cross_entropy(v, targets, weight, ignore, 0.2, "mean")[0] for v in (up, down)]
            assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(grad[i], abs=1e-8)


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4, 1e7, 1e30])
def test_huge_logits(shift: float) -> None:
    """Logits of any size work: only their differences matter, as far as float32 holds them."""
    z = (floats(6, 8) + shift).astype(np.float32)
    index = np.arange(6)
    close(cross_entropy(z, index, label_smoothing=0.1), reference.cross_entropy(z, index, None, -1, 0.1, "mean"), "")
    far = np.zeros((2, 3), np.float32)
    far[:, 0] = 3e38
    loss, grad = cross_entropy(far, np.array([0, 1]), reduction="none")
    assert loss.tolist() == [0.0, np.float32(3e38)]
    assert grad.tolist() == [[0, 0, 0], [1, -1, 0]]


def test_infinite_and_missing_logits() -> None:
    """−inf is a class of probability 0; NaN and +inf make their row NaN and no other row."""
    z = floats(4, 3)
    z[0, 1] = -np.inf
    z[1, 1] = np.nan
    z[2, 1] = np.inf
    loss, grad = cross_entropy(z, np.array([0, 0, 0, 0]), reduction="none")
    expected = reference.log_softmax(z[:1, [0, 2]])
    assert loss[0] == pytest.approx(-expected[0, 0], rel=1e-6)
    assert grad[0, 1] == 0
    assert np.isnan(loss).tolist() == [False, True, True, False]
    assert np.isnan(grad).any(1).tolist() == [False, True, True, False]
    assert cross_entropy(z, np.array([1, 1, 1, 1]), reduction="none")[0][0] == np.inf
    soft = np.array([[0.5, 0, 0.5]] * 4, np.float32)
    assert np.isfinite(cross_entropy(z, soft, reduction="none")[0][[0, 3]]).all()


def test_all_rows_ignored() -> None:
    z = floats(3, 4)
    loss, grad = cross_entropy(z, np.full(3, -100))
    assert math.isnan(loss)
    assert not grad.any()
    assert cross_entropy(z, np.full(3, -100), reduction="sum")[0] == 0.0


def test_weights_of_zero() -> None:
    """If all weights of the rows are 0, the mean is NaN. A class of weight 0 adds no loss, however unlikely it is."""
    z, weight = floats(3, 4), np.array([0, 1, 2, 0.5], np.float32)
    loss, grad = cross_entropy(z, np.array([0, -100, 0]), weight=weight, label_smoothing=0.1)
    assert math.isnan(loss)
    assert np.isnan(grad[[0, 2]]).all()
    assert not grad[1].any()
    z[:, 0] = -np.inf
    loss, grad = cross_entropy(z, np.array([1, 2, 3]), weight=weight, label_smoothing=0.1)
    mass = 0.9 + 3 * 0.1 / 4  # four classes share the smoothing, three of them have weight
    others = cross_entropy(z[:, 1:].copy(), np.arange(3), weight=weight[1:], label_smoothing=1 - 0.9 / mass)[0]
    assert mass * others == pytest.approx(loss, rel=1e-6)
    assert not grad[:, 0].any()


def test_an_unsigned_target_is_never_negative() -> None:
    with pytest.raises(ValueError, match="target 1 is"):
        cross_entropy(floats(2, 3), np.array([0, 2**64 - 100], np.uint64))


LOGITS, INDEX, SOFT, WEIGHT = inputs(4, 5)
OUT = np.full((4, 5), 7, np.float32)
BLOCK = np.zeros(40, np.float32)
NAN = SOFT.copy()
NAN[1, 1] = np.nan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": np.array([0, 1, 5, 0])}, "target 2 is 5, expected a class from 0 to 4 or ignore_index"),
        ({"targets": np.array([0, -1, 0, 0])}, "target 1 is -1"),
        ({"targets": np.arange(3)}, "targets must be integers of shape"),
        ({"targets": INDEX.astype(float)}, "targets"),
        ({"targets": SOFT[:, :4]}, "targets"),
        ({"targets": SOFT.astype(np.float64)}, "targets has dtype float64"),
        ({"targets": -SOFT}, "targets must be >= 0"),
        ({"targets": NAN}, "targets must be >= 0"),
        ({"targets": SOFT, "ignore_index": 1}, "no meaning for soft targets"),
        ({"targets": "labels"}, "targets"),
        ({"targets": SOFT / np.float32(0)}, "targets must be >= 0 and finite"),
        ({"logits": LOGITS[0]}, "logits must be"),
        ({"logits": LOGITS[:0], "targets": INDEX[:0]}, "logits must be"),
        ({"logits": LOGITS.astype(np.float64)}, "logits has dtype float64"),
        ({"logits": np.asfortranarray(LOGITS)}, "logits is not C-contiguous"),
        ({"weight": WEIGHT[:4]}, "weight must be float32 of shape"),
        ({"weight": -WEIGHT}, "weight must be finite and >= 0"),
        ({"weight": WEIGHT.astype(float)}, "weight must be float32"),
        ({"label_smoothing": 1.1}, "label_smoothing"),
        ({"label_smoothing": math.nan}, "label_smoothing"),
        ({"reduction": "median"}, "reduction must be"),
        ({"ignore_index": 1.0}, "ignore_index"),
        ({"out": LOGITS}, "out overlaps logits"),
        ({"logits": BLOCK[:20].reshape(4, 5), "out": BLOCK[10:30].reshape(4, 5)}, "out overlaps logits"),
        ({"targets": SOFT, "out": SOFT}, "out overlaps targets"),
        ({"out": OUT[:3]}, "out has shape"),
        ({"out": OUT.astype(float)}, "out has dtype float64"),
    ],
)
def test_cross_entropy_refuses(arguments: dict[str, Any], message: str) -> None:
    """A bad argument raises an error, and nothing is written to `out`."""
    with pytest.raises((TypeError, ValueError), match=message):
        cross_entropy(**{"logits": LOGITS, "targets": INDEX, "out": OUT, **arguments})
    assert (OUT == 7).all()


def test_smooth_labels() -> None:
    index = np.array([2, 0])
    expected = [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]
    assert np.allclose(smooth_labels(index, 0.2, num_classes=4), expected)
    assert np.allclose(smooth_labels(np.array(expected, np.float32), 1.0), 0.25)
    z = floats(2, 4)
    close(cross_entropy(z, index, label_smoothing=0.2), cross_entropy(z, smooth_labels(index, 0.2, num_classes=4)), "")
    for bad, options, text in (
        (index, {}, "num_classes"),
        (index, {"num_classes": 2}, "target 0 is 2"),
        (index - 1, {"num_classes": 4}, "target 1 is -1"),
        (index.astype(float), {"num_classes": 4}, "float64"),
        (np.ones((2, 3), np.float32), {"num_classes": 4}, "targets must be"),
        (index, {"num_classes": 4, "smoothing": -0.1}, "smoothing"),
    ):
        with pytest.raises(ValueError, match=text):
            smooth_labels(bad, **options)


@pytest.mark.peer
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_torch(reduction: str, smoothing: float) -> None:
    torch = pytest.importorskip("torch")
    z, index, soft, weight = inputs(50, 17)
    index[::7] = 3
    for w, ignore, targets in itertools.product((None, weight), (-100, 3), (index, soft)):
        if targets is soft and ignore >= 0:
            continue
        t = torch.from_numpy(z).requires_grad_()
        loss = torch.nn.functional.cross_entropy(
            t,
            torch.from_numpy(targets),
            weight=None if w is None else torch.from_numpy(w),
            ignore_index=ignore,
            label_smoothing=smoothing,
            reduction=reduction,
        )
        loss.sum().backward()
        ours, grad = cross_entropy(
            z, targets, weight=w, ignore_index=ignore, label_smoothing=smoothing, reduction=reduction
        )
        assert np.allclose(ours, loss.detach().numpy(), rtol=1e-5, atol=1e-5)
        assert np.allclose(grad, t.grad.numpy(), atol=1e-5 * np.abs(grad).max())


MODES = [
    (m, p) for m in ("batch", "pair", "sample") for p in ("permutation", "roll", "flip") if (m, p) != ("pair", "roll")
]


@pytest.mark.parametrize(("mode", "pairing"), MODES)
@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_mixup(n: int, mode: str, pairing: str) -> None:
    """timm: x · lam + x.flip(0) · (1 − lam); torchvision: x · lam + x.roll(1, 0) · (1 − lam); also the targets."""
    x = floats(n, 3, 50, 50)
    mixed, mix = mixup(x, 0.8, rng=n, mode=mode, pairing=pairing)
    _check_partners(mix, mode, pairing)
    lam = mix.lam.reshape(-1, 1, 1, 1)
    assert np.allclose(mixed, lam * x + (1 - lam) * x[mix.partner], atol=1e-6)
    index = np.arange(n) % 4
    y = reference.one_hot(index, 4)
    expected = mix.lam[:, None] * y + (1 - mix.lam[:, None]) * y[mix.partner]
    assert np.allclose(mix.targets(index, num_classes=4), expected, atol=1e-7)
    smooth = 0.9 * expected + 0.1 / 4
    assert np.allclose(mix.targets(index, num_classes=4, smoothing=0.1), smooth, atol=1e-7)
    for setting in settings():
        with core(**setting):
            again, _ = mixup(x, 0.8, rng=n, mode=mode, pairing=pairing, out=np.full_like(x, 9))
        assert_same_bits(again, mixed, str(setting))


def _check_partners(mix: Mix, mode: str, pairing: str) -> None:
    n = len(mix.partner)
    each = np.arange(n)
    assert np.array_equal(np.sort(mix.partner), each)
    if pairing == "roll":
        assert np.array_equal(mix.partner, np.roll(each, 1))
    if pairing == "flip":
        assert np.array_equal(mix.partner, each[::-1])
    if mode == "batch":
        assert np.ptp(mix.lam) == 0
    if mode == "pair":
        assert np.array_equal(mix.partner[mix.partner], each)
        assert np.array_equal(mix.lam, mix.lam[mix.partner])
        assert n < 60 or len(np.unique(mix.lam)) == n // 2
    if mode == "sample" and n > 60:
        assert len(np.unique(mix.lam)) == n


def test_weights_are_beta() -> None:
    """Beta(α, α) has mean 1/2 and variance 1 / (4 (2α + 1)); p is the probability of being mixed at all."""
    x = np.zeros((40_000, 1), np.float32)
    for alpha in (0.2, 1.0, 3.0):
        _, mix = mixup(x, alpha, rng=1, mode="sample")
        var = 1 / (4 * (2 * alpha + 1))
        assert abs(mix.lam.mean() - 0.5) < 4 * math.sqrt(var / len(x))
        assert mix.lam.var() == pytest.approx(var, rel=0.05)
    _, mix = mixup(x, 1.0, rng=1, mode="sample", p=0.3)
    assert abs((mix.lam < 1).mean() - 0.3) < 4 * math.sqrt(0.21 / len(x))
    mixed = [mixup(x[:2], 1.0, rng=s, p=0.3)[1].lam[0] < 1 for s in range(300)]
    assert 60 < sum(mixed) < 120


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize(("mode", "pairing"), MODES)
def test_cutmix(mode: str, pairing: str, dtype: Any, channels_last: bool) -> None:
    """Each image equals its partner inside one box and itself outside; lam is exactly the share outside."""
    n, h, w = 16, 9, 14
    x = np.random.default_rng(0).integers(1, 200, (n, 3, h, w)).astype(dtype)
    given = np.ascontiguousarray(np.moveaxis(x, 1, -1)) if channels_last else x
    cut, mix = cutmix(given, 1.0, rng=3, mode=mode, pairing=pairing, channels_last=channels_last)
    got = np.moveaxis(cut, -1, 1) if channels_last else cut
    _check_partners(
        Mix(np.zeros(n) if mode == "batch" else mix.lam, mix.partner), mode if mode != "sample" else "", pairing
    )
    boxes = set()
    for i in range(n):
        changed = (got[i] != x[i]).any(0)
        if mix.partner[i] == i or not changed.any():
            continue
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        expected = x[i].copy()
        expected[:, box[0], box[1]] = x[mix.partner[i]][:, box[0], box[1]]
        assert np.array_equal(got[i], expected)
        assert mix.lam[i] == pytest.approx(1 - changed[box].size / (h * w))
        boxes.add((box[0].start, box[0].stop, box[1].start, box[1].stop))
    assert len(boxes) == 1 if mode == "batch" else len(boxes) > 3
    for setting in settings():
        with core(**setting):
            again, _ = cutmix(
                given, 1.0, rng=3, mode=mode, pairing=pairing, channels_last=channels_last, out=np.zeros_like(given)
            )
        assert np.array_equal(again, cut)


def test_boxes_are_timms_and_torchvisions() -> None:
    from fastopt.regularization.labels import _boxes

    class Centers:
        """A generator that returns given integers."""

        def __init__(self, cy: int, cx: int) -> None:
            self.values = [cy, cx]

        def integers(self, high: int, size: int) -> Array:
            return np.full(size, self.values.pop(0) % high)

    rng = np.random.default_rng(0)
    for _ in range(500):
        h, w, lam = int(rng.integers(1, 40)), int(rng.integers(1, 40)), float(rng.random())
        cy, cx = int(rng.integers(h)), int(rng.integers(w))
        box = _boxes(np.array([lam]), h, w, np.zeros(1, int), Centers(cy, cx))  # type: ignore[arg-type]
        theirs = reference.timm_box(lam, h, w, cy, cx)
        assert theirs == reference.torchvision_box(lam, h, w, cy, cx)
        empty = theirs[0] == theirs[1] or theirs[2] == theirs[3]
        assert tuple(box[0]) == theirs or (empty and (1 - lam) * h * w >= 0.5)


@pytest.mark.parametrize("shape", [(1, 64), (64, 1), (2, 64), (3, 50), (1, 3)])
def test_cutmix_mixes_thin_images(shape: tuple[int, int]) -> None:
    """In the middle of the image a box has the share 1 − λ; clipping at the border takes a part of it."""
    x = np.zeros((4000, 1, *shape), np.uint8)
    x[::2] = 1
    cut, mix = cutmix(x, rng=0, mode="sample", pairing="roll")
    assert np.allclose((cut != x).mean((1, 2, 3)), 1 - mix.lam)
    assert 0.25 < 1 - mix.lam.mean() < 0.5
    assert (mix.lam < 1).mean() > 0.7


def test_mixup_or_cutmix() -> None:
    x = floats(8, 2, 6, 6)
    mixer = MixupCutmix(1.0, 1.0, switch_p=0.25, rng=0)
    kinds = []
    for _ in range(400):
        y, mix = mixer(x)
        blend = mix.lam.reshape(-1, 1, 1, 1) * x + (1 - mix.lam.reshape(-1, 1, 1, 1)) * x[mix.partner]
        kinds.append(not np.allclose(y, blend, atol=1e-6))
    assert 60 < sum(kinds) < 140
    for options, is_cut in (({"cutmix_alpha": 0}, False), ({"mixup_alpha": 0}, True)):
        y, mix = MixupCutmix(rng=1, **options)(x)
        inside = (y == x) | (y == x[mix.partner])
        assert bool(inside.all()) == is_cut
    y, mix = MixupCutmix(p=0.0, rng=0)(x)
    assert np.array_equal(y, x)
    assert (mix.lam == 1).all()


def test_mixing_refuses() -> None:
    x = floats(4, 3, 5, 5)
    before = x.copy()
    for call, text in (
        (lambda: mixup(x, 0), "alpha"),
        (lambda: mixup(x, 1.0, p=1.5), "p must be"),
        (lambda: mixup(x, 1.0, mode="elem"), "mode must be"),
        (lambda: mixup(x, 1.0, pairing="random"), "pairing must be"),
        (lambda: mixup(x, 1.0, mode="pair", pairing="roll"), "makes no pairs"),
        (lambda: mixup(x[:0], 1.0), "not empty"),
        (lambda: mixup(x.astype(float), 1.0), "x has dtype float64"),
        (lambda: mixup(x, 1.0, out=x), "out overlaps x"),
        (lambda: mixup(x, 1.0, out=x[:3]), "out has shape"),
        (lambda: mixup(x[:, :, ::2], 1.0), "not C-contiguous"),
        (lambda: cutmix(x, 1.0, out=x), "overlaps"),
        (lambda: cutmix(x[0], 1.0), "must be"),
        (lambda: cutmix(x.astype(np.int32), 1.0), "dtype int32"),
        (lambda: MixupCutmix(0, 0), "both 0"),
        (lambda: MixupCutmix(-1), "mixup_alpha"),
        (lambda: MixupCutmix(mode="all"), "mode must be"),
        (lambda: mixup(x, 1.0)[1].targets(np.zeros(3, int), num_classes=2), "targets has 3 rows"),
    ):
        with pytest.raises((TypeError, ValueError), match=text):
            call()
        assert np.array_equal(x, before)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("places", [(1,), (5,), (2, 3), (2, 1, 3)])
def test_cross_entropy_of_places(places: tuple[int, ...], reduction: str) -> None:
    """(N, K, d1, ...) is (N·d1·…, K) in another order."""
    rows = 4 * math.prod(places)
    z, index, soft, weight = inputs(rows, 5)
    index[0] = -100
    for targets in (index, soft):
        options = {"weight": weight, "label_smoothing": 0.1, "reduction": reduction}
        loss, grad = cross_entropy(z, targets, **options)
        many = [np.moveaxis(a.reshape(4, *places, 5), -1, 1).copy() for a in (z, soft, grad)]
        y = index.reshape(4, *places) if targets is index else many[1]
        out = np.empty_like(many[0])
        got, gradient = cross_entropy(many[0], y, out=out, **options)
        assert gradient is out
        assert np.array_equal(got, np.reshape(loss, (4, *places)) if reduction == "none" else loss, equal_nan=True)
        assert np.array_equal(gradient, many[2], equal_nan=True)
        torch = pytest.importorskip("torch")
        theirs = torch.nn.functional.cross_entropy(
            *(torch.from_numpy(a) for a in (many[0], y, weight)), reduction=reduction, label_smoothing=0.1
        )
        assert np.allclose(got, theirs.numpy(), rtol=1e-5, atol=1e-6, equal_nan=True)
        for bad, text in ((y[:, :0], "targets must be"), (index, "targets must be")):
            with pytest.raises(ValueError, match=text):
                cross_entropy(many[0], bad)
    with pytest.raises(ValueError, match="out has shape"):
        cross_entropy(many[0], y, out=np.empty_like(z))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("mode", ["batch", "pair", "sample"])
@pytest.mark.parametrize("size", [1, 5000])
def test_a_weight_of_zero_lets_nothing_in(bad: float, mode: str, size: int) -> None:
    """Samples, regression targets and sample weights, with λ = 1 and with λ = 0."""
    x = floats(4, size)
    x[::2] = bad
    y, mix = mixup(x, p=0.0, mode=mode, pairing="flip")
    assert_same_bits(y, x, "λ = 1")
    assert_same_bits(mix.targets(x), x, "targets, λ = 1")
    swapped = Mix(np.zeros(4), mix.partner)
    assert_same_bits(swapped.targets(x), x[::-1].copy(), "targets, λ = 0")
    zero = np.zeros(4, np.float32)
    assert_same_bits(layers.mix(x, mix.partner, zero, zero + 1), x[::-1].copy(), "λ = 0")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(8,), (8, 1), (8, 2, 3)])
def test_targets_of_a_regression(shape: tuple[int, ...], dtype: Any) -> None:
    y = np.random.default_rng(0).normal(size=shape).astype(dtype)
    _, mix = mixup(floats(8, 3), 1.0, rng=0, mode="sample")
    lam = mix.lam.reshape(-1, *[1] * (len(shape) - 1))
    got = mix.targets(y)
    assert got.dtype == dtype
    assert np.allclose(got, lam * y + (1 - lam) * y[mix.partner])
    with pytest.raises(ValueError, match="targets"):
        mix.targets(y, smoothing=0.1)
