"""Fewer threads run the next steps after another process kept a core busy; the number of threads changes no bit.

`report_job(total, least, threads)` gets made-up seconds: those of the whole job and of the fastest thread's share.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import fastopt
from fastopt._native import _testing
from tests.core.test_threads import script

shared = pytest.mark.skipif(
    not sys.platform.startswith("linux") or fastopt.build_info()["openmp"] is None or len(os.sched_getaffinity(0)) < 2,
    reason="not here: two threads on one of several processors, as Linux has them",
)


def sizes(threads: int, jobs: int) -> list[int]:
    return [_testing.team_size(threads) for _ in range(jobs)]


@pytest.mark.parametrize(
    ("total", "least", "threads", "after"),
    [
        (0.0009, 0.0, 2, 2),  # too short a job
        (0.0011, 0.0002, 2, 1),  # one thread: 0.4 ms
        (0.0041, 0.0010, 2, 1),
        (0.0039, 0.0010, 2, 2),  # uneven shares of 1 and 3 ms
        (0.0310, 0.0010, 16, 16),
        (0.0330, 0.0010, 16, 8),
        (0.0330, 0.0010, 7, 3),
    ],
)
def test_fewer_threads_follow_if_one_would_have_been_faster(
    total: float, least: float, threads: int, after: int
) -> None:
    _testing.set_backoff(True)
    _testing.report_job(total, least, threads)
    assert sizes(threads, 9) == [after] * 8 + [threads]


def test_the_back_off_doubles_with_each_failure_until_many_good_jobs() -> None:
    _testing.set_backoff(True)
    for length in (8, 16, 32, 64, 128, 128):
        _testing.report_job(0.0042, 0.0002, 2)
        assert sizes(2, length + 1) == [1] * length + [2]
    for good in (255, 256):
        for _ in range(good):
            _testing.report_job(0.0002, 0.0002, 2)
        _testing.report_job(0.0042, 0.0002, 2)
        length = 128 if good == 255 else 8
        assert sizes(2, length + 1) == [1] * length + [2]
    assert _testing.set_backoff(False)
    _testing.report_job(0.0042, 0.0002, 2)
    assert sizes(2, 2) == [2, 2]
    assert not _testing.set_backoff(True)


def test_a_smaller_team_can_fail_too() -> None:
    _testing.set_backoff(True)
    _testing.report_job(0.0330, 0.0001, 16)
    assert sizes(16, 3) == [8] * 3
    _testing.report_job(0.0330, 0.0001, 8, reduced=True)
    assert sizes(16, 3) == [4] * 3
    _testing.report_job(0.0002, 0.0001, 4, reduced=True)  # a good job changes nothing
    assert sizes(16, 6) == [4] * 5 + [16]
    assert sizes(4, 1) == [4]
    _testing.report_job(0.0330, 0.0001, 16)  # all threads again; the number of failures is remembered
    assert sizes(16, 17) == [4] * 16 + [16]
    _testing.report_job(0.0330, 0.0001, 16)
    assert sizes(3, 32) == [3] * 32  # fewer than the limit


#: Both threads of a step share one core, so each job takes much longer than its two halves of work.
ONE_CORE = """
    import os
    import numpy as np
    import fastopt
    from fastopt._native import _testing

    def optimizer():
        rng = np.random.default_rng(1)
        return fastopt.Adam([rng.normal(size=500_000).astype(np.float32)]), \\
            [rng.normal(size=500_000).astype(np.float32)]

    def contents(opt):
        arrays = [opt.param_groups[0]["params"][0]] + [v for k, v in opt.state[0].items() if k != "step"]
        assert len(arrays) == 3
        return [x.tobytes() for x in arrays]

    fastopt.set_num_threads(2)
    opt, gradients = optimizer()
    opt.step(gradients, max_norm=1.0)                     # starts the threads
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {min(os.sched_getaffinity(0))})
    _testing.set_backoff(True)
    sizes = set()
    while 1 not in sizes:                                 # the test's time limit ends this if it never happens
        for _ in range(10):
            opt.step(gradients, max_norm=1.0)
        sizes.add(_testing.team_size(2))
    steps = opt.state[0]["step"]
    fastopt.set_num_threads(1)
    alone, gradients = optimizer()
    for _ in range(steps):
        alone.step(gradients, max_norm=1.0)
    assert contents(opt) == contents(alone), "the number of threads changed a bit"
"""


@shared
@pytest.mark.timing
def test_two_threads_on_one_core_become_one_and_change_no_bit(tmp_path: Path) -> None:
    """`python -m bench crowded` measures what this gains."""
    script(tmp_path, ONE_CORE)


@pytest.mark.parametrize(("value", "on"), [("0", False), ("1", True)])
def test_environment_variable_switches_the_back_off_off(tmp_path: Path, value: str, on: bool) -> None:
    code = "from fastopt._native import _testing; print(_testing.set_backoff(True))"
    assert script(tmp_path, code, FASTOPT_BACKOFF=value).strip() == str(on)
