"""One small class per optimizer: its hyper-parameters, its conventions, and the scalars of its rule.

The formulas are in csrc/rules.h; steps, states and checks are in optimizer.py. A class names its rules and the states
of each. `scalars` forms the scalars in double precision, `corrections` defines their bias corrections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np

from fastopt._native.spans import Lookahead
from fastopt._types import Array
from fastopt.conventions import scheduled
from fastopt.optimizer import (
    LR,
    UNSCALED,
    Common,
    Corrections,
    Grads,
    Hyper,
    Noise,
    Optimizer,
    Params,
    check_registry,
)

if TYPE_CHECKING:
    from fastopt._native.step import ArrayStep
    from fastopt.checkpoint import File
    from fastopt.param_groups import ParamGroup

__all__ = ["NAG", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Momentum", "RMSprop"]


def _denominator(h: Hyper) -> dict[str, float]:
    """The scalars of √(s + eps_in) + eps_out: ε inside the root as in the textbook, or outside as in torch."""
    inside = h["eps"] if h["eps_in_sqrt"] else 0.0
    return {"eps_in": inside + h.get("eps_root", 0.0), "eps_out": h["eps"] - inside}


def _momentum(h: Hyper, lr: float, gain: float = 1.0) -> dict[str, float]:
    """The scalars of a ← βa + gain·g, W ← W − η a; or of Keras' velocity, with η inside: a ← βa − η g, W ← W + a."""
    rates = {"lr": -1.0, "gain": -lr * gain} if h["lr_in_momentum"] else {"lr": lr, "gain": gain}
    return {"beta": h["momentum"], "betac": 1.0 - h["momentum"], **rates}


class SGD(Optimizer):
    """Stochastic gradient descent: W ← W − η g.

    Source: Robbins & Monro (1951), A Stochastic Approximation Method. It has no state. See Momentum and NAG.
    """

    rules: ClassVar = {"sgd": ()}
    conventions: ClassVar = {
        "textbook": {"lr": 1e-2},
        "torch": {"lr": 1e-3},
        "keras": {"lr": 1e-2},
        "optax": {"lr": 1e-2},
        "sklearn": {"lr": 1e-3},
    }

    def __init__(self, params: Params, lr: LR | None = None, **common: Unpack[Common]) -> None:
        super().__init__(params, common, {"lr": lr})


class Momentum(Optimizer):
    """Gradient descent with momentum: a ← β a + (1 − dampening) g;  W ← W − η a.

    Parameters
    ----------
    params, lr (η) and the options of every optimizer : see Optimizer.
    momentum : β in [0, 1), 0.9.
    dampening : in [0, 1], 0. As in torch, the first step has no dampening.
    lr_in_momentum : η inside the momentum (Keras, scikit-learn): v ← β v − η g;  W ← W + v. Both forms give the same
        W if η is constant, but not under a schedule.

    State: momentum_buffer (a, or v). Source: Polyak (1964), Some methods of speeding up the convergence of iteration
    methods.
    """

    rules: ClassVar = {"momentum": ("momentum_buffer",)}
    conventions: ClassVar = {
        "textbook": {"lr": 1e-2, "momentum": 0.9, "dampening": 0.0, "lr_in_momentum": False},
        "torch": {"lr": 1e-3},
        "keras": {"lr_in_momentum": True},
        "optax": {},
        "sklearn": {"lr": 1e-3, "lr_in_momentum": True},
    }

    def __init__(
        self,
        params: Params,
        lr: LR | None = None,
        momentum: float | None = None,
        dampening: float | None = None,
        *,
        lr_in_momentum: bool | None = None,
        **common: Unpack[Common],
    ) -> None:
        own = {"lr": lr, "momentum": momentum, "dampening": dampening, "lr_in_momentum": lr_in_momentum}
        super().__init__(params, common, own)

    @classmethod
    def scalars(cls, h: Hyper, lr: float, t: int) -> dict[str, float]:
        return _momentum(h, lr, 1.0 if t == 1 else 1.0 - h["dampening"])

    @classmethod
    def depends_on_step(cls, h: Hyper) -> bool:
        return bool(h["dampening"])


class NAG(Optimizer):
    """Nesterov's accelerated gradient: a ← β a + ∇L(W − η β a);  W ← W − η a.

    In the textbook's form the gradient is taken at the lookahead point W − η β a::

        with opt.lookahead():        # the parameters hold W − η β a
            grads = backward(params)
        opt.step(grads)              # or, the same in one call: opt.step(lambda: backward(params))

    lookahead=False (torch, keras, optax, sklearn) is the shifted form: a ← β a + g;  W ← W − η (g + β a). Here W itself
    is the lookahead point, and the gradient is taken at W. Under a schedule of η the two forms give different results.

    Parameters
    ----------
    params, lr (η) and the options of every optimizer : see Optimizer.
    momentum : β in [0, 1), 0.9.
    lookahead : True for the textbook's form, False for the shifted form.
    lr_in_momentum : η inside the momentum (Keras, scikit-learn): v ← β v − η g;  W ← W + v, or W ← W + β v − η g in
        the shifted form.

    State: momentum_buffer (a, or v). Sources: Nesterov (1983); Sutskever et al. (2013), On the importance of
    initialization and momentum in deep learning.
    """

    rules: ClassVar = {"nag": ("momentum_buffer",), "nesterov": ("momentum_buffer",)}
    implied: ClassVar = {"nag": {"lookahead": True}, "nesterov": {"lookahead": False}}
    conventions: ClassVar = {
        "textbook": {"lr": 1e-2, "momentum": 0.9, "lookahead": True, "lr_in_momentum": False},
        "torch": {"lr": 1e-3, "lookahead": False},
        "keras": {"lookahead": False, "lr_in_momentum": True},
        "optax": {"lookahead": False},
        "sklearn": {"lr": 1e-3, "lookahead": False, "lr_in_momentum": True},
    }

    def __init__(
        self,
        params: Params,
        lr: LR | None = None,
        momentum: float | None = None,
        *,
        lookahead: bool | None = None,
        lr_in_momentum: bool | None = None,
        **common: Unpack[Common],
    ) -> None:
        self._origins: list[np.ndarray[Any, Any]] = []
        own = {"lr": lr, "momentum": momentum, "lookahead": lookahead, "lr_in_momentum": lr_in_momentum}
        super().__init__(params, common, own)

    @classmethod
    def rule_of(cls, h: Hyper) -> str:
        return "nag" if h["lookahead"] else "nesterov"

    @classmethod
    def scalars(cls, h: Hyper, lr: float, t: int) -> dict[str, float]:
        values = _momentum(h, lr)
        return {**values, "shift": values["lr"] * h["momentum"]}

    def lookahead(self) -> Lookahead:
        """A block in which the parameters hold W − η β a. Its end restores W bit for bit, after an exception as well.

        If a parameter was resized or made read-only in the block, its end restores all others and raises RuntimeError.
        """
        if not self._looks_ahead():
            raise RuntimeError(
                "this NAG has the shifted form (lookahead=False): its parameters are the lookahead "
                "point already, so take the gradient without lookahead()"
            )
        return Lookahead(self._lookahead_arguments)

    def step(
        self,
        grads: Grads,
        *,
        max_norm: float | None = None,
        grad_scale: float = UNSCALED,
        zero_grads: bool = False,
        noise: Noise | None = None,
    ) -> float | None:
        """See Optimizer.step. In the textbook's form, compute the gradients inside `lookahead()`, or pass a callable:
        it is called at the lookahead point."""
        if self._looks_ahead():
            if callable(grads):
                with self.lookahead():
                    grads = grads()
            if self._array_step.ahead:
                raise RuntimeError("leave the lookahead() block before the step: the parameters still hold W − η β a")
            if self._array_step.looked_ahead is None:
                raise RuntimeError(
                    "NAG's gradient must be taken at the lookahead point W − η β a: compute it inside "
                    "'with opt.lookahead():', or pass a function as in opt.step(closure)"
                )
            if self._array_step.looked_ahead != self._shift_values():
                raise RuntimeError(
                    "lr or momentum was changed since lookahead(): the gradient belongs to another point"
                )
        return super().step(grads, max_norm=max_norm, grad_scale=grad_scale, zero_grads=zero_grads, noise=noise)

    def add_param_group(self, group: dict[str, Any]) -> None:
        self._refuse_at_lookahead("a param group cannot be added")
        super().add_param_group(group)

    def _load(self, d: Mapping[str, Any], params: Sequence[Array]) -> None:
        self._refuse_at_lookahead("a state cannot be loaded")
        super()._load(d, params)

    def save(self, path: File, *, params: bool = False) -> None:
        self._refuse_at_lookahead("the optimizer cannot be saved")
        super().save(path, params=params)

    def __getstate__(self) -> dict[str, Any]:
        self._refuse_at_lookahead("the optimizer cannot be copied")
        return super().__getstate__()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._origins = []
        super().__setstate__(state)

    def _check_group(self, group: ParamGroup) -> None:
        if self._groups and group["lookahead"] != self._groups[0]["lookahead"]:
            raise ValueError("lookahead must be the same in every param group")

    def _refuse_at_lookahead(self, what: str) -> None:
        if self._array_step.ahead:
            raise RuntimeError(f"{what} inside lookahead(): the parameters hold W − η β a")

    def _looks_ahead(self) -> bool:
        return bool(self._groups[0]["lookahead"])

    def _lookahead_arguments(self) -> tuple[ArrayStep, list[np.ndarray[Any, Any]], list[float], list[Any]]:
        if len(self._origins) != len(self._params):
            self._origins = [np.empty_like(p) for p in self._params]
        shifts = [self._shift(group) for group in self._groups]
        return self._array_step, self._origins, shifts, self._shift_values()

    def _shift(self, group: ParamGroup) -> float:
        steps = group.clock.steps
        return self.scalars(group, scheduled(group["lr"], steps), steps + 1)["shift"]

    def _shift_values(self) -> list[Any]:
        return [(group["lr"], group["momentum"], group["lr_in_momentum"]) for group in self._groups]


class Adagrad(Optimizer):
    """Adagrad: G ← G + g²;  W ← W − η g / √(G + ε).

    ε is inside the root: torch's eps corresponds to eps**2 here, or give eps_in_sqrt=False.

    Parameters
    ----------
    params, lr (η) and the options of every optimizer : see Optimizer.
    eps : ε >= 0; 1e-16 inside the root. An ε outside the root, such as torch's 1e-10, corresponds to ε² inside.
    eps_in_sqrt : √(G + ε) if True, √G + ε if False (torch).
    lr_decay : >= 0, 0: the learning rate of step t is η / (1 + (t − 1)·lr_decay).
    initial_accumulator_value : the first value of G, 0 (Keras, optax: 0.1).

    State: sum (G). Source: Duchi, Hazan & Singer (2011), Adaptive Subgradient Methods.
    """

    rules: ClassVar = {"adagrad": ("sum",)}
    conventions: ClassVar = {
        "textbook": {"lr": 1e-2, "eps": 1e-16, "eps_in_sqrt": True, "lr_decay": 0.0, "initial_accumulator_value": 0.0},
        "torch": {"eps": 1e-10, "eps_in_sqrt": False},
        "keras": {"lr": 1e-3, "eps": 1e-7, "initial_accumulator_value": 0.1},
        "optax": {"eps": 1e-7, "initial_accumulator_value": 0.1},
    }

    def __init__(
        self,
        params: Params,
        lr: LR | None = None,
        eps: float | None = None,
        *,
        eps_in_sqrt: bool | None = None,
        lr_decay: float | None = None,
        initial_accumulator_value: float | None = None,
        **common: Unpack[Common],
    ) -> None:
        own = {
            "lr": lr,
            "eps": eps,
            "eps_in_sqrt": eps_in_sqrt,
            "lr_decay": lr_decay,
            "initial_accumulator_value": initial_accumulator_value,
        }
        super().__init__(params, common, own)

    @classmethod
    def initial(cls, h: Hyper) -> dict[str, float]:
        return {"sum": h["initial_accumulator_value"]}

    @classmethod
    def scalars(cls, h: Hyper, lr: float, t: int) -> dict[str, float]:
        return {"lr": lr / (1.0 + (t - 1) * h["lr_decay"]), **_denominator(h)}

    @classmethod
    def depends_on_step(cls, h: Hyper) -> bool:
        return bool(h["lr_decay"])


class Adadelta(Optimizer):
    """Adadelta: G ← ρG + (1−ρ)g²;  Δ = g √(H + ε) / √(G + ε);  W ← W − η Δ;  H ← ρH + (1−ρ)Δ².

    Parameters
    ----------
    params, lr (η, 1 in the paper) and the options of every optimizer : see Optimizer.
    rho : ρ in [0, 1), 0.95.
    eps : ε >= 0, 1e-6, inside both roots.

    States: square_avg (G), acc_delta (H). Source: Zeiler (2012), ADADELTA: An Adaptive Learning Rate Method.
    """

    rules: ClassVar = {"adadelta": ("square_avg", "acc_delta")}
    conventions: ClassVar = {
        "textbook": {"lr": 1.0, "rho": 0.95, "eps": 1e-6},
        "torch": {"rho": 0.9},
        "keras": {"lr": 1e-3, "eps": 1e-7},
        "optax": {"rho": 0.9},
    }

    def __init__(
        self,
        params: Params,
        lr: LR | None = None,
        rho: float | None = None,
        eps: float | None = None,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, common, {"lr": lr, "rho": rho, "eps": eps})

    @classmethod
    def scalars(cls, h: Hyper, lr: float, t: int) -> dict[str, float]:
        return {"lr": lr, "rho": h["rho"], "rhoc": 1.0 - h["rho"], "eps": h["eps"]}


class RMSprop(Optimizer):
    """RMSprop: G ← αG + (1−α)g²;  W ← W − η g / √(G + ε).

    ε is inside the root: torch's eps corresponds to eps**2 here, or give eps_in_sqrt=False.

    Parameters
    ----------
    params, lr (η) and the options of every optimizer : see Optimizer.
    alpha : α in [0, 1), 0.9 (torch 0.99).
    eps : ε >= 0; 1e-16 inside the root.
    momentum : β in [0, 1), 0. If β > 0, with d = g / √(G + ε): a ← β a + d;  W ← W − η a.
    centered : √(G − m² + ε) in place of √(G + ε), with m ← αm + (1−α)g; a negative G − m² is replaced by 0.
    nesterov : W ← W − η (β a + d) (optax). Without momentum it has no effect.
    eps_in_sqrt : √(G + ε) if True, √G + ε if False (torch).
    lr_in_momentum : a ← β a + η d;  W ← W − a (Keras, optax).

    States: square_avg (G); grad_avg (m) if centered; momentum_buffer (a) with momentum.
    Sources: Hinton (2012), Neural Networks for Machine Learning, lecture 6e; centered: Graves (2013).
    """

    rules: ClassVar = {
        "rmsprop": ("square_avg",),
        "rmsprop_centered": ("square_avg", "grad_avg"),
        "rmsprop_momentum": ("square_avg", "momentum_buffer"),
        "rmsprop_centered_momentum": ("square_avg", "grad_avg", "momentum_buffer"),
    }
    implied: ClassVar = {
        "rmsprop": {"centered": False, "momentum": 0.0, "nesterov": False, "lr_in_momentum": False},
        "rmsprop_centered": {"centered": True, "momentum": 0.0, "nesterov": False, "lr_in_momentum": False},
        "rmsprop_momentum": {"centered": False},
        "rmsprop_centered_momentum": {"centered": True},
    }
    conventions: ClassVar = {
        "textbook": {
            "lr": 1e-3,
            "alpha": 0.9,
            "eps": 1e-16,
            "momentum": 0.0,
            "centered": False,
            "nesterov": False,
            "eps_in_sqrt": True,
            "lr_in_momentum": False,
        },
        "torch": {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "eps_in_sqrt": False},
        "keras": {"eps": 1e-7, "lr_in_momentum": True},
        "optax": {"eps": 1e-8, "lr_in_momentum": True},
    }

    def __init__(
        self,
        params: Params,
        lr: LR | None = None,
        alpha: float | None = None,
        eps: float | None = None,
        momentum: float | None = None,
        centered: bool | None = None,
        nesterov: bool | None = None,
        *,
        eps_in_sqrt: bool | None = None,
        lr_in_momentum: bool | None = None,
        **common: Unpack[Common],
    ) -> None:
        own = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "momentum": momentum,
            "centered": centered,
            "nesterov": nesterov,
            "eps_in_sqrt": eps_in_sqrt,
            "lr_in_momentum": lr_in_momentum,
        }
        super().__init__(params, common, own)

    @classmethod
    def rule_of(cls, h: Hyper) -> str:
        return f"rmsprop{'_centered' if h['centered'] else ''}{'_momentum' if h['momentum'] > 0 else ''}"

    @classmethod
    def scalars(cls, h: Hyper, lr: float, t: int) -> dict[str, float]:
        averages = {"rho": h["alpha"], "rhoc": 1.0 - h["alpha"], **_denominator(h)}
        beta = h["momentum"]
        momentum = {"beta": beta, "betac": 1.0 - beta, "nesterov": float(h["nesterov"])}
        inside = h["lr_in_momentum"] and beta
        return {**averages, **momentum, "lr": 1.0 if inside else lr, "gain": lr if inside else 1.0}


class Adam(Optimizer):
    """Adam: m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;  W ← W − η √(1−β₂ᵗ)/(1−β₁ᵗ) · m / √(v + ε).

    ε is inside the root: torch's eps=1e-8 corresponds to eps=1e-16 here, or give eps_in_sqrt=False.

    Parameters
    ----------
    params, lr (η) and the options of every optimizer : see Optimizer.
    betas : (β₁, β₂) in [0, 1), (0.9, 0.999).
    eps : ε >= 0; 1e-16 inside the root, 1e-8 outside it (torch, optax, sklearn), 1e-7 (Keras).
    amsgrad : use the largest v so far in place of v.
    eps_in_sqrt : √(v + ε) if True, √v + ε if False (all but the textbook).
    eps_root : added inside the root as well (optax), 0.
    corrected_v : W ← W − η/(1−β₁ᵗ) · m / (√v̂ + ε) with v̂ = v/(1−β₂ᵗ): ε is added to the root of the corrected v̂
        (torch, optax), not of v.
    max_corrected_v : amsgrad uses the largest v̂ (optax) instead of the largest v.

    States: exp_avg (m), exp_avg_sq (v), with amsgrad max_exp_avg_sq. Sources: Kingma & Ba (2015); Reddi, Kale & Kumar
    (2018). With decoupled weight decay: AdamW.
    """

    rules: ClassVar = {
        "adam": ("exp_avg", "exp_avg_sq"),
        "amsgrad": ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    }
    implied: ClassVar = {"adam": {"amsgrad": False, "max_corrected_v": False}, "amsgrad": {"amsgrad": True}}
    conventions: ClassVar = {
        "textbook": {
            "lr": 1e-3,
            "betas": (0.9, 0.999),
            "eps": 1e-16,
            "amsgrad": False,
            "eps_in_sqrt": True,
            "eps_root": 0.0,
            "corrected_v": False,
            "max_corrected_v": False,
        },
        "torch": {"eps": 1e-8, "eps_in_sqrt": False, "corrected_v": True},
        "keras": {"eps": 1e-7, "eps_in_sqrt": False},
        "optax": {"eps": 1e-8, "eps_in_sqrt": False, "corrected_v": True, "max_corrected_v": True},
        "sklearn": {"eps": 1e-8, "eps_in_sqrt": False},
    }

    def __init__(
        self,
        params: Params,
        lr: LR | None = None,
        betas: tuple[float, float] | None = None,
        eps: float | None = None,
        amsgrad: bool | None = None,
        *,
        eps_in_sqrt: bool | None = None,
        eps_root: float | None = None,
        corrected_v: bool | None = None,
        max_corrected_v: bool | None = None,
        **common: Unpack[Common],
    ) -> None:
        own = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "amsgrad": amsgrad,
            "eps_in_sqrt": eps_in_sqrt,
            "eps_root": eps_root,
            "corrected_v": corrected_v,
            "max_corrected_v": max_corrected_v,
        }
        super().__init__(params, common, own)

    @classmethod
    def rule_of(cls, h: Hyper) -> str:
        return "amsgrad" if h["amsgrad"] else "adam"

    @classmethod
    def scalars(cls, h: Hyper, lr: float, t: int) -> dict[str, float]:
        beta1, beta2 = h["betas"]
        averages = {"beta1": beta1, "beta1c": 1.0 - beta1, "beta2": beta2, "beta2c": 1.0 - beta2}
        return {"lr": lr, **averages, **_denominator(h), "c": 1.0, "cu": 1.0}

    @classmethod
    def corrections(cls, h: Hyper) -> Corrections:
        """Corrections of m̂ = m/(1−β₁ᵗ) and v̂ = v/(1−β₂ᵗ). The textbook's form multiplies η by √(1−β₂ᵗ) instead."""
        beta1, beta2 = h["betas"]
        if h["amsgrad"] and h["max_corrected_v"]:
            return {"lr": ((beta1, -1),), "cu": ((beta2, -1),)}
        if h["corrected_v"]:
            return {"lr": ((beta1, -1),), "c": ((beta2, -1),)}
        return {"lr": ((beta2, 0.5), (beta1, -1))}


class AdamW(Adam):
    """Adam with decoupled weight decay: W ← (1 − η·weight_decay) W before Adam's update.

    It is Adam(decoupled=True) with weight_decay=0.01 by default (Keras 0.004, optax 1e-4). Source: Loshchilov &
    Hutter (2019), Decoupled Weight Decay Regularization.
    """

    conventions: ClassVar = {
        name: {**values, "decoupled": True, "weight_decay": {"keras": 4e-3, "optax": 1e-4}.get(name, 1e-2)}
        for name, values in Adam.conventions.items()
        if name != "sklearn"
    }


check_registry()
