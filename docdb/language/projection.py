"""What a read shows of a document.

What lives here: ``parse_projection`` and ``Projection``, find's projections: inclusion, exclusion, $slice, $elemMatch, the
positional ``$``, computed fields. What it must not know: stages ($project is the pipeline's), indexes, stored bytes (a decoder
may skip what ``fields`` does not name).

A projection is a tree of names. A leaf keeps, drops, cuts (a function of the value) or computes (an expression on the whole
document). Fields stay in the document's order; computed ones follow in the order of the specification.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from docdb.errors import QueryError
from docdb.language import tree as nodes
from docdb.language.filter_operators import Scope
from docdb.language.filters import parse
from docdb.language.matching import match_position
from docdb.language.tree import Node, Path
from docdb.language.values import INT64_MAX, INT64_MIN, MISSING, is_number

__all__ = ["Projection", "known_projection", "parse_projection"]

KEEP: Final = True
DROP: Final = False
Cut = Callable[[Any], Any]  # the value to show, MISSING for none


class _Computed:
    """A leaf with an expression."""

    __slots__ = ("expression",)

    def __init__(self, expression: Any) -> None:
        self.expression = expression


Shape = dict[str, Any]  # name -> KEEP | DROP | Cut | _Computed | Shape


class Projection:
    """A projection ready to apply.

    ``needs_position``: it holds a positional ``$``. ``fields``: the top-level names it reads, None for all.
    ``names``: these, when whole top-level fields are all that is shown, else None.
    ``dropped``: the names it leaves out, when it does nothing but leave out whole top-level fields, else None.
    ``metadata``: what it asks of ``$meta``. ``inclusion_paths``: its paths (``_id`` among them unless left out) when it does nothing but include, else None.
    """

    __slots__ = (
        "_computes",
        "_positional",
        "_shape",
        "dropped",
        "fields",
        "includes",
        "inclusion_paths",
        "metadata",
        "names",
        "needs_position",
    )

    masks = False  # one that hides fields, so that stored bytes may not be shown in its place

    def __init__(self, shape: Shape, includes: bool, positional: Path | None, metadata: frozenset[str]) -> None:
        self.metadata = metadata
        self._shape = shape
        self._positional = positional
        self._computes = _computes(shape)
        self.includes = includes
        self.needs_position = positional is not None
        plain = includes and positional is None
        self.inclusion_paths: tuple[Path, ...] | None = (
            tuple(_kept(shape, ())) if plain and _only_keeps(shape) else None
        )
        self.names = _top_names(self.inclusion_paths)
        self.fields: frozenset[str] | None = _fields(shape) if includes else None
        self.dropped: frozenset[str] | None = None
        if not includes and positional is None and all(leaf is DROP for leaf in shape.values()):
            self.dropped = frozenset(shape)

    def apply(self, document: dict[str, Any], position: int | None = None) -> dict[str, Any]:
        """Return what is shown of a document; ``position`` is the index of the array element that matched.

        The result shares unchanged parts with the document. Raises QueryError 51246 when a positional ``$`` has no position.
        """
        names = self.names
        if names is not None:
            return {name: value for name, value in document.items() if name in names}
        shown = document
        if self._positional is not None:
            shown = _at_position(document, self._positional, position, ".".join(self._positional))
        if not self.includes:
            result = _exclude(self._shape, shown)
            return _compute(self._shape, result, document) if self._computes else result
        result = _include(self._shape, shown)
        return _compute(self._shape, result, document) if self._computes else result


def parse_projection(
    spec: Any,
    *,
    node: Node | None = None,
    collation: Any = None,
    let: Mapping[str, Any] | None = None,
    naive_utc: bool = False,
) -> Projection | None:
    """Return the projection of a document or a list of names; None when it shows everything.

    ``node`` is the filter whose matched element a positional ``$`` shows. Raises QueryError with MongoDB's codes: 31253 and
    31254 for a mixture of inclusion and exclusion, 31249 and 31250 for colliding paths.

    >>> parse_projection({"a": 1, "_id": 0}).apply({"_id": 1, "b": 2, "a": 3})
    {'a': 3}
    """
    if spec is None:
        return None
    if isinstance(spec, list | tuple | set | frozenset):
        unnamed = next((name for name in spec if not isinstance(name, str)), None)
        if unnamed is not None:
            raise QueryError(f"a projection lists names, not {type(unnamed).__name__}", path="projection", code=14)
        spec = dict.fromkeys(spec, 1) or {"_id": 1}
    if not isinstance(spec, Mapping):
        raise QueryError(
            f"a projection is a document or a list of names, not {type(spec).__name__}", path="projection", code=14
        )
    if not spec:
        return None
    parser = _Parser(Scope(collation, let, None, naive_utc, 0), node)
    try:
        parser.read(spec, ())
    except RecursionError:
        raise QueryError("the projection is nested too deep", path="projection") from None
    return parser.projection()


def known_projection(spec: Any) -> Projection | None:
    """Return the projection of a document that only shows fields or leaves them out, as most do; None for any other.

    What ``parse_projection`` returns for it whatever its options, kept because it is asked for again and again.
    """
    if type(spec) is not dict or not spec:
        return None
    for name, value in spec.items():
        if type(name) is not str or "$" in name or (type(value) is not int and type(value) is not bool):
            return None
    return _of_flags(tuple(spec.items()))


@lru_cache(maxsize=256)
def _of_flags(items: tuple[tuple[str, int], ...]) -> Projection | None:
    return parse_projection(dict(items))


class _Parser:
    """Reads a specification once: gathers the tree and the kind of the projection."""

    def __init__(self, scope: Scope, node: Node | None) -> None:
        self.scope, self.node = scope, node
        self.dates = replace(scope, naive_utc=True)
        self.shape: Shape = {}
        self.includes: bool | None = None
        self.id_flag: bool | None = None
        self.positional: Path | None = None
        self.has_elem_match = False
        self.metadata: set[str] = set()

    def projection(self) -> Projection:
        includes = self.includes
        if includes is None:
            includes = self.has_elem_match or (self.id_flag is True)
        if includes and "_id" not in self.shape:
            self.shape = {"_id": KEEP, **self.shape}
        return Projection(self.shape, includes, self.positional, frozenset(self.metadata))

    def read(self, spec: Mapping[str, Any], prefix: Path) -> None:
        for name, value in spec.items():
            if not isinstance(name, str):
                raise QueryError(f"a field name is text, not {type(name).__name__}", path="projection", code=14)
            text = ".".join((*prefix, name))
            parts = tuple(text.split("."))
            if parts[-1] == "$" and len(parts) > 1:
                self._positional(parts[:-1], value, text)
                continue
            _check_path(parts, text)
            if isinstance(value, Mapping) and value and not next(iter(value)).startswith("$"):
                self.read(value, parts)
            else:
                self._leaf(parts, value, text)

    def _leaf(self, path: Path, value: Any, text: str) -> None:
        if self._is_flag(value, text):
            self._flag(path, bool(value), text)
        elif isinstance(value, Mapping):
            self._operator(path, value, text)
        else:
            self._compute(path, value, text)

    def _is_flag(self, value: Any, text: str) -> bool:
        # Only the type matters here, so a date without zone is no error yet.
        return isinstance(value, bool) or (
            not isinstance(value, Mapping) and is_number(self.dates.canonical(value, text))
        )

    def _flag(self, path: Path, keep: bool, text: str) -> None:
        if path == ("_id",):
            self.id_flag = keep
        else:
            self._become(keep, text)
        self._place(path, KEEP if keep else DROP, text)

    def _become(self, includes: bool, text: str) -> None:
        if self.includes is not None and self.includes != includes:
            kinds = ("exclusion", "inclusion") if self.includes else ("inclusion", "exclusion")
            raise QueryError(
                f"cannot do {kinds[0]} in a projection of {kinds[1]}", path=text, code=31254 if self.includes else 31253,
                hint="only _id may go against the rest",
            )  # fmt: skip
        self.includes = includes

    def _operator(self, path: Path, value: Mapping[str, Any], text: str) -> None:
        if not value:
            raise QueryError("an empty object is no projection", path=text, code=51270)
        name = next(iter(value))
        if len(value) > 1:
            raise QueryError(f"{name} stands alone in its document", path=text, code=16410)
        if name == "$elemMatch":
            self._elem_match(path, value[name], text)
        elif name == "$slice":
            self._slice(path, value, text)
        elif name == "$meta":
            self._meta(path, value, text)
        else:
            self._compute(path, value, text)

    def _meta(self, path: Path, value: Mapping[str, Any], text: str) -> None:
        """What is known beside the fields goes with inclusion and exclusion alike."""
        expression = self.scope.compile(self.scope.canonical(value, text))
        self.metadata |= expression.metadata
        self._place(path, _Computed(expression), text)

    def _elem_match(self, path: Path, condition: Any, text: str) -> None:
        if not isinstance(condition, Mapping):
            raise QueryError("$elemMatch takes a document", path=f"{text}.$elemMatch", code=31274)
        if len(path) > 1:
            raise QueryError("$elemMatch stands on a top-level field", path=text, code=31275)
        if self.positional is not None:
            raise QueryError("a positional $ and $elemMatch cannot go together", path=text, code=31255)
        self.has_elem_match = True
        node = parse(
            {path[0]: {"$elemMatch": condition}},
            collation=self.scope.collation,
            let=self.scope.let,
            naive_utc=self.scope.naive_utc,
            near=False,
        )
        self._place(path, _elem_match_cut(path[0], node), text)

    def _slice(self, path: Path, value: Mapping[str, Any], text: str) -> None:
        if path == self.positional:
            raise QueryError("a positional $ and $slice cannot share a field", path=text, code=28667)
        where = f"{text}.$slice"
        argument = self.dates.canonical(value["$slice"], where)
        if is_number(argument):
            size = _truncated(argument)
            self._place(path, _slice_cut(None, size), text)
        elif isinstance(argument, list) and len(argument) == 2 and all(is_number(item) for item in argument):
            skip, size = map(_truncated, argument)
            if size <= 0:
                raise QueryError("the limit of $slice is above 0", path=where, code=31273)
            self._place(path, _slice_cut(skip, size), text)
        else:
            self._compute(path, {"$slice": argument}, text)

    def _positional(self, path: Path, value: Any, text: str) -> None:
        if isinstance(value, Mapping):
            raise QueryError("a positional $ takes no document", path=text, code=31271)
        if not self._is_flag(value, text):
            raise QueryError("a positional $ takes 1", path=text, code=31308)
        if not value:
            raise QueryError("a positional $ cannot exclude", path=text, code=31395)
        if self.positional is not None:
            raise QueryError("a projection holds one positional $", path=text, code=31276)
        if self.has_elem_match:
            raise QueryError("a positional $ and $elemMatch cannot go together", path=text, code=31256)
        _check_path(path, text)
        if self.node is not None and any(isinstance(part, nodes.Expr) for part in nodes.walk(self.node)):
            raise QueryError("a positional $ cannot go with $expr in the filter", path=text, code=224)
        self._become(True, text)
        self.positional = path
        self._place(path, KEEP, text)

    def _compute(self, path: Path, value: Any, text: str) -> None:
        if self.includes is False:
            raise QueryError("a projection of exclusion cannot compute fields", path=text, code=31252)
        # Imported where needed: expressions are a large module that most projections never use.
        from docdb.language.expressions import OPERATORS

        if isinstance(value, Mapping) and (name := next(iter(value))) not in OPERATORS:
            raise QueryError(f"unknown expression {name}", path=text, code=31325)
        expression = self.scope.compile(self.scope.canonical(value, text))
        self.metadata |= expression.metadata
        if path != ("_id",):
            self._become(True, text)
        elif self.includes is None:
            self.id_flag = True
        self._place(path, _Computed(expression), text)

    def _place(self, path: Path, leaf: Any, text: str) -> None:
        shape = self.shape
        for part in path[:-1]:
            shape = shape.setdefault(part, {})
            if not isinstance(shape, dict):
                raise QueryError("the path collides with a shorter one", path=text, code=31249)
        if path[-1] in shape:
            raise QueryError("the path collides with another one", path=text, code=31250)
        shape[path[-1]] = leaf


def _check_path(parts: Path, text: str) -> None:
    if not text:
        raise QueryError("a field path may not be empty", path="projection", code=40352)
    if not parts[-1]:
        raise QueryError("a field path may not end with '.'", path=text, code=40353)
    for part in parts:
        if not part:
            raise QueryError("a part of a field path may not be empty", path=text, code=15998)
        if part == "$":
            raise QueryError("a positional $ ends its path", path=text, code=31394)
        if part.startswith("$"):
            raise QueryError("a part of a field path may not begin with '$'", path=text, code=16410)


def _truncated(value: Any) -> int:
    if value != value:
        return 0
    return int(max(INT64_MIN, min(INT64_MAX, value)))


# Cuts


def _slice_cut(skip: int | None, size: int) -> Cut:
    def cut(value: Any) -> Any:
        if value.__class__ is not list:
            return value
        if skip is None:
            return value[:size] if size >= 0 else value[size:]
        start = skip if skip >= 0 else max(0, len(value) + skip)
        return value[start : start + size]

    return cut


def _elem_match_cut(name: str, node: Node) -> Cut:
    def cut(value: Any) -> Any:
        if value.__class__ is not list:
            return MISSING
        position = match_position(node, {name: value})
        return MISSING if position is None else [value[position]]

    return cut


def _at_position(value: Any, path: Path, position: int | None, text: str) -> Any:
    """Return the value with the first array on the path cut to the matched element."""
    if value.__class__ is list:
        if position is None:
            raise QueryError(
                "the positional $ found no matched array element", path=f"{text}.$", code=51246,
                hint="the filter needs a condition on the array",
            )  # fmt: skip
        if position >= len(value):
            raise QueryError(f"the array has no element {position}", path=f"{text}.$", code=51247)
        return [value[position]]
    if not path or value.__class__ is not dict or path[0] not in value:
        return value
    below = _at_position(value[path[0]], path[1:], position, text)
    return value if below is value[path[0]] else {**value, path[0]: below}


# Applying


def _include(shape: Shape, document: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in document.items():
        leaf = shape.get(name, DROP)
        if leaf is KEEP:
            result[name] = value
        elif leaf is DROP or leaf.__class__ is _Computed:
            continue
        else:
            shown = _include_below(leaf, value) if leaf.__class__ is dict else leaf(value)
            if shown is not MISSING:
                result[name] = shown
    return result


def _include_below(shape: Shape, value: Any) -> Any:
    if value.__class__ is dict:
        return _include(shape, value)
    if value.__class__ is list:
        return [shown for item in value if (shown := _include_below(shape, item)) is not MISSING]
    return MISSING


def _exclude(shape: Shape, document: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in document.items():
        leaf = shape.get(name, KEEP)
        if leaf is KEEP:
            result[name] = value
        elif leaf is not DROP and leaf.__class__ is not _Computed:
            shown = _exclude_below(leaf, value) if leaf.__class__ is dict else leaf(value)
            if shown is not MISSING:
                result[name] = shown
    return result


def _exclude_below(shape: Shape, value: Any) -> Any:
    if value.__class__ is dict:
        return _exclude(shape, value)
    return [_exclude_below(shape, item) for item in value] if value.__class__ is list else value


def _compute(shape: Shape, result: Any, document: dict[str, Any]) -> dict[str, Any]:
    """Return the included part with the computed fields put in, in the order of the specification."""
    new = dict(result) if result.__class__ is dict else {}
    for name, leaf in shape.items():
        if leaf.__class__ is _Computed:
            value = leaf.expression(document)
            if value is not MISSING:
                new[name] = value
        elif leaf.__class__ is dict and _computes(leaf):
            below = new.get(name, MISSING)
            new[name] = (
                _compute_each(leaf, below, document) if below.__class__ is list else _compute(leaf, below, document)
            )
    return new


def _compute_each(shape: Shape, values: list[Any], document: dict[str, Any]) -> list[Any]:
    return [
        _compute_each(shape, item, document) if item.__class__ is list else _compute(shape, item, document)
        for item in values
    ]


# What a tree says of itself


def _computes(shape: Shape) -> bool:
    return any(leaf.__class__ is _Computed or (leaf.__class__ is dict and _computes(leaf)) for leaf in shape.values())


def _only_keeps(shape: Shape) -> bool:
    return all(
        _only_keeps(leaf) if leaf.__class__ is dict else leaf is KEEP or (leaf is DROP and name == "_id")
        for name, leaf in shape.items()
    )


def _kept(shape: Shape, prefix: Path) -> list[Path]:
    found: list[Path] = []
    for name, leaf in shape.items():
        if leaf.__class__ is dict:
            found += _kept(leaf, (*prefix, name))
        elif leaf is KEEP:
            found.append((*prefix, name))
    return found


def _top_names(paths: tuple[Path, ...] | None) -> frozenset[str] | None:
    """Return the names when whole top-level fields are all that is shown."""
    if paths is None or any(len(path) > 1 for path in paths):
        return None
    return frozenset(path[0] for path in paths)


def _fields(shape: Shape) -> frozenset[str] | None:
    names: set[str] = set()
    for name, leaf in shape.items():
        if leaf is DROP:
            continue
        if leaf.__class__ is _Computed or (leaf.__class__ is dict and _computes(leaf)):
            reads = _reads(leaf)
            if reads is None:
                return None
            names |= reads
        if leaf.__class__ is not _Computed:
            names.add(name)
    return frozenset(names)


def _reads(leaf: Any) -> set[str] | None:
    """Return the top-level names that the expressions of a leaf read, None for all."""
    if leaf.__class__ is _Computed:
        paths = leaf.expression.paths
        return None if paths is None else {path.split(".")[0] for path in paths}
    found: set[str] = set()
    for below in leaf.values() if leaf.__class__ is dict else ():
        reads = _reads(below)
        if reads is None:
            return None
        found |= reads
    return found
