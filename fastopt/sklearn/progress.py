"""The bar of verbose=True, on stderr, by rich. Loads rich only where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastopt._optional import require
from fastopt.mlp import settings

Tick = Callable[[int, dict[str, float]], None]


@contextmanager
def bar(estimator: Any, job: Any) -> Iterator[Tick]:
    """A function that is told the epochs done and the last values, and shows them if the estimator is verbose."""
    if not settings.verbose(estimator.verbose):
        yield lambda epoch, logs: None
        return
    rich = require("rich.progress", "verbose=True", "sklearn", "rich")
    console = require("rich.console", "verbose=True", "sklearn", "rich").Console(stderr=True)
    columns = [*rich.Progress.get_default_columns(), rich.TextColumn("{task.fields[values]}")]
    with rich.Progress(*columns, console=console) as shown:
        name, total = type(estimator).__name__, job.settings.epochs
        task = shown.add_task(name, total=total, completed=job.epochs_done, values="")

        def tick(epoch: int, logs: dict[str, float]) -> None:
            values = " ".join(f"{k}={v:.4g}" for k, v in logs.items() if k != "seconds")
            shown.update(task, completed=epoch, values=values)

        yield tick
