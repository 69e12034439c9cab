"""Ctrl-C where it may come, one place after another: for tests of what must take place wholly or not at all."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

LOOK = ("RESUME", "CALL", "JUMP_BACKWARD")


class Press:
    """A trace function: KeyboardInterrupt where the interpreter looks for signals, at the k-th time that it does.

    It looks at the start of a function, behind a call and at a jump back: nothing comes between a lock that a `with`
    has taken and the block that gives it back, as it would line by line.
    """

    def __init__(self, k: int) -> None:
        self.k, self.looks = k, 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        looks = True

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal looks
            if event == "opcode":
                looked, looks = looks, dis.opname[frame.f_code.co_code[frame.f_lasti]].startswith(LOOK)
                self.looks += looked
                if looked and self.looks == self.k:
                    raise KeyboardInterrupt
            return trace

        return trace


def pressed(k: int, use: Callable[[], Any]) -> bool:
    """Whether Ctrl-C came in this call; k looks for signals ahead."""
    press, old = Press(k), sys.gettrace()
    sys.settrace(press)
    try:
        use()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(old)
    return press.looks >= k
