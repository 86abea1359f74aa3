"""Fields that a caller may not read: refused in queries, taken out of documents.

What lives here: ``FieldGate``, the field rules of a collection in one operation, and ``Masking``, a projection that shows no hidden field. What it must
not know: where documents come from.

A query may speak of a field whose rule it proves, as it proves the rule of the document: then all that it matches show the field. All other fields
with a rule are refused in filters, sorts, hints and whatever else a path is named in, and masked in each document by that document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from docdb.language.matching import matcher
from docdb.language.projection import Projection
from docdb.language.tree import Constant, Node
from docdb.rules.compiled import compiled
from docdb.rules.evaluator import Circumstances
from docdb.rules.masks import mask
from docdb.rules.prover import decide
from docdb.rules.ruleset import RuleSet
from docdb.rules.syntax import Node as RuleNode

__all__ = ["FieldGate", "Masking"]

Document = dict[str, Any]
Mask = Callable[[Document], Document]
NOTHING: Final[frozenset[str]] = frozenset()


class FieldGate:
    """The rules for reading fields, under one caller's circumstances."""

    __slots__ = ("_about", "_judges", "_rules")

    def __init__(self, rules: RuleSet, about: Circumstances) -> None:
        self._about = about
        self._rules: dict[str, RuleNode] = {
            path: rule.read
            for path, rule in rules.fields.items()
            if rule.read is not None and not compiled(rule.read, about).always
        }
        self._judges: dict[str, Callable[[Document], bool]] = {}

    def __bool__(self) -> bool:
        """Tell whether anything may be hidden."""
        return bool(self._rules)

    @property
    def certain(self) -> frozenset[str]:
        """The fields that no document shows the caller."""
        return frozenset(path for path, rule in self._rules.items() if compiled(rule, self._about).false is not None)

    def unproved(self, node: Node) -> tuple[frozenset[str], Node]:
        """Return the fields whose rules a query does not prove, and the query with what the proofs of the others stand on."""
        found = []
        for path, rule in self._rules.items():
            decision = decide(rule, self._about, node)
            if decision.allowed:
                node = decision.node
            else:
                found.append(path)
        return frozenset(found), node

    def hidden(self, document: Document) -> frozenset[str]:
        """Return the fields that one document does not show the caller."""
        return frozenset(path for path in self._rules if not self._judge(path)(document))

    def mask(self, hidden: frozenset[str]) -> Mask:
        """Return what takes these fields out of the documents that do not show them."""
        if hidden <= self.certain:
            return mask(hidden).apply
        judges = [(path, self._judge(path)) for path in sorted(hidden)]

        def masked(document: Document) -> Document:
            return mask(frozenset([path for path, shows in judges if not shows(document)])).apply(document)

        return masked

    def _judge(self, path: str) -> Callable[[Document], bool]:
        known = self._judges.get(path)
        if known is None:
            node = compiled(self._rules[path], self._about).node
            known = self._judges[path] = _constantly(node.value) if isinstance(node, Constant) else matcher(node)
        return known


class Masking:
    """A projection behind a mask. It reads documents whole, and whatever would show stored bytes has to ask ``masks``."""

    masks = True
    includes = False
    fields: frozenset[str] | None = None
    names: frozenset[str] | None = None
    inclusion_paths: tuple[tuple[str, ...], ...] | None = None
    dropped: frozenset[str] | None = None

    def __init__(self, masked: Mask, inner: Projection | None) -> None:
        self._masked = masked
        self._inner = inner
        self.metadata: frozenset[str] = NOTHING if inner is None else inner.metadata
        self.needs_position = inner is not None and inner.needs_position

    def apply(self, document: Document, position: int | None = None) -> Mapping[str, Any]:
        """Return what is shown of a document."""
        shown = self._masked(document)
        return shown if self._inner is None else self._inner.apply(shown, position)


def _constantly(value: bool) -> Callable[[Document], bool]:
    return lambda document: value
