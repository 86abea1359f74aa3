"""Histories: what transactions asked and were told, as lines that outlive the process that wrote them.

What lives here: ``Recorder`` and ``Attempt``, which write; ``Transaction`` and ``load``, which read. What it must not know: docdb, and what is an anomaly.

A line is a JSON array. One is written before the commit is called, with everything the transaction did, one after it with how it ended:

    ["try", id, lane, way, began, operations]        lane: what does one thing after the other; times are nanoseconds of the monotonic clock
    ["end", id, outcome, ended, operations]          outcome: ok, fail (nothing of it was written); operations: what was learned since the try

A try without an end is unknown: killed meanwhile. What was begun and has no try cannot have written anything. Operations:

    ["append", key, value]                           to the list ``key``; values are unique in the whole history
    ["read", key, [value, ...]]
    ["write", key, value]                            to the register ``key``
    ["get", key, value or null]
    ["put", space, item, value, attributes]          the item of a space has a new version with these attributes; its first one makes it
    ["delete", space, item]                          items never come back
    ["found", space, predicate, [[item, [value, ...]], ...]]    the items that match, each with all its versions so far
    ["seen", space, predicate, [value, ...]]         the items that match, each by its latest version
    ["count", space, predicate, number]
    ["expect", kind, expected, actual]               what must be equal, and the anomaly it is otherwise

A predicate maps attributes to [low, high], both ends included and null for none.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["Attempt", "Predicate", "Recorder", "Transaction", "load", "matches", "read_files"]

Predicate = dict[str, list[Any]]
NEVER: Final = 2**63  # the end of what has not ended


@dataclass(slots=True)
class Transaction:
    """One attempt: what it did, and how it ended (``ok``, ``fail``, ``unknown``)."""

    id: str
    lane: str
    way: str
    begin: int
    operations: list[list[Any]]
    outcome: str = "unknown"
    end: int = NEVER


class Recorder:
    """Writes the attempts of one process through ``write``, which takes one whole line."""

    def __init__(
        self, write: Callable[[bytes], Any], process: str, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.write = write
        self.process = process
        self.clock = clock
        self.count = 0

    @classmethod
    def to_file(cls, path: str | os.PathLike[str], process: str) -> Recorder:
        """Return one that appends to a file; what was written stays when the process is killed."""
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        return cls(lambda line: os.write(fd, line), process)

    def begin(self, lane: str, way: str) -> Attempt:
        """Return a new attempt; the clock is read before its first operation."""
        self.count += 1
        return Attempt(self, f"{self.process}.{lane}.{self.count}", f"{self.process}.{lane}", way)


@dataclass(slots=True)
class Attempt:
    """A transaction that is under way."""

    recorder: Recorder
    id: str
    lane: str
    way: str
    operations: list[list[Any]] = field(default_factory=list)
    began: int = 0
    told: int | None = None  # operations in the line of the try

    def __post_init__(self) -> None:
        self.began = self.recorder.clock()

    def note(self, *operation: Any) -> None:
        """Write down an operation that was answered."""
        self.operations.append(list(operation))

    def trying(self) -> None:
        """Say that it may be committed from now on."""
        self.told = len(self.operations)
        self._line(["try", self.id, self.lane, self.way, self.began, self.operations])

    def end(self, outcome: str) -> None:
        """Say how it ended."""
        ended = self.recorder.clock()
        if self.told is None:
            self.trying()
        self._line(["end", self.id, outcome, ended, self.operations[self.told :]])

    def _line(self, parts: list[Any]) -> None:
        self.recorder.write(json.dumps(parts, separators=(",", ":")).encode() + b"\n")


def load(lines: Iterable[bytes]) -> list[Transaction]:
    """Return the transactions of a history in the order of their lines; a torn last line of a killed process is left out."""
    found: dict[str, Transaction] = {}
    for line in lines:
        if not line.endswith(b"\n"):
            continue
        word, id, *rest = json.loads(line)
        if word == "try":
            lane, way, began, operations = rest
            found[id] = Transaction(id, lane, way, began, operations)
        else:
            found[id].outcome, found[id].end, more = rest
            found[id].operations += more
    return list(found.values())


def read_files(paths: Iterable[Path]) -> list[Transaction]:
    """Return the transactions of several files."""
    transactions: list[Transaction] = []
    for path in paths:
        with open(path, "rb") as lines:
            transactions += load(lines)
    return transactions


def matches(predicate: Predicate, attributes: dict[str, Any]) -> bool:
    """Say whether attributes match a predicate.

    >>> matches({"group": [1, 1], "n": [None, 7]}, {"group": 1, "n": 7})
    True
    """
    for name, (low, high) in predicate.items():
        value = attributes[name]
        if (low is not None and value < low) or (high is not None and value > high):
            return False
    return True
