"""Python threads, signals, forks and pools around a step. Scripts run in a child process with a time limit, because a
failure may be a hang or a crash."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pickle
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt
from tests.support import run_python
from tests.support.rows import ROWS, Array, core

posix = pytest.mark.skipif(os.name != "posix", reason="fork and signals as POSIX has them")


def script(tmp_path: Path, code: str, timeout: float = 60, **env: str) -> str:
    """Run `code` as a file, which multiprocessing's spawn needs, and return its output. It may not hang or crash."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(code))
    result = run_python("-X", "faulthandler", path, timeout=timeout, **{"OMP_NUM_THREADS": "2", **env})
    assert result.returncode == 0, f"exit code {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout


def arrays(seed: int, *sizes: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=n).astype(np.float32) for n in sizes]


def result(opt: Any) -> list[bytes]:
    """The bytes of all parameters and states."""
    params = [p.tobytes() for group in opt.param_groups for p in group["params"]]
    return params + [v.tobytes() for state in opt.state for k, v in state.items() if k != "step"]


def together(*tasks: Any, timeout: float = 60) -> None:
    """Run each task in a thread, all starting together, and raise the first exception."""
    start, errors = threading.Barrier(len(tasks)), []

    def run(task: Any) -> None:
        start.wait(timeout)
        try:
            task()
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=run, args=(task,), daemon=True) for task in tasks]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout)
        assert not worker.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


# -- the interpreter's lock -------------------------------------------------------------------------------------------

#: Another thread watches for a moment at which some elements are changed and others are not.
WATCH = """
    import threading, time
    import numpy as np, fastopt
    from fastopt._native import _testing

    fastopt.set_num_threads(1)
    n = 1 << 23

    def sample(w):
        "A few inner elements, because a big memcpy may write either end last."
        return w[w.size // 32 :: w.size // 16].copy()

    def seen_in_the_middle(begin, w):
        "Whether another Python thread ran while begin() was changing w. Also False if that thread started too late."
        before, seen, over = sample(w), [False], threading.Event()
        def watch():
            while not over.is_set() and not seen[0]:
                changed = sample(w) != before
                seen[0] = changed.any() and not changed.all()
        watcher = threading.Thread(target=watch)
        watcher.start()
        begin()
        over.set()
        watcher.join()
        return seen[0]
"""


@pytest.mark.timing
def test_other_threads_run_during_a_big_step(tmp_path: Path) -> None:
    code = """
    w, g = np.zeros(n, np.float32), np.ones(n, np.float32)
    opt = fastopt.Adam(w)
    opt.step(g)
    for options in ({}, {"max_norm": 1.0}, {"zero_grads": True}):
        step = lambda: opt.step(np.ones(n, np.float32), **options)
        assert any(seen_in_the_middle(step, w) for _ in range(40)), options
    """
    script(tmp_path, textwrap.dedent(WATCH) + textwrap.dedent(code))


@pytest.mark.timing
def test_other_threads_run_during_a_big_lookahead(tmp_path: Path) -> None:
    code = """
    n *= 2  # both moves are fast, and waking a thread takes milliseconds on some systems
    w = np.zeros(n, np.float32)
    opt = fastopt.NAG(w)
    opt.step(lambda: np.ones(n, np.float32))
    block = [None]
    def enter():
        block[0] = opt.lookahead()
        block[0].__enter__()
    def leave():
        block[0].__exit__(None, None, None)
    seen = [False, False]
    for _ in range(80):
        for k, move in enumerate((enter, leave)):
            seen[k] |= seen_in_the_middle(move, w)
        if all(seen):
            break
    assert all(seen), seen
    """
    script(tmp_path, textwrap.dedent(WATCH) + textwrap.dedent(code))


# -- several optimizers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["adam", "nag"])
@pytest.mark.parametrize("sizes", [(5, 700), (3 * 4096 + 1, 9000), (100_000, 3, 40_000)], ids=str)
def test_two_optimizers_from_two_threads(rule: str, sizes: tuple[int, ...]) -> None:
    """The same bits as alone, on the serial and on the parallel path."""
    row, steps, trained = ROWS[rule], 8, {}

    def train(seed: int) -> Any:
        opt = row.make(arrays(seed, *sizes))
        for t in range(steps):
            opt.step(lambda t=t: arrays(seed + 10 + t, *sizes), max_norm=1.0, zero_grads=True)
        return opt

    for threshold in (0, 10**9):
        with core(threads=2, threshold=threshold):
            alone = [result(train(seed)) for seed in range(3)]
            together(*(lambda seed=seed: trained.update({seed: train(seed)}) for seed in range(3)))
            assert [result(trained[seed]) for seed in range(3)] == alone


def test_settings_change_while_others_step() -> None:
    """Threads, threshold and instruction set change during steps; results do not."""
    opt, twin = fastopt.Adam(arrays(0, 30_000)), fastopt.Adam(arrays(0, 30_000))
    done = threading.Event()

    def step() -> None:
        for t in range(60):
            opt.step(arrays(t, 30_000))
        done.set()

    def disturb() -> None:
        k = 0
        while not done.is_set():
            k += 1
            with core(threads=1 + k % 3, threshold=(k % 2) * 10**6, isa=fastopt.available_isas()[k % 2 - 1]):
                pass

    with core():
        together(step, disturb)
    for t in range(60):
        twin.step(arrays(t, 30_000))
    assert result(opt) == result(twin)


# -- one optimizer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["sgd", "adam", "adagrad", "rmsprop_momentum"])
@pytest.mark.parametrize("size", [3, 50_000])
def test_one_optimizer_from_two_threads(rule: str, size: int) -> None:
    """Each call raises RuntimeError or makes a step. The result is that of the successful calls, one after another."""
    row = ROWS[rule]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for trial in range(30 if size < 100 else 3):
            w, g = np.ones(size, np.float32), np.full(size, 0.25, np.float32)
            opt = row.make(w)
            counts = [0, 0]

            def step(k: int, opt: Any = opt, g: Array = g, counts: list[int] = counts) -> None:
                for _ in range(20):
                    try:
                        opt.step(g)
                        counts[k] += 1
                    except RuntimeError as error:
                        assert "thread" in str(error)  # noqa: PT017

            together(lambda: step(0), lambda: step(1))
            twin = row.make(np.ones(size, np.float32))
            for _ in range(sum(counts)):
                twin.step(g)
            assert opt.state[0]["step"] == sum(counts) > 0
            assert result(opt) == result(twin), trial
    finally:
        sys.setswitchinterval(interval)


def step_in_another_thread(opt: Any, grads: Any, outcome: list[Any]) -> None:
    def run() -> None:
        try:
            opt.step(grads)
            outcome.append("stepped")
        except RuntimeError as error:
            outcome.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    worker.join(30)
    assert not worker.is_alive()


@pytest.mark.parametrize("moment", ["first step", "after lr was set"])
def test_a_step_while_another_thread_forms_its_scalars(moment: str) -> None:
    """It must not use missing or old scalars: it raises RuntimeError, or steps with the values that were set."""
    outcome: list[Any] = []

    class Interrupted(fastopt.SGD):
        """SGD whose `scalars` lets another thread call `step`."""

        armed = False

        @classmethod
        def scalars(cls, h: Any, lr: float, t: int) -> dict[str, float]:
            if cls.armed:
                cls.armed = False
                step_in_another_thread(opt, g, outcome)
            return super().scalars(h, lr, t)

    w, g = np.ones(4, np.float32), np.ones(4, np.float32)
    opt = Interrupted(w, lr=0.5)
    if moment != "first step":
        opt.step(g)
        opt.param_groups[0]["lr"] = 0.125
    lr, start = opt.param_groups[0]["lr"], w[0]
    Interrupted.armed = True
    stepped = 1
    try:
        opt.step(g)
    except RuntimeError:
        stepped = 0
    stepped += outcome == ["stepped"]
    assert len(outcome) == 1
    assert opt.state[0]["step"] == stepped + (moment != "first step")
    assert w.tolist() == [start - lr * stepped] * 4


@pytest.mark.timing
def test_a_refused_step_does_not_change_the_running_one(tmp_path: Path) -> None:
    """Another thread sets lr and calls step during a big step. It is refused, and the big step keeps its own lr."""
    code = """
    k = 16
    ws, gs = [np.ones(n // k, np.float32) for _ in range(k)], [np.ones(n // k, np.float32) for _ in range(k)]
    opt = fastopt.SGD(ws, lr=0.5)
    opt.step(gs)
    refused = 0
    for trial in range(30):
        opt.param_groups[0]["lr"] = 0.5
        opt.step([np.zeros_like(g) for g in gs])
        before, over = ws[0][0], threading.Event()
        def disturb():
            global refused
            while ws[0][0] == before and not over.is_set():
                pass
            opt.param_groups[0]["lr"] = 0.0
            try:
                opt.step(gs)  # with lr 0 it changes nothing if it comes after the other
            except RuntimeError:
                refused += 1
        other = threading.Thread(target=disturb)
        other.start()
        opt.step(gs)
        over.set()
        other.join()
        moved = {before - w[i] for w in ws for i in (0, -1)}
        assert moved == {0.5}, (trial, moved)
    assert refused, "the second step always came too late"
    """
    script(tmp_path, textwrap.dedent(WATCH) + textwrap.dedent(code))


# -- signals ----------------------------------------------------------------------------------------------------------

#: Sends SIGINT to the main thread while begin() is in C; KeyboardInterrupt is raised right after the call.
INTERRUPT = (
    WATCH
    + """
    import os, signal

    n = 1 << 24

    def wait():
        "Sleep until the signal arrives. Many short sleeps, because a signal just before a sleep does not end it."
        for _ in range(500):
            time.sleep(0.01)

    def poke(w):
        "Start to wait for a change of w."
        before, over = sample(w), threading.Event()
        def watch():
            while (sample(w) == before).all() and not over.is_set():
                pass
            os.kill(os.getpid(), signal.SIGINT)
        poker = threading.Thread(target=watch)
        poker.start()
        return over, poker

    def interrupted_in_the_middle(begin, w):
        "begin(poke): calls poke() just before the change."
        pokers = []
        try:
            try:
                begin(lambda: pokers.append(poke(w)))
            finally:
                pokers[0][0].set()
            wait()  # the signal comes late
        except KeyboardInterrupt:
            pass
        pokers[0][1].join()
"""
)


@posix
def test_ctrl_c_in_the_middle_of_a_step(tmp_path: Path) -> None:
    """The step is completed and counted; the next one continues from it."""
    code = """
    w, g = np.ones(n, np.float32), np.ones(n, np.float32)
    opt = fastopt.Momentum(w, lr=0.5, momentum=0.5)
    for t in range(1, 4):
        interrupted_in_the_middle(lambda poke: (poke(), opt.step(g)), w)
        assert opt.state[0]["step"] == t
        assert len(set(w[::1000])) == 1 and w[0] == w[-1], set(w[::1000])
    assert w[0] == 1 - 0.5 * (1 + 1.5 + 1.75)
    """
    script(tmp_path, textwrap.dedent(INTERRUPT) + textwrap.dedent(code))


@posix
@pytest.mark.parametrize("where", ["entering", "leaving"])
def test_ctrl_c_while_nag_looks_ahead_or_comes_back(tmp_path: Path, where: str) -> None:
    """The parameters are restored, and the optimizer still works."""
    code = f"""
    w = np.ones(n, np.float32)
    opt = fastopt.NAG(w, lr=0.5, momentum=0.5)
    opt.step(lambda: np.ones(n, np.float32))
    before = w[0]
    def enter(poke):
        poke()
        with opt.lookahead():
            wait()
    def leave(poke):
        with opt.lookahead():
            poke()
    for _ in range(3):
        interrupted_in_the_middle(enter if {where!r} == "entering" else leave, w)
        assert set(w[::1000]) == {{before}} and w[-1] == before, (before, w)
    opt.step(lambda: np.zeros(n, np.float32))
    assert opt.state[0]["step"] == 2
    """
    script(tmp_path, textwrap.dedent(INTERRUPT) + textwrap.dedent(code))


# -- processes --------------------------------------------------------------------------------------------------------

TRAIN = """
    import os, sys
    import numpy as np
    import fastopt
    from fastopt._native import _testing

    def make(seed):
        rng = np.random.default_rng(seed)
        return fastopt.Adam([rng.normal(size=n).astype(np.float32) for n in (20_000, 7, 30_000)])

    def train(opt, steps):
        for t in range(steps):
            grads = [np.sin(p) for group in opt.param_groups for p in group["params"]]
            opt.step(grads, max_norm=1.0)
        return opt

    def digest(opt):
        import hashlib
        params = [p for group in opt.param_groups for p in group["params"]]
        states = [s[k] for s in opt.state for k in ("exp_avg", "exp_avg_sq")]
        return hashlib.sha256(b"".join(a.tobytes() for a in (*params, *states))).hexdigest()

    def job(opt):
        _testing.set_serial_threshold(0)  # a child of fork would take the parallel path, if it could
        return digest(train(opt, 3))

    _testing.set_serial_threshold(0)
"""


@posix
def test_fork_after_a_parallel_step(tmp_path: Path) -> None:
    """The child continues on one thread with the same bits, and so do its own child and the parent."""
    code = """
    opt = train(make(0), 3)
    expected = digest(train(train(make(0), 3), 3))
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            good = digest(train(opt, 3)) == expected and fastopt.get_num_threads() == 2
            grandchild = os.fork()
            if grandchild == 0:
                os._exit(0 if digest(train(train(make(0), 3), 3)) == expected else 1)
            os._exit(0 if good and os.waitpid(grandchild, 0)[1] == 0 else 1)
        assert os.waitpid(pid, 0)[1] == 0
        train(make(1), 1)  # the parent's team still works
    assert digest(train(opt, 3)) == expected
    """
    script(tmp_path, textwrap.dedent(TRAIN) + textwrap.dedent(code))


@posix
def test_fork_from_a_thread_while_another_steps(tmp_path: Path) -> None:
    """The child must not inherit a lock that is never released."""
    code = """
    import threading
    busy = fastopt.SGD(np.ones(1 << 22, np.float32), lr=0.0)
    g, over = np.ones(1 << 22, np.float32), threading.Event()
    def work():
        while not over.is_set():
            busy.step(g)
    worker = threading.Thread(target=work)
    worker.start()
    expected = digest(train(make(0), 3))
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if digest(train(make(0), 3)) == expected else 1)
        assert os.waitpid(pid, 0)[1] == 0
    over.set()
    worker.join()
    """
    script(tmp_path, textwrap.dedent(TRAIN) + textwrap.dedent(code))


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_pools(tmp_path: Path, method: str) -> None:
    """Optimizers are pickled to workers and continue there with the same bits."""
    import multiprocessing

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"{method} is not available here")
    code = f"""
    if __name__ == "__main__":
        import multiprocessing
        opts = [train(make(seed), 2) for seed in range(4)]
        expected = [digest(train(train(make(seed), 2), 3)) for seed in range(4)]
        with multiprocessing.get_context({method!r}).Pool(2) as pool:
            assert pool.map_async(job, opts, chunksize=1).get(50) == expected
        assert [job(opt) for opt in opts] == expected
    """
    script(tmp_path, textwrap.dedent(TRAIN) + textwrap.dedent(code))


@pytest.mark.skipif(importlib.util.find_spec("joblib") is None, reason="joblib is not installed")
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib(tmp_path: Path, backend: str) -> None:
    code = f"""
    if __name__ == "__main__":
        import joblib
        opts = [train(make(seed), 2) for seed in range(4)]
        expected = [digest(train(train(make(seed), 2), 3)) for seed in range(4)]
        got = joblib.Parallel(n_jobs=2, backend={backend!r}, timeout=50)(joblib.delayed(job)(opt) for opt in opts)
        assert got == expected
    """
    script(tmp_path, textwrap.dedent(TRAIN) + textwrap.dedent(code), JOBLIB_TEMP_FOLDER=str(tmp_path))


def test_a_state_that_is_saved_during_steps_is_of_one_step(tmp_path: Path) -> None:
    """While another thread steps, saving is refused or saves one whole step, and a written file can be loaded."""
    w, g = np.zeros(500_000, np.float32), np.ones(500_000, np.float32)
    opt = fastopt.Momentum(w, lr=0.5)
    over = threading.Event()

    def keep_stepping() -> None:
        while not over.is_set():
            with contextlib.suppress(RuntimeError):
                opt.step(g)
            over.wait(1e-3)

    worker = threading.Thread(target=keep_stepping)
    worker.start()
    try:
        for take in (
            opt.state_dict,
            lambda: pickle.loads(pickle.dumps(opt)).state_dict(),
            save_and_load(opt, tmp_path),
        ):
            for _ in range(10):
                a = retried(take)["state"][0]["momentum_buffer"]
                assert a.min() == a.max()
    finally:
        over.set()
        worker.join()


def retried(take: Callable[[], Any], attempts: int = 200_000) -> Any:
    """Call `take` until it succeeds; it is refused in the middle of a step."""
    for _ in range(attempts):
        try:
            return take()
        except RuntimeError:
            time.sleep(1e-4)
    raise AssertionError(f"each of {attempts} attempts fell into the middle of a step")


def save_and_load(opt: Any, folder: Path) -> Any:
    def take() -> dict[str, Any]:
        opt.save(folder / "opt.npz", params=True)
        other = fastopt.Momentum(np.zeros(500_000, np.float32))
        other.load(folder / "opt.npz")
        p = other.param_groups[0]["params"][0]
        assert p.min() == p.max()
        return other.state_dict()

    return take


@posix
def test_fork_while_another_thread_steps(tmp_path: Path) -> None:
    """The step continues in the parent only; the child's copy of the optimizer can step."""
    code = """
    import os, threading, contextlib
    import numpy as np
    import fastopt
    w, g = np.zeros(1 << 24, np.float32), np.ones(1 << 24, np.float32)
    opt = fastopt.SGD(w)
    over = threading.Event()
    def work():
        while not over.is_set():
            opt.step(g)
    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                try:
                    opt.step(g)
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0
    finally:
        over.set()
        worker.join()
    """
    script(tmp_path, textwrap.dedent(code))
