"""What a query says about each document it matches: cases, and in each case facts about single paths.

What lives here: ``cases`` (the normal form, with its caps) and ``Facts``. What it must not know: rules.

The caps make facts fewer, never wrong: an $or that would multiply the cases beyond them is left out, and so is every leaf that says nothing
certain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from docdb.language import tree
from docdb.rules.regions import (
    ABSENT,
    ARRAYS,
    EVERYTHING,
    NO_ARRAYS,
    Region,
    complement,
    intersect,
    leaf_region,
    outside,
    subset,
)

__all__ = ["MAX_CASES", "MAX_DEPTH", "MAX_NODES", "Facts", "Literal", "cases", "is_too_large", "spread"]

MAX_DEPTH: Final = 64
MAX_NODES: Final = 10_000
MAX_CASES: Final = 256
MAX_LITERALS: Final = 50_000  # of all cases together

_ID: Final = ("_id",)
_IDS: Final = outside(NO_ARRAYS, ABSENT)

Literal = tuple[tree.Node, bool]  # a leaf, and whether it matches


def is_too_large(node: tree.Node) -> bool:
    """Tell whether a filter is deeper or larger than proofs go; walks without recursion."""
    count, level, depth = 0, [node], 0
    while level:
        count, depth = count + len(level), depth + 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            return True
        level = [child for parent in level for child in tree.children(parent)]
    return False


def cases(node: tree.Node) -> list[list[Literal]]:
    """Return the cases of a filter: each match meets all literals of one of them. No case: nothing matches."""
    found: list[list[Literal]] = [[]]
    choices: list[list[list[Literal]]] = []
    for part, holds in _conjuncts(node, True):
        if isinstance(part, tree.Constant):
            if part.value is not holds:
                return []
        elif isinstance(part, tree.And | tree.Or):
            choices.append([case for branch in part.parts for case in _branch(branch, holds)])
        else:
            found[0].append((part, holds))
    for choice in sorted(choices, key=len):
        found = _product(found, choice)
    return found


def spread(literals: list[Literal], room: int) -> list[list[Literal]]:
    """Return the case as one case per value of its $in's, as far as there is room."""
    found: list[list[Literal]] = [[]]
    for leaf, holds in literals:
        if holds and isinstance(leaf, tree.In) and not leaf.patterns and len(leaf.values) * len(found) <= room:
            choice = [(tree.Compare(leaf.path, "eq", value, leaf.collation), True) for value in leaf.values]
            found = [[*case, literal] for case in found for literal in choice]
        else:
            for case in found:
                case.append((leaf, holds))
    return found


def _conjuncts(node: tree.Node, holds: bool) -> Iterator[Literal]:
    """Yield what must all hold: leaves, and choices (an Or that holds, an And that does not)."""
    if isinstance(node, tree.Not):
        yield from _conjuncts(node.part, not holds)
    elif isinstance(node, tree.And if holds else tree.Or):
        for part in node.parts:
            yield from _conjuncts(part, holds)
    else:
        yield node, holds


def _branch(node: tree.Node, holds: bool) -> list[list[Literal]]:
    return cases(node if holds else tree.Not(node))


def _product(found: list[list[Literal]], choice: list[list[Literal]]) -> list[list[Literal]]:
    if len(found) * len(choice) > MAX_CASES:
        return found
    if len(choice) * sum(map(len, found)) + len(found) * sum(map(len, choice)) > MAX_LITERALS:
        return found
    return [case + more for case in found for more in choice]


class Facts:
    """One case: what is known of the values at each path.

    Of a path whose way leads through objects only, and that does not end at an array, ``value`` holds the one value (or its absence).
    Of one that ends at an array: ``at(path).some`` holds a region for each leaf that matches, in which lies an element or the array itself,
    ``elements`` one in which lies an element; in those of ``none`` lies neither an element nor the array.
    """

    def __init__(self, literals: list[Literal]) -> None:
        self._leaves: dict[tree.Path, list[Literal]] = {}
        self._said: dict[tree.Path, _Said] = {}
        for literal in literals:
            path = getattr(literal[0], "path", None)
            if path:
                self._leaves.setdefault(path, []).append(literal)

    def at(self, path: tree.Path) -> _Said:
        """Return what is said of one path."""
        said = self._said.get(path)
        if said is None:
            said = self._said[path] = _Said(self._leaves.get(path, ()))
        return said

    def value(self, path: tree.Path) -> Region:
        """Return the region of the one value at a path, arrays left out; every document has an ``_id``."""
        region, said = _IDS if path == _ID else NO_ARRAYS, self.at(path)
        for part in said.some:
            region = intersect(region, part)
        for part in said.none:
            region = outside(region, part)
        return region

    def limits(self, path: tree.Path) -> bool:
        """Tell whether the query says anything about a path."""
        said = self.at(path)
        return path == _ID or any(part != EVERYTHING for part in said.some) or bool(said.none)

    def excludes_arrays(self, path: tree.Path) -> bool:
        """Tell whether no array stands at a path that leads through objects only."""
        return path == _ID or any(subset(ARRAYS, part) for part in self.at(path).none)


class _Said:
    """What the leaves of one path say: ``pinned`` are the only values, text or boolean, that it may have if it is no array."""

    __slots__ = ("elements", "none", "pinned", "some")

    def __init__(self, literals: Iterable[Literal]) -> None:
        self.some: list[Region] = []
        self.none: list[Region] = []
        self.elements: list[Region] = []
        self.pinned: tuple[Any, ...] | None = None
        for leaf, holds in literals:
            region, exact = leaf_region(leaf)
            if holds:
                self.some.append(region)
                self._note_elements(leaf)
                self._note_values(leaf)
            elif exact:
                self.none.append(region)

    def _note_elements(self, leaf: tree.Node) -> None:
        if not (isinstance(leaf, tree.ElemMatch) and leaf.values):
            return
        region = EVERYTHING
        for part, holds in _conjuncts(leaf.part, True):
            inside, exact = leaf_region(part)
            if getattr(part, "path", None) == () and (holds or exact):
                region = intersect(region, inside if holds else complement(inside))
        self.elements.append(region)

    def _note_values(self, leaf: tree.Node) -> None:
        values: tuple[Any, ...] = ()
        if isinstance(leaf, tree.Compare) and leaf.op == "eq":
            values = (leaf.value,)
        elif isinstance(leaf, tree.In) and not leaf.patterns:
            values = leaf.values
        fewer = self.pinned is None or len(values) < len(self.pinned)
        if values and fewer and leaf.collation is None and all(type(value) in (str, bool) for value in values):  # type: ignore[attr-defined]
            self.pinned = values
