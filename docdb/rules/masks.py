"""Fields that somebody may not read or write: taken out of documents, refused in queries, kept as they are by writes.

What lives here: ``Mask``, ``speaks_of`` (which hidden path a query touches), ``violations`` (which unwritable path a write has changed), and what hints
and searches speak of. What it must not know: rules (they say which paths), sessions, where documents come from.

A hidden path hides what lies below it, in every element of the arrays on the way, however deep they lie in each other. A query may not
compare, sort or group by a hidden path, by one below it, or by one above it, whose values would tell of it. It may show a path above: that
is masked. A pipeline over a collection with hidden fields runs on masked documents, so that no stage sees more than its user; what stands in
front of the mask, filters and sorts that an index may serve, has to be asked here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any, Final

from docdb.language.paths import identical
from docdb.language.values import MISSING
from docdb.rules.fields import WHOLE, Fields, fields_of_filter

__all__ = ["Mask", "enters", "fields_of_hint", "mask", "searched", "speaks_of", "violations"]

Tree = dict[str, Any]  # name -> None (hidden) | Tree
_WILDCARD: Final = "$**"
_ID_HINTS: Final = ("_id_", "$natural")


class Mask:
    """Takes hidden paths out of documents; made once, applied to many.

    >>> Mask(["a.b", "c"]).apply({"a": [{"b": 1, "d": 2}], "c": 3})
    {'a': [{'d': 2}]}
    """

    __slots__ = ("_names", "_tree", "hidden")

    def __init__(self, hidden: Iterable[str]) -> None:
        self.hidden = frozenset(hidden)
        self._tree: Tree = {}
        for path in sorted(self.hidden, key=len):
            _grow(self._tree, path.split("."))
        flat = all(below is None for below in self._tree.values())
        self._names: frozenset[str] | None = frozenset(self._tree) if flat else None

    def __bool__(self) -> bool:
        return bool(self.hidden)

    def apply(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return the document without what is hidden: itself when nothing is, else a copy that shares what is untouched.

        Cost: the hidden names in each object on the way, and a copy of those that hold one.
        """
        names = self._names
        if names is None:
            shown: dict[str, Any] = _masked(self._tree, document)
            return shown
        if names.isdisjoint(document):
            return document
        return {name: value for name, value in document.items() if name not in names}

    def hides(self, path: str) -> bool:
        """Tell whether nothing is seen at a path: it is hidden, or lies below one that is."""
        return any(_begins(_steps(path), _steps(hidden)) for hidden in self.hidden)


@lru_cache(maxsize=1024)
def mask(hidden: frozenset[str]) -> Mask:
    """Return the mask of a set of paths, made before or now: rules that look at the document give the same few sets again and again."""
    return Mask(hidden)


def _grow(tree: Tree, steps: list[str]) -> None:
    for step in steps[:-1]:
        below = tree.setdefault(step, {})
        if below is None:  # hidden from above
            return
        tree = below
    tree[steps[-1]] = None


def _masked(tree: Tree, value: Any) -> Any:
    kind = value.__class__
    if kind is dict:
        shown = value
        for name, below in tree.items():
            if name not in value:
                continue
            new = MISSING if below is None else _masked(below, value[name])
            if new is value[name]:
                continue
            if shown is value:
                shown = dict(value)
            if new is MISSING:
                del shown[name]
            else:
                shown[name] = new
        return shown
    if kind is list:
        items = [_masked(tree, item) for item in value]
        return value if all(map(_same_object, items, value)) else items
    return value


def _same_object(left: Any, right: Any) -> bool:
    return left is right


# What queries speak of


def speaks_of(fields: Fields, hidden: Collection[str]) -> str | None:
    """Return the first hidden path, in their order, that is spoken of, None for none. What ``fields.searches`` means is for ``searched``.

    >>> speaks_of(Fields(used=frozenset({"a"})), ["a.b"]), speaks_of(Fields(shown=frozenset({"a"})), ["a.b"])
    ('a.b', None)
    """
    if not hidden:
        return None
    used, shown = [_steps(path) for path in fields.used], [_steps(path) for path in fields.shown]
    for path in sorted(hidden):
        steps = _steps(path)
        if any(_begins(other, steps) for other in shown):
            return path
        if any(_begins(other, steps) or _begins(steps, other) for other in used):
            return path
    return None


def _steps(path: str) -> list[str]:
    """Return the names in a path: positions in arrays (not in front, where an object is) and selectors are no names."""
    first, *rest = path.split(".") if path else [WHOLE]
    names = [] if first in (WHOLE, _WILDCARD) else [first]
    return names + [step for step in rest if not (step.isdigit() or step.startswith("$"))]


def _begins(steps: list[str], other: list[str]) -> bool:
    """Tell whether ``steps`` begins with ``other``."""
    return steps[: len(other)] == other


def enters(path: str, hidden: Collection[str]) -> bool:
    """Tell whether a path leads into what stands at a hidden one: whether it can be written there tells what that is.

    >>> enters("a.0.b", ["a.b"]), enters("a.b.0", ["a.b"])
    (False, True)
    """
    return any(_leads_into(path.split("."), known.split(".")) for known in hidden)


def _leads_into(steps: list[str], names: list[str]) -> bool:
    met = 0
    for at, step in enumerate(steps):
        if met == len(names):
            return True
        if step == names[met]:
            met += 1
        elif not at or not (step.isdigit() or step.startswith("$")):
            return False
    return False


def fields_of_hint(hint: Any, indexes: Sequence[Any]) -> Fields:
    """Return what a hint speaks of: the fields of the index it names, and of the filter of a partial one, which then decides what is found.

    ``indexes`` have ``name``, ``keys`` and ``partial``. A pattern speaks of its own names, whatever there is; a name that no index has speaks of
    everything, or the refusal would tell the names of indexes on hidden fields.
    """
    if hint is None or not hint:
        return Fields()
    if isinstance(hint, str):
        meant = [index for index in indexes if index.name == hint]
        named = set() if meant or hint in _ID_HINTS else {WHOLE}
    else:
        pairs = list(hint.items()) if isinstance(hint, Mapping) else list(hint)
        named = {str(name) for name, _ in pairs if name != "$natural"}
        meant = [index for index in indexes if {".".join(path) for path, _ in index.keys} == named]
    found = Fields(used=frozenset(named))
    for index in meant:
        found |= _fields_of_index(index)
    return found


def _fields_of_index(index: Any) -> Fields:
    own = Fields(used=frozenset(".".join(path) for path, way in index.keys if way != "text"))
    return own if index.partial is None else own | fields_of_filter(index.partial)


def searched(fields: Fields, indexes: Sequence[Any]) -> Fields:
    """Return the fields together with those that its searches use, under the indexes of the collection.

    ``indexes`` have ``keys``, ``partial`` and ``text``: its weights and the name of the field that gives the language.
    """
    found = fields
    for index in indexes:
        if "words" in fields.searches and index.text is not None:
            words = frozenset(index.text["weights"]) | {index.text["language_override"]}
            found |= _fields_of_index(index) | Fields(used=words)
        placed = any(way not in (1, -1, "text") for _, way in index.keys)
        if "index" in fields.searches or (placed and "place" in fields.searches):
            found |= _fields_of_index(index)
    return found


# What writes change


def violations(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, unwritable: Collection[str]) -> str | None:
    """Return the first path, in their order, whose value differs between two images (None: there is no document), None for none.

    Values are compared as they are stored: 1 and 1.0 differ. In an array each element keeps what it has at the path; another element without
    it may follow. Cost: what lies on the way to the paths; what the images share is not walked.
    """
    for path in sorted(unwritable):
        if not _unchanged(MISSING if old is None else old, MISSING if new is None else new, path.split(".")):
            return path
    return None


def _unchanged(old: Any, new: Any, steps: list[str]) -> bool:
    if old is new:
        return True
    if not steps:
        return identical(old, new)
    lists = (old.__class__ is list) + (new.__class__ is list)
    if lists == 2:
        return all(_unchanged(left, right, steps) for left, right in zip_longest(old, new, fillvalue=MISSING))
    if lists == 1:
        return not _holds(old, steps) and not _holds(new, steps)
    left, right = _below(old, steps[0]), _below(new, steps[0])
    return _unchanged(left, right, steps[1:])


def _below(value: Any, step: str) -> Any:
    return value.get(step, MISSING) if isinstance(value, Mapping) else MISSING


def _holds(value: Any, steps: list[str]) -> bool:
    """Tell whether anything stands at a path."""
    if value is MISSING or not steps:
        return value is not MISSING
    if value.__class__ is list:
        return any(_holds(item, steps) for item in value)
    return _holds(_below(value, steps[0]), steps[1:])
