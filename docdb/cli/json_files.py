"""Reading JSON and Extended JSON: one document a line, or an array or sequence of documents of any size.

What lives here: ``read_lines`` and ``read_values``. What it must not know: where bytes come from, databases.

Memory: one line, or one document and one chunk. An array is never loaded as a whole: the text is read in chunks and ``json``'s own scanner
takes one document after the other; when it runs into the end of what was read, more is read, twice as much each time, so that a document
larger than a chunk costs no more than twice its length.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import docdb
from docdb.cli.records import Found, Place, within

__all__ = ["read_lines", "read_values"]

CHUNK: Final = 256 * 1024
_SPACE: Final = " \t\r\n"
_TORN: Final = (
    16  # the longest token that may be cut by the end of the text, and be reported before it (-Infinity, \uD83D\uDE00)
)


def read_lines(stream: BinaryIO) -> Iterator[Found]:
    """Yield the document of each line that is not blank; a line that is wrong is an error and the next one goes on."""
    for number, line in enumerate(stream, 1):
        text = line.strip()
        if number == 1:
            text = text.removeprefix(codecs.BOM_UTF8)
        if text:
            yield _line(text, number, column=len(line) - len(line.lstrip()) + 1)


def _line(text: bytes, number: int, column: int) -> Found:
    try:
        value = docdb.ejson.loads(text)
    except docdb.DocumentError as error:
        at = column + (error.column or 1) - 1
        return Found(Place(number, at), error=within(error))
    if not isinstance(value, dict):
        return Found(Place(number, column), error=f"a document is an object, not {text[:20].decode(errors='replace')}")
    return Found(Place(number, column), value)


def read_values(stream: BinaryIO) -> Iterator[Found]:
    """Yield the documents of an array, or of documents that follow each other, over any number of lines.

    A value that cannot be stored is an error and the next one goes on; text that is no JSON ends the reading.
    """
    text = _Text(stream)
    try:
        if text.peek() == "[":
            yield from _array(text)
        else:
            while text.peek():
                yield _document(text)
    except _Broken as broken:
        yield Found(broken.place, error=str(broken), fatal=True)


def _array(text: _Text) -> Iterator[Found]:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
    else:
        while True:
            yield _document(text)
            if text.peek() == "]":
                text.take("]")
                break
            text.take(",", "a comma or the end of the array")
    if text.peek():
        raise _Broken("something follows the end of the array", text.place())


def _document(text: _Text) -> Found:
    if text.peek() != "{":
        raise _Broken("expected a document ({)", text.place())
    place = text.place()
    try:
        return Found(place, docdb.ejson.decode(text.value()))
    except docdb.DocumentError as error:
        return Found(place, error=within(error))


class _Broken(Exception):
    """The text cannot be read on."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.place = place


class _Text:
    """The text of a stream, of which only what is needed is held."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._scan = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=_refuse_constant).raw_decode
        self._twice: str | None = None  # a field that stands twice in an object of the value being scanned
        self._buffer = ""
        self._at = 0
        self._ended = False
        self._torn = False  # what follows the buffer is not UTF-8
        self._mark = 0  # a place in the buffer whose line and column are known
        self._line = 1
        self._column = 1

    def peek(self) -> str:
        """Return the next character that is no white space, "" at the end."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in _SPACE:
                    return self._buffer[self._at]
                self._at += 1
            if not self._more(CHUNK):
                return ""

    def take(self, character: str, wanted: str | None = None) -> None:
        """Step over a character. Raises _Broken when another one stands there."""
        if self.peek() != character:
            raise _Broken(f"expected {wanted or character}", self.place())
        self._at += 1

    def value(self) -> Any:
        """Return the value that begins here. Raises DocumentError for one that JSON allows and documents do not."""
        size = CHUNK
        while True:
            self._twice = None
            try:
                value, self._at = self._scan(self._buffer, self._at)
                break
            except json.JSONDecodeError as error:
                torn = error.msg.startswith("Unterminated string") or error.pos > len(self._buffer) - _TORN
                if not torn or not self._more(size):
                    raise _Broken(f"not JSON: {error.msg}", self.place(error.pos)) from error
                size *= 2
            except RecursionError as error:
                raise _Broken("nested too deeply", self.place()) from error
            except (
                ValueError
            ) as error:  # an integer of more digits than Python converts, or a constant that is not JSON
                raise _Broken(f"not JSON: {error}", self.place()) from error
        if self._twice is not None:
            raise docdb.DocumentError(f"the field {self._twice!r} stands twice in one object", path=self._twice)
        return value

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        document = dict(pairs)
        if len(document) < len(pairs):
            names = [name for name, _ in pairs]
            self._twice = next(name for name in names if names.count(name) > 1)
        return document

    def place(self, at: int | None = None) -> Place:
        """Return the line and column of a position in the buffer, by default of the next character; never one before the last asked for."""
        at = self._at if at is None else at
        lines = self._buffer.count("\n", self._mark, at)
        if lines:
            self._line += lines
            self._column = at - self._buffer.rfind("\n", self._mark, at)
        else:
            self._column += at - self._mark
        self._mark = at
        return Place(self._line, self._column)

    def _more(self, size: int) -> bool:
        """Drop what was read and add the next so many bytes; False at the end. What precedes bytes that are not UTF-8 is still delivered."""
        if self._ended:
            return False
        self.place()
        if self._torn:
            raise _Broken("not UTF-8", self.place(len(self._buffer)))
        data = self._stream.read(size)
        try:
            added = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            self._torn = True
            added = error.object[: error.start].decode()
        self._ended = not data and not self._torn
        if not self._ended:
            self._buffer = self._buffer[self._at :] + added
            self._at = self._mark = 0
        return not self._ended


def _refuse_constant(name: str) -> Any:
    raise ValueError(f'{name} stands alone; write {{"$numberDouble": "{name}"}}')
