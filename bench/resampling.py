"""The bootstrap of the mean: fastopt and scipy.stats.bootstrap in turns, the latter with its default and a small batch;
and the memory of .632+ by number of samples. The two intervals are compared before they are timed."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np

from bench.report import Options, Report, between, duration, ratios
from bench.timing import Run, Spread, interleave, ratio
from fastopt.validation import ConstantGuess, bootstrap, bootstrap_score

SAMPLES, RESAMPLES = 10_000, 9_999
BATCHES = {"default batch": None, "batch=100": 100}
METHODS = ("percentile", "BCa")
SIZES = (25_000, 50_000, 100_000)
MOST_ROUNDS = 9  # SciPy takes seconds, and its time varies, because it allocates 800 MB at once
HEAD = ["what", "fastopt", "SciPy", "theirs / ours"]


def report(options: Options) -> Report:
    records = [against(m, b, options.rounds) for m in METHODS for b in BATCHES] + [memory(n) for n in SIZES]
    note = f"mean of {SAMPLES:,} normal samples, {RESAMPLES:,} resamples; .632+: peak bytes per sample beside the data"
    return Report("resampling", "Bootstrap", HEAD, [_shown(r) for r in records], records, ["", note])


def against(method: str, batch: str, rounds: int) -> dict[str, Any]:
    from scipy import stats

    x = np.random.default_rng(0).normal(size=SAMPLES)
    made = {"n_resamples": RESAMPLES, "method": method, "rng": 0}

    def ours() -> Any:
        return bootstrap(x, "mean", **made)

    def theirs() -> Any:
        return stats.bootstrap((x,), np.mean, batch=BATCHES[batch], **made)

    first, second = ours(), theirs()
    if np.abs(np.subtract(first.confidence_interval, second.confidence_interval)).max() > 0.3 * first.standard_error:
        raise AssertionError(f"{method}: {first.confidence_interval} is not SciPy's {second.confidence_interval}")
    samples = interleave([Run("ours", ours), Run("theirs", theirs)], min(rounds, MOST_ROUNDS))
    medians = {who: Spread.of(times).median for who, times in samples.items()}
    return {"what": f"{method}, {batch}", **medians, **ratios(ratio(samples["theirs"], samples["ours"]))}


def memory(n: int) -> dict[str, Any]:
    x, y = np.zeros((n, 1)), np.arange(n) % 3
    tracemalloc.start()
    bootstrap_score(ConstantGuess("class"), x, y, n_resamples=40, rng=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"what": f".632+, {n:,} samples", "bytes_per_sample": peak / n}


def _shown(r: dict[str, Any]) -> list[Any]:
    if "bytes_per_sample" in r:
        return [r["what"], f"{r['bytes_per_sample']:.0f} bytes", "", ""]
    spread = Spread(r["ratio"], r["ratio_q1"], r["ratio_q3"])
    return [r["what"], duration(r["ours"]), duration(r["theirs"]), between(spread)]
