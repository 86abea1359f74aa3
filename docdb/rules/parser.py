"""Text of a rule to its tree; the only importer of lark.

What lives here: the limits that are looked at before any parsing (length, nesting, invisible characters), the grammar,
and positions in errors. What it must not know: what names mean (the checker) and what values are (the evaluator).
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput

from docdb.errors import RuleError
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

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "parse", "refuse"]

MAX_LENGTH = 1024  # characters of one expression, unless the caller says otherwise
MAX_DEPTH = 32  # nesting of brackets, and run of signs, that is looked at before the parser sees the text
MAX_NODES = 200  # depth of a chain such as a && b && c, which nests without brackets

BINARY = {
    "equal": "==", "unequal": "!=", "less": "<", "less_or_equal": "<=", "greater": ">", "greater_or_equal": ">=",
    "in_": "in", "add": "+", "subtract": "-",
}  # fmt: skip
LOGIC = {"and_": "&&", "or_": "||"}
CONSTANTS = {"true": True, "false": False, "null": None}
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
HOLE = re.compile(r"\$\{([^{}]*)\}")
MEANT = {
    "=": "two values are compared with ==", "&": "write &&", "|": "write ||", "and": "write &&", "or": "write ||",
    "not": "write !(...), or x not in [...]", "?": "there is no choice of values; use && and ||", ";": "a rule is one expression",
}  # fmt: skip


def parse(text: str, *, max_length: int = MAX_LENGTH) -> Node:
    """Return the tree of ``text``; raise RuleError with line, column and a caret where it is not one."""
    _look_over(text, max_length)
    try:
        return _Builder(text, Place(1, 1)).tree(text)
    except RecursionError as error:  # the caller's own stack was nearly full
        raise RuleError("there is no room to read the rule: the stack of the program is full") from error


def refuse(text: str, place: Place, message: str, hint: str | None = None) -> RuleError:
    """Return the error for a mistake at ``place``, with the line of the text and a caret below the spot."""
    error = RuleError(message, line=place.line, column=place.column, hint=hint)
    lines = text.split("\n")
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    margin = "".join("\t" if character == "\t" else " " for character in line[: place.column - 1])
    error.picture = f"{line}\n{margin.ljust(place.column - 1)}^"
    return error


def _look_over(text: str, max_length: int) -> None:
    """Refuse what must not reach the parser: too long, too deep, or with characters nobody sees."""
    if len(text) > max_length:
        raise RuleError(f"a rule has at most {max_length} characters, this one has {len(text)}")
    depth = run = 0
    line = column = 1
    for character in text:
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        run = run + 1 if character in "!-" else 0 if not character.isspace() else run
        if depth > MAX_DEPTH or run > MAX_DEPTH:
            raise RuleError(f"a rule nests at most {MAX_DEPTH} deep", line=line, column=column)
        if character not in "\t\r\n" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
            raise RuleError(
                f"the invisible character U+{ord(character):04X} may not stand in a rule", line=line, column=column
            )
        line, column = (line + 1, 1) if character == "\n" else (line, column + 1)


@cache
def _grammar() -> Lark:
    source = files("docdb.grammar").joinpath("rules.lark").read_text(encoding="utf-8")
    return Lark(source, parser="lalr", propagate_positions=True, maybe_placeholders=False)


class _Builder:
    """Turns lark's tree into ours; ``origin`` is where the text starts in the rule (a hole of a template starts inside)."""

    def __init__(self, whole: str, origin: Place) -> None:
        self.whole = whole
        self.origin = origin

    def tree(self, text: str) -> Node:
        try:
            parsed = _grammar().parse(text)
        except UnexpectedInput as error:
            raise self._unexpected(text, error) from error
        return self.node(parsed.children[0], 0)

    def _unexpected(self, text: str, error: UnexpectedInput) -> RuleError:
        line, column = error.line, error.column
        at_end = (
            isinstance(error, UnexpectedEOF) or line < 1 or getattr(getattr(error, "token", None), "type", "") == "$END"
        )
        if at_end:
            line, column = text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1
            return refuse(self.whole, self.place(line, column), "the rule ends too early")
        found = (
            text[error.pos_in_stream or 0]
            if isinstance(error, UnexpectedCharacters)
            else str(getattr(error, "token", ""))
        )
        return refuse(self.whole, self.place(line, column), f"{found!r} is not expected here", MEANT.get(found))

    def place(self, line: int, column: int, start: int = 0, end: int = 0) -> Place:
        start, end = self.origin.start + start, self.origin.start + end
        if line == 1:
            return Place(self.origin.line, self.origin.column + column - 1, start, end)
        return Place(self.origin.line + line - 1, column, start, end)

    def of(self, tree: Any) -> Place:
        meta = tree.meta
        return self.origin if meta.empty else self.place(meta.line, meta.column, meta.start_pos, meta.end_pos)

    def node(self, tree: Any, depth: int) -> Node:
        place = self.of(tree)
        if depth > MAX_NODES:
            raise refuse(self.whole, place, f"a rule chains at most {MAX_NODES} operators")
        kind, parts = str(tree.data), tree.children
        if kind in CONSTANTS:
            return Literal(place, CONSTANTS[kind])
        if kind in BINARY:
            return Binary(place, BINARY[kind], *(self.node(part, depth + 1) for part in parts))
        if kind in LOGIC:
            return Logic(place, LOGIC[kind], *(self.node(part, depth + 1) for part in parts))
        build = getattr(self, f"_{kind}")
        built: Node = build(place, parts, depth + 1)
        return built

    def _nodes(self, tree: Tree[Token], depth: int) -> tuple[Node, ...]:
        return tuple(self.node(part, depth) for part in tree.children)

    def _not_in(self, place: Place, parts: list[Any], depth: int) -> Node:
        return Not(place, Binary(place, "in", *(self.node(part, depth) for part in parts)))

    def _pattern(self, place: Place, parts: list[Any], depth: int) -> Node:
        source, _, flags = str(parts[0])[1:].rpartition("/")
        return Pattern(place, source, flags)

    def _not_(self, place: Place, parts: list[Any], depth: int) -> Node:
        return Not(place, self.node(parts[0], depth))

    def _number(self, place: Place, parts: list[Any], depth: int) -> Node:
        return Literal(place, self._figure(place, str(parts[0])))

    def _negative(self, place: Place, parts: list[Any], depth: int) -> Node:
        return Literal(place, -self._figure(place, str(parts[0])))

    def _figure(self, place: Place, text: str) -> int | float:
        if text.isdigit():
            if int(text) >= 1 << 63:
                raise refuse(self.whole, place, "a whole number has at most 63 bits")
            return int(text)
        figure = float(text)
        if figure in (float("inf"), float("-inf")):
            raise refuse(self.whole, place, "the number is too large")
        return figure

    def _string(self, place: Place, parts: list[Any], depth: int) -> Node:
        return Literal(place, _unquoted(parts[0]))

    def _undefined(self, place: Place, parts: list[Any], depth: int) -> Node:
        return Undefined(place)

    def _variable(self, place: Place, parts: list[Any], depth: int) -> Node:
        return Variable(place, str(parts[0]))

    def _member(self, place: Place, parts: list[Any], depth: int) -> Node:
        return Member(place, self.node(parts[0], depth), str(parts[1]))

    def _index(self, place: Place, parts: list[Any], depth: int) -> Node:
        return Index(place, self.node(parts[0], depth), self.node(parts[1], depth))

    def _call(self, place: Place, parts: list[Any], depth: int) -> Node:
        return Call(place, str(parts[0]), self._nodes(parts[1], depth))

    def _method(self, place: Place, parts: list[Any], depth: int) -> Node:
        return Method(place, self.node(parts[0], depth), str(parts[1]), self._nodes(parts[2], depth))

    def _array(self, place: Place, parts: list[Any], depth: int) -> Node:
        return ListOf(place, self._nodes(parts[0], depth))

    def _object(self, place: Place, parts: list[Any], depth: int) -> Node:
        pairs: dict[str, Node] = {}
        for pair in parts:
            key = _unquoted(pair.children[0]) if pair.data == "quoted_pair" else str(pair.children[0])
            if key in pairs:
                raise refuse(self.whole, place, f"the key {key!r} stands twice")
            pairs[key] = self.node(pair.children[1], depth)
        return ObjectOf(place, tuple(pairs.items()))

    def _template(self, place: Place, parts: list[Any], depth: int) -> Node:
        text = str(parts[0])[1:-1]
        pieces: list[Node] = []
        start = 0
        for hole in HOLE.finditer(text):
            pieces += self._plain(place, text, start, hole.start())
            at = 1 + hole.start(1)
            pieces.append(
                _Builder(self.whole, Place(place.line, place.column + at, place.start + at)).tree(hole.group(1))
            )
            start = hole.end()
        pieces += self._plain(place, text, start, len(text))
        return Template(place, tuple(pieces))

    def _plain(self, place: Place, text: str, start: int, end: int) -> list[Node]:
        """Return the text between two holes as a literal, nothing where there is none."""
        if "${" in text[start:end]:
            raise refuse(self.whole, place, "a hole of this template does not close")
        at = Place(place.line, place.column + 1 + start, place.start + 1 + start, place.start + 1 + end)
        return [Literal(at, text[start:end])] if end > start else []


def _unquoted(token: Token) -> str:
    return re.sub(r"\\(.)", lambda found: ESCAPES.get(found[1], found[1]), str(token)[1:-1])
