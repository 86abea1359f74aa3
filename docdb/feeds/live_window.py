"""The result of a live query, kept in order while documents change.

What lives here: ``Lens`` (what a query makes of a stored document), ``Window`` (the rows held) and ``step`` (what one commit does to them). What it must
not know: threads, the log, where rows come from.

A row is an order key and a stored document. The order key is the document's sort key, completed by ``_id``, so no two are alike. Without a limit the window
holds every match. With one it holds the first of them: all whose key is not behind the *horizon*, some more than are visible, so that the next one
is at hand when one goes out. When too few are left it is filled anew (``Window.fill``) with what the query gave at that very commit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from docdb.feeds.judging import Judge
from docdb.feeds.live_events import Move
from docdb.feeds.ordering import id_of
from docdb.store import codec

__all__ = ["Bounds", "Changed", "Lens", "SLACK", "Window", "compare", "net", "step"]

SLACK: Final = 16  # rows beyond the visible ones that a fill asks for; twice as many may gather

Changed = tuple[str, bytes, bytes]  # operation, the images before and after (empty: none)
Bounds = tuple[int, int | None]  # places of the first visible row and behind the last one
Row = tuple[bytes, bytes]  # order key, stored document
_FIRST, _SECOND = itemgetter(0), itemgetter(1)
_NAMES: Final = {"u": "update", "r": "replace", "i": "update", "d": "update"}


class Lens:
    """What a query makes of stored documents.

    ``judge`` says whether one matches, ``key`` gives its order key, ``expires`` the moment it counts as gone (microseconds since 1970, None: never;
    itself None where nothing expires), ``show`` what is shown of it, ``load`` the same as the user's object. ``discreet``: what lies outside the
    result is not told, not even of a document that has just left it, nor whether it was there before. ``seal`` makes the text of a position
    where its numbers are not told.
    """

    __slots__ = ("discreet", "expires", "judge", "key", "load", "projected", "seal", "show")

    def __init__(
        self, judge: Judge, key: Callable[[bytes], bytes], expires: Callable[[bytes], int | None] | None,
        show: Callable[[bytes], dict[str, Any]], load: Callable[[bytes], Any], *, projected: bool, discreet: bool,
        seal: Callable[[int], str] | None = None,
    ) -> None:  # fmt: skip
        self.judge = judge
        self.key = key
        self.expires = expires
        self.show = show
        self.load = load
        self.projected = projected
        self.discreet = discreet
        self.seal = seal

    def matches(self, data: bytes, now_us: int) -> bool:
        """Tell whether a document belongs to the result at a moment."""
        if not data or not self.judge(data):
            return False
        due = self.expires(data) if self.expires is not None else None
        return due is None or due > now_us


class Window:
    """The rows held, in order. ``horizon`` None: they are all matches there are."""

    __slots__ = ("docs", "horizon", "keys")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.docs: list[bytes] = []
        self.horizon: bytes | None = None

    def fill(self, rows: Sequence[Row], horizon: bytes | None) -> None:
        """Hold these rows, in order, and no others."""
        self.keys = list(map(_FIRST, rows))  # no larger than needed, unlike what a comprehension makes
        self.docs = list(map(_SECOND, rows))
        self.horizon = horizon

    def find(self, key: bytes) -> int:
        """Return the place of a row, -1 when it is not held."""
        at = bisect_left(self.keys, key)
        return at if at < len(self.keys) and self.keys[at] == key else -1

    def remove(self, key: bytes) -> bool:
        """Take a row out; return whether it was held."""
        at = self.find(key)
        if at < 0:
            return False
        del self.keys[at], self.docs[at]
        return True

    def insert(self, key: bytes, data: bytes) -> None:
        """Take a row in, unless it lies behind the horizon."""
        if self.horizon is not None and key > self.horizon:
            return
        at = bisect_left(self.keys, key)
        self.keys.insert(at, key)
        self.docs.insert(at, data)

    def trim(self, most: int) -> None:
        """Let go of what lies far behind the visible rows."""
        if len(self.keys) > most + 2 * SLACK:
            del self.keys[most + SLACK :], self.docs[most + SLACK :]
            self.horizon = self.keys[-1]

    def check(self) -> None:
        """Raise AssertionError where the order, or the horizon, does not hold."""
        assert all(a < b for a, b in zip(self.keys, self.keys[1:], strict=False))
        assert len(self.keys) == len(self.docs)
        assert self.horizon is None or not self.keys or self.keys[-1] <= self.horizon


class _Touched:
    """One changed document and its order keys: ``left`` where it was held, ``right`` where it matches now."""

    __slots__ = ("after", "before", "left", "operation", "right")

    def __init__(self, change: Changed, left: bytes | None, right: bytes | None) -> None:
        self.operation, self.before, self.after = change
        self.left = left
        self.right = right


def net(changes: Sequence[Changed]) -> Sequence[Changed]:
    """Return one change a document of what one commit did, in the order in which they were first touched."""
    if len(changes) < 2:
        return changes
    found: dict[bytes, Changed] = {}
    for operation, before, after in changes:
        id = id_of(before or after)
        first = found.get(id)
        if first is None:
            found[id] = operation, before, after
        else:
            found[id] = _joined(first, operation, after)
    return [change for change in found.values() if change[1] or change[2]]


def _joined(first: Changed, operation: str, after: bytes) -> Changed:
    """Return two changes of one document as one."""
    before = first[1]
    if not after:
        return "d", before, b""
    if not before:
        return "i", b"", after
    return ("u" if first[0] == "u" and operation == "u" else "r"), before, after


def step(
    window: Window, lens: Lens, changes: Sequence[Changed], bounds: Bounds, now_us: int, fill: Callable[[], None]
) -> list[Move]:
    """Let one commit's net changes pass over the window and return what that means for what is visible.

    ``fill`` is called when too few rows are left; it brings the window to the state behind the commit.
    """
    first, end = bounds
    bounded = first > 0 or end is not None
    old_keys, old_docs = (window.keys[first:end], window.docs[first:end]) if bounded else ([], [])
    touched = [_pass(window, lens, change, now_us) for change in changes]
    if end is not None:
        window.trim(end)
        if window.horizon is not None and len(window.keys) < end:
            fill()
    if not bounded:
        moves = [_move(lens, one, one.left is not None, one.right is not None) for one in touched]
        return [move for move in moves if move is not None]
    new_keys = window.keys[first:end]
    moves = [_move(lens, one, _within(old_keys, one.left), _within(new_keys, one.right)) for one in touched]
    if old_keys != new_keys:
        moves += _shifted(touched, old_keys, old_docs, new_keys, window.docs[first:end])
    return [move for move in moves if move is not None]


def _pass(window: Window, lens: Lens, change: Changed, now_us: int) -> _Touched:
    """Take a document's row out and, where it still matches, in again."""
    _, before, after = change
    left = lens.key(before) if before and lens.judge(before) else None
    if left is not None and not window.remove(left):
        left = None
    right = lens.key(after) if lens.matches(after, now_us) else None
    if right is not None:
        window.insert(right, after)
    return _Touched(change, left, right)


def _within(keys: list[bytes], key: bytes | None) -> bool:
    return key is not None and bool(keys) and keys[0] <= key <= keys[-1]


def _move(lens: Lens, one: _Touched, was: bool, now: bool) -> Move | None:
    operation, before, after = one.operation, one.before, one.after
    if not was and not now:
        return None
    if not after:
        return Move("remove", "dequeue", before)
    if not was:
        if not before or lens.discreet:
            return Move("add", "enqueue", after)
        return Move(_NAMES[operation], "enqueue", after, before)
    if not now:
        if lens.discreet:
            return Move("remove", "dequeue", before)
        return Move(_NAMES[operation], "dequeue", after, before)
    if lens.projected and one.left == one.right and _shown_alike(lens, before, after):
        return None
    return Move(_NAMES[operation], "update", after, before)


def _shown_alike(lens: Lens, before: bytes, after: bytes) -> bool:
    return bool(codec.encode_value(lens.show(before)) == codec.encode_value(lens.show(after)))


def _shifted(
    touched: list[_Touched], old_keys: list[bytes], old_docs: list[bytes], new_keys: list[bytes], new_docs: list[bytes]
) -> list[Move]:
    """Return the documents that others have moved out of the visible rows, then those they have moved in."""
    left = {one.left for one in touched}
    right = {one.right for one in touched}
    old, new = set(old_keys), set(new_keys)
    gone = [data for key, data in zip(old_keys, old_docs, strict=True) if key not in new and key not in left]
    come = [data for key, data in zip(new_keys, new_docs, strict=True) if key not in old and key not in right]
    return [Move("limit", "dequeue", data) for data in gone] + [Move("limit", "enqueue", data) for data in come]


def compare(
    lens: Lens, old: Iterable[Row], new: Sequence[Row], known: Callable[[bytes], bytes | None], now_us: int
) -> list[Move]:
    """Return what lies between two results with any number of commits between them. ``known(id)`` gives the stored document of now, or None."""
    before = dict(old)
    staying = {key for key, data in new if before.get(key) == data}
    gone = {id_of(data): (key, data) for key, data in before.items() if key not in staying}
    moves: list[Move] = []
    for key, data in new:
        if key in staying:
            continue
        earlier = gone.pop(id_of(data), None)
        if earlier is None:
            moves.append(Move("add", "enqueue", data))
        elif earlier[0] != key or not lens.projected or not _shown_alike(lens, earlier[1], data):
            moves.append(Move("update", "update", data, earlier[1]))
    return [_left(lens, data, known(id), now_us) for id, (_, data) in gone.items()] + moves


def _left(lens: Lens, data: bytes, stored: bytes | None, now_us: int) -> Move:
    due = lens.expires(stored) if stored is not None and lens.expires is not None else None
    if stored is None or due is not None and due <= now_us:
        return Move("remove", "dequeue", data)
    if lens.judge(stored):
        return Move("limit", "dequeue", data)
    return Move("remove" if lens.discreet else "update", "dequeue", data)
