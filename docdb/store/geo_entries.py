"""The entries of geographic indexes: the cells in which a document's geometries lie.

What lives here: ``GeoEntryMaker``, which stands where other indexes have their ``EntryMaker``, and what a geographic index refuses. What it must not know:
transactions, how geometry is searched (``planner/geo_access.py``).

An entry has a component per field: a geographic field's is a cell (``language/cells.py``), the others' are as in any index. A document has an entry for each
cell of each geometry and each row of its other fields. A document whose geographic fields are all without geometry has none. Entries of a document that has
several, or whose geometry is no point, have the mark of an array: without such entries each document has one, the leaf cell of a point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from docdb.errors import DocumentError
from docdb.language.order import NULL_KEY
from docdb.store import codec
from docdb.store.keyspace import NOT_COVERED, EntryParts, joined_entry, rows_of, type_byte

if TYPE_CHECKING:
    from docdb.language.geojson import Stored

__all__ = ["GEO_WAYS", "GeoEntryMaker"]

GEO_WAYS: Final = ("2d", "2dsphere")
NO_GEOMETRY: Final = 16755
NO_POINT: Final = 13026
OUT_OF_BOUNDS: Final = 13027
Path = tuple[str, ...]
Entry = tuple[bytes, bytes]


class GeoEntryMaker:
    """Makes the entries of one geographic index; refuses documents whose geographic fields hold no geometry."""

    def __init__(
        self, number: int, keys: Sequence[tuple[Path, Any]], options: Mapping[str, Any], collation: Any
    ) -> None:
        from docdb.language.geo_covers import GeoField  # only what has geographic indexes needs it

        self._number = number
        self._collation = collation
        self._keys = tuple(keys)
        low, high = options.get("min", -180.0), options.get("max", 180.0)
        self._fields = {path: GeoField(way, low, high) for path, way in keys if way in GEO_WAYS}
        self._plain = tuple((path, way) for path, way in keys if way not in GEO_WAYS)

    def entries_many(self, id_keys: Sequence[bytes], datas: Sequence[bytes]) -> list[list[Entry]]:
        """Return the entries of many documents; raises DocumentError for one that has no geometry where one belongs."""
        return [self.entries(id_key, data) for id_key, data in zip(id_keys, datas, strict=True)]

    def run(self, documents: Any, program: Any = None, upto: bytes | None = None) -> None:
        """There is no fast form."""

    def values(self, key: bytes, value: bytes) -> None:
        """No entry gives values back."""

    def entries(self, id_key: bytes, data: bytes) -> list[Entry]:
        """Return the (key, value) pairs of a stored document."""
        document = codec.decode(data)
        places: dict[Path, list[int]] = {}
        points = True
        for path in self._fields:
            places[path], only_points = self._cells(document, path)
            points = points and only_points
        if not any(places.values()):
            return []
        rows, multikey = rows_of(self._plain, document) if self._plain else ([[]], False)
        several = multikey or not points or len(rows) * max(map(len, places.values())) > 1
        made: dict[bytes, bytes] = {}
        maker = EntryParts(self._collation)
        for row in rows:
            for parts, types in self._combined(row, places, maker):
                key, value = joined_entry(self._number, id_key, parts, types, multikey=several)
                made.setdefault(key, value)
        return list(made.items())

    def _combined(
        self, row: list[Any], places: Mapping[Path, list[int]], maker: EntryParts
    ) -> Iterator[tuple[list[bytes], list[int]]]:
        from docdb.language.cells import cell_key

        choices: list[list[tuple[bytes, int]]] = []
        values = iter(row)
        for path, way in self._keys:
            if path in places:
                choices.append(
                    [(cell_key(number), NOT_COVERED) for number in places[path]] or [(NULL_KEY, NOT_COVERED)]
                )
            else:
                value = next(values)
                choices.append([(maker.part(value, way), type_byte(value, self._collation))])
        for chosen in product(*choices):
            yield [part for part, _ in chosen], [kind for _, kind in chosen]

    def _cells(self, document: Any, path: Path) -> tuple[list[int], bool]:
        """Return the numbers of the cells of what a path reaches, and whether that is nothing but points; what a filter would judge is taken."""
        from docdb.language.geo_covers import cells_of
        from docdb.language.geo_matching import stored
        from docdb.language.matching import handed_over

        field = self._fields[path]
        for value in _values(document, path):
            self._check(value, field, ".".join(path))
        found: set[int] = set()
        points = True
        for value in handed_over(document, path):
            geometry = stored(value)
            if geometry is None:
                continue
            points = points and geometry.pair is not None
            if field.kind == "2d":
                if geometry.pair is not None:
                    found.add(field.leaf(*_within(geometry, field, ".".join(path))))
            elif geometry.shape is not None:
                found.update(cells_of(geometry.shape))
        return sorted(found), points

    def _check(self, value: Any, field: Any, path: str) -> None:
        from docdb.language.geojson import GeometryError, read_stored

        if value is None or value == []:
            return
        if field.kind == "2d":
            _check_flat(value, field, path)
            return
        try:
            found = read_stored(value)
        except GeometryError as error:
            raise DocumentError(f"no geometry for a 2dsphere index: {error}", path=path, code=NO_GEOMETRY) from error
        if found.shape is None:
            raise DocumentError("longitude and latitude are out of range", path=path, code=NO_GEOMETRY)


def _check_flat(value: Any, field: Any, path: str) -> None:
    from docdb.language.geojson import GeometryError, Stored, read_pair

    nested = isinstance(value, list) and isinstance(value[0], list | dict)
    try:
        pairs = [read_pair(item, more=True) for item in value] if nested else [read_pair(value, more=True)]
    except GeometryError as error:
        raise DocumentError(f"no point for a 2d index: {error}", path=path, code=NO_POINT) from error
    for pair in pairs:
        _within(Stored(None, pair), field, path)


def _within(geometry: Stored, field: Any, path: str) -> tuple[float, float]:
    assert geometry.pair is not None
    if not all(field.low <= part <= field.high for part in geometry.pair):
        raise DocumentError("the point is outside the bounds of the 2d index", path=path, code=OUT_OF_BOUNDS)
    return geometry.pair


def _values(value: Any, path: Path) -> Iterator[Any]:
    """Yield what the path reaches; arrays on the way fan out, one at the end does not."""
    if not path:
        yield value
    elif isinstance(value, dict):
        if path[0] in value:
            yield from _values(value[path[0]], path[1:])
    elif isinstance(value, list):
        place = int(path[0]) if path[0].isdigit() else -1
        if 0 <= place < len(value):
            yield from _values(value[place], path[1:])
        for item in value:
            if isinstance(item, dict):
                yield from _values(item, path)
