"""Documents as text: JSON, one document a line, CSV, BSON, tables.

What lives here: ``write_documents`` and ``print_rows``. What it must not know: databases, verbs.

Every writer streams; a table is written in blocks, each as wide as it needs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, Final

import docdb
from docdb.cli.cells import cell, reach
from docdb.cli.csv_files import write_rows

__all__ = ["Form", "default_format", "print_rows", "standard_output", "write_documents"]

Documents = Iterable[Mapping[str, Any]]
BLOCK: Final = 500  # rows of a table
WIDE: Final = 200  # columns of a table where there is no terminal


@dataclass(frozen=True, slots=True)
class Form:
    """How documents are written."""

    format: str
    canonical: bool = False
    fields: Sequence[str] | None = None
    indent: int | None = None


def default_format() -> str:
    """Return what suits the reader: a table on a terminal, one document a line elsewhere."""
    return "table" if sys.stdout.isatty() else "ndjson"


def standard_output() -> BinaryIO:
    """Return stdout for bytes, with what was written as text before it."""
    sys.stdout.flush()
    return sys.stdout.buffer


def write_documents(documents: Documents, form: Form, stream: BinaryIO) -> int:
    """Write documents and return how many. Cost: one pass, flat memory."""
    count = _WRITERS[form.format](documents, form, stream)
    stream.flush()
    return count


def _write_json(documents: Documents, form: Form, stream: BinaryIO) -> int:
    """Write one array; valid JSON at every length."""
    count = 0
    for document in documents:
        stream.write(b"[\n" if not count else b",\n")
        stream.write(docdb.ejson.dumps(document, form.canonical, indent=form.indent).encode())
        count += 1
    stream.write(b"\n]\n" if count else b"[]\n")
    return count


def _write_lines(documents: Documents, form: Form, stream: BinaryIO) -> int:
    count = 0
    for document in documents:
        stream.write(docdb.ejson.dumps(document, form.canonical).encode())
        stream.write(b"\n")
        count += 1
    return count


def _write_csv(documents: Documents, form: Form, stream: BinaryIO) -> int:
    return write_rows(documents, stream, form.fields)


def _write_bson(documents: Documents, form: Form, stream: BinaryIO) -> int:
    from docdb.cli.bson_files import write_dump

    return write_dump(documents, stream)


def _write_table(documents: Documents, form: Form, stream: BinaryIO) -> int:
    count = 0
    rest = iter(documents)
    while block := list(islice(rest, BLOCK)):
        names = list(dict.fromkeys(name for document in block for name in document))
        chosen = names if form.fields is None else form.fields
        print_rows(chosen, ([cell(reach(d, name) if name not in d else d[name]) for name in chosen] for d in block))
        count += len(block)
    return count


def print_rows(names: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """Print a table on stdout. Long cells are folded, never cut."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for name in names:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(text) for text in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else WIDE, highlight=False).print(table)


_WRITERS: Final[dict[str, Callable[[Documents, Form, BinaryIO], int]]] = {
    "bson": _write_bson,
    "csv": _write_csv,
    "ejson": _write_lines,
    "json": _write_json,
    "ndjson": _write_lines,
    "table": _write_table,
}
