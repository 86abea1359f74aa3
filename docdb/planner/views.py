"""What the planner asks of the store, as protocols.

What lives here: the shapes of an index definition, a collection and a view of one collection in one snapshot. What it must not know: who
fulfils them (``store/catalog.py`` and ``store/views.py``; in tests a small fake).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from docdb.language.tree import Node, Path

__all__ = ["Collection", "Counters", "Index", "View"]


class Index(Protocol):
    """One secondary index as the catalog describes it."""

    @property
    def number(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def keys(self) -> tuple[tuple[Path, Any], ...]: ...
    @property
    def unique(self) -> bool: ...
    @property
    def sparse(self) -> bool: ...
    @property
    def partial_node(self) -> Node | None: ...
    @property
    def collation(self) -> Any: ...
    @property
    def building(self) -> bool: ...
    @property
    def hidden(self) -> bool: ...


class Collection(Protocol):
    """A collection and its indexes; the one on ``_id`` is the clustering and not listed."""

    @property
    def name(self) -> str: ...
    @property
    def indexes(self) -> tuple[Any, ...]: ...
    @property
    def shapes(self) -> dict[Any, Any]: ...


class Counters(Protocol):
    """Counts of one index."""

    @property
    def entries(self) -> int: ...
    @property
    def cut(self) -> int: ...
    @property
    def multikey(self) -> int: ...


class View(Protocol):
    """One collection in one snapshot."""

    @property
    def collection(self) -> Any: ...
    @property
    def applies_programs(self) -> bool: ...

    def scan(
        self, *, low: bytes = b"", high: bytes | None = None, reverse: bool = False, program: Any = None, decode: Any = True, batch: int = 256
    ) -> Iterator[list[Any]]: ...  # fmt: skip

    def fetch(self, ids: list[bytes], *, program: Any = None, decode: Any = True) -> list[Any]: ...

    def entry_ids(
        self, index: Any, low: bytes, high: bytes, *, reverse: bool = False, batch: int = 256
    ) -> Iterator[list[bytes]]: ...

    def entries(
        self, index: Any, low: bytes, high: bytes, *, reverse: bool = False, batch: int = 256
    ) -> Iterator[list[tuple[bytes, bytes]]]: ...

    def entry_count(self, index: Any, low: bytes, high: bytes, limit: int | None = None) -> int: ...

    def join(
        self, index: Any, low: bytes, high: bytes, *, more: Sequence[tuple[bytes, bytes]] = (), reverse: bool = False, first: int = 16,
        program: Any = None, decode: Any = True, covered: Callable[[bytes, bytes], Any] | None = None,
    ) -> Iterator[tuple[Any, ...]] | None: ...  # fmt: skip

    def counters(self, index: Any) -> Any: ...

    def is_plain(self, index: Any) -> bool: ...

    def document_count(self) -> int: ...

    def document_range_count(self, low: bytes, high: bytes, limit: int | None = None) -> int: ...
