"""``docdb import``: documents from files into a collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

import docdb
from docdb.cli.arguments import PATH, Names
from docdb.cli.inputs import FORMATS, Input, collection_of, opened_input, read
from docdb.cli.loading import Loader, Stopped
from docdb.cli.opening import opened
from docdb.cli.progress import Advance, progress
from docdb.cli.records import Found, Place

__all__ = ["command"]

MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    format: str | None
    types: bool
    delimiter: str
    upsert: Sequence[str]
    drop: bool
    batch: int
    stop: bool


@click.command("import", short_help="Import JSON, CSV or BSON files.")
@PATH
@click.argument("files", nargs=-1, required=True)
@click.option("--collection", "-c", help="Collection; by default the file's name.")
@click.option("--format", type=click.Choice(FORMATS), help="By default the file's name and first bytes tell.")
@click.option("--types", is_flag=True, help="CSV: guess numbers, true, false, null, dates; leave empty cells out.")
@click.option("--delimiter", default=",", show_default=True, help="CSV: what stands between cells.")
@click.option("--upsert", is_flag=True, help="Replace the document with the same _id.")
@click.option("--upsert-fields", type=Names(), help="Replace the document with the same values in these fields.")
@click.option("--drop", is_flag=True, help="Drop the collection first.")
@click.option("--batch", type=click.IntRange(1, 100_000), default=1_000, show_default=True, help="Documents a commit.")
@click.option("--stop-on-error", is_flag=True, help="End at the first document that is refused.")
def command(
    path: str,
    files: tuple[str, ...],
    collection: str | None,
    format: str | None,
    types: bool,
    delimiter: str,
    upsert: bool,
    upsert_fields: list[str] | None,
    drop: bool,
    batch: int,
    stop_on_error: bool,
) -> None:
    """Import FILES (- is stdin) into the database at PATH, which is created when absent.

    JSON arrays, JSON documents one a line or one after the other (Extended JSON keeps types), CSV with a header, BSON dumps; all of them
    gzip-packed too. Documents that are refused are told with file, line and column and counted, the others are stored; then the exit code is 1.

    \b
    docdb import shop.docdb cities.json.gz
    docdb import shop.docdb people.csv --types --upsert-fields email
    zcat dump.ndjson.gz | docdb import shop.docdb - --collection users
    """
    if len(delimiter) != 1:
        raise click.BadParameter("one character", param_hint="'--delimiter'")
    if upsert and upsert_fields:
        raise click.UsageError("--upsert goes by _id, --upsert-fields by fields: say one of them")
    names = [collection or collection_of(name) for name in files]
    if None in names:
        raise click.UsageError("stdin has no name: say --collection")
    options = Options(format, types, delimiter, upsert_fields or ["_id"] * upsert, drop, batch, stop_on_error)
    refused = 0
    with opened(path, write=True, create=True) as database:
        for name in dict.fromkeys(name for name in names if name):
            chosen = [file for file, its_name in zip(files, names, strict=True) if its_name == name]
            refused += _import(database, name, chosen, options)
    if refused:
        raise click.ClickException(f"{refused} refused")


def _import(database: docdb.Database, name: str, files: Sequence[str], options: Options) -> int:
    """Import files into one collection, say how many documents were stored, and return how many were refused."""
    collection = database.collection(name)
    if options.drop:
        collection.drop()
    _advise(database, name, options.upsert)
    told = _Told()
    loader = Loader(collection, batch=options.batch, upsert=options.upsert, stop=options.stop, refuse=told.refuse)
    try:
        for file in files:
            with opened_input(file) as source, progress(source.name) as advance:
                records = read(source, options.format, types=options.types, delimiter=options.delimiter)
                loader.load(source.name, _watched(records, source, loader, advance), source.unpacked)
    except Stopped:
        return loader.refused
    finally:
        click.echo(f"{name}: {loader.stored} imported")
        told.rest()
    return loader.refused


def _advise(database: docdb.Database, name: str, upsert: Sequence[str]) -> None:
    """Say when every upsert will cost a scan."""
    if not upsert or upsert[0] == "_id":
        return
    known = database.collection(name).index_information().values()
    if not any(index["key"][0][0] in upsert for index in known):
        click.echo(f"docdb: note: no index begins with {upsert[0]}: each document costs a scan", err=True)


def _watched(records: Iterator[Found], source: Input, loader: Loader, advance: Advance) -> Iterator[Found]:
    """Move the bar as documents pass."""
    for number, found in enumerate(records):
        if not number % 500:
            advance(source.packed.count, source.size, f"{loader.stored} documents")
        yield found


class _Told:
    """Tells the first errors and counts the others."""

    def __init__(self) -> None:
        self.count = 0

    def refuse(self, name: str, place: Place, error: str) -> None:
        """Say what is wrong with a document."""
        self.count += 1
        if self.count <= MOST_TOLD:
            click.echo(f"docdb: {name}: {place}: {' '.join(error.split())}", err=True)

    def rest(self) -> None:
        """Say how many errors were not told."""
        if self.count > MOST_TOLD:
            click.echo(f"docdb: {self.count - MOST_TOLD} more", err=True)
