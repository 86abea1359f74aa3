"""``docdb export``: documents into files."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Final

import click

from docdb.cli.arguments import COLLECTION, DOCUMENT, FIELDS, LIMIT, PATH, SORT
from docdb.cli.opening import opened
from docdb.cli.output import Form, standard_output, write_documents
from docdb.cli.progress import Advance, progress
from docdb.cli.reading import asked

__all__ = ["command"]

FORMATS: Final = ("bson", "csv", "ejson", "json", "ndjson")
_ENDINGS: Final = {
    ".bson": "bson",
    ".csv": "csv",
    ".ejson": "ejson",
    ".json": "json",
    ".jsonl": "ndjson",
    ".ndjson": "ndjson",
}


@click.command("export", short_help="Write documents to a file or stdout.")
@PATH
@COLLECTION
@click.option("--format", "-f", type=click.Choice(FORMATS), help="By default the output's name tells, or ndjson.")
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="A file, replaced when complete; .gz is packed.")
@click.option("--filter", type=DOCUMENT, default="{}", help="Only documents that match.")
@FIELDS
@SORT
@LIMIT
@click.option("--canonical/--relaxed", default=None, help="Extended JSON with or without exact types.")
def command(
    path: str,
    collection: str,
    format: str | None,
    output: str | None,
    filter: dict[str, Any],
    fields: list[str] | None,
    sort: list[tuple[str, int]] | None,
    limit: int | None,
    canonical: bool | None,
) -> None:
    """Write the documents of COLLECTION, from one snapshot, to stdout or a file.

    json is one array, ndjson one document a line, both relaxed; ejson is one document a line with exact types (canonical Extended JSON), and
    what it writes comes back the same. csv writes objects as dotted columns; bson is what mongorestore reads.

    \b
    docdb export shop.docdb cities --format ejson --output cities.ejson.gz
    docdb export shop.docdb cities --format csv --fields name,lat,lng --filter '{"country": "IT"}'
    """
    chosen = format or (_format_of(output) if output else "ndjson")
    form = Form(chosen, canonical=chosen == "ejson" if canonical is None else canonical, fields=fields)
    if canonical is not None and chosen in ("bson", "csv"):
        raise click.UsageError(f"{chosen} is no Extended JSON: --canonical and --relaxed have no meaning")
    projection = None if fields is None else dict.fromkeys(fields, 1) | ({} if "_id" in fields else {"_id": 0})
    with opened(path, snapshot_limit_s=None) as database:
        source = database.collection(collection)
        found = asked(source, filter, projection=projection, sort=sort, limit=limit)
        with _target(output) as stream, progress(collection) as advance:
            total = None if filter or limit else source.estimated_document_count()
            count = write_documents(_watched(found, total, advance), form, stream)
    if output:
        click.echo(f"{collection}: {count} exported to {output}", err=True)


def _format_of(output: str) -> str:
    path = PurePath(output)
    ending = PurePath(path.stem).suffix if path.suffix == ".gz" else path.suffix
    found = _ENDINGS.get(ending)
    if found is None:
        raise click.UsageError(f"{output}: cannot tell the format by the name; say --format")
    return found


@contextmanager
def _target(output: str | None) -> Iterator[BinaryIO]:
    """Open stdout, or a file under a temporary name that takes its own when all is written."""
    if output is None:
        yield standard_output()
        return
    scratch = Path(f"{output}.{os.getpid()}.part")
    try:
        with open(scratch, "wb") as raw:
            if output.endswith(".gz"):
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                    yield packed  # type: ignore[misc]
            else:
                yield raw
        scratch.replace(output)
    finally:
        scratch.unlink(missing_ok=True)


def _watched(
    documents: Iterable[Mapping[str, Any]], total: int | None, advance: Advance
) -> Iterator[Mapping[str, Any]]:
    """Move the bar as documents pass."""
    for number, document in enumerate(documents):
        if not number % 1_000:
            advance(number, total, f"{number} documents")
        yield document
