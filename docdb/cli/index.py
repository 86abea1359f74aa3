"""``docdb index``: list, create, drop and describe indexes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

import docdb
from docdb.cli.arguments import COLLECTION, DOCUMENT, KEYS, PATH
from docdb.cli.opening import opened
from docdb.cli.output import print_rows
from docdb.cli.progress import progress

__all__ = ["command"]


@click.group("index", short_help="List, create and drop indexes.")
def command() -> None:
    """List, create, drop and describe the indexes of a collection.

    \b
    docdb index create shop.docdb cities country,-population
    docdb index list shop.docdb cities
    """


@command.command("list")
@PATH
@COLLECTION
@click.option("--json", "as_json", is_flag=True, help="One definition a line.")
def list_(path: str, collection: str, as_json: bool) -> None:
    """Show the indexes of COLLECTION.

    \b
    docdb index list shop.docdb cities
    """
    with opened(path) as database:
        found = list(database.collection(collection).list_indexes())
    if as_json:
        _print_lines(found)
        return
    rows = [[index["name"], _keys(index["key"]), _options(index)] for index in found]
    print_rows(["name", "keys", "options"], rows)


@command.command("create")
@PATH
@COLLECTION
@KEYS
@click.option("--name", help="By default made of the keys.")
@click.option("--unique", is_flag=True, help="No two documents with the same values.")
@click.option("--sparse", is_flag=True, help="Leave out documents that have none of the fields.")
@click.option("--partial", type=DOCUMENT, help="Only documents that match this filter.")
@click.option("--expire-after-s", type=float, help="Documents disappear so many seconds after the date in the field.")
@click.option("--case-insensitive", is_flag=True, help="Compare text without case.")
def create(
    path: str,
    collection: str,
    keys: list[tuple[str, int]],
    name: str | None,
    unique: bool,
    sparse: bool,
    partial: dict[str, Any] | None,
    expire_after_s: float | None,
    case_insensitive: bool,
) -> None:
    """Create an index on KEYS: country,-population or a document. Others go on reading and writing meanwhile.

    \b
    docdb index create shop.docdb users email --unique --case-insensitive
    docdb index create shop.docdb cities '{"country": 1, "population": -1}' --name by_country
    """
    wanted = {
        "case_insensitive": case_insensitive or None,
        "expireAfterSeconds": expire_after_s,
        "name": name,
        "partialFilterExpression": partial,
        "sparse": sparse or None,
        "unique": unique or None,
    }
    options = {option: value for option, value in wanted.items() if value is not None}
    with opened(path, write=True) as database, progress(f"{collection}: index") as advance:
        target = database.collection(collection)
        made = target.create_index(
            keys, progress=lambda done, total: advance(done, total, f"{done} documents"), **options
        )
    click.echo(made)


@command.command("drop")
@PATH
@COLLECTION
@click.argument("name")
def drop(path: str, collection: str, name: str) -> None:
    """Remove the index NAME.

    \b
    docdb index drop shop.docdb cities by_country
    """
    with opened(path, write=True) as database:
        database.collection(collection).drop_index(name)
    click.echo(f"dropped {name}")


@command.command("info")
@PATH
@COLLECTION
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One index a line.")
def info(path: str, collection: str, name: str | None, as_json: bool) -> None:
    """Show how large the indexes are: entries, bytes, entries that were cut or belong to arrays.

    \b
    docdb index info shop.docdb cities country_1
    """
    with opened(path) as database:
        found = database.collection(collection).index_stats()
    chosen = [index for index in found if name in (None, index["name"])]
    if name is not None and not chosen:
        raise docdb.IndexDefinitionError(f"there is no index {name!r} on {collection!r}", code=27)
    if as_json:
        _print_lines(chosen)
        return
    columns = ("name", "keys", "entries", "bytes", "cut", "multikey", "building")
    print_rows(columns, [_figures(index) for index in chosen])


def _figures(index: Mapping[str, Any]) -> list[str]:
    figures = [str(index.get(column, "")) for column in ("entries", "bytes", "cut", "multikey")]
    return [index["name"], _keys(index["key"]), *figures, "yes" if index.get("building") else ""]


def _print_lines(documents: list[dict[str, Any]]) -> None:
    for document in documents:
        click.echo(docdb.ejson.dumps(document))


def _keys(keys: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {'descending' if way == -1 else 'ascending' if way == 1 else way}" for name, way in keys.items()
    )


def _options(index: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in index.items() if name not in ("key", "name", "v")}
    return ", ".join(name if value is True else f"{name} {docdb.ejson.dumps(value)}" for name, value in rest.items())
