"""Splitters of fastopt and scikit-learn on a million samples, timed in turns; purged folds for several sizes.

Where both should give the same folds, they are compared before they are timed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bench.report import Options, Report, between, duration, ratios
from bench.timing import Run, Spread, interleave, ratio
from fastopt import validation

SAMPLES = 1_000_000
GROUPS = 2_000
SIZES = (125_000, 250_000, 500_000, 1_000_000, 2_000_000, 4_000_000)
FEW = 20  # folds that are timed at most: LeaveOneOut has n folds of n positions
SLOW = 5  # rounds of a splitter that takes seconds
#: By name: the options of ours, those of theirs and whether the folds must be the same.
PAIRS: dict[str, tuple[str, dict[str, Any], dict[str, Any], bool]] = {
    "KFold": ("KFold", {"n_splits": 5}, {"n_splits": 5}, True),
    "KFold, shuffled": ("KFold", {"shuffle": True, "rng": 0}, {"shuffle": True, "random_state": 0}, False),
    "StratifiedKFold": ("StratifiedKFold", {"n_splits": 5}, {"n_splits": 5}, True),
    "GroupKFold": ("GroupKFold", {"n_splits": 5}, {"n_splits": 5}, True),
    "StratifiedGroupKFold": ("StratifiedGroupKFold", {"n_splits": 5}, {"n_splits": 5}, True),
    "LeaveOneOut, 20 folds": ("LeaveOneOut", {}, {}, True),
    "ShuffleSplit": ("ShuffleSplit", {"test_size": 0.2, "rng": 0}, {"test_size": 0.2, "random_state": 0}, False),
    "ExpandingWindow": ("TimeSeriesSplit", {"n_splits": 5}, {"n_splits": 5}, True),
    "Repeated KFold": ("RepeatedKFold", {"n_repeats": 3, "rng": 0}, {"n_repeats": 3, "random_state": 0}, False),
}
HEAD = ["splitter", "samples", "fastopt", "scikit-learn", "theirs / ours", "ns / (n log2 n)"]


def report(options: Options) -> Report:
    records = [against(name, options.rounds) for name in PAIRS]
    records += scaling(options.rounds)
    note = f"{SAMPLES:,} samples, {GROUPS:,} groups, 5 classes; each fold is generated and dropped"
    return Report("validation", "Splitting", HEAD, [_shown(r) for r in records], records, ["", note])


def against(name: str, rounds: int) -> dict[str, Any]:
    """Time all folds of one splitter and of the class of the same name in scikit-learn, in turns."""
    from sklearn import model_selection

    theirs_name, mine, theirs, same = PAIRS[name]
    ours = _ours(name, mine)
    peer = getattr(model_selection, theirs_name)(**theirs)
    x, y, groups = _data(name)
    if same:
        _check(name, ours.split(x, y, groups), peer.split(x, y, groups))
    slow = name == "StratifiedGroupKFold"
    runs = [Run("ours", _all(ours, x, y, groups)), Run("theirs", _all(peer, x, y, groups))]
    samples = interleave(runs, min(rounds, SLOW) if slow else rounds)
    medians = {who: Spread.of(times).median for who, times in samples.items()}
    return {"splitter": name, "samples": SAMPLES, **medians, **ratios(ratio(samples["theirs"], samples["ours"]))}


def _ours(name: str, options: dict[str, Any]) -> Any:
    if name == "Repeated KFold":
        return validation.Repeated(validation.KFold(5), **options)
    return getattr(validation, name.partition(",")[0])(**options)


def _data(name: str) -> tuple[Any, Any, Any]:
    """Samples, classes, and for group splitters unordered groups of unequal sizes."""
    rng = np.random.default_rng(0)
    x = np.zeros((SAMPLES, 1))
    y = rng.choice(5, SAMPLES, p=[0.4, 0.3, 0.2, 0.09, 0.01])
    return x, y, (rng.zipf(1.3, SAMPLES) % GROUPS if "Group" in name else None)


def _check(name: str, ours: Iterator[Any], theirs: Iterator[Any]) -> None:
    for (a, b), (c, d) in itertools.islice(zip(ours, theirs, strict=True), FEW):
        if not (np.array_equal(a, c) and np.array_equal(b, d)):
            raise AssertionError(f"{name}: the folds are not those of scikit-learn")


def _all(splitter: Any, x: Any, y: Any, groups: Any) -> Callable[[], object]:
    def run() -> None:
        for _ in itertools.islice(splitter.split(x, y, groups), FEW):
            pass

    return run


def scaling(rounds: int) -> list[dict[str, Any]]:
    """Purged folds for increasing n, in turns: the time per n log2 n should not grow."""
    runs = []
    for n in SIZES:
        times = np.sort(np.random.default_rng(n).integers(0, 10 * n, n))
        ends = times + np.random.default_rng(n + 1).integers(0, 1000, n)
        runs.append(
            Run(str(n), _all(validation.PurgedKFold(5, times=times, end_times=ends, embargo=0.01), times, None, None))
        )
    samples = interleave(runs, rounds)
    records = []
    for n in SIZES:
        median = Spread.of(samples[str(n)]).median
        records.append(
            {"splitter": "PurgedKFold", "samples": n, "ours": median, "per_n_log_n": median / (n * math.log2(n))}
        )
    return records


def _shown(r: dict[str, Any]) -> list[Any]:
    head = [r["splitter"], f"{r['samples']:,}", duration(r["ours"])]
    if "theirs" in r:
        return [*head, duration(r["theirs"]), between(Spread(r["ratio"], r["ratio_q1"], r["ratio_q3"])), ""]
    return [*head, "", "", f"{r['per_n_log_n'] * 1e9:.3f}"]
