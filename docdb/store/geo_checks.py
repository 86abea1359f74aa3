"""What a geographic index refuses: documents whose field holds no geometry.

What lives here: ``GeoChecker``, which stands where other indexes have their ``EntryMaker`` and makes no entries. What it must not know: transactions, how
geometry is searched (a query reads the documents).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from docdb.errors import DocumentError
from docdb.store import codec

__all__ = ["GeoChecker"]

NO_GEOMETRY: Final = 16755
NO_POINT: Final = 13026
OUT_OF_BOUNDS: Final = 13027
Path = tuple[str, ...]


class GeoChecker:
    """Checks the geographic fields of documents; every document has no entries."""

    def __init__(self, keys: Sequence[tuple[Path, Any]], options: Mapping[str, Any]) -> None:
        self._fields = [(path, way) for path, way in keys if way not in (1, -1)]
        self._low, self._high = options.get("min", -180.0), options.get("max", 180.0)

    def entries_many(self, id_keys: Sequence[bytes], datas: Sequence[bytes]) -> list[list[tuple[bytes, bytes]]]:
        """Return no entries for each document; raises DocumentError for one that has no geometry where one belongs."""
        for data in datas:
            document = codec.decode(data)
            for path, way in self._fields:
                for value in _values(document, path):
                    self._check(value, way, ".".join(path))
        return [[] for _ in datas]

    def run(self, documents: Any, program: Any = None, upto: bytes | None = None) -> None:
        """There is no fast form."""

    def values(self, key: bytes, value: bytes) -> None:
        """No entry gives values back."""

    def _check(self, value: Any, way: str, path: str) -> None:
        from docdb.language.geojson import GeometryError, read_stored  # only what has geographic indexes needs it

        if value is None or value == []:
            return
        if way == "2d":
            self._check_flat(value, path)
            return
        try:
            found = read_stored(value)
        except GeometryError as error:
            raise DocumentError(f"no geometry for a 2dsphere index: {error}", path=path, code=NO_GEOMETRY) from error
        if found.shape is None:
            raise DocumentError("longitude and latitude are out of range", path=path, code=NO_GEOMETRY)

    def _check_flat(self, value: Any, path: str) -> None:
        from docdb.language.geojson import GeometryError, read_pair

        nested = isinstance(value, list) and isinstance(value[0], list | dict)
        try:
            pairs = [read_pair(item, more=True) for item in value] if nested else [read_pair(value, more=True)]
        except GeometryError as error:
            raise DocumentError(f"no point for a 2d index: {error}", path=path, code=NO_POINT) from error
        if not all(self._low <= x <= self._high and self._low <= y <= self._high for x, y in pairs):
            raise DocumentError("the point is outside the bounds of the 2d index", path=path, code=OUT_OF_BOUNDS)


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
