"""Data augmentation on batches, images and signals. What happens to a sample follows from (key, its index) alone.

So neither threads nor the split into batches matter: `first` is the index of a batch's first sample.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastopt._native import layers as layer_kernels
from fastopt.conventions import flag, number
from fastopt.regularization.common import (
    Array,
    Layout,
    Rng,
    choice,
    key_of,
    probability,
    range_of,
    standard_deviation,
    whole,
)

MODES = ("constant", "reflect")
MOST_ELEMENTS = 2**62  # of a stream
LARGEST_SHIFT = 2**31 - 1  # a 32-bit word can tell places apart
Fill = float | Sequence[float]


class Transform(ABC):
    """What all transforms share: a call on a batch of samples along the first axis.

    transform(x, rng=..., first=0, out=None) draws one key from rng (None, a seed or a Generator; or takes `key`) and
    returns the new batch, in `out` if it is given. Sample i of the batch is number first + i of its stream.
    """

    #: whether out may be x itself
    in_place = False

    def __call__(
        self, x: Array, rng: Rng = None, *, key: int | None = None, first: int = 0, out: Array | None = None
    ) -> Array:
        if not isinstance(x, np.ndarray):
            raise TypeError(f"a batch of samples must be a numpy.ndarray, got {type(x).__name__}")
        if x.ndim == 0 or x.size == 0:
            raise ValueError(f"a batch of samples must not be empty, got shape {x.shape}")
        return self._run(x, key_of(rng, key), whole("first", first, 0, 2**62), 0, out)

    @abstractmethod
    def _run(self, x: Array, key: int, first: int, stream: int, out: Array | None) -> Array:
        """The batch transformed, sample i by numbers of (key, stream, first + i)."""

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class _Drawn(Transform):
    """One transform, made of some uniform numbers per sample."""

    #: how many
    uniforms = 0

    def _run(self, x: Array, key: int, first: int, stream: int, out: Array | None) -> Array:
        return self._apply(x, self._uniforms(len(x), key, first, stream), out)

    @abstractmethod
    def _apply(self, x: Array, u: Array, out: Array | None) -> Array:
        """The batch transformed; u: float64 (n, uniforms or more) in [0, 1)."""

    def _uniforms(self, n: int, key: int, first: int, stream: int) -> Array:
        """float64 (n, uniforms or more) in [0, 1), row i a function of (key, stream, first + i)."""
        return layer_kernels.sample_uniforms(
            key, first, n, -(-self.uniforms // 4), stream
        )  # what is more than needed is left


class Compose(Transform):
    """Transforms one after another, under one key.

    >>> import numpy as np
    >>> from fastopt.regularization import Compose, RandomCrop, RandomErasing, RandomFlip
    >>> augment = Compose([RandomFlip(), RandomCrop(padding=1), RandomErasing(p=1.0, scale=0.1)])
    >>> x = np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4)
    >>> whole = augment(x, rng=0)
    >>> second = augment(x[1:], rng=0, first=1)  # the batch may be split
    >>> bool((whole[1:] == second).all())
    True
    """

    def __init__(self, transforms: Iterable[Transform]) -> None:
        self.transforms: list[Transform] = []
        for i, t in enumerate(transforms):
            if not isinstance(t, Transform):
                raise TypeError(f"transform {i} must be a Transform, got {type(t).__name__}")
            self.transforms += t.transforms if isinstance(t, Compose) else [t]  # flat: each has a stream of its own

    def _run(self, x: Array, key: int, first: int, stream: int, out: Array | None) -> Array:
        if not self.transforms and out is not None:
            if not isinstance(out, np.ndarray) or (out.shape, out.dtype) != (x.shape, x.dtype):
                raise ValueError(f"out must be {x.dtype} of shape {x.shape} like the batch")
            np.copyto(out, x)
            return out
        moving = [i for i, t in enumerate(self.transforms) if not t.in_place]
        last = moving[-1] if moving else 0
        y = x
        for i, t in enumerate(self.transforms):
            here = (y if y is not x else None) if t.in_place else None
            y = t._run(y, key, first, stream + 1 + i, out if i == last else here)
        return y


def _fill(fill: Fill, x: Array, channels_last: bool) -> Array:
    """One value per channel, in the dtype of x."""
    channels = x.shape[-1 if channels_last else 1] if x.ndim > 2 else 1
    values = np.asarray(fill, np.float64)
    if values.shape not in ((), (channels,)):
        raise ValueError(f"fill must be a number or {channels} of them, one per channel; got {fill!r}")
    if x.dtype == np.uint8 and not ((values >= 0) & (values <= 255)).all():
        raise ValueError(f"fill must be in [0, 255] for uint8 images, got {fill!r}")
    return np.full(channels, values, x.dtype)


def _scaled(u: Array, n: Any) -> Array:
    """0 ... n − 1 from uniform numbers; the bias of a 32-bit word is below n/2³²."""
    places: Array = (u * n).astype(np.int64)
    return places


class _Images(_Drawn):
    """Images (N, C, H, W), or (N, H, W, C) with channels_last; float32 or uint8, C order."""

    def __init__(self, channels_last: bool) -> None:
        self.channels_last = flag("channels_last", channels_last)

    def _size(self, x: Array) -> tuple[int, int]:
        if x.ndim != 4:
            shape = "(N, H, W, C)" if self.channels_last else "(N, C, H, W)"
            raise ValueError(f"images must have shape {shape}, got {x.shape}")
        return (x.shape[1], x.shape[2]) if self.channels_last else (x.shape[2], x.shape[3])


class RandomFlip(_Images):
    """Mirror left and right with chance `horizontal`, up and down with chance `vertical`.

    >>> import numpy as np
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
        how = (u[:, 0] < self.horizontal) + 2 * (u[:, 1] < self.vertical).astype(np.int64)
        return layer_kernels.images("flip", x, self.channels_last, out, place=how)


class RandomCrop(_Images):
    """A window of `size` from a random place in the image with `padding` pixels added on each side.

    Parameters
    ----------
    size : (height, width) or None, that of the image.
    padding : >= 0; pixels.
    mode : what is outside: "constant" (fill) or "reflect" (mirrored without repeating the edge, as numpy.pad).
    fill : a number, or one per channel.

    >>> import numpy as np
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
        self.size = None if size is None else (whole("size[0]", size[0], 1), whole("size[1]", size[1], 1))
        self.padding = whole("padding", padding, 0, LARGEST_SHIFT)
        self.mode = choice("mode", mode, MODES)
        self.fill = fill

    def _apply(self, x: Array, u: Array, out: Array | None) -> Array:
        size = self._size(x)
        cut = self.size or size
        places = [have + 2 * self.padding - want + 1 for have, want in zip(size, cut, strict=True)]
        if min(places) < 1:
            raise ValueError(f"size {cut} exceeds the image's {size} with a padding of {self.padding}")
        place = _scaled(u[:, :2], places) - self.padding
        fill = _fill(self.fill, x, self.channels_last)
        reflect = self.mode == "reflect"
        return layer_kernels.images(
            "crop", x, self.channels_last, out, size=cut, place=place, fill=fill, reflect=reflect
        )


class _Boxes(_Images):
    """Fills a box of each image."""

    in_place = True
    fill: Fill

    def _apply(self, x: Array, u: Array, out: Array | None) -> Array:
        box = self._boxes(u, *self._size(x))
        fill = _fill(self.fill, x, self.channels_last)
        return layer_kernels.images("paste", x, self.channels_last, out, place=np.ascontiguousarray(box), fill=fill)

    @abstractmethod
    def _boxes(self, u: Array, height: int, width: int) -> Array:
        """int64 (N, 4), y0 y1 x0 x1: the box of each image."""


class RandomErasing(_Boxes):
    """Fill a box within the image, with chance p.

    Parameters
    ----------
    p : the chance that an image loses a box.
    scale : (a, b), the box's share of the area, uniform; or one number. Within [0, 1]; a box has a pixel at least.
    ratio : (a, b), height over width, uniform in the logarithm. A side longer than the image is cut to it.
    fill : a number, or one per channel. out may be x.

    Zhong et al., "Random erasing data augmentation", AAAI 2020.

    >>> import numpy as np
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
        fill: Fill = 0.0,
        channels_last: bool = False,
    ) -> None:
        super().__init__(channels_last)
        self.p = probability("p", p)
        self.scale = range_of("scale", scale if isinstance(scale, (tuple, list)) else (scale, scale), 0.0)
        self.ratio = range_of("ratio", ratio, 0.0)
        if self.scale[1] > 1.0 or self.ratio[0] <= 0.0:
            raise ValueError(f"scale must be within [0, 1] and ratio above 0, got {scale!r} and {ratio!r}")
        self.fill = fill

    def _boxes(self, u: Array, height: int, width: int) -> Array:
        area = (self.scale[0] + u[:, 1] * (self.scale[1] - self.scale[0])) * (height * width)
        fraction = float(np.log(self.ratio[0] / self.ratio[1]))
        shrink = layer_kernels.each("exps", (fraction * u[:, 2]).astype(np.float32)).astype(np.float64)
        ratio = self.ratio[1] * shrink
        sides = [np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))]
        box = np.zeros((len(u), 4), np.int64)
        for i, (side, whole_side) in enumerate(zip(sides, (height, width), strict=True)):
            length = np.clip(side, 1, whole_side).astype(np.int64)
            box[:, 2 * i] = _scaled(u[:, 3 + i], whole_side - length + 1)
            box[:, 2 * i + 1] = box[:, 2 * i] + length
        box[u[:, 0] >= self.p] = 0
        return box


class Cutout(_Boxes):
    """Fill a square about a uniform center; what reaches beyond the image is cut off.

    size : the side in pixels, >= 1. fill : a number, or one per channel. out may be x.

    DeVries & Taylor, "Improved regularization of convolutional neural networks with cutout", arXiv:1708.04552 (2017).

    >>> import numpy as np
    >>> from fastopt.regularization import Cutout
    >>> Cutout(2)(np.ones((1, 1, 3, 3), np.uint8), rng=1)[0, 0]
    array([[1, 0, 0],
           [1, 1, 1],
           [1, 1, 1]], dtype=uint8)
    """

    uniforms = 2

    def __init__(self, size: int, *, fill: Fill = 0.0, channels_last: bool = False) -> None:
        super().__init__(channels_last)
        self.size = whole("size", size, 1)
        self.fill = fill

    def _boxes(self, u: Array, height: int, width: int) -> Array:
        box = np.empty((len(u), 4), np.int64)
        for i, side in enumerate((height, width)):
            low = _scaled(u[:, i], side) - self.size // 2
            box[:, 2 * i] = np.maximum(low, 0)
            box[:, 2 * i + 1] = np.minimum(low + self.size, side)
        return box


class RandomBrightnessContrast(_Images):
    """y = (1 + c) (x − pivot · m) + pivot · m + b · m, b and c uniform, m the largest value; clipped to [0, m].

    Parameters
    ----------
    brightness, contrast : x for (−x, x), or a pair; contrast >= −1.
    pivot : what contrast leaves alone, as a fraction of m: 0.5, or 0 as OpenCV and albumentations have it.
    max_value : m; None: 255 for uint8, 1 for float32.
    clip : cut to [0, m]. uint8 is cut to [0, 255] in any case, and rounded to the nearest, halves up. out may be x.

    >>> import numpy as np
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
        self.brightness = range_of("brightness", brightness)
        self.contrast = range_of("contrast", contrast)
        if self.contrast[0] < -1.0:
            raise ValueError(f"contrast must be >= -1 (a negative image begins there), got {contrast!r}")
        self.pivot = number(0.0, 1.0)("pivot", pivot)
        self.max_value = None if max_value is None else number(0.0, above=True)("max_value", max_value)
        self.clip = flag("clip", clip)

    def _apply(self, x: Array, u: Array, out: Array | None) -> Array:
        self._size(x)
        most = self.max_value or (255.0 if x.dtype == np.uint8 else 1.0)
        (b0, b1), (c0, c1) = self.brightness, self.contrast
        gain = 1.0 + c0 + u[:, 1] * (c1 - c0)
        bias = (b0 + u[:, 0] * (b1 - b0) + self.pivot * (1.0 - gain)) * most
        low, high = (0.0, most) if self.clip else (-np.inf, np.inf)
        tone = np.stack([gain, bias], 1)
        return layer_kernels.images("tone", x, self.channels_last, out, number=tone, low=low, high=high)


def _circle(degrees: Array) -> tuple[Array, Array]:
    """Sine and cosine, from the kernels: the same on every machine."""
    turn = np.rint(np.fmod(degrees, 360.0) / 360.0 * 2.0**32).astype(np.int64) & 0xFFFFFFFF
    words = turn.astype(np.uint32).view(np.float32)
    sine, cosine = layer_kernels.each("sines", words), layer_kernels.each("cosines", words)
    return sine.astype(np.float64), cosine.astype(np.float64)


class RandomAffine(_Images):
    """Rotate, shear, scale and shift about the center, bilinear.

    Parameters
    ----------
    degrees : x for (−x, x), or a pair: counter-clockwise as one looks at the image (y points down).
    translate : (vertical, horizontal) largest shift, fractions of height and width.
    scale : a pair of factors within [1e-6, 1e6], uniform between.
    shear : degrees within [−89, 89], x for (−x, x), or a pair: rows shift by tan(shear) per row.
    mode, fill : as in RandomCrop.

    >>> import numpy as np
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
        self.degrees, self.shear = range_of("degrees", degrees), range_of("shear", shear)
        if not -89.0 <= self.shear[0] <= self.shear[1] <= 89.0:
            raise ValueError(f"shear must be within [-89, 89] degrees, got {shear!r}")
        self.translate = probability("translate[0]", translate[0]), probability("translate[1]", translate[1])
        self.scale = range_of("scale", scale, 0.0)
        if not 1e-6 <= self.scale[0] <= self.scale[1] <= 1e6:
            raise ValueError(f"scale must be within [1e-6, 1e6], got {scale!r}")
        self.mode = choice("mode", mode, MODES)
        self.fill = fill

    def matrices(self, u: Array, height: int, width: int) -> Array:
        """Output to input, (n, 6): y_in = m0 y + m1 x + m2, x_in = m3 y + m4 x + m5."""
        angle, shear, scale = (a + u[:, i] * (b - a) for i, (a, b) in enumerate((self.degrees, self.shear, self.scale)))
        shift = (2.0 * u[:, 3:5] - 1.0) * (np.array(self.translate) * (height, width))
        (sine, cosine), (shear_sine, shear_cosine) = _circle(angle), _circle(shear)
        tangent = shear_sine / shear_cosine
        # (y, x) → scale · rotation · shear; its inverse in closed form: undo the rotation, the scale, then the shear
        inverse = np.empty((len(u), 2, 2))
        inverse[:, 0, 0], inverse[:, 0, 1] = cosine / scale, sine / scale
        inverse[:, 1, 0], inverse[:, 1, 1] = -sine / scale, cosine / scale
        inverse[:, 1] -= tangent[:, None] * inverse[:, 0]
        center = np.array([height - 1, width - 1]) / 2.0
        target = center + shift
        offset = center - (inverse[:, :, 0] * target[:, :1] + inverse[:, :, 1] * target[:, 1:])
        return np.concatenate([inverse[:, 0], offset[:, :1], inverse[:, 1], offset[:, 1:]], 1)

    def _apply(self, x: Array, u: Array, out: Array | None) -> Array:
        numbers = np.ascontiguousarray(self.matrices(u, *self._size(x)))
        fill = _fill(self.fill, x, self.channels_last)
        reflect = self.mode == "reflect"
        return layer_kernels.images("warp", x, self.channels_last, out, number=numbers, fill=fill, reflect=reflect)


# -- tables and signals -----------------------------------------------------------------------------------------------


class Jitter(Transform):
    """y = x + std · n, independent for each element of float32 (N, ...). out may be x.

    Um et al., "Data augmentation of wearable sensor data", ICMI 2017; also `Scaling`.

    >>> import numpy as np
    >>> from fastopt.regularization import Jitter
    >>> table = np.zeros((4, 3), np.float32)
    >>> whole = Jitter(0.1)(table, rng=0)
    >>> bool((Jitter(0.1)(table[2:], rng=0, first=2) == whole[2:]).all())
    True
    """

    in_place = True

    def __init__(self, std: float) -> None:
        self.std = standard_deviation("std", std)

    def _run(self, x: Array, key: int, first: int, stream: int, out: Array | None) -> Array:
        offset = first * (x.size // len(x))
        if offset > MOST_ELEMENTS:
            raise ValueError(f"first must be at most {MOST_ELEMENTS // (x.size // len(x))} here, got {first}")
        return layer_kernels.each("add_normal", x, out, a=self.std, key=key, stream=stream, offset=offset)


class Scaling(Transform):
    """y = x · (1 + std · n), one n per sample, or with per_channel=True one per sample and channel. out may be x.

    Float32 (N, ...); channels are the second axis, the last one with channels_last.

    >>> import numpy as np
    >>> from fastopt.regularization import Scaling
    >>> y = Scaling(0.1)(np.ones((2, 50), np.float32), rng=0)
    >>> bool((y == y[:, :1]).all()), bool(y[0, 0] != y[1, 0])
    (True, True)
    """

    in_place = True

    def __init__(self, std: float, *, per_channel: bool = False, channels_last: bool = False) -> None:
        self.std = standard_deviation("std", std)
        self.per_channel = flag("per_channel", per_channel)
        self.channels_last = flag("channels_last", channels_last)

    def _run(self, x: Array, key: int, first: int, stream: int, out: Array | None) -> Array:
        channels = 1
        if self.per_channel:
            if x.ndim < 2:
                raise ValueError(f"per_channel needs samples and channels, got shape {x.shape}")
            channels = x.shape[-1 if self.channels_last else 1]
        ones = np.ones(len(x) * channels, np.float32)
        factors = layer_kernels.each("add_normal", ones, a=self.std, key=key, stream=stream, offset=first * channels)
        layout: Layout = (len(x), channels, x.size // ones.size, self.channels_last and self.per_channel)
        return layer_kernels.scale_channels(x, layout, factors, out, per_outer=True)


class WindowShift(_Drawn):
    """Shift each signal along its time axis by a whole number of places, uniform in −most … most.

    Parameters
    ----------
    most : >= 0, places.
    mode, fill : as in RandomCrop.
    channels_last : signals are (N, L) or (N, C, L); with it (N, L, C). float32 or uint8.

    >>> import numpy as np
    >>> from fastopt.regularization import WindowShift
    >>> WindowShift(1)(np.array([[1, 2, 3], [1, 2, 3]], np.float32), rng=0)
    array([[1., 2., 3.],
           [0., 1., 2.]], dtype=float32)
    """

    uniforms = 1

    def __init__(self, most: int, *, mode: str = "constant", fill: Fill = 0.0, channels_last: bool = False) -> None:
        self.most = whole("most", most, 0, LARGEST_SHIFT)
        self.mode = choice("mode", mode, MODES)
        self.fill = fill
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
        images = layer_kernels.images(
            "crop",
            _view(x, shape, "signals"),
            last,
            None if out is None else _view(out, shape, "out"),
            place=place,
            fill=_fill(self.fill, x, last),
            reflect=self.mode == "reflect",
        )
        return images.reshape(x.shape) if out is None else out


def _view(a: Any, shape: tuple[int, ...], name: str) -> Array:
    """The same memory in another shape; never a copy."""
    if not isinstance(a, np.ndarray) or not a.flags.c_contiguous or a.size != int(np.prod(shape)):
        got = f"shape {a.shape}" if isinstance(a, np.ndarray) else type(a).__name__
        raise ValueError(f"{name} must be C-contiguous and of the signals' size, got {got}")
    return a.reshape(shape)
