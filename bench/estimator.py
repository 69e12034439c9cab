"""Times of whole fits: fastopt.sklearn, scikit-learn's MLPClassifier and a plain torch loop, in turns.

Their held-out accuracies over ten seeds are checked first. Also: ten folds of cross-validation against one fit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.report import Options, Report, between, duration, ratios
from bench.timing import Run, Spread, interleave, ratio

SEEDS = 10
HEAD = ["work", "who", "time", "its time / ours", "held-out accuracy over 10 seeds"]


def report(options: Options) -> Report:
    rounds = min(options.rounds, 5)
    records = against("digits 64-128-10, batch 64", *digits(), 64, 10, rounds, SEEDS)
    records += against("60,000 x 784, 784-128-10, batch 200", *images(), 200, 1, min(rounds, 3), SEEDS)
    records += folds(rounds)
    return Report("estimator", "Fits of a network", HEAD, [_shown(r) for r in records], records, ["", "Adam, float32"])


def digits() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y


def images() -> tuple[Any, Any]:
    """Synthetic data of MNIST's shape: ten patterns with so much noise that no classifier separates them all."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 60_000)
    patterns = rng.normal(size=(10, 784)).astype(np.float32)
    return patterns[y] * 0.03 + rng.normal(size=(60_000, 784), scale=0.3).astype(np.float32), y


def contenders(batch: int, epochs: int) -> dict[str, Callable[[Any, Any, int], Callable[[Any], Any]]]:
    """By name: a function fit(x, y, seed) that returns predict."""
    from sklearn.neural_network import MLPClassifier as Theirs

    from fastopt.sklearn import MLPClassifier

    def ours(x: Any, y: Any, seed: int) -> Any:
        return MLPClassifier((128,), batch_size=batch, epochs=epochs, random_state=seed).fit(x, y).predict

    def theirs(x: Any, y: Any, seed: int) -> Any:
        model = Theirs((128,), batch_size=batch, max_iter=epochs, alpha=0.0, n_iter_no_change=10**6, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warns that it has not converged
            return model.fit(x, y).predict

    def by_torch(x: Any, y: Any, seed: int) -> Any:
        return torch_loop(x, y, seed, batch, epochs)

    return {"fastopt": ours, "scikit-learn": theirs, "torch": by_torch}


def torch_loop(x: Any, y: Any, seed: int, batch: int, epochs: int) -> Any:
    """The same network in plain torch. Returns a function that predicts."""
    import torch

    import fastopt

    torch.set_num_threads(fastopt.get_num_threads())
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    optimizer, criterion = torch.optim.Adam(net.parameters()), torch.nn.CrossEntropyLoss()
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(epochs):
        for rows in torch.randperm(len(a)).split(batch):
            optimizer.zero_grad()
            criterion(net(a[rows]), b[rows]).backward()
            optimizer.step()
    return lambda z: net(torch.from_numpy(z)).argmax(1).numpy()


def against(work: str, x: Any, y: Any, batch: int, epochs: int, rounds: int, seeds: int) -> list[dict[str, Any]]:
    from sklearn.model_selection import train_test_split

    fits = contenders(batch, epochs)
    accuracy: dict[str, list[float]] = {name: [] for name in fits}
    learned = contenders(batch, 3 * epochs)
    for seed in range(seeds):
        a, b, c, d = train_test_split(x, y, random_state=seed, stratify=y)
        for name, fit in learned.items():
            accuracy[name].append(float((fit(a, c, seed)(b) == d).mean()))
    runs = [Run(name, lambda fit=fit: fit(x, y, 0)) for name, fit in fits.items()]
    times = interleave(runs, rounds)
    return [
        {"work": work, "who": name, "time": Spread.of(times[name]).median, "accuracy": accuracy[name],
         **ratios(ratio(times[name], times["fastopt"]))}
        for name in fits
    ]  # fmt: skip


def folds(rounds: int) -> list[dict[str, Any]]:
    """Ten folds in one call, against one fit to all samples; 30 epochs each."""
    from fastopt.sklearn import MLPClassifier
    from fastopt.validation import cross_validate

    x, y = digits()
    model = MLPClassifier((128,), epochs=30, random_state=0)
    runs = [Run("one fit", lambda: model.fit(x, y)), Run("10 folds", lambda: cross_validate(model, x, y, cv=10))]
    times = interleave(runs, rounds)
    return [
        {"work": "digits, 30 epochs", "who": name, "time": Spread.of(times[name]).median, "accuracy": [],
         **ratios(ratio(times[name], times["one fit"]))}
        for name in times
    ]  # fmt: skip


def _shown(r: dict[str, Any]) -> list[Any]:
    seen = f"{np.mean(r['accuracy']):.4f} ± {np.std(r['accuracy']):.4f}" if r["accuracy"] else ""
    return [r["work"], r["who"], duration(r["time"]), between(Spread(r["ratio"], r["ratio_q1"], r["ratio_q3"])), seen]
