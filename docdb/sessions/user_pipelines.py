"""A caller's pipelines.

What lives here: ``UserSources``, which judges what a pipeline reaches before it runs. What it must not know: how stages run; documents are judged where
they are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from docdb.errors import DeniedError
from docdb.pipeline.runner import Pipeline
from docdb.rules.fields import Fields
from docdb.rules.reach import Reach, reach
from docdb.sessions.sources import PipelineSources
from docdb.sessions.user_gate import Gate
from docdb.store.snapshots import Snapshot

if TYPE_CHECKING:
    from docdb.sessions.session import StoreSession

__all__ = ["UserSources"]

Conditions = Sequence[Mapping[str, Any]]


class UserSources(PipelineSources):
    """The sources of a pipeline that only reads what its caller may read. Each collection has rules, or nothing runs."""

    def __init__(self, session: StoreSession, snapshot: Snapshot, deadline: float | None, gate: Gate) -> None:
        super().__init__(session, snapshot, deadline)
        self._gate = gate

    def _compiled(
        self, name: str | None, pipeline: Sequence[Mapping[str, Any]], collation: Any, let: Mapping[str, Any] | None
    ) -> tuple[Sequence[Mapping[str, Any]], Pipeline]:
        """Return the pipeline, compiled, when it reaches nothing that is not the caller's.

        That is asked first: what does not compile would tell of indexes and collections.
        """
        reached = self._reached(name, self._canonical(pipeline, ""))
        found = super()._compiled(name, pipeline, collation, let)
        if name is not None:
            self._speak(name, reached.fields, reached.leading)
        for foreign in reached.reads:
            self._speak(foreign.collection, foreign.fields, foreign.leading)
        return found

    def _reached(self, name: str | None, pipeline: Sequence[Mapping[str, Any]]) -> Reach:
        """Return what a pipeline reaches, all of which has rules."""
        gate = self._gate
        try:
            reached = reach(pipeline)
        except DeniedError as error:
            raise gate.denied("read", name, f"{error.path}: {error.message}") from None
        if reached.admin is not None:
            raise gate.denied("read", name, f"{reached.admin} is for administrators")
        for written in reached.writes:
            if written.stage != "$merge":
                raise gate.denied("write", written.collection, f"{written.stage} at {written.path} is not for users")
            known = gate.known(written.collection, "create")
            if written.merges and gate.fields(known):  # they are made of masked ones
                raise gate.denied("write", known.name, "merging would lose fields that are hidden", known)
        for read in ([] if name is None else [name]) + [foreign.collection for foreign in reached.reads]:
            gate.rule(gate.known(read, "read"), "read")
        return reached

    def _speak(self, name: str, fields: Fields, leading: Conditions) -> None:
        """Refuse fields that the caller may not speak of; the conditions in front may prove that it may."""
        gate = self._gate
        known = gate.known(name, "read")
        if gate.fields(known):
            # An expression proves nothing, and may name variables of the stage that it stands in.
            proving = [condition for condition in leading if "$expr" not in repr(condition)]
            node = self.parsed({"$and": proving} if proving else {}, near=False)
            gate.speak(known, "read", fields, gate.hidden_from(known, node)[1])
