"""The commonest questions to the commonest rules, answered in a few steps.

What lives here: ``steady_rule``, ``SteadyRule``, which a caller's session keeps of one as long as its record stands, and ``one_id``. What it must not
know: sessions, documents. Whatever is not quite so is left to the gate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from docdb.errors import CorruptError, RuleError
from docdb.language.order import order_key
from docdb.language.tree import And, Compare, In, Node
from docdb.language.values import Regex
from docdb.planner.queries import FindQuery
from docdb.rules.prover import proved_quickly
from docdb.sessions.rulebook import known_rules

if TYPE_CHECKING:
    from docdb.rules.prepared import Equalities
    from docdb.rules.syntax import Node as RuleNode
    from docdb.sessions.user_caller import Caller
    from docdb.store.rule_records import RuleRecord

__all__ = ["SteadyRule", "one_id", "steady_rule"]

ID: Final = ("_id",)


def steady_rule(name: str, record: RuleRecord | None, caller: Caller, action: str) -> RuleNode | None:
    """Return the rule for an action where nothing but the caller and the rule itself decides: no field has a rule, the caller's time has no end."""
    if record is None or caller.expires_at is not None or name.startswith("_"):
        return None
    try:
        known = known_rules(record)
    except (CorruptError, RuleError):
        return None
    rules = known.web if caller.by_uid else known.rules
    return None if rules.fields else rules.rule(action)


class SteadyRule:
    """The rule for reading a collection for one caller, as far as it is fields that equal one value each; None: it proves nothing here."""

    __slots__ = ("_equalities", "_node", "_path", "_value", "record")

    def __init__(self, record: RuleRecord | None, equalities: Equalities | None) -> None:
        self.record = record
        self._equalities = equalities
        # Of the one field that the rule compares, and the filter to run for just that comparison.
        self._path: Any = None
        self._value: Any = None
        self._node: Node | None = None
        if equalities and len(equalities) == 1 and equalities[0][0] != ID:
            self._path, self._value, conditions = equalities[0]
            self._node = And((Compare(self._path, "eq", self._value), *conditions))

    def narrowed(self, query: FindQuery) -> FindQuery | None:
        """Return the query to run where plain comparisons prove the rule, None where that takes more."""
        node = query.node
        if type(node) is Compare and self._node is not None:
            value = self._value
            if node.op != "eq" or node.path != self._path or node.value != value or type(node.value) is not type(value):
                return None
            return _with(query, self._node) if node.collation is None else None
        if not self._equalities:
            return None if self._equalities is None else query  # a rule that asks nothing is true of every document
        found = None if one_id(node) is not None else proved_quickly(self._equalities, node)
        return query if found is node else None if found is None else _with(query, found)


def _with(query: FindQuery, node: Node) -> FindQuery:
    parts = list(query)  # a third of _replace's time
    parts[1] = node
    return tuple.__new__(FindQuery, parts)


def one_id(node: Node) -> bytes | None:
    """Return the id key when a filter pins ``_id`` to one value, beside whatever else it says."""
    for part in node.parts if isinstance(node, And) else (node,):
        if isinstance(part, Compare) and part.path == ("_id",) and part.op == "eq" and part.collation is None:
            if not isinstance(part.value, list | Regex):
                return order_key(part.value)
        elif isinstance(part, In) and part.path == ("_id",) and len(part.values) == 1 and not part.patterns:
            (value,) = part.values
            if part.collation is None and not isinstance(value, list | Regex):
                return order_key(value)
    return None
