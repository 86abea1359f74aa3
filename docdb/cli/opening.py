"""Opening the database a verb works on.

What lives here: the global options and ``opened``. What it must not know: what a verb does. Verbs that read open for reading, so that a wrong path never
makes a folder; only verbs that say so create one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

import docdb

__all__ = ["Settings", "opened"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The global options."""

    read_only: bool = False
    durability: str = "full"


@contextmanager
def opened(path: str, *, write: bool = False, create: bool = False, **options: Any) -> Iterator[docdb.Database]:
    """Open the database at a path for the time of a verb. Raises click.UsageError where --read-only stands against it."""
    context = click.get_current_context()
    settings: Settings = context.obj
    if write and settings.read_only:
        raise click.UsageError(f"{context.info_name} writes: leave --read-only out", context)
    if not create and path != ":memory:" and not os.path.isdir(path):
        raise click.ClickException(f"there is no database at {path}")
    with docdb.open(path, read_only=not write, create=create, durability=settings.durability, **options) as database:
        yield database
