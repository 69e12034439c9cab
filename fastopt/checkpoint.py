"""Saves and loads an optimizer's state as one .npz file without pickle, with a checksum of the whole content."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "fastopt checkpoint 1"


def save(path: str | Path, state_dict: Mapping[str, Any], params: Sequence[np.ndarray[Any, Any]] | None) -> None:
    """Write a temporary file beside `path`, flush it to disk and rename it: readers see the old file or the new one."""
    arrays, header = _flatten(state_dict, params)
    text = json.dumps({"format": FORMAT, "sha256": _digest(arrays, header), **header}).encode()
    path = Path(path)
    temporary = path.with_name(f".fastopt-{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            np.savez(file, header=np.frombuffer(text, np.uint8), **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def load(path: str | Path) -> tuple[dict[str, Any], list[np.ndarray[Any, Any]] | None]:
    """Return the state_dict, and the parameters or None if they were not saved. ValueError if the file is invalid."""
    with open(path, "rb") as opened:  # outside of `try`: the OSError of a missing file goes to the caller
        try:
            with np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            header = json.loads(arrays.pop("header").tobytes())
            if header.pop("format") != FORMAT:
                raise ValueError("unknown format")
            if header.pop("sha256") != _digest(arrays, header):
                raise ValueError("checksum mismatch")
            return _unflatten(arrays, header)
        except Exception as error:  # zipfile, zlib, json and NumPy raise errors without a common base class
            raise ValueError(f"{path} is damaged or not a fastopt checkpoint: {error}") from error


def _flatten(
    state_dict: Mapping[str, Any], params: Sequence[np.ndarray[Any, Any]] | None
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """The arrays by name, and the rest as plain values for JSON, with a list of each state's array names."""
    arrays = {}
    states = []
    for i, state in enumerate(state_dict["state"]):
        named = {k: v for k, v in state.items() if isinstance(v, np.ndarray)}
        arrays.update({f"state.{i}.{name}": array for name, array in named.items()})
        states.append({**{k: v for k, v in state.items() if k not in named}, "arrays": list(named)})
    for i, p in enumerate(params or ()):
        arrays[f"param.{i}"] = p
    header = {**state_dict, "state": states, "params": None if params is None else len(params)}
    return arrays, json.loads(json.dumps(header))


def _unflatten(
    arrays: dict[str, np.ndarray[Any, Any]], header: dict[str, Any]
) -> tuple[dict[str, Any], list[np.ndarray[Any, Any]] | None]:
    states = []
    for i, state in enumerate(header["state"]):
        names = state.pop("arrays")
        states.append({**state, **{name: arrays[f"state.{i}.{name}"] for name in names}})
    count = header.pop("params")
    params = None if count is None else [arrays[f"param.{i}"] for i in range(count)]
    return {**header, "state": states}, params


def _digest(arrays: Mapping[str, np.ndarray[Any, Any]], header: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape} {array.flags.fnc}".encode())
        digest.update(array.ravel(order="K").data)
    return digest.hexdigest()


def _sync_directory(directory: Path) -> None:
    """Flush the directory, so that the new file name survives a power cut. Windows cannot flush a directory."""
    if os.name == "posix":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
