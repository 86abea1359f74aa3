"""Live queries and change streams of a caller who is judged by rules.

What lives here: ``UserFeeds``, the feeds of one caller's session; ``UserConstraint``, what rules add to a live query; ``UserVoice``, what they add to a
change stream. What it must not know: how feeds are told of commits, how rules are evaluated.

A feed asks the same function as a find, first when it is made. A live query asks it anew whenever its rules change, or a document that they read; where they
look at more than the judged document (another one that it names, the time) at every event. A change is judged by the rules of a snapshot that is
not older than it: each of its images by itself. What may not be seen is not there: a document that comes into sight is inserted, one that goes out of
sight deleted. Positions are sealed, since gaps between numbers would tell of what others do.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from docdb.errors import DeniedError, DocdbError, InvalidOperation, UsageError
from docdb.feeds.events import CATALOG_OPERATIONS, Change
from docdb.feeds.judging import judge_of
from docdb.feeds.positions import END, Place
from docdb.feeds.streams import StreamOptions
from docdb.language import filters, tree
from docdb.language.values import canonical
from docdb.planner.queries import FindQuery
from docdb.rules.checker import path_target
from docdb.rules.compiled import Verdict, compiled
from docdb.rules.fields import check_size
from docdb.rules.partial import Asks
from docdb.rules.syntax import Call, Variable, walk
from docdb.rules.syntax import Node as RuleNode
from docdb.sessions import administration
from docdb.sessions.feeding import Feeds, known_operations
from docdb.sessions.user_gate import Gate
from docdb.sessions.user_steady import one_id
from docdb.store import codec
from docdb.store.secrets import Seal, secret_of

if TYPE_CHECKING:
    from docdb.feeds.live import LiveQuery
    from docdb.feeds.streams import ChangeStream, Shape
    from docdb.sessions.following import Follower
    from docdb.sessions.live import Constraint
    from docdb.sessions.rulebook import KnownRules
    from docdb.sessions.user import Gated
    from docdb.store.snapshots import Snapshot

__all__ = ["UserConstraint", "UserFeeds", "UserVoice"]

PLACE_BYTES: Final = 12
LOOK_S: Final = 1.0  # how often rules that read the time are asked while nothing is committed
_NO_FILTER: Final[dict[str, Any]] = {}


class UserFeeds(Feeds):
    """The feeds of one caller's session; they end with it, and with the database's."""

    def __init__(self, session: Gated) -> None:
        super().__init__(session)
        self._caller_session = session
        self._lives: weakref.WeakSet[LiveQuery[Any]] = weakref.WeakSet()

    def changes(
        self,
        name: str | None,
        filter: Mapping[str, Any] | None = None,
        *,
        operations: Collection[str] | None = None,
        pipeline: Sequence[Mapping[str, Any]] | None = None,
        resume_after: Any = None,
        from_: str = "now",
        judge: Any = None,
    ) -> ChangeStream[Any]:
        """Return a change stream of what may be read of a collection, or of all (None). DeniedError where a find with the filter is denied."""
        session = self._caller_session
        known = known_operations(operations)
        catalog_only = sorted((known or frozenset()) & frozenset(CATALOG_OPERATIONS.values()))
        if catalog_only:
            raise session.administration(f"changes of {catalog_only[0]}", name)
        node: tree.Node = tree.TRUE
        if filter:
            check_size(filter, "filter")
            filter = session.filled_filter(name, filter)
            with session.patterns():
                node = filters.parse(filter, naive_utc=session.settings.naive_utc, near=False)
            judge = judge_of(node)
        shape = None if pipeline is None else self._shape(pipeline)
        told = [filter or _NO_FILTER, sorted(known or ()), pipeline or []]
        query = FindQuery(filter=filter or _NO_FILTER, node=node)
        return self._opened(name, query, StreamOptions(name, known, judge, shape), told, resume_after, from_)

    def watch(
        self,
        name: str | None,
        pipeline: Sequence[Mapping[str, Any]] | None = None,
        *,
        full_document: str | None = None,
        full_document_before_change: str | None = None,
        resume_after: Any = None,
        start_after: Any = None,
        show_expanded_events: bool | None = None,
    ) -> ChangeStream[dict[str, Any]]:
        """Return a change stream in MongoDB's form; what may not be read is not in it."""
        shape = self._mongo_shape(pipeline, full_document, full_document_before_change, expanded=False)
        resume_after = resume_after if resume_after is not None else start_after
        told = [_NO_FILTER, [], pipeline or []]
        return self._opened(name, FindQuery(), StreamOptions(name, None, None, shape), told, resume_after, "now")

    def _shape(self, pipeline: Sequence[Mapping[str, Any]], **options: bool) -> Shape:
        check_size(pipeline, "pipeline")
        with self._caller_session.patterns():
            return super()._shape(pipeline, **options)

    def _opened(
        self, name: str | None, query: FindQuery, options: StreamOptions, told: Sequence[Any], resume_after: Any, from_: str
    ) -> ChangeStream[Any]:  # fmt: skip
        session = self._caller_session
        session.refuse_closed()
        voice = UserVoice(session, name, query, told)
        stream = self._begun(replace(options, voice=voice), resume_after, from_)
        session.root.feeds.adopt(stream)
        return stream

    def live(
        self,
        name: str,
        query: FindQuery,
        load: Callable[[Any], Any] | None = None,
        *,
        constraint: Constraint | None = None,
    ) -> LiveQuery[Any]:
        """Return a live query over what may be read, to be begun."""
        session = self._caller_session
        session.refuse_closed()
        query = session.filled_query(name, query)
        found = session.root.feeds.live(name, query, load, constraint=UserConstraint(session, name))
        self._lives.add(found)
        return found

    def follow(self, follower: Follower) -> None:
        """Refuse: who consumes changes writes down how far it has got."""
        raise self._caller_session.administration("consume")

    def stats(self) -> dict[str, Any]:
        """Refuse."""
        raise self._caller_session.administration("stats")

    def close(self) -> None:
        """End all feeds of the caller."""
        for feed in [*self._streams, *self._lives]:
            feed.close()


class UserConstraint:
    """Fulfils ``live.Constraint`` for one live query of a caller."""

    __slots__ = ("_asked_s", "_begun", "_reads_time", "_seal", "_session", "_steady", "_watched")

    def __init__(self, session: Gated, name: str) -> None:
        self._session = session
        self._seal: Seal = seal_of(
            session, name, [_NO_FILTER, [], []]
        )  # changes() without conditions goes on behind it
        self._begun = False
        self._asked_s = 0.0
        self._reads_time = False
        self._steady = True
        self._watched: tuple[str, ...] = ()

    @property
    def steady(self) -> bool:
        """Whether the filter of the last ``constrain`` looks at nothing but the document."""
        return self._steady

    def constrain(self, name: str, query: FindQuery, snapshot: Snapshot) -> FindQuery:
        """Return the query narrowed by the rules of a snapshot; DeniedError where they do not let it run."""
        found, known = narrowed(self._session, name, query, snapshot, self._begun)
        rules = self._session.gate(snapshot).rules_of(known)
        asked = [rule for key, rule in rules.expressions() if key == "read" or key.endswith(".read")]
        self._watched = tuple(sorted({other for rule in asked for other in _read_by(rule)}))
        self._reads_time = any(_is_now(node) for rule in asked for node in walk(rule))
        self._steady = not self._reads_time and not any(_asks_of_others(part) for part in tree.walk(found.node))
        self._asked_s = time.monotonic()
        self._begun = True
        return found

    def is_alike(self, left: tree.Node, right: tree.Node) -> bool:
        """Tell whether two filters differ only in the snapshots that their questions to the rules are asked of."""
        if type(left) is not type(right):
            return False
        if isinstance(left, tree.Expr) and isinstance(right, tree.Expr):
            a, b = left.expression, right.expression
            if isinstance(a, Asks) and isinstance(b, Asks):
                return (a.tree, a.wanted) == (b.tree, b.wanted)
        inner = tree.children(left), tree.children(right)
        if not inner[0] or len(inner[0]) != len(inner[1]):
            return left == right
        return all(map(self.is_alike, *inner))

    def due_s(self) -> float | None:
        """Return in how many seconds the caller's time is over, or the time may have changed what the rules say."""
        left_s = self._session.left_s()
        if not self._reads_time:
            return left_s
        look_s = self._asked_s + LOOK_S - time.monotonic()
        return look_s if left_s is None else min(look_s, left_s)

    def watched(self) -> Sequence[str]:
        """Return the names of the collections that the rules read."""
        return self._watched

    def seal(self, commit: int) -> str:
        """Return the text of a position."""
        return self._seal.close(_packed((commit, END)))


class UserVoice:
    """Fulfils ``streams.Voice`` for one change stream of a caller; ``told`` is what was asked for, which its positions are bound to."""

    def __init__(self, session: Gated, name: str | None, query: FindQuery, told: Sequence[Any]) -> None:
        self._session = session
        self._name = name
        self._query = query
        self._begun = False
        self._seal = seal_of(session, name, told)

    def permit(self, snapshot: Snapshot, changes: list[Change]) -> list[Change]:
        """Return what may be told of changes. DeniedError where the query itself may no longer run."""
        session = self._session
        if self._name is not None:
            narrowed(session, self._name, self._query, snapshot, self._begun)
        elif session.over():
            raise session.gate(snapshot).denied("read", None, "the caller's time is over")
        self._begun = True
        views: dict[str, _Sight | None] = {}
        found = []
        for change in changes:
            name = change.collection
            if change.detail is not None or (self._name is not None and name != self._name):
                continue
            if name not in views:
                views[name] = self._sight(name, snapshot)
            sight = views[name]
            shown = None if sight is None else sight.of(change, self.seal)
            if shown is not None:
                found.append(shown)
        return found

    def _sight(self, name: str, snapshot: Snapshot) -> _Sight | None:
        """Return what the caller may see of a collection; None: nothing."""
        gate = self._session.gate(snapshot, quiet=self._name is None)
        try:
            known = gate.known(name, "read")
            if self._name is None:  # of all collections: those that a find without a filter may read
                gate.narrowed(name, self._query)
            rule = gate.rule(known, "read")
        except DeniedError:
            if self._name is not None:
                raise
            return None
        return _Sight(gate, known, compiled(rule, gate.about).verdict)

    def seal(self, place: Place) -> str:
        """Return the text of a position."""
        return self._seal.close(_packed(place))

    def unseal(self, position: Any) -> Place:
        """Return the place of a position that was given to this caller for the same question."""
        if isinstance(position, Mapping) and set(position) == {"_data"}:
            position = position["_data"]
        data = self._seal.open(position) if isinstance(position, str) else None
        if data is None or len(data) != PLACE_BYTES:
            raise UsageError(
                "this is no position of yours in these changes", path="resume_after", hint="pass change.position"
            )
        return int.from_bytes(data[:8], "big"), int.from_bytes(data[8:], "big")

    def left_s(self) -> float | None:
        """Return in how many seconds the caller's time is over."""
        return self._session.left_s()


class _Sight:
    """What a caller sees of the changes of one collection, by the rules of one snapshot."""

    __slots__ = ("_gate", "_known", "_verdict")

    def __init__(self, gate: Gate, known: KnownRules, verdict: Verdict) -> None:
        self._gate = gate
        self._known = known
        self._verdict = verdict

    def of(self, change: Change, seal: Callable[[Place], str]) -> Change | None:
        """Return a change as the caller sees it, None where it does not."""
        before, after = (self._shown(data) if data and self._verdict(data) else b"" for data in change.images)
        if not before and not after:
            return None
        if before and after:
            if before == after and change.operation != "replace":
                return None  # nothing that is seen has changed
            operation = change.operation
        else:
            operation = "insert" if after else "delete"
        return _SealedChange(change, operation, before, after, seal)

    def _shown(self, data: bytes) -> bytes:
        if not self._gate.fields(self._known):
            return data
        return codec.encode(self._gate.masked(self._known, codec.decode(data)))


class _SealedChange(Change):
    """A change whose numbers are not told."""

    __slots__ = ("_sealed",)

    def __init__(
        self, change: Change, operation: str, before: bytes, after: bytes, seal: Callable[[Place], str]
    ) -> None:
        commit, index = change.place
        super().__init__(
            change.about, commit, index, change.clock_us, operation, change.collection, before, after
        )  # fmt: skip
        self._sealed = seal(change.place)

    @property
    def commit(self) -> int:
        """Not told: gaps between numbers would tell of what others do."""
        raise InvalidOperation("the number of a commit is not for users", hint="use position")

    @property
    def index(self) -> int:
        """Not told."""
        raise InvalidOperation("the place in a commit is not for users", hint="use position")

    @property
    def position(self) -> str:
        """The text to resume behind this change, for this caller and the same question."""
        return self._sealed

    def _tick(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"<{self.operation} in {self.collection!r} _id {self.id!r}>"


def narrowed(
    session: Gated, name: str, query: FindQuery, snapshot: Snapshot, begun: bool
) -> tuple[FindQuery, KnownRules]:
    """Return a feed's query with what the rules of a snapshot add, and the rules.

    A question for one ``_id`` is judged by its document once, when it begins, as by a find. From then on the document may come into sight and go out of it.
    """
    administration.check_name(name)
    info = snapshot.catalog.get(name)
    if info is not None:
        query = session.collated(query, info)
    gate = session.gate(snapshot)
    if one_id(query.node) is not None and not session.caller.strict_ids:
        if not begun:
            gate.narrowed(name, query)
        gate = session.gate(snapshot, caller=replace(session.caller, filter_mode=True, strict_ids=True))
    known = gate.known(name, "read")
    for key, tree_of in gate.rules_of(known).expressions():
        if key.startswith("fields.") and key.endswith(".read") and any(_read_by(tree_of)):
            raise gate.denied("watch", name, f"{key} reads other documents: what it hides cannot be followed", known)
    return gate.narrowed(name, query), known


def seal_of(session: Gated, name: str | None, told: Sequence[Any]) -> Seal:
    """Return the seal for the positions of one caller in the answer to one question."""
    about, caller = session.store.about, session.caller
    subject = ["uid" if caller.by_uid else "openid", caller.id]
    try:
        question = codec.encode_value(canonical([*told]))
    except DocdbError:
        question = repr(told).encode()
    context = codec.encode_value([about["database_id"], about["epoch"], name, *subject, question])
    return Seal(secret_of(session.store), context)


def _packed(place: Place) -> bytes:
    return place[0].to_bytes(8, "big") + place[1].to_bytes(4, "big")


def _read_by(rule: RuleNode) -> set[str]:
    """Return the collections that a rule reads."""
    targets = (path_target(node.arguments[0]) for node in walk(rule) if isinstance(node, Call) and node.name == "get")
    return {target[0] for target in targets if target is not None}


def _is_now(node: RuleNode) -> bool:
    return isinstance(node, Variable) and node.name == "now"


def _asks_of_others(node: tree.Node) -> bool:
    """Tell whether a condition reads other documents when it is judged."""
    asked = node.expression if isinstance(node, tree.Expr) else None
    return isinstance(asked, Asks) and bool(_read_by(asked.tree))
