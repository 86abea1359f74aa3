"""From a filter tree to a cover: values of which every matching document holds one.

What lives here: ``cover`` and the entries it is made of. What it must not know: who looks the values up (``predicates``), stored bytes.

The law: when a filter matches a document, the document meets one entry of its cover, where *meeting* speaks of the values that a path hands over
(``language/matching.py``), as order keys: an ``Equal`` when each of its values is handed over at its place, a ``Span`` when a value within the bounds is.
A missing field is handed over as ``MISSING_KEY``, below all keys. The cover is a help, not the filter: what meets it is asked again. It is not that of an index
(``planner/conditions.py``): entries of an index do not tell null from missing, nor an array from its elements.

Two ranges over one path may be met by two elements of an array, so together they are a *joint* span: from the smallest to the largest value of the type
that is handed over, something of it must lie inside. Within ``$elemMatch`` on plain values all leaves judge one element, and the ranges are simply intersected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, Final, NamedTuple

from docdb.language import tree
from docdb.language.order import MAX_KEY, MIN_KEY, NULL_KEY, TAGS, order_key
from docdb.language.patterns import literal_prefix
from docdb.language.tree import Node, Path
from docdb.language.values import MaxKey, MinKey, Regex

__all__ = ["Cover", "Equal", "Entry", "MISSING_KEY", "Place", "Span", "cover"]

MISSING_KEY: Final = b"\x00"
MOST_PLACES: Final = 4  # that one entry speaks of
MOST_PARTS: Final = 100  # of a path
MOST_COMBINED: Final = 32  # entries made of several conditions
_NAN_KEY: Final = order_key(float("nan"))
_NUMBER_TAG: Final = TAGS["int"]
_COLLATED: Final = (str, dict, list)


class Place(NamedTuple):
    """Where values are handed over: a path, and the collation that orders their text."""

    path: Path
    collation: Any = None


class Equal(NamedTuple):
    """Each of the values is handed over at its place."""

    values: tuple[tuple[Place, bytes], ...]


class Span(NamedTuple):
    """A value from ``low`` up to ``high`` is handed over; a joint one may lie between two that are."""

    place: Place
    low: bytes
    high: bytes
    joint: bool = False


Entry = Equal | Span
Cover = tuple[Entry, ...]
Bounds = tuple[bytes, bytes | None]  # of one value when there is no upper one
Keys = tuple[Any, list[Bounds]]  # a collation or None, what may be handed over


class _Leaf(NamedTuple):
    """A conjunct and where it stands: below which path, in an element of an array, in which search through plain elements."""

    node: Node
    prefix: Path
    within: bool
    search: int | None


def cover(node: Node) -> Cover | None:
    """Return the cheapest cover that is known, or None when any document may match. An empty cover: none can match.

    Cost: one pass over the filter, and the number of values of its ``$in``.

    >>> [entry.values[0][0].path for entry in cover(tree.In(("a", "b"), (1, 2)))]
    [('a', 'b'), ('a', 'b')]
    """
    return _cover(node, (), False, None)


def _cover(node: Node, prefix: Path, within: bool, search: int | None) -> Cover | None:
    options: list[Cover] = []
    points: list[Cover] = []
    ranges: dict[tuple[Place, int, int | None], list[Span]] = {}
    for leaf in _conjuncts(node, prefix, within, search):
        found = _either(leaf) if isinstance(leaf.node, tree.Or) else _of(leaf)
        if found is None:
            continue
        if not found:
            return ()
        (points if not isinstance(leaf.node, tree.Or) and all(map(_is_point, found)) else options).append(found)
        if isinstance(leaf.node, tree.Compare) and len(found) == 1 and isinstance(found[0], Span):
            ranges.setdefault((found[0].place, found[0].low[0], leaf.search), []).append(found[0])
    for (place, _, one), spans in ranges.items():
        low, high = max(span.low for span in spans), min(span.high for span in spans)
        if len(spans) > 1:
            options.append((Span(place, low, high, joint=one is None),))
    if points:
        options.append(_together(points))
    return min(options, key=_cost, default=None)


def _conjuncts(node: Node, prefix: Path, within: bool, search: int | None) -> Iterator[_Leaf]:
    """Yield what must all hold; what elements of an array are searched for, below the array's path."""
    if isinstance(node, tree.And):
        for part in node.parts:
            yield from _conjuncts(part, prefix, within, search)
    elif isinstance(node, tree.ElemMatch):
        path = prefix + node.path
        # A position addresses an element whose own elements are not handed over; so does a search through arrays in arrays.
        if node.path and not any(map(str.isdigit, path)):
            yield from _conjuncts(node.part, path, True, id(node) if node.values else None)
    else:
        yield _Leaf(node, prefix, within, search)


def _either(leaf: _Leaf) -> Cover | None:
    found: list[Entry] = []
    for part in leaf.node.parts:  # type: ignore[attr-defined]
        covered = _cover(part, *leaf[1:])
        if covered is None:
            return None
        found += covered
    return tuple(dict.fromkeys(found))


def _of(leaf: _Leaf) -> Cover | None:
    node = leaf.node
    if isinstance(node, tree.Constant):
        return None if node.value else ()
    if isinstance(node, tree.Not):
        return _negated(node.part, leaf)
    keys_of = _LEAVES.get(type(node))
    keys = None if keys_of is None else keys_of(node)
    if keys is None:
        return None
    own: Path = node.path  # type: ignore[attr-defined]
    path = leaf.prefix + own
    if not path or len(path) > MOST_PARTS or (leaf.within and own and own[0].isdigit()):
        return None
    found = [_entry(Place(path, collation), *bounds) for collation, all_bounds in keys for bounds in all_bounds]
    # In an array that is searched as if it were an object nothing is found, and nothing is handed over.
    return None if leaf.within and any(map(_is_missing, found)) else tuple(found)


def _negated(node: Node, leaf: _Leaf) -> Cover | None:
    if isinstance(node, tree.Not):
        return _cover(node.part, *leaf[1:])
    if isinstance(node, tree.Exists) and len(node.path) == 1 and not leaf.within:
        return (Equal(((Place(node.path), MISSING_KEY),)),)
    return None  # where nothing equal is handed over, often nothing is


def _entry(place: Place, low: bytes, high: bytes | None) -> Entry:
    return Equal(((place, low),)) if high is None else Span(place, low, high)


def _is_missing(entry: Entry) -> bool:
    return isinstance(entry, Equal) and entry.values[0][1] == MISSING_KEY


def _is_point(entry: Entry) -> bool:
    return isinstance(entry, Equal) and entry.values[0][1] != MISSING_KEY


def _together(points: list[Cover]) -> Cover:
    """Combine equalities over different paths: each entry then speaks of several places."""
    chosen: dict[Path, Cover] = {}
    size = 1
    for found in sorted(points, key=len):
        path = found[0].values[0][0].path  # type: ignore[union-attr]
        if path in chosen or (chosen and size * len(found) > MOST_COMBINED):
            continue
        chosen[path] = found
        size *= len(found)
        if len(chosen) == MOST_PLACES:
            break
    if len(chosen) == 1:
        return next(iter(chosen.values()))
    return tuple(
        Equal(tuple(value for entry in entries for value in entry.values))  # type: ignore[union-attr]
        for entries in product(*chosen.values())
    )


def _cost(found: Cover) -> int:
    """What a cover is thought to let through: an equality little, null and half-open ranges much."""
    total = 0
    for entry in found:
        if isinstance(entry, Equal):
            total += 1_000 if entry.values[0][1] == MISSING_KEY else 1
        else:
            opened = (len(entry.low) == 1 or entry.low == _NAN_KEY + b"\0") + (len(entry.high) == 1)
            total += (100, 2_000, 5_000)[opened]
    return total


# ---- leaves: the keys of the values that pass the test, by collation; None where missing fields or anything may pass


def _bracket(tag: int) -> tuple[bytes, bytes]:
    return bytes((tag,)), bytes((tag + 1,))


_NULLS: Final[list[Bounds]] = [(NULL_KEY, None), (MISSING_KEY, None)]
_NUMBERS: Final = _bracket(_NUMBER_TAG)


def _equal(value: Any, collation: Any) -> Keys:
    if value is None:
        return None, _NULLS
    if collation is not None and isinstance(value, _COLLATED):
        return collation, [(collation.order_key(value), None)]
    return None, [(order_key(value), None)]


def _compare(node: tree.Compare) -> list[Keys] | None:
    value, collation, op = node.value, node.collation, node.op
    if op == "eq":
        return [_equal(value, collation)]
    inclusive = op in ("gte", "lte")
    if value is None:
        return [_equal(None, None)] if inclusive else []
    if isinstance(value, MinKey | MaxKey):
        if op[0] == ("g" if isinstance(value, MinKey) else "l"):
            return None
        return [(None, [(MIN_KEY if isinstance(value, MinKey) else MAX_KEY, None)])] if inclusive else []
    if collation is None or not isinstance(value, _COLLATED):
        collation, key = None, order_key(value)
    else:
        key = collation.order_key(value)
    if key == _NAN_KEY:
        return [(None, [(key, None)])] if inclusive else []
    low, high = _bracket(key[0])
    if key[0] == _NUMBER_TAG:
        low = _NAN_KEY + b"\0"
    if op[0] == "g":
        low = key if inclusive else key + b"\0"
    else:
        high = key + b"\0" if inclusive else key
    return [(collation, [(low, high)])] if low < high else []


def _in(node: tree.In) -> list[Keys] | None:
    found = [_equal(value, node.collation) for value in node.values]
    for pattern in node.patterns:
        found += _pattern(pattern)
    return found


def _exists(node: tree.Exists) -> list[Keys] | None:
    return [(None, [(b"\x01", b"\xff")])]


def _type_is(node: tree.TypeIs) -> list[Keys] | None:
    if "missing" in node.names:
        return None
    return [(None, [_bracket(tag) for tag in sorted({TAGS[name] for name in node.names if name in TAGS})])]


def _size(node: tree.Size) -> list[Keys] | None:
    return [(None, [_bracket(TAGS["array"]) if node.count else (order_key([]), None)])]


def _mod(node: tree.Mod) -> list[Keys] | None:
    return [(None, [_NUMBERS])]


def _bits(node: tree.Bits) -> list[Keys] | None:
    return [(None, [_NUMBERS, _bracket(TAGS["binData"])])]


def _pattern(node: tree.Pattern) -> list[Keys]:
    prefix, _ = literal_prefix(node.pattern, node.flags)
    low = b"\x30" + prefix.encode("utf-8").replace(b"\0", b"\0\xff")
    high = low.rstrip(b"\xff")
    same = order_key(Regex(node.pattern, node.flags))
    return [(None, [(low, high[:-1] + bytes((high[-1] + 1,))), (same, None)])]


_LEAVES: Final[dict[type, Callable[[Any], list[Keys] | None]]] = {
    tree.Bits: _bits,
    tree.Compare: _compare,
    tree.Exists: _exists,
    tree.In: _in,
    tree.Mod: _mod,
    tree.Pattern: _pattern,
    tree.Size: _size,
    tree.TypeIs: _type_is,
}
