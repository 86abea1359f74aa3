"""Which fields of a document a filter, sort, projection, update or expression speaks of.

What lives here: ``Fields``, ``State`` (what the fields of a pipeline's documents were in the source), ``Reader``, and the functions from a
specification to its fields. What it must not know: stages (``reach``), sessions, storage. What a name means is in ``reach_table``; a name that is not
there is refused.

Paths are dotted; the empty path is the whole document. Everything here says too much rather than too little. Specifications are plain
values (dicts, lists, text) and are measured before they are walked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from docdb.errors import QueryError
from docdb.language import tree
from docdb.language.metadata import FIELD
from docdb.language.sorting import NATURAL, parse_sort
from docdb.language.values import is_number
from docdb.rules import reach_table

__all__ = [
    "Fields", "MAX_DEPTH", "MAX_NODES", "Reader", "State", "UpdateFields", "WHOLE", "check_size", "fields_of_expression", "fields_of_filter",
    "fields_of_metadata", "fields_of_projection", "fields_of_sort", "fields_of_update", "is_operator_object", "joined_path", "plain_path", "row",
]  # fmt: skip

MAX_DEPTH: Final = 64
MAX_NODES: Final = 10_000
WHOLE: Final = ""
_REFERENCE: Final = frozenset({"$db", "$id", "$ref"})
_SHORTHANDS: Final = ("$$CURRENT", "$$ROOT")


@dataclass(frozen=True, slots=True)
class Fields:
    """What is spoken of, as paths of the stored document.

    ``used``: compared, sorted or grouped by, so that a path above a hidden one tells of it. ``shown``: computed with or given out, which a
    mask makes harmless for a path above a hidden one. ``searches`` names kinds of indexes whose fields are used: ``index`` (whatever index
    serves), ``place``, ``words``.
    """

    used: frozenset[str] = frozenset()
    shown: frozenset[str] = frozenset()
    searches: frozenset[str] = frozenset()

    @property
    def paths(self) -> frozenset[str]:
        """Return all paths."""
        return self.used | self.shown

    def __or__(self, other: Fields) -> Fields:
        return Fields(self.used | other.used, self.shown | other.shown, self.searches | other.searches)


def check_size(spec: Any, path: str = "") -> None:
    """Refuse what is nested deeper than 64 levels or has more than 10,000 nodes, before anything walks it by recursion.

    Raises QueryError with the place. Cost: linear, up to the bound.
    """
    waiting: list[tuple[Any, int, str]] = [(spec, 0, path)]
    count = 0
    while waiting:
        node, depth, where = waiting.pop()
        items: Iterable[tuple[Any, Any]]
        if isinstance(node, Mapping):
            items = node.items()
        elif isinstance(node, list | tuple):
            items = enumerate(node)
        else:
            continue
        if depth >= MAX_DEPTH:
            raise QueryError(f"a query is nested deeper than {MAX_DEPTH} levels", path=where[:80])
        count += len(node)
        if count > MAX_NODES:
            raise QueryError(f"a query has more than {MAX_NODES} parts", path=where[:80])
        for name, value in items:
            if isinstance(value, Mapping | list | tuple):
                waiting.append((value, depth + 1, f"{where}.{name}"[:120] if where else str(name)[:120]))


def joined_path(above: str, below: str) -> str:
    """Return the path of a path below another; either may be empty."""
    return f"{above}.{below}" if above and below else above or below


def is_operator_object(value: Any) -> bool:
    """Tell whether a value is an object whose first name begins with ``$``."""
    return isinstance(value, Mapping) and str(next(iter(value), "")).startswith("$")


def plain_path(spec: Any) -> str | None:
    """Return the path that an expression which is nothing but a path reads (the empty one for the whole document), None for any other."""
    if not isinstance(spec, str) or not spec.startswith("$") or spec == "$":
        return None
    for whole in _SHORTHANDS:
        if spec == whole:
            return WHOLE
        if spec.startswith(f"{whole}."):
            return spec[len(whole) + 1 :]
    return None if spec.startswith("$$") else spec[1:]


@dataclass(slots=True)
class State:
    """Where the fields of the documents at a stage come from: ``names`` gives the source's path of a field, None where it is made;
    other fields lie at ``rest`` in the source, None: there are no others."""

    rest: str | None = WHOLE
    names: dict[str, str | None] = field(default_factory=dict)

    def source(self, path: str) -> str | None:
        """Return the source's path of a path, None when nothing of the source is there."""
        head, _, tail = path.partition(".")
        other = None if self.rest is None else joined_path(self.rest, head)
        above = self.names.get(head, other)
        return None if above is None else joined_path(above, tail)

    def wholes(self) -> list[str]:
        """Return the source's paths of all that is in the documents."""
        found = [path for path in self.names.values() if path is not None]
        return found if self.rest is None else [self.rest, *found]

    def copy(self) -> State:
        """Return a state of its own."""
        return State(self.rest, dict(self.names))


class Reader:
    """Gathers what is spoken of. With ``strict`` what is computed with counts as used: there is no mask in front of it."""

    def __init__(self, state: State | None = None, *, strict: bool = False) -> None:
        self.state = State() if state is None else state
        self.strict = strict
        self.used: set[str] = set()
        self.shown: set[str] = set()
        self.searches: set[str] = set()

    def fields(self) -> Fields:
        """Return what has been gathered."""
        return Fields(frozenset(self.used), frozenset(self.shown), frozenset(self.searches))

    def use(self, path: str) -> None:
        """Note that documents are compared by a path."""
        self._note(path, self.used)

    def show(self, path: str) -> None:
        """Note that a path is computed with or given out."""
        self._note(path, self.used if self.strict else self.shown)

    def keep(self, path: str) -> None:
        """Note that what is at a path stays there and is given out."""
        self._note(path, self.shown)

    def place(self, path: str) -> None:
        """Note that a path is written: where its field stood before decides the order of fields, so the result may tell of it."""
        if not self.strict:
            self._note(path, self.shown)

    def _note(self, path: str, found: set[str]) -> None:
        if path == WHOLE and found is self.used:
            found.update(self.state.wholes())
            return
        if path == WHOLE:  # what has a name in the state was noted when it got it
            found.update(() if self.state.rest is None else (self.state.rest,))
            return
        source = self.state.source(path)
        if source is not None:
            found.add(source)

    # Expressions

    def expression(self, spec: Any, where: str, *, key: bool = False) -> None:
        """Note what an expression reads; ``key``: documents are compared by its value."""
        if isinstance(spec, str):
            path = plain_path(spec)
            if path is not None:
                (self.use if key else self.show)(path)
        elif isinstance(spec, Mapping):
            for name, value in spec.items():
                if isinstance(name, str) and name.startswith("$"):
                    self._operator(name, value, joined_path(where, name), key)
                else:
                    self.expression(value, joined_path(where, str(name)), key=key)
        elif isinstance(spec, list | tuple):
            for at, value in enumerate(spec):
                self.expression(value, joined_path(where, str(at)), key=key)

    def _operator(self, name: str, spec: Any, where: str, key: bool) -> None:
        kind = row(reach_table.EXPRESSIONS, name, where, "expression")
        if kind == "expression":
            self.expression(spec, where, key=key)
        elif kind == "name":
            self._named(spec, where, key)
        elif kind == "metadata":
            self.metadata(spec, where)

    def _named(self, spec: Any, where: str, key: bool) -> None:
        """$getField: a constant name of the document, or of a field, is a path; all else reads what its parts read."""
        named = isinstance(spec, Mapping) and not is_operator_object(spec)
        name, given = (spec.get("field"), spec.get("input")) if named else (spec, _SHORTHANDS[0])
        constant = _constant_text(name)
        above = plain_path(given)
        if constant is None or above is None:
            self.expression(name, where, key=key)
            self.expression(given, where, key=key)
        else:
            # A name with dots is one name: what is read lies in the field above, whatever the dots.
            plain = above if above and "." in constant else joined_path(above, constant)
            (self.use if key else self.show)(plain)

    def metadata(self, spec: Any, where: str) -> None:
        """Note what ``$meta`` asks for."""
        kind = row(reach_table.METADATA, spec, where, "metadata")
        if kind in ("index", "place", "words"):
            self.searches.add(kind)

    # Filters

    def filter(self, spec: Any, where: str, prefix: str = WHOLE) -> None:
        """Note what a filter document speaks of, below ``prefix``."""
        if not isinstance(spec, Mapping):
            raise QueryError(f"a filter is a document, not {type(spec).__name__}", path=where or None)
        for name, value in spec.items():
            here = joined_path(where, str(name))
            if isinstance(name, str) and name.startswith("$") and name not in _REFERENCE:
                self._document_filter(name, value, here, prefix)
            else:
                self.field_filter(value, here, joined_path(prefix, str(name)))

    def _document_filter(self, name: str, value: Any, where: str, prefix: str) -> None:
        kind = row(reach_table.FILTERS, name, where, "operator")
        if kind == "filters":
            for at, part in enumerate(value if isinstance(value, list | tuple) else [value]):
                self.filter(part, f"{where}.{at}", prefix)
        elif kind == "expression":
            self.expression(value, where, key=True)
        elif kind == "whole":
            self.use(prefix)
        elif kind == "words":
            self.searches.add(kind)

    def field_filter(self, value: Any, where: str, path: str) -> None:
        """Note what is said of one field: a value, or an object of operators."""
        self.use(path)
        if not is_operator_object(value) or ("$ref" in value and "$id" in value):
            return
        for name, item in value.items():
            here = joined_path(where, str(name))
            kind = row(reach_table.FIELD_FILTERS, name, here, "operator")
            if kind == "same field":
                self.field_filter(item, here, path)
            elif kind == "element":
                self.element(item, here, path)
            elif kind == "elements":
                for at, part in enumerate(item if isinstance(item, list | tuple) else [item]):
                    if is_operator_object(part) and "$elemMatch" in part:
                        self.element(part["$elemMatch"], f"{here}.{at}", path)

    def element(self, spec: Any, where: str, path: str) -> None:
        """Note what is said of the elements at a path: of them as documents, or of them as values."""
        if not isinstance(spec, Mapping):
            return
        self.use(path)
        if is_operator_object(spec) and next(iter(spec)) in reach_table.FIELD_FILTERS:
            self.field_filter(spec, where, path)
        else:
            self.filter(spec, where, path)

    def sort(self, spec: Any, where: str) -> None:
        """Note what a sort speaks of."""
        pairs = spec.items() if isinstance(spec, Mapping) else [(".".join(path), way) for path, way in parse_sort(spec)]
        for path, way in pairs:
            if isinstance(way, Mapping):
                self.metadata(way.get(FIELD), where)
            elif str(path).startswith(f"{FIELD}."):
                self.metadata(path[len(FIELD) + 1 :], where)
            elif path != NATURAL:
                self.use(str(path))


def row(table: Mapping[str, Any], name: Any, where: str, what: str) -> Any:
    """Return the row of a name; raise QueryError for a name that has none, whatever the engine may know."""
    if not isinstance(name, str) or name not in table or table[name] == "refused":
        raise QueryError(f"unknown {what} {name!r}"[:200], path=where)
    return table[name]


def _constant_text(spec: Any) -> str | None:
    if isinstance(spec, str) and not spec.startswith("$"):
        return spec
    if isinstance(spec, Mapping) and len(spec) == 1:
        ((name, value),) = spec.items()
        if reach_table.EXPRESSIONS.get(name) == "data" and isinstance(value, str):
            return value
    return None


def fields_of_filter(spec: Mapping[str, Any] | tree.Node | None, path: str = "filter") -> Fields:
    """Return what a filter, as written or as a tree, speaks of.

    >>> sorted(fields_of_filter({"a": 1, "$or": [{"b.c": {"$gt": 2}}, {"d": {"$elemMatch": {"e": 3}}}]}).used)
    ['a', 'b.c', 'd', 'd.e']
    """
    reader = Reader()
    if isinstance(spec, tree.Node):
        _walk_tree(reader, spec)
    elif spec is not None:
        check_size(spec, path)
        reader.filter(spec, path)
    return reader.fields()


def _walk_tree(reader: Reader, node: tree.Node) -> None:
    waiting: list[tuple[tree.Node, str]] = [(node, WHOLE)]
    while waiting:
        part, prefix = waiting.pop()
        if isinstance(part, tree.Expr):
            paths = part.expression.paths
            for path in (WHOLE,) if paths is None else paths:
                if path.startswith(f"{FIELD}."):
                    reader.metadata(path[len(FIELD) + 1 :], path)
                else:
                    reader.use(path)
        elif isinstance(part, tree.Schema):
            reader.use(prefix)
        elif isinstance(part, tree.Text):
            reader.searches.add("words")
        elif hasattr(part, "path"):
            prefix = joined_path(prefix, ".".join(part.path))
            reader.use(prefix)
        waiting += [(child, prefix) for child in tree.children(part)]


def fields_of_sort(spec: Any) -> Fields:
    """Return what a sort, in any form that ``parse_sort`` takes or has made, speaks of."""
    reader = Reader()
    if isinstance(spec, tuple) and all(isinstance(key, tuple) and isinstance(key[0], tuple) for key in spec):
        spec = {".".join(path): way for path, way in spec}
    reader.sort(spec, "sort")
    return reader.fields()


def fields_of_expression(spec: Any) -> Fields:
    """Return what an expression reads, as what is shown.

    >>> sorted(fields_of_expression({"$add": ["$a.b", {"$literal": "$c"}, "$$ROOT.d"]}).shown)
    ['a.b', 'd']
    """
    check_size(spec, "expression")
    reader = Reader()
    reader.expression(spec, "expression")
    return reader.fields()


def fields_of_metadata(names: Iterable[str]) -> Fields:
    """Return what is spoken of where ``$meta`` asks for these."""
    reader = Reader()
    for name in names:
        reader.metadata(name, FIELD)
    return reader.fields()


def fields_of_projection(spec: Any) -> Fields:
    """Return what a find's projection shows; leaving a field out speaks of nothing, but gives the rest out."""
    reader = Reader()
    if isinstance(spec, list | tuple | set | frozenset):
        spec = dict.fromkeys(spec, 1)
    if not spec:
        return Fields(shown=frozenset({WHOLE}))
    check_size(spec, "projection")
    if _projected(reader, spec, WHOLE):
        reader.show("_id")
    else:
        reader.show(WHOLE)
    return reader.fields()


def _projected(reader: Reader, spec: Mapping[str, Any], prefix: str) -> bool:
    """Note what a projection shows; return whether it names what is shown, and so leaves out the rest."""
    includes = False
    for name, value in spec.items():
        path = joined_path(prefix, str(name))
        here = f"projection.{path}"
        kind = reach_table.PROJECTIONS.get(next(iter(value), "")) if isinstance(value, Mapping) else None
        if isinstance(value, bool) or is_number(value):
            includes = includes or (bool(value) and path != "_id")
            if value:
                reader.show(path.removesuffix(".$"))
        elif kind == "metadata":
            reader.metadata(value["$meta"], here)
        elif kind is not None:
            reader.show(path)
            reader.element(value.get("$elemMatch"), here, path)
            includes = includes or kind == "element"
        elif isinstance(value, Mapping) and not is_operator_object(value):
            includes = _projected(reader, value, path) or includes
        else:
            includes = True
            reader.expression(value, here)
            reader.show(path)
    return includes


@dataclass(frozen=True, slots=True)
class UpdateFields:
    """What an update reads of the stored document, and the paths that it may change; the empty one for all."""

    reads: Fields
    writes: frozenset[str]


def fields_of_update(update: Any, array_filters: Any = None, *, merge: bool = False) -> UpdateFields:
    """Return what an update in operators (or in merge form) reads and writes; pipelines are ``reach``'s.

    What only sets a field reads nothing; what depends on the stored value reads it, and $rename reads what it takes.

    >>> fields_of_update({"$set": {"a": 1}, "$inc": {"n": 1}}).reads.used
    frozenset({'n'})
    """
    check_size(update, "update")
    check_size(array_filters, "array_filters")
    if not isinstance(update, Mapping):
        raise QueryError("this is no update in operators", path="update")
    reader, writes = Reader(), set[str]()
    if merge:
        _merged(reader, writes, update, WHOLE)
    elif not any(str(name).startswith("$") for name in update):
        writes.add(WHOLE)
    else:
        for operator, operands in update.items():
            for path, operand in operands.items() if isinstance(operands, Mapping) else ():
                _changed(reader, writes, operator, str(path), operand)
    _array_filters(reader, writes, array_filters)
    return UpdateFields(reader.fields(), frozenset(writes))


def _changed(reader: Reader, writes: set[str], operator: str, path: str, operand: Any) -> None:
    where = joined_path(operator, path)
    kind = row(reach_table.UPDATES, operator, where, "update operator")
    writes.add(path)
    if kind == "reads":
        reader.use(path)
    elif kind == "moves":
        reader.use(path)
        writes.add(str(operand))
    if operator == "$pull" and isinstance(operand, Mapping):
        reader.element(operand, where, path)


def _merged(reader: Reader, writes: set[str], data: Mapping[Any, Any], prefix: str) -> None:
    for name, value in data.items():
        path = joined_path(prefix, str(name))
        operator = getattr(value, "operator", None)  # a ``Command`` of the merge form
        if isinstance(operator, str):
            _changed(reader, writes, operator, path, value.operand)
        elif isinstance(value, Mapping) and value:
            _merged(reader, writes, value, path)
        else:
            writes.add(path)


def _array_filters(reader: Reader, writes: Iterable[str], array_filters: Any) -> None:
    """An array filter speaks of the elements at the paths that name it: ``a.$[x].b`` with ``x.c`` of ``a.c``."""
    named: dict[str, list[str]] = {}
    for path in writes:
        steps = path.split(".")
        for at, step in enumerate(steps):
            if step.startswith("$[") and step != "$[]":
                named.setdefault(step[2:-1], []).append(".".join(steps[:at]))
    for at, spec in enumerate(array_filters or ()):
        _element_filter(reader, spec, f"array_filters.{at}", named)


def _element_filter(reader: Reader, spec: Any, where: str, named: Mapping[str, list[str]]) -> None:
    if not isinstance(spec, Mapping):
        return
    for name, value in spec.items():
        here = joined_path(where, str(name))
        if isinstance(name, str) and name.startswith("$"):
            if row(reach_table.FILTERS, name, here, "operator") != "filters":
                reader.use(WHOLE)
            for part in value if isinstance(value, list | tuple) else ():
                _element_filter(reader, part, here, named)
        else:
            head, _, tail = str(name).partition(".")
            for place in named.get(head, ()):
                reader.field_filter(value, here, joined_path(place, tail))
