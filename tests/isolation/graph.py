"""Who must come before whom, and the cycles in it.

What lives here: ``Graph``, Tarjan's components without recursion, and ``anomalies``, which names cycles. What it must not know: where edges come from.

Edges are ww (the next version), wr (read what the other wrote), rw (read what the other overwrote); each may come from a predicate, and rw from real time.
Order in a process and real time are edges of their own. Real time would be a square number of edges: instead each end of a transaction is a node on a line
that leads to the next one, and to whoever begins behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["LANE", "PREDICATE", "RW", "TIME", "WR", "WW", "Anomaly", "Graph", "anomalies"]

WW: Final = 1
WR: Final = 2
RW: Final = 4
PREDICATE: Final = 8
LANE: Final = 16
TIME: Final = 32

LEVELS: Final = (("", LANE | TIME), ("-process", TIME), ("-realtime", 0))  # suffix of the name, what edges must not be
MOST_TRIED: Final = 200  # rw edges from which the way back is looked for, in one component

Edge = tuple[int, int, str]  # target, kind, key


@dataclass(frozen=True, slots=True)
class Anomaly:
    """What cannot happen, and did."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class Graph:
    """Nodes are numbers; those from ``len(names)`` on are moments."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.out: list[list[Edge]] = [[] for _ in names]
        self.count = 0

    def add(self, source: int, target: int, kind: int, key: str = "") -> None:
        """Add an edge between two; none to itself."""
        if source != target:
            self.out[source].append((target, kind, key))
            self.count += 1

    def add_time(self, times: Iterable[tuple[int, int, int]]) -> None:
        """Add real time: (begin, end, node) of every transaction."""
        windows = list(times)
        begins = sorted((begin, node) for begin, _, node in windows)
        ends = sorted((end, node) for _, end, node in windows)
        moment, at = -1, 0
        for begin, node in begins:
            while ends[at][0] < begin:
                self.out.append([])
                if moment >= 0:
                    self.add(moment, len(self.out) - 1, TIME)
                moment = len(self.out) - 1
                self.add(ends[at][1], moment, TIME)
                at += 1
            if moment >= 0:
                self.add(moment, node, TIME)

    def components(self, nodes: Iterable[int], forbidden: int = 0) -> list[list[int]]:
        """Return the strongly connected components of more than one node, along edges of no forbidden kind between the given nodes (Tarjan 1972)."""
        within = set(nodes)
        index: dict[int, int] = {}
        low: dict[int, int] = {}
        stack: list[int] = []
        on_stack: set[int] = set()
        found: list[list[int]] = []
        for root in within:
            if root in index:
                continue
            index[root] = low[root] = len(index)
            stack.append(root)
            on_stack.add(root)
            walk = [(root, iter(self.out[root]))]
            while walk:
                node, edges = walk[-1]
                for target, kind, _ in edges:
                    if kind & forbidden or target not in within:
                        continue
                    if target not in index:
                        index[target] = low[target] = len(index)
                        stack.append(target)
                        on_stack.add(target)
                        walk.append((target, iter(self.out[target])))
                        break
                    if target in on_stack:
                        low[node] = min(low[node], index[target])
                else:
                    walk.pop()
                    if walk:
                        low[walk[-1][0]] = min(low[walk[-1][0]], low[node])
                    if low[node] == index[node]:
                        at = stack.index(node) if stack[-1] != node else len(stack) - 1
                        component = stack[at:]
                        del stack[at:]
                        on_stack.difference_update(component)
                        if len(component) > 1:
                            found.append(component)
        return found

    def path(self, source: int, target: int, within: set[int], forbidden: int) -> list[tuple[int, Edge]] | None:
        """Return the shortest way of at least one edge, as (node, edge out of it), or None."""
        came: dict[int, tuple[int, Edge]] = {}
        queue = deque([source])
        while queue:
            node = queue.popleft()
            for edge in self.out[node]:
                if edge[1] & forbidden or edge[0] not in within or edge[0] in came:
                    continue
                came[edge[0]] = (node, edge)
                if edge[0] == target:
                    steps = [came[target]]
                    while steps[-1][0] != source:
                        steps.append(came[steps[-1][0]])
                    return steps[::-1]
                queue.append(edge[0])
        return None

    def text(self, cycle: list[tuple[int, Edge]]) -> str:
        """Return a cycle as text, moments left out."""
        while cycle[0][0] >= len(self.names):
            cycle = cycle[1:] + cycle[:1]
        parts = [self.names[cycle[0][0]]]
        for _, (target, kind, key) in cycle:
            if target < len(self.names):
                parts.append(f"-{_word(kind)}{' ' + key if key else ''}-> {self.names[target]}")
        return " ".join(parts)


def _word(kind: int) -> str:
    for bit, word in ((WW, "ww"), (WR, "wr"), (RW, "rw"), (LANE, "process")):
        if kind & bit:
            return word + (" predicate" if kind & PREDICATE else "")
    return "time"


def anomalies(graph: Graph) -> list[Anomaly]:
    """Return one anomaly for each component with a cycle, and the strongest name for it."""
    return [name_cycle(graph, component) for component in graph.components(range(len(graph.out)))]


def name_cycle(graph: Graph, component: list[int]) -> Anomaly:
    """Name the cycle of a component that the weakest isolation level would already forbid."""
    for suffix, forbidden in LEVELS:
        for smaller in graph.components(component, forbidden):
            within = set(smaller)
            for kind, more in (("G0", WR | RW), ("G1c", RW)):
                for part in graph.components(smaller, forbidden | more):
                    cycle = graph.path(part[0], part[0], set(part), forbidden | more)
                    assert cycle is not None
                    return _named(graph, kind, suffix, cycle)
            cycle = _single(graph, within, forbidden)
            if cycle is not None:
                return _named(graph, "G-single", suffix, cycle)
            cycle = graph.path(smaller[0], smaller[0], within, forbidden)
            assert cycle is not None
            return _named(graph, "G2-item", suffix, cycle)
    raise AssertionError("a component has a cycle")


def _single(graph: Graph, within: set[int], forbidden: int) -> list[tuple[int, Edge]] | None:
    """Return a cycle with exactly one rw edge, or None."""
    tried = 0
    for node in within:
        for edge in graph.out[node]:
            if edge[1] & RW and not edge[1] & forbidden and edge[0] in within:
                tried += 1
                back = graph.path(edge[0], node, within, forbidden | RW)
                if back is not None:
                    return [(node, edge), *back]
                if tried == MOST_TRIED:
                    return None
    return None


def _named(graph: Graph, kind: str, suffix: str, cycle: list[tuple[int, Edge]]) -> Anomaly:
    if any(edge[1] & PREDICATE for _, edge in cycle):
        kind = "G2-predicate" if kind == "G2-item" else kind + "-predicate"
    return Anomaly(kind + suffix, graph.text(cycle))
