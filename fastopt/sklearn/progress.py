"""The progress bar of verbose=True, drawn on stderr by rich. Imports rich only if a bar is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastopt._optional import require
from fastopt.mlp.settings import check_verbose

Update = Callable[[int, dict[str, float]], None]


@contextmanager
def progress_bar(verbose: Any, name: str, epochs: int, done: int) -> Iterator[Update]:
    """Yields a function of the epochs done and the last values, which updates the bar if verbose is true."""
    if not check_verbose(verbose):
        yield lambda epoch, logs: None
        return
    rich = require("rich.progress", "verbose=True", "sklearn", "rich")
    console = require("rich.console", "verbose=True", "sklearn", "rich").Console(stderr=True)
    columns = [*rich.Progress.get_default_columns(), rich.TextColumn("{task.fields[values]}")]
    with rich.Progress(*columns, console=console) as progress:
        bar = progress.add_task(name, total=epochs, completed=done, values="")

        def update(epoch: int, logs: dict[str, float]) -> None:
            values = " ".join(f"{k}={v:.4g}" for k, v in logs.items() if k != "seconds")
            progress.update(bar, completed=epoch, values=values)

        yield update
