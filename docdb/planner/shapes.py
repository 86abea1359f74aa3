"""Plans kept by the shape of a query: the tree of its filter with the constants taken out, and its order.

What lives here: ``bind``, which gives a known shape new constants, and ``BoundPlan``, what comes of it. What it must not know: how candidates are
weighed (``choice``).

A shape is one comparison of one field, beside which may be said that the field is no array, in that field's order or none; a list of values it may have;
or the first of all documents in an order. Its documents are whole, or some fields of them. What is learnt of it is which index serves it, and whether
entries alone do; the collection's definition keeps that (``CollectionInfo.shapes``), so that it ends with it. What depends on the documents is asked each
time: whether entries of the index come from arrays or are cut, and without a limit whether the entries are few.

Law: what is read is what the plan of ``think``, the planner without this room, reads. A bound plan becomes that plan as soon as anything but its documents is
asked of it. That entries are few is not counted where they were few the last time, nor for a list of values: reading begins, and who meets more, of a list
more than twice its length, asks ``think``, and goes on where that plan reads the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from docdb.engine import interrupts
from docdb.language.order import TAGS, order_key
from docdb.language.tree import TRUE, And, Compare, In, Not, Path, TypeIs
from docdb.planner.access import FIRST_FETCH, IndexScan, Work
from docdb.planner.bounds import IndexBounds
from docdb.planner.choice import FETCH_COST, FIRST_STEP, is_ordinary
from docdb.planner.covering import entry_reader
from docdb.planner.plan import Plan, page_of
from docdb.planner.queries import FindQuery, SortKeys
from docdb.planner.views import View
from docdb.store import codec

__all__ = ["BoundPlan", "answering", "bind", "only_index"]

Names = frozenset[str] | None
Ranges = tuple[tuple[bytes, bytes], ...]
Read = Callable[[Plan, View], Iterator[list[Any]]]
Think = Callable[[FindQuery, View], Plan]

MOST_SHAPES: Final = 256
_ID: Final = ("_id",)
_ARRAY: Final = frozenset({"array"})
_LONGEST: Final = 240  # bytes of a bound that needs no cut
_NUMBERS: Final = order_key(float("nan")) + b"\xff"  # where the other numbers begin
# The first component that has the type of a constant, and what lies behind the last.
_BRACKETS: Final[dict[type, tuple[bytes, bytes]]] = {
    bool: (bytes((TAGS["bool"],)), bytes((TAGS["bool"] + 1,))),
    float: (_NUMBERS, bytes((TAGS["int"] + 1,))),
    int: (_NUMBERS, bytes((TAGS["int"] + 1,))),
    str: (bytes((TAGS["string"],)), bytes((TAGS["string"] + 1,))),
}


class Shape:
    """What is known of one shape: the index that serves it, how its entries are bounded, what is made of them.

    ``names`` are the fields that are shown, None for all; ``covered``: the entries hold all of them.
    """

    __slots__ = ("behind", "bottom", "decode", "few", "index", "one", "reader", "reverse", "top")

    def __init__(self, index: Any, names: Names, covered: bool, reverse: bool) -> None:
        self.index = index
        self.reverse = reverse
        self.one = False  # there is one entry at most
        self.few = False  # whether the last to ask without a limit met few entries
        self.bottom, self.top, self.behind = b"", b"\xff", b""
        self.decode = True if names is None else codec.FieldsDecoder(names)
        self.reader = entry_reader(index, names) if covered and names is not None else None

    @staticmethod
    def of_comparison(compare: Compare, sort: SortKeys, names: Names, collection: Any) -> Shape | None:
        """Return the shape of one comparison, None where it has to be thought about."""
        shape = None if type(compare.value) not in _BRACKETS else Shape.of_field(compare.path, sort, names, collection)
        if shape is not None:
            shape.bottom, shape.top = _BRACKETS[type(compare.value)]
            shape.one = len(shape.index.keys) == 1 and shape.index.unique and compare.op == "eq"
        return shape

    @staticmethod
    def of_field(path: Path, sort: SortKeys, names: Names, collection: Any) -> Shape | None:
        """Return the shape of values that one field has, None where it has to be thought about."""
        index = _serving(path, sort, collection)
        if index is None:
            return None
        held = {known[0] for known, _ in index.keys if len(known) == 1} | {"_id"}
        covered = names is not None and len(path) == 1 and path[0] in held and names <= held
        shape = Shape(index, names, covered, bool(sort) and sort[0][1] < 0)
        shape.behind = _behind(index)
        return shape

    @staticmethod
    def of_order(plan: Plan, names: Names, view: View) -> Shape | None:
        """Return the shape of the first of all documents in an order that was thought about; None where that has to be done each time."""
        access = plan.access
        if not isinstance(access, IndexScan) or not (plan.exact and plan.ordered) or plan.fallback is not None:
            return None
        if access.merge or access.repeats or access.bounds.bounded or not view.is_plain(access.index):
            return None
        if only_index(view.collection, plan.sort[0][0]) is not access.index:
            return None
        return Shape(access.index, names, plan.covered, access.reverse)

    def bounds(self, op: str, key: bytes) -> tuple[bytes, bytes]:
        """Return low and high of the components that compare so with a constant's key."""
        if op == "eq":
            return key + self.behind, key + b"\xff"
        if op == "gte":
            return key, self.top
        if op == "gt":
            return key + b"\xff", self.top
        return self.bottom, key if op == "lt" else key + b"\xff"


class BoundPlan(Plan):
    """A plan of a known shape: ranges of one index whose documents are the matches, in the order asked for.

    All other fields of a plan are made when they are first asked for.
    """

    __slots__ = ("_most", "_ranges", "_shape", "_think", "_view")

    def __init__(  # not the fields of a plan: the slots stay empty until __getattr__ fills them
        self, query: FindQuery, view: View, shape: Shape, ranges: Ranges, most: int, think: Think
    ) -> None:
        """``most``: so many entries are worth reading without a thought; 0: any number, nothing is left to weigh."""
        self.query = query
        self._view = view
        self._shape = shape
        self._ranges = ranges
        self._most = most
        self._think = think

    def __getattr__(self, name: str) -> Any:
        if name not in Plan.__slots__:
            raise AttributeError(name)
        made = self._think(self.query, self._view)
        for field in Plan.__slots__:
            setattr(self, field, getattr(made, field))
        return getattr(self, name)

    @property
    def indexes(self) -> Sequence[Any]:
        return (self._shape.index,)

    @property
    def path(self) -> str:
        return IndexScan.__name__

    def run(
        self, view: View, deadline: float | None = None, *, work: Work | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        if work is None and deadline is None and not interrupts.possible():
            found = self._read(view, self._shape.decode, self._shape.reader, Plan.run)
            if found is not None:
                return found
        return Plan.run(self, view, deadline, work=work)

    def rows(self, view: View, deadline: float | None = None) -> Iterator[list[bytes]]:
        if deadline is None and not interrupts.possible():
            found = self._read(view, False, None, Plan.rows)
            if found is not None:
                return found
        return Plan.rows(self, view, deadline)

    def _read(self, view: View, decode: Any, reader: Any, otherwise: Read) -> Iterator[list[Any]] | None:
        """Return the documents in the form asked for, None where the engine has no join. ``otherwise`` gives those of another plan."""
        query, shape = self.query, self._shape
        limit = query.limit
        first = query.skip + limit if limit else FIRST_FETCH if shape.one else FIRST_STEP
        (low, high), more = self._ranges[0], self._ranges[1:]
        batches = view.join(
            shape.index, low, high, more=more, reverse=shape.reverse, first=first, decode=decode, covered=reader
        )
        if batches is None:
            return None
        found = self._hoped(view, batches, otherwise) if self._most else (batch[1] for batch in batches)
        return page_of(found, query) if query.skip or limit else found

    def _hoped(self, view: View, batches: Iterator[tuple[Any, ...]], otherwise: Read) -> Iterator[list[Any]]:
        """Return the documents when they have turned out to be few, or when the planner would read them in any case."""
        held: list[list[Any]] = []
        met = 0
        for batch in batches:
            met += batch[0]
            held.append(batch[1])
            if met >= self._most:
                break
        else:
            return iter(held)
        self._shape.few = False
        made = self._think(self.query._replace(skip=0), view)
        if not self._is_read_by(made):
            return otherwise(made, view)
        return chain(held, (batch[1] for batch in batches))

    def _is_read_by(self, plan: Plan) -> bool:
        access = plan.access
        if not isinstance(access, IndexScan) or access.index is not self._shape.index or plan.fallback is not None:
            return False
        read: IndexBounds = access.bounds
        same = [(item.low, item.high) for item in read.ranges] == list(self._ranges)
        if plan.covered != (self._shape.reader is not None):
            return False
        return same and plan.exact and plan.ordered and access.reverse == self._shape.reverse and not access.merge


def bind(query: FindQuery, view: View, think: Think) -> Plan | None:
    """Return the plan of a query without hint, ``min`` and ``max`` when its shape is one of those that are kept, else None.

    ``think`` makes the plan without this room. Cost: one read of the index's counters, without a limit one of the collection's, too.
    """
    node, projection = query.node, query.projection
    if type(node) is And:
        if len(node.parts) != 2 or not excludes_array(node.parts[1], node.parts[0]):
            return None
        node = node.parts[0]
    if (
        query.after is not None
        or query.collation is not None
        or query.names is not None
        or query.metadata
        or query.return_key
    ):
        return None
    if projection is not None and (projection.names is None or len(projection.names) > codec.MOST_FIELDS):
        return None
    names = None if projection is None else projection.names
    if type(node) is Compare:
        return _compared(query, node, names, view, think)
    if type(node) is In:
        return _listed(query, node, names, view, think)
    return _in_order(query, names, view, think) if node is TRUE and query.sort and query.limit else None


def _compared(query: FindQuery, node: Compare, names: Names, view: View, think: Think) -> BoundPlan | None:
    """Return the plan of one comparison."""
    known: dict[Any, Shape | None] = view.collection.shapes
    place = node.path, node.op, type(node.value), query.sort, names
    if place not in known:
        _keep(known, place, Shape.of_comparison(node, query.sort, names, view.collection))
    shape, value = known[place], node.value
    if shape is None or value != value or node.collation is not None:
        return None
    index, key = shape.index, order_key(value)
    if len(key) > _LONGEST or not view.is_plain(index):
        return None
    bounds = shape.bounds(node.op, key)
    if query.limit or shape.one:
        return BoundPlan(query, view, shape, (bounds,), 0, think)
    if shape.few:
        return BoundPlan(query, view, shape, (bounds,), FIRST_STEP, think)
    if view.document_count() < FETCH_COST * FIRST_STEP:
        return None  # reading all of them may be cheaper than few entries
    shape.few = view.entry_count(index, *bounds, FIRST_STEP) < FIRST_STEP
    return BoundPlan(query, view, shape, (bounds,), 0, think) if shape.few else None


def _listed(query: FindQuery, node: In, names: Names, view: View, think: Think) -> BoundPlan | None:
    """Return the plan of a list of values."""
    if node.patterns or not node.values or node.collation is not None or query.sort:
        return None
    known: dict[Any, Shape | None] = view.collection.shapes
    place = node.path, "in", names
    if place not in known:
        _keep(known, place, Shape.of_field(node.path, (), names, view.collection))
    shape = known[place]
    if shape is None or not view.is_plain(shape.index):
        return None
    keys = set()
    for value in node.values:
        if type(value) not in _BRACKETS or value != value:
            return None
        keys.add(order_key(value))
    if max(map(len, keys)) > _LONGEST:
        return None
    most = 0 if query.limit else max(FIRST_STEP, 2 * len(keys))
    if view.document_count() < FETCH_COST * most:
        return None
    ranges = tuple([(key + shape.behind, key + b"\xff") for key in sorted(keys)])
    return BoundPlan(query, view, shape, ranges, most, think)


def _in_order(query: FindQuery, names: Names, view: View, think: Think) -> Plan:
    """Return the plan of the first of all documents in an order, which nothing but the definitions of the indexes decides."""
    known: dict[Any, Shape | None] = view.collection.shapes
    place = query.sort, names
    shape = known.get(place)
    if shape is not None and view.is_plain(shape.index):
        return BoundPlan(query, view, shape, ((shape.bottom, shape.top),), 0, think)
    plan = think(query, view)
    if shape is None:
        shape = Shape.of_order(plan, names, view)
        if shape is not None:
            _keep(known, place, shape)
    return plan


def _keep(known: dict[Any, Shape | None], place: Any, shape: Shape | None) -> None:
    if len(known) >= MOST_SHAPES:
        known.clear()
    known[place] = shape


def excludes_array(node: Any, compare: Any) -> bool:
    """Tell whether a node says that the field of a comparison is no array, and nothing else."""
    if type(node) is not Not or type(compare) is not Compare:
        return False
    said = node.part
    return type(said) is TypeIs and said.path == compare.path and said.names == _ARRAY


def _serving(path: Path, sort: SortKeys, collection: Any) -> Any | None:
    """Return the one index that serves values of a field, in an order, whatever the constant; its first field ascends."""
    if path == _ID or any(map(str.isdigit, path)):
        return None
    if sort and (len(sort) > 1 or sort[0][0] != path):
        return None
    index = only_index(collection, path)
    return index if index is not None and index.keys[0][1] == 1 else None


def answering(collection: Any, fields: Sequence[str]) -> tuple[str, Any, bytes] | None:
    """Return the field whose value tells which documents a filter may find that gives each of these fields a value, its index, and what follows a value there.

    The index is None for the field ``_id``. None where the planner might read something else, or in another order: no index may hold any other of
    the fields. Documents with the same value stand in the order of their ids where the id follows.
    """
    if not all(type(field) is str and field[:1] != "$" and all(field.split(".")) for field in fields):
        return None
    if len(fields) > 1 and "_id" in fields:
        return "_id", None, b""
    paths = [tuple(field.split(".")) for field in fields]
    held = {path for index in collection.indexes for path, _ in index.keys}
    places = [at for at, path in enumerate(paths) if path in held]
    index = _serving(paths[places[0]], (), collection) if len(places) == 1 else None
    return None if index is None else (fields[places[0]], index, _behind(index))


def _behind(index: Any) -> bytes:
    """Return what follows the first component of an entry, when it is whole: the mark of the id's key, or another component, which may begin with anything."""
    return b"\x01" if len(index.keys) == 1 else b""


def only_index(collection: Any, path: Path) -> Any | None:
    """Return the index that holds the field first, when it holds every document and no other index holds the field."""
    found = None
    for index in collection.indexes:
        if index.building or index.hidden:
            continue
        for known, _ in index.keys:
            if "$**" in known:
                return None
            if known == path:
                if found is not None:
                    return None
                found = index
    if found is None or found.keys[0][0] != path or not is_ordinary(found):
        return None
    plain = not found.sparse and found.partial_node is None and found.collation is None
    return found if plain else None
