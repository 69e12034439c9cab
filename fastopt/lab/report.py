"""Progress bars, the table and the JSON document of a comparison. A file is written completely or not at all.

Every number comes from compare.py.
"""

import contextlib
import json
import math
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import fastopt
from fastopt.lab.compare import GOAL_SHARE, SEARCH_POINTS, Comparison, Epoch, Run, Settings, Watch
from fastopt.lab.errors import LabError, require

Cell = tuple[str, float]  # text, and a rank: the smallest rank of a column is its best


def score_name(comparison: Comparison) -> str:
    return "accuracy" if comparison.problem.classes else "R²"


def number(value: float) -> str:
    """Four decimals; in powers of ten if the value is small or large."""
    return f"{value:.4f}" if 0.001 <= abs(value) < 1000 else f"{value:.2e}"


def describe(comparison: Comparison) -> str:
    """One sentence: the data, the network and the training."""
    settings, problem, sizes = comparison.settings, comparison.problem, comparison.sizes
    kind = f"{len(problem.classes)} classes" if problem.classes else "regression"
    rows = comparison.train_rows + comparison.held_out_rows
    layers = "-".join(map(str, sizes))
    epochs = f"{settings.epochs} epoch{'s' if settings.epochs > 1 else ''}"
    if comparison.interrupted:
        epochs = f"interrupted in epoch {min(run.epochs for run in comparison.runs) + 1} of {settings.epochs}"
    return (
        f"{problem.source}: {rows:,} rows, {problem.features} features, {kind}; network {layers}, "
        f"{epochs} in batches of {settings.batch_size}, seed {settings.seed}"
    )


@contextlib.contextmanager
def progress(settings: Settings, quiet: bool) -> Iterator[Watch]:
    """One bar per optimizer, and one for the search of learning rates, on stderr if it is a terminal."""
    rich = require("rich.progress")
    console = require("rich.console").Console(stderr=True)
    bars = rich.Progress(
        rich.TextColumn("{task.description:<9}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[note]}"),
        console=console,
        refresh_per_second=4,  # each refresh interrupts the training for a moment
        disable=quiet or not console.is_terminal,
    )
    steps = len(settings.optimizers) * SEARCH_POINTS * settings.epochs
    tasks = {"search": bars.add_task("lr search", total=steps, note="")} if settings.lr == "search" else {}
    for name in settings.optimizers:
        tasks[name] = bars.add_task(name, total=settings.epochs, note="")

    def watch(stage: str, run: Run) -> None:
        last = run.history[-1]
        note = "diverged" if run.diverged else f"{last.held_out_score:.3f} in {last.seconds:.1f} s"
        if stage == "search":
            bars.update(tasks["search"], advance=1, note=f"{run.optimizer} {run.lr:g}: {note}")
        else:
            bars.update(tasks[run.optimizer], advance=1, note=note)

    with (
        contextlib.nullcontext() if bars.disable else bars
    ):  # rich before 14.3 prints an empty line after a disabled bar
        yield watch


def cells(run: Run, goal: float | None) -> list[Cell]:
    """One row of the table after the optimizer's name and learning rate."""
    last = run.history[-1]
    state: list[Cell] = [("diverged", math.inf)] + [("–", math.inf)] * 3
    if not run.diverged:
        losses, scores = (last.train_loss, last.held_out_loss), (last.train_score, last.held_out_score)
        state = [(number(loss), loss) for loss in losses] + [(f"{score:.4f}", -score) for score in scores]
    epoch, step = run.reached(goal), run.step_microseconds
    speed: list[Cell] = [("never", math.inf)] * 2
    if epoch is not None:
        seconds = run.history[epoch].seconds
        speed = [(str(epoch), epoch), (f"{seconds:.3g}", seconds)]
    return [*state, *speed, (f"{step:.1f}", step)]


def table(comparison: Comparison) -> Any:
    """A rich table, one row per optimizer; the best of each column is bold."""
    rich, box, score = require("rich.table"), require("rich.box"), score_name(comparison)
    title = require("rich.text").Text(describe(comparison), style="italic")  # a file's name must not be read as markup
    result = rich.Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    share = f"{100 * GOAL_SHARE:.0f} %"
    if comparison.goal is not None:
        best_score = f"the best being {comparison.best_score:.4f}"
        result.caption = f"{share}: a held-out {score} of {comparison.goal:.4f}, {best_score}"
    result.add_column("optimizer")
    result.add_column("lr\nfound" if comparison.searched else "lr", justify="right")
    heads = ["train\nloss", "held-out\nloss", f"train\n{score}", f"held-out\n{score}"]
    for head in [*heads, f"epochs\nto {share}", f"seconds\nto {share}", "µs per\nstep"]:
        result.add_column(head, justify="right")
    rows = [cells(run, comparison.goal) for run in comparison.runs]
    best = [min(rank for _, rank in column) for column in zip(*rows, strict=True)]
    for run, row in zip(comparison.runs, rows, strict=True):
        marked = [
            f"[bold]{text}[/]" if rank == top < math.inf else text for (text, rank), top in zip(row, best, strict=True)
        ]
        result.add_row(run.optimizer, f"{run.lr:g}", *marked)
    return result


def show(comparison: Comparison, paths: list[Path]) -> None:
    """Print the table and the files' names. A terminal narrower than the table breaks its lines."""
    console = require("rich.console").Console()
    console.width = max(console.width, 80)
    console.print(table(comparison))
    console.print("wrote " + " and ".join(map(str, paths)), markup=False, highlight=False, soft_wrap=True)


def finite(value: float) -> float | None:
    """The value, or None for NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def as_json(comparison: Comparison) -> str:
    """All numbers of the comparison. Entry e of a list is the state after e epochs."""
    problem = comparison.problem
    document = {
        "fastopt": fastopt.__version__,
        "environment": environment(),
        "settings": asdict(comparison.settings),
        "interrupted": comparison.interrupted,
        "data": {
            "source": problem.source,
            "target": problem.target,
            "task": problem.task,
            "rows": len(problem.y),
            "train_rows": comparison.train_rows,
            "held_out_rows": comparison.held_out_rows,
            "features": problem.features,
            "classes": dict(zip(problem.classes, np.bincount(problem.y).tolist(), strict=True))
            if problem.classes
            else None,
        },
        "network": {"layers": comparison.sizes, "activation": "relu"},
        "score": "accuracy" if problem.classes else "r2",
        "best_held_out_score": finite(comparison.best_score),
        "goal": comparison.goal,
        "lr_search": {name: _pairs(found) for name, found in comparison.searched.items()},
        "runs": [_run_as_json(run, comparison.goal) for run in comparison.runs],
    }
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _pairs(found: dict[float, float]) -> list[dict[str, float | None]]:
    return [{"lr": lr, "validation_loss": finite(loss)} for lr, loss in found.items()]


def _run_as_json(run: Run, goal: float | None) -> dict[str, object]:
    epoch = run.reached(goal)
    return {
        "optimizer": run.optimizer,
        "lr": run.lr,
        "diverged": run.diverged,
        "epochs": run.epochs,
        "epochs_to_goal": epoch,
        "seconds_to_goal": None if epoch is None else run.history[epoch].seconds,
        "steps": len(run.step_ns),
        "microseconds_per_step": finite(run.step_microseconds),
        **{name: run.series(name) for name in Epoch._fields},
    }


def environment() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
        "isa": fastopt.isa(),
        "threads": fastopt.get_num_threads(),
    }


def output_paths(out: str) -> tuple[Path, Path]:
    """The paths of picture and JSON: DIR/compare.* for a directory, else PREFIX.*. Checked before the training."""
    base = Path(out)
    if base.is_dir() or out.endswith(("/", os.sep)):
        base /= "compare"
    elif base.suffix in (".png", ".json"):
        base = base.with_suffix("")
    paths = base.with_name(base.name + ".png"), base.with_name(base.name + ".json")
    for path in paths:
        if path.is_dir():
            raise LabError(f"cannot write {path}: it is a directory")
    with _as_lab_error(paths[0]):
        base.parent.mkdir(parents=True, exist_ok=True)
        scratch = _scratch(paths[0])
        scratch.write_bytes(b"")
        scratch.unlink()
    return paths


def write(path: Path, content: bytes) -> None:
    """Write the whole file. On an error the old file stays."""
    scratch = _scratch(path)
    with _as_lab_error(path):
        try:
            scratch.write_bytes(content)
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)


def _scratch(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextlib.contextmanager
def _as_lab_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LabError(f"cannot write {path}: {error.strerror or error}") from error
