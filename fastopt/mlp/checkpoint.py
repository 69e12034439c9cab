"""The checkpoint of a fit: the state that the rest of the training depends on, in one .npz of fastopt.checkpoint."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastopt import checkpoint
from fastopt.mlp.settings import plain
from fastopt.mlp.training import BatchedTrainer, TrainingTask

NOT_COMPARED = ("epochs", "verbose", "callbacks")  # parameters that may differ when a fit is continued


def check_path(path: Any, random_state: Any) -> None:
    """Check path and random_state before the training, because otherwise saving would fail after its first epoch."""
    if path is None:
        return
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"checkpoint must be a path, got {path!r}")
    if not isinstance(random_state, (int, np.integer)):
        raise ValueError(f"checkpoint needs an int as random_state to continue from, got {random_state!r}")
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"checkpoint {path}: there is no folder {Path(path).parent}")


def describe_fit(class_name: str, params: Mapping[str, Any], task: TrainingTask) -> dict[str, Any]:
    """The description of a fit, settings as text and arrays as hashes. A checkpoint continues only an equal fit."""
    x_val, y_val, w_val = task.validation or (None, None, None)
    start = None if task.start is None else vars(task.start)
    arrays = {"X": _arrays(task.x), "y": task.y, "sample_weight": task.weight, "the weights it starts from": start}
    arrays |= {"X_val": _arrays(x_val), "y_val": y_val, "its weights": w_val}
    settings = {name: value for name, value in params.items() if name not in NOT_COMPARED}
    hashes = {name: hashlib.sha256(_text(value).encode()).hexdigest() for name, value in arrays.items()}
    return {"class": class_name, "settings": {name: _text(v) for name, v in settings.items()}, "data": hashes}


def _arrays(x: Any) -> Any:
    return x if x is None or isinstance(x, np.ndarray) else [x.shape, x.data, x.indices, x.indptr]


def _text(value: Any) -> str:
    return json.dumps(plain(value), default=_qualified_name, sort_keys=True)


def _qualified_name(value: Any) -> str:
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _check_same_fit(path: Any, found: Any, fit: dict[str, Any]) -> None:
    """Raise a ValueError that names what differs."""
    if not isinstance(found, dict) or found.keys() != fit.keys():
        raise ValueError(f"{path} is no checkpoint of a fit")
    if found["class"] != fit["class"]:
        raise ValueError(f"checkpoint {path} is of another fit: of {found['class']}")
    parts = [(found[part], fit[part]) for part in ("settings", "data")]
    other = {name for old, new in parts for name in old.keys() | new if old.get(name) != new.get(name)}
    if other:
        raise ValueError(f"checkpoint {path} is of another fit, with other values of: {', '.join(sorted(other))}")


def write(path: str | Path, trainer: BatchedTrainer, fit: dict[str, Any]) -> None:
    """Save the state after an epoch. fit: from `describe_fit`."""
    task = trainer.tasks[0]
    optimizer = trainer.optimizer.state_dict()
    stopper = None if task.stopper is None else task.stopper.state_dict()
    best = [] if stopper is None else stopper.pop("best_params")
    header = {
        "fit": fit,
        "optimizer": {k: v for k, v in optimizer.items() if k != "state"},
        "stopper": stopper,
        "streams": [rng.bit_generator.state for rng in task.streams],
        "epochs": task.epochs_done,
        "history": task.history,
        "lr": None if callable(task.lr) else task.lr,
        "lr_search": task.lr_search,
        "stopped": bool(task.settings.early_stopping and task.stopper is not None and task.stopper.stopped),
    }
    best_arrays = {f"best{i}": a for i, a in enumerate(best)}
    checkpoint.save(path, {**header, "state": [*optimizer["state"], best_arrays]}, trainer.net.of_model(0))


def resume(path: str | Path, task: TrainingTask, fit: dict[str, Any]) -> BatchedTrainer:
    """A trainer of this task, in the state that the file holds. Raises a ValueError if the file is of another fit."""
    state, arrays = checkpoint.load(path)
    _check_same_fit(path, state.get("fit"), fit)
    if state["epochs"] > task.settings.epochs:
        raise ValueError(f"checkpoint {path} is behind epoch {state['epochs']}, epochs is {task.settings.epochs}")
    *states, best = state["state"]
    task.epochs_done, task.history, task.lr_search = state["epochs"], state["history"], state["lr_search"]
    if not callable(task.lr) and state["lr"] is not None:
        task.lr = state["lr"]
    if task.stopper is not None and state["stopper"] is not None:
        best_params = [best[f"best{i}"] for i in range(len(best))]
        task.stopper.load_state_dict({**state["stopper"], "best_params": best_params})
    trainer = BatchedTrainer([task])
    trainer.optimizer.load_state_dict({**state["optimizer"], "state": states})
    for mine, saved in zip(trainer.net.of_model(0), arrays or (), strict=True):
        mine[...] = saved
    for rng, saved in zip(task.streams, state["streams"], strict=True):
        rng.bit_generator.state = saved
    if task.epochs_done >= task.settings.epochs or state["stopped"]:
        trainer.finish(0)
    return trainer
