"""The rules of collections as they are stored: records in the catalog space, one a name.

What lives here: ``RuleRecord`` and its stored form. What it must not know: what the text of a rule means.

A record belongs to a name, not to a collection's number: rules may be there before the first document, stay when the collection is dropped, and what
is renamed comes under the rules of its new name. A damaged record does not keep the database from being opened; whoever asks for its content is
told.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any, Final

from docdb.errors import CorruptError, DocdbError
from docdb.store import codec

__all__ = ["PREFIX", "RuleRecord", "key_of"]

PREFIX: Final = b"r:"


@dataclass(slots=True)
class RuleRecord:
    """The stored rules of one name. ``parsed`` is what the reader of the text has made of it, kept as long as the record is."""

    name: str
    data: bytes
    parsed: Any = field(default=None, compare=False, repr=False)

    def content(self) -> tuple[str, int, dt.datetime, str | None]:
        """Return the rules as JSON text, their version, when they were set and who said so; CorruptError for what ``pack`` never made."""
        try:
            stored = codec.decode(self.data)
            text, version, when, who = stored["text"], stored["version"], stored["when"], stored["who"]
            if type(text) is not str or type(version) is not int or not isinstance(when, dt.datetime) or version < 1:
                raise TypeError("text, version or when")
            if who is not None and type(who) is not str:
                raise TypeError("who")
        except (DocdbError, KeyError, TypeError) as error:
            raise CorruptError(f"the rules of {self.name!r} are damaged") from error
        return text, version, when, who

    @staticmethod
    def pack(name: str, text: str, version: int, when: dt.datetime, who: str | None) -> RuleRecord:
        """Return the record to store."""
        return RuleRecord(name, codec.encode_value({"text": text, "version": version, "when": when, "who": who}))


def key_of(name: str) -> bytes:
    """Return the catalog key of a name's rules."""
    return PREFIX + name.encode("utf-8")
