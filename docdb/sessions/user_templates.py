"""``"{openid}"`` and ``"{uid}"`` in queries: whole text values that stand for the caller's id.

What lives here: ``filled`` for filters and ``filled_stages`` for the filters inside pipelines. What it must not know: sessions. A value is replaced
once, and only in what is asked, never in what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from docdb.sessions.user_caller import Caller

__all__ = ["Nobody", "filled", "filled_stages", "is_plain", "templated"]

TEMPLATES: Final = ("{openid}", "{uid}")
DEEPEST: Final = 200  # what is deeper is refused as a filter


class Nobody(Exception):
    """The query asks for the caller's id, and there is none."""


def templated(value: Any, depth: int = 0) -> bool:
    """Tell whether a template stands in a filter."""
    kind = type(value)
    if kind is str:
        return value in TEMPLATES
    if kind is not dict and not isinstance(value, Mapping | list | tuple | str):
        return False
    if isinstance(value, str):
        return str(value) in TEMPLATES
    if depth > DEEPEST:
        return False
    for item in value.values() if kind is dict or isinstance(value, Mapping) else value:  # noqa: SIM110  # asked of every query
        if templated(item, depth + 1):
            return True
    return False


def is_plain(filter: Any) -> bool:
    """Tell whether a filter compares fields with texts and numbers that are no templates, and no more."""
    if type(filter) is not dict:
        return False
    for name, value in filter.items():
        if type(value) is str:
            if value[:1] == "{" and value in TEMPLATES:
                return False
        elif type(value) is not int:
            return False
        if name[:1] == "$":
            return False
    return True


def filled(value: Any, caller: Caller) -> Any:
    """Return a filter with the caller's id in the place of each template, itself where there is none; Nobody for a caller without."""
    return _filled(value, caller) if templated(value) else value


def _filled(value: Any, caller: Caller) -> Any:
    if isinstance(value, str):
        return _identity(value, caller) if value in TEMPLATES else value
    if isinstance(value, Mapping):
        return {name: _filled(item, caller) for name, item in value.items()}
    return [_filled(item, caller) for item in value] if isinstance(value, list | tuple) else value


def _identity(template: str, caller: Caller) -> str:
    found = caller.id if template == "{openid}" else (caller.auth or {}).get("uid")
    if found is None:
        raise Nobody(template)
    return str(found)


def filled_stages(stages: Any, caller: Caller) -> Any:
    """Return a pipeline with its filters filled, those of pipelines inside it, too."""
    if not isinstance(stages, Sequence) or isinstance(stages, str | bytes):
        return stages  # what is no pipeline is refused where pipelines are compiled
    return [_stage(stage, caller) for stage in stages]


def _stage(stage: Any, caller: Caller) -> Any:
    if not isinstance(stage, Mapping):
        return stage
    return {name: _FILLED[name](spec, caller) if name in _FILLED else spec for name, spec in stage.items()}


def _part(key: str, fill: Callable[[Any, Caller], Any]) -> Callable[[Any, Caller], Any]:
    def fill_part(spec: Any, caller: Caller) -> Any:
        return {**spec, key: fill(spec[key], caller)} if isinstance(spec, Mapping) and key in spec else spec

    return fill_part


def _facet(spec: Any, caller: Caller) -> Any:
    return {name: filled_stages(inner, caller) for name, inner in spec.items()} if isinstance(spec, Mapping) else spec


_FILLED: Final[dict[str, Callable[[Any, Caller], Any]]] = {
    "$facet": _facet,
    "$geoNear": _part("query", filled),
    "$graphLookup": _part("restrictSearchWithMatch", filled),
    "$lookup": _part("pipeline", filled_stages),
    "$match": filled,
    "$unionWith": _part("pipeline", filled_stages),
}
