"""``docdb explain``: how a query finds its documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

import docdb
from docdb.cli.arguments import COLLECTION, FILTER, LIMIT, PATH, PROJECTION, SKIP, SORT, Order
from docdb.cli.opening import opened
from docdb.cli.reading import asked

__all__ = ["command", "readable"]

_WORDS: Final = {
    "advice": "would help",
    "documents_examined": "documents examined",
    "entries_examined": "entries examined",
}


@click.command("explain", short_help="Show how a query finds its documents.")
@PATH
@COLLECTION
@FILTER
@PROJECTION
@SORT
@LIMIT
@SKIP
@click.option("--hint", help="The index to use, by name or keys (country,-population).")
@click.option("--plan-only", is_flag=True, help="Do not run the query, which counts what it examines.")
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON.")
def command(
    path: str,
    collection: str,
    filter: dict[str, Any],
    projection: Any,
    sort: list[tuple[str, int]] | None,
    limit: int | None,
    skip: int,
    hint: str | None,
    plan_only: bool,
    as_json: bool,
) -> None:
    """Show the plan of a query on COLLECTION: access path, bounds, what is examined, and which index would help.

    \b
    docdb explain shop.docdb cities '{"country": "IT"}' --sort name
    """
    with opened(path) as database:
        target = database.collection(collection)
        found = asked(
            target, filter, projection=projection, sort=sort, skip=skip, limit=limit, hint=_hint(target, hint)
        )
        plan = found.explain("queryPlanner" if plan_only else "executionStats")
    click.echo(docdb.ejson.dumps(plan, indent=2) if as_json else "\n".join(readable(plan)))


def _hint(collection: docdb.Collection[Any], hint: str | None) -> Any:
    """Take a hint as the name of an index where there is one, else as keys."""
    if hint is None or hint in collection.index_information():
        return hint
    return Order().convert(hint, None, None)


def readable(plan: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """Yield a plan's lines: what is nested is indented, what is empty or false is left out.

    >>> list(readable({"access": "IndexScan", "bounds": {"age": ["[3, MaxKey]"]}, "covered": False}))
    ['access: IndexScan', 'bounds:', '  age: [3, MaxKey]']
    """
    margin = "  " * depth
    for name, value in plan.items():
        label = _WORDS.get(name, name)
        if isinstance(value, Mapping) and value:
            yield f"{margin}{label}:"
            yield from readable(value, depth + 1)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            yield f"{margin}{label}:"
            yield from _listed(value, depth + 1)
        elif isinstance(value, list) and value:
            yield f"{margin}{label}: {(' -> ' if name == 'stages' else ', ').join(str(item) for item in value)}"
        elif value is not None and value is not False and value not in ({}, []):
            yield f"{margin}{label}: {value}"


def _listed(parts: list[Any], depth: int) -> Iterator[str]:
    for part in parts:
        first, *rest = readable(part, depth) if part else [""]
        yield f"{first[: 2 * depth - 2]}- {first[2 * depth :]}"
        yield from rest
