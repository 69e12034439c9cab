"""Real models on real data (scikit-learn's digits): trained by torch.optim and by fastopt.torch, they stay together.

The models are smooth. One with ReLU or max-pooling has kinks, where parameters a rounding apart have other gradients:
losses part by 5e-3 there, and on which machine depends on how that multiplies matrices.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is the peer of fastopt.torch")
pytest.importorskip("sklearn", reason="the digits are scikit-learn's")

import torch
from torch import nn

import fastopt.torch as ours

STEPS, BATCH = 100, 64

#: ours, its arguments; torch's, and its arguments. A Nesterov step of torch's stands at the textbook's lookahead point.
SEVEN: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "SGD": ("SGD", "SGD", {"lr": 0.1}, {}),
    "Momentum": ("SGD", "SGD", {"lr": 0.01, "momentum": 0.9}, {}),
    "NAG": ("NAG", "SGD", {"lr": 0.01, "momentum": 0.9}, {"nesterov": True}),
    "Adagrad": ("Adagrad", "Adagrad", {"lr": 0.02}, {}),
    "Adadelta": ("Adadelta", "Adadelta", {"lr": 1.0, "rho": 0.9}, {}),
    "RMSprop": ("RMSprop", "RMSprop", {"lr": 1e-3}, {}),
    "Adam": ("Adam", "Adam", {"lr": 3e-3}, {}),
}


class Transformer(nn.Module):
    """A digit as a sequence of its eight rows."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.position = nn.Linear(8, 32), nn.Parameter(0.1 * torch.randn(8, 32))
        self.encoder = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, activation="gelu", batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embed(x) + self.position).mean(1))


class Convolutions(nn.Sequential):
    """Two layers of 3 × 3."""

    def __init__(self) -> None:
        layers: list[nn.Module] = [nn.Unflatten(1, (1, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2)]
        layers += [nn.Conv2d(16, 32, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(512, 10)]
        super().__init__(*layers)


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    return (torch.tensor(x, dtype=torch.float32).reshape(-1, 8, 8) / 16)[order], torch.tensor(y)[order]


def train(make: type[nn.Module], module: Any, name: str, kwargs: dict[str, Any]) -> tuple[list[float], float]:
    """The loss of each step, and the accuracy on the fifth of the data that was held out."""
    torch.manual_seed(1)
    model = make()
    opt = getattr(module, name)(model.parameters(), **kwargs)
    x, y = digits()
    held = len(y) // 5
    generator = torch.Generator().manual_seed(2)
    losses = []
    for _ in range(STEPS):
        rows = held + torch.randint(len(y) - held, (BATCH,), generator=generator)

        def closure(rows: torch.Tensor = rows) -> torch.Tensor:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            return loss

        losses.append(float(opt.step(closure).detach()))
    there = opt.lookahead() if name == "NAG" else nullcontext()  # where torch's parameters are
    with torch.no_grad(), there:
        return losses, float((model(x[:held]).argmax(1) == y[:held]).float().mean())


@pytest.mark.parametrize("model", [Transformer, Convolutions])
@pytest.mark.parametrize("optimizer", SEVEN)
def test_losses_and_accuracy_equal_those_of_torch(model: type[nn.Module], optimizer: str) -> None:
    name, peer, kwargs, more = SEVEN[optimizer]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        mine, accuracy = train(model, ours, name, kwargs)
        theirs, peers_accuracy = train(model, torch.optim, peer, {**kwargs, **more})
    finally:
        torch.set_num_threads(threads)
    assert mine[-1] < 0.8 * mine[0]
    assert max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) < 1e-4
    assert abs(accuracy - peers_accuracy) <= 1 / 359, "the same predictions, but for a tie"
    assert accuracy > 0.3
