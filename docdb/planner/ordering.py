"""Putting documents in order: a bounded heap for sort + limit, sorted runs on disk for what does not fit.

What lives here: ``ordered`` and the keyset token. What it must not know: where documents come from. Sort keys are bytes
(``language/sorting.py``), so an order is a comparison of bytes; ties keep the order of arrival.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Final

from docdb.errors import QueryError

__all__ = ["SORT_BYTES", "decode_token", "encode_token", "ordered"]

SORT_BYTES: Final = 64 * 2**20  # what one sort holds in memory before it writes a run
HEAP_LIMIT: Final = 10_000  # above this many results a full sort costs less than a heap
_BATCH: Final = 256
_SAMPLE: Final = 64
_OBJECT_FACTOR: Final = 4  # a decoded document takes about this many times its pickled bytes

Row = tuple[bytes, int, Any]


def ordered(
    items: Iterable[list[Any]], key: Callable[[Any], bytes], limit: int | None, *, memory: int = SORT_BYTES
) -> Iterator[Any]:
    """Yield items in the order of their keys, at most ``limit``. Memory: ``limit`` items up to 10,000, else ``memory`` bytes."""
    rows = ((key(item), number, item) for number, item in enumerate(item for batch in items for item in batch))
    if limit is not None and limit <= HEAP_LIMIT:
        return iter([row[2] for row in heapq.nsmallest(limit, rows, key=_rank)])
    found = _external(rows, memory)
    return (row[2] for row, _ in zip(found, range(limit), strict=False)) if limit is not None else (r[2] for r in found)


def _rank(row: Row) -> tuple[bytes, int]:
    return row[:2]


def _external(rows: Iterator[Row], memory: int) -> Iterator[Row]:
    held: list[Row] = []
    files: list[IO[bytes]] = []
    used = size = 0
    try:
        for row in rows:
            if len(held) % _SAMPLE == 0:
                size = len(pickle.dumps(row[2], pickle.HIGHEST_PROTOCOL)) * _OBJECT_FACTOR
            held.append(row)
            used += size + len(row[0])
            if used > memory:
                files.append(_write_run(held))
                held, used = [], 0
        held.sort(key=_rank)
        yield from heapq.merge(*map(_read_run, files), held, key=_rank) if files else held
    finally:
        for file in files:
            file.close()


def _write_run(rows: list[Row]) -> IO[bytes]:
    rows.sort(key=_rank)
    file = tempfile.TemporaryFile(prefix="docdb-sort-")  # noqa: SIM115 - closed when the sort ends
    for at in range(0, len(rows), _BATCH):
        pickle.dump(rows[at : at + _BATCH], file, pickle.HIGHEST_PROTOCOL)
    file.seek(0)
    return file


def _read_run(file: IO[bytes]) -> Iterator[Row]:
    while True:
        try:
            rows = pickle.load(file)
        except EOFError:
            return
        yield from rows


def encode_token(key: bytes) -> str:
    """Return the keyset token of a document's sort key."""
    return base64.urlsafe_b64encode(key).decode("ascii").rstrip("=")


def decode_token(token: str) -> bytes:
    """Return the sort key in a token; raise QueryError for what is none."""
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error, TypeError) as error:
        raise QueryError(
            "the keyset token is damaged", path="after", hint="pass the token of the page before"
        ) from error
