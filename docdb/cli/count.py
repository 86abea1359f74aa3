"""``docdb count``: how many documents match."""

from __future__ import annotations

from typing import Any

import click

from docdb.cli.arguments import COLLECTION, FILTER, PATH
from docdb.cli.opening import opened

__all__ = ["command"]


@click.command("count", short_help="Count the documents that match.")
@PATH
@COLLECTION
@FILTER
def command(path: str, collection: str, filter: dict[str, Any]) -> None:
    """Print the number of documents of COLLECTION that match FILTER, all without one.

    \b
    docdb count shop.docdb cities '{"country": "IT"}'
    """
    with opened(path) as database:
        click.echo(database.collection(collection).count_documents(filter))
