"""Transactions and snapshot views for asyncio; ``docdb.aio`` hands them out.

What lives here: ``AsyncTransaction``, ``AsyncSnapshotView``, and ``run``, which tries a coroutine function again. What it must not know: how anything is
done. A task may await whatever it likes inside a transaction: nothing is locked meanwhile. Calls that several tasks make in one transaction
follow one another.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from docdb.errors import TransactionConflict, UsageError
from docdb.faces.aio_cursor import AsyncCommandCursor
from docdb.faces.aio_threads import Runner, Wrapper
from docdb.faces.results import RemoveOutcome, UpdateOutcome
from docdb.transaction import Retries, SnapshotView, Transaction, raise_reason

if TYPE_CHECKING:
    from docdb.aio import AsyncCollection, AsyncDocumentReference

__all__ = ["AsyncSnapshotView", "AsyncTransaction", "run"]

M = TypeVar("M")
R = TypeVar("R")


class _AsyncFace(Wrapper):
    """Collections by name, on one picture of the database."""

    __slots__ = ()
    _inner: Any

    @overload
    def collection(self, name: str) -> AsyncCollection[dict[str, Any]]: ...
    @overload
    def collection(self, name: str, *, model: type[M]) -> AsyncCollection[M]: ...
    def collection(self, name: str, *, model: type | None = None) -> AsyncCollection[Any]:
        """Return a collection with the face of ``db.collection(name)``."""
        from docdb.aio import AsyncCollection  # which imports this module

        return AsyncCollection(self._inner.collection(name, model=model), self._runner)

    def __getitem__(self, name: str) -> AsyncCollection[dict[str, Any]]:
        return self.collection(name)

    def aggregate(self, pipeline: Any, **options: Any) -> AsyncCommandCursor[dict[str, Any]]:
        """Run a pipeline that begins with ``$documents``."""
        return AsyncCommandCursor(partial(self._inner.aggregate, pipeline, **options), self._runner)

    async def list_collection_names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        return await self._runner.run(self._inner.list_collection_names)

    @property
    def active(self) -> bool:
        """Whether calls are still answered."""
        active: bool = self._inner.active
        return active


class AsyncSnapshotView(_AsyncFace):
    """The database as it was at one moment, to be read; see ``SnapshotView``."""

    __slots__ = ()
    _inner: SnapshotView

    async def close(self) -> None:
        """Give the snapshot back. Twice is harmless."""
        await self._runner.run(self._inner.close)

    async def __aenter__(self) -> AsyncSnapshotView:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncTransaction(_AsyncFace):
    """Several reads and writes that are one; see ``Transaction``."""

    __slots__ = ()
    _inner: Transaction

    @property
    def committed(self) -> bool:
        """Whether its commit has landed: known behind a cancelled ``commit`` too."""
        return self._inner.committed

    @property
    def rolled_back(self) -> bool:
        """Whether it was rolled back by hand."""
        return self._inner.rolled_back

    @property
    def reason(self) -> Any:
        """What ``rollback`` was given."""
        return self._inner.reason

    async def create_collection(self, name: str, **options: Any) -> AsyncCollection[dict[str, Any]]:
        """Create a collection, there for others after the commit."""
        await self._runner.run(partial(self._inner.create_collection, name, **options))
        return self.collection(name)

    async def commit(self) -> None:
        """Make all writes durable in one commit; TransactionConflict when what was read has changed."""
        await self._runner.run(self._inner.commit)

    async def rollback(self, reason: Any = None) -> None:
        """Forget all writes."""
        await self._runner.run(partial(self._inner.rollback, reason))

    async def get(self, reference: AsyncDocumentReference[M]) -> M | None:
        """Return the document a reference of any collection of this database names, or None."""
        return await self._runner.run(partial(self._inner.get, _plain(reference)))

    async def set(self, reference: AsyncDocumentReference[Any], data: Any) -> UpdateOutcome:
        """Put a document in the place of the one a reference names; create it when absent."""
        return await self._runner.run(partial(self._inner.set, _plain(reference), data))

    async def update(self, reference: AsyncDocumentReference[Any], data: Mapping[str, Any]) -> UpdateOutcome:
        """Change the document a reference names."""
        return await self._runner.run(partial(self._inner.update, _plain(reference), data))

    async def remove(self, reference: AsyncDocumentReference[Any]) -> RemoveOutcome:
        """Delete the document a reference names."""
        return await self._runner.run(partial(self._inner.remove, _plain(reference)))

    async def delete(self, reference: AsyncDocumentReference[Any]) -> RemoveOutcome:
        """Delete the document a reference names (the other name of ``remove``)."""
        return await self.remove(reference)

    async def __aenter__(self) -> AsyncTransaction:
        self._inner.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.run(partial(self._inner.__exit__, kind, error, trace))


async def run(retries: Retries, runner: Runner, call: Callable[[AsyncTransaction], Awaitable[R]]) -> R:
    """Await ``call(transaction)``, commit and return what it returned; at a conflict again, as often as ``retries`` says."""
    try:
        while True:
            transaction = AsyncTransaction(retries.begin(), runner)
            try:
                async with transaction:
                    waiting = call(transaction)
                    if not inspect.isawaitable(waiting):
                        raise UsageError("a coroutine function is needed", path="call", hint="async def")
                    result = await waiting
                raise_reason(transaction._inner)
                return result
            except TransactionConflict as conflict:
                pause_s = retries.pause_s(conflict)
            await asyncio.sleep(pause_s)
    finally:
        retries.close()


def _plain(reference: Any) -> Any:
    """Return the reference that an asynchronous one wraps."""
    return reference._inner if isinstance(reference, Wrapper) else reference
