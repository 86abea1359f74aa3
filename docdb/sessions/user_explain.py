"""Why a caller may do something, or not: for developers, never for the caller.

What lives here: ``explain_access`` and ``Access``, what it gives. What it must not know: how operations are carried out; it carries out none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from docdb.errors import DeniedError, UsageError
from docdb.language import filters
from docdb.language.order import order_key
from docdb.language.values import MISSING, canonical
from docdb.planner.queries import FindQuery
from docdb.rules.compiled import compiled
from docdb.rules.prover import decide
from docdb.rules.ruleset import ACTIONS
from docdb.rules.tracing import Trace
from docdb.rules.verdicts import judge
from docdb.sessions.user_gate import Gate
from docdb.sessions.user_templates import Nobody, filled
from docdb.store import codec

if TYPE_CHECKING:
    from docdb.sessions.rulebook import KnownRules
    from docdb.sessions.user import Gated

__all__ = ["Access", "explain_access"]

OWNER: Final = "_openid"


@dataclass(frozen=True, slots=True)
class Access:
    """Whether a caller may, and why.

    ``rule`` is the text that answers, ``version`` that of the rules. Of a query, ``missing`` is the part of the rule that it does not prove. Of a document,
    ``traces`` say by image (``old``, ``new``) what each part of the rule came to, ``hidden`` which fields are not shown, ``unwritable`` which were changed
    and may not be.
    """

    allowed: bool
    action: str
    collection: str
    reason: str
    rule: str | None = None
    version: int | None = None
    missing: str | None = None
    traces: Mapping[str, Trace] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    unwritable: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return self.allowed

    def lines(self) -> Iterator[str]:
        """Yield the verdict and every part of the rule, for people."""
        yield f"{self.action} {self.collection}: {'allowed' if self.allowed else 'denied'}: {self.reason}"
        if self.rule is not None:
            yield f"rule (version {self.version}): {self.rule}"
        for image, found in self.traces.items():
            yield f"{image} image"
            yield from (f"  {line}" for line in found.lines())

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "allowed": self.allowed, "action": self.action, "collection": self.collection, "reason": self.reason, "rule": self.rule,
            "version": self.version, "missing": self.missing, "hidden": sorted(self.hidden), "unwritable": sorted(self.unwritable),
            "traces": {image: found.to_dict() for image, found in self.traces.items()},
        }  # fmt: skip


def explain_access(session: Gated, action: str, name: str, query: Any, id: Any, document: Any) -> Access:
    """Return why the caller of a session may do something to a collection; see ``UserDatabase.explain_access``."""
    if action not in ACTIONS:
        raise UsageError(f"there is no action {action!r}", path="action", hint=f"there are {', '.join(ACTIONS)}")
    given = (query is not MISSING) + (id is not MISSING)
    if given != (0 if action == "create" else 1) or (action == "create" and document is MISSING):
        raise UsageError(
            f"which documents, for {action}?", path="query", hint="a create needs the document, all else a query or an id"
        )  # fmt: skip
    session.refuse_closed()
    with session.store.snapshot() as snapshot:
        gate = session.silent_gate(snapshot)
        try:
            known = gate.known(name, action)
            gate.rule(known, action)
        except DeniedError as error:
            return Access(False, action, name, gate.reason_of(error))
        if query is not MISSING:
            return _of_query(session, gate, known, action, query)
        return _of_document(session, gate, known, action, id, document)


def _of_query(session: Gated, gate: Gate, known: KnownRules, action: str, query: Any) -> Access:
    rules, rule = gate.rules_of(known), gate.rule(known, action)
    source = rules.sources[rules.key(action) or action]
    try:
        query = filled(query, gate.caller)
    except Nobody:
        reason = "the query asks for the id of a caller that has none"
        return Access(False, action, known.name, reason, source, known.version)
    with session.patterns():
        node = filters.parse(query, naive_utc=session.settings.naive_utc)
    try:
        if action == "read":
            gate.narrowed(known.name, FindQuery(filter=query, node=node))
        else:
            gate.proved(known, action, rule, FindQuery(filter=query, node=node))
    except DeniedError as error:
        missing = decide(rule, gate.about, node, open_request=action == "update").missing
        return Access(False, action, known.name, gate.reason_of(error), source, known.version, missing)
    reason = "the query proves the rule, or is narrowed to what it allows"
    return Access(True, action, known.name, reason, source, known.version)


def _of_document(session: Gated, gate: Gate, known: KnownRules, action: str, id: Any, document: Any) -> Access:
    rules = gate.rules_of(known)
    old = new = None
    if action != "create":
        data = gate.fetch(known.name, order_key(canonical(id, "_id", naive_utc=session.settings.naive_utc)))
        old = None if data is None else codec.decode(data)
    if document is not MISSING:
        owner = gate.caller.id
        adopted = {OWNER: owner} if action == "create" and owner is not None and OWNER not in document else {}
        new = canonical({**document, **adopted}, "document", naive_utc=session.settings.naive_utc)
    about = replace(gate.about, old=old, new=new if new is not None or action != "update" else old)
    key = rules.key(action) or action
    if action != "create" and old is None:
        always = compiled(gate.rule(known, action), gate.about, open_request=action == "update").always
        reason = "there is no such document" + ("" if always else ", which the caller is not told")
        return Access(always, action, known.name, reason, rules.sources[key], known.version)
    found = judge(rules, action, about)
    return Access(
        found.allowed, action, known.name, found.reason, rules.sources[key], known.version, None, found.traces, found.hidden,
        found.unwritable,
    )  # fmt: skip
