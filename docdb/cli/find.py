"""``docdb find``: documents that match."""

from __future__ import annotations

from typing import Any

import click

from docdb.cli.arguments import COLLECTION, FILTER, LIMIT, PATH, PROJECTION, SKIP, SORT
from docdb.cli.opening import opened
from docdb.cli.output import Form, default_format, standard_output, write_documents
from docdb.cli.reading import asked

__all__ = ["command"]


@click.command("find", short_help="Show the documents that match.")
@PATH
@COLLECTION
@FILTER
@PROJECTION
@SORT
@LIMIT
@SKIP
@click.option(
    "--format",
    "-f",
    type=click.Choice(["csv", "json", "ndjson", "table"]),
    help="By default a table on a terminal, ndjson elsewhere.",
)
def command(
    path: str,
    collection: str,
    filter: dict[str, Any],
    projection: Any,
    sort: list[tuple[str, int]] | None,
    limit: int | None,
    skip: int,
    format: str | None,
) -> None:
    """Show the documents of COLLECTION that match FILTER (Extended JSON; @FILE and - read it from a file or stdin).

    \b
    docdb find shop.docdb cities '{"country": "IT"}' --sort -population --limit 3
    docdb find shop.docdb users '{"created": {"$gte": {"$date": "2024-01-01T00:00:00Z"}}}' -p name,age
    """
    with opened(path, snapshot_limit_s=None) as database:
        found = asked(database.collection(collection), filter, projection=projection, sort=sort, skip=skip, limit=limit)
        write_documents(found, Form(format or default_format(), indent=2), standard_output())
