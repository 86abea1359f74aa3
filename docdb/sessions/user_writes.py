"""What a caller writes, judged.

What lives here: ``UserGuard``, which fulfils ``setting.Guard`` with the rules. What it must not know: how a change is put.

An update is judged on the old image when it is selected and on both when the new one is known; what selects nothing new is judged like any
other, or the number of matches would tell what a document holds. Each operation meets the rules, and what they read, as the operations before it in
the same call have left them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from docdb.errors import DeniedError, DocdbError, DuplicateKeyError
from docdb.language.order import order_key
from docdb.language.values import MISSING
from docdb.rules.compiled import Compiled, compiled
from docdb.rules.fields import WHOLE, Fields, UpdateFields, fields_of_update
from docdb.rules.judging import needs_images
from docdb.rules.masks import enters, speaks_of, violations
from docdb.rules.reach import fields_of_update_pipeline
from docdb.sessions.rulebook import KnownRules
from docdb.sessions.selecting import Selection
from docdb.sessions.setting import JudgeChange
from docdb.sessions.user_gate import Gate
from docdb.sessions.user_steady import one_id
from docdb.store import codec
from docdb.store.batch import WriteBatch
from docdb.store.runs import Documents

__all__ = ["UserGuard"]

OWNER: Final = "_openid"


class UserGuard:
    """Fulfils ``setting.Guard`` for one call on one collection. ``gate`` makes the gate of a batch, ``outside`` one for what is refused before the lock."""

    def __init__(
        self,
        name: str,
        owner: str | None,
        steady: Callable[[str, WriteBatch], Compiled | None],
        gate: Callable[[WriteBatch], Gate],
        outside: Callable[[], Gate],
    ) -> None:
        """``steady`` gives the rule for creating where it depends on the caller alone."""
        self.owner = None if owner is None else (OWNER, owner)
        self._name = name
        self._owner = owner
        self._steady = steady
        self._gate = gate
        self._outside = outside
        self._judged = 0
        self._unseen = False

    def adopt(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a new document with its owner; DeniedError when it names another one."""
        owner = self._owner
        given = document.get(OWNER, MISSING)
        if given is MISSING:
            return document if owner is None else {**document, OWNER: owner}
        if owner is None or type(given) is not str or given != owner:
            raise self._outside().denied("create", self._name, f"{OWNER} is set by the server")
        return document

    def keep(self, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        """Return a replacement with the owner that the document has, where it says none."""
        if OWNER in old and OWNER not in new:
            return {**new, OWNER: old[OWNER]}
        return new

    def rows(self, batch: WriteBatch, selection: Selection) -> list[tuple[bytes, bytes]]:
        """Return id key and stored bytes of what may be updated or deleted; DeniedError where that is not certain of all that is selected."""
        gate, action, query = self._gate(batch), selection.action, selection.query
        known = gate.known(self._name, action)
        rule = gate.rule(known, action)
        key = None if known.owned or gate.caller.strict_ids else one_id(query.node)
        if key is None:
            query = gate.proved(known, action, rule, query)
        elif not selection.upserts or gate.fetch(self._name, key) is not None:  # else it creates, and is judged as that
            gate.stored(known, action, key)
        fields = gate.fields(known)
        if fields:
            stored = None if key is None else gate.fetch(self._name, key)
            node, hidden = gate.hidden_from(known, query.node, stored)
            gate.speak(known, action, gate.spoken(self._name, selection.query), hidden)
            query = query._replace(node=node)
        rows = selection.found(batch, query)
        self._unseen = False
        if fields:
            self._look(gate, known, selection, rows)
        verdict = compiled(rule, gate.about, open_request=action == "update").verdict
        if not all(verdict(data) for _, data in rows):
            raise gate.denied(action, self._name, "the rule does not allow a document that is selected", known)
        if action == "delete":
            self._judged += len(rows)
        return rows

    def _look(self, gate: Gate, known: KnownRules, selection: Selection, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Refuse a change that computes with what its caller may not read; note whether such a field is written."""
        fields, change = gate.fields(known), _change_of(selection.operation)
        for _, data in rows if change.reads.paths or change.writes else ():
            hidden = fields.hidden(codec.decode(data))
            entered = Fields(used=frozenset(path for path in change.writes if enters(path, hidden)))
            gate.speak(known, selection.action, change.reads | entered, hidden)
            self._unseen = self._unseen or speaks_of(Fields(used=change.writes), hidden) is not None

    def counted(self, matched: int, modified: int) -> int:
        """Return how many changes the caller is told of: where hidden fields are written all, or the number would tell what was there."""
        return matched if self._unseen else modified

    def changing(self, batch: WriteBatch) -> JudgeChange:
        """Return what judges both images of one update after the other."""
        gate = self._gate(batch)
        known = gate.known(self._name, "update")
        rule, rules = gate.rule(known, "update"), gate.rules_of(known)
        if needs_images(rule) or any(field.write is not None for field in rules.fields.values()):
            allowed = self._by_images(gate, known)
        else:
            verdict = compiled(rule, gate.about).verdict

            def allowed(before: bytes, after: bytes) -> bool:
                return bool(verdict(before) and verdict(after))

        def judge(old: dict[str, Any], new: dict[str, Any], before: bytes, after: bytes) -> None:
            if new is not old and not _same_owner(old, new):
                raise gate.denied("update", self._name, f"{OWNER} never changes", known, id=old.get("_id"))
            if not allowed(before, after):
                raise gate.denied(
                    "update", self._name, "the rule does not allow what the document was or becomes", known, id=old.get("_id")
                )  # fmt: skip
            self._judged += before is not after and before != after

        return judge

    def _by_images(self, gate: Gate, known: KnownRules) -> Callable[[bytes, bytes], bool]:
        rules = gate.rules_of(known)

        def allowed(before: bytes, after: bytes) -> bool:
            old, new = codec.decode(before), codec.decode(after)
            about = replace(gate.about, doc=old, old=old, new=new, memo={})
            if not rules.allows("update", about) or not rules.allows("update", replace(about, doc=new)):
                return False
            return violations(old, new, rules.unwritable(about)) is None

        return allowed

    def created(self, batch: WriteBatch, documents: Documents) -> None:
        """Judge new documents, all before the first is put."""
        steady = self._steady(self._name, batch)
        if steady is not None and steady.allows_all(documents):
            self._judged += len(documents)
            return
        gate = self._gate(batch)
        known = gate.known(self._name, "create")
        rule, rules = gate.rule(known, "create"), gate.rules_of(known)
        if not compiled(rule, gate.about, creating=True).allows_all(documents):
            raise gate.denied("create", self._name, "the rule does not allow the new document", known)
        if any(field.write is not None for field in rules.fields.values()):
            for data in documents.lists()[1]:
                new = codec.decode(data)
                if violations(None, new, rules.unwritable(replace(gate.about, doc=new, new=new, memo={}))) is not None:
                    raise gate.denied("create", self._name, "a field may not be written", known)
        self._judged += len(documents)

    def shown(self, batch: WriteBatch, document: dict[str, Any]) -> dict[str, Any]:
        """Return an answer that the caller may read; DeniedError for any other."""
        gate = self._gate(batch)
        known = gate.known(self._name, "read")
        gate.rule(known, "read")
        if not gate.may(known, "read", codec.encode(document)):
            raise gate.denied("read", self._name, "the answer may not be read", known, id=document.get("_id"))
        return gate.masked(known, document)

    def refused(self, batch: WriteBatch, error: DocdbError) -> DocdbError:
        """Return what the caller is told: that a key is taken only where the document that holds it is the caller's own affair."""
        if not isinstance(error, DuplicateKeyError):
            return error
        gate = self._gate(batch)
        try:
            known = gate.known(self._name, "create")
        except DeniedError as denied:
            return denied
        data = None
        if error.details.get("index_name") == "_id_":
            data = gate.fetch(self._name, order_key(error.details["keyValue"]["_id"]))
        if data is not None and gate.may(known, "read", data) and (
            gate.may(known, "update", data) or gate.may(known, "delete", data)
        ):  # fmt: skip
            return error
        return gate.denied("create", self._name, f"the key is taken: {error.message}", known)

    def forgive(self, count: int) -> None:
        """Let so many changes pass that are nobody's."""
        self._judged += count

    def spend(self, count: int) -> None:
        """Refuse changes that nobody has judged: a mistake in docdb, not in the call."""
        self._judged -= count
        if self._judged < 0:
            raise self._outside().denied("write", self._name, "a change was not judged")


def _change_of(operation: Any) -> UpdateFields:
    """Return what an operation's change reads of the stored documents, and what it may write."""
    update = getattr(operation, "update", None)
    if update is None:
        return UpdateFields(Fields(), frozenset())
    if isinstance(update, list | tuple):
        return UpdateFields(fields_of_update_pipeline(update), frozenset({WHOLE}))
    return fields_of_update(update, getattr(operation, "array_filters", None), merge=operation.merge)


def _same_owner(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    before, after = old.get(OWNER, MISSING), new.get(OWNER, MISSING)
    if before is after:
        return True
    if before is MISSING or after is MISSING:
        return False
    return bool(codec.encode_value(before) == codec.encode_value(after))  # 1 and True are equal in Python
