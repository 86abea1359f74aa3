"""May this query run under this rule? Rules are not filters: what a query matches must provably be allowed.

What lives here: ``decide``. What it must not know: sessions, plans, documents.

The law: when ``decide`` allows, every document that the decision's filter matches satisfies the rule, and matches the query. The other direction is
not promised: what is not proved is refused.

The proof goes case by case of the query (``facts``) and conjunct by conjunct of the rule. An atom of the rule speaks of one value at a path. A
filter leaf on the same path says as much of it only where no array is on the way or at the end; so the atom is proved *given* that, and the given
becomes a residual condition of the filter to run. The same with presence and non-nullness: where only such a thing is missing, it is added
instead of refusing. Documents it leaves out are documents the rule denies: a condition is added only where the atom is false or an error
without it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from docdb.language import tree
from docdb.language.filters import conjunction
from docdb.rules import formula, regions
from docdb.rules.compiled import Compiled, compiled
from docdb.rules.constraint import no_array_before
from docdb.rules.evaluator import MAX_DOCUMENTS, Circumstances
from docdb.rules.facts import MAX_CASES, Facts, Literal, cases, is_too_large, spread
from docdb.rules.formula import All, Asked, Formula, Holds, Within, written
from docdb.rules.partial import Partial
from docdb.rules.prepared import Equalities
from docdb.rules.spelling import spell
from docdb.rules.syntax import Node, Variable, children

__all__ = ["Decision", "decide", "proved_quickly"]

MAX_PLAIN: Final = 100

Given = list[tree.Node]  # conditions under which something is proved


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a query may run, and ``node``, the filter to run instead of it; ``missing`` is for the developer only."""

    allowed: bool
    node: tree.Node
    missing: str | None = None


def decide(
    rule: Node | None, about: Circumstances, node: tree.Node, *, filter_mode: bool = False, open_request: bool = False
) -> Decision:
    """Return whether a query may run under a rule, and how.

    ``filter_mode`` does not prove anything, it adds the whole rule to the query. ``open_request``: the rule's ``request.data`` is not known
    yet and will be judged with each document; what mentions it is taken for fulfilled here. ``missing`` is the conjunct of
    the rule that the query does not prove. Reads of ``get`` go through ``about``; ``about.doc`` is not looked at.
    """
    if rule is None:
        return Decision(False, tree.FALSE, "there is no rule")
    known = compiled(rule, about, open_request=open_request)
    if known.always:
        return Decision(True, node)
    quick = None if filter_mode else proved_quickly(known.equalities, node)
    if quick is not None:
        return Decision(True, quick)
    if is_too_large(node):
        return Decision(False, tree.FALSE, "the filter is too deep or too large to be proved")
    hopeless = known.hopeless if filter_mode else known.false
    if hopeless is not None:
        return Decision(False, tree.FALSE, spell(hopeless))
    if filter_mode:
        return Decision(True, _restricted(node, [known.node]))
    return _prove(known, node)


def proved_quickly(wanted: Equalities | None, node: tree.Node) -> tree.Node | None:
    """Return the filter to run where rule and query are plain comparisons and the query has all that the rule asks for, as most have; None elsewhere.

    ``wanted`` are the rule's equalities. What ``_prove`` finds as well, in a tenth of the steps.
    """
    parts = node.parts if type(node) is tree.And else (node,)
    if not wanted or len(parts) > MAX_PLAIN:
        return None
    for part in parts:
        if type(part) is not tree.Compare:
            return None
    given: tuple[tree.Node, ...] = ()
    for path, value, conditions in wanted:
        for part in parts:
            if (
                part.path == path and part.op == "eq" and part.value == value and type(part.value) is type(value)  # type: ignore[attr-defined]
                and part.collation is None  # type: ignore[attr-defined]
            ):  # fmt: skip
                break
        else:
            return None
        if path != ("_id",):
            given += conditions
    return tree.And(parts + given) if given else node


def _prove(known: Compiled, node: tree.Node) -> Decision:
    proof = _Proof(known.partial)
    found: list[Given] = []
    for case in cases(node):
        missing = proof.case(case, known.parts, found)
        if missing is not None:
            return Decision(False, tree.FALSE, spell(missing))
    if len(found) > 1 and len({tuple(sorted(map(repr, conditions))) for conditions in found}) > 1:
        return Decision(True, _restricted(node, [known.node]))
    return Decision(True, _restricted(node, found[0] if found else []))


def _restricted(node: tree.Node, conditions: Iterable[tree.Node]) -> tree.Node:
    """Return the query with more conditions, those left out that it has."""
    parts = list(node.parts if isinstance(node, tree.And) else (node,))
    for condition in conditions:
        for part in condition.parts if isinstance(condition, tree.And) else (condition,):
            if not any(_is_same(part, known) for known in parts):
                parts.append(part)
    return node if len(parts) == 1 else conjunction(parts)


def _is_same(left: tree.Node, right: tree.Node) -> bool:
    return left == right and repr(left) == repr(right)  # 1 and True are equal in Python


_FORGIVEN: Final = regions.union((regions.ABSENT, regions.NULL))


class _Proof:
    """Proves formulas of cases; ``None`` everywhere means "not proved"."""

    def __init__(self, partial: Partial) -> None:
        self.partial = partial

    def case(self, case: list[Literal], parts: list[tuple[Node, Formula]], found: list[Given]) -> Node | None:
        """Prove all conjuncts in a case, once more with its $in's spread out where that is needed; return the first unproved one."""
        given, missing = self.conjuncts(case, parts)
        if missing is None:
            found.append(given)
            return None
        spreads = spread(case, MAX_CASES)
        if len(spreads) == 1:
            return missing
        for narrow in spreads:
            given, missing = self.conjuncts(narrow, parts)
            if missing is not None:
                return missing
            found.append(given)
        return None

    def conjuncts(self, case: list[Literal], parts: list[tuple[Node, Formula]]) -> tuple[Given, Node | None]:
        facts = Facts(case)
        all_given: Given = []
        for part, demand in parts:
            given = self.prove(demand, facts)
            if given is None:
                return [], part
            all_given += given
        return _distinct(all_given), None

    def prove(self, demand: Formula, facts: Facts) -> Given | None:
        if isinstance(demand, All):
            found = [self.prove(part, facts) for part in demand.parts]
            return None if None in found else [condition for given in found if given for condition in given]
        if isinstance(demand, formula.Any):
            return self.choice(demand, facts)
        if isinstance(demand, Within):
            return self.within(demand.path, demand.region, facts)
        if isinstance(demand, Holds):
            return self.holds(demand, facts)
        assert isinstance(demand, Asked)
        return self.asked(demand, facts)

    def choice(self, demand: formula.Any, facts: Facts) -> Given | None:
        """Prove one part, or all parts about one path taken together; what a condition would leave out may be allowed by another part."""
        proofs = [self.prove(part, facts) for part in demand.parts]
        together: dict[tree.Path, list[regions.Region]] = {}
        for part in demand.parts:
            if isinstance(part, Within):
                together.setdefault(part.path, []).append(part.region)
        for path, found in together.items():
            if len(found) > 1:
                proofs.append(self.within(path, regions.union(found), facts))
        if all(given is None for given in proofs):
            return None
        return [] if [] in proofs else [written(demand)]

    def within(self, path: tree.Path, wanted: regions.Region, facts: Facts) -> Given | None:
        if not facts.limits(path):
            return None
        value = facts.value(path)
        excess = regions.outside(value, wanted)
        if excess and not regions.subset(excess, _FORGIVEN):
            return None
        arrays = regions.subset(regions.ARRAYS, wanted)
        given: Given = [part for part in no_array_before(path) if not facts.excludes_arrays(_path_of(part))]
        names = {"null"} if regions.intersect(excess, regions.NULL) else set()
        if not arrays and not facts.excludes_arrays(path):
            names.add("array")
        if names:
            excluded: tree.Node = tree.Not(tree.TypeIs(path, frozenset(names)))
            given.append(tree.Or((excluded, tree.TypeIs(path, frozenset({"array"})))) if arrays else excluded)
        if regions.intersect(excess, regions.ABSENT):
            given.append(tree.Exists(path))
        elif regions.intersect(value, regions.ABSENT) and len(path) > 1:
            given.append(tree.TypeIs(path[:-1], frozenset({"object"})))
        return given

    def holds(self, demand: Holds, facts: Facts) -> Given | None:
        path, value = demand.path, demand.region
        if demand.wanted:
            inside = [*facts.at(path).some, *facts.at(path).elements]
            proved = any(regions.subset(region, value) for region in inside)
        else:
            proved = any(regions.subset(value, region) for region in facts.at(path).none)
        if not proved:
            return None
        return [tree.TypeIs(path, frozenset({"array"})), *no_array_before(path)]

    def asked(self, demand: Asked, facts: Facts) -> Given | None:
        """Put the values that the query pins into the place of the document, and ask."""
        paths = self.paths(demand.part)
        rows = [facts.at(path).pinned or () for path in paths or ()]
        if not paths or not all(rows):
            return None
        if math.prod(map(len, rows)) > MAX_DOCUMENTS or any(
            one != other and one == other[: len(one)] for one in paths for other in paths
        ):
            return None
        question = self.partial.ask(demand.part, demand.wanted)
        for values in itertools.product(*rows):
            if not question(_document(paths, values)):
                return None
        single = conjunction(_distinct([condition for path in paths for condition in _single(path)]))
        return [tree.Or((single, demand.node))]  # where an array stands, the rule may still allow

    def paths(self, part: Node) -> list[tree.Path] | None:
        """Return all that a part of a rule reads of the document, as paths of names; None when that is not certain."""
        steps = self.partial.steps(part)
        if steps is not None:
            names = tuple(step for step in steps if isinstance(step, str))
            return [names] if names and len(names) == len(steps) else None
        if isinstance(part, Variable) and part.name == "request" or self.partial.is_open(part):
            return None
        found: dict[tree.Path, None] = {}
        for child in children(part):
            inner = self.paths(child) if self.partial.depends(child) else []
            if inner is None:
                return None
            found.update(dict.fromkeys(inner))
        return list(found)


def _distinct(given: Given) -> Given:
    return given if len(given) < 2 else list({repr(condition): condition for condition in given}.values())


def _path_of(condition: tree.Node) -> tree.Path:
    assert isinstance(condition, tree.Not) and isinstance(condition.part, tree.TypeIs)
    return condition.part.path


def _single(path: tree.Path) -> Given:
    return [*no_array_before(path), tree.Not(tree.TypeIs(path, frozenset({"array"})))]


def _document(paths: list[tree.Path], values: tuple[Any, ...]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for path, value in zip(paths, values, strict=True):
        holder = document
        for name in path[:-1]:
            holder = holder.setdefault(name, {})
        holder[path[-1]] = value
    return document
