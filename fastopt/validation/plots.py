"""Lines with bands on matplotlib axes. matplotlib is imported when something is drawn; no display is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastopt._plotting import COLOURS, new_figure, style
from fastopt._types import Array
from fastopt.validation.parallel import EXTRA

TRAIN, TEST = COLOURS[4], COLOURS[5]
MOST_TICKS = 8  # up to so many values are written below a logarithmic axis


@contextmanager
def axes_or_new(ax: Any, needed_by: str, panels: int = 1) -> Iterator[Any]:
    """The given axes, or those of a new figure: one, or an array if there are several panels."""
    if ax is not None:
        yield ax
        return
    with style(needed_by, EXTRA):
        figure = new_figure(needed_by, EXTRA, figsize=(6.2 * panels if panels == 1 else 4.6 * panels, 4.2), dpi=150)
        figure.set_layout_engine("tight")
        yield figure.subplots(1, panels)


def band(ax: Any, x: Array, values: Array, label: str, colour: str, dash: Any = "-") -> None:
    """Draw the mean of each row of `values` over x, with a band of one standard deviation around it."""
    mean = values.mean(axis=1)
    ax.plot(x, mean, color=colour, linestyle=dash, marker="o", markersize=4, linewidth=1.7, label=label)
    if values.shape[1] > 1:
        spread = values.std(axis=1, ddof=1)
        ax.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)


def numeric_axis(ax: Any, x: Any) -> Array:
    """Positions of the values on the x axis: numbers at their value, anything else at equal distances.

    The axis becomes logarithmic if the largest value is at least 50 times the smallest positive one.
    """
    if not all(isinstance(v, (int, float, np.integer, np.floating)) and not isinstance(v, bool) for v in x):
        ax.set_xticks(range(len(x)), [str(v) for v in x])
        return np.arange(len(x))
    places = np.asarray(x, float)
    above = places[places > 0]
    if places.min() >= 0 and above.size and places.max() >= 50 * above.min():
        if above.size == places.size:
            ax.set_xscale("log")
        else:
            ax.set_xscale("symlog", linthresh=above.min())  # linear between 0 and it
        if len(places) <= MOST_TICKS:
            ax.set_xticks(places, [f"{v:g}" for v in places])
            ax.set_xticks([], minor=True)
    return places
