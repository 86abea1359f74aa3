"""``docdb watch``: changes as they are committed, or the results of a query that stays up to date."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import click

import docdb
from docdb.cli.arguments import DOCUMENT, LIMIT, PATH, PROJECTION, SKIP, SORT
from docdb.cli.opening import opened
from docdb.cli.output import Form, standard_output, write_documents

__all__ = ["command"]


@click.command("watch", short_help="Show changes, or a query's result, as they come.")
@PATH
@click.argument("collection", required=False)
@click.argument("filter", type=DOCUMENT, required=False)
@PROJECTION
@SORT
@LIMIT
@SKIP
@click.option(
    "--changes", is_flag=True, help="With a filter: the changes of what matches before or after, not the result."
)
@click.option("--live", is_flag=True, help="Without a filter: the whole collection as a result, not its changes.")
@click.option("--since", metavar="POSITION", help='Begin behind a position, or with the "oldest" change left.')
@click.option("--count", type=click.IntRange(min=1), help="End after so many lines.")
@click.option("--timeout", type=click.FloatRange(min=0), help="End when nothing comes for so many seconds.")
@click.option("--canonical", is_flag=True, help="Canonical Extended JSON: every number with its type.")
def command(
    path: str,
    collection: str | None,
    filter: dict[str, Any] | None,
    projection: Any,
    sort: list[tuple[str, int]] | None,
    limit: int | None,
    skip: int,
    changes: bool,
    live: bool,
    since: str | None,
    count: int | None,
    timeout: float | None,
    canonical: bool,
) -> None:
    """Show every change of the database, or of COLLECTION, one a line; with FILTER the query's result, now and each time a commit touches it.

    \b
    docdb watch shop.docdb
    docdb watch shop.docdb orders '{"status": "open"}' --sort -created --limit 10
    docdb watch shop.docdb orders '{"status": "open"}' --changes --since oldest
    """
    asked = {"--sort": sort, "--limit": limit, "--skip": skip, "--projection": projection}
    as_result = not changes and (live or filter is not None or any(value for value in asked.values()))
    _check(collection, asked, changes, live, since, as_result)
    with _naming_the_oldest(), opened(path, snapshot_limit_s=None) as database:
        if as_result:
            assert collection is not None
            query = database.collection(collection).where({}).options(raw=True).where(filter or {})
            lines = map(_result, _ready(_asked(query, projection, sort, skip, limit).watch(), timeout))
        else:
            lines = map(_change, _ready(_stream(database, collection, filter, since), timeout))
        form, output = Form("ndjson", canonical), standard_output()
        for line in islice(lines, count):
            write_documents([line], form, output)


@contextmanager
def _naming_the_oldest() -> Iterator[None]:
    """Say in terms of the command line how to go on behind a lost history."""
    try:
        yield
    except docdb.HistoryLost as lost:
        if lost.oldest is not None:
            lost.hint = f"--since {lost.oldest} is the oldest position left"
        raise


def _check(
    collection: str | None, asked: Mapping[str, Any], changes: bool, live: bool, since: str | None, as_result: bool
) -> None:
    """Refuse options that contradict one another."""
    given = [name for name, value in asked.items() if value]
    if changes and (live or given):
        raise click.UsageError(f"--changes has no {'--live' if live else given[0]}")
    if as_result and since is not None:
        raise click.UsageError("--since is of changes; a result is that of now")
    if as_result and collection is None:
        raise click.UsageError("a result is of a COLLECTION")


def _asked(query: Any, projection: Any, sort: list[tuple[str, int]] | None, skip: int, limit: int | None) -> Any:
    for field, way in sort or ():
        query = query.order_by(field, way)
    query = query.skip(skip) if skip else query
    query = query.limit(limit) if limit else query
    return query.field(projection) if projection else query


def _stream(database: docdb.Database, collection: str | None, filter: dict[str, Any] | None, since: str | None) -> Any:
    place = {"from_": "oldest"} if since == "oldest" else {"resume_after": since} if since else {}
    if collection is None:
        return database.changes(**place)
    return database.collection(collection).changes(filter, **place)


def _ready(feed: Any, timeout: float | None) -> Iterator[Any]:
    """Yield what comes until nothing does for so long."""
    with suppress(StopIteration):
        while True:
            yield feed.next(timeout)


def _change(change: Any) -> dict[str, Any]:
    shown = {
        "position": change.position, "time": change.time, "collection": change.collection, "operation": change.operation, "detail": change.detail,
        "id": change.id, "before": change.before, "after": change.after, "updated_fields": change.updated_fields,
        "removed_fields": change.removed_fields,
    }  # fmt: skip
    return {name: value for name, value in shown.items() if value is not None}


def _result(snapshot: Any) -> dict[str, Any]:
    changes = [
        {
            "data_type": change.data_type, "queue_type": change.queue_type, "id": change.doc_id, "updated_fields": change.updated_fields,
            "removed_fields": change.removed_fields,
        }
        for change in (snapshot.doc_changes if snapshot.id else ())
    ]  # fmt: skip
    told = [{name: value for name, value in change.items() if value is not None} for change in changes]
    return {"event": snapshot.id, "position": snapshot.position, "docs": snapshot.docs, "changes": told}
