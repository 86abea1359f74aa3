"""What all operations of a writing call share.

What lives here: ``Setting``, ``Guard`` (the seam for sessions with rules), and the refusal of calls that change too much. What it must not know: operations,
how documents are selected and changed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from docdb.errors import DocdbError, UsageError
from docdb.language.collation import Collation, parse_collation

if TYPE_CHECKING:
    from docdb.sessions.selecting import Selection
    from docdb.store.batch import WriteBatch
    from docdb.store.catalog import CollectionInfo
    from docdb.store.runs import Documents

__all__ = ["COMMIT_BYTES", "Guard", "JudgeChange", "Setting", "TooLarge", "too_large"]

COMMIT_BYTES: Final = 256 * 2**20
JudgeChange = Callable[[dict[str, Any], dict[str, Any], bytes, bytes], None]


class Guard(Protocol):
    """Who judges what a caller writes; it raises DeniedError before anything of the operation is put.

    ``owner`` is the field, and the text in it, that ``adopt`` gives each new document; None where it only refuses.
    Everything but ``adopt`` and ``keep`` runs inside the write transaction, against the rules and the documents it has at that point.
    """

    @property
    def owner(self) -> tuple[str, str] | None:
        """What ``prepare_run`` does of ``adopt``."""

    def adopt(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a new document with what is not the caller's to say."""

    def keep(self, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        """Return the replacement of a document with what is not the caller's to say."""

    def rows(self, batch: WriteBatch, selection: Selection) -> list[tuple[bytes, bytes]]:
        """Return id key and stored bytes of what an update or delete selects, all of which it may touch."""

    def changing(self, batch: WriteBatch) -> JudgeChange:
        """Return what judges one update: both images, and the bytes before and after (the same where nothing changes)."""

    def created(self, batch: WriteBatch, documents: Documents) -> None:
        """Judge new documents."""

    def shown(self, batch: WriteBatch, document: dict[str, Any]) -> dict[str, Any]:
        """Return what the caller may read of a document that an operation answers with."""

    def counted(self, matched: int, modified: int) -> int:
        """Return how many changes the caller is told of, of the update that was selected and judged last."""

    def refused(self, batch: WriteBatch, error: DocdbError) -> DocdbError:
        """Return what the caller is told of a refusal."""

    def forgive(self, count: int) -> None:
        """Note that so many changes are not the caller's: expired documents that make way."""

    def spend(self, count: int) -> None:
        """Called before changes are put: refuse when there are more than have been judged."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all operations of a call share: the collection as known before the lock, the statement's clock, limits, and who judges."""

    name: str
    info: CollectionInfo | None
    version: int
    now: dt.datetime
    naive_utc: bool = False
    commit_bytes: int = COMMIT_BYTES
    deadline: float | None = None
    guard: Guard | None = None

    def collation(self, spec: Any) -> Collation | None:
        """Return the collation asked for, or the collection's own."""
        if spec is not None:
            return parse_collation(spec)
        return self.info.collation if self.info is not None else None


class TooLarge(UsageError):
    """A call that changes more than ``commit_bytes``."""


def too_large(setting: Setting) -> TooLarge:
    """Return the refusal of a call that changes too much."""
    return TooLarge(
        f"one call may change at most {setting.commit_bytes} bytes",
        hint="use batch=n to commit in steps, or raise commit_bytes",
    )
