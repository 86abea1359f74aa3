"""Partial evaluation: what of a rule is settled before any document is seen.

What lives here: ``Partial``, which folds everything that does not depend on the document (``auth``, ``now``, ``request``, each ``get`` that
no field of the document steers) to its value, and ``Asks``, the question to the evaluator that remains of what is not settled.
What it must not know: filter leaves (``constraint``), queries (``prover``).

There is no second evaluation of rules here: a settled part is given to the evaluator as it stands, and so is what remains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from docdb.rules.evaluator import Circumstances, Failure, Reader, Unanswered, evaluate
from docdb.rules.syntax import Binary, Call, Index, Literal, Member, Node, Undefined, Variable, children

__all__ = ["FAILED", "Asks", "Partial", "Steps"]

MOST_REMEMBERED: Final = 1_000

Steps = tuple[str | int, ...]  # names of fields and positions in lists, from the document on


class _Failed:
    """The value of what has none; the single instance is ``FAILED``."""

    def __repr__(self) -> str:
        return "FAILED"


FAILED: Final = _Failed()


class Partial:
    """The circumstances of an operation, without the documents that it is going to meet.

    ``open_request``: what a write will make of the document is not known yet, so ``request.data`` and ``changed`` may give anything.
    ``creating``: the document that is judged is the request's data as well.
    """

    def __init__(self, about: Circumstances, *, open_request: bool = False, creating: bool = False) -> None:
        self.about = replace(about, new={}, old=None) if creating else about
        self.reader = None if about.reader is None else _Remembering(about.reader)
        self.open_request = open_request
        self.creating = creating
        self._known: dict[int, tuple[Node, tuple[bool, bool]]] = {}  # holds the nodes, so that no id is given out again

    def depends(self, node: Node) -> bool:
        """Tell whether a part of the rule looks at the document."""
        return self._mentions(node)[0]

    def is_open(self, node: Node) -> bool:
        """Tell whether a part looks at what the write will make, and that is not known."""
        return self.open_request and self._mentions(node)[1]

    def fold(self, node: Node) -> Any:
        """Return the value of a part that does not depend on the document, FAILED where it has none."""
        try:
            return evaluate(node, self.about)
        except Failure:
            return FAILED

    def steps(self, node: Node) -> Steps | None:
        """Return the way to a field of the document whose every step is settled; None for anything else."""
        if isinstance(node, Variable):
            return () if node.name == "doc" else None
        if isinstance(node, Member):
            owner = self.steps(node.owner)
            return None if owner is None else (*owner, node.name)
        if not isinstance(node, Index) or self.depends(node.key) or self.is_open(node.key):
            return None
        owner, key = self.steps(node.owner), self.fold(node.key)
        if owner is None or not (type(key) is str or (type(key) is int and key >= 0)):
            return None
        return (*owner, key)

    def ask(self, node: Node, wanted: bool) -> Asks:
        """Return the question whether a part is true (or false) of a document."""
        about = replace(self.about, reader=self.reader, memo={})
        return Asks(node, about, wanted, self.creating)

    def _mentions(self, node: Node) -> tuple[bool, bool]:
        """Tell whether the document and whether the request stands in a part of the rule."""
        known = self._known.get(id(node))
        if known is not None:
            return known[1]
        document = isinstance(node, Variable) and node.name == "doc"
        request = (isinstance(node, Variable) and node.name == "request") or (
            isinstance(node, Call) and node.name == "changed"
        )
        document = document or (request and self.creating)
        for child in children(node):
            inside = self._mentions(child)
            document, request = document or inside[0], request or inside[1]
        self._known[id(node)] = node, (document, request)
        return document, request


@dataclass(frozen=True, slots=True, eq=False)
class Asks:
    """Is this part of the rule ``wanted`` of the document? An expression of the filter tree, so that any filter can carry it.

    Fuel is the evaluator's for each question: what the compiled rest of the rule costs does not count.
    """

    tree: Node
    about: Circumstances
    wanted: bool
    creating: bool = False
    paths: frozenset[str] | None = None  # any field may be asked for
    constant: bool = False
    metadata: frozenset[str] = frozenset()

    def __call__(self, document: Any, variables: Any = None) -> bool:
        new = document if self.creating else self.about.new
        try:
            return evaluate(self.tree, replace(self.about, doc=document, new=new, memo={})) is self.wanted
        except Failure:
            return False


class _Remembering:
    """A reader that asks for each thing once, however many documents are judged."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.known: dict[tuple[str, ...], Any] = {}

    def document(self, collection: str, key: str) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self.once(
            ("document", collection, key), lambda: self.reader.document(collection, key)
        )
        return found

    def matching(self, collection: str, equal: Mapping[str, Any], limit: int) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self.once(
            ("matching", collection, repr(equal), str(limit)), lambda: self.reader.matching(collection, equal, limit)
        )
        return found

    def count(self, collection: str, equal: Mapping[str, Any], limit: int) -> int:
        found: int = self.once(
            ("count", collection, repr(equal), str(limit)), lambda: self.reader.count(collection, equal, limit)
        )
        return found

    def once(self, question: tuple[str, ...], read: Callable[[], Any]) -> Any:
        if question not in self.known:
            if len(self.known) >= MOST_REMEMBERED:
                self.known.clear()
            try:
                self.known[question] = read()
            except Unanswered as error:
                self.known[question] = error
        found = self.known[question]
        if isinstance(found, Unanswered):
            raise found
        return found


def as_created(node: Node) -> Node:
    """Return a rule for a create with ``doc`` in the place of ``request.data``, which is the same then; presence of the latter is left alone."""
    if _is_request_data(node):
        return Variable(node.place, "doc")
    if isinstance(node, Call) and node.name in ("exists", "default") and _is_request_data(node.arguments[0]):
        return node
    if isinstance(node, Binary) and (isinstance(node.left, Undefined) or isinstance(node.right, Undefined)):
        side = node.right if isinstance(node.left, Undefined) else node.left
        return node if _is_request_data(side) else _rebuilt(node)
    return _rebuilt(node)


def _is_request_data(node: Node) -> bool:
    return isinstance(node, Member) and isinstance(node.owner, Variable) and node.owner.name == "request"


def _rebuilt(node: Node) -> Node:
    if isinstance(node, Literal) or not children(node):
        return node
    changes: dict[str, Any] = {}
    for name in getattr(node, "__slots__", ()):
        value = getattr(node, name)
        if isinstance(value, Node):
            changes[name] = as_created(value)
        elif isinstance(value, tuple):
            changes[name] = tuple(_rebuilt_item(item) for item in value)
    return replace(node, **changes)


def _rebuilt_item(item: Any) -> Any:
    if isinstance(item, Node):
        return as_created(item)
    return (item[0], as_created(item[1])) if isinstance(item, tuple) else item
