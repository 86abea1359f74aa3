"""Rules under test: what the pytest fixture ``docdb_rules`` gives, and the command line stands on.

What lives here: ``RuleKit`` and ``kit_of``. What it must not know: pytest, the command line, databases.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from docdb.errors import RuleError
from docdb.rules.cases import CaseFile, Outcome, circumstances, load_cases, run
from docdb.rules.coverage import Coverage
from docdb.rules.files import load_file, load_mapping
from docdb.rules.ruleset import ACTIONS, RuleSet
from docdb.rules.verdicts import Verdict, judge

__all__ = ["RuleKit", "kit_of"]


class RuleKit:
    """The rules of some collections, asked one action at a time; ``coverage`` counts what they came to.

    >>> kit = kit_of({"posts": {"read": "doc.public == true"}})
    >>> kit.allows("read", "posts", doc={"public": True}), kit.allows("read", "posts", doc={"public": 1})
    (True, False)
    >>> kit.verdict("read", "posts", doc={}).reason
    "doc.public == true is an error (there is no field 'public')"
    """

    def __init__(self, rules: Mapping[str, RuleSet], *, documents: Any = None, now: Any = None) -> None:
        self.rules = rules
        self.coverage = Coverage(rules)
        self._documents = documents or {}
        self._now = now

    def verdict(
        self, action: str, collection: str, *, auth: Any = None, doc: Any = None, new: Any = None, data: Any = None,
        documents: Any = None, now: Any = None,
    ) -> Verdict:  # fmt: skip
        """Judge one action: ``doc`` is what is stored (in a create what will be), ``new`` or ``data`` what an update makes of it.

        Raises RuleError for an unknown action or a collection without rules.
        """
        if action not in ACTIONS:
            raise RuleError(f"there is no action {action!r}", hint=f"there are {', '.join(ACTIONS)}")
        if collection not in self.rules:
            raise RuleError(
                f"there are no rules for {collection!r}", hint=f"there are rules for {', '.join(self.rules)}"
            )
        if action == "create":
            doc, new, data = None, new if new is not None else doc if doc is not None else data, None
        about = circumstances(
            auth=auth,
            now=now if now is not None else self._now,
            documents={**self._documents, **(documents or {})},
            old=doc,
            new=new,
            data=data,
        )
        verdict = judge(self.rules[collection], action, about)
        self.count(collection, action, verdict)
        return verdict

    def count(self, collection: str, action: str, verdict: Verdict) -> None:
        """Count what a verdict came to."""
        if verdict.key is not None:
            for found in verdict.traces.values():
                self.coverage.record(collection, verdict.key, found)
        for key, found in verdict.fields.items():
            self.coverage.record(collection, key, found)

    def allows(self, action: str, collection: str, **more: Any) -> bool:
        """Return whether an action is allowed; arguments as for ``verdict``."""
        return self.verdict(action, collection, **more).allowed

    def assert_allowed(self, action: str, collection: str, **more: Any) -> Verdict:
        """Raise AssertionError with the trace unless the action is allowed."""
        return _expected(self.verdict(action, collection, **more), True, f"{action} {collection}")

    def assert_denied(self, action: str, collection: str, **more: Any) -> Verdict:
        """Raise AssertionError with the trace unless the action is denied."""
        return _expected(self.verdict(action, collection, **more), False, f"{action} {collection}")

    def run(self, path: str | os.PathLike[str]) -> list[Outcome]:
        """Run a file of cases for these rules; raise AssertionError that names those that are not as expected."""
        outcomes = self.outcomes(load_cases(path, rules=self.rules))
        wrong = [f"{outcome.case.name}: {outcome.complaint}" for outcome in outcomes if not outcome.ok]
        if wrong:
            raise AssertionError("\n".join(wrong))
        return outcomes

    def outcomes(self, file: CaseFile) -> list[Outcome]:
        """Run cases and count what they came to."""
        outcomes = list(run(file))
        for outcome in outcomes:
            self.count(outcome.case.collection, outcome.case.action, outcome.verdict)
        return outcomes


def kit_of(rules: Mapping[str, Any] | str | os.PathLike[str], *, documents: Any = None, now: Any = None) -> RuleKit:
    """Return the kit for a file of rules, or for ``{collection: rules}``; RuleError where they do not check."""
    loaded = load_mapping(rules) if isinstance(rules, Mapping) else load_file(rules)
    return RuleKit(loaded, documents=documents, now=now)


def _expected(verdict: Verdict, allowed: bool, what: str) -> Verdict:
    if verdict.allowed is not allowed:
        lines = [line for found in verdict.traces.values() for line in found.lines()]
        raise AssertionError(
            "\n".join([f"{what} is {'allowed' if verdict.allowed else 'denied'}: {verdict.reason}", *lines])
        )
    return verdict
