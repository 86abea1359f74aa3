"""$group over stored documents: which ones the kernel takes, and its results as documents.

What lives here: ``compile_grouping``. What it must not know: where the bytes come from. The law is ``stages_group.group``; whatever the kernel
declines, at compile time or on the way, is grouped by that from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from docdb import _native
from docdb.language.expression_folds import Average, Sum

__all__ = ["Grouping", "compile_grouping"]

_GROUP_BYTES: Final = 500  # what a group may take in the kernel, and each of its sums
_SUM_BYTES: Final = 60
_MOST_INT: Final = 2**31 - 1

Path = tuple[bytes, ...]

_Groups: Any = None
if _native.AVAILABLE:
    from docdb._native.grouping import Groups as _Groups


@dataclass(frozen=True, slots=True)
class Grouping:
    """A $group the kernel takes: ``fields`` are (name, fold, number of its path, or the constant it adds)."""

    id_path: Path
    paths: tuple[Path, ...]
    fields: tuple[tuple[str, type[Sum], int | None, int], ...]

    def run(self, batches: Iterator[list[bytes]], memory_limit: int) -> list[dict[str, Any]] | None:
        """Return the groups in the order they were met, or None where a document is declined or the groups take more than the limit."""
        groups = _Groups(self.id_path, self.paths)
        each = _GROUP_BYTES + _SUM_BYTES * len(self.paths)
        for batch in batches:
            if not groups.add(batch) or len(groups) * each > memory_limit:
                return None
        return [self._document(*row) for row in groups.rows()]

    def _document(
        self, identity: Any, size: int, sums: list[tuple[int, bool, int, float, float, bool]]
    ) -> dict[str, Any]:
        document = {"_id": identity}
        for name, kind, at, constant in self.fields:
            fold = kind()
            if at is None:
                fold.whole, fold.count = constant * size, size
            else:
                fold.whole, fold.long, fold.count, fold.double, fold.compensation, fold.has_double = sums[at]
            document[name] = fold.value()
        return document


def compile_grouping(spec: Mapping[str, Any]) -> Grouping | None:
    """Return the grouping of a $group that compiled, None where the kernel declines it."""
    if _Groups is None:
        return None
    identity = spec["_id"]
    id_path = () if identity is None else _path(identity)
    if id_path is None:
        return None
    paths: list[Path] = []
    fields: list[tuple[str, type[Sum], int | None, int]] = []
    for name, item in spec.items():
        if name == "_id":
            continue
        ((operator, argument),) = item.items()
        kind = _FOLDS.get(operator)
        if operator == "$count":
            fields.append((name, Sum, None, 1))
        elif kind is not None and _is_small(argument):
            fields.append((name, kind, None, argument))
        else:
            path = _path(argument) if kind is not None else None
            if kind is None or path is None:
                return None
            fields.append((name, kind, len(paths), 0))
            paths.append(path)
    return Grouping(id_path, tuple(paths), tuple(fields))


def _is_small(value: Any) -> bool:
    return type(value) is int and -_MOST_INT <= value <= _MOST_INT


def _path(spec: Any) -> Path | None:
    if type(spec) is not str or not spec.startswith("$") or spec.startswith("$$"):
        return None
    return tuple(part.encode("utf-8", "surrogatepass") for part in spec[1:].split("."))


_FOLDS: Final[dict[str, type[Sum]]] = {"$sum": Sum, "$avg": Average}
