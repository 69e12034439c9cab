"""Philox against the known answers of its paper, elementary functions against double, distributions against theory."""

from __future__ import annotations

import math
import os
import warnings

import numpy as np
import pytest

from fastopt._native import layers as layer_kernels
from tests.support import reference_layers as reference
from tests.support.rows import ISAS, TILE, Array, assert_same_bits, core

isas = pytest.mark.parametrize("isa", ISAS)

#: The file kat_vectors of the Random123 distribution (Salmon et al.), philox4x32 with 10 rounds.
KNOWN = [
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]
KEY = 0x0123456789ABCDEF


@isas
@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_known_answers(isa: str, counter: list[int], key: list[int], expected: list[int]) -> None:
    many = np.tile(np.array(counter, np.uint32), (37, 1))
    with core(isa):
        assert (layer_kernels.philox(many, np.array(key, np.uint32)) == np.array(expected, np.uint32)).all()
    assert reference.philox(many, (key[0], key[1]))[36].tolist() == expected


@isas
@pytest.mark.parametrize("offset", [0, 1, 63, 64, 2**34 - 70, 2**40 + 5])
@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 255, 256, 257, TILE - 1, TILE, TILE + 1, 3 * TILE + 19])
def test_words(isa: str, n: int, offset: int) -> None:
    """Sizes around blocks, chunks and tiles; offsets up to the overflow of the counter's first word."""
    for stream in (0, 7):
        with core(isa, threads=3, threshold=0):
            got = layer_kernels.words(n, KEY, stream, offset)
        assert np.array_equal(got, reference.words(n, KEY, stream, offset))


@isas
@pytest.mark.parametrize(("n", "offset"), [(1, 0), (33, 0), (TILE + 1, 0), (1000, 17), (3 * TILE + 19, 2**33 + 300)])
def test_normals(isa: str, n: int, offset: int) -> None:
    zeros = np.zeros(n, np.float32)
    with core(isa, threads=2, threshold=0):
        got = layer_kernels.each("add_normal", zeros, a=1.0, key=KEY, stream=3, offset=offset)
    expected = reference.normals(n, KEY, 3, offset)
    # where sine or cosine is near 0 the error is relative to the radius
    assert np.abs(got - expected).max() < 1.5e-6
    assert np.abs(got / expected - 1).max() < 1e-3


def ulps_of(got: Array, exact: Array) -> Array:
    return np.abs(got.astype(np.float64) - exact) / np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)


@isas
def test_exp(isa: str) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([-(10.0 ** rng.uniform(-9, 2.01, 1_000_000)), np.linspace(-104, 0, 1_000_001)]).astype(
        np.float32
    )
    with core(isa):
        got = layer_kernels.each("exps", x)
    normal = x > -87.3
    assert ulps_of(got[normal], np.exp(x[normal].astype(np.float64))).max() < 1.0
    assert ulps_of(got[~normal], np.exp(x[~normal].astype(np.float64))).max() <= 1.5  # subnormals are rounded twice
    edge = np.array([0.0, -0.0, -104.0, -1e30, -np.inf, np.nan], np.float32)
    with core(isa):
        got = layer_kernels.each("exps", edge)
    assert got[:5].tolist() == [1, 1, 0, 0, 0]
    assert np.isnan(got[5])


@isas
def test_log(isa: str) -> None:
    """On the first 2¹⁶ arguments that the radius of a normal can have, and on a sample of the others."""
    w = np.concatenate([np.arange(2**16), np.random.default_rng(1).integers(0, 2**31, 1_000_000)])
    x = ((w.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-31)).astype(np.float32)
    with core(isa):
        got = layer_kernels.each("logs", x)
    exact = np.log(x.astype(np.float64))
    assert ulps_of(got[exact != 0], exact[exact != 0]).max() < 1.0
    assert (got[exact == 0] == 0).all()


@isas
def test_sine_and_cosine(isa: str) -> None:
    edges = (np.arange(-3, 4)[None, :] + np.arange(0, 2**32, 2**29)[:, None]).ravel() % 2**32
    turn = np.concatenate([edges, np.random.default_rng(2).integers(0, 2**32, 1_000_000)]).astype(np.uint32)
    angle = turn.astype(np.float64) * (2.0 * math.pi / 2.0**32)
    for kernel, exact in (("sines", np.sin(angle)), ("cosines", np.cos(angle))):
        with core(isa):
            got = layer_kernels.each(kernel, turn.view(np.float32))
        away = np.abs(exact) > 1e-6  # near a zero the π of the reference is not exact enough
        assert ulps_of(got[away], exact[away]).max() < 2.5
        assert np.abs(got - exact).max() < 1.2e-7


N = 1 << 20


def normals(n: int = N, key: int = KEY, stream: int = 0) -> Array:
    return layer_kernels.each("add_normal", np.zeros(n, np.float32), a=1.0, key=key, stream=stream).astype(np.float64)


def chi_square(counts: Array, expected: Array) -> float:
    """The χ² statistic as a number of standard deviations from its mean."""
    df = counts.size - 1
    return float((((counts - expected) ** 2 / expected).sum() - df) / math.sqrt(2 * df))


def test_words_are_uniform() -> None:
    for stream in range(4):
        w = layer_kernels.words(N, KEY, stream)
        for shift in (24, 12, 0):  # the highest, the middle and the lowest bits
            counts = np.bincount((w >> np.uint32(shift)) & np.uint32(255), minlength=256)
            assert abs(chi_square(counts, np.full(256, N / 256))) < 4
        bits = np.unpackbits(w.view(np.uint8)).reshape(N, 32).sum(0)
        assert (np.abs(bits - N / 2) < 5 * math.sqrt(N) / 2).all()


def test_neighbours_are_independent() -> None:
    """Correlations of words at every distance that the block layout could couple, and between streams and keys."""
    u = layer_kernels.words(N, KEY) >> np.uint32(28)
    others = [np.roll(u, d) for d in (1, 2, 15, 16, 17, 32, 48, 63, 64, 65, 256, TILE)]
    others += [layer_kernels.words(N, KEY, 1) >> np.uint32(28), layer_kernels.words(N, KEY + 1) >> np.uint32(28)]
    others += [layer_kernels.words(N, KEY ^ 1 << 32) >> np.uint32(28)]
    for i, v in enumerate(others):
        counts = np.bincount(u * np.uint32(16) + v, minlength=256)
        assert abs(chi_square(counts, np.full(256, N / 256))) < 4, i


def test_normals_are_normal() -> None:
    """The Kolmogorov–Smirnov test on 4.2 million samples, the moments, and the counts in the tails."""
    n = 4 * N
    z = np.sort(normals(n))
    cdf = 0.5 * (1.0 + np.array([math.erf(v) for v in z / math.sqrt(2.0)]))
    steps = np.arange(n + 1) / n
    statistic = math.sqrt(n) * max((steps[1:] - cdf).max(), (cdf - steps[:-1]).max())
    assert statistic < 1.63  # 1 in 100
    assert abs(z.mean()) < 4 / math.sqrt(n)
    assert abs(z.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((z**3).mean()) < 4 * math.sqrt(15 / n)
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96 / n)
    for sigmas in (3.0, 4.0, 4.5):
        expected = n * math.erfc(sigmas / math.sqrt(2.0))
        assert abs((np.abs(z) > sigmas).sum() - expected) < 5 * math.sqrt(expected)


def test_normals_are_independent() -> None:
    """Correlations of pairs, neighbours and streams; also of absolute values, since a pair shares its radius."""
    z = normals()
    others = [np.roll(z, d) for d in (1, 16, 17, 32, 64, 256, TILE)] + [normals(stream=1), normals(key=KEY + 1)]
    for f in (lambda v: v, lambda v: v**2, lambda v: np.abs(v) > 2):
        a = f(z)
        for i, other in enumerate(others):
            assert abs(np.corrcoef(a, f(other))[0, 1]) < 4.5 / math.sqrt(N), i


def test_the_largest_normal() -> None:
    """A word of 0 gives the largest radius, √(2 · 32 ln 2)."""
    smallest = np.array([0.5 * 2.0**-31], np.float32)
    radius = math.sqrt(-2.0 * float(layer_kernels.each("logs", smallest)[0]))
    assert radius == pytest.approx(math.sqrt(64 * math.log(2)), rel=1e-6)


@isas
def test_same_bits_of_long_streams(isa: str) -> None:
    """100,000 normals on each instruction set and number of threads."""
    x = np.random.default_rng(0).normal(size=100_003).astype(np.float32)
    with core(ISAS[0], threads=1):
        expected = layer_kernels.each("times_normal", x, a=0.3, key=KEY)
    for threads in (1, 2, 3, 7):
        with core(isa, threads=threads, threshold=0):
            assert_same_bits(
                layer_kernels.each("times_normal", x, a=0.3, key=KEY), expected, f"{isa}, {threads} threads"
            )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_after_a_fork() -> None:
    """A child of fork() draws the same numbers on one thread: the OpenMP threads exist only in its parent."""
    with core(threads=2, threshold=0):
        expected = layer_kernels.words(10 * TILE, KEY)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of earlier tests may still exist
            child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(layer_kernels.words(10 * TILE, KEY), expected) else 1)
        assert os.waitpid(child, 0)[1] == 0
