"""The checkpoint of a fit: all that the rest of the training follows from, in one .npz of fastopt.checkpoint."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from fastopt import checkpoint
from fastopt.mlp.fingerprint import described
from fastopt.mlp.lr_search import search
from fastopt.mlp.network import Array
from fastopt.mlp.training import Job, Stack

LENGTHENS = ("epochs", "verbose", "callbacks")  # parameters that a continued fit may have otherwise
Mark = dict[str, Any]


def check_path(path: Any, random_state: Any) -> None:
    """Before the training, not behind its first epoch."""
    if path is None:
        return
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"checkpoint must be a path, got {path!r}")
    if not isinstance(random_state, (int, np.integer)):
        raise ValueError(f"checkpoint needs an int as random_state to go on from, got {random_state!r}")
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"checkpoint {path}: there is no folder {Path(path).parent}")


def marked(estimator: Any, job: Job) -> Mark:
    """What a fit is of: a hash for each parameter and each array.

    "code" has those of the parameters' functions by their bytecode, which only the Python that made it can compare.
    """
    chosen = {k: v for k, v in estimator._given().items() if k not in LENGTHENS}
    texts = {name: (described(value, code=False), described(value)) for name, value in chosen.items()}
    x_val, y_val, w_val = job.validation or (None, None, None)
    start = None if job.start is None else [job.start.matrices, job.start.biases, job.start.norms]
    data = {"X": _arrays(job.x), "y": job.y, "sample_weight": job.weight, "the weights it starts from": start}
    held_out = {"X_val": _arrays(x_val), "y_val": y_val, "its weights": w_val}
    return {
        "class": type(estimator).__name__,
        "parameters": {name: _hash(text) for name, (text, _) in texts.items()},
        "code": {name: _hash(full) for name, (text, full) in texts.items() if full != text},
        "python": sys.implementation.cache_tag,
        "data": {name: _hash(described(value)) for name, value in {**data, **held_out}.items()},
    }


def _arrays(x: Any) -> Any:
    return x if x is None or isinstance(x, np.ndarray) else [x.shape, x.data, x.indices, x.indptr]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _check(path: Any, found: Any, mark: Mark) -> None:
    """A ValueError that names what is not as it was. Functions of another Python are compared by all but their code."""
    if not isinstance(found, dict) or found.keys() != mark.keys():
        raise ValueError(f"{path} is no checkpoint of a fit")
    if found["class"] != mark["class"]:
        raise ValueError(f"checkpoint {path} is of another fit: of {found['class']}")
    same_python = found["python"] == mark["python"]
    parts = ("parameters", "data", "code") if same_python else ("parameters", "data")
    other = {k for part in parts for k in found[part].keys() | mark[part] if found[part].get(k) != mark[part].get(k)}
    if other:
        raise ValueError(f"checkpoint {path} is of another fit, with other values of: {', '.join(sorted(other))}")
    if not same_python and mark["code"]:
        names = ", ".join(mark["code"])
        warnings.warn(
            f"checkpoint {path} was written by {found['python']}, this is {mark['python']}: whether the code of the "
            f"functions in {names} is the same cannot be told",
            stacklevel=6,
        )


def write(path: str | Path, stack: Stack, mark: Mark) -> None:
    """The state behind an epoch."""
    job = stack.jobs[0]
    optimizer = stack.optimizer.state_dict()
    stopper = None if job.stopper is None else job.stopper.state_dict()
    best = [] if stopper is None else stopper.pop("best_params")
    meta = {
        "fit": mark,
        "optimizer": {k: v for k, v in optimizer.items() if k != "state"},
        "tensors": len(optimizer["state"]),
        "stopper": stopper,
        "streams": [rng.bit_generator.state for rng in job.streams],
        "epochs": job.epochs_done,
        "history": job.history,
        "lr": None if callable(job.lr) else job.lr,
        "found": job.found,
        "stopped": bool(job.settings.early_stopping and job.stopper is not None and job.stopper.stopped),
    }
    kept = {f"best{i}": a for i, a in enumerate(best)}
    checkpoint.save(path, {**meta, "state": [*optimizer["state"], kept]}, stack.net.of_model(0))


def begin(job: Job, path: str | Path | None = None, mark: Mark | None = None) -> Stack:
    """A stack of this job alone, as the checkpoint left it; without one, with its rate searched for if it is to be."""
    if path is None or mark is None or not Path(path).exists():
        if isinstance(job.lr, str):
            job.lr, job.found = search(job)
        return Stack([job])
    state, params = checkpoint.load(path)
    _check(path, state.get("fit"), mark)
    if state["epochs"] > job.settings.epochs:
        raise ValueError(f"checkpoint {path} is behind epoch {state['epochs']}, epochs is {job.settings.epochs}")
    _restore_job(job, state)
    stack = Stack([job])
    states = state["state"][: state["tensors"]]
    stack.optimizer.load_state_dict({**state["optimizer"], "state": states})
    for mine, theirs in zip(stack.net.of_model(0), params or (), strict=True):
        mine[...] = theirs
    for rng, words in zip(job.streams, state["streams"], strict=True):
        rng.bit_generator.state = words
    if job.epochs_done >= job.settings.epochs or state["stopped"]:
        stack.finish(0)
    return stack


def _restore_job(job: Job, state: dict[str, Any]) -> None:
    job.epochs_done, job.history, job.found = state["epochs"], state["history"], state["found"]
    if not callable(job.lr) and state["lr"] is not None:
        job.lr = state["lr"]
    if job.stopper is not None and state["stopper"] is not None:
        kept: dict[str, Array] = state["state"][-1]
        best = [kept[f"best{i}"] for i in range(len(kept))]
        job.stopper.load_state_dict({**state["stopper"], "best_params": best})


__all__ = ["begin", "check_path", "marked", "write"]
