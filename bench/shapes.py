"""The parameter shapes of real models, computed from their architectures. No weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

Shape = tuple[int, ...]


def mlp(*widths: int) -> Iterator[Shape]:
    """Weights and biases between layers of these widths."""
    for before, after in pairwise(widths):
        yield from ((after, before), (after,))


def resnet50(classes: int = 1000) -> Iterator[Shape]:
    """He et al. (2016), Deep residual learning, table 1, as torchvision builds it: 161 tensors, 25.6 M elements."""
    yield from _convolution(64, 3, 7)
    channels = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            yield from _convolution(width, channels, 1)
            yield from _convolution(width, width, 3)
            yield from _convolution(4 * width, width, 1)
            if block == 0:  # the shortcut changes the number of channels
                yield from _convolution(4 * width, channels, 1)
            channels = 4 * width
    yield from mlp(channels, classes)


def _convolution(out: int, into: int, kernel: int) -> Iterator[Shape]:
    """The weight of a convolution without bias, and the two arrays of the batch normalization after it."""
    yield from ((out, into, kernel, kernel), (out,), (out,))


def gpt2(width: int = 768, layers: int = 12, vocabulary: int = 50257, context: int = 1024) -> Iterator[Shape]:
    """Radford et al. (2019), GPT-2 small, output tied to the embedding: 148 tensors, 124 M elements."""
    yield from ((vocabulary, width), (context, width))
    norm = ((width,), (width,))
    for _ in range(layers):
        yield from norm
        yield from ((width, 3 * width), (3 * width,), (width, width), (width,))  # attention
        yield from norm
        yield from ((width, 4 * width), (4 * width,), (4 * width, width), (width,))
    yield from norm


MODELS: dict[str, tuple[Shape, ...]] = {
    "mlp": tuple(mlp(784, 256, 128, 10)),
    "resnet50": tuple(resnet50()),
    "gpt2": tuple(gpt2()),
}
