"""Live queries over a session: what a ``LiveQuery`` asks planner, catalog and rules for.

What lives here: ``LiveSource`` and ``Constraint``, the seam for sessions with rules. What it must not know: how changes reach a query.
"""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from docdb.errors import NotSupportedError
from docdb.feeds import live_window
from docdb.feeds.judging import judge_of
from docdb.feeds.live_window import Bounds, Lens
from docdb.feeds.ordering import id_of, order_of
from docdb.language import matching, tree
from docdb.planner.conditions import conjuncts
from docdb.planner.covering import reached
from docdb.planner.nearness import near_key
from docdb.planner.planner import plan
from docdb.planner.queries import FindQuery, SortKeys
from docdb.store import codec

if TYPE_CHECKING:
    from docdb.sessions.session import StoreSession
    from docdb.store.catalog import CollectionInfo
    from docdb.store.snapshots import Snapshot

__all__ = ["Constraint", "LiveShape", "LiveSource", "check_live"]

Row = tuple[bytes, bytes]
_ID_UP: Final[SortKeys] = ((("_id",), 1),)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_US: Final = dt.timedelta(microseconds=1)


class Constraint(Protocol):
    """What rules add to a live query.

    The hub has the query asked anew, ``constrain`` first, whenever the log tells of a change to its collection's rules or
    of any change to a collection of ``watched``; whoever knows of another reason (the caller's identity has changed, say) calls
    ``LiveQuery.refresh`` or ``Watcher.refresh``. In between, every event is judged by the filter that ``constrain`` returned, where ``steady`` says
    that it looks at the document alone; else it is asked anew at each. What a constrained query tells of a document that leaves it is its
    last state inside.
    """

    @property
    def steady(self) -> bool:
        """Whether the filter of the last ``constrain`` looks at nothing but the document."""

    def constrain(self, name: str, query: FindQuery, snapshot: Snapshot) -> FindQuery:
        """Return the query under the collection's collation with what the rules of a snapshot demand; raise DeniedError to end the live query."""

    def is_alike(self, left: tree.Node, right: tree.Node) -> bool:
        """Tell whether two filters of ``constrain`` differ only in when they were made."""

    def due_s(self) -> float | None:
        """Return in how many seconds to ask again, whatever is committed; None: never."""

    def watched(self) -> Sequence[str]:
        """Return the names of the other collections that the rules of the last ``constrain`` read."""

    def seal(self, commit: int) -> str:
        """Return the text of a position that does not tell the number of the commit."""


class LiveShape:
    """What many live queries have in common: everything but their filters. ``load`` makes the user's object of a document, None: it stays a dict."""

    __slots__ = ("bounds", "constraint", "load", "name", "query", "session")

    def __init__(
        self, session: StoreSession, name: str, query: FindQuery, load: Callable[[Any], Any] | None, constraint: Constraint | None
    ) -> None:  # fmt: skip
        self.session = session
        self.name = name
        self.query = query._replace(filter={}, node=tree.TRUE)
        self.bounds: Bounds = (query.skip, query.skip + query.limit if query.limit else None)
        self.load = load
        self.constraint = constraint

    def sharing(self) -> Any:
        """Return what another one must have to be the same; None when it shares with nobody."""
        query = self.query
        plain = (query.projection, query.hint, query.collation, query.min, query.max, query.let, self.constraint)
        if any(part is not None for part in plain) or query.metadata:
            return None
        return self.name, self.load, query.sort, query.skip, query.limit, query.simple


class LiveSource:
    """Fulfils ``feeds.live.Source`` over a session. There may be 100,000 of them: each holds little, and the filter document packed."""

    __slots__ = ("_filter", "_info", "_node", "_settled", "shape")

    def __init__(self, shape: LiveShape, query: FindQuery) -> None:
        check_live(query)
        self.shape = shape
        self._filter = _packed(query.filter)
        self._node = query.node
        self._settled: FindQuery | None = None  # the query under a collation or a constraint, else as it was asked
        self._info: CollectionInfo | None = None

    @property
    def name(self) -> str:
        """The collection's name."""
        return self.shape.name

    @property
    def bounds(self) -> Bounds:
        """Places of the first row that is shown and behind the last one."""
        return self.shape.bounds

    @property
    def session(self) -> StoreSession:
        """Whose live query it is."""
        return self.shape.session

    @property
    def node(self) -> tree.Node:
        """The filter as of the last ``settle``."""
        return self._node if self._settled is None else self._settled.node

    @property
    def number(self) -> int | None:
        """The collection's number as of the last ``settle``."""
        return None if self._info is None else self._info.number

    @property
    def constrained(self) -> bool:
        """Whether rules have a say in it."""
        return self.shape.constraint is not None

    @property
    def steady(self) -> bool:
        """Whether the filter looks at nothing but the document."""
        constraint = self.shape.constraint
        return constraint is None or constraint.steady

    def is_found_by(self, node: tree.Node) -> bool:
        """Tell whether who is registered under a filter is told of all that concerns the present one."""
        constraint = self.shape.constraint
        return self.node == node or (constraint is not None and constraint.is_alike(self.node, node))

    def due_s(self) -> float | None:
        """Return in how many seconds the rules are to be asked again; None: when something is committed."""
        constraint = self.shape.constraint
        return None if constraint is None else constraint.due_s()

    def watched(self) -> Sequence[str]:
        """Return the names of other collections whose changes may change what the query may show."""
        constraint = self.shape.constraint
        return () if constraint is None else tuple(constraint.watched())

    def settle(self, snapshot: Snapshot) -> None:
        """Bring the query to the catalog and the rules of a snapshot."""
        shape = self.shape
        info, constraint = snapshot.catalog.get(shape.name), shape.constraint
        if constraint is None and (info is self._info or info is None or info.collation is None):
            self._info, self._settled = info, None
            return
        query = self._asked()
        if constraint is not None:
            query = constraint.constrain(shape.name, query, snapshot)
        elif info is not None:
            query = shape.session.collated(query, info)
        self._settled, self._info = query, info

    def settled(self, snapshot: Snapshot) -> bool:
        """Tell whether the last ``settle`` is still true of a snapshot; other indexes, and a plain collection where there was none, change nothing."""
        info, known = snapshot.catalog.get(self.shape.name), self._info
        if info is known:
            return True
        if info is None or self.constrained:
            return False
        if known is None:
            same = info.collation is None and not info.expiring
        else:
            same = (info.number, info.options, info.expiring) == (known.number, known.options, known.expiring)
        if same:
            self._info = info
        return same

    def _asked(self) -> FindQuery:
        return self.shape.query._replace(filter=_unpacked(self._filter), node=self._node)

    @property
    def _query(self) -> FindQuery:
        return self._asked() if self._settled is None else self._settled

    def lens(self) -> Lens:
        """Return what the query makes of stored documents."""
        query, info, load, constraint = self._query, self._info, self.shape.load, self.shape.constraint
        show = _shower(query)
        projected = query.projection is not None
        return Lens(
            judge_of(query.node), self._order()[1], _expiry(info), show,
            show if load is None or projected else lambda data: load(codec.decode(data)),
            projected=projected, discreet=constraint is not None,
            seal=None if constraint is None else constraint.seal,
        )  # fmt: skip

    def _order(self) -> tuple[SortKeys, Callable[[bytes], bytes], bool]:
        """Return the sort to ask for, the order key of the result, and whether the sort alone leaves ties."""
        query = self._query
        near = next((part for part in conjuncts(query.node) if isinstance(part, tree.Near)), None)
        if near is not None and not query.sort:
            distance = near_key(near)
            return (), lambda data: distance(codec.decode(data)) + id_of(data), True
        sort = query.sort
        if sort and sort[0][0] == ("$natural",):
            sort = ((("_id",), sort[0][1]),)
        whole = sort if any(path == ("_id",) for path, _ in sort) else (*sort, *_ID_UP)
        return whole, order_of(sort, query.collation), query.collation is not None

    def rows(self, snapshot: Snapshot, lens: Lens, least: int | None) -> tuple[list[Row], bytes | None]:
        """Return the first rows, in order, and the key up to which they are complete (None: no more there are): at least so many if there are."""
        if self._info is None:
            return [], None
        sort, key, ties = self._order()
        most = None if least is None else least + live_window.SLACK
        found = self._select(snapshot, sort, key, most)
        if most is None or least is None or len(found) < most:
            return found, None
        if not ties:
            return found, found[-1][0]
        # Behind the last rows with one sort key others may stand that are equal to them but for the id.
        last = found[-1][0][: -len(id_of(found[-1][1]))]
        sure = [row for row in found if row[0][: -len(id_of(row[1]))] != last]
        if not sure or len(sure) < least:
            return self._select(snapshot, sort, key, None), None
        return sure, sure[-1][0]

    def _select(self, snapshot: Snapshot, sort: SortKeys, key: Callable[[bytes], bytes], most: int | None) -> list[Row]:
        order = sort if most is not None else ()  # all rows are sorted here in any case
        query = self._query._replace(projection=None, fields=None, skip=0, limit=most, sort=order)
        view = snapshot.view(self.shape.name)
        assert view.collection is not None
        chosen = plan(self.session.complete(self.shape.name, query, snapshot), view)
        self.session.note_uses(chosen)
        return sorted([(key(data), data) for batch in chosen.select(view) for _, data in batch])

    def known(self, snapshot: Snapshot, id: bytes) -> bytes | None:
        """Return the stored document with this id key."""
        found: bytes | None = snapshot.view(self.shape.name).fetch([id], decode=False)[0]
        return found

    def now_us(self) -> int:
        """Return the clock in microseconds since 1970."""
        return int((self.session.settings.clock() - _EPOCH) / _US)


def _packed(filter: Any) -> Any:
    """Return a filter document as bytes, a third of the size; itself where that cannot be."""
    try:
        return pickle.dumps(filter, pickle.HIGHEST_PROTOCOL)
    except Exception:
        return filter


def _unpacked(filter: Any) -> Any:
    return pickle.loads(filter) if type(filter) is bytes else filter


def check_live(query: FindQuery) -> None:
    """Refuse what has no meaning while documents change."""
    if query.after is not None:
        raise NotSupportedError("a live query has no keyset page", path="after", hint="use skip and limit")
    if any(isinstance(node, tree.Text) for node in tree.walk(query.node)):
        raise NotSupportedError("a live query cannot search text", path="$text", hint="use changes(), or $regex")


def _shower(query: FindQuery) -> Callable[[bytes], dict[str, Any]]:
    projection, node = query.projection, query.node
    if projection is None:
        return codec.decode
    if not projection.needs_position:
        return lambda data: projection.apply(codec.decode(data))

    def show(data: bytes) -> dict[str, Any]:
        document = codec.decode(data)
        return projection.apply(document, matching.match_position(node, document))

    return show


def _expiry(info: CollectionInfo | None) -> Callable[[bytes], int | None] | None:
    """Return when a stored document counts as gone: the earliest date under an expiring index, and the time that index adds."""
    if info is None or not info.expiring:
        return None
    rules = [
        (
            index.keys[0][0],
            dt.timedelta(seconds=index.expire_after_s or 0),
            None if index.partial_node is None else matching.matcher(index.partial_node),
        )
        for index in info.expiring
    ]

    def expires(data: bytes) -> int | None:
        document = codec.decode(data)
        dates = [
            int((value - _EPOCH + life) / _US)
            for path, life, holds in rules
            if holds is None or holds(document)
            for value in reached(document, path)
            if isinstance(value, dt.datetime)
        ]
        return min(dates, default=None)

    return expires
