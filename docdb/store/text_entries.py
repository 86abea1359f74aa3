"""Entries of a text index: one for each word of a document.

What lives here: ``TextEntryMaker``, which stands where other indexes have their ``EntryMaker``, and ``entry_head`` and ``entry_score``, with which the
planner reads what it made. What it must not know: transactions, how text becomes words (``language/text_words.py``).

    key     index number (4), components of the fields before the text (above 64 bytes: the first 47, FF, a digest of 16), the word in UTF-8, 00,
            components of the fields behind it (cut like those of any index), order key of _id
    value   length of the id key (1), 00 or FF when cut, the score as float64 (8)

The fields before and behind the text hold one value each: a document with an array there is refused.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Any, Final

from docdb import _native
from docdb.errors import CorruptError, DocdbError, DocumentError
from docdb.language.text_search import FREQUENCY, WHOLE_TEXT, TextSpec
from docdb.language.text_words import MOST_CACHED
from docdb.language.values import MISSING
from docdb.store import codec
from docdb.store.keyspace import component, cut_limit, index_prefix

__all__ = ["TEXT", "TextEntryMaker", "entry_head", "entry_score", "fields_around"]

TEXT: Final = "text"
LONGEST_HEAD: Final = 64
ARRAY_AROUND: Final = 201
_SCORE: Final = struct.Struct(">d")
_VALUE_SIZE: Final = 10

_kernel: Any = None
if _native.AVAILABLE:
    from docdb._native import text as _kernel

Path = tuple[str, ...]
Keys = Sequence[tuple[Path, Any]]


def fields_around(keys: Keys) -> tuple[Keys, Keys]:
    """Return the fields before and behind the text ones."""
    places = [at for at, (_, way) in enumerate(keys) if way == TEXT]
    return keys[: places[0]], keys[places[-1] + 1 :]


def entry_head(components: bytes) -> bytes:
    """Return what stands in an entry for the components before the word: bytes that are the same for the same components only."""
    if len(components) <= LONGEST_HEAD:
        return components
    digest = hashlib.blake2b(components, digest_size=16).digest()
    return components[: LONGEST_HEAD - 17] + b"\xff" + digest


def entry_score(value: bytes) -> float:
    """Return the score that an entry's value holds."""
    if len(value) != _VALUE_SIZE:
        raise CorruptError("an entry of a text index is damaged")
    score: float = _SCORE.unpack_from(value, 2)[0]
    return score


class TextEntryMaker:
    """Makes the entries of one text index."""

    def __init__(self, number: int, keys: Keys, spec: TextSpec) -> None:
        self._spec = spec
        self._prefix = index_prefix(number)
        self._before, self._behind = fields_around(keys)

    def entries_many(self, id_keys: Sequence[bytes], datas: Sequence[bytes]) -> list[list[tuple[bytes, bytes]]]:
        """Return the entries of each document; DocumentError (201, 17261, 17262) for one that is refused."""
        return [self._entries(id_key, _document(data)) for id_key, data in zip(id_keys, datas, strict=True)]

    def run(self, documents: Any, program: Any = None, upto: bytes | None = None) -> Any:
        """Return the entries of all documents as a run (``store/runs.py``), or None: make them with ``entries_many``."""
        branches = self._spec.branches()
        if _kernel is None or branches is None or self._before or self._behind:
            return None
        if type(documents) is not _native.runs.Documents:
            return None
        spec = self._spec
        spare = _VOCABULARIES.setdefault((spec.default_language, spec.stemmer), [])
        try:
            vocabulary = spare.pop() if spare else _vocabulary(spec)
            maker = _kernel.TextEntries(
                self._prefix, branches, spec.override.encode(), FREQUENCY, WHOLE_TEXT, vocabulary, self._scores
            )
            run = maker.run(documents, program, upto)
        except DocdbError:
            return None  # the reference says which document it was
        spare.append(vocabulary)
        return run

    def _scores(self, data: bytes) -> dict[str, float]:
        return self._spec.scores(_document(data))

    def values(self, key: bytes, value: bytes) -> None:
        """No entry gives values back."""

    def _entries(self, id_key: bytes, document: Any) -> list[tuple[bytes, bytes]]:
        head = self._prefix + entry_head(_components(self._before, document))
        tail = _components(self._behind, document)
        scores = self._spec.scores(document)
        start = bytes((len(id_key), 0))
        pack = _SCORE.pack
        if not tail:
            return [(head + term.encode() + b"\0" + id_key, start + pack(score)) for term, score in scores.items()]
        return [self._with_tail(head + term.encode() + b"\0" + tail, id_key, score) for term, score in scores.items()]

    def _with_tail(self, key: bytes, id_key: bytes, score: float) -> tuple[bytes, bytes]:
        limit = len(self._prefix) + cut_limit(len(id_key), False)
        mark = 0
        if len(key) > limit:
            key, mark = key[:limit] + b"\xff", 0xFF
        return key + id_key, bytes((len(id_key), mark)) + _SCORE.pack(score)


def _document(data: bytes) -> dict[str, Any]:
    document: dict[str, Any] = codec.decode(data)
    if type(document) is not dict:
        raise CorruptError("stored bytes are damaged: not a document")
    return document


def _vocabulary(spec: TextSpec) -> Any:
    words = spec.words()
    return _kernel.Vocabulary(words.term, words.terms, words.letters, MOST_CACHED)


# Those that no thread is using at the moment, by language and stemmer: a bulk is mostly words met before.
_VOCABULARIES: Final[dict[tuple[str, str], list[Any]]] = {}


def _components(fields: Keys, document: dict[str, Any]) -> bytes:
    return b"".join([component(_single(document, path), way) for path, way in fields])


def _single(value: Any, path: Path) -> Any:
    for part in path:
        if isinstance(value, list):
            break
        value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
    if isinstance(value, list):
        raise DocumentError(
            "a field beside the text of a text index may not hold an array", path=".".join(path), code=ARRAY_AROUND
        )
    return value
