"""Threads of the estimators: BLAS uses one in a small fit and is restored after it; an error ends all threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from threadpoolctl import ThreadpoolController

import fastopt
from fastopt.mlp import blas
from fastopt.mlp.training import BatchedTrainer
from fastopt.sklearn import MLPClassifier, fit_many
from fastopt.sklearn.fit_many import _train_in_threads

BLAS = ThreadpoolController().select(user_api="blas").lib_controllers
X, Y = np.random.default_rng(0).normal(size=(90, 4)), np.arange(90) % 3


def threads() -> list[int]:
    return [fastopt.get_num_threads(), *(library.get_num_threads() for library in BLAS)]


@pytest.fixture(autouse=True)
def several() -> Iterator[list[int]]:
    """Set three threads for fastopt and two for each BLAS library."""
    old = [library.get_num_threads() for library in BLAS]
    fastopt.set_num_threads(3)
    for library in BLAS:
        library.set_num_threads(2)
    yield threads()
    fastopt.set_num_threads(None)
    for library, n in zip(BLAS, old, strict=True):
        library.set_num_threads(n)


def fits(callback: Callable[..., Any] | None = None) -> dict[str, Callable[[], Any]]:
    def net(**more: Any) -> MLPClassifier:
        return MLPClassifier((5,), epochs=2, random_state=0, **more)

    return {
        "fit": lambda: net(callbacks=callback).fit(X, Y),
        "partial_fit": lambda: net(callbacks=callback).partial_fit(X, Y, classes=[0, 1, 2]),
        "fit_many": lambda: fit_many([net(), net()], [X, X], [Y, Y]),
        "predict": lambda: net().fit(X, Y).predict(X),
    }


@pytest.mark.parametrize("name", fits())
def test_a_fit_does_not_change_the_number_of_threads(
    name: str, several: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastopt.threads.runtime, "set_num_threads", None)  # a fit never calls it
    fits()[name]()
    assert threads() == several


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_small_fits_use_one_blas_thread_and_restore_the_setting_after_an_error(
    error: type[BaseException], several: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def fail(*_: Any) -> Any:
        seen.append(threads())
        raise error

    monkeypatch.setattr(BatchedTrainer, "epoch", fail)
    with pytest.warns() if error is KeyboardInterrupt else pytest.raises(error):
        fits()["fit"]()
    assert seen == [[3, *[1] * len(BLAS)]]
    assert threads() == several


def test_large_products_use_all_blas_threads(several: list[int]) -> None:
    assert not blas.is_small((1000, 1000, 2), 64)
    with blas.blas_threads_for((1000, 1000, 2), 64):
        assert threads() == several
    with blas.blas_threads_for((1000, 100, 2), 64):
        assert threads() == [3, *[1] * len(BLAS)]


def test_overlapping_blocks_restore_the_blas_threads(several: list[int]) -> None:
    """Two threads: the block that was opened first also ends first."""
    first, second = blas.one_blas_thread(), blas.one_blas_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert threads() == [3, *[1] * len(BLAS)]
    second.__exit__(None, None, None)
    assert threads() == several


class Trainer:
    """A stand-in for a BatchedTrainer that ends after one epoch."""

    finished = False

    def epoch(self, stop: Callable[[], bool]) -> None:
        self.finished = True

    def record(self, seconds: float) -> None:
        pass


class EndlessTrainer(Trainer):
    """A stand-in that trains until it is asked to stop."""

    def __init__(self) -> None:
        self.begun, self.stopped = threading.Event(), False

    def epoch(self, stop: Callable[[], bool]) -> None:
        self.begun.set()
        while not stop():
            pass
        self.stopped = True
        raise KeyboardInterrupt


def test_an_error_in_a_thread_ends_the_others_and_is_raised() -> None:
    endless, before = EndlessTrainer(), threading.active_count()

    class Fails(Trainer):
        def epoch(self, stop: Callable[[], bool]) -> None:
            assert endless.begun.wait(10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _train_in_threads([endless, Fails()], 2)  # type: ignore[list-item]
    assert endless.stopped
    assert threading.active_count() == before


def test_ctrl_c_ends_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    both, before = [EndlessTrainer(), EndlessTrainer()], threading.active_count()

    def press(*_: Any) -> None:
        assert all(trainer.begun.wait(10) for trainer in both)
        raise KeyboardInterrupt

    monkeypatch.setitem(_train_in_threads.__globals__, "_wait", press)
    _train_in_threads(both, 2)  # type: ignore[arg-type]
    assert all(trainer.stopped for trainer in both)
    assert threading.active_count() == before


def test_an_error_when_a_thread_starts_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    start, calls, endless = threading.Thread.start, iter([True, False]), EndlessTrainer()

    def refuse(thread: threading.Thread) -> None:
        if not next(calls):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        _train_in_threads([endless, endless], 2)  # type: ignore[list-item]
    assert threading.active_count() == 1 or endless.stopped
