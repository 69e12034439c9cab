"""Sharpness of a minimum: how much the loss rises nearby, and the largest eigenvalue of the Hessian.

A model is two functions of a list of arrays: loss(params) returns a number, grad(params) a list of arrays. They may use
any framework. `params` are never written to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import integer, number, one_of, optional, rng_like
from fastopt._types import Array, Rng

Params = Sequence[Array]
Loss = Callable[[Any], Any]
Grad = Callable[[Any], Any]

WARNING = (
    "sharpness depends on the scale of the parameters: rescaling the layers of a ReLU network changes it, but not the "
    "function (Dinh et al. 2017); compare only models of one architecture, trained in the same way"
)
SHRINK, GROW, SHORTEST = 0.25, 4.0, 1e-10  # step lengths of the ascent
NUDGE, TURNS = 1e-6, 10  # distance of the first start from the parameters, and its power iterations


@dataclass(frozen=True)
class Sharpness:
    """value : the measure; loss : at the parameters; worst : the largest loss found nearby; size : of the region."""

    measure: str
    value: float
    loss: float
    worst: float
    size: float
    warning: str = WARNING

    def __repr__(self) -> str:
        what = f"{self.measure} sharpness {self.value:.6g} (size {self.size:g}, loss {self.loss:.6g}"
        return f"{what}, worst nearby {self.worst:.6g})\nnote: {self.warning}"


class Flat:
    """A model's loss and gradient as functions of one float64 vector.

    `dtype` is the type of the arrays that the functions get. None: float64, or the parameters' own type if the gradient
    raises an error for float64 or returns another type.
    """

    def __init__(self, loss: Loss | None, grad: Grad | None, params: Any, dtype: Any = None) -> None:
        self.loss_of, self.grad_of = loss, grad
        self.params = _check_params(params)
        self.own = [p.dtype for p in self.params]
        self.x = np.concatenate([np.ravel(p).astype(float) for p in self.params])
        self.wide = dtype is None or np.dtype(dtype) == np.float64
        self.eps = float(np.finfo(float).eps)
        if grad is not None and dtype is None:
            self.wide = self._takes_float64()
        if not self.wide:
            self.eps = float(max(np.finfo(d).eps for d in self.own))

    def _takes_float64(self) -> bool:
        try:
            grads = _as_list(self.grad_of(self.arrays(self.x)))  # type: ignore[misc]
        except (TypeError, ValueError, RuntimeError):  # torch raises RuntimeError; real faults are raised again later
            return False
        return all(np.asarray(g).dtype == np.float64 for g in grads)

    def arrays(self, x: Array) -> list[Array]:
        """x as new arrays in the shapes of the parameters; the functions may keep them."""
        result, at = [], 0
        for p, dtype in zip(self.params, self.own, strict=True):
            part = x[at : at + p.size].reshape(p.shape)
            result.append(part.astype(float if self.wide else dtype, copy=True))
            at += p.size
        return result

    def loss(self, x: Array) -> float:
        value = float(self.loss_of(self.arrays(x)))  # type: ignore[misc]
        if math.isnan(value):
            raise ValueError("loss gives NaN near params")
        return value

    def grad(self, x: Array) -> Array:
        grads = [np.asarray(g) for g in _as_list(self.grad_of(self.arrays(x)))]  # type: ignore[misc]
        if [g.shape for g in grads] != [p.shape for p in self.params]:
            raise ValueError(
                f"grad gives shapes {[g.shape for g in grads]}, params have {[p.shape for p in self.params]}"
            )
        flat = np.concatenate([np.ravel(g).astype(float) for g in grads])
        if not np.isfinite(flat).all():
            raise ValueError("grad gives numbers that are not finite near params")
        return flat


def _as_list(arrays: Any) -> list[Any]:
    return [arrays] if isinstance(arrays, np.ndarray) else list(arrays)


def _check_params(params: Any) -> list[Array]:
    if isinstance(params, (str, bytes)) or not hasattr(params, "__iter__"):
        raise TypeError(f"params must be a list of arrays, got {params!r:.60}")
    arrays = [np.asarray(p) for p in _as_list(params)]
    for i, p in enumerate(arrays):
        if p.dtype.kind != "f":
            raise TypeError(f"params[{i}] must be floating point, got {p.dtype}")
        if not np.isfinite(p).all():
            raise ValueError(f"params[{i}] holds numbers that are not finite")
    if not sum(p.size for p in arrays):
        raise ValueError("params are empty")
    return arrays


def sharpness(
    loss: Loss,
    grad: Grad,
    params: Any,
    *,
    epsilon: float = 1e-3,
    subspace: int | None = None,
    steps: int = 100,
    restarts: int = 3,
    rng: Rng = 0,
    dtype: Any = None,
) -> Sharpness:
    """Keskar's measure: the largest rise of the loss, in per cent, in a small box around the parameters.

        φ = 100 · (max over y in C of f(x + A y) − f(x)) / (1 + f(x)),    |y_i| <= ε (|(A⁺x)_i| + 1) in C

    The maximum is found by projected gradient ascent from `restarts` + 1 starts, one of them next to x. The result is a
    lower bound of φ, and exact if an ascent reaches the global maximum.

    Parameters
    ----------
    loss, grad : functions of a list of arrays; loss >= 0 for the measure to mean something.
    params : the arrays at the minimum, float32 or float64; never written to.
    epsilon : size of the box, > 0; Keskar et al. use 1e-3 and 5e-4.
    subspace : None: all directions (A the identity). p: a random p-dimensional subspace (Keskar et al. use 100), which
        takes p times the memory of the parameters.
    steps : at most, per ascent.
    restarts : the number of random starts in the box, besides the one next to x.
    rng : a seed, a Generator or None, for starts and subspace.
    dtype : the type of the arrays that the functions get. None: float64 if the gradient supports it.

    Source: Keskar et al., On large-batch training for deep learning, ICLR 2017, metric 2.1. The measure depends on how
    parameters are scaled: Dinh et al., Sharp minima can generalize for deep nets, ICML 2017.
    """
    number("epsilon", epsilon, 0, above=True)
    integer("steps", steps, 1)
    integer("restarts", restarts)
    random = np.random.default_rng(rng_like("rng", rng))
    model = Flat(loss, grad, params, dtype)
    basis = optional(_basis, "subspace", subspace, n=model.x.size, random=random)
    inner = model.x if basis is None else np.linalg.lstsq(basis, model.x, rcond=None)[0]
    ascent = _Ascent(model, epsilon * (np.abs(inner) + 1.0), basis)
    base = model.loss(model.x)
    if base <= -1.0:
        raise ValueError(f"loss must be above -1 at params, since the measure divides by 1 + loss, got {base:g}")
    starts = [ascent.steepest(random), *(random.uniform(-1, 1, inner.size) for _ in range(restarts))]
    worst = max(base, *(ascent.climb(u, steps) for u in starts))
    return Sharpness("box", 100.0 * (worst - base) / (1.0 + base), base, worst, epsilon)


def _basis(name: str, p: Any, n: int, random: np.random.Generator) -> Array:
    if integer(name, p, 1) > n:
        raise ValueError(f"{name}={p} is more than there are parameters: {n}")
    return random.standard_normal((n, int(p)))


@dataclass
class _Ascent:
    """Gradient ascent over u in [−1, 1]^n; the parameters are x + A (widths · u)."""

    model: Flat
    widths: Array
    basis: Array | None

    def place(self, u: Array) -> Array:
        y = self.widths * u
        moved: Array = self.model.x + (y if self.basis is None else self.basis @ y)
        return moved

    def slope(self, u: Array) -> Array:
        g = self.model.grad(self.place(u))
        return self.widths * (g if self.basis is None else self.basis.T @ g)

    def steepest(self, random: np.random.Generator) -> Array:
        """A start next to the parameters: along the gradient, or at a minimum along the largest curvature, which the
        power iteration finds."""
        u = NUDGE * random.uniform(-1, 1, self.widths.size)
        for _ in range(TURNS):
            g = self.slope(u)
            if not g.any():
                break
            u = NUDGE * g / np.abs(g).max()
        return u + 1e-3 * NUDGE * random.choice([-1.0, 1.0], u.size)  # at 0 with gradient 0, a coordinate would stay

    def climb(self, u: Array, steps: int) -> float:
        """The largest loss reached by steps along the gradient, clipped to the cube."""
        height, length = self.model.loss(self.place(u)), GROW
        for _ in range(steps):
            g = self.slope(u)
            free = np.where(((u >= 1) & (g > 0)) | ((u <= -1) & (g < 0)), 0.0, g)
            largest = np.abs(free).max()
            if largest == 0:
                break
            u_new, height_new, length = self._longest(u, g / largest, height, length)
            if height_new <= height:
                break
            u, height, length = u_new, height_new, length * GROW
        return height

    def _longest(self, u: Array, direction: Array, height: float, length: float) -> tuple[Array, float, float]:
        """The first of increasingly shorter steps that raises the loss: (u, loss, step length)."""
        while length > SHORTEST:
            trial = np.clip(u + length * direction, -1, 1)
            reached = self.model.loss(self.place(trial))
            if reached > height:
                return trial, reached, length
            length *= SHRINK
        return u, height, length


def random_sharpness(
    loss: Loss, params: Any, *, radius: float = 0.05, directions: int = 100, rng: Rng = 0, dtype: Any = None
) -> Sharpness:
    """The mean rise of the loss in random directions: mean of f(x + δ) − f(x).

    δ is Gaussian. Each array of δ is scaled to `radius` times the norm of its parameter array, so rescaling an array
    does not change the measure. An array of norm 0 stays. `worst` is the largest loss found.

    Parameters
    ----------
    loss, params, rng, dtype : as for `sharpness` (dtype None: float64).
    radius : length of the step relative to the parameters, > 0.
    directions : how many are drawn, >= 1.

    Source: Li et al., Visualizing the loss landscape of neural nets (2018), with arrays in place of filters.
    """
    number("radius", radius, 0, above=True)
    random = np.random.default_rng(rng_like("rng", rng))
    model = Flat(loss, None, params, dtype)
    base = model.loss(model.x)
    norms = [float(np.linalg.norm(p.astype(float))) for p in model.params]
    losses = []
    for _ in range(integer("directions", directions, 1)):
        parts = [random.standard_normal(p.size) for p in model.params]
        scaled = [
            d * (radius * norm / max(float(np.linalg.norm(d)), 1e-300)) for d, norm in zip(parts, norms, strict=True)
        ]
        losses.append(model.loss(model.x + np.concatenate(scaled)))
    return Sharpness("random-direction", float(np.mean(losses)) - base, base, max(losses), radius)


def sam_sharpness(loss: Loss, grad: Grad, params: Any, *, radius: float = 0.05, dtype: Any = None) -> Sharpness:
    """The rise of the loss along the gradient: f(x + ρ g/‖g‖) − f(x), the worst direction to first order, as in SAM.

    Parameters
    ----------
    loss, grad, params, dtype : as for `sharpness`.
    radius : ρ > 0, the Euclidean length of the step. If the gradient is 0, the measure is 0.

    Source: Foret et al., Sharpness-aware minimization for efficiently improving generalization, ICLR 2021.
    """
    number("radius", radius, 0, above=True)
    model = Flat(loss, grad, params, dtype)
    base, g = model.loss(model.x), model.grad(model.x)
    norm = float(np.linalg.norm(g))
    moved = model.loss(model.x + radius * g / norm) if norm else base
    return Sharpness("SAM", moved - base, base, moved, radius)


# -- curvature --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class HessianEigenvalue:
    """value : the largest eigenvalue λ; vector : its unit eigenvector v, in the shapes of the parameters; residual :
    ‖Hv − λv‖; iterations : Hessian-vector products; converged : whether the residual is within the tolerance; dtype :
    of the gradients."""

    value: float
    vector: list[Array]
    residual: float
    iterations: int
    converged: bool
    dtype: str


def hessian_eigenvalue(
    grad: Grad,
    params: Any,
    *,
    method: str = "lanczos",
    tol: float | None = None,
    max_iter: int = 100,
    rng: Rng = 0,
    dtype: Any = None,
) -> HessianEigenvalue:
    """The largest eigenvalue of the Hessian H of the loss, which is the largest curvature, from gradients.

        H v ≈ (∇f(x + h v) − ∇f(x − h v)) / 2h,    h = ∛eps · (1 + max |x|) / max |v|

    Parameters
    ----------
    grad : a function of a list of arrays. Differences of float32 gradients give three to four digits.
    params : where the Hessian is taken; never written to.
    method : "lanczos" needs far fewer products, but stores a vector per product. "power" stores two vectors; if the
        eigenvalue λ of largest size is negative, it iterates again on H − λI.
    tol : stop when ‖Hv − λv‖ <= tol · |λ|; default 1e-6, or 1e-2 if gradients are float32.
    max_iter : Hessian-vector products at most; each needs two gradients.
    rng : a seed, a Generator or None, for the start.
    dtype : the type of the arrays that grad gets. None: float64 if it supports that.
    """
    one_of("method", method, ("lanczos", "power"))
    integer("max_iter", max_iter, 1)
    model = Flat(None, grad, params, dtype)
    tol = (1e-6 if model.wide else 1e-2) if tol is None else number("tol", tol, 0, 1, above=True, below=True)
    start = np.random.default_rng(rng_like("rng", rng)).standard_normal(model.x.size)
    product = _Products(model)
    find = _lanczos if method == "lanczos" else _power
    value, vector, residual = find(product, start / np.linalg.norm(start), tol, max_iter)
    shapes = Flat(None, None, model.params, np.float64).arrays(vector)
    done = residual <= tol * max(abs(value), 1e-300) or residual == 0
    return HessianEigenvalue(value, shapes, residual, product.taken, done, "float64" if model.wide else "float32")


class _Products:
    """Hessian times vector by central differences."""

    def __init__(self, model: Flat) -> None:
        self.model, self.taken = model, 0
        self.reach = float(np.cbrt(model.eps) * (1.0 + np.abs(model.x).max()))

    def __call__(self, v: Array) -> Array:
        self.taken += 1
        h = self.reach / float(np.abs(v).max())
        up, down = self.model.x + h * v, self.model.x - h * v
        change: Array = self.model.grad(up) - self.model.grad(down)
        return change / (2 * h)


def _lanczos(product: _Products, v: Array, tol: float, most: int) -> tuple[float, Array, float]:
    """The largest Ritz value of a growing Krylov space, with full reorthogonalization."""
    basis, diagonal = [v], []
    off: list[float] = []
    for k in range(min(most, v.size)):
        w = product(basis[-1])
        diagonal.append(float(w @ basis[-1]))
        for _ in range(2):  # the second pass removes rounding errors of the first
            known = np.array(basis)
            w = w - known.T @ (known @ w)
        beta = float(np.linalg.norm(w))
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
        value, weights = float(values[-1]), vectors[:, -1]
        residual = abs(beta * float(weights[-1]))
        scale = max(map(abs, values))
        if residual <= tol * abs(value) or beta <= 1e-12 * scale or k + 1 == min(most, v.size):
            break
        basis.append(w / beta)
        off.append(beta)
    return value, np.array(basis).T @ weights, residual


def _power(product: _Products, v: Array, tol: float, most: int) -> tuple[float, Array, float]:
    """Find the eigenvalue λ of largest size. If λ < 0, iterate again on H − λI to find the largest eigenvalue."""
    value, vector, residual = _iterate(product, v, tol, max(1, most), 0.0)
    if value >= 0 or product.taken >= most:
        return value, vector, residual
    return _iterate(product, v, tol, most - product.taken, -value)


def _iterate(product: _Products, v: Array, tol: float, most: int, shift: float) -> tuple[float, Array, float]:
    for _ in range(most):
        hv = product(v)
        value = float(v @ hv)
        residual = float(np.linalg.norm(hv - value * v))
        moved = hv + shift * v
        norm = float(np.linalg.norm(moved))
        if residual <= tol * abs(value) or norm == 0:
            break
        best, v = v, moved / norm
    else:
        v = best
    return value, v, residual
