"""Rules compiled for certain circumstances, and kept where many operations share these.

What lives here: ``compiled``, ``bound``, ``equalities_of`` and ``Compiled``. What it must not know: queries.

What depends on ``auth`` alone is prepared for all callers (``prepared``), bound to one, and kept: each operation of one caller meets the same rule with the
same ``auth``. What is asked of ``auth`` is compared by its values, never by identity: it may be changed in place. What reads ``now``, the request or a
``get`` is compiled anew each time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from docdb.cached import cached_property
from docdb.errors import DocumentError
from docdb.language import tree
from docdb.language.matching import matcher
from docdb.language.programs import compile_program
from docdb.rules.constraint import formula_of, no_array_at
from docdb.rules.evaluator import Circumstances
from docdb.rules.formula import FALSE, TRUE, Formula, Within, every, written
from docdb.rules.partial import FAILED, Partial, as_created
from docdb.rules.prepared import Auth, Equalities, Prepared, conjuncts, prepared
from docdb.rules.syntax import Node
from docdb.store import codec

if TYPE_CHECKING:
    from docdb._native.program import Program
    from docdb.store.runs import Documents

__all__ = ["Compiled", "Verdict", "bound", "compiled", "equalities_of", "verdict_of"]

Verdict = Callable[[bytes], bool | int]  # true or false

MOST_KEPT: Final = 256
MOST_ITEMS: Final = 50  # of a list in auth
LONGEST_PATH: Final = 16  # names that the kernel follows
_PLAIN: Final = frozenset({str, bool, int, float, dt.datetime, type(None), type(FAILED)})


class Compiled:
    """A rule for certain circumstances: its conjuncts with their formulas, and all of it as a filter.

    ``always``: it is true of every document. ``false`` is a conjunct that is true of no document, ``hopeless`` one that does not even look at the document.
    """

    def __init__(self, parts: list[tuple[Node, Formula]], partial: Partial) -> None:
        """``partial``: what the formulas were made in, or would be."""
        self.partial = partial
        self.parts = parts
        false = [part for part, demand in parts if demand is FALSE]
        self.false = false[0] if false else None
        self.always = all(demand is TRUE for _, demand in parts)
        self.hopeless = next((part for part in false if not partial.depends(part)), None)

    @classmethod
    def anew(cls, rule: Node, about: Circumstances, *, open_request: bool = False, creating: bool = False) -> Compiled:
        """Compile a rule for these circumstances alone: the law that ``compiled`` is held to."""
        partial = Partial(about, open_request=open_request, creating=creating)
        parts = conjuncts(as_created(rule) if creating else rule)
        return cls([(part, formula_of(part, partial)) for part in parts], partial)

    @cached_property
    def equalities(self) -> Equalities | None:
        """The whole rule as fields that must equal one text or boolean each: path, value, and what excludes arrays; None when it is more."""
        found = []
        for _, demand in self.parts:
            if demand is TRUE:
                continue
            if type(demand) is not Within or type(demand.value) not in (str, bool):
                return None
            found.append((demand.path, demand.value, no_array_at(demand.path)))
        return tuple(found)

    @cached_property
    def held(self) -> tuple[tuple[list[bytes], bytes], ...] | None:
        """The equalities as they are stored, names and value each; None where the rule is more, or no document can hold the value."""
        if self.equalities is None or any(len(path) > LONGEST_PATH for path, _, _ in self.equalities):
            return None
        try:
            values = [codec.encode_value(value) for _, value, _ in self.equalities]
            names = [[name.encode() for name in path] for path, _, _ in self.equalities]
        except (DocumentError, UnicodeEncodeError):
            return None
        return tuple(zip(names, values, strict=True))

    @cached_property
    def node(self) -> tree.Node:
        """The filter that matches exactly what the rule allows."""
        return written(every(*(demand for _, demand in self.parts)))

    @cached_property
    def program(self) -> Program | None:
        """The filter's program, where it is sure of every document."""
        program = compile_program(self.node)
        return program if program is not None and program.exact else None

    def allows_all(self, documents: Documents) -> bool:
        """Tell whether the rule allows all of many new documents. Cost: one walk in C over their stored bytes, where the filter has a program."""
        if self.always:
            return True
        if self.held is not None:
            return all(documents.all_hold(path, value) for path, value in self.held)
        if self.program is not None:
            return documents.all_match(self.program)
        return all(map(self.verdict, documents.lists()[1]))

    @cached_property
    def verdict(self) -> Verdict:
        """Whether the rule allows a stored document."""
        return verdict_of(self.node)


def verdict_of(node: tree.Node) -> Verdict:
    """Return whether a stored document matches: the filter's program, the reference where that is not sure."""
    if isinstance(node, tree.Constant):
        return _everything if node.value else _nothing
    matches, program = matcher(node), compile_program(node)
    if program is None:
        return lambda data: matches(codec.decode(data))
    ask = program.match
    if program.exact:
        return ask  # which says 0 or 1

    def verdict(data: bytes) -> bool:
        answer = ask(data)
        return matches(codec.decode(data)) if answer == 2 else bool(answer)

    return verdict


def _everything(data: bytes) -> bool:
    return True


def _nothing(data: bytes) -> bool:
    return False


def compiled(rule: Node, about: Circumstances, *, open_request: bool = False, creating: bool = False) -> Compiled:
    """Return the compiled rule, bound where it depends on ``auth`` alone."""
    found = None if open_request and creating else bound(rule, about.auth, creating=creating)
    if found is None:
        return Compiled.anew(rule, about, open_request=open_request, creating=creating)
    return found


def bound(rule: Node, auth: Auth, *, creating: bool = False) -> Compiled | None:
    """Return a rule with a caller's values in its places, one of the last where they are plain; None for a rule that depends on more than ``auth``."""
    made = prepared(rule, creating)
    if made is None:
        return None
    values = made.values(auth)
    asked = _frozen(_everything_of(auth) if made.whole else values)
    key = made, asked
    known = None if asked is None else _kept.get(key)
    if known is None:
        parts, own = made.bind(values, auth)
        known = Compiled(parts, made.partial if own is None else own)
        if asked is not None and (own is None or made.whole or _frozen(_everything_of(auth)) is not None):
            if len(_kept) >= MOST_KEPT:
                _kept.clear()
            _kept[key] = known
    return known


def equalities_of(rule: Node, auth: Auth) -> Equalities | None:
    """Return the ``equalities`` of a rule that depends on ``auth`` alone, None for any other. Cost for most: the places, and no formula."""
    made = prepared(rule, False)
    found = None if made is None else made.equalities(auth)
    if found is not None or made is None:
        return found
    known = bound(rule, auth)
    return None if known is None else known.equalities


_kept: dict[tuple[Prepared, tuple[Any, ...] | None], Compiled] = {}


def _everything_of(auth: Auth) -> tuple[Any, ...]:
    return (FAILED,) if auth is None else (*auth, *auth.values())


def _frozen(values: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Return values with their types, each plain or a short list of plain ones; None where one is too large or too deep to be kept."""
    kinds = tuple(map(type, values))
    if _PLAIN.issuperset(kinds):
        return values, kinds
    found = tuple(map(_frozen_one, values))
    return None if None in found else found


def _frozen_one(value: Any) -> tuple[Any, ...] | None:
    kind = type(value)
    if kind in _PLAIN:
        return kind, value
    if kind in (list, tuple) and len(value) <= MOST_ITEMS:
        kinds = tuple(map(type, value))
        return (list, tuple(value), kinds) if _PLAIN.issuperset(kinds) else None
    return None
