"""A caller's pipelines.

What lives here: ``UserSources``, which judges what a pipeline reaches before it runs. What it must not know: how stages run; documents are judged where
they are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from docdb.errors import DeniedError
from docdb.language import filters
from docdb.pipeline.runner import Pipeline
from docdb.rules.fields import Fields
from docdb.rules.reach import reach
from docdb.sessions.sources import PipelineSources
from docdb.sessions.user_gate import Gate
from docdb.store.store import Snapshot

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
        """Return the pipeline, compiled, when it reaches nothing that is not the caller's."""
        found = super()._compiled(name, pipeline, collation, let)
        self._judge(name, found[0])
        return found

    def _judge(self, name: str | None, pipeline: Sequence[Mapping[str, Any]]) -> None:
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
            gate.known(written.collection, "create")
        if name is not None:
            self._speak(name, reached.fields, reached.leading)
        for foreign in reached.reads:
            self._speak(foreign.collection, foreign.fields, foreign.leading)

    def _speak(self, name: str, fields: Fields, leading: Conditions) -> None:
        """Refuse fields that the caller may not speak of; the conditions in front may prove that it may."""
        gate = self._gate
        known = gate.known(name, "read")
        gate.rule(known, "read")
        if gate.fields(known):
            node = filters.parse(
                {"$and": list(leading)} if leading else {}, collation=self.collation, let=self.variables or None
            )
            gate.speak(known, "read", fields, gate.hidden_from(known, node)[1])
