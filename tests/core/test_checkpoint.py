"""Checkpoint files: save() writes a complete file or nothing, load() restores everything or raises and changes nothing,
also if the file was damaged in between."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt import checkpoint
from tests.support import environment
from tests.support.rows import ROWS, Array, Row, contents, fresh, params_of, variants

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def arrays(seed: int = 0) -> list[Array]:
    """0-d, empty, C and Fortran order, with every kind of number."""
    rng = np.random.default_rng(seed)
    odd = np.array([-0.0, 0.0, 1e-45, -3.4e38, 1.0, 2.0], np.float32).reshape(2, 3)
    shapes: list[tuple[int, ...]] = [(), (0, 3), (5,), (3, 4)]
    plain = [np.asarray(rng.normal(size=shape), np.float32) for shape in shapes]
    return [*plain, np.asfortranarray(rng.normal(size=(4, 3, 2)).astype(np.float32)), odd + np.float32(seed)]


def make(row: Row, seed: int = 0, steps: int = 2, **values: Any) -> Any:
    opt = row.make(arrays(seed), **values)
    for t in range(steps):
        advance(opt, t)
    return opt


def advance(opt: Any, t: int) -> None:
    opt.step(lambda: arrays(10 + t))


@contextlib.contextmanager
def unchanged(*opts: Any) -> Iterator[None]:
    before = [contents(opt) for opt in opts]
    yield
    assert [contents(opt) for opt in opts] == before


# -- save, then load --------------------------------------------------------------------------------------------------


@rows
def test_a_loaded_optimizer_continues_bit_for_bit(row: Row, tmp_path: Path) -> None:
    path = tmp_path / "opt.npz"
    for label, values in variants(row):
        opt = make(row, **values)
        before = contents(opt)
        opt.save(path, params=True)
        assert contents(opt) == before, label
        other = make(row, 1, 0, **values)
        own = params_of(other)
        other.load(path)
        assert contents(other) == before, label
        assert all(p is q for p, q in zip(params_of(other), own, strict=True))
        for t in range(2, 4):
            advance(opt, t)
            advance(other, t)
        assert contents(other) == contents(opt) != before, label


@rows
def test_without_params_the_parameters_stay(row: Row, tmp_path: Path) -> None:
    opt, other = make(row), make(row, 1, 0)
    for save in (lambda: opt.save(tmp_path / "o"), lambda: opt.save(tmp_path / "o", params=False)):
        save()
        parameters = [p.tobytes() for p in params_of(other)]
        other.load(tmp_path / "o")
        assert [p.tobytes() for p in params_of(other)] == parameters
        assert contents(other)[1:] == contents(opt)[1:]
    assert checkpoint.load(tmp_path / "o")[1] is None


def test_groups_names_and_odd_values(tmp_path: Path) -> None:
    def fresh(seed: int) -> Any:
        a, b, c = arrays(seed)[2:5]
        groups = [{"params": [a, b], "name": "weights of å\n\"'"}, {"params": []}, {"params": c, "lr": 0.1 + 0.2}]
        return fastopt.Adam(groups, betas=(0.1, 1 - 2**-53), eps=2e-38, clip_value=1 / 3, skip_nonfinite=True)

    opt = fresh(0)
    for grads in (arrays(1), [np.full_like(g, np.nan) for g in arrays(1)], arrays(2)):
        opt.step(grads[2:5])
    opt.save(tmp_path / "o", params=True)
    other = fresh(1)
    other.load(tmp_path / "o")
    assert contents(other) == contents(opt)
    assert other.skipped == 1
    assert [group.get("name") for group in other.param_groups] == ["weights of å\n\"'", None, None]


def test_a_schedule_stays_with_the_optimizer(tmp_path: Path) -> None:
    def schedule(count: int) -> float:
        return 0.1 / (count + 1)

    opt = make(ROWS["sgd"], lr=schedule)
    opt.save(tmp_path / "o", params=True)
    other = make(ROWS["sgd"], 1, 0, lr=schedule)
    other.load(tmp_path / "o")
    advance(opt, 2)
    advance(other, 2)
    assert contents(other) == contents(opt)
    plain = make(ROWS["sgd"], 1)
    with unchanged(plain), pytest.raises(ValueError, match="schedule"):
        plain.load(tmp_path / "o")


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A string or a Path, absolute or relative, with any suffix: the file gets exactly this name."""
    monkeypatch.chdir(tmp_path)
    opt = make(ROWS["adam"])
    names = ["opt.npz", "opt", ".opt", "o p t.txt", "ø.ckpt", "-", "x" * 200]
    for name in names:
        for path in (name, Path(name), str(tmp_path / name), tmp_path / name):
            opt.save(path, params=True)
            other = make(ROWS["adam"], 1, 0)
            other.load(path)
            assert contents(other) == contents(opt)
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_the_longest_name_that_a_file_can_have(tmp_path: Path) -> None:
    name = "x" * os.pathconf(tmp_path, "PC_NAME_MAX")
    (tmp_path / name).touch()
    opt = make(ROWS["sgd"])
    opt.save(tmp_path / name)
    opt.load(tmp_path / name)


def test_numpy_reads_the_file_without_pickle(tmp_path: Path) -> None:
    opt = make(ROWS["adam"])
    opt.save(tmp_path / "opt.npz", params=True)
    with np.load(tmp_path / "opt.npz", allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    assert all(a.dtype == np.float32 for name, a in found.items() if name != "header")
    for p, i in zip(params_of(opt), range(99), strict=False):
        assert found[f"param.{i}"].tobytes() == p.tobytes()


# -- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    opt, path = make(ROWS["sgd"]), tmp_path / "o"
    before = os.umask(0o022)
    try:
        for mask in (0o022, 0o077, 0o002, 0o000, 0o027):
            os.umask(mask)
            path.unlink(missing_ok=True)
            opt.save(path)
            assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
            assert os.umask(mask) == mask  # save() does not change it
    finally:
        os.umask(before)


class Crash(BaseException):
    """An exception that `except Exception` does not catch, like KeyboardInterrupt."""


@pytest.mark.parametrize("error", [OSError, MemoryError, Crash, KeyboardInterrupt])
@pytest.mark.parametrize(
    "place",
    ["numpy.lib.format.write_array", "os.fsync", "os.replace", "secrets.token_hex", "json.dumps"],
)
def test_a_failure_in_the_middle_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: type[BaseException]
) -> None:
    old, new = make(ROWS["adam"]), make(ROWS["adam"], steps=5)
    old.save(tmp_path / "opt.npz", params=True)
    content = (tmp_path / "opt.npz").read_bytes()
    module, _, name = place.rpartition(".")

    def fail(*args: Any, **kwargs: Any) -> Any:
        if name == "write_array":
            args[0].write(b"half of an array")
        raise error("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[module], name, fail)
        with unchanged(new), pytest.raises(error):
            new.save(tmp_path / "opt.npz", params=True)
        with pytest.raises(error):
            new.save(tmp_path / "first.npz", params=True)
    assert os.listdir(tmp_path) == ["opt.npz"]
    assert (tmp_path / "opt.npz").read_bytes() == content
    new.save(tmp_path / "opt.npz", params=True)
    assert (tmp_path / "opt.npz").read_bytes() != content


def test_a_process_that_is_killed_leaves_the_old_file(tmp_path: Path) -> None:
    """A process that saves in a loop is killed at any moment: the file is always complete."""
    opt = fastopt.Adam(np.zeros(1000, np.float32))
    opt.save(tmp_path / "opt.npz", params=True)
    code = """
import fastopt, numpy as np
w = np.zeros(1000, np.float32)
opt = fastopt.Adam(w)
while True:
    opt.step(np.ones(1000, np.float32))
    opt.save("opt.npz", params=True)
    print(flush=True)
"""
    seen = []
    for count in (1, 2, 5, 9):
        child = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE)
        assert child.stdout is not None
        for _ in range(count):
            assert child.stdout.readline() == b"\n"
        child.kill()
        child.wait(30)
        child.stdout.close()
        opt.load(tmp_path / "opt.npz")
        seen.append(opt.state[0]["step"])
        w = np.zeros(1000, np.float32)
        again = fastopt.Adam(w)
        for _ in range(seen[-1]):
            again.step(np.ones(1000, np.float32))
        assert contents(again) == contents(opt)
    assert all(step >= count for step, count in zip(seen, (1, 2, 5, 9), strict=True))


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    opt = make(ROWS["sgd"])
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    for path, error in [
        (tmp_path / "nowhere" / "opt.npz", FileNotFoundError),
        (tmp_path / "file" / "opt.npz", NotADirectoryError),
        (tmp_path / "folder", IsADirectoryError),
    ]:
        with unchanged(opt), pytest.raises(error):
            opt.save(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert os.listdir(tmp_path / "folder") == []


# -- reading ----------------------------------------------------------------------------------------------------------


def test_missing_files(tmp_path: Path) -> None:
    opt = make(ROWS["sgd"])
    for path, error in [
        (tmp_path / "nothing.npz", FileNotFoundError),
        (tmp_path / "nowhere" / "nothing.npz", FileNotFoundError),
        (tmp_path, IsADirectoryError),
    ]:
        for given in (path, str(path)):
            with unchanged(opt), pytest.raises(error, match=path.name):
                opt.load(given)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory if the system has one, because thousands of files are written."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else tmp_path) as name:
        yield Path(name)


def small(folder: Path) -> tuple[Any, Any, bytes]:
    """An optimizer, another one to load into, and the content of the first one's file."""
    opt = fastopt.Momentum([np.array([1.0, 2.0], np.float32)], lr=0.5)
    opt.step([np.array([0.25, -1.0], np.float32)])
    other = fastopt.Momentum([np.array([5.0, 6.0], np.float32)], lr=0.125)
    opt.save(folder / "o", params=True)
    return opt, other, (folder / "o").read_bytes()


def fate(path: Path, damaged: bytes, whole: Any, other: Any, start: dict[str, Any]) -> str:
    """Load these bytes: "refused" (ValueError, nothing changed), "same" (result of the intact file) or a description
    of the error."""
    path.write_bytes(damaged)
    before = contents(other)
    try:
        other.load(path)
    except ValueError as error:
        return "refused" if contents(other) == before and path.name in str(error) else f"half: {error}"
    except Exception as error:
        return repr(error)
    result = "same" if contents(other) == contents(whole) else "other content"
    other.load_state_dict(start)
    params_of(other)[0][...] = [5.0, 6.0]
    return result


def test_truncations(memory: Path) -> None:
    whole, other, data = small(memory)
    start = other.state_dict()
    assert fate(memory / "o", data, whole, other, start) == "same"
    faults = {n: f for n in range(len(data)) if (f := fate(memory / "o", data[:n], whole, other, start)) != "refused"}
    assert not faults
    for extra in (b"\0", b"x" * 100, data):
        assert fate(memory / "o", data + extra, whole, other, start) in ("refused", "same")
        assert fate(memory / "o", extra + data, whole, other, start) in ("refused", "same")


@pytest.mark.parametrize("flip", [*(1 << k for k in range(8)), 0xFF])
@pytest.mark.slow
def test_every_byte_damaged(memory: Path, flip: int) -> None:
    """Most are refused. If a changed file is accepted (a date in the zip header), its content is the same."""
    whole, other, data = small(memory)
    start = other.state_dict()
    fates: dict[str, list[int]] = {}
    for i in range(len(data)):
        damaged = data[:i] + bytes([data[i] ^ flip]) + data[i + 1 :]
        fates.setdefault(fate(memory / "o", damaged, whole, other, start), []).append(i)
    assert fates.keys() == {"refused", "same"}, {k: v for k, v in fates.items() if k not in ("refused", "same")}
    assert len(fates["refused"]) > len(fates["same"])


def test_changes_that_the_zip_does_not_see(tmp_path: Path) -> None:
    """A member is replaced, renamed, added, left out, reshaped or reordered; each has a correct CRC of its own."""
    opt = make(ROWS["adam"])
    opt.save(tmp_path / "whole", params=True)
    with np.load(tmp_path / "whole") as file:
        members = {name: file[name] for name in file.files}
    header = json.loads(members["header"].tobytes())
    other = {**header, "param_groups": [{**header["param_groups"][0], "lr": 0.5}]}
    big = next(name for name, a in members.items() if a.shape == (3, 4))
    changes: list[dict[str, Any]] = [
        {big: members[big] + np.float32(1e-3)},
        {big: -members[big]},
        {big: np.asfortranarray(members[big])},
        {big: members[big].reshape(4, 3)},
        {big: members[big].astype(np.float64)},
        {big: members[big].view(np.int32)},
        {big: None},
        {"more": members[big]},
        {big: None, "renamed": members[big]},
        {"header": np.frombuffer(json.dumps(other).encode(), np.uint8)},
        {"header": np.frombuffer(json.dumps({**header, "skipped": 1}).encode(), np.uint8)},
        {"header": np.frombuffer(json.dumps({**header, "more": 1}).encode(), np.uint8)},
    ]
    for change in changes:
        changed = {name: a for name, a in {**members, **change}.items() if a is not None}
        with (tmp_path / "changed").open("wb") as file:
            np.savez(file, **changed)
        with unchanged(opt), pytest.raises(ValueError, match="changed is damaged"):
            opt.load(tmp_path / "changed")
    with (tmp_path / "changed").open("wb") as file:
        np.savez(file, **members)  # the same content
    opt.load(tmp_path / "changed")


class Bomb:
    """An object whose unpickling creates a folder."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


HEADER = np.frombuffer(json.dumps({"format": checkpoint.FORMAT}).encode(), np.uint8)


def write_zip(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)


def write_damaged_deflate(path: Path) -> None:
    np.savez_compressed(path.open("wb"), header=HEADER, a=np.random.default_rng(0).bytes(500))
    data = bytearray(path.read_bytes())
    for i in range(200, len(data) - 200):
        data[i] ^= 0x55
    path.write_bytes(data)


def foreign() -> dict[str, Callable[[Path], Any]]:
    """Writers of files that fastopt did not save."""
    return {
        "empty": lambda path: path.write_bytes(b""),
        "text": lambda path: path.write_text("hello"),
        "zeros": lambda path: path.write_bytes(bytes(1000)),
        "json": lambda path: path.write_text(json.dumps({"format": checkpoint.FORMAT})),
        "npy": lambda path: np.save(path.open("wb"), np.ones(3)),
        "npy of objects": lambda path: np.save(path.open("wb"), np.array([Bomb()]), allow_pickle=True),
        "pickle": lambda path: path.write_bytes(pickle.dumps(Bomb())),
        "pickled optimizer": lambda path: path.write_bytes(pickle.dumps(make(ROWS["sgd"]))),
        "foreign npz": lambda path: np.savez(path.open("wb"), a=np.ones(3)),
        "no array": lambda path: write_zip(path, header=b"hello"),
        "empty zip": lambda path: write_zip(path),
        "npz of objects": lambda path: np.savez(path.open("wb"), header=np.array([Bomb()])),
        "header and objects": lambda path: np.savez(path.open("wb"), header=HEADER, a=np.array([Bomb()])),
        "header of floats": lambda path: np.savez(path.open("wb"), header=np.ones(5)),
        "header of text": lambda path: np.savez(path.open("wb"), header=np.array("{}")),
        "header no dict": lambda path: np.savez(path.open("wb"), header=np.frombuffer(b"[1, 2]", np.uint8)),
        "header null": lambda path: np.savez(path.open("wb"), header=np.frombuffer(b"null", np.uint8)),
        "only a format": lambda path: np.savez(path.open("wb"), header=HEADER),
        "deep header": lambda path: np.savez(path.open("wb"), header=np.frombuffer(b"[" * 100000, np.uint8)),
        "damaged deflate": write_damaged_deflate,
    }


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", foreign())
def test_foreign_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "foreign.file"
    foreign()[kind](path)
    opt = make(ROWS["adam"])
    with unchanged(opt), pytest.raises(ValueError, match=r"foreign\.file"):
        opt.load(path)
    assert os.listdir(tmp_path) == ["foreign.file"]


@rows
def test_files_of_another_optimizer(row: Row, tmp_path: Path) -> None:
    path = tmp_path / "o"
    opt = make(row)
    for other in ROWS.values():
        if other is not row:
            make(other).save(path, params=True)
            with unchanged(opt), pytest.raises(ValueError, match="state_dict"):
                opt.load(path)
    for params in (arrays()[:-1], [*arrays(), arrays()[2]], arrays()[::-1], [p.ravel() for p in arrays()]):
        another = row.make(params)
        another.save(path, params=True)
        with unchanged(opt), pytest.raises(ValueError, match=r"shape|has \d+ param"):
            opt.load(path)
    row.make([{"params": arrays()[:3]}, {"params": arrays()[3:]}]).save(path, params=True)
    with unchanged(opt), pytest.raises(ValueError, match="param groups"):
        opt.load(path)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_read_only_parameters_are_found_before_the_first_write(rule: str, tmp_path: Path) -> None:
    """They became read-only after the optimizer was made. Nothing is loaded, not even the states."""
    row, path = ROWS[rule], tmp_path / "o"
    make(row, steps=5).save(path, params=True)
    opt = make(row)
    params_of(opt)[4].flags.writeable = False
    with unchanged(opt), pytest.raises(ValueError, match="read-only"):
        opt.load(path)
    make(row, steps=5).save(path)
    opt.load(path)  # has no parameters: does not write them


def test_a_file_whose_parts_disagree(tmp_path: Path) -> None:
    """The checksum is correct, but parameters and states do not fit together."""
    path = tmp_path / "o"
    saved = make(ROWS["adam"], steps=5).state_dict()
    opt = make(ROWS["adam"])
    wrong = [p.astype(np.float64) for p in arrays()]
    for params in (arrays()[:-1], [*arrays(), arrays()[0]], [], arrays()[::-1], wrong):
        checkpoint.save(path, saved, params)
        with unchanged(opt), pytest.raises((TypeError, ValueError)):
            opt.load(path)
    for change in ({"version": 99}, {"skipped": "many"}, {"optimizer": "Other"}, {"state": saved["state"][:-1]}):
        checkpoint.save(path, {**saved, **change}, arrays())
        with unchanged(opt), pytest.raises((TypeError, ValueError)):
            opt.load(path)


def test_loading_needs_an_optimizer_at_rest(tmp_path: Path) -> None:
    opt = make(ROWS["adam"])
    opt.save(tmp_path / "o", params=True)

    def gradients() -> Iterator[Array]:
        with unchanged(opt), pytest.raises(RuntimeError, match="in the middle of a step"):
            opt.load(tmp_path / "o")
        yield from arrays(10)

    opt.step(gradients())


@pytest.mark.skipif(sys.platform != "linux", reason="not here: file size limits as Linux has them")
def test_a_full_disk_at_any_byte_leaves_the_old_file(tmp_path: Path) -> None:
    """The disk is full after n bytes: OSError, the old file is unchanged, and no other file remains."""
    code = """
        import os, resource, signal
        import numpy as np
        import fastopt
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        opt = fastopt.Momentum(np.ones(50, np.float32))
        opt.save("o", params=True)
        old = open("o", "rb").read()
        opt.step(np.ones(50, np.float32))
        for room in range(0, len(old), 7):
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            try:
                opt.save("o", params=True)
            except OSError:
                pass
            else:
                raise AssertionError(f"saved {len(old)} bytes in {room}")
            assert open("o", "rb").read() == old and os.listdir() == ["o"], room
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        opt.save("o", params=True)
        assert open("o", "rb").read() != old
    """
    result = fresh(code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
