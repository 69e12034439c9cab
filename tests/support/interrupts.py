"""Raises KeyboardInterrupt at one possible place after another: for tests of all-or-nothing operations."""

from __future__ import annotations

import dis
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

LOOK = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD"}
TOOL = 3  # a tool id of sys.monitoring that debuggers, profilers and coverage do not use


class Press:
    """Raises KeyboardInterrupt at the k-th place where the interpreter checks for signals.

    It checks at the start of a function, after a call into C and at a backward jump, but not between taking a lock in
    a `with` statement and its block. CPython 3.14 also checks there, which is its bug 148874.
    """

    def __init__(self, k: int) -> None:
        self.k, self.looks, self.looked, self.before = k, 0, False, ""
        self.thread = threading.get_ident()

    def at(self, code: CodeType, offset: int) -> None:
        """Called before each instruction."""
        if threading.get_ident() != self.thread or code.co_filename == __file__:
            return
        if self.looked:
            self.looks += 1
        name = dis.opname[code.co_code[offset]]
        looked, self.looked = self.looked, name in LOOK and self.before != "LOAD_SPECIAL"
        self.before = name
        if looked and self.looks == self.k:
            raise KeyboardInterrupt

    def begin(self, code: CodeType, offset: int) -> None:
        """Called at the start of a function and when a generator resumes."""
        self.looked = threading.get_ident() == self.thread or self.looked

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        if event == "call":
            self.begin(frame.f_code, 0)
        elif event == "opcode":
            self.at(frame.f_code, frame.f_lasti)
        return self.trace

    def start(self) -> None:
        """Use sys.monitoring from CPython 3.12 on, because a trace function misses some instructions."""
        if sys.version_info >= (3, 12):
            events = sys.monitoring.events
            sys.monitoring.use_tool_id(TOOL, "Ctrl-C")
            sys.monitoring.register_callback(TOOL, events.INSTRUCTION, self.at)
            for event in (events.PY_START, events.PY_RESUME):
                sys.monitoring.register_callback(TOOL, event, self.begin)
            sys.monitoring.set_events(TOOL, events.INSTRUCTION | events.PY_START | events.PY_RESUME)
        else:
            self.old = sys.gettrace()
            sys.settrace(self.trace)

    def end(self) -> None:
        self.k = -1
        if sys.version_info >= (3, 12):
            sys.monitoring.set_events(TOOL, 0)
            sys.monitoring.free_tool_id(TOOL)
        else:
            sys.settrace(self.old)


def pressed(k: int, use: Callable[[], Any]) -> bool:
    """Call `use` with an interrupt at the k-th check for signals; return whether it was reached."""
    press = Press(k)
    try:
        press.start()
        use()
    except KeyboardInterrupt:
        pass
    finally:
        press.end()
    return press.looks >= k
