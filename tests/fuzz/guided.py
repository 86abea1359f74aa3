"""Coverage-guided fuzzing of the doors that take bytes or text: ``python -m tests.fuzz.guided -runs=100000 [atheris options]``.

Needs the package ``atheris`` (where its wheel exists); without it, says so and does nothing. Stored bytes go to the decoder, the order
key and a program, JSON text to the filter, update, sort and projection parsers. Anything but a result or a docdb error is a find.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from typing import Any, Final

from docdb import _native
from docdb.errors import CorruptError, DocdbError
from docdb.language import filters, projection, sorting, updates
from docdb.language.programs import compile_program
from docdb.store import codec

PROGRAM: Final = compile_program(filters.parse({"a.b": {"$gt": 3}, "c": {"$in": [1, "x"]}, "d": {"$size": 2}}))


def stored(data: bytes) -> None:
    """Read bytes as a stored document, in every way there is; the kernel and the reference agree on what is damaged."""
    readers: list[Callable[[bytes], Any]] = [codec.decode, codec.reference_decode]
    if PROGRAM is not None:
        readers += [_native.keys.order_key, PROGRAM.match]
    for read in readers:
        try:
            read(data)
        except CorruptError:
            continue


def text(data: bytes) -> None:
    """Read bytes as JSON and hand it to the parsers."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    for parse in (filters.parse, updates.parse_update, sorting.parse_sort, projection.parse_projection):
        try:
            parse(value)
        except DocdbError:
            continue


def one(data: bytes) -> None:
    """Let the first byte choose the door."""
    if data:
        (stored if data[0] & 1 else text)(data[1:])


def main() -> int:
    """Fuzz until a find or the end of ``-runs``."""
    if importlib.util.find_spec("atheris") is None:
        print("guided fuzzing: skipped, the package atheris is not installed")
        return 0
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
