"""Pipelines over changes: MongoDB's form of a change stream.

What lives here: ``shape_of``, which runs the stages that make one document of one document. What it must not know: how changes are read.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

from docdb.errors import NotSupportedError, QueryError
from docdb.feeds.events import Change
from docdb.feeds.positions import Place
from docdb.feeds.streams import Shape
from docdb.pipeline.runner import compile_pipeline

__all__ = ["shape_of"]

STAGES: Final = (
    "$addFields", "$match", "$project", "$redact", "$replaceRoot", "$replaceWith", "$set", "$unset",
)  # fmt: skip
EXPANDED: Final = frozenset({"create", "create_index", "drop_index", "build_index"})


class _Context:
    """Fulfils ``pipeline.context.Context`` for stages that read nothing but their documents."""

    collection = None
    collation = None
    variables: Mapping[str, Any] = {}
    memory_limit = 100 * 2**20

    def __init__(self, now: dt.datetime) -> None:
        self.now = now

    def check_deadline(self) -> None:
        """There is none."""

    def __getattr__(self, name: str) -> Any:
        raise NotSupportedError("a change stream reads no other collections", path="pipeline")


def shape_of(
    pipeline: Sequence[Mapping[str, Any]], now: dt.datetime, *, full: bool, before: bool, expanded: bool = True
) -> Shape:
    """Return what makes the documents of a change stream. Raises QueryError for a wrong stage, with its path."""
    if not isinstance(pipeline, list | tuple):
        raise QueryError("a pipeline is an array of stages", path="pipeline", code=14)
    for at, stage in enumerate(pipeline):
        name = next(iter(stage), None) if isinstance(stage, Mapping) else None
        if isinstance(name, str) and name.startswith("$") and name not in STAGES and name != "$changeStream":
            raise NotSupportedError(
                f"{name} is not permitted in a change stream", path=f"{at}.{name}", hint=", ".join(STAGES)
            )
    stages = [stage for stage in pipeline if "$changeStream" not in stage]
    compiled = compile_pipeline(stages, context=_Context(now))

    def shape(changes: list[Change]) -> list[tuple[Place, Any]]:
        if not expanded:
            changes = [change for change in changes if change.operation not in EXPANDED]
        documents = [change.document(full=full, before=before) for change in changes]
        places = {change.position: change.place for change in changes}
        if stages and documents:
            documents = [document for batch in compiled.run(iter([documents])) for document in batch]
        return [(places[_token(document)], document) for document in documents]

    return shape


def _token(document: dict[str, Any]) -> str:
    token = document.get("_id")
    if not isinstance(token, dict) or not isinstance(token.get("_data"), str):
        raise QueryError("the pipeline of a change stream may not change _id: it is the resume token", path="pipeline")
    text: str = token["_data"]
    return text
