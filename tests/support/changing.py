"""Another thread that changes an array while a kernel runs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import fastopt


def while_it_runs(call: Callable[[], Any], change: Callable[[], Any]) -> Any:
    """The result of call(), with change() at the moment at which the call releases the GIL."""
    begin, interval, threads = threading.Event(), sys.getswitchinterval(), fastopt.get_num_threads()
    sys.setswitchinterval(1000.0)  # no thread has to give up the GIL
    fastopt.set_num_threads(1)
    thread = threading.Thread(target=lambda: (begin.wait(), change()))
    try:
        thread.start()
        begin.set()
        return call()
    finally:
        sys.setswitchinterval(interval)
        fastopt.set_num_threads(threads)
        thread.join()
