"""What a commit means for live queries, found out before it is durable.

What lives here: ``Forecast``, ``Left`` where it is not found out yet, and ``Found``, what one commit has for whom. What it must not know: how it is found
out (``routing``), queries.

Behind a flush the processor's caches are cold, and each step of Python takes five times as long. So the writer asks the predicate index in front of it,
and hands out behind it what it has found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from docdb.feeds.live_window import Changed
from docdb.feeds.ordering import id_of
from docdb.feeds.positions import Place

if TYPE_CHECKING:
    from docdb.feeds.live import Commit, LiveQuery

__all__ = ["MOST_BYTES", "MOST_BYTES_TOGETHER", "OVERHEAD", "Forecast", "Found", "Left", "document_of"]

MOST_BYTES: Final = 4 * 2**20  # of changes that wait for one reader
MOST_BYTES_TOGETHER: Final = 64 * 2**20  # for all readers, an image counted as often as it waits
OVERHEAD: Final = 200  # bytes of a change that waits, besides its images


class Forecast(NamedTuple):
    """The commits up to ``last`` of one storage transaction, for the queries they concern.

    It holds while the router stands at ``place`` (None: there were no queries) and counts as many ``bindings``.
    """

    last: int
    place: Place | None
    bindings: int
    offers: list[tuple[LiveQuery[Any], Commit, int]]  # the last: bytes


class Left(NamedTuple):
    """A commit of one change in a collection for whose news nobody waits: whom it concerns is found out when somebody looks.

    Nobody waits as long as there are as many ``bindings`` and ``awaited`` (of the interest in the collection, if there is any) is empty.
    """

    commit: int
    record: bytes
    bindings: int
    awaited: Collection[int]
    offers: tuple[()] = ()


class Found:
    """What one commit has for whom. ``twice``: it may touch a document more than once."""

    __slots__ = ("_first", "_ids", "by_key", "size", "spoiled", "twice")

    def __init__(self) -> None:
        self.by_key: dict[int, tuple[list[Changed], int]] = {}
        self.spoiled: set[int] = set()
        self.size = 0
        self.twice = False
        self._first: tuple[int, Changed] | None = None
        self._ids: set[tuple[int, bytes]] = set()

    def meet(self, number: int, change: Changed) -> None:
        """Take note of the document that a change is of; costs nothing for the first, and where all are inserts."""
        first = self._first
        if first is None:
            self._first = number, change
            return
        if not self._ids:
            if change[0] == first[1][0] == "i":
                return
            self.twice = first[1][0] == "i"  # there may be more of them, and they were not noted
            self._ids.add(document_of(*first))
        document = document_of(number, change)
        self.twice = self.twice or document in self._ids
        self._ids.add(document)

    def add(self, keys: Iterable[int], change: Changed) -> None:
        """Note a change for the queries with these keys; beyond the bounds they are spoiled."""
        size = len(change[1]) + len(change[2]) + OVERHEAD
        self.size += size
        for key in keys:
            changes, so_far = self.by_key.get(key, (None, 0))
            if key in self.spoiled:
                continue
            if so_far + size > MOST_BYTES or self.size > MOST_BYTES_TOGETHER:
                self.by_key.pop(key, None)
                self.spoiled.add(key)
            elif changes is None:
                self.by_key[key] = [change], size
            else:
                changes.append(change)
                self.by_key[key] = changes, so_far + size


def document_of(number: int, change: Changed) -> tuple[int, bytes]:
    """Return the document that a change is of: its collection's number and its id key."""
    return number, id_of(change[1] or change[2])
