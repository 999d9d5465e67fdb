"""Interrupts at any opcode, one by one."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from typing_extensions import override

import async_session_store

# Python 3.12 may crash if one thread traces the opcodes of code that another one runs.
EVENT = "line" if sys.version_info[:2] == (3, 12) else "opcode"
PACKAGE = str(Path(async_session_store.__file__).parent)


def steps(opcodes: int) -> int:
    """Return how many interrupts these opcodes allow at least: one each, or one for each line."""
    return opcodes if EVENT == "opcode" else opcodes // 3


class Interrupt(BaseException):
    """Raised at an opcode, as by a signal handler."""


class Tracer:
    """A trace that raises at the n-th opcode of this thread: in the files given, or the library."""

    def __init__(self, number: int, *code: str) -> None:
        self.left = number
        self._code = code or (PACKAGE,)

    def run(self, call: Callable[[], object]) -> None:
        with self.tracing():
            call()

    @contextmanager
    def tracing(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Callable[..., object]:
        is_traced = frame.f_code.co_filename.startswith(self._code)
        frame.f_trace_opcodes = is_traced and EVENT == "opcode"
        if is_traced and event == EVENT and self._is_hit(frame):
            raise Interrupt
        return self._trace

    def _is_hit(self, frame: FrameType) -> bool:
        # Signals are not handled there: nothing comes between the value and the return.
        if dis.opname[frame.f_code.co_code[frame.f_lasti]] == "RETURN_VALUE":
            return False
        self.left -= 1
        return self.left == 0


class TaskTracer(Tracer):
    """Raises where trio's KeyboardInterrupt can: not in callbacks, which trio protects from it."""

    # Python handles no signal on a coroutine's way from its innermost await to the loop and back.
    YIELDING = frozenset(
        {"JUMP_BACKWARD_NO_INTERRUPT", "RESUME", "SEND", "YIELD_FROM", "YIELD_VALUE"}
    )

    @override
    def _is_hit(self, frame: FrameType) -> bool:
        if dis.opname[frame.f_code.co_code[frame.f_lasti]] in self.YIELDING:
            return False
        caller: FrameType | None = frame
        while caller is not None:
            if caller.f_code.co_name == "run_cb":  # trio's
                return False
            caller = caller.f_back
        return super()._is_hit(frame)
