"""Sharpness against closed forms, Hessian eigenvalues against exact ones, and batch-size sweeps."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import fastopt
from fastopt.validation import batch_size_sweep, hessian_eigenvalue, random_sharpness, sam_sharpness, sharpness
from tests.support.validation_cases import Array, assert_refused


class Quadratic:
    """f(w) = c + ½ (w − m)ᵀ H (w − m) over two arrays, of shapes (2, 2) and (rest,)."""

    def __init__(self, H: Array, m: Array, c: float = 0.5, dtype: Any = float) -> None:
        self.H, self.m, self.c, self.dtype = H, m, c, dtype

    def flat(self, params: Any) -> Array:
        return np.concatenate([np.ravel(p) for p in params]) - self.m

    def loss(self, params: Any) -> float:
        d = self.flat(params)
        return float(self.c + 0.5 * d @ self.H @ d)

    def grad(self, params: Any) -> list[Array]:
        g = self.H @ self.flat(params)
        return [g[:4].reshape(2, 2).astype(self.dtype), g[4:].astype(self.dtype)]

    def at(self, w: Array, dtype: Any = float) -> list[Array]:
        return [w[:4].reshape(2, 2).astype(dtype), w[4:].astype(dtype)]


def random_hessian(seed: int, n: int, definite: bool = True) -> Array:
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    values = rng.uniform(0.1, 5, n) if definite else rng.uniform(-5, 5, n)
    return (q * values) @ q.T


@given(st.lists(st.floats(0.01, 100), min_size=6, max_size=6), st.sampled_from([1e-3, 5e-4, 0.3]), st.integers(0, 99))
def test_sharpness_of_a_separable_quadratic(h: list[float], epsilon: float, seed: int) -> None:
    """At any point the maximum is at the farther end of the box in each coordinate."""
    rng = np.random.default_rng(seed)
    m, w = rng.normal(size=(2, 6))
    w = np.where(rng.random(6) < 0.3, m, w)  # some coordinates at the minimum, where the gradient is 0
    f = Quadratic(np.diag(h), m)
    reach = epsilon * (np.abs(w) + 1)
    worst = 0.5 + 0.5 * np.sum(np.array(h) * (np.abs(w - m) + reach) ** 2)
    here = f.loss(f.at(w))
    got = sharpness(f.loss, f.grad, f.at(w), epsilon=epsilon)
    assert got.value == pytest.approx(100 * (worst - here) / (1 + here), rel=1e-9, abs=1e-9)
    assert (got.loss, got.worst) == (here, pytest.approx(worst, rel=1e-12))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("epsilon", [1e-3, 5e-4])
def test_sharpness_at_the_minimum_of_any_quadratic(seed: int, epsilon: float) -> None:
    """A convex loss has its maximum in a corner; all corners are tried."""
    H, m = random_hessian(seed, 7), np.random.default_rng(seed).normal(size=7)
    f = Quadratic(H, m, c=0.2)
    corners = np.array(list(itertools.product([-1.0, 1.0], repeat=7))) * epsilon * (np.abs(m) + 1)
    rise = 0.5 * np.einsum("ci,ij,cj->c", corners, H, corners).max()
    got = sharpness(f.loss, f.grad, f.at(m), epsilon=epsilon, restarts=20)
    assert got.value == pytest.approx(100 * rise / 1.2, rel=1e-8)
    assert "Dinh" in repr(got)


def test_sharpness_inside_the_box() -> None:
    """−½ (w − p)² has its maximum at p, inside the box."""
    p = np.array([0.01, -0.02, 0.0, 0.005, 0.013])
    f = Quadratic(-np.diag([3.0, 0.5, 1.0, 20.0, 7.0]), p)
    got = sharpness(f.loss, f.grad, f.at(np.zeros(5)), epsilon=0.05, steps=400)
    assert got.worst == pytest.approx(0.5, abs=1e-7)


def test_sharpness_in_a_random_subspace() -> None:
    """At most the sharpness of all directions, equal for p = n, and repeated by a seed."""
    H, m = np.diag([9.0, 1.0, 4.0, 0.5, 2.0]), np.full(5, 0.3)
    f = Quadratic(H, m)
    small = [sharpness(f.loss, f.grad, f.at(m), subspace=2, rng=seed, epsilon=0.1).value for seed in (0, 0, 1)]
    assert small[0] == small[1] != small[2]
    A = np.random.default_rng(0).standard_normal((5, 2))
    reach = 0.1 * (np.abs(np.linalg.pinv(A) @ m) + 1)
    corners = [A @ (np.array(signs) * reach) for signs in itertools.product([-1, 1], repeat=2)]
    expected = max(0.5 * y @ H @ y for y in corners)
    assert small[0] == pytest.approx(100 * expected / 1.5, rel=1e-9)


def test_sharpness_is_larger_at_a_sharp_minimum_and_keeps_params() -> None:
    w = np.zeros(6)
    params = Quadratic(np.eye(6), w).at(w, np.float32)
    before = [p.copy() for p in params]
    values = []
    for curvature in (0.1, 1.0, 10.0):
        f = Quadratic(curvature * np.eye(6), w)
        values.append(sharpness(f.loss, f.grad, params).value)
    assert values == pytest.approx([100 * 0.5 * c * 6e-6 / 1.5 for c in (0.1, 1.0, 10.0)], rel=1e-9)
    assert all(map(np.array_equal, before, params))


def test_random_directions() -> None:
    """On ½ c |w|² the mean rise of a step of relative length r is known; its angle averages out."""
    w = np.array([3.0, 0, 0, 4.0, 0, 0])
    f = Quadratic(2 * np.eye(6), np.zeros(6))
    got = random_sharpness(f.loss, f.at(w), radius=0.1, directions=4000, rng=1)
    assert got.value == pytest.approx(0.1**2 * 25, rel=0.15)  # the second array is 0 and stays
    assert got.worst <= 0.5 + (5 + 0.5) ** 2 + 1e-9
    assert got.worst > got.loss + got.value
    assert got == random_sharpness(f.loss, f.at(w), radius=0.1, directions=4000, rng=1)


@given(st.integers(0, 30), st.floats(0.01, 1))
def test_sam(seed: int, radius: float) -> None:
    H, m = random_hessian(seed, 6), np.zeros(6)
    f, w = Quadratic(H, m), np.random.default_rng(seed).normal(size=6)
    g = H @ w
    step = radius * g / np.linalg.norm(g)
    got = sam_sharpness(f.loss, f.grad, f.at(w), radius=radius)
    assert got.value == pytest.approx(step @ g + 0.5 * step @ H @ step, rel=1e-9)
    assert sam_sharpness(f.loss, f.grad, f.at(m), radius=radius).value == 0.0


# -- the Hessian ------------------------------------------------------------------------------------------------------


def gap_in_size(values: np.ndarray) -> float:
    """1 − |second largest| / |largest|"""
    sizes = np.sort(np.abs(values))
    return float(1 - sizes[-2] / sizes[-1])


@pytest.mark.parametrize("method", ["lanczos", "power"])
@pytest.mark.parametrize("definite", [True, False])
@given(seed=st.integers(0, 200))
@settings(max_examples=25)
def test_largest_eigenvalue_of_a_quadratic(method: str, definite: bool, seed: int) -> None:
    """The algebraically largest one, even if a negative one has a larger size."""
    H = random_hessian(seed, 8, definite)
    values, vectors = np.linalg.eigh(H)
    if method == "power":  # the power iteration is slow if the two largest eigenvalues are close
        assume(values[-1] - values[-2] > 1e-3 * np.ptp(values) and gap_in_size(values) > 1e-3)
    f, w = Quadratic(H, np.zeros(8)), np.random.default_rng(seed).normal(size=8)
    got = hessian_eigenvalue(f.grad, f.at(w), method=method, max_iter=20_000)
    assert got.dtype == "float64"
    assert got.converged
    assert got.value == pytest.approx(values[-1], rel=1e-5, abs=1e-5)
    assert [v.shape for v in got.vector] == [(2, 2), (4,)]
    if values[-1] - values[-2] > 0.1:
        direction = np.concatenate([np.ravel(v) for v in got.vector])
        assert abs(direction @ vectors[:, -1]) == pytest.approx(1, abs=1e-4)


def test_largest_eigenvalue_of_a_network() -> None:
    """Against the exact Hessian of torch, on a network with a smooth loss; and against the network's own gradients."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    shapes = [(3, 5), (5,), (5, 3), (3,)]
    params = [rng.normal(size=s) for s in shapes]

    def loss(*tensors: Any) -> Any:
        hidden = torch.tanh(torch.tensor(x, dtype=tensors[0].dtype) @ tensors[0] + tensors[1])
        return torch.nn.functional.cross_entropy(hidden @ tensors[2] + tensors[3], torch.tensor(y))

    def grad(arrays: Any) -> list[Array]:
        tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
        return [g.numpy() for g in torch.autograd.grad(loss(*tensors), tensors)]

    def flat(vector: Any) -> Any:
        pieces = torch.split(vector, [int(np.prod(s)) for s in shapes])
        return loss(*[p.reshape(s) for p, s in zip(pieces, shapes, strict=True)])

    start = torch.tensor(np.concatenate([p.ravel() for p in params]))
    exact = torch.linalg.eigvalsh(torch.autograd.functional.hessian(flat, start))[-1].item()
    for method in ("lanczos", "power"):
        assert hessian_eigenvalue(grad, params, method=method, max_iter=2000).value == pytest.approx(exact, rel=1e-6)
    narrow = hessian_eigenvalue(
        lambda p: grad([a.astype(np.float32) for a in p]), [p.astype(np.float32) for p in params]
    )
    assert narrow.dtype == "float32"
    assert narrow.value == pytest.approx(exact, rel=2e-2)


def test_float32_gradients_are_noticed() -> None:
    H = random_hessian(3, 8)
    f = Quadratic(H, np.zeros(8), dtype=np.float32)
    got = hessian_eigenvalue(f.grad, f.at(np.ones(8), np.float32))
    assert got.dtype == "float32"
    assert got.value == pytest.approx(np.linalg.eigvalsh(H)[-1], rel=1e-2)

    def picky(params: Any) -> list[Array]:
        if any(p.dtype != np.float32 for p in params):
            raise TypeError("float32 only")
        return f.grad(params)

    assert hessian_eigenvalue(picky, f.at(np.ones(8), np.float32)).value == got.value


def test_too_few_iterations_say_so() -> None:
    f = Quadratic(random_hessian(1, 8), np.zeros(8))
    for method in ("lanczos", "power"):
        got = hessian_eigenvalue(f.grad, f.at(np.ones(8)), max_iter=2, method=method)
        assert not got.converged
        assert got.iterations == 2
        assert got.residual > 1e-6 * got.value


# -- batch sizes ------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(5)
IMAGES = RNG.normal(size=(240, 6)).astype(np.float32)
TARGETS = (IMAGES[:, 0] * IMAGES[:, 1] > 0).astype(np.int64)
TRAIN, TEST = (IMAGES[:160], TARGETS[:160]), (IMAGES[160:], TARGETS[160:])
WEIGHTS = np.random.default_rng(2)
START = [
    (WEIGHTS.standard_normal((6, 12)) * np.sqrt(2 / 6)).astype(np.float32), np.zeros(12, np.float32),
    (WEIGHTS.standard_normal((12, 2)) * np.sqrt(2 / 12)).astype(np.float32), np.zeros(2, np.float32),
]  # fmt: skip


def forward(params: Any, x: Array) -> tuple[Array, Array]:
    hidden = np.maximum(x @ params[0] + params[1], 0)
    return hidden, hidden @ params[2] + params[3]


def loss(params: Any, x: Array, y: Array) -> float:
    output = forward(params, x)[1].astype(np.float64)
    return float(np.mean(np.logaddexp.reduce(output, axis=1) - output[np.arange(len(y)), y]))


def grad(params: Any, x: Array, y: Array) -> list[Array]:
    hidden, output = forward(params, x)
    slope = np.exp(output - np.logaddexp.reduce(output, axis=1)[:, None])
    slope[np.arange(len(y)), y] -= 1
    slope /= len(y)
    below = (slope @ params[2].T) * (hidden > 0)
    return [x.T @ below, below.sum(axis=0), hidden.T @ slope, slope.sum(axis=0)]


def accuracy(params: Any, x: Array, y: Array) -> float:
    return float(np.mean(forward(params, x)[1].argmax(axis=1) == y))


def sweep(**options: Any) -> Any:
    return batch_size_sweep(
        loss, grad, START, TRAIN, TEST, **{"batch_sizes": (8, 160), "epochs": 5, "rng": 3, "score": accuracy, **options}
    )


def test_a_sweep_reports_its_trainings() -> None:
    """Steps, losses, scores, gap and sharpness of what each training found."""
    before = [p.copy() for p in START]
    got = sweep(repeats=2)
    assert all(map(np.array_equal, before, START))
    assert [[run.steps for run in row] for row in got.runs] == [[100, 100], [5, 5]]
    for row in got.runs:
        for run in row:
            assert run.test_loss == loss(run.params, *TEST)
            assert (run.train_score, run.test_score) == (accuracy(run.params, *TRAIN), accuracy(run.params, *TEST))
            full = (lambda p: loss(p, *TRAIN)), (lambda p: grad(p, *TRAIN))
            for epsilon in (1e-3, 5e-4):
                assert run.sharpness[epsilon] == sharpness(*full, run.params, epsilon=epsilon, restarts=1).value
            assert run.eigenvalue == hessian_eigenvalue(full[1], run.params, tol=1e-2, max_iter=50).value
    opt = fastopt.SGD(copies := [p.copy() for p in START], lr=0.1)
    for _ in range(5):
        opt.step(grad(copies, *TRAIN))
    for a, b in zip(copies, got.runs[1][0].params, strict=True):  # the order within a full batch only affects rounding
        assert np.allclose(a, b, rtol=1e-4, atol=1e-6)
    assert not np.array_equal(got.runs[0][0].params[0], got.runs[0][1].params[0])
    assert np.array_equal(got.gaps, got.train_scores - got.test_scores)
    assert got.test_scores[0].mean() > 0.6


def test_a_sweep_on_two_workers_is_that_on_one() -> None:
    pytest.importorskip("joblib")
    got, again = sweep(repeats=2), sweep(repeats=2, n_jobs=2)
    assert np.array_equal(got.sharpness(1e-3), again.sharpness(1e-3))
    assert np.array_equal(got.test_scores, again.test_scores)


def test_repr_and_plot_of_a_sweep() -> None:
    pytest.importorskip("matplotlib")
    got = sweep()
    lines = repr(got).splitlines()
    assert lines[0] == "2 batch sizes, 1 training each (means)"
    for name in ("test_score", "gap", "sharpness 0.001", "sharpness 0.0005", "eigenvalue"):
        assert name in lines[1]
    assert "Dinh" in lines[-1]
    axes = got.plot()
    assert np.array_equal(axes[1].lines[0].get_ydata(), got.gaps[:, 0])
    assert np.array_equal(axes[2].lines[1].get_ydata(), got.sharpness(5e-4)[:, 0])
    frame = pytest.importorskip("pandas") and got.to_frame()
    assert frame["sharpness_0.001"].tolist() == got.sharpness(1e-3)[:, 0].tolist()
    assert frame["batch_size"].tolist() == [8, 160]


def test_optimizers_of_a_sweep() -> None:
    """Any optimizer, one that depends on the batch size, and one that diverges."""
    adam = sweep(optimizer=lambda p: fastopt.Adam(p, lr=1e-2), epsilons=())
    assert adam.epsilons == []
    assert np.isnan(adam.eigenvalues).all()
    scaled = sweep(optimizer=lambda p, size: fastopt.SGD(p, lr=0.1 * size / 8), epsilons=())
    plain = sweep(epsilons=())
    assert np.array_equal(scaled.runs[0][0].params[0], plain.runs[0][0].params[0])
    assert not np.array_equal(scaled.runs[1][0].params[0], plain.runs[1][0].params[0])
    wild = sweep(optimizer=lambda p: fastopt.SGD(p, lr=1e20))
    assert np.isnan(wild.sharpness(1e-3)[0, 0])


F = Quadratic(np.eye(6), np.zeros(6))
W = F.at(np.ones(6))


@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda: sharpness(F.loss, F.grad, W, epsilon=0), ValueError, ["epsilon", "0"]),
        (lambda: sharpness(F.loss, F.grad, W, epsilon="small"), TypeError, ["epsilon", "'small'"]),
        (lambda: sharpness(F.loss, F.grad, W, steps=0), ValueError, ["steps", "0"]),
        (lambda: sharpness(F.loss, F.grad, W, restarts=-1), ValueError, ["restarts", "-1"]),
        (lambda: sharpness(F.loss, F.grad, W, subspace=7), ValueError, ["subspace=7", "6"]),
        (lambda: sharpness(F.loss, F.grad, W, rng="x"), TypeError, ["rng", "'x'"]),
        (lambda: sharpness(F.loss, F.grad, 3), TypeError, ["params", "3"]),
        (lambda: sharpness(F.loss, F.grad, []), ValueError, ["params are empty"]),
        (lambda: sharpness(F.loss, F.grad, [np.arange(6)]), TypeError, ["params[0]", "int64"]),
        (lambda: sharpness(F.loss, F.grad, [np.full(6, np.nan)]), ValueError, ["params[0]", "not finite"]),
        (lambda: sharpness(lambda p: np.nan, F.grad, W), ValueError, ["loss gives NaN"]),
        (lambda: sharpness(F.loss, lambda p: [p[1]], W), ValueError, ["grad gives shapes", "(2, 2)"]),
        (lambda: sharpness(F.loss, lambda p: [q * np.inf for q in p], W), ValueError, ["grad gives", "not finite"]),
        (lambda: random_sharpness(F.loss, W, radius=-1), ValueError, ["radius", "-1"]),
        (lambda: random_sharpness(F.loss, W, directions=0), ValueError, ["directions", "0"]),
        (lambda: sam_sharpness(F.loss, F.grad, W, radius=0), ValueError, ["radius", "0"]),
        (lambda: hessian_eigenvalue(F.grad, W, method="qr"), ValueError, ["method", "'qr'"]),
        (lambda: hessian_eigenvalue(F.grad, W, tol=2), ValueError, ["tol", "2"]),
        (lambda: hessian_eigenvalue(F.grad, W, max_iter=0), ValueError, ["max_iter", "0"]),
        (lambda: sweep(batch_sizes=(8, 161)), ValueError, ["batch_sizes", "160", "161"]),
        (lambda: sweep(batch_sizes=()), ValueError, ["batch_sizes"]),
        (lambda: sweep(batch_sizes=(0,)), ValueError, ["batch_sizes", "0"]),
        (lambda: sweep(epochs=0), ValueError, ["epochs", "0"]),
        (lambda: sweep(repeats=0), ValueError, ["repeats", "0"]),
        (lambda: sweep(epsilons=(0.0,)), ValueError, ["epsilons"]),
        (lambda: batch_size_sweep(loss, grad, [np.ones(3)], TRAIN, TEST), TypeError, ["params[0]", "float64"]),
        (lambda: batch_size_sweep(loss, grad, [], TRAIN, TEST), ValueError, ["params is empty"]),
        (lambda: batch_size_sweep(loss, grad, START, IMAGES, TEST), TypeError, ["train", "pair"]),
        (lambda: batch_size_sweep(loss, grad, START, TRAIN, (IMAGES, TARGETS[:3])), ValueError, ["test", "240", "3"]),
    ],
)
def test_bad_input(call: Any, error: type[Exception], fragments: list[str]) -> None:
    assert_refused(call, error, fragments)


def test_a_loss_of_minus_one_has_no_box_sharpness() -> None:
    with pytest.raises(ValueError, match=r"loss must be above -1 at params, .* got -1"):
        sharpness(lambda p: -1.0, lambda p: [np.zeros(3)], [np.ones(3)])
