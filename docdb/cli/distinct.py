"""``docdb distinct``: the different values of a field."""

from __future__ import annotations

from typing import Any

import click

import docdb
from docdb.cli.arguments import COLLECTION, FILTER, PATH
from docdb.cli.opening import opened

__all__ = ["command"]


@click.command("distinct", short_help="Show the different values of a field.")
@PATH
@COLLECTION
@click.argument("field")
@FILTER
def command(path: str, collection: str, field: str, filter: dict[str, Any]) -> None:
    """Print the different values FIELD has in the documents that match FILTER, one a line; arrays give their elements.

    \b
    docdb distinct shop.docdb cities country '{"name": "Paris"}'
    """
    with opened(path) as database:
        for value in database.collection(collection).distinct(field, filter):
            click.echo(docdb.ejson.dumps(value))
