"""``docdb delete``: remove the documents that match."""

from __future__ import annotations

from typing import Any

import click

from docdb.cli.arguments import COLLECTION, DOCUMENT, PATH
from docdb.cli.opening import opened

__all__ = ["command"]


@click.command("delete", short_help="Remove the documents that match.")
@PATH
@COLLECTION
@click.argument("filter", type=DOCUMENT)
@click.option("--one", is_flag=True, help="Only the first match.")
@click.option("--all", "everything", is_flag=True, help="Allow the empty filter, which matches every document.")
def command(path: str, collection: str, filter: dict[str, Any], one: bool, everything: bool) -> None:
    """Remove the documents of COLLECTION that match FILTER, in one commit.

    \b
    docdb delete shop.docdb users '{"city": "Shanghai"}'
    docdb delete shop.docdb users '{}' --all
    """
    if not filter and not one and not everything:
        raise click.UsageError("an empty filter deletes every document: say --all")
    with opened(path, write=True) as database:
        target = database.collection(collection)
        done = (target.delete_one if one else target.delete_many)(filter)
    click.echo(f"deleted {done.deleted_count}")
