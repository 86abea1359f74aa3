"""A database as a caller who is judged by rules may use it.

What lives here: ``UserDatabase``: the face of ``Database``, administration refused. What it must not know: how anything is judged; its session does that.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, Unpack, overload

from docdb.collection import Collection
from docdb.command import command
from docdb.errors import InvalidOperation
from docdb.faces.arguments import WatchOptions, check_watch
from docdb.language.values import MISSING
from docdb.query import AggregateCursor
from docdb.transaction import Retries, SnapshotView, Transaction, check_limit, check_times, run

if TYPE_CHECKING:
    from docdb.feeds.events import Change
    from docdb.feeds.streams import ChangeStream
    from docdb.sessions.user import UserSession
    from docdb.sessions.user_explain import Access

__all__ = ["UserDatabase"]

SAME_AS_CURSORS = -1.0
M = TypeVar("M")
R = TypeVar("R")


class UserDatabase:
    """What ``db.as_user(auth)`` returns: the same face, and every access judged. Cheap to make; ``close`` ends it and leaves the database open.

    A refusal is a DeniedError of one text; its ``correlation_id`` stands in the log ``docdb.rules`` beside the reason.
    """

    command = command

    def __init__(self, session: UserSession, location: str, id: str) -> None:
        self._session = session
        self._location = location
        self._id = id

    @property
    def path(self) -> str:
        """The folder, or ``":memory:"``."""
        return self._location

    @property
    def id(self) -> str:
        """The database's own id."""
        return self._id

    @property
    def auth(self) -> dict[str, Any] | None:
        """A copy of who is judged."""
        return copy.deepcopy(dict(self._session.caller.auth)) if self._session.caller.auth is not None else None

    @overload
    def collection(self, name: str, *, model: None = None) -> Collection[dict[str, Any]]: ...

    @overload
    def collection(self, name: str, *, model: type[M]) -> Collection[M]: ...

    @overload
    def collection(self, name: str, *, model: type | None) -> Collection[Any]: ...

    def collection(self, name: str, *, model: type | None = None) -> Collection[Any]:
        """Return a collection with the face of ``db.collection(name)``."""
        return Collection(self._session, name, model=model)

    def __getitem__(self, name: str) -> Collection[dict[str, Any]]:
        return Collection(self._session, name)

    def list_collection_names(self) -> list[str]:
        """Return the names of the collections of which the caller may read something."""
        return self._session.collection_names()

    def aggregate(self, pipeline: Sequence[Mapping[str, Any]], **options: Any) -> AggregateCursor:
        """Run a pipeline that begins with ``$documents``."""
        return AggregateCursor(self._session, None, pipeline, **options)

    def transaction(self) -> Transaction:
        """Return a transaction for ``with``; rules that change before its commit make it a TransactionConflict."""
        self._session.refuse_closed()
        return Transaction(self._session, self._session.settings.transaction_limit_s)

    def start_transaction(self) -> Transaction:
        """Return a transaction by hand: end it with ``commit()`` or ``rollback()``."""
        return self.transaction()

    def run_transaction(self, call: Callable[[Transaction], R], times: int = 3) -> R:
        """Run ``call(transaction)``, commit and return what it returned; at a conflict run and judge it again, ``times`` times at most."""
        self._session.refuse_closed()
        return run(self._session, call, times, self._session.settings.transaction_limit_s)

    def snapshot(self, *, limit_s: float | None = SAME_AS_CURSORS) -> SnapshotView:
        """Return the database and its rules as they are now, to be read; for ``with``."""
        self._session.refuse_closed()
        given = self._session.settings.snapshot_limit_s if limit_s == SAME_AS_CURSORS else limit_s
        return SnapshotView(self._session, check_limit(given, "limit_s"))

    def explain_access(
        self, action: str, collection: str, query: Any = MISSING, *, id: Any = MISSING, document: Any = MISSING
    ) -> Access:
        """Return whether this caller may, and why: for the developer. Nothing is done, and nobody is told.

        ``action`` is read, create, update or delete. A ``query`` is proved like that of a call; an ``id`` reads the document and judges it; ``document``
        is what is created, or what an update makes of the stored one. The answer says the rule, what each part of it came to, and what a query does
        not prove.

        >>> import docdb
        >>> db = docdb.open(":memory:")
        >>> db.set_rules("notes", {"read": "doc._openid == auth.openid"})
        1
        >>> db.as_user({"openid": "ann"}).explain_access("read", "notes", {"done": True}).missing
        'doc._openid == auth.openid'
        >>> db.close()
        """
        from docdb.sessions.user_explain import explain_access

        return explain_access(self._session, action, collection, query, id, document)

    def changes(
        self, *, operations: Any = None, pipeline: Any = None, resume_after: Any = None, from_: str = "now"
    ) -> ChangeStream[Change]:
        """Return every change of what the caller may read, of all collections; see ``Database.changes``.

        A document that comes into sight is an insert, one that goes out of it a delete. Positions are good for the same caller and question only.
        """
        return self._session.feeds.changes(
            None, operations=operations, pipeline=pipeline, resume_after=resume_after, from_=from_
        )

    def watch(self, pipeline: Any = None, **options: Unpack[WatchOptions]) -> ChangeStream[dict[str, Any]]:
        """Return the changes of what the caller may read as pymongo's."""
        return self._session.feeds.watch(None, pipeline, **check_watch(options))

    def create_collection(self, /, name: str, **options: Any) -> NoReturn:
        """Refuse; the first document that may be created makes a collection."""
        raise self._admin("create_collection")

    def drop_collection(self, name: str) -> NoReturn:
        """Refuse."""
        raise self._admin("drop_collection")

    def list_collections(self) -> NoReturn:
        """Refuse: options are not for users."""
        raise self._admin("list_collections")

    def set_rules(self, /, name: str, rules: Any, **options: Any) -> NoReturn:
        """Refuse."""
        raise self._admin("set_rules")

    def load_rules(self, /, path: Any, **options: Any) -> NoReturn:
        """Refuse."""
        raise self._admin("load_rules")

    def rules(self, name: str) -> NoReturn:
        """Refuse."""
        raise self._admin("rules")

    def list_rules(self) -> NoReturn:
        """Refuse."""
        raise self._admin("list_rules")

    def as_user(self, /, auth: Any, **options: Any) -> NoReturn:
        """Refuse: nobody becomes somebody else."""
        raise self._admin("as_user")

    def consume(self, /, name: str, fn: Any, **options: Any) -> NoReturn:
        """Refuse."""
        raise self._admin("consume")

    def trigger(self, /, collection: str, events: Any, fn: Any, **options: Any) -> NoReturn:
        """Refuse."""
        raise self._admin("trigger")

    def sweep(self) -> NoReturn:
        """Refuse."""
        raise self._admin("sweep")

    def check(self, progress: Any = None) -> NoReturn:
        """Refuse."""
        raise self._admin("check")

    def stats(self) -> NoReturn:
        """Refuse."""
        raise self._admin("stats")

    def backup(self, /, path: Any, **options: Any) -> NoReturn:
        """Refuse."""
        raise self._admin("backup")

    def compact(self) -> NoReturn:
        """Refuse."""
        raise self._admin("compact")

    def _admin(self, action: str) -> Exception:
        return self._session.administration(action)

    def close(self) -> None:
        """Refuse every later call through this face. Twice is harmless."""
        self._session.close()

    def __enter__(self) -> UserDatabase:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"UserDatabase({self._location!r})"

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise InvalidOperation("a UserDatabase is neither true nor false", hint="compare with None")


def retries_of(database: UserDatabase, times: int) -> Retries:
    """Return the tries of one transaction, for a face that runs its function itself."""
    session = database._session
    session.refuse_closed()
    return Retries(session, check_times(times), session.settings.transaction_limit_s)
