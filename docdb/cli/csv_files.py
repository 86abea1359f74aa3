"""Reading and writing CSV.

What lives here: ``read_rows`` and ``write_rows``. What it must not know: where bytes come from, databases. The first row names the columns; a dotted name is a
path through objects. Cells are text unless ``types`` asks for a guess (``cells.guess``).
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final

from docdb.cli.cells import cell, flattened, guess, nested, reach
from docdb.cli.records import Found, Place

__all__ = ["read_rows", "write_rows"]

LONGEST_CELL: Final = 16 * 2**20


def read_rows(stream: BinaryIO, *, types: bool = False, delimiter: str = ",") -> Iterator[Found]:
    """Yield a document for each row. A row of another length than the first is an error and the next one goes on."""
    csv.field_size_limit(LONGEST_CELL)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        names = next(rows, [])
        problem = _wrong_names(names)
        if problem:
            yield Found(Place(1), error=problem, fatal=True)
            return
        before = rows.line_num
        for row in rows:
            if row:
                yield _found(names, row, Place(before + 1), types)
            before = rows.line_num
    except csv.Error as error:
        yield Found(Place(rows.line_num), error=f"not CSV: {error}", fatal=True)
    except UnicodeDecodeError:
        yield Found(Place(rows.line_num + 1), error="not UTF-8 in this line or shortly after", fatal=True)
    finally:
        text.detach()


def _wrong_names(names: Sequence[str]) -> str | None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        return f"two columns are named {twice!r}"
    wrong = [name for name in names if not all(name.split("."))]
    return f"{wrong[0]!r} cannot name a column: a name, or names with dots between them" if wrong else None


def _found(names: Sequence[str], row: Sequence[str], place: Place, types: bool) -> Found:
    if len(row) != len(names):
        return Found(place, error=f"{len(row)} cells, the first row has {len(names)}")
    values: Sequence[Any] = [guess(text) for text in row] if types else row
    try:
        return Found(place, nested(zip(names, values, strict=True)))
    except ValueError as error:
        return Found(place, error=str(error))


def write_rows(documents: Iterable[Mapping[str, Any]], stream: BinaryIO, fields: Sequence[str] | None) -> int:
    """Write documents and return how many. Without ``fields`` the columns are all paths that occur, in order of appearance.

    Memory: one document; the rows wait in a temporary file until all columns are known.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text, lineterminator="\n")
        return _write_found(documents, writer) if fields is None else _write_chosen(documents, writer, fields)
    finally:
        text.detach()


def _write_chosen(documents: Iterable[Mapping[str, Any]], writer: Any, fields: Sequence[str]) -> int:
    writer.writerow(fields)
    count = 0
    for document in documents:
        writer.writerow([cell(reach(document, path)) for path in fields])
        count += 1
    return count


def _write_found(documents: Iterable[Mapping[str, Any]], writer: Any) -> int:
    columns: dict[str, int] = {}
    count = 0
    with tempfile.TemporaryFile("w+", encoding="utf-8") as waiting:
        for document in documents:
            row = flattened(document)
            for name in row:
                columns.setdefault(name, len(columns))
            waiting.write(json.dumps({columns[name]: text for name, text in row.items()}) + "\n")
            count += 1
        if columns:
            writer.writerow(columns)
        waiting.seek(0)
        for line in waiting:
            cells = json.loads(line)
            writer.writerow([cells.get(str(number), "") for number in range(len(columns))])
    return count
