"""Saves and loads an optimizer's state as one .npz file without pickle, with a checksum of the whole content."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import secrets
import stat
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np

from fastopt._types import Array

#: a path (str or PathLike), or an open binary file
File: TypeAlias = Any
FORMAT = "fastopt checkpoint 1"
DTYPES = {"header": [np.dtype(np.uint8)]}  # of other arrays: FLOATS
FLOATS = [np.dtype(np.float32), np.dtype(np.float64)]


def save(file: File, state_dict: Mapping[str, Any], params: Sequence[Array] | None) -> None:
    """Write to a path, whose readers see the old content or the new one, or at the position of an open binary file."""
    arrays, header = _flatten(state_dict, params)
    text = json.dumps({"format": FORMAT, "sha256": _digest(arrays, header), **header}).encode()
    members = {"header": np.frombuffer(text, np.uint8), **arrays}
    if not hasattr(file, "write"):
        _replace(_as_path(file), lambda opened: _write(opened, members))
        return
    try:
        file.write(b"")
    except TypeError as error:
        raise TypeError(f"{_name(file)} is open for text: open it for bytes, with mode 'wb'") from error
    _write(file, members)


def load(file: File) -> tuple[dict[str, Any], list[Array] | None]:
    """Return the state_dict, and the parameters or None if they were not saved. ValueError if the file is invalid.

    An open file is read from its position to its end. The memory needed is at most a small multiple of the file's size.
    """
    if hasattr(file, "read"):
        if not isinstance(file.read(0), bytes):
            raise TypeError(f"{_name(file)} is open for text: open it for bytes, with mode 'rb'")
        return _load(file if file.seekable() else io.BytesIO(file.read()), _name(file))
    path = _as_path(file)
    _check_regular(path, os.stat(path).st_mode)  # before it is opened, because to open a FIFO waits for its writer
    with open(path, "rb") as opened:
        return _load(opened, path)


# -- files ------------------------------------------------------------------------------------------------------------


def _as_path(file: File) -> str:
    if not isinstance(file, (str, bytes, os.PathLike)):
        raise TypeError(f"a checkpoint needs a path or an open binary file, got {file!r}")
    return os.fsdecode(file)


def _name(file: File) -> str:
    name = getattr(file, "name", None)
    return name if isinstance(name, str) else f"the {type(file).__name__}"


def _check_regular(path: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        kinds = [(stat.S_ISFIFO, "FIFO"), (stat.S_ISSOCK, "socket")]
        kind = next((kind for test, kind in kinds if test(mode)), "device")
        raise io.UnsupportedOperation(f"{path} is a {kind}: a checkpoint needs a regular file, or an open binary file")


def _replace(path: str, write: Callable[[Any], None]) -> None:
    """Write a temporary file beside `path`, flush it to disk and rename it. Links are followed, the mode is kept."""
    try:
        mode = os.stat(path).st_mode
        _check_regular(path, mode)
    except FileNotFoundError:
        mode = 0
    if not os.path.basename(path):  # "" or "folder/", which realpath would change
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    target = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(target), f".fastopt-{secrets.token_hex(8)}.part")
    created = stat.S_IMODE(mode) & 0o600 if mode else 0o666
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, created)) as file:
            if mode:
                os.chmod(temporary, stat.S_IMODE(mode))
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename, error.filename2 = path, None
        raise
    _flush_folder(os.path.dirname(target))


def _flush_folder(folder: str) -> None:
    """Flush the folder, so that the new name survives a power cut, where the system can do it.

    The file is in place already: an error here is no failure of `save`.
    """
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# -- archives ---------------------------------------------------------------------------------------------------------


class _Archive(zipfile.ZipFile):
    """Nothing is written when it is deleted: after an interruption that would raise an error of its own."""

    def __del__(self) -> None:
        pass


class _Stream:
    """A file that can only be written. zipfile then does not seek, which files opened for appending do not support."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def flush(self) -> None:
        if hasattr(self.file, "flush"):
            self.file.flush()

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        while len(rest):
            written = self.file.write(rest)
            rest = rest[len(rest) if written is None else written :]
        return len(data)


def _write(file: Any, members: Mapping[str, Array]) -> None:
    stream: Any = _Stream(file)
    archive = _Archive(stream, "w")
    for name, array in members.items():
        with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
            np.lib.format.write_array(member, array, allow_pickle=False)
    archive.close()


def _load(file: Any, name: str) -> tuple[dict[str, Any], list[Array] | None]:
    start = file.tell()
    size = file.seek(0, os.SEEK_END) - start
    file.seek(start)
    try:
        arrays = _read(file, size)
        header = json.loads(arrays.pop("header").tobytes())
        if header.pop("format") != FORMAT:
            raise ValueError("unknown format")
        if header.pop("sha256") != _digest(arrays, header):
            raise ValueError("checksum mismatch")
        return _unflatten(arrays, header)
    except Exception as error:  # zipfile, json and NumPy raise errors without a common base class
        damaged_offset = isinstance(error, OSError) and error.errno == errno.EINVAL
        if isinstance(error, (MemoryError, OSError)) and not damaged_offset:
            raise
        raise ValueError(f"{name} is damaged or not a fastopt checkpoint: {error}") from error


def _read(file: Any, size: int) -> dict[str, Array]:
    """The arrays of what `save` writes. All sizes are checked before memory is allocated."""
    if size <= 0:
        raise ValueError("it has no data from its position on; rewind an open file with seek(0)")
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise ValueError("it is compressed")
        if len(set(archive.namelist())) < len(infos):
            raise ValueError("two arrays have the same name")
        if sum(info.file_size for info in infos) > size:
            raise ValueError("its arrays are larger than the file")
        return {info.filename.removesuffix(".npy"): _read_array(archive, info) for info in infos}


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    name = info.filename.removesuffix(".npy")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        if version != (1, 0) or dtype not in DTYPES.get(name, FLOATS):
            raise ValueError(f"array {name} has dtype {dtype}")
        if member.tell() + math.prod(shape) * dtype.itemsize != info.file_size:
            raise ValueError(f"array {name} of shape {shape} has a size of {info.file_size} bytes")
    with archive.open(info) as member:
        array: Array = np.lib.format.read_array(member, allow_pickle=False)
        return array


def _flatten(state_dict: Mapping[str, Any], params: Sequence[Array] | None) -> tuple[dict[str, Array], dict[str, Any]]:
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


def _unflatten(arrays: dict[str, Array], header: dict[str, Any]) -> tuple[dict[str, Any], list[Array] | None]:
    states = []
    for i, state in enumerate(header["state"]):
        names = state.pop("arrays")
        states.append({**state, **{name: arrays.pop(f"state.{i}.{name}") for name in names}})
    count = header.pop("params")
    params = None if count is None else [arrays.pop(f"param.{i}") for i in range(count)]
    if arrays:
        raise ValueError(f"unknown arrays {', '.join(sorted(arrays))}")
    return {**header, "state": states}, params


def _digest(arrays: Mapping[str, Array], header: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape} {array.flags.fnc}".encode())
        digest.update(array.ravel(order="K").data)
    return digest.hexdigest()
