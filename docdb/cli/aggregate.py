"""``docdb aggregate``: run a pipeline."""

from __future__ import annotations

from typing import Any

import click

import docdb
from docdb.cli.arguments import COLLECTION, PATH, PIPELINE
from docdb.cli.opening import opened
from docdb.cli.output import Form, default_format, standard_output, write_documents
from docdb.cli.plan_tree import plan_tree

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
@click.option(
    "--explain", is_flag=True, help="Show how it runs: access path, steps, rows, milliseconds; nothing is written."
)
@click.option("--plan-only", is_flag=True, help="With --explain: do not run it, which gives rows and milliseconds.")
def command(
    path: str,
    collection: str,
    pipeline: list[Any] | dict[str, Any],
    format: str | None,
    explain: bool,
    plan_only: bool,
) -> None:
    """Run PIPELINE (a list of stages; @FILE and - read it from a file or stdin) on COLLECTION.

    A pipeline that ends in $out or $merge writes. With --explain a tree is printed, with --format json the plan as JSON.

    \b
    docdb aggregate shop.docdb cities '[{"$group": {"_id": "$country", "n": {"$sum": 1}}}, {"$sort": {"n": -1}}, {"$limit": 5}]'
    docdb aggregate shop.docdb cities '[{"$match": {"country": "IT"}}, {"$count": "n"}]' --explain
    """
    stages = [pipeline] if isinstance(pipeline, dict) else pipeline
    if plan_only and not explain:
        raise click.UsageError("--plan-only goes with --explain")
    if explain:
        with opened(path, snapshot_limit_s=None) as database:
            building = database.collection(collection).aggregate().stages(stages)
            plan = building.explain("queryPlanner" if plan_only else "executionStats")
        click.echo(docdb.ejson.dumps(plan, indent=2) if format == "json" else "\n".join(plan_tree(plan)))
        return
    writes = any(isinstance(stage, dict) and ("$out" in stage or "$merge" in stage) for stage in stages)
    with opened(path, write=writes, snapshot_limit_s=None) as database:
        found = database.collection(collection).aggregate(stages)
        write_documents(found, Form(format or default_format(), indent=2), standard_output())
