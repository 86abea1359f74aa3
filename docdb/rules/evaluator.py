"""The reference evaluation of a rule over decoded documents: the law that every faster form must agree with.

What lives here: three-valued logic (true, false, error), strict comparison, ``get`` and its limits, fuel. What it must
not know: where documents come from (a Reader brings them, from the snapshot of the operation that is judged).

Only ``true`` allows. A missing field, a null where a field is looked for, values of two types in an order, anything odd
is an error; && and || give the same whatever side the error stands on: ``false && error`` and ``error && false`` are
false, ``true || error`` and ``error || true`` are true, every other mixture with an error is an error. ``!error`` is an
error, so no denial is ever turned round into a permission.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from docdb.rules.checker import path_target
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
    Place,
    Template,
    Undefined,
    Variable,
)  # fmt: skip

__all__ = ["FUEL", "MAX_DOCUMENTS", "Circumstances", "Failure", "Reader", "allows", "evaluate", "same"]

FUEL = 10_000  # steps of one evaluation; a member of a list that is compared is a step, too
MAX_DOCUMENTS = 10  # distinct documents and queries that the gets of one judgement may ask for
MAX_TEXT = 4096  # characters of a joined string


class Failure(Exception):
    """A rule that cannot be answered; it denies. For developers, never for the caller."""

    def __init__(self, reason: str, place: Place) -> None:
        super().__init__(reason)
        self.reason = reason
        self.place = place


class Reader(Protocol):
    """Brings what ``get`` asks for, from one snapshot."""

    def document(self, collection: str, key: str) -> Mapping[str, Any] | None:
        """Return the document whose ``_id`` is ``key``, or None."""

    def matching(self, collection: str, equal: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return the documents whose fields equal the values; a value is never an operator."""


@dataclass(slots=True)
class Circumstances:
    """Everything a rule may look at. ``now`` is in milliseconds and the same for the whole operation."""

    auth: Mapping[str, Any] | None
    now: int
    doc: Mapping[str, Any] | None = None
    old: Mapping[str, Any] | None = None
    new: Mapping[str, Any] | None = None
    reader: Reader | None = None
    fuel: int = FUEL
    memo: dict[tuple[str, str], Any] = field(default_factory=dict)


def allows(tree: Node, circumstances: Circumstances) -> bool:
    """Return whether the rule says true; an error and every other value deny."""
    try:
        return evaluate(tree, circumstances) is True
    except Failure:
        return False


def evaluate(tree: Node, circumstances: Circumstances) -> Any:
    """Return the value of ``tree``; raise Failure where it has none."""
    return _Evaluation(circumstances, circumstances.fuel).value(tree)


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are equal: types are strict, whole and broken numbers compare by value, NaN equals nothing."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if _is_list(left) and _is_list(right):
        return len(left) == len(right) and all(same(one, other) for one, other in zip(left, right, strict=True))
    if _is_number(left) and _is_number(right):
        return bool(left == right)
    return type(left) is type(right) and bool(left == right)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


@dataclass(frozen=True, slots=True)
class _Handle:
    """A collection, or a part of it, that a get named."""

    collection: str
    equal: tuple[tuple[str, Any], ...] = ()


class _Evaluation:
    def __init__(self, circumstances: Circumstances, fuel: int) -> None:
        self.about = circumstances
        self.fuel = fuel

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
        raise Failure("this has no value", node.place)

    def plain(self, node: Node) -> Any:
        """Return a value that can be compared; a collection is none."""
        value = self.value(node)
        if isinstance(value, _Handle):
            raise Failure("a collection is not a value", node.place)
        return value

    def truth(self, node: Node) -> bool:
        value = self.value(node)
        if value is True or value is False:
            return bool(value)
        raise Failure("true or false is needed here", node.place)

    def logic(self, decisive: bool, left: Node, right: Node) -> bool:
        try:
            if self.truth(left) is decisive:
                return decisive
        except Failure:
            if self.truth(right) is decisive:
                return decisive
            raise
        return self.truth(right)

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
            if not (type(key) is int and key == 0):
                raise Failure("a collection has only [0]", node.place)
            found = self.found(owner, node)
            if not found:
                raise Failure("no document matches", node.place)
            return found[0]
        if isinstance(owner, Mapping) and isinstance(key, str):
            if key in owner:
                return owner[key]
            raise Failure(f"there is no field {key!r}", node.place)
        if _is_list(owner) and type(key) is int and 0 <= key < len(owner):
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
        if isinstance(node.left, Undefined) or isinstance(node.right, Undefined):
            side = node.right if isinstance(node.left, Undefined) else node.left
            return self.present(side) is (node.operator == "!=")
        left, right = self.plain(node.left), self.plain(node.right)
        if node.operator == "in":
            return self.membership(left, right, node)
        if node.operator in ("==", "!="):
            return self.equal(left, right, node) is (node.operator == "==")
        if node.operator == "+":
            return self.sum(left, right, node)
        return self.order(node.operator, left, right, node)

    def equal(self, left: Any, right: Any, node: Node) -> bool:
        self.burn(node, _size(left) + _size(right))
        try:
            return same(left, right)
        except RecursionError as error:
            raise Failure("the values nest too deep to compare", node.place) from error

    def membership(self, left: Any, right: Any, node: Node) -> bool:
        if not _is_list(right):
            raise Failure("in looks into a list", node.place)
        return any(self.equal(left, item, node) for item in right)

    def sum(self, left: Any, right: Any, node: Node) -> Any:
        if isinstance(left, str) and isinstance(right, str):
            return self.short(left + right, node)
        if _is_number(left) and _is_number(right):
            try:
                return left + right
            except OverflowError as error:
                raise Failure("the sum is too large", node.place) from error
        raise Failure("+ joins strings and adds numbers", node.place)

    def order(self, operator: str, left: Any, right: Any, node: Node) -> bool:
        alike = any(isinstance(left, kind) and isinstance(right, kind) for kind in (str, bytes, datetime.datetime)) or (
            _is_number(left) and _is_number(right) and left == left and right == right
        )
        if not alike:
            raise Failure(f"{operator} needs two numbers, strings or dates", node.place)
        try:
            if operator in ("<", ">="):
                return (left < right) is (operator == "<")
            return (left > right) is (operator == ">")
        except TypeError as error:  # a date with and one without a zone
            raise Failure("these two dates have no order", node.place) from error

    def present(self, node: Node) -> bool:
        """Tell whether the last step of a path is there; the owner itself must be."""
        if isinstance(node, Member) and isinstance(node.owner, Variable) and node.owner.name == "request":
            return self.about.new is not None
        if not isinstance(node, Member | Index):
            raise Failure("only a field can be present", node.place)
        owner = self.value(node.owner)
        key = node.name if isinstance(node, Member) else self.value(node.key)
        if isinstance(owner, Mapping) and isinstance(key, str):
            return key in owner
        if _is_list(owner) and type(key) is int:
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
        key = key[len(prefix) :]
        return self.needed(
            self.remembered((collection, key), lambda reader: reader.document(collection, key), node),
            "the document",
            node,
        )

    def method(self, node: Method) -> Any:
        owner = self.value(node.owner)
        if node.name == "size" and not isinstance(owner, _Handle):
            if isinstance(owner, str) or _is_list(owner):
                return len(owner)
            raise Failure("size belongs to lists, strings and collections", node.place)
        if not isinstance(owner, _Handle):
            raise Failure(f"{node.name} belongs to a collection", node.place)
        if node.name == "where":
            return _Handle(owner.collection, (*owner.equal, *self.plain(node.arguments[0]).items()))
        found = self.found(owner, node)
        return len(found) if node.name == "size" else len(found) > 0

    def found(self, handle: _Handle, node: Node) -> Sequence[Mapping[str, Any]]:
        equal = dict(handle.equal)
        if len(equal) != len(handle.equal):
            raise Failure("a where names each field once", node.place)
        rows: Sequence[Mapping[str, Any]] = self.remembered(
            (handle.collection, f"where {handle.equal!r}"),
            lambda reader: reader.matching(handle.collection, equal),
            node,
        )
        return rows

    def remembered(self, key: tuple[str, str], read: Any, node: Node) -> Any:
        """Read once and remember for the rest of the judgement; each distinct read counts against the limit."""
        memo, reader = self.about.memo, self.about.reader
        if key not in memo:
            if reader is None:
                raise Failure("get has nothing to read from", node.place)
            if len(memo) >= MAX_DOCUMENTS:
                raise Failure(f"gets read at most {MAX_DOCUMENTS} documents", node.place)
            memo[key] = read(reader)
        return memo[key]


def _size(value: Any) -> int:
    """Count the values inside, so that comparing them costs fuel; walks without recursion."""
    count, rest = 0, [value]
    while rest:
        item = rest.pop()
        count += 1
        if isinstance(item, Mapping):
            rest.extend(item.values())
        elif _is_list(item):
            rest.extend(item)
    return count


def _at(document: Mapping[str, Any] | None, steps: Sequence[str]) -> tuple[Any] | tuple[()]:
    """Return the value at a path of field names and list positions in a tuple of one, or an empty tuple."""
    value: Any = document
    for step in steps:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif _is_list(value) and step.isascii() and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return ()
    return (value,)
