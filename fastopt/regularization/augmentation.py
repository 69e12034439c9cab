"""Data augmentation for batches of images, tables and signals.

The change of a sample is a function of the key and of the sample's index alone. It does not depend on the number of
threads or on how samples are split into batches: `first` is the index of the first sample in a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastopt._checks import as_float32, flag, integer, nonnegative, one_of, optional, pair, positive
from fastopt._native import layers as layer_kernels
from fastopt._types import Array, Rng
from fastopt.regularization.layer import Layout, choose_key, probability

MODES = ("constant", "reflect")
MOST_ELEMENTS = 2**62  # in one random stream
LARGEST_SHIFT = 2**31 - 1  # a shift is drawn from one 32-bit word
Fill = float | Sequence[float]


class Transform(ABC):
    """The base class of all transforms. A transform is called on a batch with samples along the first axis.

    transform(x, rng=..., first=0, out=None) draws one key from rng (None, a seed or a Generator) or takes `key`, and
    returns the new batch, written to `out` if given. Sample i of the batch has the index first + i in its stream. With
    same_on_batch=True all samples get the random numbers of sample `first`.
    """

    in_place = False  # whether out may be x

    def __call__(
        self,
        x: Array,
        rng: Rng = None,
        *,
        key: int | None = None,
        first: int = 0,
        same_on_batch: bool = False,
        out: Array | None = None,
    ) -> Array:
        if not isinstance(x, np.ndarray):
            raise TypeError(f"a batch of samples must be a numpy.ndarray, got {type(x).__name__}")
        if x.ndim == 0 or x.size == 0:
            raise ValueError(f"a batch of samples must not be empty, got shape {x.shape}")
        key, first = choose_key(rng, key), integer("first", first, 0, MOST_ELEMENTS)
        if not flag("same_on_batch", same_on_batch):
            return self._run(x, key, first, 0, out)
        y = np.concatenate([self._run(x[i : i + 1], key, first, 0, None) for i in range(len(x))])
        return y if out is None else _copied(y, out)

    @abstractmethod
    def _run(self, x: Array, key: int, first: int, stream: int, out: Array | None) -> Array:
        """The transformed batch. Sample i uses the random numbers of (key, stream, first + i)."""

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class _UniformTransform(Transform):
    """A transform that uses a fixed count of uniform numbers per sample."""

    uniforms: int

    def _run(self, x: Array, key: int, first: int, stream: int, out: Array | None) -> Array:
        blocks = -(-self.uniforms // 4)  # the generator makes four numbers at a time
        return self._apply(x, layer_kernels.sample_uniforms(key, first, len(x), blocks, stream), out)

    @abstractmethod
    def _apply(self, x: Array, u: Array, out: Array | None) -> Array:
        """The transformed batch. u: float64 (n, uniforms or more) in [0, 1)."""


class Compose(Transform):
    """Applies transforms one after another, with one key for all.

    >>> from fastopt.regularization import Compose, RandomCrop, RandomErasing, RandomFlip
    >>> augment = Compose([RandomFlip(), RandomCrop(padding=1), RandomErasing(p=1.0, scale=0.1)])
    >>> x = np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4)
    >>> whole = augment(x, rng=0)
    >>> second = augment(x[1:], rng=0, first=1)  # a part of the same batch
    >>> bool((whole[1:] == second).all())
    True
    """

    def __init__(self, transforms: Iterable[Transform]) -> None:
        self.transforms: list[Transform] = []
        for i, t in enumerate(transforms):
            if not isinstance(t, Transform):
                raise TypeError(f"transform {i} must be a Transform, got {type(t).__name__}")
            self.transforms += t.transforms if isinstance(t, Compose) else [t]  # each needs its own stream

    def _run(self, x: Array, key: int, first: int, stream: int, out: Array | None) -> Array:
        if not self.transforms and out is not None:
            return _copied(x, out)
        # the last transform that cannot work in place writes to out; transforms in place write to their own input
        writes_out = max([i for i, t in enumerate(self.transforms) if not t.in_place], default=0)
        y = x
        for i, t in enumerate(self.transforms):
            target = out if i == writes_out else y if t.in_place and y is not x else None
            y = t._run(y, key, first, stream + 1 + i, target)
        return y


def _copied(y: Array, out: Array) -> Array:
    """out, which becomes a copy of y."""
    if not isinstance(out, np.ndarray) or (out.shape, out.dtype) != (y.shape, y.dtype) or not out.flags.writeable:
        got = f"{out.dtype} of shape {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"out must be {y.dtype} of shape {y.shape} and writeable, got {got}")
    np.copyto(out, y)
    return out


def _interval(name: str, value: Any, check: Any = as_float32) -> tuple[float, float]:
    """A pair (a, b) with a <= b, or one number x for (−x, x)."""
    if isinstance(value, (tuple, list)):
        a, b = pair(name, value, check)
    else:
        b = nonnegative(name, value)
        a = -b
    if a > b:
        raise ValueError(f"{name} must be an interval, got {value!r}")
    return a, b


def _checked_fill(fill: Any) -> Fill:
    """A finite number, or a tuple of them."""
    if isinstance(fill, (tuple, list, np.ndarray)) and np.ndim(fill) == 1 and len(fill):
        return tuple(as_float32(f"fill[{i}]", value) for i, value in enumerate(fill))
    return as_float32("fill", fill)


def _fill(fill: Fill, x: Array, channels_last: bool) -> Array:
    """One value per channel, in the dtype of x; for uint8 rounded to nearest, halves up."""
    channels = x.shape[-1 if channels_last else 1] if x.ndim > 2 else 1
    values = np.asarray(fill, np.float64)
    if values.shape not in ((), (channels,)):
        raise ValueError(f"fill must be a number or {channels} of them, one per channel; got {fill!r}")
    if x.dtype == np.uint8:
        if not ((values >= 0) & (values <= 255)).all():
            raise ValueError(f"fill must be in [0, 255] for uint8 images, got {fill!r}")
        values = np.floor(values + 0.5)
    return np.full(channels, values, x.dtype)


def _offset(first: int, size: int) -> int:
    """The number of the first random number of sample `first`, if each sample uses `size`."""
    if first > MOST_ELEMENTS // size:
        raise ValueError(f"first must be at most {MOST_ELEMENTS // size} here, got {first}")
    return first * size


def _scaled(u: Array, n: Any) -> Array:
    """Integers 0 … n − 1 from uniform numbers of 32 bits; their bias is below n/2³²."""
    return np.asarray((u * n).astype(np.int64))


class _Images(_UniformTransform):
    """Images (N, C, H, W), or (N, H, W, C) with channels_last; float32 or uint8, C order."""

    def __init__(self, channels_last: bool) -> None:
        self.channels_last = flag("channels_last", channels_last)

    def _size(self, x: Array) -> tuple[int, int]:
        if x.ndim != 4:
            shape = "(N, H, W, C)" if self.channels_last else "(N, C, H, W)"
            raise ValueError(f"images must have shape {shape}, got {x.shape}")
        return (x.shape[1], x.shape[2]) if self.channels_last else (x.shape[2], x.shape[3])


class RandomFlip(_Images):
    """Mirror left and right with probability `horizontal`, up and down with probability `vertical`.

    >>> from fastopt.regularization import RandomFlip
    >>> RandomFlip(horizontal=1.0)(np.array([[[[1, 2, 3]]]], np.uint8))
    array([[[[3, 2, 1]]]], dtype=uint8)
    """

    uniforms = 2

    def __init__(self, horizontal: float = 0.5, vertical: float = 0.0, *, channels_last: bool = False) -> None:
        super().__init__(channels_last)
        self.horizontal = probability("horizontal", horizontal)
        self.vertical = probability("vertical", vertical)

    def _apply(self, x: Array, u: Array, out: Array | None) -> Array:
        self._size(x)
        flips = (u[:, 0] < self.horizontal) + 2 * (u[:, 1] < self.vertical).astype(np.int64)
        return layer_kernels.images("flip", x, self.channels_last, out, place=flips)


class RandomCrop(_Images):
    """Cut a window of `size` at a random position from the image with `padding` pixels added on each side.

    Parameters
    ----------
    size : (height, width), or None for the size of the image.
    padding : >= 0, in pixels.
    mode : the added pixels: "constant" (fill) or "reflect" (the mirrored image without its edge, as in numpy.pad).
    fill : a number, or one per channel.

    >>> from fastopt.regularization import RandomCrop
    >>> RandomCrop(padding=1, fill=9)(np.array([[[[1, 2], [3, 4]]]], np.uint8), rng=0)
    array([[[[9, 1],
             [9, 3]]]], dtype=uint8)
    """

    uniforms = 2

    def __init__(
        self,
        size: tuple[int, int] | None = None,
        padding: int = 0,
        *,
        mode: str = "constant",
        fill: Fill = 0.0,
        channels_last: bool = False,
    ) -> None:
        super().__init__(channels_last)
        self.size = None if size is None else (integer("size[0]", size[0], 1), integer("size[1]", size[1], 1))
        self.padding = integer("padding", padding, 0, LARGEST_SHIFT)
        self.mode = one_of("mode", mode, MODES)
        self.fill = _checked_fill(fill)

    def _apply(self, x: Array, u: Array, out: Array | None) -> Array:
        size = self._size(x)
        window = self.size or size
        positions = [full + 2 * self.padding - cut + 1 for full, cut in zip(size, window, strict=True)]
        if min(positions) < 1:
            raise ValueError(f"size {window} exceeds the image's {size} with a padding of {self.padding}")
        place = _scaled(u[:, :2], positions) - self.padding
        fill, reflect = _fill(self.fill, x, self.channels_last), self.mode == "reflect"
        kernel = layer_kernels.images
        return kernel("crop", x, self.channels_last, out, size=window, place=place, fill=fill, reflect=reflect)


class _Boxes(_Images):
    """A transform that fills one box in each image."""

    in_place = True
    fill: Any

    def _apply(self, x: Array, u: Array, out: Array | None) -> Array:
        box, fill = self._boxes(u, *self._size(x)), _fill(self.fill, x, self.channels_last)
        return layer_kernels.images("paste", x, self.channels_last, out, place=box, fill=fill)

    @abstractmethod
    def _boxes(self, u: Array, height: int, width: int) -> Array:
        """int64 (N, 4), y0 y1 x0 x1: the box of each image."""


class RandomErasing(_Boxes):
    """Fill a random box inside the image.

    Parameters
    ----------
    p : the probability that an image gets a box.
    scale : the box's share of the area, uniform in (a, b), or one number; within [0, 1]. A box has at least one pixel.
    ratio : (a, b) for height over width, uniform in the logarithm. If a side would be longer than the image or shorter
        than a pixel, the ratio is changed, so that the box keeps its area; sides are rounded to pixels.
    fill : a number, or one per channel; "random": one random color per box; "noise": a random color for each pixel.
        Random values are standard normal for float32, and uniform in 0 … 255 for uint8. out may be x.

    Zhong et al., "Random erasing data augmentation", AAAI 2020.

    >>> from fastopt.regularization import RandomErasing
    >>> RandomErasing(p=1.0, scale=0.25, ratio=(1, 1))(np.ones((1, 1, 4, 4), np.uint8), rng=0)[0, 0]
    array([[1, 0, 0, 1],
           [1, 0, 0, 1],
           [1, 1, 1, 1],
           [1, 1, 1, 1]], dtype=uint8)
    """

    uniforms = 5

    def __init__(
        self,
        p: float = 0.5,
        *,
        scale: float | tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        fill: Fill | str = 0.0,
        channels_last: bool = False,
    ) -> None:
        super().__init__(channels_last)
        self.p = probability("p", p)
        self.scale = _interval("scale", scale if isinstance(scale, (tuple, list)) else (scale, scale), nonnegative)
        self.ratio = _interval("ratio", ratio, nonnegative)
        if self.scale[1] > 1.0 or self.ratio[0] <= 0.0:
            raise ValueError(f"scale must be within [0, 1] and ratio above 0, got {scale!r} and {ratio!r}")
        self.fill = one_of("fill", fill, ("random", "noise")) if isinstance(fill, str) else _checked_fill(fill)

    def _run(self, x: Array, key: int, first: int, stream: int, out: Array | None) -> Array:
        if not isinstance(self.fill, str):
            return super()._run(x, key, first, stream, out)
        height, width = self._size(x)
        boxes = self._boxes(layer_kernels.sample_uniforms(key, first, len(x), 2, stream), height, width)
        colors, n = self._colors(x, key, first, stream), np.arange(len(x))
        return layer_kernels.images("paste", x, self.channels_last, out, place=boxes, other=colors, partner=n)

    def _colors(self, x: Array, key: int, first: int, stream: int) -> Array:
        """The random colors of all pixels. Those of sample i depend on (key, stream, first + i) alone."""
        shape = list(x.shape)
        if self.fill == "random":
            shape[1:] = (1, 1, x.shape[3]) if self.channels_last else (x.shape[1], 1, 1)
        size = int(np.prod(shape))
        place: dict[str, Any] = {"key": key, "stream": stream, "offset": _offset(first, size // len(x))}
        if x.dtype == np.uint8:
            values = (layer_kernels.words(size, **place) >> 24).astype(np.uint8)
        else:
            values = layer_kernels.each("add_normal", np.zeros(size, np.float32), a=1.0, **place)
        return np.ascontiguousarray(np.broadcast_to(values.reshape(shape), x.shape))

    def _boxes(self, u: Array, height: int, width: int) -> Array:
        area = np.maximum((self.scale[0] + u[:, 1] * (self.scale[1] - self.scale[0])) * (height * width), 1.0)
        log_ratio = float(np.log(self.ratio[0] / self.ratio[1])) * u[:, 2]
        ratio = self.ratio[1] * layer_kernels.each("exps", log_ratio.astype(np.float32)).astype(np.float64)
        ratio = np.clip(ratio, np.maximum(area / width**2, 1 / area), np.minimum(height**2 / area, area))
        sides = [np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))]
        box = np.zeros((len(u), 4), np.int64)
        for i, (side, full) in enumerate(zip(sides, (height, width), strict=True)):
            length = np.clip(side, 1, full).astype(np.int64)
            box[:, 2 * i] = _scaled(u[:, 3 + i], full - length + 1)
            box[:, 2 * i + 1] = box[:, 2 * i] + length
        box[u[:, 0] >= self.p] = 0
        return box


class Cutout(_Boxes):
    """Fill a square with a uniform random center; the part outside the image is cut off.

    size : the side in pixels, >= 1. fill : a number, or one per channel. out may be x.

    DeVries & Taylor, "Improved regularization of convolutional neural networks with cutout", arXiv:1708.04552 (2017).

    >>> from fastopt.regularization import Cutout
    >>> Cutout(2)(np.ones((1, 1, 3, 3), np.uint8), rng=1)[0, 0]
    array([[1, 0, 0],
           [1, 1, 1],
           [1, 1, 1]], dtype=uint8)
    """

    uniforms = 2

    def __init__(self, size: int, *, fill: Fill = 0.0, channels_last: bool = False) -> None:
        super().__init__(channels_last)
        self.size = integer("size", size, 1, LARGEST_SHIFT)
        self.fill = _checked_fill(fill)

    def _boxes(self, u: Array, height: int, width: int) -> Array:
        box = np.empty((len(u), 4), np.int64)
        for i, side in enumerate((height, width)):
            low = _scaled(u[:, i], side) - self.size // 2
            box[:, 2 * i] = np.maximum(low, 0)
            box[:, 2 * i + 1] = np.minimum(low + self.size, side)
        return box


class RandomBrightnessContrast(_Images):
    """y = (1 + c) (x − pivot · m) + pivot · m + b · m, with b and c uniform and m the largest value; clipped to [0, m].

    Parameters
    ----------
    brightness, contrast : the range of b and of c: x for (−x, x), or a pair; contrast >= −1.
    pivot : the value that contrast does not change, as a fraction of m: 0.5, or 0 as in OpenCV and albumentations.
    max_value : m; None: 255 for uint8, 1 for float32.
    clip : clip to [0, m]. uint8 is always clipped to [0, 255], and rounded to nearest, halves up. out may be x.

    >>> from fastopt.regularization import RandomBrightnessContrast
    >>> brighter = RandomBrightnessContrast(brightness=(0.2, 0.2), contrast=0)
    >>> brighter(np.array([[[[0, 100, 250]]]], np.uint8))
    array([[[[ 51, 151, 255]]]], dtype=uint8)
    """

    uniforms = 2
    in_place = True

    def __init__(
        self,
        brightness: float | tuple[float, float] = 0.2,
        contrast: float | tuple[float, float] = 0.2,
        *,
        pivot: float = 0.5,
        max_value: float | None = None,
        clip: bool = True,
        channels_last: bool = False,
    ) -> None:
        super().__init__(channels_last)
        self.brightness = _interval("brightness", brightness)
        self.contrast = _interval("contrast", contrast)
        if self.contrast[0] < -1.0:
            raise ValueError(f"contrast must be >= -1 (below that the image becomes a negative), got {contrast!r}")
        self.pivot = probability("pivot", pivot)
        self.max_value = optional(positive, "max_value", max_value)
        self.clip = flag("clip", clip)

    def _apply(self, x: Array, u: Array, out: Array | None) -> Array:
        self._size(x)
        largest = self.max_value or (255.0 if x.dtype == np.uint8 else 1.0)
        (b0, b1), (c0, c1) = self.brightness, self.contrast
        gain = 1.0 + c0 + u[:, 1] * (c1 - c0)
        bias = (b0 + u[:, 0] * (b1 - b0) + self.pivot * (1.0 - gain)) * largest
        low, high = (0.0, largest) if self.clip else (-np.inf, np.inf)
        tone = np.stack([gain, bias], 1)
        return layer_kernels.images("tone", x, self.channels_last, out, number=tone, low=low, high=high)


def _circle(degrees: Array) -> tuple[Array, Array]:
    """Sine and cosine, from kernels that give the same bits on every machine."""
    turn = np.rint(np.fmod(degrees, 360.0) / 360.0 * 2.0**32).astype(np.int64) & 0xFFFFFFFF
    words = turn.astype(np.uint32).view(np.float32)
    sine, cosine = layer_kernels.each("sines", words), layer_kernels.each("cosines", words)
    return sine.astype(np.float64), cosine.astype(np.float64)


class RandomAffine(_Images):
    """Rotate, shear and scale about the center, and shift; with bilinear interpolation.

    Parameters
    ----------
    degrees : the range of the angle: x for (−x, x), or a pair; counter-clockwise for the viewer (y points down).
    translate : (vertical, horizontal) largest shift, as fractions of height and width.
    scale : a pair of factors within [1e-6, 1e6]; uniform between them.
    shear : the range in degrees: x for (−x, x), or a pair, within [−89, 89]; each row shifts by tan(shear).
    mode, fill : as in RandomCrop.

    >>> from fastopt.regularization import RandomAffine
    >>> RandomAffine(degrees=(90, 90))(np.array([[[[1, 2], [3, 4]]]], np.uint8))
    array([[[[2, 4],
             [1, 3]]]], dtype=uint8)
    """

    uniforms = 5

    def __init__(
        self,
        degrees: float | tuple[float, float] = 15.0,
        *,
        translate: tuple[float, float] = (0.0, 0.0),
        scale: tuple[float, float] = (1.0, 1.0),
        shear: float | tuple[float, float] = 0.0,
        mode: str = "constant",
        fill: Fill = 0.0,
        channels_last: bool = False,
    ) -> None:
        super().__init__(channels_last)
        self.degrees, self.shear = _interval("degrees", degrees), _interval("shear", shear)
        if not -89.0 <= self.shear[0] <= self.shear[1] <= 89.0:
            raise ValueError(f"shear must be within [-89, 89] degrees, got {shear!r}")
        self.translate = pair("translate", translate, probability)
        self.scale = _interval("scale", scale, nonnegative)
        if not 1e-6 <= self.scale[0] <= self.scale[1] <= 1e6:
            raise ValueError(f"scale must be within [1e-6, 1e6], got {scale!r}")
        self.mode = one_of("mode", mode, MODES)
        self.fill = _checked_fill(fill)

    def matrices(self, u: Array, height: int, width: int) -> Array:
        """(n, 6) maps from output to input: y_in = m0 y + m1 x + m2, x_in = m3 y + m4 x + m5."""
        angle, shear, scale = (a + u[:, i] * (b - a) for i, (a, b) in enumerate((self.degrees, self.shear, self.scale)))
        shift = (2.0 * u[:, 3:5] - 1.0) * (np.array(self.translate) * (height, width))
        (sine, cosine), (shear_sine, shear_cosine) = _circle(angle), _circle(shear)
        tangent = shear_sine / shear_cosine
        # the closed form of the inverse of scale · rotation · shear: undo the rotation and the scale, then the shear
        inverse = np.empty((len(u), 2, 2))
        inverse[:, 0, 0], inverse[:, 0, 1] = cosine / scale, sine / scale
        inverse[:, 1, 0], inverse[:, 1, 1] = -sine / scale, cosine / scale
        inverse[:, 1] -= tangent[:, None] * inverse[:, 0]
        center = np.array([height - 1, width - 1]) / 2.0
        target = center + shift
        offset = center - (inverse[:, :, 0] * target[:, :1] + inverse[:, :, 1] * target[:, 1:])
        return np.concatenate([inverse[:, 0], offset[:, :1], inverse[:, 1], offset[:, 1:]], 1)

    def _apply(self, x: Array, u: Array, out: Array | None) -> Array:
        maps = np.ascontiguousarray(self.matrices(u, *self._size(x)))
        fill, reflect = _fill(self.fill, x, self.channels_last), self.mode == "reflect"
        return layer_kernels.images("warp", x, self.channels_last, out, number=maps, fill=fill, reflect=reflect)


class Jitter(Transform):
    """y = x + std · n, n standard normal and independent for each element of float32 (N, ...). out may be x.

    Um et al., "Data augmentation of wearable sensor data", ICMI 2017; also the source of `Scaling`.

    >>> from fastopt.regularization import Jitter
    >>> table = np.zeros((4, 3), np.float32)
    >>> whole = Jitter(0.1)(table, rng=0)
    >>> bool((Jitter(0.1)(table[2:], rng=0, first=2) == whole[2:]).all())
    True
    """

    in_place = True

    def __init__(self, std: float) -> None:
        self.std = nonnegative("std", std)

    def _run(self, x: Array, key: int, first: int, stream: int, out: Array | None) -> Array:
        offset = _offset(first, x.size // len(x))
        return layer_kernels.each("add_normal", x, out, a=self.std, key=key, stream=stream, offset=offset)


class Scaling(Transform):
    """y = x · (1 + std · n), one n per sample, or with per_channel=True one per sample and channel. out may be x.

    x : float32 (N, ...); channels are the second axis, or the last one with channels_last.

    >>> from fastopt.regularization import Scaling
    >>> y = Scaling(0.1)(np.ones((2, 50), np.float32), rng=0)
    >>> bool((y == y[:, :1]).all()), bool(y[0, 0] != y[1, 0])
    (True, True)
    """

    in_place = True

    def __init__(self, std: float, *, per_channel: bool = False, channels_last: bool = False) -> None:
        self.std = nonnegative("std", std)
        self.per_channel = flag("per_channel", per_channel)
        self.channels_last = flag("channels_last", channels_last)

    def _run(self, x: Array, key: int, first: int, stream: int, out: Array | None) -> Array:
        channels = 1
        if self.per_channel:
            if x.ndim < 2:
                raise ValueError(f"per_channel needs samples and channels, got shape {x.shape}")
            channels = x.shape[-1 if self.channels_last else 1]
        ones = np.ones(len(x) * channels, np.float32)
        factors = layer_kernels.each(
            "add_normal", ones, a=self.std, key=key, stream=stream, offset=_offset(first, channels)
        )
        layout: Layout = (len(x), channels, x.size // ones.size, self.channels_last and self.per_channel)
        return layer_kernels.scale_channels(x, layout, factors, out, per_outer=True)


class WindowShift(_UniformTransform):
    """Shift each signal along its time axis by an integer number of steps, uniform in −most … most.

    Parameters
    ----------
    most : >= 0, the largest shift.
    mode, fill : as in RandomCrop.
    channels_last : x is (N, L) or (N, C, L), with channels_last (N, L) or (N, L, C); float32 or uint8.

    >>> from fastopt.regularization import WindowShift
    >>> WindowShift(1)(np.array([[1, 2, 3], [1, 2, 3]], np.float32), rng=0)
    array([[1., 2., 3.],
           [0., 1., 2.]], dtype=float32)
    """

    uniforms = 1

    def __init__(self, most: int, *, mode: str = "constant", fill: Fill = 0.0, channels_last: bool = False) -> None:
        self.most = integer("most", most, 0, LARGEST_SHIFT)
        self.mode = one_of("mode", mode, MODES)
        self.fill = _checked_fill(fill)
        self.channels_last = flag("channels_last", channels_last)

    def _apply(self, x: Array, u: Array, out: Array | None) -> Array:
        if x.ndim not in (2, 3):
            raise ValueError(f"signals must have shape (N, L), (N, C, L) or, channels last, (N, L, C); got {x.shape}")
        last = self.channels_last and x.ndim == 3
        if isinstance(out, np.ndarray) and out.shape != x.shape:
            raise ValueError(f"out has shape {out.shape}, signals have {x.shape}")
        n, length = len(x), x.shape[1 if last else -1]
        shape = (n, 1, length, x.shape[2]) if last else (n, x.size // (n * length), 1, length)
        place = np.zeros((n, 2), np.int64)
        place[:, 1] = _scaled(u[:, 0], 2 * self.most + 1) - self.most
        image, target = _view(x, shape, "signals"), None if out is None else _view(out, shape, "out")
        fill, reflect = _fill(self.fill, x, last), self.mode == "reflect"
        shifted = layer_kernels.images("crop", image, last, target, place=place, fill=fill, reflect=reflect)
        return shifted.reshape(x.shape) if out is None else out


def _view(a: Any, shape: tuple[int, ...], name: str) -> Array:
    """The same memory in another shape; raises ValueError where NumPy would copy."""
    if not isinstance(a, np.ndarray) or not a.flags.c_contiguous or a.size != int(np.prod(shape)):
        got = f"shape {a.shape}" if isinstance(a, np.ndarray) else type(a).__name__
        raise ValueError(f"{name} must be C-contiguous and of the signals' size, got {got}")
    return a.reshape(shape)
