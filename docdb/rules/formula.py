"""What a rule demands of a document once it is partially evaluated: a formula over strict atoms, without negation.

What lives here: the formula's nodes, how they simplify, and their form as a filter tree. What it must not know: how a rule becomes a
formula (``constraint``), queries (``prover``).

Each atom carries ``node``, the filter that matches exactly where the atom is true: rules are strict where filters are not, so a comparison goes
with conditions that exclude arrays, Decimals and missing fields. Where no filter can say it, the filter asks the evaluator.
"""

from __future__ import annotations

from dataclasses import dataclass

from docdb.language import tree
from docdb.language.filters import conjunction
from docdb.rules import syntax
from docdb.rules.regions import Region

__all__ = ["FALSE", "TRUE", "All", "Any", "Asked", "Formula", "Holds", "Within", "either", "every", "written"]


@dataclass(frozen=True, slots=True, eq=False)
class Formula:
    """A demand on one document."""


@dataclass(frozen=True, slots=True, eq=False)
class All(Formula):
    """Each of the parts; ``TRUE`` has none."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Any(Formula):
    """One of the parts; ``FALSE`` has none."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Within(Formula):
    """The path leads through objects only, and the one value there (or its absence) lies in the region.

    ``value`` is the only one, where there is just one and it is not null.
    """

    node: tree.Node
    path: tree.Path
    region: Region
    value: object = None


@dataclass(frozen=True, slots=True, eq=False)
class Holds(Formula):
    """The path leads through objects only to an array; whether it holds an element in the region (the point of one value) is ``wanted``."""

    node: tree.Node
    path: tree.Path
    region: Region
    wanted: bool


@dataclass(frozen=True, slots=True, eq=False)
class Asked(Formula):
    """The evaluator says ``wanted`` about a part of the rule."""

    node: tree.Node
    part: syntax.Node
    wanted: bool


TRUE = All(())
FALSE = Any(())


def every(*parts: Formula) -> Formula:
    """Return the conjunction, simplified."""
    found: list[Formula] = []
    for part in parts:
        if part is FALSE:
            return FALSE
        found.extend(part.parts if isinstance(part, All) else (part,))
    return found[0] if len(found) == 1 else All(tuple(found)) if found else TRUE


def either(*parts: Formula) -> Formula:
    """Return the disjunction, simplified."""
    found: list[Formula] = []
    for part in parts:
        if part is TRUE:
            return TRUE
        found.extend(part.parts if isinstance(part, Any) else (part,))
    return found[0] if len(found) == 1 else Any(tuple(found)) if found else FALSE


def written(formula: Formula) -> tree.Node:
    """Return the filter tree that matches exactly the documents that meet the demand."""
    if isinstance(formula, All):
        return conjunction([written(part) for part in formula.parts])
    if isinstance(formula, Any):
        return tree.Or(tuple(written(part) for part in formula.parts)) if formula.parts else tree.FALSE
    assert isinstance(formula, Within | Holds | Asked)
    return formula.node
