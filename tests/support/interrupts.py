"""Interrupts a call at one place after another: for tests of all-or-nothing operations.

A place is where CPython handles Ctrl-C, or a line of Python, or an allocation, which then fails.
"""

from __future__ import annotations

import dis
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import fastopt

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


class Lines:
    """A trace function that raises KeyboardInterrupt at the k-th line that is executed in these files of fastopt."""

    def __init__(self, k: int, files: tuple[str, ...] = ("",)) -> None:
        folder = str(Path(fastopt.__file__).parent)
        self.k, self.lines, self.files = k, 0, tuple(folder + "/" + name for name in files)

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(self.files):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.k:
                raise KeyboardInterrupt
        return self


def at_line(k: int, use: Callable[[], Any], files: tuple[str, ...] = ("",)) -> bool:
    """Call `use` with an interrupt at the k-th line of fastopt; return whether it was reached."""
    lines, before = Lines(k, files), sys.gettrace()
    try:
        sys.settrace(lines)
        use()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return lines.lines >= k


def without_memory(k: int, use: Callable[[], Any]) -> bool:
    """Call `use` with the k-th allocation failing; return whether this raised: CPython can do without some.

    NumPy and pickle turn some of these MemoryErrors into other exceptions.
    """
    try:
        _testcapi.set_nomemory(k, k + 1)
        use()
    except Exception:
        return True
    finally:
        _testcapi.remove_mem_hooks()
    return False


WAYS: dict[str, Callable[[int, Callable[[], Any]], bool]] = {"check": pressed, "line": at_line}
try:
    import _testcapi
except ImportError:  # a Python without its own tests
    pass
else:
    WAYS["allocation"] = without_memory
