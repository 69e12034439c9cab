"""Times 200 boosted stumps on 20,000 samples of 20 features, in turns with scikit-learn's.

First the held-out accuracies of both must agree.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.report import Options, Report, between, duration, ratios
from bench.timing import Run, Spread, interleave, ratio

SAMPLES, FEATURES, STUMPS = 20_000, 20, 200
MOST_ROUNDS = 3  # one of scikit-learn's takes seconds
#: method -> by which factor ours must be faster than the class of the same name in scikit-learn
TARGETS = {"AdaBoost": 2.0, "gradient boosting": 1.0}
AGREE = 0.01  # largest difference of held-out accuracies
HEAD = ["what", "who", "fit", "its time / ours", "target", "", "held-out accuracy"]


def report(options: Options) -> Report:
    rounds = min(options.rounds, MOST_ROUNDS)
    records = [record for what, fits in contenders().items() for record in compare(what, fits, rounds)]
    note = f"{STUMPS} stumps, {SAMPLES:,} training samples of {FEATURES} features, two classes"
    return Report("ensembles", "Boosting", HEAD, [_shown(r) for r in records], records, ["", note])


def contenders() -> dict[str, dict[str, Callable[[], Any]]]:
    """Per method: ours, scikit-learn's class of the same name, and other implementations."""
    from sklearn import ensemble as peers
    from sklearn.tree import DecisionTreeClassifier

    from fastopt import ensemble

    stump = DecisionTreeClassifier(max_depth=1)
    binned = {"max_iter": STUMPS, "max_leaf_nodes": 2, "early_stopping": False}
    return {
        "AdaBoost": {
            "fastopt": lambda: ensemble.AdaBoostClassifier(n_estimators=STUMPS),
            "scikit-learn": lambda: peers.AdaBoostClassifier(stump, n_estimators=STUMPS),
        },
        "gradient boosting": {
            "fastopt": lambda: ensemble.GradientBoostingClassifier(n_estimators=STUMPS),
            "scikit-learn": lambda: peers.GradientBoostingClassifier(n_estimators=STUMPS, max_depth=1),
            "scikit-learn, in 255 bins": lambda: peers.HistGradientBoostingClassifier(**binned),
        },
    }


def compare(what: str, makers: dict[str, Callable[[], Any]], rounds: int) -> list[dict[str, Any]]:
    from sklearn.datasets import make_classification

    x, y = make_classification(2 * SAMPLES, FEATURES, n_informative=10, flip_y=0.05, random_state=0)
    x, y, held_out, labels = x[:SAMPLES], y[:SAMPLES], x[SAMPLES:], y[SAMPLES:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        accuracy = {name: float(np.mean(make().fit(x, y).predict(held_out) == labels)) for name, make in makers.items()}
        if max(accuracy.values()) - min(accuracy.values()) > AGREE:
            raise AssertionError(f"{what}: the accuracies differ: {accuracy}")
        times = interleave([Run(name, lambda make=make: make().fit(x, y)) for name, make in makers.items()], rounds)
    records = []
    for name in makers:
        against_ours = ratio(times[name], times["fastopt"])
        made = {"what": what, "who": name, "time": Spread.of(times[name]).median, "accuracy": accuracy[name]}
        if name == "scikit-learn":
            made |= {"target": TARGETS[what], "met": against_ours.median >= TARGETS[what]}
        records.append({**made, **ratios(against_ours)})
    return records


def _shown(r: dict[str, Any]) -> list[Any]:
    spread = between(Spread(r["ratio"], r["ratio_q1"], r["ratio_q3"]))
    target = f">= {r['target']:g}" if "target" in r else ""
    verdict = "" if "met" not in r else "met" if r["met"] else "MISSED"
    return [r["what"], r["who"], duration(r["time"]), spread, target, verdict, f"{r['accuracy']:.4f}"]
