"""Augmentation against slow loops over pixels: values, split batches, distributions, bad input."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastopt._native import layers as layer_kernels
from fastopt.regularization import (
    Compose,
    Cutout,
    Jitter,
    RandomAffine,
    RandomBrightnessContrast,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    Scaling,
    Transform,
    WindowShift,
    draw_key,
)
from tests.support import reference_layers as reference
from tests.support.rows import Array, assert_same_bits, core, settings

KEY = 0xFEDCBA9876543210
dtypes = pytest.mark.parametrize("dtype", [np.uint8, np.float32])
layouts = pytest.mark.parametrize("channels_last", [False, True], ids=["channels first", "channels last"])


def images(n: int = 5, c: int = 3, h: int = 7, w: int = 10, dtype: Any = np.uint8, seed: int = 0) -> Array:
    x = np.random.default_rng(seed).integers(1, 255, (n, c, h, w))
    return (x / 255).astype(dtype) if dtype == np.float32 else x.astype(dtype)


def laid_out(x: Array, channels_last: bool) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if channels_last else x


def uniforms(t: Transform, n: int, first: int = 0, stream: int = 0) -> Array:
    """The uniform numbers of a transform. Block b of sample s has the counter (s, s >> 32, b, 1 + stream)."""
    rows = []
    for s in range(first, first + n):
        counters = [[s & 0xFFFFFFFF, s >> 32, b, 1 + stream] for b in range(-(-t.uniforms // 4))]
        rows.append(reference.philox(counters, reference.halves(KEY)).ravel()[: t.uniforms] / 2.0**32)
    return np.array(rows)


def planes(f: Callable[[int, int, Array], Array], x: Array) -> Array:
    """f(sample, channel, plane) over all planes of (N, C, H, W)."""
    return np.array([[f(i, c, x[i, c]) for c in range(x.shape[1])] for i in range(len(x))]).astype(x.dtype)


def check(t: Transform, x: Array, expected: Array, channels_last: bool, tolerance: float = 0.0) -> None:
    """Compare on every instruction set and number of threads, into `out`, in two parts, and in place if allowed."""
    given = laid_out(x, channels_last).copy()
    before = given.copy()
    results = []
    for setting in settings():
        with core(**setting):
            y = t(given, key=KEY, out=np.full_like(laid_out(expected, channels_last), 9, x.dtype))
        results.append(y)
        assert np.array_equal(results[0], y), setting
    got = np.moveaxis(results[0], -1, 1) if channels_last else results[0]
    assert got.dtype == x.dtype
    if tolerance:
        assert np.abs(got.astype(float) - expected).max() <= tolerance
    else:
        assert np.array_equal(got, expected)
    assert np.array_equal(given, before)
    parts = [t(given[:2].copy(), key=KEY), t(given[2:].copy(), key=KEY, first=2)]
    assert np.array_equal(np.concatenate(parts), results[0])
    if t.in_place:
        assert t(given, key=KEY, out=given) is given
        assert np.array_equal(given, results[0])
    else:
        with pytest.raises(ValueError, match=r"overlaps|has shape"):
            t(given, key=KEY, out=given)


@layouts
@dtypes
@pytest.mark.parametrize("c", [1, 3, 4])
def test_flip(c: int, dtype: Any, channels_last: bool) -> None:
    t = RandomFlip(0.5, 0.4, channels_last=channels_last)
    x = images(40, c, 3, 37, dtype)
    u = uniforms(t, 40)
    expected = planes(lambda i, _, p: p[:: -1 if u[i, 1] < 0.4 else 1, :: -1 if u[i, 0] < 0.5 else 1], x)
    assert len({(a < 0.5, b < 0.4) for a, b in u}) == 4
    check(t, x, expected, channels_last)


@layouts
@dtypes
@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize(("size", "padding"), [(None, 4), ((5, 6), 0), ((3, 12), 2), ((1, 1), 0), (None, 25)])
def test_crop(size: Any, padding: int, mode: str, dtype: Any, channels_last: bool) -> None:
    fill = (7.0, 8.0, 9.0) if dtype == np.uint8 else (0.1, 0.2, 0.3)
    t = RandomCrop(size, padding, mode=mode, fill=fill, channels_last=channels_last)
    x = images(12, 3, 7, 10, dtype)
    u = uniforms(t, 12)
    cut = size or (7, 10)
    place = (u * [7 + 2 * padding - cut[0] + 1, 10 + 2 * padding - cut[1] + 1]).astype(int) - padding
    filled = np.array(fill).astype(dtype)
    expected = planes(lambda i, c, p: reference.crop(p, *place[i], cut, filled[c], mode == "reflect"), x)
    check(t, x, expected, channels_last)
    if mode == "reflect" and padding == 4:  # the padding of NumPy
        padded = np.pad(x, ((0, 0), (0, 0), (4, 4), (4, 4)), mode="reflect")
        for i in range(len(x)):
            dy, dx = place[i] + 4
            assert np.array_equal(expected[i], padded[i, :, dy : dy + 7, dx : dx + 10])


@layouts
@dtypes
def test_erasing(dtype: Any, channels_last: bool) -> None:
    t = RandomErasing(0.7, scale=(0.1, 0.5), ratio=(0.5, 3.0), fill=(1.0, 2.0, 3.0), channels_last=channels_last)
    x = images(60, 3, 12, 9, dtype) if dtype == np.uint8 else images(60, 3, 12, 9, dtype) + 4
    u = uniforms(t, 60)
    expected = x.copy()
    for i in range(60):
        area = (0.1 + u[i, 1] * 0.4) * 12 * 9
        ratio = 3.0 * math.exp(np.float32(math.log(0.5 / 3.0) * u[i, 2]))
        h = min(max(round(math.sqrt(area * ratio)), 1), 12)
        w = min(max(round(math.sqrt(area / ratio)), 1), 9)
        y0, x0 = int(u[i, 3] * (12 - h + 1)), int(u[i, 4] * (9 - w + 1))
        if u[i, 0] < 0.7:
            expected[i, :, y0 : y0 + h, x0 : x0 + w] = np.array([1, 2, 3], dtype)[:, None, None]
    check(t, x, expected, channels_last)


@layouts
@dtypes
def test_cutout(dtype: Any, channels_last: bool) -> None:
    for size in (1, 2, 5, 40):
        t = Cutout(size, channels_last=channels_last)
        x = images(30, 2, 7, 9, dtype)
        u = uniforms(t, 30)
        expected = x.copy()
        for i in range(30):
            y, column = int(u[i, 0] * 7) - size // 2, int(u[i, 1] * 9) - size // 2
            expected[i, :, max(y, 0) : y + size, max(column, 0) : column + size] = 0
        check(t, x, expected, channels_last)


@layouts
@dtypes
@pytest.mark.parametrize("pivot", [0.0, 0.5])
def test_brightness_and_contrast(pivot: float, dtype: Any, channels_last: bool) -> None:
    t = RandomBrightnessContrast(0.3, (-0.5, 0.9), pivot=pivot, channels_last=channels_last)
    x = images(20, 3, 8, 17, dtype)
    u = uniforms(t, 20)
    most = 255.0 if dtype == np.uint8 else 1.0
    c, b = (-0.5 + 1.4 * u[:, 1])[:, None, None, None], (-0.3 + 0.6 * u[:, 0])[:, None, None, None]
    exact = (1 + c) * (x - pivot * most) + pivot * most + b * most
    if dtype == np.float32:
        check(t, x, np.clip(exact, 0, 1), channels_last, 1e-6)
        free = RandomBrightnessContrast(0.3, (-0.5, 0.9), pivot=pivot, clip=False)(x, key=KEY)
        assert np.abs(free - exact).max() < 1e-6
        assert free.min() < 0 < 1 < free.max()
        return
    check(
        t, x, reference.to_byte(exact).astype(float), channels_last, 1
    )  # values at a rounding boundary may differ by 1
    off = t(laid_out(x, channels_last), key=KEY) != laid_out(reference.to_byte(exact), channels_last)
    assert off.mean() < 1e-3


def test_every_byte() -> None:
    """All 256 values under known gains and offsets: rounded to nearest, halves up, clipped to 0 … 255."""
    x = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    for gain, bias in ((1, 0), (0.5, 0), (2, -100), (0, 7.5), (-1, 255), (1, 300), (1, -300), (0.5, 0.25)):
        y = layer_kernels.images("tone", x, False, number=np.array([[gain, bias]], float))
        assert np.array_equal(y, reference.to_byte(np.float32(gain) * x.astype(float) + bias))


def inverse_map(u: Array) -> list[float]:
    """The map from output to input pixels in test_affine, from the matrices of rotation, scale and shear."""
    angle, shear = (math.radians(-a + 2 * a * v) for a, v in ((70, u[0]), (20, u[1])))
    scale, shift = 0.5 + u[2], (2 * u[3:5] - 1) * [0.2 * 7, 0.3 * 9]
    # in (y, x) with y down, a counter-clockwise turn maps (0, 1) to (−sin, cos); shear moves x by tan · y
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    inverse = np.linalg.inv(scale * rotation @ np.array([[1, 0], [math.tan(shear), 1]]))
    center = np.array([3.0, 4.0])
    offset = center - inverse @ (center + shift)
    return [*inverse[0], offset[0], *inverse[1], offset[1]]


@layouts
@dtypes
@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_affine(mode: str, dtype: Any, channels_last: bool) -> None:
    t = RandomAffine(
        70, translate=(0.2, 0.3), scale=(0.5, 1.5), shear=20, mode=mode, fill=0.5, channels_last=channels_last
    )
    x = images(6, 2, 7, 9, dtype)
    u = uniforms(t, 6)
    maps = t.matrices(u, 7, 9)
    assert np.allclose(maps, [inverse_map(row) for row in u], atol=2e-6)
    fill = float(np.array(0.5).astype(dtype))
    expected = np.array(
        [[reference.warp(x[i, c].astype(float), maps[i], fill, mode == "reflect") for c in range(2)] for i in range(6)]
    )
    if dtype == np.uint8:
        check(t, x, np.floor(expected + 0.5).astype(np.uint8), channels_last, 1)
    else:
        check(t, x, expected.astype(np.float32), channels_last, 1e-6)


def test_affine_by_right_angles_moves_pixels() -> None:
    x = images(2, 3, 6, 6)
    for turns in range(-3, 4):
        y = RandomAffine((90.0 * turns, 90.0 * turns))(x, rng=0)
        assert np.array_equal(y, np.rot90(x, turns, axes=(2, 3))), turns
    assert np.array_equal(RandomAffine(0)(x, rng=0), x)


def test_compose() -> None:
    """Transforms apply in order, each with its own stream; the input stays unchanged, and `out` is used."""
    chain = [RandomFlip(), RandomCrop(padding=2), RandomErasing(1.0), RandomBrightnessContrast()]
    for k in range(5):
        for some in itertools.permutations(chain, k):
            x = images(9)
            before = x.copy()
            expected = x.copy()
            for i, t in enumerate(some):
                expected = t._run(expected, KEY, 5, 1 + i, None)
            out = np.zeros_like(x)
            assert Compose(some)(x, key=KEY, first=5, out=out) is out
            assert np.array_equal(out, expected)
            assert np.array_equal(x, before)
            assert np.array_equal(Compose(some)(x, key=KEY, first=5), expected)
            parts = [Compose(some)(x[a:b], key=KEY, first=5 + a) for a, b in ((0, 4), (4, 5), (5, 9))]
            assert np.array_equal(np.concatenate(parts), expected)
    twice = Compose([RandomFlip(), RandomFlip()])
    assert not np.array_equal(twice(images(50), key=KEY), images(50))  # the second flip has its own random numbers
    nested = Compose([Compose([RandomFlip()]), RandomCrop(padding=1)])
    assert nested(images(), rng=0).shape == images().shape
    assert np.array_equal(RandomFlip()(images(), rng=3), RandomFlip()(images(), key=draw_key(3)))


def test_distributions() -> None:
    """Probabilities, uniform positions, and independence of samples and of transforms."""
    n = 40_000
    x = np.arange(5, dtype=np.uint8).reshape(1, 1, 1, 5).repeat(n, 0)
    flipped = RandomFlip(0.3)(x, rng=0)[:, 0, 0, 0] == 4
    assert abs(flipped.mean() - 0.3) < 4 * math.sqrt(0.21 / n)
    assert abs(np.corrcoef(flipped[:-1], flipped[1:])[0, 1]) < 4 / math.sqrt(n)
    cropped = RandomCrop((1, 1), 0)(x, rng=1)[:, 0, 0, 0]
    counts = np.bincount(cropped, minlength=5)
    assert ((counts - n / 5) ** 2 / (n / 5)).sum() < 20  # χ², 4 degrees of freedom: 1 in 2000
    shifted = WindowShift(2, fill=9)(x[:, 0, 0, :], rng=2)
    assert all(abs((shifted[:, 2] == v).mean() - 0.2) < 4 * math.sqrt(0.16 / n) for v in range(5))


@pytest.mark.parametrize("shape", [(10,), (10, 1), (10, 7), (10, 3, 33)])
def test_jitter(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = x + 0.2 * reference.normals(x.size, KEY).reshape(shape)
    check(Jitter(0.2), x, expected, False, 3e-6)


@layouts
@pytest.mark.parametrize("per_channel", [False, True])
def test_scaling(per_channel: bool, channels_last: bool) -> None:
    x = np.random.default_rng(0).normal(size=(10, 3, 33)).astype(np.float32)
    count = 30 if per_channel else 10
    factors = (1 + 0.2 * reference.normals(count, KEY)).reshape(10, -1, 1)
    t = Scaling(0.2, per_channel=per_channel, channels_last=channels_last)
    check(t, x, x * factors, channels_last, 3e-6)


@layouts
@dtypes
@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_window_shift(mode: str, dtype: Any, channels_last: bool) -> None:
    x = images(12, 3, 1, 11, dtype)[:, :, 0]
    t = WindowShift(4, mode=mode, channels_last=channels_last)
    place = (uniforms(t, 12)[:, 0] * 9).astype(int) - 4
    assert len(set(place)) > 4
    expected = np.array(
        [[reference.crop(p[None], 0, place[i], (1, 11), 0, mode == "reflect")[0] for p in x[i]] for i in range(12)]
    )
    check(t, x, expected.astype(dtype), channels_last)
    flat = x[:, 0].copy()
    assert np.array_equal(WindowShift(4, mode=mode)(flat, key=KEY), expected[:, 0].astype(dtype))


SETTINGS: list[tuple[Callable[[], Any], str]] = [
    (lambda: RandomFlip(1.5), "horizontal must be"),
    (lambda: RandomFlip(vertical=-0.1), "vertical must be"),
    (lambda: RandomFlip(channels_last=1), "channels_last"),
    (lambda: RandomCrop(padding=-1), "padding must be"),
    (lambda: RandomCrop((0, 3)), "size"),
    (lambda: RandomCrop(mode="wrap"), "mode must be"),
    (lambda: RandomErasing(2), "p must be"),
    (lambda: RandomErasing(scale=(0.5, 0.1)), "scale must be"),
    (lambda: RandomErasing(scale=1.5), "scale must be"),
    (lambda: RandomErasing(ratio=(0, 1)), "ratio"),
    (lambda: Cutout(0), "size must be"),
    (lambda: RandomAffine(shear=95), "shear must be"),
    (lambda: RandomAffine(scale=(0, 1)), "scale must be"),
    (lambda: RandomAffine(translate=(0, 2)), "translate"),
    (lambda: RandomAffine(math.nan), "degrees"),
    (lambda: RandomAffine(1e39), "degrees"),
    (lambda: RandomBrightnessContrast(contrast=(-2, 0)), "contrast"),
    (lambda: RandomBrightnessContrast(max_value=0), "max_value"),
    (lambda: RandomBrightnessContrast(max_value=1e39), "max_value"),
    (lambda: RandomBrightnessContrast(brightness=1e39), "brightness"),
    (lambda: RandomBrightnessContrast(contrast=(0, 1e39)), r"contrast\[1\]"),
    (lambda: Jitter(-1), "std must be"),
    (lambda: Scaling(0.1, per_channel=True)(np.ones(3, np.float32)), "per_channel needs"),
    (lambda: WindowShift(-1), "most must be"),
    (lambda: Compose([RandomFlip(), "flip"]), "transform 1 must be"),
]


@pytest.mark.parametrize(("call", "message"), SETTINGS, ids=[message for _, message in SETTINGS])
def test_bad_settings(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()


IMAGES = images()
OUT = np.full_like(IMAGES, 7)
BLOCK = np.zeros(2 * IMAGES.size, np.uint8)
FIRST, SECOND = (BLOCK[start : start + IMAGES.size].reshape(IMAGES.shape) for start in (0, 9))  # they overlap
FROZEN = OUT.copy()
FROZEN.flags.writeable = False
CALLS: list[tuple[Callable[[], Any], str]] = [
    (lambda: RandomCrop((9, 10))(IMAGES, out=OUT), "exceeds the image's"),
    (lambda: RandomCrop(padding=1, fill=(1, 2))(IMAGES, out=OUT), "fill must be"),
    (lambda: RandomCrop(padding=1, fill=256)(IMAGES, out=OUT), "fill must be in"),
    (lambda: Jitter(0.1)(IMAGES), "x has dtype uint8"),
    (lambda: WindowShift(1)(IMAGES), "signals must have shape"),
    (lambda: WindowShift(1)(IMAGES[:, 0, 0, ::2]), "signals must be C-contiguous"),
    (lambda: RandomFlip()(IMAGES[0], out=OUT), "images must have shape"),
    (lambda: RandomFlip()(IMAGES[:0], out=OUT), "must not be empty"),
    (lambda: RandomFlip()(IMAGES.tolist()), "must be a numpy.ndarray"),
    (lambda: RandomFlip()(IMAGES.astype(np.int16)), "images has dtype int16"),
    (lambda: RandomFlip()(IMAGES[:, :, :, ::2]), "images is not C-contiguous"),
    (lambda: RandomFlip()(IMAGES, out=OUT[:3]), "out has shape"),
    (lambda: RandomFlip()(IMAGES, out=OUT.astype(np.float32)), "out must be a uint8"),
    (lambda: RandomFlip()(IMAGES, out=FROZEN), "out is read-only"),
    (lambda: RandomFlip()(FIRST, out=SECOND), "out overlaps images"),
    (lambda: RandomErasing()(FIRST, out=SECOND), "out overlaps images"),
    (lambda: RandomFlip()(IMAGES, first=-1, out=OUT), "first must be"),
    (lambda: RandomFlip()(IMAGES, key=2**64, out=OUT), "key must be"),
    (lambda: RandomFlip()(IMAGES, 3, key=3, out=OUT), "rng or key"),
    (
        lambda: layer_kernels.images("paste", IMAGES, False, OUT, place=np.array([[0, 8, 0, 1]] * 5)),
        "box 0 is rows 0:8",
    ),
    (lambda: layer_kernels.images("paste", IMAGES, False, OUT, place=np.array([[0, 1, 2, 1]] * 5)), "box 0 is rows"),
]


@pytest.mark.parametrize(("call", "message"), CALLS, ids=[message for _, message in CALLS])
def test_bad_batches(call: Callable[[], Any], message: str) -> None:
    """A bad batch or `out` raises an error, and nothing is written to `out`."""
    with pytest.raises((TypeError, ValueError), match=message):
        call()
    assert (OUT == 7).all()


def test_read_only_images_are_accepted() -> None:
    x = images()
    x.flags.writeable = False
    assert_same_bits(RandomFlip(1.0)(x).astype(np.float32), x[..., ::-1].astype(np.float32), "flip")


def test_a_nested_compose_equals_a_flat_one() -> None:
    """The stream of a transform does not depend on the grouping."""
    flat = Compose([Jitter(0.1), Scaling(0.2), Jitter(0.3)])
    nested = Compose([Compose([Jitter(0.1), Scaling(0.2)]), Jitter(0.3)])
    x = np.ones((5, 7), np.float32)
    assert np.array_equal(flat(x, rng=3), nested(x, rng=3))
    noise = [Compose([Compose([Jitter(a)]), Jitter(b)])(x, rng=3) - 1 for a, b in ((1.0, 0.0), (0.0, 1.0))]
    assert (noise[0] != noise[1]).all()


def test_limits() -> None:
    x, table = np.full((1, 1, 2, 2), 90, np.uint8), np.ones((2, 3), np.float32)
    assert (RandomBrightnessContrast((1, 1), 0, max_value=100)(x) == 100).all()
    assert (RandomBrightnessContrast((1, 1), 0, max_value=100, clip=False)(x) == 190).all()
    y = RandomAffine(degrees=(90 + 360e9, 90 + 360e9))(np.array([[[[1, 2], [3, 4]]]], np.uint8))
    assert y.tolist() == [[[[2, 4], [1, 3]]]]
    for call, text in (
        (lambda: Compose([])(table, out=np.empty((2, 3))), "out must be float32"),
        (lambda: RandomBrightnessContrast(0, 2.0), "contrast must be"),
        (lambda: RandomAffine(scale=(1e-30, 1.0)), "scale must be"),
        (lambda: RandomAffine(shear=89.5), "shear must be"),
        (lambda: WindowShift(2**40), "most must be"),
        (lambda: RandomCrop(padding=2**40), "padding must be"),
        (lambda: Jitter(0.1)(table, first=2**62), "first must be at most"),
        (lambda: WindowShift(1)(table, out=np.empty((3, 2), np.float32)), "out has shape"),
    ):
        with pytest.raises(ValueError, match=text):
            call()


@pytest.mark.parametrize("shape", [(64, 64), (8, 64), (16, 256), (1, 100), (100, 1), (2, 64), (5, 7)])
def test_erased_area(shape: tuple[int, int]) -> None:
    """The mean share is that of `scale` up to the rounding of the sides, also where a side is cut to the image."""
    x = np.ones((8000, 1, *shape), np.uint8)
    for scale in ((0.02, 0.33), (0.5, 0.5), (1.0, 1.0)):
        share = 1 - RandomErasing(1.0, scale=scale)(x, rng=0).mean()
        assert abs(share - np.mean(scale)) < 0.03 * np.mean(scale) + 0.3 / max(shape)


FILLS: list[tuple[Any, Any]] = [
    (RandomErasing, {"p": 1.0, "scale": 1.0}),
    (RandomCrop, {"padding": 50}),
    (Cutout, {"size": 99}),
    (RandomAffine, {"translate": (1.0, 1.0)}),
]


@pytest.mark.parametrize(("cls", "options"), FILLS)
def test_fills(cls: Any, options: dict[str, Any]) -> None:
    """uint8 rounds to nearest, halves up. A value that is no finite float32 number is refused."""
    for fill, expected in ((127.5, 128), (127.4, 127), (254.6, 255), ((0.5, 1, 2), None)):
        x = np.full((9, 3, 6, 6), 200, np.uint8)
        y = cls(fill=fill, **options)(x, rng=0)
        for c, value in enumerate((1, 1, 2) if expected is None else (expected,) * 3):
            assert value in y[:, c]
    for bad in (None, math.nan, math.inf, 1e39, 1e-40, True, "red", [], [0.0, None], [[0.0]], (0.0, math.nan)):
        with pytest.raises((TypeError, ValueError), match="fill"):
            cls(fill=bad, **options)
    for bad in (255.1, -0.1, (1.0, 2.0)):
        with pytest.raises(ValueError, match="fill"):
            cls(fill=bad, **options)(x)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("fill", ["random", "noise"])
def test_random_fills(fill: str, dtype: Any, channels_last: bool) -> None:
    erase = RandomErasing(1.0, scale=0.5, fill=fill, channels_last=channels_last)
    x = np.full((300, 16, 16, 3) if channels_last else (300, 3, 16, 16), 7, dtype)
    y = erase(x, rng=0)
    assert (x == 7).all()
    assert np.array_equal(erase(x[100:], rng=0, first=100), y[100:])
    planes = np.moveaxis(y, -1, 1) if channels_last else y
    boxes = RandomErasing(1.0, scale=0.5, fill=99, channels_last=channels_last)(x, rng=0) == 99
    assert (y[~boxes] == 7).all()
    values = y[boxes].astype(float)
    mean, std = (0.0, 1.0) if dtype is np.float32 else (127.5, 73.9)
    assert abs(values.mean() - mean) < 0.2 * std
    assert values.std() == pytest.approx(std, rel=0.1)
    counts = [len(np.unique(p)) for p in planes[0]]
    assert max(counts) <= 2 if fill == "random" else min(counts) > 20
    again = x.copy()
    assert erase(again, rng=0, out=again) is again
    assert np.array_equal(again, y)


SAME = [RandomFlip(), RandomCrop(padding=2), RandomErasing(1.0, fill="noise"), Cutout(3), RandomAffine(), Jitter(0.1)]
SAME += [RandomBrightnessContrast(), Scaling(0.1), Compose([RandomFlip(), RandomErasing(1.0), Jitter(0.1)])]


@pytest.mark.parametrize("transform", SAME, ids=lambda t: type(t).__name__)
def test_one_draw_for_a_batch(transform: Any) -> None:
    """With equal samples the results are equal, and they are that of sample `first`."""
    x = np.repeat(np.random.default_rng(0).random((1, 3, 8, 8), np.float32), 5, axis=0)
    y = transform(x, key=KEY, first=3, same_on_batch=True)
    assert (y == y[:1]).all()
    assert np.array_equal(y[:1], transform(x[:1], key=KEY, first=3))
    assert not (transform(x, key=KEY, first=3) == y).all()
    out = np.empty_like(x)
    assert transform(x, key=KEY, first=3, same_on_batch=True, out=out) is out
    assert np.array_equal(out, y)
    with pytest.raises(ValueError, match="out must be"):
        transform(x, key=KEY, same_on_batch=True, out=out[:2])
