"""What a rule may say: names, shapes and types are checked when it is loaded, before anybody is judged by it.

What lives here: the errors (an unknown name, a ``get`` whose collection is not fixed, a type that can never do) and the
lints (what is allowed and probably not meant). What it must not know: documents, and how a rule is evaluated.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from docdb.errors import RuleError
from docdb.rules.parser import refuse
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
    children,
    walk,
)  # fmt: skip

__all__ = ["Lint", "MAX_GETS", "MAX_GET_NESTING", "check", "lints", "path_target"]

MAX_GETS = 3  # in one expression
MAX_GET_NESTING = 2  # a get whose path is made from a get
VARIABLES = ("auth", "doc", "request", "now")
FUNCTIONS = {"get": (1, 1), "exists": (1, 1), "default": (2, 2), "changed": (1, 1)}  # least and most arguments
METHODS = {"where": (1, 1), "size": (0, 0), "exists": (0, 0)}
ORDERING = ("<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Lint:
    """Something that loads and is probably not meant."""

    message: str
    place: Place


def check(text: str, tree: Node, action: str) -> None:
    """Raise RuleError at the first thing in ``tree`` that can never be right in a rule for ``action``."""
    _Checker(text, action).run(tree)


def lints(tree: Node) -> list[Lint]:
    """Return what is probably not meant, in the order of the text."""
    return sorted(_lints(tree), key=lambda lint: (lint.place.line, lint.place.column))


def path_target(path: Node) -> tuple[str, bool] | None:
    """Return the collection that a get's path names and whether a document follows; None when it is not fixed.

    Only text written in the rule can name the collection: a value from a document or from a caller never chooses it.
    """
    parts = _parts(path)
    if not parts or not isinstance(parts[0], Literal) or not isinstance(parts[0].value, str):
        return None
    fixed, open_ended = parts[0].value, len(parts) > 1
    names = fixed.split(".")
    if names[0] != "database" or len(names) < 2:
        return None
    if names[1] == "collection" and len(names) == 3 and not open_ended:
        return (names[2], False) if names[2] else None
    if len(names) == 2:
        return None if open_ended or not names[1] else (names[1], False)
    document = ".".join(names[2:])
    if not names[1] or names[1] == "collection" or not (document or open_ended):
        return None
    return names[1], True


def _parts(path: Node) -> tuple[Node, ...]:
    """Flatten a path of literals, templates and + into one row, neighbouring literals joined."""
    row: list[Node] = []
    for part in _flat(path):
        last = row[-1] if row else None
        if (
            isinstance(part, Literal)
            and isinstance(last, Literal)
            and isinstance(part.value, str)
            and isinstance(last.value, str)
        ):
            row[-1] = Literal(last.place, last.value + part.value)
        else:
            row.append(part)
    return tuple(row)


def _flat(path: Node) -> Iterator[Node]:
    if isinstance(path, Template) or (isinstance(path, Binary) and path.operator == "+"):
        for part in children(path):
            yield from _flat(part)
    else:
        yield path


class _Checker:
    def __init__(self, text: str, action: str) -> None:
        self.text = text
        self.action = action

    def run(self, tree: Node) -> None:
        gets = [node for node in walk(tree) if isinstance(node, Call) and node.name == "get"]
        if len(gets) > MAX_GETS:
            raise self.wrong(gets[MAX_GETS], f"a rule has at most {MAX_GETS} gets")
        self.visit(tree, 0)
        if kind(tree) not in (None, "bool"):
            raise self.wrong(tree, f"a rule answers true or false, this one is a {kind(tree)}")

    def wrong(self, node: Node, message: str, hint: str | None = None) -> RuleError:
        return refuse(self.text, node.place, message, hint)

    def visit(self, node: Node, gets: int) -> None:
        match node:
            case Variable():
                self.variable(node)
            case Member(owner=Variable(name="request"), name=name):
                self.request(node, name)
                return
            case Variable(name="request") | Index(owner=Variable(name="request")):
                raise self.wrong(node, "request has one field, request.data")
            case Call():
                self.call(node, gets)
                return
            case Method():
                self.method(node)
            case Undefined():
                raise self.wrong(node, "undefined stands only beside == and !=")
            case Not(operand=operand):
                self.boolean(operand)
            case Logic(left=left, right=right):
                self.boolean(left)
                self.boolean(right)
            case Binary():
                self.binary(node, gets)
                return
        for child in children(node):
            self.visit(child, gets)

    def variable(self, node: Variable) -> None:
        if node.name == "request":
            raise self.wrong(node, "request has one field, request.data")
        if node.name not in VARIABLES:
            raise self.wrong(node, f"there is no variable {node.name!r}", _nearest(node.name, VARIABLES))

    def request(self, node: Node, name: str) -> None:
        if name != "data":
            raise self.wrong(node, "request has one field, request.data")
        if self.action not in ("create", "update", "write"):
            raise self.wrong(node, f"request.data is there for create and update, not for {self.action}")

    def call(self, node: Call, gets: int) -> None:
        if node.name not in FUNCTIONS:
            raise self.wrong(node, f"there is no function {node.name!r}", _nearest(node.name, FUNCTIONS))
        self.count(node, FUNCTIONS[node.name], node.arguments)
        first = node.arguments[0]
        if node.name == "changed" and not (isinstance(first, Literal) and isinstance(first.value, str) and first.value):
            raise self.wrong(first, "changed takes the path of a field as text")
        if node.name == "changed" and self.action not in ("create", "update", "write"):
            raise self.wrong(node, f"nothing changes in a {self.action}")
        if node.name in ("exists", "default") and not isinstance(first, Member | Index):
            raise self.wrong(first, f"{node.name} takes a field, such as doc.owner")
        if node.name == "get":
            self.get(node, gets)
        for argument in node.arguments:
            self.visit(argument, gets + (node.name == "get"))

    def get(self, node: Call, gets: int) -> None:
        if gets >= MAX_GET_NESTING:
            raise self.wrong(node, f"gets nest at most {MAX_GET_NESTING} deep")
        target = path_target(node.arguments[0])
        if target is None:
            raise self.wrong(
                node.arguments[0],
                "a get names its collection in the rule",
                "'database.NAME.' + id for a document, 'database.collection.NAME' for a collection",
            )
        if target[0].startswith("_"):
            raise self.wrong(node.arguments[0], f"rules cannot read {target[0]!r}")

    def method(self, node: Method) -> None:
        if node.name not in METHODS:
            raise self.wrong(node, f"there is no method {node.name!r}", _nearest(node.name, METHODS))
        self.count(node, METHODS[node.name], node.arguments)
        if node.name == "size":
            return
        if not _is_collection(node.owner):
            raise self.wrong(node, f"{node.name} belongs to get('database.collection.NAME')")
        if node.name == "where":
            conditions = node.arguments[0]
            if not isinstance(conditions, ObjectOf):
                raise self.wrong(conditions, "where takes an object: {field: value}")
            bad = next((key for key, _ in conditions.pairs if not key or key.startswith("$")), None)
            if bad is not None:
                raise self.wrong(conditions, f"where compares fields by equality, {bad!r} is not a field")

    def count(self, node: Call | Method, allowed: tuple[int, int], given: Sequence[Node]) -> None:
        if not allowed[0] <= len(given) <= allowed[1]:
            raise self.wrong(node, f"{node.name} takes {allowed[0]} argument(s), not {len(given)}")

    def boolean(self, node: Node) -> None:
        if kind(node) not in (None, "bool"):
            raise self.wrong(node, f"true or false is needed here, not a {kind(node)}")

    def binary(self, node: Binary, gets: int) -> None:
        sides = (node.left, node.right)
        undefined = [side for side in sides if isinstance(side, Undefined)]
        if undefined and (
            node.operator not in ("==", "!=") or not any(isinstance(side, Member | Index) for side in sides)
        ):
            raise self.wrong(undefined[0], "undefined stands only beside a field and == or !=")
        for side in sides:
            if not isinstance(side, Undefined):
                self.visit(side, gets)
        kinds = tuple(kind(side) for side in sides)
        if node.operator in ORDERING and any(name in ("bool", "null", "list", "object") for name in kinds):
            raise self.wrong(node, f"{node.operator} orders numbers, strings and dates")
        if node.operator in (*ORDERING, "+") and None not in kinds and kinds[0] != kinds[1]:
            raise self.wrong(node, f"{node.operator} needs two values of one type, not a {kinds[0]} and a {kinds[1]}")
        if node.operator == "+" and any(name not in (None, "number", "string") for name in kinds):
            raise self.wrong(node, "+ joins strings and adds numbers")
        if node.operator == "in" and kinds[1] not in (None, "list"):
            raise self.wrong(node.right, f"in looks into a list, not into a {kinds[1]}")


def kind(node: Node) -> str | None:
    """Return the type that ``node`` has whatever the documents hold, or None when only they can tell."""
    match node:
        case Literal(value=value):
            names = {bool: "bool", int: "number", float: "number", str: "string", type(None): "null"}
            return names[type(value)]
        case Not() | Logic():
            return "bool"
        case Binary(operator="+"):
            return kind(node.left) or kind(node.right)
        case Binary():
            return "bool"
        case Template():
            return "string"
        case ListOf():
            return "list"
        case ObjectOf():
            return "object"
        case Variable(name="now"):
            return "number"
        case Call(name=name) if name in ("exists", "changed"):
            return "bool"
        case Method(name="size"):
            return "number"
        case Method(name="exists"):
            return "bool"
    return None


def _is_collection(node: Node) -> bool:
    if isinstance(node, Method):
        return node.name == "where"
    if not (isinstance(node, Call) and node.name == "get" and len(node.arguments) == 1):
        return False
    target = path_target(node.arguments[0])
    return target is not None and not target[1]


def _nearest(name: str, known: Sequence[str] | dict[str, tuple[int, int]]) -> str | None:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


def _lints(tree: Node) -> Iterator[Lint]:
    verdict = constant(tree)
    if verdict is not None and not isinstance(tree, Literal):
        yield Lint(f"this is always {str(verdict).lower()}", tree.place)
    for node in walk(tree):
        if isinstance(node, Binary) and node.operator in ("==", "!="):
            left, right = kind(node.left), kind(node.right)
            if left is not None and right is not None and left != right:
                yield Lint(f"a {left} never equals a {right}", node.place)
    if not _guards_auth(tree):
        first = next((node for node in walk(tree) if isinstance(node, Member) and node.owner == _auth(node)), None)
        if first is not None:
            yield Lint(
                "auth is null for anonymous callers: write auth != null first, or they are denied by an error",
                first.place,
            )


def _auth(node: Member) -> Variable:
    return Variable(node.owner.place, "auth")


def _guards_auth(tree: Node) -> bool:
    for node in walk(tree):
        if isinstance(node, Binary) and node.operator in ("!=", "=="):
            sides = (node.left, node.right)
            about_auth = any(
                any(isinstance(part, Variable) and part.name == "auth" for part in walk(side)) for side in sides
            )
            if about_auth and any(isinstance(side, Literal) and side.value is None for side in sides):
                return True
    return False


def constant(node: Node) -> bool | None:
    """Return what ``node`` always is, from its literals alone; None when it depends on anything."""
    match node:
        case Literal(value=bool() as value):
            return value
        case Not(operand=operand):
            inside = constant(operand)
            return None if inside is None else not inside
        case Logic(operator=operator, left=left, right=right):
            decisive = operator == "||"
            sides = (constant(left), constant(right))
            if decisive in sides:
                return decisive
            return None if None in sides else not decisive
    return None
