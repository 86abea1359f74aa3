"""What a rule may say: names, shapes and types are checked when it is loaded, before anybody is judged by it.

What lives here: the errors: an unknown name, a ``get`` whose collection is not fixed, a type that can never do. What it must
not know: documents, and how a rule is evaluated. What is allowed and probably not meant is ``lints``'.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence

from docdb.errors import RuleError
from docdb.rules.parser import refuse
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
    Template,
    Undefined,
    Variable,
    children,
    walk,
)  # fmt: skip

__all__ = ["MAX_GETS", "MAX_GET_NESTING", "check", "is_collection", "kind", "named", "path_target"]

MAX_GETS = 3  # in one expression
MAX_GET_NESTING = 2  # a get whose path or condition is made from a get
VARIABLES = ("auth", "doc", "request", "now")
FUNCTIONS = {"get": (1, 1), "exists": (1, 1), "default": (2, 2), "changed": (1, 1)}  # least and most arguments
METHODS = {"where": (1, 1), "size": (0, 0), "exists": (0, 0), "test": (1, 1)}
NEW_IMAGE = ("create", "update", "write")  # the keys whose rules may speak of request.data and changed()
ORDERING = ("<", "<=", ">", ">=")


def check(text: str, tree: Node, action: str, collections: Collection[str] | None = None) -> None:
    """Raise RuleError at the first thing in ``tree`` that can never be right in a rule for ``action``.

    With ``collections`` a get of a collection that is not among them is a mistake, too.
    """
    _Checker(text, action, collections).run(tree)


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
    def __init__(self, text: str, action: str, collections: Collection[str] | None) -> None:
        self.text = text
        self.action = action
        self.collections = collections

    def run(self, tree: Node) -> None:
        gets = [node for node in walk(tree) if isinstance(node, Call) and node.name == "get"]
        if len(gets) > MAX_GETS:
            raise self.wrong(gets[MAX_GETS], f"a rule has at most {MAX_GETS} gets")
        self.visit(tree, 0)
        if kind(tree) not in (None, "bool"):
            raise self.wrong(tree, f"a rule answers true or false, this one is {named(kind(tree))}")

    def wrong(self, node: Node, message: str, hint: str | None = None) -> RuleError:
        return refuse(self.text, node.place, message, hint)

    def visit(self, node: Node, gets: int) -> None:
        match node:
            case Variable():
                self.variable(node)
            case Member(owner=Variable(name="request"), name=name):
                self.request(node, name)
                return
            case Index(owner=Variable(name="request")):
                raise self.wrong(node, "request has one field, request.data")
            case Member() | Index():
                self.step(node)
            case Call():
                self.call(node, gets)
                return
            case Method():
                self.method(node, gets)
                return
            case Undefined():
                raise self.wrong(node, "undefined stands only beside == and !=")
            case Pattern():
                raise self.wrong(node, "a pattern stands only before .test(text)")
            case Not(operand=operand):
                self.boolean(operand)
            case Logic(left=left, right=right):
                self.boolean(left)
                self.boolean(right)
            case Binary():
                self.binary(node, gets)
                return
            case ListOf() | ObjectOf() | Template():
                for part in children(node):
                    self.plain(part)
        for child in children(node):
            self.visit(child, gets)

    def step(self, node: Member | Index) -> None:
        """Refuse a field of what has none: of a collection there is [0], of a number nothing."""
        owner = kind(node.owner)
        first = isinstance(node, Index) and isinstance(node.key, Literal) and node.key.value == 0
        if owner == "collection" and not (first and type(node.key.value) is int):  # type: ignore[union-attr]
            raise self.wrong(node, "a collection has .where({...}), .size(), .exists() and [0]")
        if owner in ("bool", "number", "string", "null"):
            raise self.wrong(node, f"{named(owner)} has no fields")

    def plain(self, node: Node) -> None:
        if kind(node) == "collection":
            raise self.wrong(node, "a collection is not a value", "ask for .size(), .exists() or [0]")

    def variable(self, node: Variable) -> None:
        if node.name == "request":
            raise self.wrong(node, "request has one field, request.data")
        if node.name not in VARIABLES:
            raise self.wrong(node, f"there is no variable {node.name!r}", _nearest(node.name, VARIABLES))

    def request(self, node: Node, name: str) -> None:
        if name != "data":
            raise self.wrong(node, "request has one field, request.data")
        if self.action not in NEW_IMAGE:
            raise self.wrong(node, f"request.data is there for create and update, not for {self.action}")

    def call(self, node: Call, gets: int) -> None:
        if node.name not in FUNCTIONS:
            raise self.wrong(node, f"there is no function {node.name!r}", _nearest(node.name, FUNCTIONS))
        self.count(node, FUNCTIONS[node.name], node.arguments)
        first = node.arguments[0]
        if node.name == "changed" and not (isinstance(first, Literal) and isinstance(first.value, str) and first.value):
            raise self.wrong(first, "changed takes the path of a field as text")
        if node.name == "changed" and self.action not in NEW_IMAGE:
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
        if self.collections is not None and target[0] not in self.collections:
            close = difflib.get_close_matches(target[0], self.collections, n=1)
            hint = f"did you mean {close[0]!r}?" if close else None
            raise self.wrong(node.arguments[0], f"there is no collection {target[0]!r}", hint)

    def method(self, node: Method, gets: int) -> None:
        if node.name not in METHODS:
            raise self.wrong(node, f"there is no method {node.name!r}", _nearest(node.name, METHODS))
        self.count(node, METHODS[node.name], node.arguments)
        if node.name == "test":
            self.test(node)
        elif node.name != "size" and not is_collection(node.owner):
            raise self.wrong(node, f"{node.name} belongs to get('database.collection.NAME')")
        elif node.name == "where":
            self.where(node)
        if not isinstance(node.owner, Pattern):
            self.visit(node.owner, gets)
        for argument in node.arguments:
            self.plain(argument)
            self.visit(argument, gets + (node.name == "where"))

    def test(self, node: Method) -> None:
        if not isinstance(node.owner, Pattern):
            raise self.wrong(node, "test belongs to a pattern: /^a/.test(doc.x)")
        if kind(node.arguments[0]) not in (None, "string"):
            raise self.wrong(
                node.arguments[0], f"a pattern is tested on a string, not on {named(kind(node.arguments[0]))}"
            )
        try:
            compiled(node.owner.source, node.owner.flags)
        except RuleError as error:
            raise self.wrong(node.owner, error.message, error.hint) from error

    def where(self, node: Method) -> None:
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
            cure = "write ... != null" if kind(node) == "object" else None
            raise self.wrong(node, f"true or false is needed here, not {named(kind(node))}", cure)

    def binary(self, node: Binary, gets: int) -> None:
        sides = (node.left, node.right)
        undefined = [side for side in sides if isinstance(side, Undefined)]
        if undefined and (node.operator not in ("==", "!=") or not any(_may_be_absent(side) for side in sides)):
            raise self.wrong(undefined[0], "undefined stands only beside a field and == or !=")
        for side in sides:
            if not isinstance(side, Undefined):
                self.visit(side, gets)
                self.plain(side)
        kinds = tuple(kind(side) for side in sides)
        self.operands(node, kinds)

    def operands(self, node: Binary, kinds: tuple[str | None, ...]) -> None:
        operator = node.operator
        if operator in ORDERING and any(name in ("bool", "null", "list", "object") for name in kinds):
            raise self.wrong(node, f"{operator} orders numbers, strings and dates")
        if operator in (*ORDERING, "+", "-") and None not in kinds and kinds[0] != kinds[1]:
            message = f"{operator} needs two values of one type, not {named(kinds[0])} and {named(kinds[1])}"
            raise self.wrong(node, message)
        if operator == "+" and any(name not in (None, "number", "string") for name in kinds):
            raise self.wrong(node, "+ joins strings and adds numbers")
        if operator == "-" and any(name not in (None, "number") for name in kinds):
            raise self.wrong(node, "- subtracts numbers and dates")
        if operator == "in" and kinds[1] not in (None, "list"):
            raise self.wrong(node.right, f"in looks into a list, not into {named(kinds[1])}")


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
        case Binary(operator="-"):
            return "number"
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
        case Variable() | Member(owner=Variable(name="request")):
            return "object"  # auth may be null; the lints know
        case Call(name="get") | Method(name="where"):
            return "collection" if is_collection(node) else "object"
        case Call(name=name) if name in ("exists", "changed"):
            return "bool"
        case Method(name="size"):
            return "number"
        case Method(name="exists" | "test"):
            return "bool"
    return None


def named(kind: str | None) -> str:
    return f"{'an' if kind == 'object' else 'a'} {kind}" if kind != "null" else "null"


def _may_be_absent(node: Node) -> bool:
    return isinstance(node, Member | Index) or (
        isinstance(node, Call) and node.name == "get" and not is_collection(node)
    )


def is_collection(node: Node) -> bool:
    if isinstance(node, Method):
        return node.name == "where" and is_collection(node.owner)
    if not (isinstance(node, Call) and node.name == "get" and len(node.arguments) == 1):
        return False
    target = path_target(node.arguments[0])
    return target is not None and not target[1]


def _nearest(name: str, known: Sequence[str] | dict[str, tuple[int, int]]) -> str | None:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
