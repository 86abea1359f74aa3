"""What ``watch`` of the native face does with its arguments.

What lives here: ``live_of`` and ``watched``. What it must not know: how a live query learns of commits.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from docdb.errors import UsageError
from docdb.faces.models import Binding
from docdb.faces.selection import Selection

if TYPE_CHECKING:
    from docdb.feeds.delivery import Watcher
    from docdb.feeds.live import LiveQuery

__all__ = ["live_of", "watched"]

T = TypeVar("T")


def watched(live: LiveQuery[T], on_change: Any, on_error: Any) -> LiveQuery[T] | Watcher[T]:
    """Take a live query's first result and return it, or with callbacks its watcher."""
    from docdb.feeds.delivery import LoopWatcher, Watcher, check_callbacks, in_loop

    check_callbacks(on_change, on_error)
    try:
        live.begin()
    except BaseException:
        live.close()
        raise
    if on_change is None:
        return live
    kind = LoopWatcher if inspect.iscoroutinefunction(on_change) and in_loop() else Watcher
    watcher: Watcher[T] = kind(live.router, live, on_change, on_error)
    watcher.start()
    return watcher


def live_of(binding: Binding[T], selection: Selection) -> LiveQuery[T]:
    """Return the live query of a selection; its first result is still to be taken."""
    if selection.max_time_ms is not None:
        raise UsageError(
            "a live query has no end", path="max_time_ms", hint="leave it out; next(timeout_s) bounds a wait"
        )
    model = binding.settings.model
    load = None if model is None or selection.projection is not None else model.load
    found: LiveQuery[T] = binding.session.feeds.live(binding.name, selection.query(), load)
    return found
