"""What a live query tells: one snapshot a commit.

What lives here: ``LiveSnapshot`` and ``DocChange``, in the terms of CloudBase's watch, and ``Move``, what they are made of. What it must not know: how
a query keeps its result. Both hold stored bytes and decode what is asked for.

    data_type   queue_type                  what happened
    init        init                        the document is in the first result
    add         enqueue                     it was inserted and is in the result
    update      update, enqueue, dequeue    it was changed, and stayed, came in, or went out by that
    replace     update, enqueue, dequeue    the same by a replacement (``set``, ``replace_one``)
    remove      dequeue                     it was deleted, or it expired
    limit       enqueue, dequeue            others moved it into the window of skip and limit, or out of it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from docdb.feeds.diff import difference
from docdb.feeds.positions import Position
from docdb.store import codec

if TYPE_CHECKING:
    from docdb.feeds.live_window import Lens

__all__ = ["DocChange", "LiveSnapshot", "Move"]

T = TypeVar("T")
INIT_EVENT: Final = "INIT_EVENT"
NEXT_EVENT: Final = "NEXT_EVENT"


class Move(NamedTuple):
    """One document's part in an event: ``shown`` is its image that is told, ``before`` the one before an update, empty where it is not told."""

    data_type: str
    queue_type: str
    shown: bytes
    before: bytes = b""


class DocChange(Generic[T]):
    """What happened to one document; see the table above."""

    __slots__ = ("_lens", "_move", "id")

    def __init__(self, id: int, move: Move, lens: Lens) -> None:
        self.id = id
        self._move = move
        self._lens = lens

    @property
    def data_type(self) -> str:
        """What was done: init, add, update, replace, remove, limit."""
        return self._move.data_type

    @property
    def queue_type(self) -> str:
        """What it means for the result: init, enqueue, update, dequeue."""
        return self._move.queue_type

    @property
    def doc_id(self) -> Any:
        """The document's ``_id``."""
        return codec.decode(self._move.shown)["_id"]

    @property
    def doc(self) -> T:
        """The document as the query shows it, decoded anew each time; of one that went out its last state."""
        return self._lens.load(self._move.shown)  # type: ignore[no-any-return]

    @property
    def updated_fields(self) -> dict[str, Any] | None:
        """Path -> new value of what an update changed, as far as the query shows it; None for other changes."""
        found = self._difference()
        return None if found is None else found[0]

    @property
    def removed_fields(self) -> list[str] | None:
        """The paths an update removed, as far as the query shows them; None for other changes."""
        found = self._difference()
        return None if found is None else found[1]

    def _difference(self) -> tuple[dict[str, Any], list[str]] | None:
        move = self._move
        if move.data_type != "update" or not move.before:
            return None
        return difference(self._lens.show(move.before), self._lens.show(move.shown))

    def __repr__(self) -> str:
        return f"<{self.data_type}/{self.queue_type} _id {self.doc_id!r}>"


class LiveSnapshot(Generic[T]):
    """The result of a live query behind one commit, and what that commit did to it.

    ``docs`` is complete and in order. ``id`` counts the events of the query from 0; ``type`` is "init" for the first and None for others, ``msg_type``
    INIT_EVENT or NEXT_EVENT. ``coalesced`` tells that more than one commit may lie between this snapshot and the one before: the reader was slow, or
    the query had to be asked anew, as behind a commit of more than 4 MiB of changes for it. What changed then follows from the two results: what came in is
    an ``add``, what stayed an ``update``. ``commit`` is the number of the commit; None for callers who are judged by rules.
    """

    __slots__ = ("_about", "_commit", "_docs", "_lens", "_moves", "_stored", "coalesced", "id")

    def __init__(
        self, about: Mapping[str, Any], commit: int, id: int, lens: Lens, stored: Sequence[bytes], moves: Sequence[Move],
        *, coalesced: bool = False,
    ) -> None:  # fmt: skip
        self._about = about
        self._lens = lens
        self._stored = stored
        self._moves = moves
        self._docs: list[T] | None = None
        self._commit = commit
        self.id = id
        self.coalesced = coalesced

    @property
    def commit(self) -> int | None:
        """The number of the commit that this is the result at."""
        return self._commit if self._lens.seal is None else None

    @property
    def docs(self) -> list[T]:
        """The whole result, in order; decoded when it is first asked for."""
        if self._docs is None:
            load = self._lens.load
            self._docs = [load(data) for data in self._stored]
        return self._docs

    @property
    def doc_changes(self) -> list[DocChange[T]]:
        """What happened to each document that this event is about."""
        if self.id == 0:
            return [DocChange(0, Move("init", "init", data), self._lens) for data in self._stored]
        return [DocChange(self.id, move, self._lens) for move in self._moves]

    @property
    def type(self) -> str | None:
        """ "init" for the first snapshot."""
        return "init" if self.id == 0 else None

    @property
    def msg_type(self) -> str:
        """INIT_EVENT for the first snapshot, NEXT_EVENT for others."""
        return INIT_EVENT if self.id == 0 else NEXT_EVENT

    @property
    def position(self) -> str:
        """The text of the place in the change log that this is the result at: ``changes(resume_after=...)`` goes on behind it."""
        if self._lens.seal is not None:
            return self._lens.seal(self._commit)
        return str(Position(self._about["database_id"], self._about["epoch"], self._commit))

    def __len__(self) -> int:
        return len(self._stored)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<snapshot {self.id} of {len(self._stored)} documents{'' if self.commit is None else f' at commit {self.commit}'}>"
