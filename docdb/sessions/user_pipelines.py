"""Which pipelines a caller may run.

What lives here: ``check_pipeline``. What it must not know: rules, sessions. What a stage reads is judged where it is read; here is refused what would go past
that, and whatever nobody has looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["check_pipeline"]

ALLOWED: Final = frozenset(
    {"$addFields", "$bucket", "$bucketAuto", "$count", "$densify", "$documents", "$facet", "$fill", "$geoNear", "$graphLookup", "$group", "$limit",
     "$lookup", "$match", "$merge", "$project", "$redact", "$replaceRoot", "$replaceWith", "$sample", "$set", "$setWindowFields", "$skip", "$sort",
     "$sortByCount", "$unionWith", "$unset", "$unwind"}
)  # fmt: skip
INSIDE: Final = ("$facet", "$lookup", "$unionWith")
DEEPEST: Final = 50


def check_pipeline(pipeline: Any, depth: int = 0) -> str | None:
    """Return why a pipeline may not be run by a caller, None when it may: its parts are judged when they are read."""
    if not isinstance(pipeline, list | tuple):
        return None  # refused where pipelines are compiled
    if depth > DEEPEST:
        return "the pipeline is too deep"
    for stage in pipeline:
        if not isinstance(stage, Mapping):
            continue
        for name, spec in stage.items():
            if name not in ALLOWED:
                return f"{name} is not for users"
            reason = _inside(name, spec, depth)
            if reason is not None:
                return reason
    return None


def _inside(name: str, spec: Any, depth: int) -> str | None:
    if name not in INSIDE or not isinstance(spec, Mapping):
        return None
    inner = list(spec.values()) if name == "$facet" else [spec.get("pipeline")]
    reasons = (check_pipeline(part, depth + 1) for part in inner)
    return next((reason for reason in reasons if reason is not None), None)
