"""What a query says about the items it did not find.

What lives here: ``Space`` and ``predicate_edges``. What it must not know: how chains were made.

An item passes through states: not yet made, its versions, gone. A query that found it saw that version. One that did not saw a state that does not match, and
there may be several of them. Real time takes away those that were not yet or no longer there; where what is left lies together, the transaction comes behind
the change that began it and before the one that ended it. Where it does not, only the outermost bounds are known; ``undecided`` counts these.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.isolation.graph import PREDICATE, RW, WR, Anomaly, Graph
from tests.isolation.histories import Predicate, matches
from tests.isolation.orders import Chain, Query, View, Written

__all__ = ["Items", "predicate_edges"]


@dataclass(slots=True)
class Item:
    """The states of an item: ``writers[i]`` brought state i about (None: not yet made), ``attributes[i]`` is None where it is not there."""

    key: str
    writers: list[int | None]
    attributes: list[dict[str, Any] | None]
    open: bool  # there were later versions, in an order nobody knows
    places: dict[int, int] = field(default_factory=dict)  # version -> state
    seen: dict[int, int] = field(default_factory=dict)  # transaction -> state it read

    def made_by(self, state: int) -> int:
        """Return who brought a state about that is not the first."""
        writer = self.writers[state]
        assert writer is not None
        return writer


class Items:
    """All items by space."""

    def __init__(
        self, chains: dict[str, Chain], spaces: dict[str, str], written: dict[int, Written], doubted: set[str]
    ) -> None:
        """``doubted``: items that one of several transactions of unknown outcome may have deleted."""
        self._doubted = doubted
        self.by_space: defaultdict[str, list[Item]] = defaultdict(list)
        self.written = written
        self.undecided = 0
        for key, space in spaces.items():
            chain = chains.get(key)
            if chain is not None and chain.versions:
                self.by_space[space].append(self._item(chain))

    def _item(self, chain: Chain) -> Item:
        written = [self.written[value] for value in chain.versions]
        writers: list[int | None] = [None, *(one.transaction for one in written)]
        attributes: list[dict[str, Any] | None] = [None, *(one.attributes for one in written)]
        gone = len(chain.enders) == 1 and not chain.tail
        if gone:
            writers.append(chain.enders[0])
            attributes.append(None)
        unsure = bool(chain.tail or (chain.enders and not gone)) or chain.key in self._doubted
        item = Item(chain.key, writers, attributes, unsure)
        item.places = {value: at for at, value in enumerate(chain.versions, 1)}
        item.seen = dict(chain.readers)
        return item


def predicate_edges(graph: Graph, views: list[View], items: Items, reader: int) -> list[Anomaly]:
    """Add the edges of one transaction's queries; return what needs no cycle to be wrong."""
    found: list[Anomaly] = []
    for query in views[reader].queries:
        name = f"{query.space} {_text(query.predicate)}"
        if query.values is None:
            found += _counted(graph, views, items, reader, query, name)
            continue
        by_key = {items.written[value].key: value for value in query.values}
        found += _judge_found(views, items, reader, query, name)
        for item in items.by_space[query.space]:
            if item.key in query.touched or item.open:
                items.undecided += item.open
            elif item.key not in by_key:
                states = [s for s, a in enumerate(item.attributes) if a is None or not matches(query.predicate, a)]
                _saw_one_of(graph, views, items, item, reader, states, name)
            elif reader not in item.seen and by_key[item.key] in item.places:
                _saw(graph, item, reader, item.places[by_key[item.key]])
    return found


def _judge_found(views: list[View], items: Items, reader: int, query: Query, name: str) -> list[Anomaly]:
    """Return what is wrong with the versions that a query found."""
    found: list[Anomaly] = []
    me = views[reader].transaction.id
    assert query.values is not None
    for value in query.values:
        written = items.written[value]
        writer = views[written.transaction].transaction
        if written.attributes is not None and not matches(query.predicate, written.attributes):
            found.append(Anomaly("mismatch", f"{me} found {value} by {name}: {written.attributes}"))
        if writer.outcome == "fail":
            found.append(Anomaly("G1a", f"{me} found {value} by {name}, which {writer.id} never committed"))
        elif not written.last:
            found.append(Anomaly("G1b", f"{me} found {value} by {name}, not the last of {writer.id}"))
    if len({items.written[value].key for value in query.values}) != len(query.values):
        found.append(Anomaly("duplicate", f"{me} found two versions of an item by {name}: {sorted(query.values)}"))
    return found


def _saw(graph: Graph, item: Item, reader: int, state: int) -> None:
    writer = item.writers[state]
    if writer is not None:
        graph.add(writer, reader, WR, item.key)
    if state + 1 < len(item.writers):
        graph.add(reader, item.made_by(state + 1), RW, item.key)


def _saw_one_of(
    graph: Graph, views: list[View], items: Items, item: Item, reader: int, states: list[int], name: str
) -> None:
    possible = _possible(views, item, reader, states)
    if not possible:  # then each of them makes a cycle with real time, or with what else was read
        possible = [state for state in states if not _between(item, state)][-1:]
    if not possible:
        return  # a state that its own writer changed again: G1b says so
    items.undecided += _split(item, possible)
    begun = item.writers[possible[0]]
    if begun is not None:
        graph.add(begun, reader, WR | PREDICATE, f"{name} {item.key}")
    if possible[-1] + 1 < len(item.writers):
        graph.add(reader, item.made_by(possible[-1] + 1), RW | PREDICATE, f"{name} {item.key}")


def _possible(views: list[View], item: Item, reader: int, states: list[int]) -> list[int]:
    """Return those of the states that real time, and what the transaction read of the item elsewhere, leave."""
    me = views[reader].transaction
    if reader in item.seen and item.seen[reader] > 0:
        return [state for state in states if state == item.seen[reader]]
    left = []
    for state in states:
        begun, ended = item.writers[state], item.writers[state + 1] if state + 1 < len(item.writers) else None
        if begun == reader or (begun is not None and views[begun].transaction.begin > me.end):
            break
        if (ended is None or ended == reader or views[ended].transaction.end > me.begin) and not _between(item, state):
            left.append(state)
    return left


def _between(item: Item, state: int) -> bool:
    """Say whether a state is one that its own writer changed again."""
    return state + 1 < len(item.writers) and item.writers[state] == item.writers[state + 1]


def _split(item: Item, possible: list[int]) -> bool:
    """Say whether states that match lie between."""
    gaps = set(range(possible[0], possible[-1] + 1)) - set(possible)
    return any(not _between(item, gap) for gap in gaps)


def _counted(graph: Graph, views: list[View], items: Items, reader: int, query: Query, name: str) -> list[Anomaly]:
    """A number: it tells which items match only when it is the smallest or the largest possible one."""
    low, doubtful = 0, []
    for item in items.by_space[query.space]:
        if item.key in query.touched:
            continue
        states = list(range(len(item.writers)))
        possible = _possible(views, item, reader, states)
        yes = [s for s in possible if (a := item.attributes[s]) is not None and matches(query.predicate, a)]
        if len(yes) == len(possible) and not item.open:
            low += 1
        elif yes or item.open:
            doubtful.append((item, yes, [state for state in possible if state not in yes]))
    if not low <= query.count <= low + len(doubtful):
        text = f"{views[reader].transaction.id} counted {query.count} by {name}, possible are {low} to {low + len(doubtful)}"
        return [Anomaly("count", text)]
    if query.count == low or query.count == low + len(doubtful):
        for item, yes, no in doubtful:
            states = no if query.count == low else yes
            if states and not item.open:
                _saw_one_of(graph, views, items, item, reader, states, name)
    elif doubtful:
        items.undecided += 1
    return []


def _text(predicate: Predicate) -> str:
    return ",".join(f"{name}={low}..{high}" for name, (low, high) in predicate.items()) or "all"
