"""The checkpoint of a fit: all that the rest of the training follows from, in one .npz of fastopt.checkpoint."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from fastopt import checkpoint
from fastopt.sklearn.likeness import described
from fastopt.sklearn.network import Array
from fastopt.sklearn.training import Job, Stack

LENGTHENS = ("epochs", "verbose", "callbacks")  # parameters that a continued fit may have otherwise


def fingerprint(estimator: Any, job: Job) -> str:
    """Of parameters and data: a checkpoint of another fit is refused."""
    digest = hashlib.sha256(type(estimator).__name__.encode())
    for name, value in sorted(estimator.get_params(deep=False).items()):
        if name not in LENGTHENS:
            digest.update(f"{name}={described(value)};".encode())
    held_out = () if job.validation is None else job.validation
    for data in (job.x, job.y, job.weight, *held_out):
        for part in (data,) if isinstance(data, np.ndarray) or data is None else (data.data, data.indices, data.indptr):
            digest.update(b"none" if part is None else f"{part.dtype}{part.shape}".encode())
            digest.update(b"" if part is None else np.ascontiguousarray(part).data)
    return digest.hexdigest()


def write(path: str | Path, stack: Stack, mark: str) -> None:
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
        "stopped": job.finished and job.epochs_done < job.settings.epochs,
    }
    kept = {f"best{i}": a for i, a in enumerate(best)}
    checkpoint.save(path, {**meta, "state": [*optimizer["state"], kept]}, stack.net.of_model(0))


def begin(job: Job, path: str | Path | None, mark: str | None) -> Stack:
    """A stack of this job alone, as the checkpoint left it if there is one."""
    if path is None or not Path(path).exists():
        return Stack([job])
    state, params = checkpoint.load(path)
    if state.get("fit") != mark or params is None:
        raise ValueError(f"checkpoint {path} is of another fit: other samples or other parameters")
    _restore_job(job, state)
    stack = Stack([job])
    states = state["state"][: state["tensors"]]
    stack.optimizer.load_state_dict({**state["optimizer"], "state": states})
    for mine, theirs in zip(stack.net.of_model(0), params, strict=True):
        mine[...] = theirs
    for rng, words in zip(job.streams, state["streams"], strict=True):
        rng.bit_generator.state = words
    if job.epochs_done >= job.settings.epochs or state["stopped"]:
        stack.finish(0)
    return stack


def _restore_job(job: Job, state: dict[str, Any]) -> None:
    job.epochs_done, job.history = state["epochs"], state["history"]
    if not callable(job.lr) and state["lr"] is not None:
        job.lr = state["lr"]
    if job.stopper is not None and state["stopper"] is not None:
        kept: dict[str, Array] = state["state"][-1]
        best = [kept[f"best{i}"] for i in range(len(kept))]
        job.stopper.load_state_dict({**state["stopper"], "best_params": best})


__all__ = ["begin", "fingerprint", "write"]
