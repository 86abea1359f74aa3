"""Feeds over a session: what ties streams and live queries to planner, catalog and store.

What lives here: ``Feeds``. What it must not know: how a feed is told of commits (``feeds/hub.py``), which face called.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from docdb.errors import QueryError, UsageError
from docdb.language import filters
from docdb.language.values import canonical
from docdb.sessions import administration

if TYPE_CHECKING:
    from docdb.feeds.hub import Hub
    from docdb.feeds.live import LiveQuery
    from docdb.feeds.routing import LiveRouter
    from docdb.feeds.streams import ChangeStream, Shape, StreamOptions
    from docdb.feeds.waiting import Feed
    from docdb.planner.queries import FindQuery
    from docdb.sessions.following import Follower
    from docdb.sessions.live import Constraint, LiveShape
    from docdb.sessions.session import StoreSession
    from docdb.store.store import Store

__all__ = ["Feeds", "hub_of", "known_operations", "router_of"]

MOST_SHAPES: Final = 1_000  # of live queries, kept to be shared
_making = threading.Lock()


def _renew_lock() -> None:
    """In a forked child: a thread that is not there may hold the lock."""
    global _making
    _making = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def hub_of(store: Store) -> Hub:
    """Return the hub of a store, made now when it has none."""
    hub: Hub | None = store.hub
    if hub is None:
        from docdb.feeds.hub import Hub  # no feed, no thread, and nothing of it loaded

        with _making:
            if store.hub is None:
                store.hub = Hub(store)
            hub = store.hub
            assert hub is not None
    return hub


def router_of(store: Store) -> LiveRouter:
    """Return the router of a store's live queries, made now when it has none."""
    hub = hub_of(store)
    router: Any = hub.router
    if router is None:
        from docdb.feeds.routing import LiveRouter  # loaded with the first live query

        with _making:
            if hub.router is None:
                hub.router = LiveRouter(hub)
            router = hub.router
    found: LiveRouter = router
    return found


class Feeds:
    """The feeds of one session; they end with it."""

    def __init__(self, session: StoreSession) -> None:
        self._session = session
        self._streams: weakref.WeakSet[Feed[Any]] = weakref.WeakSet()
        self._live_shapes: dict[Any, LiveShape] = {}
        self.followers: list[Follower] = []  # consumers and triggers, which live until they are closed

    def adopt(self, feed: Feed[Any]) -> None:
        """End a feed with the session."""
        self._streams.add(feed)

    def follow(self, follower: Follower) -> None:
        """Keep a consumer or trigger, and end it with the session."""
        self.followers.append(follower)

    def unfollow(self, follower: Follower) -> None:
        """Forget one that has been closed."""
        if follower in self.followers:
            self.followers.remove(follower)

    def end_followers(self) -> None:
        """End consumers and triggers behind what they are doing; while the session still answers them."""
        for follower in list(self.followers):
            follower.close()

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
        """Return a change stream of a collection, or of all (None); with a pipeline its items are documents."""
        from docdb.feeds.judging import judge_of

        naive_utc = self._session.settings.naive_utc
        if filter:
            judge = judge_of(filters.parse(filter, naive_utc=naive_utc, near=False))
        from docdb.feeds.streams import StreamOptions

        shape = None if pipeline is None else self._shape(pipeline)
        return self._begun(StreamOptions(name, known_operations(operations), judge, shape), resume_after, from_)

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
        """Return a change stream in MongoDB's form."""
        from docdb.feeds.streams import StreamOptions

        shape = self._mongo_shape(
            pipeline, full_document, full_document_before_change, expanded=bool(show_expanded_events)
        )
        resume_after = resume_after if resume_after is not None else start_after
        return self._begun(StreamOptions(name, None, None, shape), resume_after, "now")

    def _mongo_shape(self, pipeline: Any, full: str | None, before: str | None, *, expanded: bool) -> Shape:
        _check_choice("full_document", full, ("default", "required", "updateLookup", "whenAvailable"))
        _check_choice("full_document_before_change", before, ("off", "required", "whenAvailable"))
        return self._shape(
            pipeline or (), full=full not in (None, "default"), before=before not in (None, "off"), expanded=expanded
        )

    def live(
        self,
        name: str,
        query: FindQuery,
        load: Callable[[Any], Any] | None = None,
        *,
        constraint: Constraint | None = None,
    ) -> LiveQuery[Any]:
        """Return a live query over a collection, to be begun; ``load`` makes the user's objects, a constraint is what rules add."""
        from docdb.feeds.live import LiveQuery
        from docdb.sessions.live import LiveShape, LiveSource

        administration.check_name(name)
        shape = LiveShape(self._session, name, query, load, constraint)
        sharing = shape.sharing()
        if sharing is not None:
            shape = self._live_shapes.setdefault(sharing, shape)
            if len(self._live_shapes) > MOST_SHAPES:
                self._live_shapes.clear()
        return LiveQuery(router_of(self._session.store), LiveSource(shape, query))

    def _shape(
        self, pipeline: Sequence[Mapping[str, Any]], *, full: bool = True, before: bool = True, expanded: bool = True
    ) -> Shape:
        from docdb.feeds.pipelines import shape_of

        pipeline = canonical(pipeline, "", naive_utc=self._session.settings.naive_utc)
        return shape_of(pipeline, self._session.settings.clock(), full=full, before=before, expanded=expanded)

    def _begun(self, options: StreamOptions, resume_after: Any, from_: str) -> ChangeStream[Any]:
        from docdb.feeds.streams import ChangeStream

        if options.collection is not None:
            administration.check_name(options.collection)
        hub = hub_of(self._session.store)
        stream: ChangeStream[Any] = ChangeStream(hub, options, resume_after=resume_after, from_=from_)
        self._streams.add(stream)
        return stream

    def stats(self) -> dict[str, Any]:
        """Return what ``db.stats()`` shows of feeds."""
        hub = self._session.store.hub
        router: Any = None if hub is None else hub.router
        live = {"open": 0} if router is None else router.stats()
        return {"change_streams": 0 if hub is None else hub.streams, "live_queries": live}

    def close(self) -> None:
        """End all feeds of the session."""
        for stream in list(self._streams):
            stream.close()
        hub = self._session.store.hub
        if hub is not None and hub.router is not None:
            hub.router.close_all(self._session)


def known_operations(wanted: Any) -> frozenset[str] | None:
    """Return operations by name, None for all; UsageError for one that does not exist."""
    from docdb.feeds.events import CATALOG_OPERATIONS, DOCUMENT_OPERATIONS

    if wanted is None:
        return None
    if isinstance(wanted, str):
        wanted = [wanted]
    known = {*DOCUMENT_OPERATIONS.values(), *CATALOG_OPERATIONS.values()}
    for operation in wanted:
        if operation not in known:
            raise UsageError(f"{operation!r} is no operation", path="operations", hint=", ".join(sorted(known)))
    return frozenset(wanted)


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise QueryError(f"{name} is one of {', '.join(choices)}", path=name, code=2)
