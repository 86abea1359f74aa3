"""In which order every object had its versions, and what follows from it.

What lives here: ``View`` (what one transaction saw of others and what it did), ``Chain`` (a list or an item: whoever reads it sees all its versions so far) and
``Register`` (whoever reads it sees one version; the order is inferred). What it must not know: predicates, cycles.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tests.isolation.graph import RW, TIME, WR, WW, Anomaly, Graph
from tests.isolation.histories import Predicate, Transaction, matches

__all__ = ["Chain", "Query", "Register", "View", "Written", "item_key", "view_of"]

MOST_SHOWN: Final = 12  # versions in a message


class Written(NamedTuple):
    """Who wrote a value, where, whether it is the last of that transaction there, and the attributes of an item's version."""

    transaction: int
    key: str
    last: bool
    attributes: dict[str, Any] | None


class Query(NamedTuple):
    """A predicate read: ``found`` items and their latest versions (others' only), or just their number; ``touched`` are items it had written to."""

    space: str
    predicate: Predicate
    values: set[int] | None
    count: int
    touched: frozenset[str]


@dataclass(slots=True)
class View:
    """One transaction: what it saw of others, what it wrote, what contradicts itself."""

    transaction: Transaction
    reads: dict[str, list[int]] = field(default_factory=dict)
    gets: dict[str, int | None] = field(default_factory=dict)
    appended: dict[str, list[int]] = field(default_factory=dict)
    written: dict[str, list[int]] = field(default_factory=dict)
    deleted: dict[str, None] = field(default_factory=dict)
    attributes: dict[int, dict[str, Any]] = field(default_factory=dict)
    spaces: dict[str, str] = field(default_factory=dict)  # item key -> space
    queries: list[Query] = field(default_factory=list)
    problems: list[Anomaly] = field(default_factory=list)

    def complain(self, kind: str, text: str) -> None:
        self.problems.append(Anomaly(kind, f"{self.transaction.id} {text}"))

    def read_chain(self, key: str, values: list[int]) -> None:
        """Take own versions off the end of what was read; the rest is what others did, and must stay the same."""
        own = self.appended.get(key, [])
        if own and values[-len(own) :] != own:
            self.complain("internal", f"appended {own} to {key} and then read {values[-MOST_SHOWN:]}")
            return
        others = values[: len(values) - len(own)]
        if self.reads.setdefault(key, others) != others:
            self.complain("non-repeatable read", f"{key}: first {_tail(self.reads[key])}, then {_tail(others)}")

    def get_register(self, key: str, value: int | None) -> None:
        if key in self.written:
            if value != self.written[key][-1]:
                self.complain("internal", f"wrote {self.written[key][-1]} to {key} and then read {value}")
        elif self.gets.setdefault(key, value) != value:
            self.complain("non-repeatable read", f"{key}: first {self.gets[key]}, then {value}")

    def query(self, space: str, predicate: Predicate, values: list[int] | None, count: int) -> None:
        """Check own items against the answer and keep what it says of others' items."""
        own = {
            key: versions[-1]
            for key, versions in self.appended.items()
            if self.spaces.get(key) == space and key not in self.deleted
        }
        matching = {value for value in own.values() if matches(predicate, self.attributes[value])}
        touched = frozenset(own) | {key for key in self.deleted if self.spaces[key] == space}
        if values is None:
            self.queries.append(Query(space, predicate, None, count - len(matching), touched))
            return
        mine = {value for versions in self.appended.values() for value in versions}
        if {value for value in values if value in mine} != matching or len(set(values)) != len(values):
            self.complain("internal", f"own {sorted(matching)} of {space} match {predicate}, found {sorted(values)}")
        self.queries.append(Query(space, predicate, set(values) - mine, len(values) - len(matching), touched))


def item_key(space: str, item: str) -> str:
    """Return the key of an item."""
    return f"{space}/{item}"


def view_of(transaction: Transaction) -> View:
    """Walk through the operations of a transaction."""
    view = View(transaction)
    for word, *rest in transaction.operations:
        match word:
            case "append":
                view.appended.setdefault(rest[0], []).append(rest[1])
            case "read":
                view.read_chain(*rest)
            case "write":
                view.written.setdefault(rest[0], []).append(rest[1])
            case "get":
                view.get_register(*rest)
            case "put":
                key = item_key(rest[0], rest[1])
                view.spaces[key] = rest[0]
                view.appended.setdefault(key, []).append(rest[2])
                view.attributes[rest[2]] = rest[3]
            case "delete":
                key = item_key(rest[0], rest[1])
                view.spaces[key] = rest[0]
                view.deleted[key] = None
            case "found":
                _found(view, *rest)
            case "seen":
                view.query(rest[0], rest[1], rest[2], len(rest[2]))
            case "count":
                view.query(rest[0], rest[1], None, rest[2])
            case "expect":
                if rest[1] != rest[2]:
                    view.complain(rest[0], f"expected {rest[1]}, found {rest[2]}")
            case _:
                raise ValueError(f"an operation {word!r} in a history")
    return view


def _found(view: View, space: str, predicate: Predicate, rows: list[tuple[str, list[int]]]) -> None:
    for item, versions in rows:
        key = item_key(space, item)
        view.spaces[key] = space
        if key in view.deleted:
            view.complain("internal", f"deleted {key} and then found it")
        else:
            view.read_chain(key, versions)
    view.query(space, predicate, [versions[-1] for _, versions in rows], len(rows))


def _tail(values: list[int]) -> str:
    return f"{len(values)} versions ending {values[-3:]}"


class Chain:
    """A list, or an item. Versions are placed by the longest read; behind it stand those that nobody read (``tail``) or the deletion (``enders``)."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.versions: list[int] = []
        self.readers: list[tuple[int, int]] = []  # transaction, number of versions seen
        self.tail: list[int] = []  # transactions
        self.enders: list[int] = []
        self.torn: list[tuple[int, list[int]]] = []  # reads that are no beginning of the longest

    def learn(self, reads: list[tuple[int, list[int]]]) -> None:
        """Place the versions."""
        self.versions = max((values for _, values in reads), key=len, default=[])
        for transaction, values in reads:
            if values == self.versions[: len(values)]:
                self.readers.append((transaction, len(values)))
            else:
                self.torn.append((transaction, values))

    def place(self, views: list[View], writers: list[int]) -> None:
        """Place what a committed transaction wrote and nobody read, where it is the only one."""
        placed = set(self.versions)
        self.tail = [t for t in writers if views[t].appended[self.key][-1] not in placed]
        if len(self.tail) == 1:
            self.versions = self.versions + views[self.tail.pop()].appended[self.key]

    def edges(self, graph: Graph, written: dict[int, Written]) -> None:
        """Say who must come before whom."""
        writers = [written[value].transaction for value in self.versions]
        behind = self.tail or self.enders
        for earlier, later in zip(writers, writers[1:], strict=False):
            graph.add(earlier, later, WW, self.key)
        for ender in [*self.tail, *self.enders] if writers else ():
            graph.add(writers[-1], ender, WW, self.key)
        for reader, seen in self.readers:
            if seen:
                graph.add(writers[seen - 1], reader, WR, self.key)
            for next in (writers[seen],) if seen < len(writers) else behind:
                graph.add(reader, next, RW, self.key)

    def problems(self, views: list[View], written: dict[int, Written]) -> list[Anomaly]:
        """Return what is wrong without any cycle."""
        found: list[Anomaly] = []
        for reader, values in self.torn:
            name = views[reader].transaction.id
            found.append(
                Anomaly("incompatible order", f"{name} read {self.key} as {values}, others as {self.versions}")
            )
        if len(set(self.versions)) != len(self.versions):
            found.append(Anomaly("duplicate", f"{self.key} holds a value twice: {self.versions}"))
        ends = {seen for _, seen in self.readers if seen}
        for at, value in enumerate(self.versions, 1):
            writer = views[written[value].transaction].transaction
            if writer.outcome == "fail" and ends and at <= max(ends):
                name = next(views[r].transaction.id for r, seen in self.readers if seen >= at)
                found.append(Anomaly("G1a", f"{name} read {value} of {self.key}, which {writer.id} never committed"))
            if at in ends and not written[value].last:
                names = [views[r].transaction.id for r, seen in self.readers if seen == at]
                found += [
                    Anomaly("G1b", f"{name} read {value} of {self.key}, not the last of {writer.id}")
                    for name in names
                    if name != writer.id
                ]
        return found + self._lost(views)

    def _lost(self, views: list[View]) -> list[Anomaly]:
        found = []
        latest = max((views[reader].transaction.begin for reader, _ in self.readers), default=-1)
        for t in self.tail:
            if views[t].transaction.end < latest:
                found.append(
                    Anomaly("lost write", f"{views[t].appended[self.key]} of {self.key} by {views[t].transaction.id}")
                )
        return found


class Register:
    """A register: version orders come from who read before writing, and from real time."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.readers: defaultdict[int | None, list[int]] = defaultdict(list)
        self.writers: list[int] = []  # committed transactions

    def edges(self, graph: Graph, views: list[View], written: dict[int, Written]) -> None:
        """Say who must come before whom."""
        after: defaultdict[int | None, list[tuple[int, int]]] = defaultdict(list)  # value -> (later writer, kind)
        rooted: set[int] = set()
        for writer in self.writers:
            if self.key in views[writer].gets:
                before = views[writer].gets[self.key]
                after[before].append((writer, 0))
                if before is not None:
                    graph.add(written[before].transaction, writer, WW, self.key)
                    rooted.add(writer)
        for one in self.writers:
            for two in self.writers:
                if views[one].transaction.end < views[two].transaction.begin:
                    after[views[one].written[self.key][-1]].append((two, TIME))
        after[None] += [(writer, 0) for writer in self.writers if writer not in rooted]
        for value, readers in self.readers.items():
            for reader in readers:
                if value is not None:
                    graph.add(written[value].transaction, reader, WR, self.key)
                for writer, kind in after[value]:
                    graph.add(reader, writer, RW | kind, self.key)

    def problems(self, views: list[View], written: dict[int, Written]) -> list[Anomaly]:
        """Return what is wrong without any cycle."""
        found: list[Anomaly] = []
        for value, readers in self.readers.items():
            if value is None:
                continue
            writer = views[written[value].transaction].transaction
            name = views[readers[0]].transaction.id
            if writer.outcome == "fail":
                found.append(Anomaly("G1a", f"{name} read {value} of {self.key}, which {writer.id} never committed"))
            elif not written[value].last:
                found.append(Anomaly("G1b", f"{name} read {value} of {self.key}, not the last of {writer.id}"))
        return found
