"""``docdb backup``: a consistent copy."""

from __future__ import annotations

import click

from docdb.cli.arguments import PATH
from docdb.cli.opening import opened

__all__ = ["command"]


@click.command("backup", short_help="Copy the database while it is in use.")
@PATH
@click.argument("target", type=click.Path())
@click.option("--compact/--as-is", default=True, show_default=True, help="Leave free pages out, or copy page by page.")
def command(path: str, target: str, compact: bool) -> None:
    """Write a consistent copy of the database at PATH to the folder TARGET, which is absent or empty; others go on reading and writing.

    \b
    docdb backup shop.docdb /backups/shop-monday
    """
    with opened(path) as database:
        database.backup(target, compact=compact)
    click.echo(f"copied to {target}")
