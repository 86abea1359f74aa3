"""Progress bars, on a terminal.

What lives here: ``progress``. What it must not know: what makes progress.

Bars go to stderr, so that output stays clean; where that is no terminal there is none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Advance", "progress"]

Advance = Callable[[int, int | None, str], None]
"""How far: done, of how many (None: unknown), and what to say beside the bar."""


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """Show a bar for the time of the block; call what is yielded with how far it is."""
    if not sys.stderr.isatty():
        yield lambda done, total, remark: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[remark]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, remark="")
        yield lambda done, total, remark: bar.update(task, completed=done, total=total, remark=remark)
