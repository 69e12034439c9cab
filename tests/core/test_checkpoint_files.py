"""The files of checkpoints: special targets, open files, hostile archives, interruptions at any line, durability."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import pickle
import socket
import stat
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt import checkpoint
from tests.support.rows import ROWS, arrays, contents, params_of, steps

posix = pytest.mark.skipif(os.name != "posix", reason="not here: files as POSIX has them")


def optimizer(seed: int = 0, count: int = 2) -> Any:
    return steps(fastopt.Adam(arrays(seed)), 1, count)


def loaded(file: Any) -> list[Any]:
    other = optimizer(1, 1)
    other.load(file)
    return contents(other)  # type: ignore[no-any-return]


@posix
def test_a_link_stays_a_link_and_a_file_keeps_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    opt = optimizer()
    for link, target in (("a", "folder/가중치"), ("b", "a"), ("c", "folder/none")):
        os.symlink(target, link)
        opt.save(link, params=True)
        assert Path(link).is_symlink()
        assert loaded(Path(link)) == loaded(target) == contents(opt)
    for mode in (0o600, 0o640, 0o444, 0o666, 0o100):
        os.chmod("folder/none", mode)
        opt.save("c", params=True)
        assert stat.S_IMODE(os.stat("folder/none").st_mode) == mode
    assert sorted(os.listdir("folder")) == ["none", "가중치"]


@posix
@pytest.mark.parametrize("kind", ["FIFO", "socket", "device", "folder"])
def test_special_files_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "special"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/null")
    else:
        path.mkdir()
    for use in (optimizer().save, optimizer().load):
        with pytest.raises(OSError, match="special.*" if kind == "folder" else f"special is a {kind}"):
            use(path)
    assert os.listdir(tmp_path) == ["special"]


@pytest.mark.parametrize("path", ["", "new/", "none/o", 5, None, ["o"]])
def test_names_that_no_file_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError if isinstance(path, str) else TypeError) as caught:
        optimizer().save(path)
    assert ".part" not in str(caught.value)
    assert repr(path) in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_open_files(tmp_path: Path) -> None:
    opt, path = optimizer(), tmp_path / "o"
    for mode, start in (("wb", b""), ("ab", b"before"), ("r+b", b"before")):
        for buffering in (-1, 0):
            path.write_bytes(start)
            with path.open(mode, buffering=buffering) as file:
                file.seek(len(start))
                opt.save(file, params=True)
            with path.open("rb") as file:
                file.seek(len(start))
                assert loaded(file) == contents(opt)
    with gzip.open(path, "wb") as file:
        opt.save(file, params=True)
    with gzip.open(path) as file:
        assert loaded(file) == contents(opt)
    memory = io.BytesIO()
    opt.save(memory, params=True)
    with pytest.raises(ValueError, match="rewind"):
        opt.load(memory)
    memory.seek(0)
    assert loaded(memory) == contents(opt)
    for use, text in ((opt.save, path.open("w")), (opt.load, path.open()), (opt.save, io.StringIO())):
        with text, pytest.raises(TypeError, match="is open for text"):
            use(text)


def test_only_what_save_writes_is_loaded(tmp_path: Path) -> None:
    """Each of these archives has the right content or a header that asks for memory; none allocates it."""
    opt, path = optimizer(), tmp_path / "bad"
    opt.save(path, params=True)
    members = dict(np.load(path))
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "new", "w", compression) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))
        with pytest.raises(ValueError, match=r"new is damaged .* compressed"):
            opt.load(tmp_path / "new")
    for dtype in ("f2", "i8", "c8", ">f4", "S4", "f4,f4"):
        with path.open("wb") as file:
            np.savez(file, **{**members, "param.0": np.zeros(3, dtype)})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"bad is damaged .* array param\.0 has dtype"):
            opt.load(path)
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(text, {"descr": "<f4", "fortran_order": False, "shape": (1 << 28,)})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("param.0.npy", text.getvalue())
    with pytest.raises(ValueError, match=r"bad is damaged .* shape \(268435456,\)"):
        opt.load(path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as file:
        file.writestr("param.0.npy", b"")
    with pytest.raises(ValueError, match="same name"):
        opt.load(path)


@pytest.mark.parametrize("error", [MemoryError("full"), OSError(5, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize("place", ["numpy.lib.format.read_array", "zipfile.ZipFile", "json.loads"])
def test_other_errors_of_reading_are_not_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: BaseException
) -> None:
    opt = optimizer()
    opt.save(tmp_path / "o")

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(place, fail)
    with pytest.raises(type(error)) as caught:
        opt.load(tmp_path / "o")
    assert caught.value is error


def at_line(k: int, use: Callable[[], Any]) -> bool:
    """Call `use` with a KeyboardInterrupt at its k-th line, of any module. Returns whether there was one."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        if event == "line" and count == k:
            raise KeyboardInterrupt
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        use()
    finally:
        sys.settrace(former)
    return count >= k


@pytest.mark.parametrize("by", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a __del__ it goes nowhere
def test_an_interruption_at_any_line_leaves_the_old_file_or_the_new_one(tmp_path: Path, by: int) -> None:
    path, old = tmp_path / "o", fastopt.SGD(np.ones(2, np.float32))
    new = fastopt.SGD(np.zeros(2, np.float32))
    state, k, going = new.state_dict(), 0, True
    while going:
        k += by
        old.save(path, params=True)
        with contextlib.suppress(KeyboardInterrupt):
            going = at_line(k, lambda: checkpoint.save(path, state, params_of(new)))
        assert os.listdir(tmp_path) == ["o"], k
        read = checkpoint.load(path)[1]
        assert read is not None
        assert read[0].tolist() in ([1, 1], [0, 0]), k
    assert k > 200


@posix
def test_the_file_is_flushed_then_renamed_then_its_folder_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(handle: int) -> None:
        folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        assert os.fstat(handle).st_ino == os.stat(tmp_path).st_ino if folder else os.fstat(handle).st_size > 500
        calls.append("folder" if folder else "file")
        fsync(handle)
        if folder:
            raise OSError(22, "this file system cannot flush a folder")  # the file is in place: no failure

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("rename"), replace(*paths)))
    optimizer().save(tmp_path / "o")
    assert calls == ["file", "rename", "folder"]


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_an_optimizer_goes_out_of_band_and_steps(row: Any) -> None:
    """The buffers arrive read-only and at addresses that are no multiple of 4, as inside of a message."""
    opt = steps(row.make(arrays(0)), 1, 2)
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(opt, 5, buffer_callback=buffers.append)
    raws = [memoryview(b"x" + b.raw().tobytes())[1:] for b in buffers]
    other = pickle.loads(data, buffers=raws)
    assert contents(other) == contents(opt)
    assert contents(steps(other, 3, 4)) == contents(steps(opt, 3, 4))
    assert all(p.flags.behaved for p in params_of(other))
