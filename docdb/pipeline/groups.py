"""Groups of documents, within a limit of memory: the hash of $group and $bucket.

What lives here: ``Group``, ``grouped``, ``Load`` (what one group takes). What it must not know: what an accumulator computes, how a stage is written.

Beyond the limit documents of groups not met so far are set aside in files by the key of their group, and grouped one file after the other. Where
accumulators keep values ($push), the groups in memory grow too: then they are set aside themselves, state and all, in front of their later documents. A group
that is alone beyond the limit stays in memory as long as its document can be one (16 MiB, counted as $bsonSize does), then it is refused as in MongoDB;
numbers of $median and $percentile, which come to less than they are, go into files of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, Final

from docdb.language.expression_core import DivisionByZero, fail
from docdb.language.expression_types import bson_size
from docdb.language.values import MISSING
from docdb.pipeline.accumulators import Accumulator
from docdb.pipeline.context import Batch, Context
from docdb.pipeline.spill import OBJECT_FACTOR, Partitions, Weight
from docdb.pipeline.stage import Variables, looking

__all__ = ["MOST_BYTES", "Fields", "Group", "Load", "grouped"]

Fields = list[tuple[str, Accumulator]]
Identity = Callable[[dict[str, Any], Variables], Any]

MOST_BYTES: Final = 16 * 2**20  # of a document
_GROUP_BYTES: Final = 400  # what a group takes in memory without its id, and each of its accumulators
_FOLD_BYTES: Final = 150
_DEEPEST: Final = 6  # times a document is set aside; 16**6 parts


class Group:
    """One group: its id and the state of each accumulator."""

    __slots__ = ("folds", "id")

    def __init__(self, id: Any, fields: Fields, variables: Variables) -> None:
        self.id = id
        self.folds = [accumulator.start(variables) for _, accumulator in fields]

    def add(self, fields: Fields, document: dict[str, Any], variables: Variables) -> None:
        """Take a document."""
        for (_, accumulator), fold in zip(fields, self.folds, strict=True):
            fold.add(accumulator.value(document, variables))

    def grow(self, fields: Fields, document: dict[str, Any], variables: Variables, weights: list[Weight]) -> int:
        """Take a document and return about how many bytes of it stay."""
        grown = 0
        for (_, accumulator), fold, weight in zip(fields, self.folds, weights, strict=True):
            value = accumulator.value(document, variables)
            if not accumulator.keeps:
                fold.add(value)
                continue
            before = fold.held()
            fold.add(value)
            if fold.held() > before:
                grown += weight.of(value)
        return grown

    def kept(self, weights: list[Weight], fields: Fields) -> int:
        """Return about how many bytes the accumulators keep: what was counted while it grew may have been dropped since."""
        return sum(
            fold.held() * weight.mean
            for (_, accumulator), fold, weight in zip(fields, self.folds, weights, strict=True)
            if accumulator.keeps
        )

    def result(self, fields: Fields) -> dict[str, Any]:
        """Return the group's document."""
        return {"_id": self.id, **{name: fold.value() for (name, _), fold in zip(fields, self.folds, strict=True)}}

    def close(self, fields: Fields) -> None:
        """Give files back."""
        for (_, accumulator), fold in zip(fields, self.folds, strict=True):
            if accumulator.spills:
                fold.close()

    def state(self) -> list[Any]:
        """Return what the accumulators are and hold, without functions: the only one they have is the key of values."""
        return [_state(fold, type(fold)) for fold in self.folds]

    @classmethod
    def restored(cls, id: Any, state: list[Any], key: Callable[[Any], bytes]) -> Group:
        """Return the group of a state."""
        made = cls(id, [], {})
        for kind, values in state:
            fold = kind.__new__(kind)
            for name, value in zip(_slots(kind), values, strict=True):
                setattr(fold, name, key if value is None else value[0])
            made.folds.append(fold)
        return made


def _state(fold: Any, kind: Any) -> tuple[Any, list[Any]]:
    return kind, [None if callable(value := getattr(fold, name)) else (value,) for name in _slots(kind)]


@cache
def _slots(kind: Any) -> tuple[str, ...]:
    return tuple(name for base in kind.__mro__ for name in getattr(base, "__slots__", ()))


class Load:
    """What a group that stands alone takes, and may take."""

    __slots__ = ("_allowed", "_fields", "_memory", "_used", "_weights")

    def __init__(self, fields: Fields, memory: int, weights: list[Weight] | None = None) -> None:
        self._fields, self._memory, self._allowed, self._used = fields, memory, memory, 0
        self._weights = weights or [Weight() for _ in fields]

    def add(self, group: Group, document: dict[str, Any], variables: Variables) -> None:
        """Have the group take a document. Raises QueryError (146) when it has become too large for a document."""
        self._used += group.grow(self._fields, document, variables, self._weights)
        if self._used > self._allowed:
            self.lighten(group)

    def lighten(self, group: Group) -> None:
        """Write into files what can be; refuse what can be no document. Asked again when the group has doubled: it costs a walk over it."""
        for (_, accumulator), fold in zip(self._fields, group.folds, strict=True):
            if accumulator.spills:
                fold.spill()
        self._used = group.kept(self._weights, self._fields)
        if self._used > max(self._memory, MOST_BYTES) and (size := bson_size(group.result(self._fields))) > MOST_BYTES:
            fail(
                f"a group takes more than memory_limit and cannot be a document, with {size} bytes",
                146,
                hint="group by more, or keep less: $topN, $firstN",
            )
        self._allowed = max(self._memory, 2 * self._used)


class _Hash:
    """The groups in memory of one level."""

    def __init__(
        self, identity: Identity, fields: Fields, key: Callable[[Any], bytes], context: Context, level: int
    ) -> None:
        self._identity, self._fields, self._key, self._context, self._level = identity, fields, key, context, level
        self._memory = context.memory_limit
        self._keeps = any(accumulator.keeps for _, accumulator in fields)
        self._weights = [Weight() for _ in fields]
        self._groups: dict[bytes, Group] = {}
        self._base = self._grown = 0
        self._alone: Load | None = None  # of the only group, that stays in memory beyond the limit
        self._closed = False  # no group is taken any more: what comes is set aside
        self._aside: Partitions | None = None

    def run(self, batches: Iterable[list[Any]], variables: Variables) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Yield each group's key and document."""
        fields, groups = self._fields, self._groups
        try:
            for batch in batches:
                for item in batch:
                    self._take(item, variables)
            for place in list(groups):
                document = groups[place].result(fields)
                groups.pop(place).close(fields)
                yield place, document
            for part in self._aside.parts() if self._aside is not None else ():
                following = _Hash(self._identity, fields, self._key, self._context, self._level + 1)
                yield from following.run(self._looked(part), variables)
        finally:
            if self._aside is not None:
                self._aside.close()
            for group in groups.values():
                group.close(fields)

    def _looked(self, part: Iterator[Batch]) -> Iterator[Batch]:
        for batch in part:
            self._context.check_deadline()
            yield batch

    def _take(self, item: Any, variables: Variables) -> None:
        if item.__class__ is tuple:
            self._take_group(item)
            return
        value = self._identity(item, variables)
        value = None if value is MISSING else value
        place = self._key(value)
        found = self._groups.get(place)
        if found is None:
            if self._is_full():
                self._put(place, item)
                return
            found = self._begin(place, Group(value, self._fields, {**variables, "ROOT": item}))
        try:
            self._add(found, item, variables)
        except DivisionByZero as error:
            error.code = error.in_group
            raise

    def _add(self, group: Group, document: dict[str, Any], variables: Variables) -> None:
        if not self._keeps:
            group.add(self._fields, document, variables)
        elif self._alone is not None:
            self._alone.add(group, document, variables)
        else:
            self._grown += group.grow(self._fields, document, variables, self._weights)
            if self._base + self._grown > self._memory:
                self._lighten()

    def _take_group(self, item: Any) -> None:
        """Take a group that was set aside at the level before."""
        place, id, state, means = item
        if self._is_full():
            self._put(place, item)
            return
        self._weights = [
            weight if weight.mean else Weight(mean) for weight, mean in zip(self._weights, means, strict=True)
        ]
        group = self._begin(place, Group.restored(id, state, self._key))
        self._grown += group.kept(self._weights, self._fields)

    def _begin(self, place: bytes, group: Group) -> Group:
        self._groups[place] = group
        self._base += _GROUP_BYTES + _FOLD_BYTES * len(self._fields) + OBJECT_FACTOR * len(place)
        return group

    def _is_full(self) -> bool:
        return self._closed or (self._base + self._grown > self._memory and self._level < _DEEPEST)

    def _put(self, place: bytes, item: Any) -> None:
        if self._aside is None:
            self._aside = Partitions(self._level, self._memory)
        self._aside.put(place, item)

    def _lighten(self) -> None:
        """Set all groups aside, or let the only one grow."""
        if self._level == _DEEPEST:
            return
        groups, fields, weights = self._groups, self._fields, self._weights
        self._grown = sum(group.kept(weights, fields) for group in groups.values())
        if self._base + self._grown <= self._memory // 4 * 3:
            return
        self._closed = True
        if len(groups) == 1:
            self._alone = Load(fields, self._memory, weights)
            self._alone.lighten(next(iter(groups.values())))
            return
        means = [weight.mean for weight in weights]
        for place in looking(list(groups), self._context.check_deadline):
            group = groups.pop(place)
            self._put(place, (place, group.id, group.state(), means))
        self._base = self._grown = 0


def grouped(
    batches: Iterable[Batch],
    identity: Identity,
    fields: Fields,
    key: Callable[[Any], bytes],
    context: Context,
    variables: Variables,
) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield the key and the document of each group, in no order."""
    return _Hash(identity, fields, key, context, 0).run(batches, variables)
