"""What ``db.stats()`` says of consumers and triggers.

What lives here: ``describe``. What it must not know: how they work; their records tell where they are, those of this session what they do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docdb.feeds.positions import END, Position
from docdb.store import progress

if TYPE_CHECKING:
    from docdb.sessions.session import StoreSession
    from docdb.store.snapshots import Snapshot

__all__ = ["describe"]


def describe(session: StoreSession, snapshot: Snapshot) -> dict[str, Any]:
    """Return what ``db.stats()`` shows of the consumers and triggers of all processes: place, commits behind it, and of this session's what they do."""
    state, about = snapshot.state(), session.store.about
    shown: dict[str, Any] = {"consumers": {}, "triggers": {}}
    for stored in progress.read_all(snapshot.txn):
        shown[f"{stored.kind}s"][stored.name] = {
            "collection": stored.collection,
            "position": str(Position(about["database_id"], about["epoch"], *stored.place)),
            "lag": max(0, state.last_commit - stored.commit),
            "lost": stored.commit < state.oldest_commit - (stored.index == END),
            "state": "elsewhere",
        }
    for follower in sorted(session.feeds.followers, key=lambda follower: follower.state == "running"):
        row = shown[f"{follower.kind}s"].setdefault(
            follower.name, {"collection": follower.what.collection, "position": None, "lag": None, "lost": False}
        )
        row |= follower.local(state.last_commit)
    return shown
