"""Threads of the estimator: how many there are in a block comes back, and none is left, wherever Ctrl-C comes."""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("sklearn")

from threadpoolctl import ThreadpoolController

from fastopt._native import runtime
from fastopt.mlp import blas
from fastopt.mlp import fit_many as many
from fastopt.mlp.network import Shape
from tests.support.interrupts import pressed

POOLS = [runtime, *ThreadpoolController().select(user_api="blas").lib_controllers]
LIBRARIES = len(POOLS) - 1
BEFORE = [3, *[2] * LIBRARIES]
SMALL: Any = SimpleNamespace(shape=Shape((4, 3, 2)), batch_size=5)
BLOCKS: dict[str, tuple[Callable[[], AbstractContextManager[None]], list[int]]] = {
    "fastopt": (blas.own_thread, [1, *[2] * LIBRARIES]),
    "BLAS": (blas.one_thread, [3, *[1] * LIBRARIES]),
    "both": (lambda: blas.threads_for(SMALL), [1, *[1] * LIBRARIES]),
}


def threads() -> list[int]:
    return [pool.get_num_threads() for pool in POOLS]


def set_threads(numbers: list[int]) -> None:
    for pool, n in zip(POOLS, numbers, strict=True):
        pool.set_num_threads(n)


@pytest.fixture(autouse=True)
def several() -> Iterator[None]:
    enter_and_leave(BLOCKS["both"][0])  # the pools are looked for once
    old = threads()
    set_threads(BEFORE)
    assert threads() == BEFORE
    yield
    set_threads(old)


def enter_and_leave(block: Callable[[], AbstractContextManager[None]]) -> None:
    with block():
        pass


@pytest.mark.parametrize(("block", "within"), BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "inside another"])
def test_ctrl_c_anywhere_leaves_the_threads_as_they_were(block: Any, within: list[int], inside: bool) -> None:
    k, came = 0, True
    while came:
        k += 1
        with ExitStack() as outer:
            if inside:
                outer.enter_context(block())
            came = pressed(k, lambda: enter_and_leave(block))
            assert threads() == (within if inside else BEFORE), k
        assert threads() == BEFORE, k
        with block():
            assert threads() == within, k
        assert threads() == BEFORE, k
    assert k > 15


@pytest.mark.parametrize(("block", "within"), BLOCKS.values(), ids=BLOCKS)
def test_the_last_who_leaves_takes_it_back(block: Any, within: list[int]) -> None:
    first, last = block(), block()
    first.__enter__()
    last.__enter__()
    first.__exit__(None, None, None)
    assert threads() == within
    last.__exit__(None, None, None)
    assert threads() == BEFORE
    other = [5, *[1] * LIBRARIES]
    set_threads(other)
    with block():
        pass
    assert threads() == other, "and not what was before once"


class Slow:
    """A stack of one epoch, during which the main thread has come to wait for it."""

    finished = False

    def epoch(self, stop: Callable[[], bool]) -> None:
        time.sleep(5e-3)

    def record(self, seconds: float) -> None:
        self.finished = True

    def finish_all(self, *, interrupted: bool) -> None:
        self.finished = True


class Long(Slow):
    """One that trains until it is told to stop."""

    stopped = False

    def epoch(self, stop: Callable[[], bool]) -> None:
        end = time.monotonic() + 10.0
        while not (self.stopped or time.monotonic() > end):
            self.stopped = stop()
            time.sleep(1e-3)
        raise KeyboardInterrupt


def test_ctrl_c_anywhere_around_the_threads_of_fit_many_leaves_none_behind() -> None:
    running, k, came = _thread._count(), 0, True
    while came:
        k += 1
        came = pressed(k, lambda: many._run_threads([Slow(), Slow()], 2))  # type: ignore[list-item]
        assert threads() == BEFORE, k
        end = time.monotonic() + 10.0
        while _thread._count() > running:
            assert time.monotonic() < end, f"a thread waits for ever: {k}"
            time.sleep(1e-4)
    assert k > 15


def test_what_goes_wrong_in_a_thread_ends_the_others_and_is_raised() -> None:
    class Fails(Slow):
        def epoch(self, stop: Callable[[], bool]) -> None:
            raise ZeroDivisionError

    trains = Long()
    crew = many._Crew([trains, Fails()])  # type: ignore[list-item]
    with pytest.raises(ZeroDivisionError):
        crew.train(2)
    assert trains.stopped
    assert len(crew.ended) == len(crew.started) == 2


def test_threads_that_cannot_be_started_are_an_error_and_the_others_end(monkeypatch: pytest.MonkeyPatch) -> None:
    start, calls = _thread.start_new_thread, iter([True, False])

    def refuse(*args: Any) -> int:
        if next(calls):
            return start(*args)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(many._thread, "start_new_thread", refuse)
    trains = Long()
    crew = many._Crew([trains])  # type: ignore[list-item]
    with pytest.raises(RuntimeError, match="can't start new thread"):
        crew.train(2)
    assert trains.stopped
    assert len(crew.ended) == len(crew.started) == 1
