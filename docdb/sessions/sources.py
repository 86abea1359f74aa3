"""Running a pipeline over the store: the pipeline's context.

What lives here: ``PipelineSources``, which takes the front of a pipeline for the planner and gives the stages the collections they read
and write. What it must not know: what any stage does.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from docdb import _native
from docdb.engine import interrupts
from docdb.errors import CollectionError, DocdbError, DocumentError, QueryError, TimeoutExpired
from docdb.language import filters, sorting, tree
from docdb.language.collation import Collation, parse_collation
from docdb.language.metadata import stripped
from docdb.language.projection import parse_projection
from docdb.language.values import canonical
from docdb.pipeline import stages_geo
from docdb.pipeline.context import Batch, Batches, Change, GeoField
from docdb.pipeline.optimiser import Optimised, optimise
from docdb.pipeline.reading import needs
from docdb.pipeline.runner import Front, Pipeline, compile_pipeline, evaluate_let, take_front
from docdb.planner.explain import kernels
from docdb.planner.plan import Plan
from docdb.planner.planner import plan
from docdb.planner.queries import FindQuery
from docdb.sessions import administration
from docdb.sessions.operations import InsertOp, Operation, ReplaceOp
from docdb.sessions.profiles import Profile
from docdb.sessions.stored_stages import run_stored, stored_stages
from docdb.store.columns import Wanted
from docdb.store.snapshots import Snapshot
from docdb.store.views import View

if TYPE_CHECKING:
    from docdb.sessions.session import StoreSession

__all__ = ["PipelineSources"]


class PipelineSources:
    """Fulfils ``pipeline.context.Context`` over one snapshot of a session's store. ``optimises`` is false only in tests that compare."""

    optimises = True

    def __init__(self, session: StoreSession, snapshot: Snapshot, deadline: float | None) -> None:
        self._session = session
        self._snapshot = snapshot
        self._deadline = deadline
        self.collection: str | None = None
        self.collation: Collation | None = None
        self.variables: Mapping[str, Any] = {}
        self._hint: Any = None
        self.now: dt.datetime = session.settings.clock()
        self.memory_limit = session.settings.memory_limit

    def run(
        self,
        name: str | None,
        pipeline: Sequence[Mapping[str, Any]],
        *,
        collation: Any = None,
        hint: Any = None,
        let: Mapping[str, Any] | None = None,
    ) -> Iterator[Batch]:
        """Yield what the pipeline makes of a collection (None: of ``$documents``)."""
        pipeline, whole = self._compiled(name, pipeline, collation, let)
        if name is None:
            yield from whole.run(iter(()))
            return
        front = take_front(self._optimised(pipeline, whole).stages)
        self._hint = hint
        query = self._query(front, hint, whole.metadata)
        if front.rest and "$geoNear" in front.rest[0]:  # asks for its documents itself
            stages = self._compile(front.rest, whole.metadata)
            yield from _shown(stages.run(iter(())), whole, stages)
            return
        view, chosen = self._chosen(name, query._replace(names=self._names(front, whole)))
        if self.optimises and self.collation is None and not whole.metadata:
            found = run_stored(front.rest, chosen, view, self._deadline, self)
            if found is not None:
                made, rest = found
                yield from self._compile(rest).run(iter([made]))
                return
        stages = self._compile(front.rest, whole.metadata)
        yield from _shown(stages.run(chosen.run(view, self._deadline)), whole, stages)

    def stored(
        self, name: str, pipeline: Sequence[Mapping[str, Any]], *, collation: Any = None, hint: Any = None, let: Any = None
    ) -> tuple[Wanted, Iterator[list[bytes]]] | None:  # fmt: skip
        """Return which top-level fields of which stored documents the pipeline shows; None where a stage makes new documents of them."""
        pipeline, whole = self._compiled(name, pipeline, collation, let)
        if whole.starts or whole.writes or whole.metadata:
            return None
        front = take_front(self._optimised(pipeline, whole).stages)
        wanted = self._shown(front.rest)
        if wanted is None:
            return None
        view, chosen = self._chosen(name, self._query(front, hint, whole.metadata))
        return wanted, chosen.rows(view, self._deadline)

    def _shown(self, stages: Sequence[Mapping[str, Any]]) -> Wanted | None:
        """Return what no stage, one $project or one $unset leaves of the documents, None for any other stages."""
        if not stages:
            return Wanted()
        ((stage, spec),) = stages[0].items()
        if len(stages) > 1 or stage not in ("$project", "$unset"):
            return None
        if stage == "$unset":
            spec = dict.fromkeys([spec] if isinstance(spec, str) else spec, 0)
        try:
            with self._session.patterns():
                return Wanted.shown_by(parse_projection(spec, collation=self.collation, let=self.variables or None))
        except QueryError:
            return None  # what only the stage understands

    def _optimised(self, pipeline: Sequence[Mapping[str, Any]], whole: Pipeline) -> Optimised:
        """Return the pipeline rearranged; as it was written where documents carry what is known of them, which stages may drop."""
        return optimise(pipeline) if self.optimises and not whole.metadata else Optimised(tuple(pipeline), ())

    def _names(self, front: Front, whole: Pipeline) -> frozenset[str] | None:
        """Return the only names that the stages behind the front read of the documents, None for all."""
        return needs(front.rest) if self.optimises and not whole.metadata else None

    def explain(
        self, name: str, pipeline: Sequence[Mapping[str, Any]], *, execute: bool, collation: Any = None, hint: Any = None, let: Any = None
    ) -> dict[str, Any]:  # fmt: skip
        """Return the plan of what the access path serves, and of the stages behind it; nothing is written.

        ``optimiser``: what was moved, joined and dropped. ``pipeline``: the stages that are left, ``stored`` those of them that need no
        documents. ``kernel``: what runs on stored bytes. ``fields``: the top-level fields that are decoded, None: all.
        ``executed``: rows and milliseconds of each step.
        """
        pipeline, whole = self._compiled(name, pipeline, collation, let)
        optimised = self._optimised(pipeline, whole)
        front = take_front(optimised.stages)
        self._hint = hint
        view = self._snapshot.view(name)
        query = self._query(front, hint, whole.metadata)
        nearest = bool(front.rest) and "$geoNear" in front.rest[0]
        if nearest:
            query = self._nearest(*stages_geo.asked(self, front.rest[0]["$geoNear"]), hint)
        query = query._replace(names=self._names(front, whole))
        chosen = plan(self._session.complete(name, query, self._snapshot), view)
        read = chosen.decoded(view)
        served = None
        if self.optimises and self.collation is None and not whole.metadata and chosen.gives_stored:
            served = stored_stages(front.rest)
        stored = [next(iter(stage)) for stage in front.rest[: served.taken if served else 0]]
        shown = {
            **chosen.explain(view, execute=execute),
            "optimiser": list(optimised.notes),
            "fields": None if read is None else sorted(read),
            "kernel": [*kernels(chosen, view), *(stored if _native.AVAILABLE else ())],
            "stored": stored,
            "pipeline": [next(iter(stage)) for stage in front.rest],
        }
        if execute:
            shown["executed"] = self._executed(front, whole, view, None if nearest else chosen, bool(served))
        return shown

    def _executed(
        self, front: Front, whole: Pipeline, view: View, chosen: Plan | None, serves: bool
    ) -> list[dict[str, Any]]:
        """Run all but what writes, and return what each step did. ``chosen`` None: the first stage asks for its documents itself."""
        profile = Profile()
        rest = front.rest[: len(front.rest) - whole.writes]
        source: Batches = iter(())
        began = time.perf_counter()
        found = run_stored(rest, chosen, view, self._deadline, self) if chosen and serves else None
        if found is not None:
            taken = rest[: len(rest) - len(found[1])] or rest[:1]
            profile.add(" + ".join(next(iter(stage)) for stage in taken), len(found[0]), time.perf_counter() - began)
            source, rest = iter([found[0]]), found[1]
        elif chosen is not None:
            source = profile.watch(type(chosen.access).__name__, chosen.run(view, self._deadline))
        stages = self._compile(rest, whole.metadata)
        for _ in stages.run(source, profile.watch):
            pass
        return profile.shown()

    def _compiled(
        self, name: str | None, pipeline: Sequence[Mapping[str, Any]], collation: Any, let: Mapping[str, Any] | None
    ) -> tuple[Sequence[Mapping[str, Any]], Pipeline]:
        """Return the pipeline in canonical form, and compiled: every mistake is found before anything is read."""
        if name is not None:
            administration.check_name(name)
        self.collection = name
        info = self._snapshot.catalog.get(name) if name is not None else None
        self.collation = parse_collation(collation)
        if not collation and info is not None:
            self.collation = info.collation
        pipeline = self._canonical(pipeline, "")
        with self._session.patterns():
            self.variables = evaluate_let(self._canonical(let, "let"), collation=self.collation, now=self.now)
        whole = self._compile(pipeline)
        if name is None and (not pipeline or "$documents" not in pipeline[0]):
            raise CollectionError("a pipeline without a collection begins with $documents", path="0", code=73)
        return pipeline, whole

    def _compile(self, stages: Sequence[Mapping[str, Any]], metadata: frozenset[str] = frozenset()) -> Pipeline:
        with self._session.patterns():
            return compile_pipeline(stages, context=self, metadata=metadata)

    def parsed(self, filter: Mapping[str, Any], *, near: bool = True) -> tree.Node:
        """Return the tree of a filter of this pipeline."""
        with self._session.patterns():
            return filters.parse(filter, collation=self.collation, let=self.variables or None, near=near)

    def _canonical(self, value: Any, path: str) -> Any:
        try:
            return canonical(value, path, naive_utc=self._session.settings.naive_utc)
        except DocumentError as error:
            raise QueryError(error.message, path=error.path, hint=error.hint, code=error.code) from error

    def _query(self, front: Front, hint: Any, metadata: frozenset[str]) -> FindQuery:
        """Return what the first stages ask of an access path."""
        if front.rest and "$geoNear" in front.rest[0] and isinstance(hint, tuple) and hint[0][0] == "$natural":
            raise QueryError("$geoNear needs its index, not $natural", path="hint")
        return FindQuery(
            filter=front.filter,
            node=self.parsed(front.filter),
            sort=sorting.parse_sort(front.sort) if front.sort else (),
            skip=front.skip,
            limit=front.limit,
            hint=hint,
            collation=self.collation,
            let=self.variables or None,
            simple=self.collation is None,
            metadata=metadata,
            carries=True,
        )

    def _chosen(self, name: str, query: FindQuery) -> tuple[View, Plan]:
        """Return a collection's view and the plan that is about to be used."""
        view = self._snapshot.view(name)
        chosen = plan(self._session.complete(name, query, self._snapshot), view)
        self._session.note_uses(chosen)
        return view, chosen

    def _documents(self, name: str, query: FindQuery) -> Batches:
        view, chosen = self._chosen(name, query)
        return chosen.run(view, self._deadline)

    def source(
        self, collection: str, filter: Mapping[str, Any] | None = None, sort: Sequence[tuple[str, int]] | None = None,
        *, metadata: frozenset[str] = frozenset(),
    ) -> Batches:  # fmt: skip
        """Return the documents of a collection that match the filter; an index may serve."""
        query = self._foreign(filter or {})
        if sort:
            query = query._replace(sort=sorting.parse_sort(list(sort)))
        return self._documents(collection, query._replace(metadata=metadata))

    def source_bytes(self, collection: str, filter: Mapping[str, Any]) -> Iterator[list[bytes]]:
        """Return the same documents as they are stored."""
        view, chosen = self._chosen(collection, self._foreign(filter))
        return chosen.rows(view, self._deadline)

    def _foreign(self, filter: Mapping[str, Any]) -> FindQuery:
        """Return what asks another collection for the documents that match."""
        node = self.parsed(filter)
        return FindQuery(
            filter=filter, node=node, collation=self.collation, simple=self.collation is None, carries=True
        )

    def nearest(self, collection: str, near: tree.Near, filter: Mapping[str, Any]) -> Batches:
        """Return the documents that match the filter and the leaf, nearest first."""
        hint = self._hint if collection == self.collection else None
        return self._documents(collection, self._nearest(near, filter, hint))

    def _nearest(self, near: tree.Near, filter: Mapping[str, Any], hint: Any) -> FindQuery:
        node = self.parsed(filter, near=False)
        return FindQuery(
            filter=filter,
            node=tree.And((near, node)),
            hint=hint,
            collation=self.collation,
            let=self.variables or None,
            simple=self.collation is None,
        )

    def write(self, collection: str, changes: Sequence[Change]) -> None:
        """Write the changes of $merge in one commit; what can be written is, before the first refusal is raised."""
        operations: list[Operation] = [
            InsertOp(change.document)
            if change.operation == "insert"
            else ReplaceOp({"_id": {"$eq": change.key}}, change.document)
            for change in changes
        ]
        outcomes = self._session.execute(collection, operations, ordered=False)
        refused = [outcome for outcome in outcomes if isinstance(outcome, DocdbError)]
        if refused:
            raise refused[0]

    def replace_collection(self, collection: str, batches: Batches) -> None:
        """Put the documents in place of the collection's, which keeps its options and indexes; all or nothing."""
        administration.check_name(collection)
        if self._session.replace_documents is not None:
            self._session.replace_documents(collection, batches, partial(self._insert, collection))
            return
        store = self._session.store
        known = self._snapshot.catalog.get(collection)
        scratch = f"{collection[:200]}.out.{uuid.uuid4().hex}"
        administration.create_collection(store, scratch, dict(known.options) if known is not None else {})
        try:
            for index in known.indexes if known is not None else ():
                administration.copy_index(store, scratch, index)
            for batch in batches:
                self._insert(scratch, batch)
            administration.rename_collection(store, scratch, collection, drop_target=True)
        except BaseException:
            administration.drop_collection(store, scratch)
            raise

    def _insert(self, collection: str, batch: Batch) -> None:
        self.write(collection, [Change("insert", document) for document in batch])

    def unique_fields(self, collection: str, *, dense: bool = False) -> Sequence[frozenset[str]]:
        """Return the fields of each unique, not partial index under the pipeline's collation; ``dense``: of each that is not sparse."""
        info = self._snapshot.catalog.get(collection)
        indexes = info.indexes if info is not None else ()
        return [
            frozenset(".".join(path) for path, _ in index.keys)
            for index in indexes
            if index.unique and index.partial is None and not index.building and not (dense and index.sparse)
            if index.collation == self.collation
        ]

    def geographic_fields(self, collection: str) -> Sequence[GeoField] | None:
        """Return the fields of a collection's geographic indexes; None when there is no such collection."""
        info = self._snapshot.catalog.get(collection)
        if info is None:
            return None
        return [
            GeoField(".".join(path), way, (index.geo or {}).get("min", -180.0), (index.geo or {}).get("max", 180.0))
            for index in info.indexes
            for path, way in index.keys
            if index.geo is not None and way not in (1, -1) and not index.building
        ]

    def statistics(self, collection: str, kind: str) -> Batch:
        """Return the documents of ``$collStats`` and ``$indexStats``."""
        if kind == "index":
            return self._session.index_stats(collection)
        return self._session.collection_stats(collection, self._snapshot)

    def check_deadline(self) -> None:
        """Raise TimeoutExpired when the time is over, and end when nobody waits for the result."""
        interrupts.check()
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise TimeoutExpired("the pipeline took longer than max_time_ms")
        self._snapshot.check()


def _shown(found: Batches, whole: Pipeline, rest: Pipeline) -> Batches:
    """Return the documents without what is known of them: they carry what any stage asks for, and the last ones may not know of it."""
    return stripped(found) if whole.metadata and not rest.metadata else found
