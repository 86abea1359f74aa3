"""Change streams: every committed change once, in order.

What lives here: ``ChangeStream`` and ``StreamOptions``. What it must not know: how the hub learns of commits, sessions.

A stream holds a place in the log and a buffer of what it has read; it reads in short snapshots and keeps none. What it passes over moves its place
too, so that a stream over a quiet collection does not fall behind the history.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from docdb.errors import DeniedError, HistoryLost, InvalidOperation
from docdb.feeds import history
from docdb.feeds.events import Change
from docdb.feeds.judging import Judge
from docdb.feeds.positions import Place, Position
from docdb.feeds.waiting import Feed, check_start

if TYPE_CHECKING:
    from docdb.feeds.hub import Hub
    from docdb.store.snapshots import Snapshot

__all__ = ["ChangeStream", "Shape", "StreamOptions", "Voice"]

T = TypeVar("T")
NEAR_S: Final = 1.0


class Voice(Protocol):
    """What rules make of a stream: who reads it, and what of each change."""

    def permit(self, snapshot: Snapshot, changes: list[Change]) -> list[Change]:
        """Return what may be told of changes, by the rules of a snapshot not older than they; DeniedError ends the stream."""

    def seal(self, place: Place) -> str:
        """Return the text of a position, which tells nothing."""

    def unseal(self, position: Any) -> Place:
        """Return what ``seal`` was given; UsageError for the text of another reader or stream."""

    def left_s(self) -> float | None:
        """Return in how many seconds the reader's permission ends; None: never."""


# From changes to (place of the change it came from, what the reader gets).
Shape = Callable[[list[Change]], list[tuple[Place, Any]]]


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a stream delivers: of one collection or all (None), these operations or all, whose image before or after the judge accepts.

    ``shape`` makes of the changes what the reader gets; ``voice`` is what rules add.
    """

    collection: str | None = None
    operations: frozenset[str] | None = None
    judge: Judge | None = None
    shape: Shape | None = None
    voice: Voice | None = None


class ChangeStream(Feed[T]):
    """Changes as they are committed, of all processes: ``for change in stream``, ``async for``, ``next(timeout_s)``, ``try_next()``.

    ``position`` is where it has got to: ``changes(resume_after=position)`` goes on behind it, in this process or another. A reader who falls behind the
    retained history gets HistoryLost, which names the oldest position left; then ``restart`` goes on.
    """

    __slots__ = ("_buffer", "_done", "_mutex", "_names", "_options", "_place", "_seen_id", "_torn")

    def __init__(self, hub: Hub, options: StreamOptions, *, resume_after: Any = None, from_: str = "now") -> None:
        super().__init__(hub)
        check_start(from_)
        self._options = options
        self._mutex = threading.Lock()
        self._buffer: deque[tuple[Place, Any]] = deque()
        self._seen_id = -1
        self._torn = False  # it was interrupted: what was read ahead is read again
        with self._discreet(), hub.store.snapshot() as snapshot:
            if options.voice is not None:
                options.voice.permit(snapshot, [])
            if resume_after is not None:
                place = self._resumed(snapshot, resume_after)
            else:
                place = history.newest(snapshot) if from_ == "now" else history.oldest(snapshot)
            self._begin_at(snapshot, place)
        hub.join(self)
        left_s = None if options.voice is None else options.voice.left_s()
        if left_s is not None:
            hub.alarm(self, time.monotonic() + left_s)

    def _resumed(self, snapshot: Any, position: Any) -> Place:
        about, voice = self._hub.store.about, self._options.voice
        try:
            place = Position.parse(position, about).place if voice is None else voice.unseal(position)
        except HistoryLost as lost:
            lost.oldest = str(Position(about["database_id"], about["epoch"], *history.oldest(snapshot)))
            raise
        history.check_reach(self._hub.store, snapshot, place)
        return place

    def _begin_at(self, snapshot: Any, place: Place) -> None:
        self._names = history.Names.at(snapshot, place)
        self._place = self._done = place
        self._buffer.clear()

    @property
    def place(self) -> Place:
        """The position within the history, as commit and index."""
        return self._done

    @property
    def position(self) -> str:
        """Where the stream has got to: the text to resume behind what was delivered last."""
        voice = self._options.voice
        return self._text(self._done) if voice is None else voice.seal(self._done)

    def _text(self, place: Place) -> str:
        about = self._hub.store.about
        return str(Position(about["database_id"], about["epoch"], *place))

    @property
    def resume_token(self) -> dict[str, str]:
        """The position in pymongo's form."""
        return {"_data": self.position}

    def restart(self, from_: str = "oldest") -> None:
        """Go on after HistoryLost: from the oldest change left, or from now. What lies between is lost, as asked."""
        check_start(from_)
        if self._closed:
            raise InvalidOperation("the change stream is closed")
        with self._mutex, self._hub.store.snapshot() as snapshot:
            self._begin_at(snapshot, history.newest(snapshot) if from_ == "now" else history.oldest(snapshot))
            self._seen_id, self._torn = -1, False

    @contextmanager
    def _discreet(self) -> Iterator[None]:
        """Keep the numbers of the log out of what a reader with a voice is told."""
        voice = self._options.voice
        try:
            yield
        except HistoryLost as lost:
            if voice is None:
                raise
            text, about = "the position is not one that the change log reaches", self._hub.store.about
            oldest = None if lost.oldest is None else voice.seal(Position.parse(lost.oldest, about).place)
            raise HistoryLost(text, oldest=oldest, hint=lost.hint) from None

    def _look(self) -> T | None:
        try:
            return self._looked()
        except InvalidOperation:
            if self._closed:  # meanwhile, and its storage with it
                return None
            raise

    def _looked(self) -> T | None:
        with self._mutex, self._discreet():
            voice = self._options.voice
            if voice is not None and (left_s := voice.left_s()) is not None:
                self._watch_the_clock(voice, left_s)
            if self._torn:
                with self._hub.store.snapshot() as snapshot:
                    history.check_reach(self._hub.store, snapshot, self._done)
                    self._begin_at(snapshot, self._done)
                self._torn, self._seen_id = False, -1
            while not self._buffer:
                if not self._fill():
                    return None
            self._done, item = self._buffer.popleft()
            if not self._buffer:
                self._done = self._place
            return item  # type: ignore[no-any-return]

    def _mark(self) -> Place:
        return self._done

    def _rewind(self, mark: Place) -> None:
        self._done, self._torn = mark, True

    def _watch_the_clock(self, voice: Voice, left_s: float) -> None:
        """End with the reader's permission."""
        if left_s > 0:
            if left_s < NEAR_S:  # the ring came early
                self._hub.alarm(self, time.monotonic() + left_s)
            return
        with self._hub.store.snapshot() as snapshot:
            self._permitted(voice, snapshot, [])

    def _permitted(self, voice: Voice, snapshot: Any, changes: list[Change]) -> list[Change]:
        try:
            return voice.permit(snapshot, changes)
        except DeniedError as error:
            error.permission_lost = True
            self.close()
            raise

    def _fill(self) -> bool:
        """Read on; return whether there was anything, wanted or not."""
        store = self._hub.store
        if store.engine.last_id() == self._seen_id:
            return False
        with store.snapshot() as snapshot:
            found, place = history.read_changes(store, snapshot, self._names, self._place)
            moved = place != self._place
            if not moved:
                self._seen_id = snapshot.txn.id
            voice = self._options.voice
            if voice is not None and found:
                found = self._permitted(voice, snapshot, found)
        wanted = self._wanted(found)
        shape = self._options.shape
        if shape is None:
            self._buffer.extend([(change.place, change) for change in wanted])
        else:
            self._buffer.extend(shape(wanted))
        self._place = place  # behind what may raise: asked again, the stream says the same again
        if not self._buffer:
            self._done = place
        return moved

    def _wanted(self, found: list[Change]) -> list[Change]:
        options = self._options
        name, judge = options.collection, options.judge
        if name is not None:
            found = [change for change in found if change.collection == name or (change.detail or {}).get("to") == name]
        if options.operations is not None:
            found = [change for change in found if change.operation in options.operations]
        return found if judge is None else [change for change in found if _passes(change, judge)]

    def _heed(self) -> None:
        self._hub.heed(self)

    def _leave(self) -> None:
        self._buffer.clear()

    def __repr__(self) -> str:
        return (
            f"<{'open' if self.alive else 'closed'} change stream on {self._options.collection or 'all collections'!r}>"
        )


def _passes(change: Change, judge: Judge) -> bool:
    """Tell whether a change of the catalog, or one of a document that matches before or after it."""
    if change.detail is not None:
        return True
    before, after = change.images
    return bool(after and judge(after)) or bool(before and judge(before))
