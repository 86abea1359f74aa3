"""The table of entry points, and what they have in common.

What lives here: ``Entry`` and ``entry``, which puts a function into the table. What the functions do stands in the modules named after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.rules.attacks.stage import Probe

__all__ = ["TABLE", "Call", "Entry", "chosen", "entry", "notes", "options", "without_id"]

Call = Callable[[Any, Probe], Any]


@dataclass(frozen=True)
class Entry:
    """One way in. ``alone`` ones stand at the database itself: there is no transaction or snapshot to go through."""

    name: str
    kind: str
    uses: frozenset[str]
    call: Call
    alone: bool = False

    @property
    def makes(self) -> bool:
        """Whether it may make a document, so that it tells by its success that there was none."""
        return (
            self.kind in ("create", "writing pipeline")
            or self.name.endswith("_or_insert")
            or self.name in ("doc_set", "transaction_set")
        )

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.kind in ("update", "delete", "create", "writing pipeline")


TABLE: Final[list[Entry]] = []


def entry(kind: str, uses: str, *, alone: bool = False) -> Callable[[Call], Call]:
    """Put a function into the table."""

    def put(call: Call) -> Call:
        TABLE.append(Entry(call.__name__, kind, frozenset(uses.split()), call, alone))
        return call

    return put


def notes(handle: Any, probe: Probe) -> Any:
    return handle.collection(probe.collection)


def chosen(handle: Any, probe: Probe) -> Any:
    """Return the native query of a probe."""
    query = notes(handle, probe).where(probe.filter)
    return query if probe.collation is None else query.collation(probe.collation)


def options(probe: Probe) -> dict[str, Any]:
    return {} if probe.collation is None else {"collation": probe.collation}


def without_id(document):
    return {name: value for name, value in document.items() if name != "_id"}
