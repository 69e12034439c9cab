"""Draws the pictures of a report: time against size, ratio to the fastest library, share of the limit, scaling.

Every picture states what it shows, and the run and machine. It measures nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure

from bench.cells import COMMON, SIZES, STEP, TEXTBOOK, WORKS, Cell
from bench.contenders import CONTENDERS
from bench.scaling import WORKS as SCALED
from bench.targets import Parts, best_peer, find, of_limit
from fastopt._plotting import COLOURS, STYLE

ELEMENTS = {work: Cell("sgd", work).elements for work in WORKS}
#: fastopt in black and bold; every other contender keeps its colour and dashes in all panels
LINES = {
    c.name: {"color": COLOURS[i % len(COLOURS)], "linestyle": ("-", "--", ":")[i // len(COLOURS)]}
    for i, c in enumerate(CONTENDERS)
} | {"fastopt": {"color": "#000000", "linewidth": 2.6, "zorder": 3}}


def draw_all(parts: Parts, machine: Mapping[str, Any], folder: Path) -> list[Path]:
    """A PNG of each picture whose records are there."""
    pictures: dict[str, tuple[str, Callable[[Figure, Parts, int], None]]] = {
        "speed-against-size": ("peers", speed_against_size),
        "best-peer": ("peers", best_peers),
        "share-of-limit": ("core", share_of_limit),
        "scaling": ("scaling", scaling),
    }
    drawn = []
    with mpl.rc_context(STYLE):
        for name, (part, draw) in pictures.items():
            rows = TEXTBOOK if part != "peers" else COMMON
            if not any(r["rule"] in rows and r.get("phase", STEP) == STEP for r in parts.get(part, ())):
                continue  # no record for this picture
            figure = Figure(figsize=(12, 6.4), dpi=130, layout="constrained")
            draw(figure, parts, max(r["threads"] for r in parts[part]))
            figure.text(0.005, -0.03, caption(machine), fontsize=8, color="#555555", va="top")
            drawn.append(folder / f"{name}.png")
            figure.savefig(drawn[-1], bbox_inches="tight", pad_inches=0.15)
    return drawn


def caption(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{p} {machine[p]}" for p in ("torch", "deepspeed", "jax", "optax", "numba") if machine.get(p))
    where = (
        f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['isa']}; {machine['compiler']}, Python {machine['python']}"
    )
    return f"{where}; {versions}\nfastopt {machine['fastopt']}, commit {machine['commit']}, {machine['date'][:10]}"


def speed_against_size(figure: Figure, parts: Parts, threads: int) -> None:
    figure.suptitle(f"Time of one step per element, one tensor, {threads} threads (lower is better)")
    rows = [rule for rule in COMMON if find(parts["peers"], rule=rule, threads=threads)]
    panels = figure.subplots(2, ceil((len(rows) + 1) / 2), sharex=True, sharey=True, squeeze=False).ravel()
    for panel, rule in zip(panels, rows, strict=False):
        panel.set_title(rule)
        for c in CONTENDERS:
            if points := per_element(parts, rule, c.name, threads):
                panel.loglog(*zip(*points, strict=True), label=c.name, **LINES[c.name])
    for panel in panels[len(rows) :]:
        panel.axis("off")
    handles = {line.get_label(): line for panel in panels for line in panel.get_lines()}
    panels[-1].legend(handles.values(), handles.keys(), loc="center", frameon=False, fontsize=9)
    figure.supxlabel("elements")
    figure.supylabel("nanoseconds per element")


def per_element(parts: Parts, rule: str, contender: str, threads: int) -> list[tuple[int, float]]:
    """(elements, nanoseconds per element) over the sizes of one tensor."""
    found = find(parts["peers"], rule=rule, contender=contender, phase=STEP, threads=threads)
    points = [(ELEMENTS[r["work"]], 1e9 * r["median"] / ELEMENTS[r["work"]]) for r in found if r["work"] in SIZES]
    return sorted(points)


def best_peers(figure: Figure, parts: Parts, threads: int) -> None:
    """A coloured table of the fastest other library's time over fastopt's."""
    works = [w for w in WORKS if find(parts["peers"], work=w, threads=threads)]
    rows = [rule for rule in COMMON if find(parts["peers"], rule=rule, threads=threads)]
    figure.suptitle(
        f"Time of the fastest other library over fastopt's, one step, {threads} threads (above 1: fastopt is faster)"
    )
    panel = figure.subplots()
    best = {(rule, work): best_peer(parts, rule, work, threads) for rule in rows for work in works}
    ratios = np.array([[(best[rule, work] or ("", np.nan))[1] for work in works] for rule in rows])
    colours = LinearSegmentedColormap.from_list("", ["#D55E00", "#FFFFFF", "#0072B2"])
    panel.imshow(ratios, cmap=colours, norm=LogNorm(1 / 120, 120), aspect="auto")
    for (i, rule), (j, work) in ((a, b) for a in enumerate(rows) for b in enumerate(works)):
        if (peer := best[rule, work]) is not None:
            text = f"{peer[1]:.3g}×\n{peer[0]}"
            dark = peer[1] > 25
            panel.text(j, i, text, ha="center", va="center", fontsize=7.5, color="#FFFFFF" if dark else "#111111")
    panel.set_xticks(range(len(works)), works)
    panel.set_yticks(range(len(rows)), rows)
    panel.grid(visible=False)


def share_of_limit(figure: Figure, parts: Parts, _: int) -> None:
    figure.suptitle("Share of the memory's limit, 20 M elements (1: as fast as a loop that only moves the same bytes)")
    panel = figure.subplots()
    threads = sorted({r["threads"] for r in parts["core"] if "limit" in r})
    width = 0.8 / len(threads)
    for k, n in enumerate(threads):
        shares = [of_limit(rule, n)(parts) or 0.0 for rule in TEXTBOOK]
        at = np.arange(len(TEXTBOOK)) + (k - (len(threads) - 1) / 2) * width
        bars = panel.bar(
            at, shares, 0.94 * width, label=f"{n} thread{'s' * (n > 1)}", color=COLOURS[[4, 2, 3, 1][k % 4]]
        )
        panel.bar_label(bars, fmt="%.2f", fontsize=8.5, padding=2)
    panel.axhline(1.0, color="#333333", linewidth=1)
    panel.set_xticks(range(len(TEXTBOOK)), TEXTBOOK)
    panel.set_ylim(0, 1.25)
    panel.legend(loc="upper right", ncols=len(threads), frameon=False)
    panel.grid(axis="x", visible=False)


def scaling(figure: Figure, parts: Parts, threads: int) -> None:
    figure.suptitle(f"Speed of {threads} threads over one thread, by size")
    panel = figure.subplots()
    rows: Sequence[str] = [rule for rule in TEXTBOOK if find(parts["scaling"], rule=rule)]
    for rule, colour in zip(rows, COLOURS, strict=False):
        found = {r["work"]: r["ratio"] for r in find(parts["scaling"], rule=rule, threads=threads)}
        panel.plot(list(SCALED), [found[w] for w in SCALED], marker="o", label=rule, color=colour)
    panel.axhline(1.0, color="#999999", linewidth=1)
    panel.axhline(threads, color="#999999", linewidth=1, linestyle=":")
    panel.set_ylim(0, threads + 0.4)
    panel.set_xlabel("elements")
    panel.set_ylabel("time of one thread / time")
    panel.legend(ncols=2, frameon=False, loc="lower right")
