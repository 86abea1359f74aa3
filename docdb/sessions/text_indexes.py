"""Understanding the definitions of text indexes.

What lives here: ``expanded`` (keys as ``list_indexes`` shows them become keys as they are given), ``text_options``, and the rule that a collection has one text
index. What it must not know: how text becomes words, how an index is built. MongoDB's code is 67 for all that cannot be made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from docdb.errors import IndexDefinitionError
from docdb.language.text_words import LANGUAGES, NO_STEMMER, language_of, stemmer_here
from docdb.language.tree import Path
from docdb.language.values import is_number
from docdb.store.catalog import CollectionInfo, IndexInfo

__all__ = ["EVERY_FIELD", "TEXT", "TEXT_OPTIONS", "expanded", "refuse_second_text_index", "text_options"]

TEXT: Final = "text"
EVERY_FIELD: Final = "$**"
TEXT_OPTIONS: Final = ("default_language", "language_override", "stemmer", "textIndexVersion", "weights")
VERSION: Final = 3
HIGHEST_WEIGHT: Final = 1_000_000_000


def expanded(keys: Any, options: Mapping[str, Any]) -> Any:
    """Return the keys with the fields of ``weights`` in the place of ``_fts`` and ``_ftsx``; other keys as they are."""
    pairs = list(keys.items()) if isinstance(keys, Mapping) else keys
    if not isinstance(pairs, Sequence) or isinstance(pairs, str) or ("_fts", TEXT) not in [_pair(p) for p in pairs]:
        return keys
    weights = options.get("weights")
    if not isinstance(weights, Mapping) or not weights:
        raise IndexDefinitionError("the key _fts needs weights, which name the fields", path="weights", code=67)
    made: list[Any] = []
    for pair in map(_pair, pairs):
        if pair == ("_fts", TEXT):
            made += [(name, TEXT) for name in weights]
        elif pair is None or pair[0] != "_ftsx":
            made.append(pair)
    return made


def _pair(item: Any) -> Any:
    return tuple(item) if isinstance(item, Sequence) and not isinstance(item, str) else item


def text_options(
    keys: Sequence[tuple[Path, Any]], fields: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what ``IndexInfo.text`` holds; refuse what goes with no text index."""
    _check_keys(keys, fields)
    version = given.get("textIndexVersion", VERSION)
    if not is_number(version) or version != VERSION:
        raise _refused(f"the version of a text index is {VERSION}, not {version!r}", "textIndexVersion")
    language = given.get("default_language", "english")
    known = language_of(language) if isinstance(language, str) else None
    if known is None:
        names = ", ".join(sorted(set(LANGUAGES.values())))
        raise _refused(f"the language {language!r} is not known to text search", "default_language", f"one of {names}")
    override = given.get("language_override", "language")
    if not isinstance(override, str) or not override or override.startswith("$") or "." in override:
        raise _refused(f"language_override names a field, not {override!r}", "language_override")
    return {
        "weights": _weights(keys, given.get("weights", {})), "default_language": known, "language_override": override,
        "textIndexVersion": VERSION, "stemmer": _stemmer(given.get("stemmer")),
    }  # fmt: skip


def _stemmer(given: Any) -> str:
    """Return what is to stem the words: the stemmer here; asked for by name, that one or none."""
    here = stemmer_here()
    if given is not None and given not in (here, NO_STEMMER):
        raise _refused(f"the stemmer {given!r} is not here", "stemmer", f"{NO_STEMMER!r} or {here!r}")
    return here if given is None else str(given)


def _check_keys(keys: Sequence[tuple[Path, Any]], fields: Mapping[str, Any]) -> None:
    places = [at for at, (_, way) in enumerate(keys) if way == TEXT]
    if places[-1] - places[0] >= len(places):
        raise _refused("the text fields of an index stand side by side", "keys")
    other = next((way for _, way in keys if way not in (1, -1, TEXT)), None)
    if other is not None:
        raise _refused(f"an index is of kind text or {other}, not both", "keys")
    if fields.get("collation") is not None:
        raise _refused(
            "a text index compares by words, not by a collation", "collation", 'collation={"locale": "simple"}'
        )
    for name in ("unique", "expire_after_s"):
        if fields.get(name):
            raise _refused(f"a text index is not {name}", name)


def _weights(keys: Sequence[tuple[Path, Any]], given: Any) -> dict[str, float]:
    if isinstance(given, str):
        given = {given: 1}
    if not isinstance(given, Mapping):
        raise _refused(f"weights are a document, not {type(given).__name__}", "weights")
    weights = {".".join(path): 1.0 for path, way in keys if way == TEXT}
    for name, weight in given.items():
        if not isinstance(name, str) or not is_number(weight) or not 0 < weight < HIGHEST_WEIGHT:
            raise _refused(f"a weight lies between 0 and {HIGHEST_WEIGHT}, not {weight!r}", f"weights.{name}")
        parts = name.split(".")
        if name != EVERY_FIELD and (not all(parts) or any(part.startswith("$") for part in parts)):
            raise _refused(f"{name!r} is no path of a field", "weights")
        weights[name] = float(weight)
    return {name: int(weight) if weight.is_integer() else weight for name, weight in sorted(weights.items())}


def _refused(message: str, path: str, hint: str | None = None) -> IndexDefinitionError:
    return IndexDefinitionError(message, path=path, hint=hint, code=67)


def refuse_second_text_index(info: CollectionInfo, wanted: IndexInfo) -> None:
    """Raise IndexDefinitionError when the collection has a text index already: $text could not tell which is meant."""
    known = next((index for index in info.indexes if index.text is not None), None)
    if wanted.text is not None and known is not None:
        raise _refused(f"a collection has one text index, and {known.name!r} is there", "keys")
