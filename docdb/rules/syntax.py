"""The tree of a rule: what the parser builds and checker and evaluator read.

What lives here: one dataclass per kind of node, each with its place in the text. What it must not know: lark, documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = [
    "Binary", "Call", "Index", "ListOf", "Literal", "Logic", "Member", "Method", "Node", "Not", "ObjectOf", "Pattern", "Place",
    "Template", "Undefined", "Variable", "children", "walk",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node starts in its text; both count from 1. ``start`` and ``end`` cut its characters out of the text."""

    line: int
    column: int
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Node:
    place: Place


@dataclass(frozen=True, slots=True)
class Literal(Node):
    value: bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Undefined(Node):
    """The word ``undefined``; the checker lets it stand only beside == and !=, where it asks for presence."""


@dataclass(frozen=True, slots=True)
class Variable(Node):
    name: str


@dataclass(frozen=True, slots=True)
class Member(Node):
    owner: Node
    name: str


@dataclass(frozen=True, slots=True)
class Index(Node):
    owner: Node
    key: Node


@dataclass(frozen=True, slots=True)
class Call(Node):
    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Method(Node):
    owner: Node
    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ListOf(Node):
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ObjectOf(Node):
    pairs: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Template(Node):
    """A backtick text: its parts are joined, and every part must be a string."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Pattern(Node):
    """A regular expression between slashes; it stands only before ``.test(text)``."""

    source: str
    flags: str


@dataclass(frozen=True, slots=True)
class Not(Node):
    operand: Node


@dataclass(frozen=True, slots=True)
class Logic(Node):
    """``&&`` or ``||``."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """A comparison, ``in``, ``+`` or ``-``."""

    operator: str
    left: Node
    right: Node


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes directly below ``node``, in the order of the text."""
    match node:
        case Member(owner=owner):
            return (owner,)
        case Index(owner=owner, key=key):
            return (owner, key)
        case Call(arguments=arguments):
            return arguments
        case Method(owner=owner, arguments=arguments):
            return (owner, *arguments)
        case ListOf(items=items):
            return items
        case ObjectOf(pairs=pairs):
            return tuple(value for _, value in pairs)
        case Template(parts=parts):
            return parts
        case Not(operand=operand):
            return (operand,)
        case Logic(left=left, right=right) | Binary(left=left, right=right):
            return (left, right)
    return ()


def walk(node: Node) -> Iterator[Node]:
    """Yield ``node`` and everything below it."""
    yield node
    for child in children(node):
        yield from walk(child)
