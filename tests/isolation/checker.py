"""The checker: from a history to the anomalies in it.

What lives here: ``check``. What it must not know: docdb, files. The time it takes is about linear in the operations; 100,000 transactions take less than a
minute.

Transactions that failed are checked as readers: what they saw must be one state too. An unknown one counts as committed when anything it wrote was seen.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.isolation.graph import LANE, Anomaly, Graph, anomalies
from tests.isolation.histories import Transaction
from tests.isolation.orders import Chain, Register, View, Written, view_of
from tests.isolation.predicates import Items, predicate_edges

__all__ = ["Verdict", "check"]


@dataclass
class Verdict:
    """What was found, and in how much."""

    anomalies: list[Anomaly]
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def kinds(self) -> set[str]:
        """The names of the anomalies."""
        return {anomaly.kind for anomaly in self.anomalies}

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        return "\n".join([counts, *map(str, self.anomalies[:20])])


def check(history: list[Transaction]) -> Verdict:
    """Find what cannot be explained by one serial order of the committed transactions that respects real time."""
    return _Checker(history).run()


class _Checker:
    def __init__(self, history: list[Transaction]) -> None:
        self.views = [view_of(transaction) for transaction in history]
        self.problems = [problem for view in self.views for problem in view.problems]
        self.written: dict[int, Written] = {}
        self.chains: dict[str, Chain] = {}
        self.registers: dict[str, Register] = {}
        self.spaces: dict[str, str] = {}
        self.committed: list[bool] = []
        self.doubted: set[str] = set()  # items of which nobody knows when they were deleted, or whether

    def run(self) -> Verdict:
        self._index_writes()
        self._learn_chains()
        self._learn_registers()
        self._decide()
        self._place()
        graph, items = self._edges()
        self.problems += anomalies(graph)
        outcomes = [view.transaction.outcome for view in self.views]
        counts = {
            "transactions": len(self.views), "committed": sum(self.committed), "failed": outcomes.count("fail"),
            "unknown": outcomes.count("unknown"), "of those seen": sum(self.committed) - outcomes.count("ok"),
            "edges": graph.count, "undecided": items.undecided, "anomalies": len(self.problems),
        }  # fmt: skip
        return Verdict(self.problems, counts)

    def _index_writes(self) -> None:
        for t, view in enumerate(self.views):
            self.spaces |= view.spaces
            for writes in (view.appended, view.written):
                for key, values in writes.items():
                    for value in values:
                        assert value not in self.written, f"{value} is written twice in this history"
                        self.written[value] = Written(t, key, value == values[-1], view.attributes.get(value))

    def _is_known(self, reader: View, key: str, values: list[Any]) -> bool:
        """Complain about values nobody wrote there."""
        strange = [value for value in values if value not in self.written or self.written[value].key != key]
        if strange:
            self.problems.append(Anomaly("unwritten", f"{reader.transaction.id} read {strange} in {key}"))
        return not strange

    def _learn_chains(self) -> None:
        reads: defaultdict[str, list[tuple[int, list[int]]]] = defaultdict(list)
        for t, view in enumerate(self.views):
            for key, values in view.reads.items():
                if self._is_known(view, key, values):
                    reads[key].append((t, values))
            for key in view.appended:
                self.chains.setdefault(key, Chain(key))
        for key, found in reads.items():
            self.chains[key] = chain = Chain(key)
            chain.learn(found)
        for view in self.views:
            for at, query in enumerate(view.queries):
                strange = {value for value in query.values or () if value not in self.written}
                if strange:
                    self.problems.append(Anomaly("unwritten", f"{view.transaction.id} found {sorted(strange)}"))
                    view.queries[at] = query._replace(values=(query.values or set()) - strange)

    def _learn_registers(self) -> None:
        for t, view in enumerate(self.views):
            for key, value in view.gets.items():
                if value is None or self._is_known(view, key, [value]):
                    self.registers.setdefault(key, Register(key)).readers[value].append(t)
            for key in view.written:
                self.registers.setdefault(key, Register(key))

    def _decide(self) -> None:
        """Find out which transactions of unknown outcome were committed."""
        seen = {value for chain in self.chains.values() for value in chain.versions}
        seen |= {value for register in self.registers.values() for value in register.readers if value is not None}
        seen |= {value for view in self.views for query in view.queries for value in query.values or ()}
        for view in self.views:
            outcome = view.transaction.outcome
            values = (value for writes in (view.appended, view.written) for own in writes.values() for value in own)
            self.committed.append(outcome == "ok" or (outcome == "unknown" and any(value in seen for value in values)))
        self._decide_deletions()

    def _decide_deletions(self) -> None:
        """One that deleted an item that others made and nobody else deleted was committed when a later look at the whole space lacks it.

        Where several may have done it, or none has looked since, nobody knows when it went (``doubted``).
        """
        suspects: defaultdict[str, list[int]] = defaultdict(list)
        makers: defaultdict[str, set[int]] = defaultdict(set)
        for t, view in enumerate(self.views):
            if self.committed[t]:
                for key in view.appended:
                    makers[key].add(t)
            for key in view.deleted:
                if view.transaction.outcome != "fail":
                    suspects[key].append(t)
        looks: dict[str, tuple[int, set[str]]] = {}
        for view in self.views:
            for query in view.queries:
                if not query.predicate and query.values is not None:
                    keys = {self.written[value].key for value in query.values} | query.touched
                    looks[query.space] = max(
                        looks.get(query.space, (-1, set())), (view.transaction.begin, keys), key=lambda look: look[0]
                    )
        for key, deleters in suspects.items():
            begin, keys = looks.get(self.spaces[key], (-1, set()))
            if (
                len(deleters) == 1
                and makers[key] - {deleters[0]}
                and key not in keys
                and begin > self.views[deleters[0]].transaction.begin
            ):
                self.committed[deleters[0]] = True
            elif key not in keys and not any(self.committed[t] for t in deleters):
                self.doubted.add(key)

    def _place(self) -> None:
        writers: defaultdict[str, list[int]] = defaultdict(list)
        for t, view in enumerate(self.views):
            if self.committed[t]:
                for key in view.appended:
                    writers[key].append(t)
                for key in view.deleted:
                    self.chains.setdefault(key, Chain(key)).enders.append(t)
                for key in view.written:
                    self.registers[key].writers.append(t)
        for key, chain in self.chains.items():
            chain.place(self.views, writers[key])
            self.problems += chain.problems(self.views, self.written)
            self._lost_updates(key, [(t, seen) for t, seen in chain.readers])
        for key, register in self.registers.items():
            self.problems += register.problems(self.views, self.written)
            self._lost_updates(key, [(t, value) for value, readers in register.readers.items() for t in readers])

    def _lost_updates(self, key: str, reads: list[tuple[int, Any]]) -> None:
        """Two that read the same version and both wrote the next one."""
        by_version: defaultdict[Any, list[str]] = defaultdict(list)
        for t, version in reads:
            view = self.views[t]
            if self.committed[t] and (key in view.appended or key in view.written or key in view.deleted):
                by_version[version].append(view.transaction.id)
        for version, names in by_version.items():
            if len(names) > 1:
                self.problems.append(Anomaly("lost update", f"{names} all changed version {version} of {key}"))

    def _edges(self) -> tuple[Graph, Items]:
        graph = Graph([view.transaction.id for view in self.views])
        for chain in self.chains.values():
            chain.edges(graph, self.written)
        for register in self.registers.values():
            register.edges(graph, self.views, self.written)
        items = Items(self.chains, self.spaces, self.written, self.doubted)
        shown = [t for t, view in enumerate(self.views) if self.committed[t] or view.transaction.outcome == "fail"]
        for t in shown:
            self.problems += predicate_edges(graph, self.views, items, t)
        last: dict[str, int] = {}
        for t in sorted(shown, key=lambda t: self.views[t].transaction.begin):
            transaction = self.views[t].transaction
            if transaction.lane in last:
                graph.add(last[transaction.lane], t, LANE)
            last[transaction.lane] = t
        graph.add_time((self.views[t].transaction.begin, self.views[t].transaction.end, t) for t in shown)
        return graph, items
