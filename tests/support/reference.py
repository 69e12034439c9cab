"""The update rules as the papers write them: plain NumPy, slow, float64, one function per row of RULES.

They are written from the equations, never from the kernels, so that they can contradict a kernel.
`w`, `g` and the state are arrays of any one dtype, `t` = 1, 2, … is the step and `h` a resolved dict of
hyper-parameters (an entry of `param_groups`). Nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Array = Any  # an ndarray, or another type that NumPy's ufuncs accept
State = tuple[Array, ...]
Hyper = Mapping[str, Any]
Rule = Callable[[Array, Array, State, int, Hyper], tuple[Array, State]]

REFERENCE: dict[str, Rule] = {}
#: The point at which a rule's gradient was taken, if it is not W.
POINT: dict[str, Callable[[Array, State, Hyper], Array]] = {}


def reference(rule: Rule) -> Rule:
    """Register a function under its own name, the name of its row in RULES."""
    REFERENCE[rule.__name__] = rule
    return rule


@reference
def sgd(w: Array, g: Array, state: State, t: int, h: Hyper) -> tuple[Array, State]:
    """W ← W − η g.

    Robbins & Monro, "A stochastic approximation method", Ann. Math. Statist. 22 (1951).
    """
    return w - h["lr"] * g, ()


@reference
def momentum(w: Array, g: Array, state: State, t: int, h: Hyper) -> tuple[Array, State]:
    """a ← μ a + (1 − τ) g;  W ← W − η a, the first step undamped; or a velocity v ← μ v − η g;  W ← W + v.

    Polyak, "Some methods of speeding up the convergence of iteration methods", USSR Comput. Math. 4 (1964);
    the velocity as in Sutskever et al., "On the importance of initialization and momentum" (ICML 2013).
    """
    (a,) = state
    mu, lr = h["momentum"], h["lr"]
    g = g * (1.0 if t == 1 else 1.0 - h.get("dampening", 0.0))
    if h["lr_in_momentum"]:
        v = mu * a - lr * g
        return w + v, (v,)
    a = mu * a + g
    return w - lr * a, (a,)


@reference
def nag(w: Array, g: Array, state: State, t: int, h: Hyper) -> tuple[Array, State]:
    """a ← μ a + ∇L(W − η μ a);  W ← W − η a: the caller took `g` at `lookahead_point`.

    Nesterov, "A method for solving the convex programming problem with convergence rate O(1/k²)",
    Soviet Math. Dokl. 27 (1983), in the form of Sutskever et al. (ICML 2013), equations 3 and 4.
    """
    return momentum(w, g, state, t, h)


def lookahead_point(w: Array, state: State, h: Hyper) -> Array:
    """W − η μ a (or W + μ v), where the textbook's NAG takes its gradient."""
    (a,) = state
    return w + h["momentum"] * a if h["lr_in_momentum"] else w - h["lr"] * h["momentum"] * a


POINT["nag"] = lookahead_point


@reference
def nesterov(w: Array, g: Array, state: State, t: int, h: Hyper) -> tuple[Array, State]:
    """a ← μ a + g;  W ← W − η (g + μ a); or v ← μ v − η g;  W ← W + μ v − η g. The gradient is the one at W.

    Bengio, Boulanger-Lewandowski & Pascanu, "Advances in optimizing recurrent networks" (ICASSP 2013),
    section 3.5: the iterate is the lookahead point itself.
    """
    (a,) = state
    mu, lr = h["momentum"], h["lr"]
    if h["lr_in_momentum"]:
        v = mu * a - lr * g
        return w + (mu * v - lr * g), (v,)
    a = mu * a + g
    return w - lr * (g + mu * a), (a,)


@reference
def adagrad(w: Array, g: Array, state: State, t: int, h: Hyper) -> tuple[Array, State]:
    """G ← G + g²;  W ← W − η/(1 + (t−1) κ) · g / √(G + ε), or / (√G + ε).

    Duchi, Hazan & Singer, "Adaptive subgradient methods", JMLR 12 (2011), figure 1, diagonal case.
    """
    (G,) = state
    G = G + g * g
    lr = h["lr"] / (1.0 + (t - 1) * h["lr_decay"])
    return w - lr * (g / root(G, h)), (G,)


@reference
def adadelta(w: Array, g: Array, state: State, t: int, h: Hyper) -> tuple[Array, State]:
    """G ← ρG + (1−ρ)g²;  Δ = √(H + ε)/√(G + ε) · g;  W ← W − η Δ;  H ← ρH + (1−ρ)Δ².

    Zeiler, "ADADELTA: an adaptive learning rate method", arXiv:1212.5701 (2012), algorithm 1.
    """
    G, H = state
    rho, eps = h["rho"], h["eps"]
    G = rho * G + (1.0 - rho) * (g * g)
    delta = np.sqrt(H + eps) / np.sqrt(G + eps) * g
    return w - h["lr"] * delta, (G, rho * H + (1.0 - rho) * (delta * delta))


@reference
def rmsprop(w: Array, g: Array, state: State, t: int, h: Hyper) -> tuple[Array, State]:
    """G ← αG + (1−α)g²;  W ← W − η g / √(G + ε), or / (√G + ε).

    Tieleman & Hinton, "Lecture 6.5 — RMSProp", COURSERA: Neural networks for machine learning (2012).
    """
    (G,) = state
    G = average(h["alpha"], G, g * g)
    return w - h["lr"] * (g / root(G, h)), (G,)


@reference
def rmsprop_centered(w: Array, g: Array, state: State, t: int, h: Hyper) -> tuple[Array, State]:
    """RMSprop divided by the standard deviation: m ← αm + (1−α)g and max(G − m², 0) in place of G.

    Graves, "Generating sequences with recurrent neural networks", arXiv:1308.0850 (2013), equations 38–41.
    """
    G, m = state
    G, m = average(h["alpha"], G, g * g), average(h["alpha"], m, g)
    return w - h["lr"] * (g / root(variance(G, m), h)), (G, m)


@reference
def rmsprop_momentum(w: Array, g: Array, state: State, t: int, h: Hyper) -> tuple[Array, State]:
    """RMSprop's direction d under a momentum buffer (Polyak 1964), or Nesterov's; see `heavy_ball`."""
    G, a = state
    G = average(h["alpha"], G, g * g)
    w, a = heavy_ball(w, g / root(G, h), a, h)
    return w, (G, a)


@reference
def rmsprop_centered_momentum(w: Array, g: Array, state: State, t: int, h: Hyper) -> tuple[Array, State]:
    """Graves (2013), equations 38–41, as written there: centered, under a momentum buffer."""
    G, m, a = state
    G, m = average(h["alpha"], G, g * g), average(h["alpha"], m, g)
    w, a = heavy_ball(w, g / root(variance(G, m), h), a, h)
    return w, (G, m, a)


@reference
def adam(w: Array, g: Array, state: State, t: int, h: Hyper) -> tuple[Array, State]:
    """m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;  W ← W − η m̂ / (√v̂ + ε).

    Kingma & Ba, "Adam: a method for stochastic optimization" (ICLR 2015): algorithm 1 with `corrected_v`,
    else the more efficient order named below it, η √(1−β₂ᵗ)/(1−β₁ᵗ) · m / (√v + ε).
    """
    m, v = adam_moments(g, state[0], state[1], h)
    return w - adam_step(m, v, t, h), (m, v)


@reference
def amsgrad(w: Array, g: Array, state: State, t: int, h: Hyper) -> tuple[Array, State]:
    """Adam with max(v₁, …, vₜ) in place of v, or max(v̂₁, …, v̂ₜ) in place of v̂ under `max_corrected_v`.

    Reddi, Kale & Kumar, "On the convergence of Adam and beyond" (ICLR 2018), algorithm 2.
    """
    m, v = adam_moments(g, state[0], state[1], h)
    if not h["max_corrected_v"]:
        top = np.maximum(state[2], v)
        return w - adam_step(m, top, t, h), (m, v, top)
    top = np.maximum(state[2], v / (1.0 - h["betas"][1] ** t))
    rate = h["lr"] / (1.0 - h["betas"][0] ** t)
    return w - rate * (m / root(top, h)), (m, v, top)


def average(beta: float, old: Array, new: Array) -> Array:
    """β·old + (1 − β)·new."""
    return beta * old + (1.0 - beta) * new


def variance(second: Array, first: Array) -> Array:
    """E[g²] − E[g]², clamped at 0: rounding may take it below."""
    return np.maximum(second - first * first, 0.0)


def root(s: Array, h: Hyper) -> Array:
    """√(s + ε) or √s + ε; `eps_root` is added inside the root either way."""
    inside = h.get("eps_root", 0.0) + (h["eps"] if h["eps_in_sqrt"] else 0.0)
    outside = 0.0 if h["eps_in_sqrt"] else h["eps"]
    return np.sqrt(s + inside) + outside


def heavy_ball(w: Array, d: Array, a: Array, h: Hyper) -> tuple[Array, Array]:
    """a ← μ a + d;  W ← W − η a, or − η (μ a + d) with `nesterov`; η inside a with `lr_in_momentum`."""
    mu, lr = h["momentum"], h["lr"]
    if h["lr_in_momentum"]:
        d, lr = lr * d, 1.0
    a = mu * a + d
    return w - lr * (mu * a + d if h["nesterov"] else a), a


def adam_moments(g: Array, m: Array, v: Array, h: Hyper) -> tuple[Array, Array]:
    """The moving averages of g and of g²."""
    beta1, beta2 = h["betas"]
    return average(beta1, m, g), average(beta2, v, g * g)


def adam_step(m: Array, v: Array, t: int, h: Hyper) -> Array:
    """Adam's update of W, given the moments before their bias correction."""
    beta1, beta2 = h["betas"]
    rate = h["lr"] / (1.0 - beta1**t)
    if h["corrected_v"]:
        return rate * (m / root(v / (1.0 - beta2**t), h))
    return rate * (1.0 - beta2**t) ** 0.5 * (m / root(v, h))


def global_norm(gs: Sequence[Array], grad_scale: float = 1.0) -> float:
    """The Euclidean norm of all gradients taken as one vector, after `grad_scale`."""
    return abs(grad_scale) * float(np.sqrt(sum(np.sum(np.square(np.asarray(g, np.float64))) for g in gs)))


def resolve(h: Hyper, t: int) -> dict[str, Any]:
    """`h` with a scheduled learning rate replaced by its value at step t (a schedule counts from 0)."""
    lr = h["lr"]
    return {**h, "lr": lr(t - 1) if callable(lr) else lr}


def prelude(w: Array, g: Array, point: Array, h: Hyper, factor: float) -> tuple[Array, Array]:
    """The operations on gradient and parameter before the rule. Terms that are 0 are left out entirely.

    The penalties λ/2 ‖W‖² and l1 |W|₁ belong to the loss, so their gradients are taken at `point`, where `g` was.
    Decoupled decay does not: Loshchilov & Hutter, "Decoupled weight decay regularization" (ICLR 2019).
    """
    factor = -factor if h["maximize"] else factor
    if factor != 1.0:
        g = factor * g
    if h["clip_value"] is not None:
        g = np.minimum(np.maximum(g, -h["clip_value"]), h["clip_value"])
    if h["weight_decay"] and h["decoupled"]:
        w = w - (h["lr"] * h["weight_decay"]) * w
    elif h["weight_decay"]:
        g = g + h["weight_decay"] * point
    if h["l1"]:
        g = g + h["l1"] * np.sign(point)
    return w, g


def step(
    rule: str,
    ws: Sequence[Array],
    gs: Sequence[Array],
    states: Sequence[State],
    t: int,
    h: Hyper,
    *,
    grad_scale: float = 1.0,
    max_norm: float | None = None,
    norm: float | None = None,
) -> tuple[list[Array], list[State], float]:
    """One step of a list of tensors: the new parameters, the new states, the norm before clipping.

    `norm` replaces the norm of `gs` where these are only a part of the model (one of several groups).
    """
    h = resolve(h, t)
    norm = global_norm(gs, grad_scale) if norm is None else norm
    factor = grad_scale * (max_norm / norm if max_norm is not None and norm > max_norm else 1.0)
    new_ws, new_states = [], []
    for w, g, state in zip(ws, gs, states, strict=True):
        point = POINT[rule](w, state, h) if rule in POINT else w
        new_w, new_state = REFERENCE[rule](*prelude(w, g, point, h, factor), state, t, h)
        new_ws.append(new_w)
        new_states.append(new_state)
    return new_ws, new_states, norm
