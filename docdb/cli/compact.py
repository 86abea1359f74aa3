"""``docdb compact``: give free pages back to the disk."""

from __future__ import annotations

from pathlib import Path

import click

from docdb.cli.arguments import PATH
from docdb.cli.opening import opened
from docdb.cli.stats import size

__all__ = ["command"]


@click.command("compact", short_help="Rewrite the file without free pages.")
@PATH
def command(path: str) -> None:
    """Rewrite the database without free pages; nobody else may have it open.

    \b
    docdb compact shop.docdb
    """
    with opened(path, write=True) as database:
        before = _bytes(path)
        database.compact()
    click.echo(f"{size(before)} before, {size(_bytes(path))} now")


def _bytes(path: str) -> int:
    return sum(file.stat().st_size for file in Path(path).iterdir() if file.is_file())
