"""``docdb restore``: a database from a backup."""

from __future__ import annotations

import click

import docdb
from docdb.cli.arguments import PATH
from docdb.cli.opening import Settings

__all__ = ["command"]


@click.command("restore", short_help="Make a database from a backup.")
@click.argument("backup", type=click.Path())
@PATH
@click.option("--replace", is_flag=True, help="Put it in the place of a database that nobody has open.")
@click.pass_obj
def command(settings: Settings, backup: str, path: str, replace: bool) -> None:
    """Verify the folder BACKUP and make the database at PATH from it.

    \b
    docdb restore /backups/shop-monday shop.docdb --replace
    """
    if settings.read_only:
        raise click.UsageError("restore writes: leave --read-only out")
    docdb.restore(backup, path, replace=replace)
    click.echo(f"restored to {path}")
