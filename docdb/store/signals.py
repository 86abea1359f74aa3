"""Keeping signals out of what must not be left half done.

What lives here: ``Shield``. What it must not know: what it protects.

Python runs signal handlers on the main thread between any two instructions, and most of them raise: KeyboardInterrupt for Ctrl-C, whatever a
timeout or a server's shutdown throws. Raised inside a group commit it would leave a lock held, or the commit's outcome unknown to
its callers. While a shield is up such a signal is noted, and its handler is called when the shield comes down. Handlers that are not
Python's (default action, ignored) are left alone, and so are the other threads, which never run handlers.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final

__all__ = ["Shield"]

# From the module behind ``signal``, whose wrappers look each handler up in an enum and take ten times as long as the call.
SIGNALS: Final = tuple(
    getattr(_signal, name)
    for name in ("SIGALRM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2")
    if hasattr(_signal, name)
)
_get: Final[Callable[[int], Any]] = _signal.getsignal
_set: Final[Callable[[int, Any], Any]] = _signal.signal


class Shield:
    """A context; costs two microseconds on the main thread, next to nothing elsewhere. ``caught`` holds what came, oldest first."""

    __slots__ = ("_handlers", "caught")

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self.caught: list[tuple[int, FrameType | None]] = []

    @property
    def up(self) -> bool:
        """Whether there is anything to be caught."""
        return bool(self._handlers)

    def __enter__(self) -> Shield:
        if threading.current_thread() is threading.main_thread():
            try:
                for number in SIGNALS:
                    handler = _get(number)
                    if callable(handler) and not isinstance(getattr(handler, "__self__", None), Shield):
                        self._handlers[number] = handler
                        _set(number, self._note)
            except BaseException:
                self._lower()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handlers:
            handlers = dict(self._handlers)
            try:
                self._lower()
            finally:
                self._hand_over(handlers)

    def _hand_over(self, handlers: dict[int, Any]) -> None:
        """Call the handlers of what was caught, all of them, whatever each raises."""
        if self.caught:
            number, frame = self.caught.pop(0)
            try:
                handlers[number](number, frame)
            finally:
                self._hand_over(handlers)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.caught.append((number, frame))

    def _lower(self) -> None:
        """Put all handlers back, even when one of them raises meanwhile."""
        raised: BaseException | None = None
        while self._handlers:
            try:
                number, handler = next(iter(self._handlers.items()))
                _set(number, handler)
                del self._handlers[number]
            except BaseException as error:
                raised = error
        if raised is not None:
            raise raised
