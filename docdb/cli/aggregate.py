"""``docdb aggregate``: run a pipeline."""

from __future__ import annotations

from typing import Any

import click

from docdb.cli.arguments import COLLECTION, PATH, PIPELINE
from docdb.cli.opening import opened
from docdb.cli.output import Form, default_format, standard_output, write_documents

__all__ = ["command"]


@click.command("aggregate", short_help="Run a pipeline.")
@PATH
@COLLECTION
@PIPELINE
@click.option(
    "--format",
    "-f",
    type=click.Choice(["csv", "json", "ndjson", "table"]),
    help="By default a table on a terminal, ndjson elsewhere.",
)
def command(path: str, collection: str, pipeline: list[Any] | dict[str, Any], format: str | None) -> None:
    """Run PIPELINE (a list of stages; @FILE and - read it from a file or stdin) on COLLECTION.

    A pipeline that ends in $out or $merge writes.

    \b
    docdb aggregate shop.docdb cities '[{"$group": {"_id": "$country", "n": {"$sum": 1}}}, {"$sort": {"n": -1}}, {"$limit": 5}]'
    """
    stages = [pipeline] if isinstance(pipeline, dict) else pipeline
    writes = any(isinstance(stage, dict) and ("$out" in stage or "$merge" in stage) for stage in stages)
    with opened(path, write=writes, snapshot_limit_s=None) as database:
        found = database.collection(collection).aggregate(stages)
        write_documents(found, Form(format or default_format(), indent=2), standard_output())
