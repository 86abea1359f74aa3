"""The entries of wildcard indexes: every leaf of a document under its path.

What lives here: ``WildcardScope`` (which paths an index holds) and ``WildcardEntryMaker``. What it must not know: transactions, plans.

The wildcard field of an index has two components: the path as text, ascending, and the value. Leaves are values that are no objects and no arrays, empty
objects, empty arrays (08), the elements of arrays (objects among them are walked on, under the path of the array), and arrays directly inside arrays, as they
are. A field that is missing gives nothing. Beside them there is

    02, path as text           for each array of a document: its path and those below it reach several values (with the mark of an array)
    ..., 05, null, ...         for each document of a compound index, in the place of the wildcard field: what speaks of the other fields alone reads these

The other fields of a compound index hold no arrays: the document is refused (7246301).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from docdb.errors import DocumentError
from docdb.language.order import MIN_KEY, order_key
from docdb.store import codec
from docdb.store.keyspace import EMPTY_ARRAY, MAX_KEY_SIZE, NOT_COVERED, component, joined_entry, rows_of, type_byte

__all__ = ["WILDCARD", "WildcardEntryMaker", "WildcardScope", "array_mark", "path_component", "wildcard_place"]

WILDCARD: Final = "$**"
ARRAY_MARK: Final = b"\x02"  # below every component
NO_PATH: Final = MIN_KEY
IN_ARRAY_PREFIX: Final = 7246301
Path = tuple[str, ...]
Entry = tuple[bytes, bytes]


def wildcard_place(keys: Sequence[tuple[Path, Any]]) -> int | None:
    """Return which field of an index is the wildcard, or None; that of a text index means all text and is none."""
    return next((place for place, (path, way) in enumerate(keys) if path[-1] == WILDCARD and way != "text"), None)


def path_component(path: Path) -> bytes:
    """Return the component of a path."""
    return order_key(".".join(path))


def array_mark(path: Path) -> bytes:
    """Return what the entry begins with that tells of an array at a path."""
    return ARRAY_MARK + path_component(path)


@dataclass(frozen=True, slots=True)
class WildcardScope:
    """The paths of a wildcard index: those that begin with one of ``included``, but with none of ``excluded``."""

    included: tuple[Path, ...]
    excluded: tuple[Path, ...]

    @staticmethod
    def of(path: Path, projection: Mapping[str, Any] | None) -> WildcardScope:
        """Return the scope of a wildcard field (``$**`` or ``a.b.$**``) and its projection; ``_id`` is in it only where it is named."""
        root = path[:-1]
        if root:
            return WildcardScope((root,), ())
        named = {tuple(name.split(".")): bool(taken) for name, taken in (projection or {}).items()}
        with_id = named.pop(("_id",), False)
        included = tuple(name for name, taken in named.items() if taken)
        excluded = tuple(name for name, taken in named.items() if not taken)
        if included or (with_id and not excluded):
            return WildcardScope((*included, ("_id",)) if with_id else included, ())
        return WildcardScope(((),), excluded if with_id else (*excluded, ("_id",)))

    def holds(self, path: Path) -> bool:
        """Tell whether values at a path are in the index."""
        return any(path[: len(name)] == name for name in self.included) and not any(
            path[: len(name)] == name for name in self.excluded
        )

    def holds_all_below(self, path: Path) -> bool:
        """Tell whether the values at a path and at all paths below it are in the index."""
        return self.holds(path) and not any(name[: len(path)] == path for name in self.excluded)

    def reaches(self, path: Path) -> bool:
        """Tell whether values at a path or below it may be in the index."""
        if any(path[: len(name)] == name for name in self.excluded):
            return False
        return any(path[: len(name)] == name[: len(path)] for name in self.included)


class WildcardEntryMaker:
    """Makes the entries of one wildcard index."""

    def __init__(
        self, number: int, keys: Sequence[tuple[Path, int]], projection: Mapping[str, Any] | None, collation: Any
    ) -> None:
        place = wildcard_place(keys)
        assert place is not None
        self._number = number
        self._collation = collation
        self._way = keys[place][1]
        self._before, self._behind = tuple(keys[:place]), tuple(keys[place + 1 :])
        self.scope = WildcardScope.of(keys[place][0], projection)

    def entries_many(self, id_keys: Sequence[bytes], datas: Sequence[bytes]) -> list[list[Entry]]:
        """Return the entries of many documents; raises DocumentError for one with an array in a field that is not the wildcard."""
        return [self.entries(id_key, data) for id_key, data in zip(id_keys, datas, strict=True)]

    def run(self, documents: Any, program: Any = None, upto: bytes | None = None) -> None:
        """There is no fast form."""

    def values(self, key: bytes, value: bytes) -> None:
        """No entry is unique."""

    def entries(self, id_key: bytes, data: bytes) -> list[Entry]:
        """Return the (key, value) pairs of a stored document."""
        document = codec.decode(data)
        leaves: dict[Path, list[Any]] = {}
        arrays: set[Path] = set()
        self._walk(document, (), leaves, arrays)
        before, behind = self._others(document, self._before), self._others(document, self._behind)
        made: dict[bytes, bytes] = {}
        for path, values in leaves.items():
            where = (path_component(path), 0)
            for value in values:
                self._add(made, id_key, [*before, where, self._part(value, self._way), *behind], bool(arrays))
        if before or behind:
            nothing = (component(None, self._way), NOT_COVERED)
            self._add(made, id_key, [*before, (NO_PATH, NOT_COVERED), nothing, *behind], False)
        width = len(self._before) + len(self._behind) + 1
        for path in arrays:
            self._add(made, id_key, [(array_mark(path), NOT_COVERED), *[(b"", NOT_COVERED)] * width], True)
        return list(made.items())

    def _add(self, made: dict[bytes, bytes], id_key: bytes, parts: list[tuple[bytes, int]], multikey: bool) -> None:
        types = [kind for _, kind in parts]
        key, value = joined_entry(self._number, id_key, [part for part, _ in parts], types, multikey=multikey)
        made.setdefault(key, value)

    def _part(self, value: Any, way: int) -> tuple[bytes, int]:
        part = component(value, way, self._collation)[:MAX_KEY_SIZE]  # more is cut, and no digest is made of it
        return part, type_byte(value, self._collation)

    def _others(self, document: Any, fields: tuple[tuple[Path, int], ...]) -> list[tuple[bytes, int]]:
        if not fields:
            return []
        rows, multikey = rows_of(fields, document)
        if multikey:
            raise DocumentError(
                "the fields beside the wildcard of an index hold no arrays",
                path=".".join(fields[0][0]),
                code=IN_ARRAY_PREFIX,
            )
        return [self._part(value, way) for value, (_, way) in zip(rows[0], fields, strict=True)]

    def _walk(self, source: dict[str, Any], path: Path, leaves: dict[Path, list[Any]], arrays: set[Path]) -> None:
        for name, value in source.items():
            here = (*path, name)
            if not self.scope.reaches(here):
                continue
            if type(value) is list:
                arrays.add(here)
                for element in value:
                    self._take(element, here, leaves, arrays)
                if not value:
                    self._leaf(EMPTY_ARRAY, here, leaves)
            else:
                self._take(value, here, leaves, arrays)

    def _take(self, value: Any, path: Path, leaves: dict[Path, list[Any]], arrays: set[Path]) -> None:
        if type(value) is dict and value:
            self._walk(value, path, leaves, arrays)
        else:
            self._leaf(value, path, leaves)

    def _leaf(self, value: Any, path: Path, leaves: dict[Path, list[Any]]) -> None:
        if self.scope.holds(path):
            leaves.setdefault(path, []).append(value)
