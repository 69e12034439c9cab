"""The colours and the style of all plots. The figures need neither a display nor pyplot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastopt._optional import require

# Okabe and Ito's colours for colour-blind readers, their yellow (too pale on white) replaced by grey.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#7F7F7F")
STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
}


@contextmanager
def style(needed_by: str, extra: str) -> Iterator[Any]:
    """A block in which matplotlib uses this project's style and ignores the user's settings. Yields matplotlib."""
    matplotlib = require("matplotlib", needed_by, extra)
    with require("matplotlib.style", needed_by, extra).context("default"), matplotlib.rc_context(STYLE):
        yield matplotlib


def new_figure(needed_by: str, extra: str, **options: Any) -> Any:
    """A new Figure, without pyplot. Draw on it inside a `style` block."""
    return require("matplotlib.figure", needed_by, extra).Figure(**options)
