"""What plain k-fold gets wrong on a time series: the CO2 record of Mauna Loa, weekly, 1958 to 2001.

Two models of the concentration are validated on the years before 1997 and tested on the five years after. In k-fold
cross-validation a forest is trained on the weeks before and after each test week, so it looks like the better model. A
forecast has no later weeks to train on.

    pip install 'fastopt[validation]' statsmodels
    python docs/examples/time_series.py docs/time_series.png
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from statsmodels.datasets import co2

from fastopt._plotting import COLOURS, new_figure, style
from fastopt.validation import BlockedKFold, ExpandingWindow, KFold, cross_validate

YEAR = np.timedelta64(365, "D")
FUTURE = np.datetime64("1997-01-01")
SCORE = "neg_root_mean_squared_error"
MODELS: dict[str, Any] = {
    "random forest": RandomForestRegressor(100, random_state=0),
    "linear regression": LinearRegression(),
}
SPLITTERS: dict[str, Any] = {
    "5-fold, shuffled": KFold(5, shuffle=True, rng=0),
    "5 blocks, gap of a year": BlockedKFold(5, gap=YEAR),
    "expanding window, 5 years ahead": ExpandingWindow(train_size=10 * YEAR, test_size=5 * YEAR),
}
TRUTH = "true error: 1997 to 2001"
SHADES = {"random forest": COLOURS[5], "linear regression": COLOURS[4]}


def load() -> tuple[Any, Any, Any]:
    """Times, features (the year, its square and its season) and parts per million."""
    series = co2.load().data["co2"].dropna()
    times = series.index.to_numpy()
    years = times.astype("datetime64[s]").astype(float) / (365.2425 * 86400)  # since 1970
    season = 2 * np.pi * np.outer(years, [1, 2])
    return times, np.column_stack([years, years**2, np.sin(season), np.cos(season)]), series.to_numpy()


def errors() -> dict[str, dict[str, float]]:
    """Root mean squared error in ppm by model: the estimate of each splitter, and the true one."""
    times, x, y = load()
    known = times < FUTURE
    frame = pd.DataFrame(x[known], index=times[known])  # splitters find the times in the index
    found: dict[str, dict[str, float]] = {}
    for name, model in MODELS.items():
        found[name] = {
            how: -cross_validate(model, frame, y[known], cv=cv, scoring=SCORE).mean() for how, cv in SPLITTERS.items()
        }
        after = model.fit(x[known], y[known]).predict(x[~known])
        found[name][TRUTH] = float(np.sqrt(np.mean((after - y[~known]) ** 2)))
    return found


def picture(path: str, found: dict[str, dict[str, float]]) -> None:
    times, x, y = load()
    known = times < FUTURE
    with style("this example", "validation"):
        figure = new_figure("this example", "validation", figsize=(12, 4.6), dpi=150)
        left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
        shown = times > np.datetime64("1978")
        left.plot(times[shown], y[shown], color="#999999", linewidth=1.2, label="measured")
        for name, model in MODELS.items():
            predicted = model.fit(x[known], y[known]).predict(x[~known])
            left.plot(times[~known], predicted, color=SHADES[name], linewidth=1.5, label=name)
        left.axvline(FUTURE, color="#555555", linewidth=0.8, linestyle=(0, (3, 3)))
        left.set_title("Fitted up to 1996, forecast for 1997 to 2001", loc="left")
        left.set_ylabel("CO₂, parts per million")
        left.legend(frameon=False, loc="upper left")
        bars(right, found)
        figure.subplots_adjust(left=0.06, right=0.975, top=0.91, bottom=0.08, wspace=0.62)
        figure.savefig(path)


def bars(ax: Any, found: dict[str, dict[str, float]]) -> None:
    """One group of bars per estimate; the true error is last."""
    names = list(next(iter(found.values())))
    for i, (model, values) in enumerate(found.items()):
        places = np.arange(len(names)) + (i - 0.5) * 0.36
        ax.barh(places, list(values.values()), height=0.34, color=SHADES[model])
        for place, value in zip(places, values.values(), strict=True):
            ax.text(value + 0.1, place, f"{value:.2f}", va="center", fontsize=9)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set_xlim(0, 1.12 * max(max(values.values()) for values in found.values()))
    ax.set_title("Error in ppm: three estimates and the truth", loc="left")


def main() -> None:
    found = errors()
    width = max(map(len, next(iter(found.values()))))
    print(" " * width, *(f"{name:>18}" for name in found))
    for how in next(iter(found.values())):
        print(f"{how:{width}}", *(f"{values[how]:18.2f}" for values in found.values()))
    if len(sys.argv) > 1:
        picture(sys.argv[1], found)


if __name__ == "__main__":
    main()
