"""Interrupting a call at a chosen point.

What lives here: ``struck``, which runs a call and interrupts it at the n-th point at which the interpreter would look for signals, and ``count``, which
tells how many there are. What it must not know: what is called.

The interpreter looks behind every call, at the begin of every function and when a loop jumps back; a tracer sees each of these as the instruction
that follows. On the main thread the interruption is a real SIGINT with its handler, so what keeps signals out keeps these out; on other
threads it is an exception thrown in, as ``PyThreadState_SetAsyncExc`` does.
"""

from __future__ import annotations

import contextlib
import dis
import signal
import sys
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import sortedcontainers  # type: ignore[import-untyped]

import docdb

__all__ = ["Interruption", "count", "struck"]

_LOOKS: Final = ("CALL", "CALL_FUNCTION_EX", "RESUME")
_STANDARD: Final = Path(sysconfig.get_path("stdlib"))
_TRACED: Final = (
    str(Path(docdb.__file__).parent),
    str(Path(sortedcontainers.__file__).parent),
    str(_STANDARD / "contextlib.py"),
    str(_STANDARD / "threading.py"),
)


class Interruption(BaseException):
    """What is thrown into a thread."""


@cache
def _points(code: CodeType) -> frozenset[int]:
    """Return the offsets of the instructions before which the interpreter has looked for signals."""
    found, looked = set(), False
    for instruction in dis.get_instructions(code):
        if looked:
            found.add(instruction.offset)
        looked = instruction.opname in _LOOKS
        if "JUMP_BACKWARD" in instruction.opname:
            found.add(instruction.argval)
    return frozenset(found)


@cache
def _traced(name: str) -> bool:
    return name.startswith(_TRACED)


class _Tracer:
    """Counts points, and strikes at one."""

    def __init__(self, at: int, strike: Callable[[], Any]) -> None:
        self.at = at
        self.strike = strike
        self.seen = 0
        self.where = ""

    def enter(self, frame: FrameType, event: str, _: Any) -> Any:
        if not _traced(frame.f_code.co_filename):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self.step

    def step(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode" and frame.f_lasti in _points(frame.f_code):
            self.seen += 1
            if self.seen == self.at:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_qualname}"
                sys.settrace(None)
                self.strike()
        return self.step


def _throw() -> None:
    raise Interruption


def count(call: Callable[[], Any]) -> int:
    """Return how many points a call passes."""
    tracer = _Tracer(0, _throw)
    _trace(tracer, call)
    return tracer.seen


def struck(call: Callable[[], Any], at: int, *, signalled: bool) -> tuple[BaseException | None, str]:
    """Interrupt a call at a point; return what it raised, and where it was struck ("": it did not come to this point)."""
    tracer = _Tracer(at, (lambda: signal.raise_signal(signal.SIGINT)) if signalled else _throw)
    raised: BaseException | None = None
    try:
        _trace(tracer, call)
    except (KeyboardInterrupt, Interruption) as error:
        raised = error.with_traceback(None)
    return raised, tracer.where


def _trace(tracer: _Tracer, call: Callable[[], Any]) -> None:
    before, hook = sys.gettrace(), sys.unraisablehook
    sys.unraisablehook = lambda _: (
        None
    )  # in a finaliser an interruption is swallowed; the hook of pytest would keep its frames
    with contextlib.suppress(StopIteration):
        try:
            sys.settrace(tracer.enter)
            call()
        finally:
            sys.settrace(before)
            sys.unraisablehook = hook
