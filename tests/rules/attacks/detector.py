"""What a user has seen of a call, in a form that can be compared and searched.

What lives here: ``seen``, the call's outcome laid open; ``leaks``, the canaries in it; ``unlawful``, the changes that the rules' law does not allow;
``visible``, what a user can read afterwards. The law is the reference evaluator: one document, one image, no query.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from docdb.errors import DocdbError
from docdb.rules.evaluator import Circumstances
from docdb.rules.readers import Documents
from docdb.rules.ruleset import RuleSet, load
from docdb.rules.verdicts import is_allowed
from tests.rules.attacks.stage import CANARY, CANARY_NUMBER

__all__ = ["Seen", "leaks", "seen", "unlawful", "visible"]

# Ids that are made anew with each call: of documents, and of what an error is found by in the log.
MADE: Final = re.compile(r"\b[0-9a-f]{8}(?:-?[0-9a-f]{4,}){0,5}\b")
DEEPEST: Final = 12
PLAIN: Final = (str, bytes, int, float, bool, type(None))


class Seen:
    """The outcome of a call: ``text`` is all of it that can be read, ``error`` what was raised."""

    def __init__(self, value: Any, error: BaseException | None) -> None:
        self.value = value
        self.error = error
        self.text = _text(value if error is None else error)

    @property
    def denied(self) -> bool:
        """Whether the rules refused it."""
        return isinstance(self.error, DocdbError) and self.error.errcode == "DATABASE_PERMISSION_DENIED"

    def __repr__(self) -> str:
        return f"Seen({self.text!r})"


def _text(value: Any) -> str:
    return MADE.sub("#", "\n".join(_open(value, 0)))


def seen(call: Callable[[], Any]) -> Seen:
    """Return what a call lets be seen. An error that is not docdb's own is a defect, and comes out."""
    try:
        return Seen(call(), None)
    except DocdbError as error:
        return Seen(None, error)


def _open(value: Any, depth: int) -> Iterator[str]:
    """Yield everything that stands in a value: members, public attributes, and the errors behind an error."""
    if depth > DEEPEST or isinstance(value, PLAIN):
        yield repr(value)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield f"{name!r}:"
            yield from _open(item, depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        yield f"{len(value)} items"
        for item in value:
            yield from _open(item, depth + 1)
    elif isinstance(value, BaseException):
        yield f"{type(value).__name__}: {value}"
        yield from _open({name: item for name, item in vars(value).items() if not name.startswith("_")}, depth + 1)
        for behind in (value.__cause__, value.__context__):
            if behind is not None:
                yield from _open(behind, depth + 1)
    elif isinstance(value, type) or callable(value):
        yield repr(type(value))
    else:
        yield repr(value) if " at 0x" not in repr(value) else type(value).__name__
        yield from _open(_attributes(value), depth + 1)


def _attributes(value: Any) -> dict[str, Any]:
    """Return the public attributes that a result carries."""
    names = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    names += list(getattr(value, "__dict__", ()))
    return {name: getattr(value, name) for name in sorted(set(names)) if not name.startswith("_")}


def leaks(text: str) -> list[str]:
    """Return the lines in which a canary stands."""
    return [line for line in text.splitlines() if CANARY in line.lower() or str(CANARY_NUMBER) in line]


Dump = Mapping[str, list[dict[str, Any]]]


@lru_cache(maxsize=256)
def _loaded(text: str) -> RuleSet:
    return load(json.loads(text))


def ruleset_of(rules: Any) -> RuleSet:
    """Return rules checked, each only once."""
    return _loaded(json.dumps(rules))


def unlawful(rules: Mapping[str, Any], auth: Any, before: Dump, after: Dump, now: int = 0) -> list[str]:
    """Return the changes between two dumps that the rules do not allow ``auth``."""
    found = []
    for name in sorted(set(before) | set(after)):
        old_rows = {repr(row["_id"]): row for row in before.get(name, [])}
        new_rows = {repr(row["_id"]): row for row in after.get(name, [])}
        for id in sorted(set(old_rows) | set(new_rows)):
            old, new = old_rows.get(id), new_rows.get(id)
            if repr(old) == repr(new):
                continue
            action = "create" if old is None else "delete" if new is None else "update"
            about = Circumstances(auth=auth, now=now, old=old, new=new, reader=Documents(before))
            if name not in rules or not is_allowed(ruleset_of(rules[name]), action, about):
                found.append(f"{action} {name} {id}: {old} became {new}")
    return found


def visible(rules: Mapping[str, Any], auth: Any, documents: Dump) -> str:
    """Return what ``auth`` may read of a dump, document by document, hidden fields left out."""
    found = {}
    for name in sorted(set(rules) & set(documents)):
        ruleset = ruleset_of(rules[name])
        for row in documents[name]:
            about = Circumstances(auth=auth, now=0, doc=row, old=row, reader=Documents(documents))
            if ruleset.allows("read", about):
                paths = [path.split(".") for path in ruleset.hidden(about)]
                found[f"{name} {row['_id']!r}"] = _masked(row, paths)
    return _text(found)


def _masked(value: Any, paths: list[list[str]]) -> Any:
    if isinstance(value, list):
        return [_masked(item, paths) for item in value]
    if not isinstance(value, Mapping):
        return value
    hidden = {path[0] for path in paths if len(path) == 1}
    below = {path[0]: [other[1:] for other in paths if other[0] == path[0] and len(other) > 1] for path in paths}
    return {name: _masked(item, below.get(name, [])) for name, item in value.items() if name not in hidden}
