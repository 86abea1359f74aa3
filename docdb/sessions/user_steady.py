"""The commonest questions to the commonest rules, answered in a few steps.

What lives here: ``SteadyRule``: a rule that depends on the caller alone, kept by the caller's session as long as its record stands; and ``one_id``. What
it must not know: sessions, documents. Whatever is not quite so is left to the gate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from docdb.language.order import order_key
from docdb.language.tree import And, Compare, In, Node
from docdb.language.values import Regex
from docdb.rules.prover import proved_quickly

if TYPE_CHECKING:
    from docdb.rules.compiled import Compiled
    from docdb.store.rule_records import RuleRecord

__all__ = ["SteadyRule", "one_id"]

ID: Final = ("_id",)


class SteadyRule:
    """The rule for reading a collection, compiled for one caller; None: it proves nothing here."""

    __slots__ = ("_always", "_compiled", "_node", "_path", "_value", "record")

    def __init__(self, record: RuleRecord | None, compiled: Compiled | None) -> None:
        self.record = record
        self._compiled = compiled
        self._always = compiled is not None and compiled.always
        self._path: Any = (
            None  # of the one field that the rule compares, and the filter to run for just that comparison
        )
        self._value: Any = None
        self._node: Node | None = None
        equalities = None if compiled is None or self._always else compiled.equalities
        if equalities is not None and len(equalities) == 1 and equalities[0][0] != ID:
            self._path, self._value, conditions = equalities[0]
            self._node = And((Compare(self._path, "eq", self._value), *conditions))

    def proved(self, node: Node) -> Node | None:
        """Return the filter to run where plain comparisons prove the rule, None where that takes more."""
        if self._always:
            return node
        if self._compiled is None:
            return None
        if type(node) is Compare:
            same = node.op == "eq" and node.path == self._path and node.value == self._value
            return self._node if same and type(node.value) is type(self._value) and node.collation is None else None
        return None if one_id(node) is not None else proved_quickly(self._compiled, node)


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
