"""Files to import: opening, unpacking, telling the format.

What lives here: ``Input`` and ``read``. What it must not know: databases. A file is read once, forward, so that a pipe will do.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, BinaryIO, Final

import click

import docdb
from docdb.cli.csv_files import read_rows
from docdb.cli.json_files import read_lines, read_values
from docdb.cli.records import Found, Place

__all__ = ["FORMATS", "Input", "collection_of", "opened_input", "read"]

FORMATS: Final = ("bson", "csv", "ejson", "json", "ndjson")
_ENDINGS: Final = {
    ".bson": "bson",
    ".csv": "csv",
    ".ejson": "json",
    ".json": "json",
    ".jsonl": "ndjson",
    ".ndjson": "ndjson",
}
_PACKED: Final = b"\x1f\x8b"
_BUFFER: Final = 64 * 1024


class Counted(io.RawIOBase):
    """A stream that counts the bytes read from it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read: int = self._stream.readinto1(buffer)  # what a pipe has now, without waiting for more
        self.count += read
        return read


@dataclass(frozen=True, slots=True)
class Input:
    """A file opened for reading: its unpacked bytes and how many were read, packed and unpacked."""

    name: str
    stream: io.BufferedReader[Any]
    packed: Counted
    unpacked: Counted
    size: int | None  # bytes in all, packed; None for a pipe


@contextmanager
def opened_input(name: str) -> Iterator[Input]:
    """Open a file, or stdin for ``-``, and unpack it where it is gzip."""
    if name == "-":
        yield _input("stdin", sys.stdin.buffer, None)
        return
    with open(name, "rb") as raw:
        yield _input(name, raw, os.fstat(raw.fileno()).st_size or None)


def _input(name: str, raw: BinaryIO, size: int | None) -> Input:
    packed = Counted(raw)
    stream = io.BufferedReader(packed, _BUFFER)
    if stream.peek(2)[:2] != _PACKED:
        return Input(name, stream, packed, packed, size)
    unpacked = Counted(gzip.GzipFile(fileobj=stream))
    return Input(name, io.BufferedReader(unpacked, _BUFFER), packed, unpacked, size)


def collection_of(name: str) -> str | None:
    """Return the collection a file's name suggests; None for stdin.

    >>> collection_of("data/cities.json.gz")
    'cities'
    """
    path = PurePath(name)
    stem = path.stem if path.suffix == ".gz" else path.name
    while PurePath(stem).suffix in _ENDINGS:
        stem = PurePath(stem).stem
    return None if name == "-" else stem


def format_of(source: Input) -> str:
    """Return the format by the file's name; where it says JSON or nothing, by its first bytes."""
    path = PurePath(source.name)
    by_name = _ENDINGS.get(PurePath(path.stem).suffix if path.suffix == ".gz" else path.suffix)
    if by_name not in (None, "json"):
        return str(by_name)
    head = source.stream.peek(_BUFFER).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head[:1] in (b"[", b""):
        return "json"
    if head[:1] == b"{":
        first, ended, _ = head.partition(b"\n")
        return "ndjson" if ended and _whole(first) else "json"
    raise click.UsageError(f"{source.name}: cannot tell the format; say --format")


def _whole(line: bytes) -> bool:
    try:
        docdb.ejson.loads(line)
    except docdb.DocdbError as error:
        return not error.message.startswith("not JSON")
    return True


def read(source: Input, format: str | None, *, types: bool, delimiter: str) -> Iterator[Found]:
    """Yield what a file holds; a packed file that is torn or damaged ends with a fatal error."""
    try:
        yield from _records(source, format or format_of(source), types, delimiter)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        yield Found(Place(), error=f"damaged gzip: {error}", fatal=True)


def _records(source: Input, format: str, types: bool, delimiter: str) -> Iterator[Found]:
    if format == "csv":
        return read_rows(source.stream, types=types, delimiter=delimiter)
    if format == "bson":
        from docdb.cli.bson_files import read_dump

        return read_dump(source.stream)
    return read_lines(source.stream) if format == "ndjson" else read_values(source.stream)
