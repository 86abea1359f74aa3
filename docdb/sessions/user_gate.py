"""One operation of a caller as the rules see it.

What lives here: ``Gate``, which finds the rules of a name in the operation's own snapshot, narrows queries to what they allow and judges stored documents;
and ``Denial``, what a developer is told. What it must not know: how anything is read or written.

Everything that is not known to be allowed is refused: a name without rules, rules that cannot be read, an action nobody has thought of. The
caller is told one text, whatever it was.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from docdb.errors import CorruptError, DeniedError, RuleError
from docdb.language.matching import matcher
from docdb.language.tree import Node
from docdb.planner.queries import FindQuery
from docdb.rules.compiled import compiled
from docdb.rules.evaluator import Circumstances
from docdb.rules.fields import Fields, fields_of_filter, fields_of_metadata, fields_of_projection, fields_of_sort
from docdb.rules.masks import fields_of_hint, mask, searched, speaks_of
from docdb.rules.prover import decide
from docdb.rules.ruleset import RuleSet
from docdb.rules.syntax import Node as RuleNode
from docdb.sessions.rulebook import KnownRules, known_rules
from docdb.sessions.user_caller import Caller
from docdb.sessions.user_fields import FieldGate, Masking
from docdb.sessions.user_reader import Notes, SnapshotReader
from docdb.sessions.user_steady import one_id
from docdb.store import codec
from docdb.store.keyspace import MAX_ID
from docdb.store.views import View

if TYPE_CHECKING:
    from docdb.store.catalog import Catalog

__all__ = ["Denial", "Denials", "Gate"]

TEXT: Final = "the rules do not allow it"
MOST_KEPT: Final = 1_000
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MS: Final = dt.timedelta(milliseconds=1)
_logger = logging.getLogger("docdb.rules")
_logger.addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Denial:
    """What a developer is told of a refusal: which rule, and why. ``id`` is the one thing that the caller knows of it, too."""

    id: str
    action: str
    collection: str | None
    auth: Mapping[str, Any] | None
    reason: str
    rule: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


class Denials:
    """What was denied inside an operation and is told when it is over: never under the writer's lock."""

    def __init__(self, caller: Caller, default: Callable[[Denial], Any] | None) -> None:
        self._hook = caller.on_denied if caller.on_denied is not None else default
        self._waiting: dict[str, Denial] = {}

    def make(self, denial: Denial) -> DeniedError:
        """Return the error for the caller; the denial waits for ``tell``."""
        if len(self._waiting) >= MOST_KEPT:
            self._waiting.clear()
        self._waiting[denial.id] = denial
        error = DeniedError(TEXT)
        error.correlation_id = denial.id
        return error

    def take(self, error: BaseException) -> Denial | None:
        """Return what is known of a denial, which is not told any more."""
        return self._waiting.pop(getattr(error, "correlation_id", None) or "", None)

    def tell(self, error: BaseException) -> None:
        """Hand what is known of a denial to the log and the program's hook, once; what the hook raises is logged."""
        denial = self.take(error)
        if denial is None:
            return
        _logger.info("%s denied: %s on %r: %s", denial.id, denial.action, denial.collection, denial.reason)
        if self._hook is not None:
            try:
                self._hook(denial)
            except Exception:
                _logger.exception("on_denied failed")


class Gate:
    """The rules for one caller in one snapshot or write transaction, at one moment."""

    __slots__ = (
        "_asked",
        "_catalog",
        "_denials",
        "_fields",
        "_late",
        "_notes",
        "_over",
        "_view_of",
        "about",
        "caller",
        "now",
    )

    def __init__(
        self,
        caller: Caller,
        denials: Denials,
        catalog: Catalog,
        view_of: Callable[[str], View],
        now: dt.datetime,
        notes: Notes | None = None,
        *,
        over: bool = False,
        late: bool = False,
        asked: set[str] | None = None,
    ) -> None:
        """``over``: the caller's time is. ``late``: denials are told when the operation has ended. ``asked`` takes the names whose rules were looked at."""
        self.caller = caller
        self._over, self._late, self._asked = over, late, asked
        self.now = now
        self._denials = denials
        self._catalog = catalog
        self._view_of = view_of
        self._notes = notes
        self._fields: dict[str, FieldGate] = {}
        self.about = Circumstances(caller.auth, (now - _EPOCH) // _MS, reader=SnapshotReader(view_of, now, notes))

    def denied(
        self, action: str, name: str | None, reason: str, known: KnownRules | None = None, **detail: Any
    ) -> DeniedError:
        """Return the refusal, the reason kept for the developer."""
        rule = None
        if known is not None:
            rules = self.rules_of(known)
            key = rules.key(action)
            rule = None if key is None else rules.sources.get(key)
        auth = None if self.caller.auth is None else dict(self.caller.auth)
        error = self._denials.make(Denial(uuid.uuid4().hex, action, name, auth, reason, rule, detail))
        if not self._late:
            self._denials.tell(error)
        return error

    def reason_of(self, error: DeniedError) -> str:
        """Return why something was denied, to who asks for that and nothing else."""
        denial = self._denials.take(error)
        return "" if denial is None else denial.reason

    def known(self, name: str, action: str) -> KnownRules:
        """Return the rules of a name; DeniedError where there are none, or the caller's time is over."""
        if self._asked is not None:
            self._asked.add(name)
        if self._over:
            raise self.denied(action, name, "the caller's time is over")
        record = None if name.startswith("_") else self._catalog.rules.get(name)
        if record is None:
            raise self.denied(
                action, name, "no user reaches this name" if name.startswith("_") else "there are no rules"
            )
        found: KnownRules | None = record.parsed
        if found is None:
            try:
                found = known_rules(record)
            except (CorruptError, RuleError) as error:
                raise self.denied(action, name, f"its rules cannot be read: {error}") from None
        return found

    def rules_of(self, known: KnownRules) -> RuleSet:
        """Return the rules that count for the caller."""
        return known.web if self.caller.by_uid else known.rules

    def rule(self, known: KnownRules, action: str) -> RuleNode:
        """Return the rule for an action; DeniedError where there is none."""
        rule = self.rules_of(known).rule(action)
        if rule is None:
            raise self.denied(action, known.name, "there is no rule for it", known)
        return rule

    def narrowed(self, name: str, query: FindQuery, also: Sequence[str] = ()) -> FindQuery:
        """Return the query that reads only what the caller may read; DeniedError where it may not run. ``also``: paths it speaks of beside its filter."""
        known = self.known(name, "read")
        rule = self.rule(known, "read")
        key = None if self.caller.strict_ids else one_id(query.node)
        if key is None:
            found, data = self.proved(known, "read", rule, query), None
        else:
            found, data = query, self.stored(known, "read", key)
        if not self.fields(known):
            return found
        node, hidden = self.hidden_from(known, found.node, data)
        return self._shown(known, query, found._replace(node=node), hidden, also)

    def _shown(
        self, known: KnownRules, asked: FindQuery, found: FindQuery, hidden: frozenset[str], also: Sequence[str]
    ) -> FindQuery:
        """Return the query with its documents masked; DeniedError where what was asked speaks of a hidden field."""
        if not hidden:
            return found
        self.speak(known, "read", self.spoken(known.name, asked, also), hidden)
        fields = self.fields(known)
        if asked.fields is not None:
            self.speak(known, "read", fields_of_projection(asked.fields), fields.certain & hidden)
        if asked.return_key:
            raise self.denied("read", known.name, "keys of an index may hold hidden fields", known)
        masking: Any = Masking(fields.mask(hidden), asked.projection)
        return found._replace(projection=masking)

    def fields(self, known: KnownRules) -> FieldGate:
        """Return the rules for reading the fields of a collection."""
        found = self._fields.get(known.name)
        if found is None:
            found = self._fields[known.name] = FieldGate(self.rules_of(known), self.about)
        return found

    def hidden_from(self, known: KnownRules, node: Node, data: bytes | None = None) -> tuple[Node, frozenset[str]]:
        """Return a query, and the fields it may not speak of: those whose rules it does not prove, or that the one document it is about does not show."""
        if data is not None:
            return node, self.fields(known).hidden(codec.decode(data))
        hidden, node = self.fields(known).unproved(node)
        return node, hidden

    def spoken(self, name: str, query: FindQuery, also: Sequence[str] = ()) -> Fields:
        """Return what a query compares, sorts and searches by, and what else than its documents it asks to know."""
        found = fields_of_filter(query.node) | fields_of_sort(query.sort) | fields_of_metadata(query.metadata)
        bounds = {*(query.min or ()), *(query.max or ())}
        return found | fields_of_hint(query.hint, self._indexes(name)) | Fields(used=frozenset(also) | bounds)

    def _indexes(self, name: str) -> Sequence[Any]:
        info = self._catalog.get(name)
        return () if info is None else info.indexes

    def speak(self, known: KnownRules, action: str, fields: Fields, hidden: frozenset[str]) -> None:
        """Refuse to speak of a hidden field."""
        path = speaks_of(searched(fields, self._indexes(known.name)), hidden)
        if path is not None:
            raise self.denied(action, known.name, f"the field {path!r} may not be spoken of", known, field=path)

    def masked(self, known: KnownRules, document: dict[str, Any]) -> dict[str, Any]:
        """Return what the caller may read of a document that it may read."""
        fields = self.fields(known)
        return mask(fields.hidden(document)).apply(document) if fields else document

    def proved(self, known: KnownRules, action: str, rule: RuleNode, query: FindQuery) -> FindQuery:
        """Return the query with what is missing for all that it matches to be allowed; DeniedError where too much is missing."""
        about, updates = self.about, action == "update"
        if known.owned and self.caller.id is None and not compiled(rule, about, open_request=updates).always:
            raise self.denied(action, known.name, "the caller has no id", known)
        filter_mode = self.caller.filter_mode or known.owned
        decision = decide(rule, about, query.node, filter_mode=filter_mode, open_request=updates)
        if not decision.allowed:
            raise self.denied(
                action, known.name, f"the query does not prove: {decision.missing}", known, filter=query.filter,
                missing=decision.missing,
            )  # fmt: skip
        return query if decision.node is query.node else query._replace(node=decision.node)

    def stored(self, known: KnownRules, action: str, id_key: bytes) -> bytes | None:
        """Return the stored document that the caller may read, update or delete; DeniedError for any other, and for an absent one alike.

        Only where the rule is true of every document an absent one is None.
        """
        rule = self.rule(known, action)
        data = self.fetch(known.name, id_key)
        found = compiled(rule, self.about, open_request=action == "update")
        if found.always:
            return data
        if data is None:
            raise self.denied(action, known.name, "there is no such document", known)
        if not found.verdict(data):
            raise self.denied(action, known.name, "the rule does not allow this document", known, id=_id_of(data))
        return data

    def reads_of(self, name: str) -> bool:
        """Tell whether the caller may read any document of a collection, as far as can be told without looking at one."""
        try:
            known = self.known(name, "read")
            rule = self.rule(known, "read")
        except DeniedError:
            return False
        return compiled(rule, self.about).false is None

    def fetch(self, name: str, id_key: bytes) -> bytes | None:
        """Return a stored document by its id key, None where it is absent or expired."""
        if len(id_key) > MAX_ID:
            return None
        view = self._view_of(name)
        if self._notes is not None:
            self._notes.note_ids(name, [id_key])
        data: bytes | None = view.fetch([id_key], decode=False)[0]
        info = view.collection
        if data is None or info is None or not info.expiring:
            return data
        return data if matcher(info.alive(self.now))(codec.decode(data)) else None

    def may(self, known: KnownRules, action: str, data: bytes) -> bool:
        """Tell whether a rule allows a stored document as it is."""
        rule = self.rules_of(known).rule(action)
        return rule is not None and bool(compiled(rule, self.about, open_request=action == "update").verdict(data))


def _id_of(data: bytes) -> Any:
    return codec.decode(data).get("_id")
