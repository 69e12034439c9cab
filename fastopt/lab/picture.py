"""The picture of a comparison: both losses and the held-out score by epoch, with labels at the ends of the lines.

Needs no display and no pyplot, and does not use the user's matplotlib settings.
"""

import io
from typing import Any, NamedTuple

import numpy as np

from fastopt._plotting import COLOURS, new_figure, style
from fastopt._types import Array
from fastopt.lab.compare import GOAL_SHARE, Comparison, Run
from fastopt.lab.errors import require
from fastopt.lab.report import describe, score_name

DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
LABEL_GAP = 0.058  # of a panel's height: one line of label text


def draw(comparison: Comparison) -> bytes:
    """A PNG, three panels wide."""
    require("matplotlib")
    with style("fastopt compare", "lab"):
        figure = new_figure("fastopt compare", "lab", figsize=(14, 5.2), dpi=150)
        panels = figure.subplots(1, 3)
        unit = "cross-entropy, nats" if comparison.problem.classes else "half squared error, standardised"
        _loss_panel(panels[0], "Training loss", unit, comparison.runs, "train_loss")
        _loss_panel(panels[1], "Held-out loss", unit, comparison.runs, "held_out_loss")
        _score_panel(panels[2], f"Held-out {score_name(comparison)}", comparison)
        _captions(figure, comparison)
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
    return picture.getvalue()


def _captions(figure: Any, comparison: Comparison) -> None:
    title = figure.suptitle(describe(comparison), x=0.05, y=0.975, ha="left", fontsize=10.5, color="#333333")
    title.set_parse_math(False)  # a file's name may contain a $
    lrs = "   ".join(f"{run.optimizer} {run.lr:g}" for run in comparison.runs)
    how = "learning rates, searched" if comparison.searched else "learning rates"
    note = "   (×: diverged)" if any(run.diverged for run in comparison.runs) else ""
    figure.text(0.05, 0.025, f"{how}:   {lrs}{note}", fontsize=9, color="#333333")
    if comparison.goal is not None:
        goal = f"grey line: {100 * GOAL_SHARE:.0f} % of the best, {comparison.goal:.3f}"
        figure.text(0.895, 0.025, goal, ha="right", fontsize=9, color="#666666")
    figure.subplots_adjust(left=0.05, right=0.895, top=0.86, bottom=0.16, wspace=0.52)


def _loss_panel(axes: Any, title: str, unit: str, runs: list[Run], field: str) -> None:
    lines = [_line(run, field) for run in runs]
    _draw_lines(axes, lines, runs)
    # Losses above ten times the untrained network's are not shown: they would flatten all other lines.
    ceiling = 10 * max((run.series(field)[0] for run in runs), default=1.0)
    heights = np.concatenate([line.y for line in lines])
    shown = heights[(heights > 0) & (heights <= ceiling)]
    if shown.size and shown.max() > 10 * shown.min():
        axes.set_yscale("log")
        if shown.max() < 300 * shown.min():
            axes.yaxis.set_major_locator(require("matplotlib.ticker").LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
    if shown.size and np.any(heights > ceiling):
        axes.set_ylim(shown.min() / 2, ceiling)
    _label_ends(axes, lines, [_label(run) for run in runs], lost=1.0)
    axes.set_title(title, loc="left")
    axes.set_ylabel(unit)


def _score_panel(axes: Any, title: str, comparison: Comparison) -> None:
    runs = comparison.runs
    lines = [_line(run, "held_out_score") for run in runs]
    _draw_lines(axes, lines, runs)
    axes.set_ylim(*_score_limits(np.concatenate([line.y for line in lines])))
    _label_ends(axes, lines, [_label(run, with_score=True) for run in runs], lost=0.0)
    axes.set_title(title, loc="left")
    axes.set_ylabel(score_name(comparison))
    if comparison.goal is not None:
        axes.axhline(comparison.goal, color="#999999", linewidth=0.9)


def _score_limits(scores: Array) -> tuple[float, float]:
    """From the lowest to the best score, but at most half of the best below it: R² has no lower bound."""
    best = float(scores.max(initial=0.0))
    bottom = max(float(scores.min(initial=best)), best - max(0.5 * best, 0.05))
    margin = max(0.04 * (best - bottom), 0.005)
    return bottom - margin, best + margin


def _label(run: Run, with_score: bool = False) -> str:
    if run.diverged:
        return f"{run.optimizer} ×"
    return f"{run.optimizer} {run.history[-1].held_out_score:.3f}" if with_score else run.optimizer


class Line(NamedTuple):
    x: Array
    y: Array
    complete: bool  # reaches the last epoch


def _line(run: Run, field: str) -> Line:
    """From epoch 1 on: epoch 0 is the same for all optimizers and would take space from the others."""
    return Line(np.arange(1, run.epochs + 1), np.array(run.series(field)[1:]), not run.diverged)


def _draw_lines(axes: Any, lines: list[Line], runs: list[Run]) -> None:
    """Epochs on a logarithmic axis: the first ones show which optimizer is quick."""
    for index, line in enumerate(lines):
        axes.plot(*line[:2], color=_colour(index), linestyle=DASHES[index % len(DASHES)], linewidth=1.7)
        if len(line.x) and (len(line.x) == 1 or not line.complete):
            axes.plot(line.x[-1], line.y[-1], color=_colour(index), marker="o" if line.complete else "x")
    last = max([1, *(run.epochs for run in runs)])
    axes.set_xscale("log")
    axes.set_xlim(1 if last > 1 else 0.9, max(last, 1.1))
    ticks = [digit * 10**power for power in range(9) for digit in (1, 2, 5)]
    axes.set_xticks([tick for tick in ticks if tick <= last / 1.3] + [last], minor=False)
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("epochs")


def _label_ends(axes: Any, lines: list[Line], texts: list[str], lost: float) -> None:
    """Each line's text in the right margin, with a thin lead from its end. At height `lost` if the end is not shown."""
    ends = [(line.x[-1], line.y[-1]) if len(line.y) else (1, 1) for line in lines]
    heights = axes.transAxes.inverted().transform(axes.transData.transform(ends))[:, 1]
    visible = (heights >= 0) & (heights <= 1) & np.array([line.complete for line in lines])
    wanted = np.where(visible, heights, lost)
    for index, height in enumerate(spread(wanted, LABEL_GAP)):
        lead = {"arrowstyle": "-", "color": _colour(index), "linewidth": 0.7, "shrinkA": 1, "shrinkB": 0}
        axes.annotate(
            texts[index], ends[index], xycoords="data", xytext=(1.06, height), textcoords="axes fraction",
            va="center", fontsize=9, color=_colour(index), annotation_clip=False,
            arrowprops={**lead, "relpos": (0, 0.5)} if visible[index] else None,
        )  # fmt: skip


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def spread(wanted: Array, gap: float) -> Array:
    """Heights in [0, 1], at least `gap` apart, in the order of `wanted`, with the least sum of squared shifts.

    After the gaps are subtracted, this is isotonic regression: max over j <= i of min over k >= i of mean(w[j..k]).
    """
    order = np.argsort(wanted, kind="stable")
    count = len(wanted)
    offsets = gap * np.arange(count)
    free = wanted[order] - offsets
    means = [[free[j : k + 1].mean() for k in range(j, count)] for j in range(count)]
    fitted = [max(min(means[j][i - j :]) for j in range(i + 1)) for i in range(count)]
    heights = np.empty(count)
    heights[order] = np.clip(fitted, 0, max(0.0, 1 - offsets[-1])) + offsets
    return heights
