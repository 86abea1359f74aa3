"""A part of a rule as text again, for developers.

What lives here: ``spell``. What it must not know: values, verdicts.
"""

from __future__ import annotations

import json
import re
from typing import Final

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
)

__all__ = ["spell"]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_STRENGTH: Final = {"||": 1, "&&": 2, "+": 4, "-": 4}
_COMPARISON, _UNARY, _TIGHTEST = 3, 5, 6


def spell(node: Node) -> str:
    """Return a text that parses to the tree, with the parentheses it needs.

    >>> from docdb.rules.parser import parse
    >>> spell(parse("doc.a=='x'&&(doc.b>1||!doc.c)"))
    "doc.a == 'x' && (doc.b > 1 || !doc.c)"
    """
    match node:
        case Literal(value=value):
            return _text(value) if isinstance(value, str) else json.dumps(value)
        case Undefined():
            return "undefined"
        case Pattern(source=source, flags=flags):
            return f"/{source}/{flags}"
        case Variable(name=name):
            return name
        case Member(owner=owner, name=name):
            return f"{_inside(owner, _TIGHTEST)}.{name}"
        case Index(owner=owner, key=key):
            return f"{_inside(owner, _TIGHTEST)}[{spell(key)}]"
        case Call(name=name, arguments=arguments):
            return f"{name}({', '.join(map(spell, arguments))})"
        case Method(owner=owner, name=name, arguments=arguments):
            return f"{_inside(owner, _TIGHTEST)}.{name}({', '.join(map(spell, arguments))})"
        case ListOf(items=items):
            return f"[{', '.join(map(spell, items))}]"
        case ObjectOf(pairs=pairs):
            return "{" + ", ".join(f"{_key(key)}: {spell(value)}" for key, value in pairs) + "}"
        case Template(parts=parts):
            return "`" + "".join(map(_part, parts)) + "`"
        case Not(operand=operand):
            return f"!{_inside(operand, _UNARY)}"
        case Logic(operator=operator, left=left, right=right) | Binary(operator=operator, left=left, right=right):
            own = _strength(node)
            return f"{_inside(left, own + (own == _COMPARISON))} {operator} {_inside(right, own + 1)}"
    raise TypeError(f"{type(node).__name__} is no part of a rule")


def _strength(node: Node) -> int:
    if isinstance(node, Logic | Binary):
        return _STRENGTH.get(node.operator, _COMPARISON)
    return _UNARY if isinstance(node, Not) else _TIGHTEST


def _inside(node: Node, strength: int) -> str:
    text = spell(node)
    return f"({text})" if _strength(node) < strength else text


def _text(value: str) -> str:
    escaped = "".join(_ESCAPES.get(letter, letter) for letter in value)
    return f"'{escaped}'"


def _key(name: str) -> str:
    return name if _NAME.match(name) else _text(name)


def _part(node: Node) -> str:
    return node.value if isinstance(node, Literal) and isinstance(node.value, str) else f"${{{spell(node)}}}"


_ESCAPES: Final = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
