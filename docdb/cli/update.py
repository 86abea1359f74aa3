"""``docdb update``: change the documents that match."""

from __future__ import annotations

from typing import Any

import click

import docdb
from docdb.cli.arguments import COLLECTION, DOCUMENT, PATH, UPDATE
from docdb.cli.opening import opened

__all__ = ["command"]


@click.command("update", short_help="Change the documents that match.")
@PATH
@COLLECTION
@click.argument("filter", type=DOCUMENT)
@UPDATE
@click.option("--one", is_flag=True, help="Only the first match.")
@click.option("--upsert", is_flag=True, help="Make a document where none matches.")
def command(
    path: str,
    collection: str,
    filter: dict[str, Any],
    update: dict[str, Any] | list[Any],
    one: bool,
    upsert: bool,
) -> None:
    """Change the documents of COLLECTION that match FILTER, in one commit; {} matches all.

    UPDATE is a document of operators, a pipeline, or plain data that is merged in (nested objects by path).

    \b
    docdb update shop.docdb users '{"city": "Shanghai"}' '{"country": "China"}'
    docdb update shop.docdb users '{"_id": "a"}' '{"$inc": {"visits": 1}}' --upsert
    """
    with opened(path, write=True) as database:
        target = database.collection(collection)
        if isinstance(update, list) or any(name.startswith("$") for name in update):
            change = target.update_one if one else target.update_many
            done = change(filter, update, upsert=upsert)
            _say(done.matched_count, done.modified_count, done.did_upsert, done.upserted_id)
            return
        if upsert:
            raise click.UsageError("--upsert needs operators: put the data below $set")
        merged = target.where({}).options(raw=True, multiple=not one).where(filter).update(update)
        _say(merged.matched, merged.updated)


def _say(matched: int, changed: int, made: bool = False, id: Any = None) -> None:
    more = f", made {docdb.ejson.dumps(id)}" if made else ""
    click.echo(f"matched {matched}, changed {changed}{more}")
