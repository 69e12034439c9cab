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
from fastopt._checks import LARGEST, integer, number
from fastopt.mlp.settings import plain
from fastopt.mlp.training import BatchedTrainer, TrainingTask

KEYS = {"fit", "optimizer", "stopper", "streams", "epochs", "history", "lr", "lr_search", "state"}
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
    }
    best_arrays = {f"best{i}": a for i, a in enumerate(best)}
    checkpoint.save(path, {**header, "state": [*optimizer["state"], best_arrays]}, trainer.net.of_model(0))


def resume(path: str | Path, task: TrainingTask, fit: dict[str, Any]) -> BatchedTrainer:
    """A trainer of this task, in the state that the file holds. ValueError if the file is of another fit or invalid."""
    state, arrays = checkpoint.load(path)
    _check_same_fit(path, state.get("fit"), fit)
    try:
        if state.keys() != KEYS:
            raise ValueError(f"its items must be {', '.join(sorted(KEYS))}, got {', '.join(sorted(state))}")
        for name, kind in (("history", dict), ("optimizer", dict), ("state", list)):
            if not isinstance(state[name], kind):
                raise TypeError(f"{name} must be a {kind.__name__}, got {state[name]!r:.60}")
        if integer("epochs", state["epochs"], 1) > task.settings.epochs:
            raise ValueError(f"it is behind epoch {state['epochs']}, epochs is {task.settings.epochs}")
        _restore_history(task, state)
        _restore_stopper(task, state["stopper"], state["state"][-1])
        trainer = BatchedTrainer([task])
        _restore_optimizer(trainer, state)
        _check_arrays("parameters", arrays, trainer.net.of_model(0))
        norms = trainer.net.weights(0, arrays).norms
        if any((norm["running_var"] < 0.0).any() for norm in norms if norm is not None):
            raise ValueError("running_var of a batch norm must be >= 0")
        _restore_streams(task, state["streams"])
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise ValueError(f"checkpoint {path} is invalid: {error}") from error
    for mine, saved in zip(trainer.net.of_model(0), arrays or (), strict=True):
        mine[...] = saved
    stopped = task.settings.early_stopping and task.stopper is not None and task.stopper.stopped
    if task.epochs_done >= task.settings.epochs or stopped:
        trainer.finish(0)
    return trainer


def _restore_history(task: TrainingTask, state: dict[str, Any]) -> None:
    epochs, history, lr, search = (state[name] for name in ("epochs", "history", "lr", "lr_search"))
    if history.keys() != task.history.keys():
        raise ValueError(f"history must have {', '.join(task.history)}, got {', '.join(history)}")
    for name, values in history.items():
        validated = name.startswith("val_")
        count = 0 if validated and task.validation is None else epochs
        if not isinstance(values, list) or len(values) != count or not all(type(v) is float for v in values):
            raise ValueError(f"history of {name} must be a list of {count} floats, got {values!r:.60}")
        if not (validated or np.isfinite(values).all()):
            raise ValueError(f"history of {name} must be finite, got {values!r:.60}")
    if (lr is None) != callable(task.lr) and task.lr is not None:
        raise ValueError(f"lr must be {'None' if callable(task.lr) else 'a number'}, got {lr!r}")
    if (search is None) == isinstance(task.settings.lr, str):
        raise ValueError(f"lr_search does not fit lr={task.settings.lr!r}, got {search!r:.60}")
    if search is not None and (search.keys() != {"lr", "loss"} or len(search["lr"]) != len(search["loss"])):
        raise ValueError(f"lr_search must have as many lr as loss, got {search!r:.60}")
    task.epochs_done, task.history, task.lr_search = epochs, history, search
    task.seconds = history["seconds"][-1]
    if lr is not None:
        task.lr = number("lr", lr, 0.0, LARGEST)


def _restore_stopper(task: TrainingTask, saved: Any, best: dict[str, Any]) -> None:
    if (saved is None) != (task.stopper is None) or not isinstance(saved, (dict, type(None))):
        raise ValueError(f"stopper must be {'None' if task.stopper is None else 'a dict'}, got {saved!r:.60}")
    if task.stopper is None or saved is None:
        return
    if set(best) != {f"best{i}" for i in range(len(best))}:
        raise ValueError(f"best parameters must be numbered from 0, got {', '.join(sorted(best))}")
    params = [best[f"best{i}"] for i in range(len(best))]
    task.stopper.load_state_dict({**saved, "best_params": params})
    if saved["step"] != task.epochs_done or max(saved["wait"], saved["best_step"] or 0) > saved["step"]:
        raise ValueError(f"stopper does not fit {task.epochs_done} epochs, got {saved!r:.200}")
    if bool(params) != (saved["best_value"] is not None):
        raise ValueError(f"best parameters must exist exactly if there is a best value, got {len(params)}")


def _restore_optimizer(trainer: BatchedTrainer, state: dict[str, Any]) -> None:
    task, own = trainer.tasks[0], trainer.optimizer.state_dict()
    *states, best = state["state"]
    trainer.optimizer.load_state_dict({**state["optimizer"], "state": states})
    for i, (mine, saved) in enumerate(zip(own["param_groups"], state["optimizer"]["param_groups"], strict=True)):
        if saved["steps"] + trainer.optimizer.skipped != task.epochs_done * len(task.batches):
            raise ValueError(f"steps of param group {i} do not fit {task.epochs_done} epochs, got {saved['steps']}")
        if json.loads(json.dumps({**mine, "steps": saved["steps"]})) != saved:
            raise ValueError(f"param group {i} must have the settings of this fit, got {saved!r:.200}")
    if best:
        _check_arrays("best parameters", list(best.values()), trainer.net.of_model(0))


def _check_arrays(label: str, saved: list[Any] | None, own: list[Any]) -> None:
    if saved is None or [(a.shape, a.dtype) for a in saved] != [(a.shape, a.dtype) for a in own]:
        found = None if saved is None else [(a.shape, str(a.dtype)) for a in saved]
        raise ValueError(f"{label} must have shapes {[a.shape for a in own]} in float32, got {found}")
    if not all(np.isfinite(a).all() for a in saved):
        raise ValueError(f"{label} must be finite")


def _restore_streams(task: TrainingTask, saved: Any) -> None:
    if not isinstance(saved, list) or len(saved) != len(task.streams):
        raise ValueError(f"streams must be {len(task.streams)} states, got {saved!r:.60}")
    for i, (rng, state) in enumerate(zip(task.streams, saved, strict=True)):
        try:
            rng.bit_generator.state = state
        except (TypeError, ValueError, LookupError, OverflowError) as error:
            raise ValueError(f"stream {i}: {error}") from error
        if rng.bit_generator.state != state:
            raise ValueError(f"stream {i} must be a state of {type(rng.bit_generator).__name__}, got {state!r:.80}")
