"""The reference evaluation of a rule over decoded documents: the law that every faster form must agree with.

What lives here: three-valued logic (true, false, error), ``get`` and its limits, fuel. What it must not know: where
documents come from (a Reader brings them, from the snapshot of the operation that is judged).

Only ``true`` allows. A missing field, a null where a field is looked for, values of two types in an order, anything odd
is an error; && and || give the same whatever side the error stands on: ``false && error`` and ``error && false`` are
false, ``true || error`` and ``error || true`` are true, every other mixture with an error is an error. ``!error`` is an
error, so no denial is ever turned round into a permission. Every comparison with a missing field is an error, == too:
missing is not null, and ``doc.x == undefined``, ``exists(doc.x)`` and ``default(doc.x, 0)`` are how it is asked for.

A document that ``get`` does not find is null: ``get(...) == null`` says so, and a field of it is missing. What a
judgement costs is bounded term by term: each side of && and || has its own fuel, or the order of terms would tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from docdb.errors import RuleError
from docdb.rules.checker import path_target
from docdb.rules.comparison import in_order, is_list, is_number, same, size, total
from docdb.rules.patterns import compiled
from docdb.rules.syntax import (
    Binary,
    Call,
    Index,
    ListOf,
    Literal,
    Logic,
    Member,
    Method,
    Node,
    Not,
    ObjectOf,
    Pattern,
    Place,
    Template,
    Undefined,
    Variable,
)  # fmt: skip

__all__ = [
    "FUEL", "MAX_COUNT", "MAX_DOCUMENTS", "Circumstances", "Evaluation", "Failure", "Reader", "Unanswered", "allows", "evaluate", "same",
]  # fmt: skip

FUEL = 10_000  # steps of one term, between && and ||, of one evaluation; a member of a list that is compared is a step, too
MAX_DOCUMENTS = 10  # distinct documents and queries that the gets of one judgement, which is one memo, may ask for
MAX_COUNT = 1_000  # .size() of a collection counts so far; a comparison that this decides is answered, others fail
MAX_TEXT = 4096  # characters of a joined string


class Failure(Exception):
    """A rule that cannot be answered; it denies. For developers, never for the caller."""

    def __init__(self, reason: str, place: Place) -> None:
        super().__init__(reason)
        self.reason = reason
        self.place = place


class Unanswered(Exception):
    """Raised by a Reader that would have to look at too much; the rule fails there, and the reader is not asked again."""


class Reader(Protocol):
    """Brings what ``get`` asks for, from one snapshot. A field *equals* a value as ``same`` says: an array never matches by a member."""

    def document(self, collection: str, key: str) -> Mapping[str, Any] | None:
        """Return the document whose ``_id`` is ``key``, or None."""

    def matching(self, collection: str, equal: Mapping[str, Any], limit: int) -> Sequence[Mapping[str, Any]]:
        """Return at most ``limit`` documents whose fields equal the values; a value is never an operator."""

    def count(self, collection: str, equal: Mapping[str, Any], limit: int) -> int:
        """Return how many documents have fields that equal the values, counting no further than ``limit``."""


@dataclass(slots=True)
class Circumstances:
    """Everything a rule may look at. ``now`` is in milliseconds and the same for the whole operation.

    ``doc`` is the image that is judged (in a create the new one), ``new`` is request.data, ``changed`` compares ``old`` and
    ``new``. ``fuel`` is never used up: each evaluation starts with all of it. ``memo`` is shared by the evaluations of one
    operation, so that each document is read once and all of them together stay within MAX_DOCUMENTS.
    """

    auth: Mapping[str, Any] | None
    now: int
    doc: Mapping[str, Any] | None = None
    old: Mapping[str, Any] | None = None
    new: Mapping[str, Any] | None = None
    reader: Reader | None = None
    fuel: int = FUEL
    memo: dict[tuple[str, ...], Any] = field(default_factory=dict)


def allows(tree: Node, circumstances: Circumstances) -> bool:
    """Return whether the rule says true; an error and every other value deny."""
    try:
        return evaluate(tree, circumstances) is True
    except Failure:
        return False


def evaluate(tree: Node, circumstances: Circumstances) -> Any:
    """Return the value of ``tree``; raise Failure where it has none."""
    return Evaluation(circumstances).run(tree)


@dataclass(frozen=True, slots=True)
class _Handle:
    """A collection, or a part of it, that a get named."""

    collection: str
    equal: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class _Many:
    """A count that stopped: there are at least so many documents, perhaps more."""

    least: int


class Evaluation:
    """One evaluation of one tree; ``value`` is the only door to a node, so that a subclass can watch there."""

    def __init__(self, circumstances: Circumstances) -> None:
        self.about = circumstances
        self.fuel = circumstances.fuel

    def run(self, tree: Node) -> Any:
        try:
            return self.plain(tree)
        except RecursionError as error:  # the caller's own stack was nearly full
            raise Failure("there is no room to evaluate the rule", tree.place) from error

    def burn(self, node: Node, steps: int = 1) -> None:
        self.fuel -= steps
        if self.fuel < 0:
            raise Failure("the rule takes too many steps", node.place)

    def value(self, node: Node) -> Any:
        self.burn(node)
        match node:
            case Literal(value=value):
                return value
            case Variable(name=name):
                return self.variable(node, name)
            case Member(owner=Variable(name="request")):
                return self.needed(self.about.new, "request.data", node)
            case Member(owner=owner, name=name):
                return self.field(self.value(owner), name, node)
            case Index(owner=owner, key=key):
                return self.field(self.value(owner), self.value(key), node)
            case ListOf(items=items):
                return [self.plain(item) for item in items]
            case ObjectOf(pairs=pairs):
                return {key: self.plain(value) for key, value in pairs}
            case Template(parts=parts):
                return self.text(parts, node)
            case Not(operand=operand):
                return not self.truth(operand)
            case Logic(operator=operator, left=left, right=right):
                return self.logic(operator == "||", left, right)
            case Binary():
                return self.binary(node)
            case Call():
                return self.call(node)
            case Method():
                return self.method(node)
            case _:
                pass  # Undefined and Pattern stand only where their neighbours deal with them
        raise Failure("this has no value", node.place)

    def plain(self, node: Node) -> Any:
        """Return a value that can be kept or compared; a collection is none, and a count that stopped is none."""
        value = self.value(node)
        if isinstance(value, _Handle):
            raise Failure("a collection is not a value", node.place)
        if isinstance(value, _Many):
            raise Failure(f"there are more than {MAX_COUNT} documents to count", node.place)
        return value

    def truth(self, node: Node) -> bool:
        value = self.value(node)
        if value is True or value is False:
            return bool(value)
        raise Failure("true or false is needed here", node.place)

    def logic(self, decisive: bool, left: Node, right: Node) -> bool:
        fuel = self.fuel
        try:
            return self.either(decisive, left, right)
        finally:
            self.fuel = fuel

    def either(self, decisive: bool, left: Node, right: Node) -> bool:
        try:
            if self.side(left) is decisive:
                return decisive
        except Failure:
            if self.side(right) is decisive:
                return decisive
            raise
        return self.side(right)

    def side(self, node: Node) -> bool:
        self.fuel = self.about.fuel
        return self.truth(node)

    def needed(self, value: Any, name: str, node: Node) -> Any:
        if value is None:
            raise Failure(f"{name} is not there", node.place)
        return value

    def variable(self, node: Node, name: str) -> Any:
        if name == "auth":
            return self.about.auth
        if name == "now":
            return self.about.now
        return self.needed(self.about.doc, "doc", node)

    def field(self, owner: Any, key: Any, node: Node) -> Any:
        """Return a field of a document or an element of a list: pure look-up in data, never an attribute."""
        if isinstance(owner, _Handle):
            first = self.first(owner, key, node)
            if first is None:
                raise Failure("no document matches", node.place)
            return first
        if owner is None:
            raise Failure(f"null has no field {key!r}", node.place)
        if isinstance(owner, Mapping) and isinstance(key, str):
            if key in owner:
                return owner[key]
            raise Failure(f"there is no field {key!r}", node.place)
        if is_list(owner) and type(key) is int and 0 <= key < len(owner):
            return owner[key]
        raise Failure("there is no such field or element", node.place)

    def text(self, parts: Sequence[Node], node: Node) -> str:
        pieces = [self.value(part) for part in parts]
        if not all(isinstance(piece, str) for piece in pieces):
            raise Failure("a template joins strings only", node.place)
        return self.short("".join(pieces), node)

    def short(self, text: str, node: Node) -> str:
        if len(text) > MAX_TEXT:
            raise Failure(f"a text has at most {MAX_TEXT} characters", node.place)
        return text

    def binary(self, node: Binary) -> Any:
        operator = node.operator
        if isinstance(node.left, Undefined) or isinstance(node.right, Undefined):
            side = node.right if isinstance(node.left, Undefined) else node.left
            return self.present(side) is (operator == "!=")
        if operator in ("in", "+", "-"):
            left, right = self.plain(node.left), self.plain(node.right)
            return self.membership(left, right, node) if operator == "in" else self.sum(left, right, node)
        left, right = self.compared(node.left, node.right)
        if operator in ("==", "!="):
            return self.equal(left, right, node) is (operator == "==")
        return self.order(operator, left, right, node)

    def compared(self, *nodes: Node) -> tuple[Any, Any]:
        """Return the values of two nodes; a count that stopped may stand beside a number it is surely above."""
        left, right = (
            self.value(node) if isinstance(node, Method) and node.name == "size" else self.plain(node) for node in nodes
        )
        return _settled(left, right, nodes[0]), _settled(right, left, nodes[1])

    def equal(self, left: Any, right: Any, node: Node) -> bool:
        self.burn(node, size(left, self.fuel))
        self.burn(node, size(right, self.fuel))
        try:
            return same(left, right)
        except RecursionError as error:
            raise Failure("the values nest too deep to compare", node.place) from error

    def membership(self, left: Any, right: Any, node: Node) -> bool:
        if not is_list(right):
            raise Failure("in looks into a list", node.place)
        return any(self.equal(left, item, node) for item in right)

    def sum(self, left: Any, right: Any, node: Binary) -> Any:
        result = total(node.operator, left, right)
        if result is None and is_number(left) and is_number(right):
            raise Failure("there is no such sum: too large, or of Decimals", node.place)
        if result is None:
            raise Failure(f"{node.operator} needs two numbers or dates, + also two strings", node.place)
        return self.short(result, node) if isinstance(result, str) else result

    def order(self, operator: str, left: Any, right: Any, node: Node) -> bool:
        verdict = in_order(operator, left, right)
        if verdict is None:
            raise Failure(f"{operator} needs two numbers, strings or dates", node.place)
        return verdict

    def present(self, node: Node) -> bool:
        """Tell whether the last step of a path, or the document of a get, is there; the owner itself must be."""
        if isinstance(node, Member) and isinstance(node.owner, Variable) and node.owner.name == "request":
            return self.about.new is not None
        if isinstance(node, Call) and node.name == "get":
            return self.plain(node) is not None
        if not isinstance(node, Member | Index):
            raise Failure("only a field can be present", node.place)
        owner = self.value(node.owner)
        key = node.name if isinstance(node, Member) else self.value(node.key)
        if isinstance(owner, _Handle):
            return self.first(owner, key, node) is not None
        if isinstance(owner, Mapping) and isinstance(key, str):
            return key in owner
        if is_list(owner) and type(key) is int:
            return 0 <= key < len(owner)
        raise Failure("there is nothing whose field could be present", node.place)

    def call(self, node: Call) -> Any:
        if node.name == "exists":
            return self.present(node.arguments[0])
        if node.name == "default":
            first = node.arguments[0]
            return self.value(first) if self.present(first) else self.value(node.arguments[1])
        if node.name == "changed":
            return self.changed(node)
        return self.get(node)

    def changed(self, node: Call) -> bool:
        path = node.arguments[0]
        if not isinstance(path, Literal) or not isinstance(path.value, str) or self.about.new is None:
            raise Failure("nothing changes here", node.place)
        steps = path.value.split(".")
        before, after = _at(self.about.old, steps), _at(self.about.new, steps)
        if not before or not after:
            return bool(before or after)
        return not self.equal(before[0], after[0], node)

    def get(self, node: Call) -> Any:
        target = path_target(node.arguments[0])
        if target is None or target[0].startswith("_"):
            raise Failure("a get names its collection in the rule", node.place)
        collection, is_document = target
        if not is_document:
            return _Handle(collection)
        key = self.value(node.arguments[0])
        prefix = f"database.{collection}."
        if not isinstance(key, str) or len(key) <= len(prefix):
            raise Failure("a get needs the _id of a document", node.place)
        wanted = key[len(prefix) :]
        return self.remembered(
            ("document", collection, wanted), lambda reader: reader.document(collection, wanted), node
        )

    def method(self, node: Method) -> Any:
        if isinstance(node.owner, Pattern):
            return self.matches(node.owner, self.plain(node.arguments[0]), node)
        owner = self.value(node.owner)
        if node.name == "size" and not isinstance(owner, _Handle):
            if isinstance(owner, str) or is_list(owner):
                return len(owner)
            raise Failure("size belongs to lists, strings and collections", node.place)
        if not isinstance(owner, _Handle):
            raise Failure(f"{node.name} belongs to a collection", node.place)
        if node.name == "where":
            return _Handle(owner.collection, (*owner.equal, *self.plain(node.arguments[0]).items()))
        return self.counted(owner, node) if node.name == "size" else self.first(owner, 0, node) is not None

    def matches(self, pattern: Pattern, text: Any, node: Node) -> bool:
        if not isinstance(text, str):
            raise Failure("a pattern is tested on a string", node.place)
        self.burn(node, len(text) >> 6)
        try:
            return compiled(pattern.source, pattern.flags).search(text) is not None
        except RuleError as error:
            raise Failure(error.message, node.place) from error

    def first(self, handle: _Handle, key: Any, node: Node) -> Mapping[str, Any] | None:
        """Return the first document of a collection handle, or None; reads one."""
        if type(key) is not int or key != 0:
            raise Failure("a collection has only [0]", node.place)
        equal = self.equalities(handle, node)
        rows: Sequence[Mapping[str, Any]] = self.remembered(
            ("first", handle.collection, repr(handle.equal)),
            lambda reader: reader.matching(handle.collection, equal, 1),
            node,
        )
        return rows[0] if rows else None

    def counted(self, handle: _Handle, node: Node) -> int | _Many:
        equal = self.equalities(handle, node)
        count: int = self.remembered(
            ("count", handle.collection, repr(handle.equal)),
            lambda reader: reader.count(handle.collection, equal, MAX_COUNT + 1),
            node,
        )
        return _Many(MAX_COUNT + 1) if count > MAX_COUNT else count

    def equalities(self, handle: _Handle, node: Node) -> dict[str, Any]:
        equal = dict(handle.equal)
        if len(equal) != len(handle.equal):
            raise Failure("a where names each field once", node.place)
        self.burn(node, size(equal, self.fuel))
        return equal

    def remembered(self, key: tuple[str, ...], read: Any, node: Node) -> Any:
        """Read once and remember for the rest of the judgement; each distinct read counts against the limit."""
        memo, reader = self.about.memo, self.about.reader
        if key not in memo:
            if reader is None:
                raise Failure("get has nothing to read from", node.place)
            if len(memo) >= MAX_DOCUMENTS:
                raise Failure(f"gets read at most {MAX_DOCUMENTS} documents", node.place)
            try:
                memo[key] = read(reader)
            except Unanswered as error:
                memo[key] = error
        found = memo[key]
        if isinstance(found, Unanswered):
            raise Failure(str(found), node.place)
        return found


def _settled(value: Any, other: Any, node: Node) -> Any:
    """Return a value to compare with ``other``: a count that stopped stands for its least where nothing larger would say otherwise."""
    if not isinstance(value, _Many):
        return value
    if in_order("<", other, value.least):
        return value.least
    raise Failure(f"there are more than {MAX_COUNT} documents to count", node.place)


def _at(document: Mapping[str, Any] | None, steps: Sequence[str]) -> tuple[Any] | tuple[()]:
    """Return the value at a path of field names and list positions in a tuple of one, or an empty tuple."""
    value: Any = document
    for step in steps:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif is_list(value) and step.isascii() and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return ()
    return (value,)
