"""Whole fits against slow ones in float64: the documented equations, torch's autograd, the same random numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("torch")

import torch
from scipy.sparse import csr_array
from scipy.special import softmax
from sklearn.model_selection import train_test_split

from fastopt.mlp.network import Shape, initial_weights
from fastopt.regularization import EarlyStopping, add_noise, cutmix, draw_key, dropout, mixup, perturbed
from fastopt.sklearn import MLPClassifier, MLPRegressor
from fastopt.sklearn.estimators import _streams

RNG = np.random.default_rng(1)
N, K = 150, 3
X = RNG.normal(size=(N, 16)).astype(np.float32)
PLANES = RNG.normal(size=(16, K))
CLASSES, NUMBERS = (X @ PLANES).argmax(axis=1), (X @ PLANES / 4).astype(np.float32)
WEIGHTS = np.where(np.arange(N) < 20, 0.0, 3 * RNG.random(N))
COMMON: dict[str, Any] = {
    "hidden_layer_sizes": (9, 7), "activation": "relu", "epochs": 4, "lr": 0.02, "optimizer": "momentum",
    "batch_size": 32, "random_state": 3,
}  # fmt: skip
OPTIONS: list[dict[str, Any]] = [
    {}, {"l1": 1e-3, "l2": 1e-2}, {"l2": 0.1, "decoupled": True}, {"dropout": 0.3}, {"batch_norm": True},
    {"batch_norm": True, "dropout": 0.2, "l2": 0.1}, {"max_norm": 0.8}, {"optimizer": "sgd"},
    {"optimizer": "nag", "lr": 0.01}, {"optimizer": "adam", "lr": 1e-3}, {"input_noise": 0.2}, {"mixup": 0.4},
    {"mixup": 0.4, "cutmix": 1.0, "sample_shape": (1, 4, 4)}, {"batch_size": 1, "epochs": 1, "lr": 0.005},
    {"batch_size": None, "l2": 0.1}, {"batch_size": 149}, {"batch_size": 149, "batch_norm": True},
    {"hidden_layer_sizes": ()},
]  # fmt: skip
SMOOTHED: list[dict[str, Any]] = [{}, {"mixup": 0.3}, {"batch_norm": True, "dropout": 0.1}]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """torch uses one thread: arrays of this size are too small for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Slow:
    """The training that the docstrings define, computed sample by sample."""

    def __init__(self, params: dict[str, Any], y: Any, weight: Any) -> None:
        self.p = p = {"dropout": 0.0, "batch_norm": False, "label_smoothing": 0.0, **params}
        self.x, self.y, self.classes, self.weight = X, y, y.dtype == np.int64, weight
        hidden = tuple(p["hidden_layer_sizes"])
        shape = Shape((16, *hidden, K), p["activation"], self.classes, p["batch_norm"], p["dropout"])
        first = [
            torch.tensor(w.astype(np.float64), requires_grad=True)
            for w in initial_weights(shape, _streams(p["random_state"]).weights)
        ]
        scales = [torch.ones(n, dtype=torch.float64, requires_grad=True) for n in hidden if p["batch_norm"]]
        self.layers, self.params, self.scales = len(hidden) + 1, first + scales, scales
        self.running = [(torch.zeros(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64)) for n in hidden]

    def fit(self) -> Slow:
        """From the present weights, with a new optimizer and new streams."""
        self.m, self.v = ([torch.zeros_like(w) for w in self.params] for _ in range(2))
        _, self.order, self.noise, split = _streams(self.p["random_state"])
        stopping, train, held_out = self.p.get("early_stopping"), np.arange(N), np.arange(0)
        if stopping:
            stratify, seed = self.y if self.classes else None, int(split.integers(2**31))
            train, held_out = train_test_split(train, test_size=0.1, random_state=seed, stratify=stratify)
        self.w = None if self.weight is None else self.weight / self.weight[train].mean()
        self.steps, self.history, best, kept, waited = 0, {"loss": [], "lr": []}, -math.inf, [], 0
        for _ in range(self.p["epochs"]):
            self.epoch(train)
            if stopping:
                value = self.validate(held_out, by_score=isinstance(stopping, EarlyStopping))
                waited = 0 if value > best else waited + 1
                if value > best:
                    best, kept = value, [a.detach().clone() for a in self.arrays()]
                if waited == getattr(stopping, "patience", 10):
                    break
        with torch.no_grad():
            for a, b in zip(self.arrays(), kept, strict=False):
                a.copy_(b)
        return self

    def epoch(self, rows: Any) -> None:
        size = min(self.p["batch_size"] or N, len(rows))
        order = rows if self.p["batch_size"] is None else rows[self.order.permutation(len(rows))]
        cuts = [order[i : i + size] for i in range(0, len(rows), size)]
        if self.p["batch_norm"] and len(cuts[-1]) == 1:
            cuts.pop()
        self.history["loss"].append(sum(map(self.step, cuts)) / sum(map(len, cuts)))
        self.history["lr"].append(self.rate(self.steps - 1))

    def validate(self, rows: Any, *, by_score: bool) -> float:
        """Weighted loss without smoothing, and accuracy or R², of the rows held out. Returns what should grow."""
        w = np.ones(len(rows)) if self.w is None else self.w[rows]
        z, y = self.predicted()[rows], self.y[rows]
        if self.classes:
            losses = -np.log(np.exp(z)[np.arange(len(y)), y] / np.exp(z).sum(1))
            score = w @ (z.argmax(1) == y) / w.sum()
        else:
            losses, mean = 0.5 * ((z - y) ** 2).sum(1), w @ y / w.sum()
            score = np.mean(1 - w @ (z - y) ** 2 / (w @ (y - mean) ** 2))
        loss = w @ losses / w.sum()
        self.history.setdefault("val_loss", []).append(loss)
        self.history.setdefault("val_score", []).append(score)
        return float(score if by_score else -loss)

    def arrays(self) -> list[Any]:
        return [*self.params, *(a for pair in self.running for a in pair)]

    def predicted(self) -> Any:
        return self.outputs(torch.tensor(X.astype(np.float64)), predicting=True).detach().numpy()

    def rate(self, step: int) -> float:
        lr = self.p["lr"]
        return float(lr(step) if callable(lr) else lr)

    def step(self, index: Any) -> float:
        noise, w = self.weight_noise(), None if self.w is None else self.w[index]
        x, mix = self.changed(self.x[index].copy())
        ahead = self.rate(self.steps) * 0.9 if self.p["optimizer"] == "nag" else 0.0
        self.steps += 1
        with torch.no_grad():
            for q, m, e in zip(self.params, self.m, noise, strict=True):
                q += e - ahead * m
        rows = self.loss(torch.tensor(x.astype(np.float64)), self.y[index], mix)
        if w is not None:
            rows = rows * torch.tensor(w if mix is None else mix.lam * w + (1 - mix.lam) * w[mix.partner])
        slopes = torch.autograd.grad(rows.mean(), self.params)
        with torch.no_grad():
            for i, (q, g) in enumerate(zip(self.params, slopes, strict=True)):
                at = q - noise[i]  # penalties, as the gradient, are of the lookahead point
                q += ahead * self.m[i] - noise[i]
                self.update(i, q, g, at, penalized=i < 2 * self.layers and i % 2 == 0)
        return float(rows.detach().sum())

    def weight_noise(self) -> list[Any]:
        drawn = [np.zeros(q.shape, np.float32) for q in self.params]
        if not self.p.get("weight_noise"):
            return [torch.tensor(a) for a in drawn]
        with perturbed(drawn, self.p["weight_noise"], self.noise):
            return [torch.tensor(a.astype(np.float64)) for a in drawn]

    def changed(self, x: Any) -> tuple[Any, Any]:
        if self.p.get("augment"):
            x = self.p["augment"](x.reshape(-1, *self.p["sample_shape"]), rng=self.noise).reshape(x.shape)
        if self.p.get("input_noise"):
            add_noise(x, self.p["input_noise"], rng=self.noise, out=x)
        by_mixup, by_cutmix = self.p.get("mixup"), self.p.get("cutmix")
        if not (by_mixup or by_cutmix):
            return x, None
        if by_cutmix and (not by_mixup or self.noise.random() < 0.5):
            mixed, mix = cutmix(x.reshape(-1, *self.p["sample_shape"]), self.p["cutmix"], rng=self.noise)
        else:
            mixed, mix = mixup(x, self.p["mixup"], rng=self.noise)
        return np.asarray(mixed).reshape(x.shape), mix

    def loss(self, z: Any, y: Any, mix: Any) -> Any:
        z = self.outputs(z)

        def each(target: Any) -> Any:
            if not self.classes:
                return 0.5 * ((z - torch.tensor(target.astype(np.float64))) ** 2).sum(1)
            eps = self.p["label_smoothing"]
            soft = torch.nn.functional.one_hot(torch.tensor(target), K) * (1 - eps) + eps / K
            return -(soft * torch.log_softmax(z, 1)).sum(1)

        if mix is None:
            return each(y)
        lam = torch.tensor(mix.lam.astype(np.float64))
        if self.classes:
            return lam * each(y) + (1 - lam) * each(y[mix.partner])
        return each(mix.lam[:, None] * y + (1 - mix.lam[:, None]) * y[mix.partner])

    def outputs(self, z: Any, *, predicting: bool = False) -> Any:
        for i in range(self.layers):
            z = z @ self.params[2 * i]
            if i == self.layers - 1:
                return z + self.params[2 * i + 1]
            if self.scales and predicting:
                mean, var = self.running[i]
                z = (z - mean) / torch.sqrt(var + 1e-5) * self.scales[i]
            elif self.scales:
                with torch.no_grad():
                    for kept, new in zip(self.running[i], (z.mean(0), z.var(0)), strict=True):
                        kept.mul_(0.9).add_(0.1 * new)
                z = (z - z.mean(0)) / torch.sqrt(z.var(0, unbiased=False) + 1e-5) * self.scales[i]
            z = z + self.params[2 * i + 1]
            z = {"relu": torch.relu, "tanh": torch.tanh, "identity": lambda z: z, "gelu": _gelu}[self.p["activation"]](
                z
            )
            if self.p["dropout"] and not predicting:
                mask = dropout(np.ones(z.shape, np.float32), self.p["dropout"], key=draw_key(self.noise))
                z = z * torch.tensor(mask.astype(np.float64))
        return z

    def update(self, i: int, q: Any, g: Any, at: Any, *, penalized: bool) -> None:
        p, m, v, lr = self.p, self.m[i], self.v[i], self.rate(self.steps - 1)
        if penalized:
            l1, l2 = p.get("l1") or 0.0, p.get("l2") or 0.0
            g = g + l1 * torch.sign(at) + (0.0 if p.get("decoupled") else l2) * at
            q *= 1 - lr * l2 if p.get("decoupled") else 1.0
        if p["optimizer"] == "sgd":
            q -= lr * g
        elif p["optimizer"] == "adam":
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            q -= lr * math.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps) * m / torch.sqrt(v + 1e-16)
        else:
            m.mul_(0.9).add_(g)
            q -= lr * m
        if penalized and p.get("max_norm"):
            q *= torch.clamp(p["max_norm"] / q.norm(dim=0), max=1.0)


def _gelu(z: Any) -> Any:
    return torch.nn.functional.gelu(z, approximate="tanh")


def check(options: dict[str, Any], y: Any, weight: Any, *, x: Any = X, class_weight: Any = None) -> None:
    params = {**COMMON, **options}
    made = MLPClassifier if y.dtype == np.int64 else MLPRegressor
    given = params if class_weight is None else {**params, "class_weight": class_weight}
    fits = 2 if params.get("warm_start") else 1
    model = made(**given)
    for _ in range(fits):
        model.fit(x, y, sample_weight=weight)
    if class_weight is not None:
        weight = (1.0 if weight is None else weight) * np.array([class_weight.get(k, 1.0) for k in range(K)])[y]
    slow = Slow(params, y, weight)
    for _ in range(fits):
        slow.fit()
    compare(model, slow, x)


def compare(model: Any, slow: Slow, x: Any = X) -> None:
    """Parameters, history and predictions."""
    layers = slow.layers
    mine = [a for pair in zip(model.coefs_, model.intercepts_, strict=True) for a in pair]
    mine += [norm["weight"] for norm in model.batch_norms_ if norm is not None]
    for a, b, name in zip(mine, slow.params, [*"Wb" * layers, *"γ" * len(slow.scales)], strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-5, atol=1e-5, err_msg=name)
    assert model.history_.keys() - {"seconds"} == slow.history.keys()
    for name, values in slow.history.items():
        np.testing.assert_allclose(model.history_[name], values, rtol=1e-5, err_msg=name)
    z = slow.predicted()
    predicted, exact = (model.predict_proba, softmax(z, axis=1)) if slow.classes else (model.predict, z)
    np.testing.assert_allclose(predicted(x), exact, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(predicted(x.astype(np.float64)), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "identity"])
@pytest.mark.parametrize("y", [CLASSES, NUMBERS], ids=["classes", "numbers"])
@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["plain", "weighted"])
def test_every_option_follows_the_equations(activation: str, y: Any, weight: Any) -> None:
    for options in OPTIONS:
        check({"activation": activation, **options}, y, weight)


@pytest.mark.parametrize("options", SMOOTHED, ids=repr)
@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["plain", "weighted"])
def test_smoothed_labels_follow_the_equations(options: dict[str, Any], weight: Any) -> None:
    check({"label_smoothing": 0.2, **options}, CLASSES, weight)


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["plain", "weighted"])
def test_class_weights_and_sparse_samples_follow_the_equations(weight: Any) -> None:
    check({}, CLASSES, weight, class_weight={0: 3.0, 1: 0.0})
    for options in ({}, {"dropout": 0.3, "batch_norm": True}, {"l2": 0.1, "batch_size": None}):
        check(options, CLASSES, weight, x=csr_array(X))
        check(options, NUMBERS, weight, x=csr_array(X))
