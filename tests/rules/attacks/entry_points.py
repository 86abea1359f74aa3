"""Every way a user can reach documents, with one signature: ``call(handle, probe)`` over the public face.

What lives here: ``ENTRIES``, the table, and ``VARIANTS``, the same ways through a transaction or a snapshot. ``handle`` is what ``db.as_user``
returns, or a transaction or snapshot of it. What an entry point ``uses`` are the parts of the probe that it has a place for; ``kind`` says what
it does:

    read        documents, or parts of them      point      one document by its _id
    count       a number                         explain    how a query is carried out
    update      selects and changes              delete     selects and removes
    create      makes documents                  feed       hears of changes
    pipeline    runs the probe's stages          writing pipeline    runs stages that end with one that writes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from tests.rules.attacks import hearing, reading, writing
from tests.rules.attacks.ways import TABLE, Call, Entry

__all__ = ["ENTRIES", "VARIANTS", "Entry", "entries"]

assert hearing and reading and writing  # which fill the table
ENTRIES: Final = tuple(TABLE)


def entries(*kinds: str, uses: Iterable[str] = ()) -> list[Entry]:
    """Return the entry points of some kinds (of all without one) that use any of these parts (whatever they use without one)."""
    wanted = frozenset(uses)
    return [found for found in ENTRIES if (not kinds or found.kind in kinds) and (not wanted or wanted & found.uses)]


def in_transaction(call: Call) -> Call:
    """Return the entry point through a transaction that commits."""

    def inside(handle, probe):
        with handle.transaction() as t:
            return call(t, probe)

    return inside


def in_run_transaction(call: Call) -> Call:
    """Return the entry point through a function that a transaction runs."""
    return lambda handle, probe: handle.run_transaction(lambda t: call(t, probe))


def in_snapshot(call: Call) -> Call:
    """Return the entry point through a snapshot."""

    def inside(handle, probe):
        with handle.snapshot() as view:
            return call(view, probe)

    return inside


VARIANTS: Final[dict[str, Callable[[Call], Call]]] = {
    "plain": lambda call: call,
    "transaction": in_transaction,
    "run_transaction": in_run_transaction,
    "snapshot": in_snapshot,
}
