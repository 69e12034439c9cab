"""Fixtures and hooks of the whole suite: fastopt's settings are restored after each test, and skips can be forbidden.

FASTOPT_NO_SKIPS=1 (set in CI) fails the run if a test was skipped, for instance because a library is missing. A skip
whose reason starts with "not here:" is allowed: it names something that this machine cannot have.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from fastopt._native import _testing, runtime

# No deadline: a slow machine must not fail a test. In CI the random examples are the same in every run.
settings.register_profile("fastopt", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("fastopt"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "fastopt")

# A process started in the background by a shell ignores SIGINT. Tests of Ctrl-C need Python's own handler.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _core_settings() -> Iterator[None]:
    before = runtime.isa(), runtime.get_num_threads(), _testing.serial_threshold()
    backoff = _testing.set_backoff(False)  # a test of several threads then gets them even on a busy machine
    yield
    _testing.set_backoff(backoff)
    runtime.set_isa(before[0])
    runtime.set_num_threads(before[1])
    _testing.set_serial_threshold(before[2])


def _forbidden_skips(reporter: pytest.TerminalReporter) -> list[str]:
    found = []
    for report in reporter.stats.get("skipped", ()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if not reason.startswith("not here:"):
            found.append(f"{report.nodeid}: {reason}")
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("FASTOPT_NO_SKIPS") and reporter is not None and _forbidden_skips(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("FASTOPT_NO_SKIPS") and (found := _forbidden_skips(terminalreporter)):
        terminalreporter.section("skips are forbidden by FASTOPT_NO_SKIPS", red=True)
        for line in found:
            terminalreporter.write_line(line)
