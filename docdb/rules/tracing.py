"""What every part of a rule came to: for developers, never for the caller that is judged.

What lives here: ``trace`` and what it gives. What it must not know: how a rule is evaluated; it stands at the evaluator's one door and
writes down what passes, so the plain evaluation costs nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from docdb import ejson
from docdb.errors import DocdbError
from docdb.rules.evaluator import Circumstances, Evaluation, Failure
from docdb.rules.syntax import Literal, Logic, Node, Not, Place, children

__all__ = ["Step", "Trace", "shown", "trace"]

WIDTH: Final = 80  # characters of a value that is shown


@dataclass(frozen=True, slots=True)
class Step:
    """One part of a rule: where it stands, its text, and what it came to.

    ``outcome`` is ``value``, ``failure`` (then ``reason`` says why) or ``unasked``: what stood beside it had decided.
    """

    place: Place
    text: str
    depth: int
    outcome: str
    value: Any = None
    reason: str | None = None

    def __str__(self) -> str:
        if self.outcome == "unasked":
            return "not asked"
        return f"failed: {self.reason}" if self.outcome == "failure" else shown(self.value)


@dataclass(frozen=True, slots=True)
class Trace:
    """One evaluation: its verdict and its steps, in the order of ``syntax.walk``; a step's parts follow it, one deeper."""

    source: str
    tree: Node
    steps: tuple[Step, ...]

    @property
    def allowed(self) -> bool:
        return self.steps[0].outcome == "value" and self.steps[0].value is True

    @property
    def reasons(self) -> tuple[Step, ...]:
        """The smallest parts that made the verdict what it is: those that failed or said the deciding word."""
        outcomes = dict(zip((id(node) for node in _nodes(self.tree)), self.steps, strict=True))
        return tuple(_deciding(self.tree, outcomes))

    def lines(self) -> Iterator[str]:
        """Yield one line a step, indented by depth, literals left out.

        >>> from docdb.rules.parser import parse
        >>> text = "auth != null && doc.n > 5"
        >>> print(*trace(parse(text), text, Circumstances(auth={}, now=0, doc={"n": 1})).lines(), sep="\\n")
        auth != null && doc.n > 5   false
          auth != null              true
            auth                    {}
          doc.n > 5                 false
            doc.n                   1
              doc                   {"n": 1}
        """
        steps = [
            step
            for node, step in zip(_nodes(self.tree), self.steps, strict=True)
            if step.depth == 0 or not isinstance(node, Literal)
        ]
        texts = [f"{'  ' * step.depth}{' '.join(step.text.split())}" for step in steps]
        width = min(max(len(text) for text in texts), WIDTH)
        for text, step in zip(texts, steps, strict=True):
            yield f"{text.ljust(width)}   {step}"

    def to_dict(self) -> dict[str, Any]:
        """Return the trace as plain data."""
        return {
            "allowed": self.allowed,
            "rule": self.source,
            "steps": [_step(step) for step in self.steps],
        }


def trace(tree: Node, source: str, circumstances: Circumstances) -> Trace:
    """Evaluate ``tree``, whose text is ``source``, and return what each part came to. Cost: about twice that of ``evaluate``."""
    recording = _Recording(circumstances)
    try:
        recording.run(tree)
    except Failure as failure:
        recording.outcomes.setdefault(id(tree), failure)
    return Trace(source, tree, tuple(_steps(tree, source, 0, recording.outcomes)))


def shown(value: Any) -> str:
    """Return a value as short JSON."""
    try:
        text = ejson.dumps(value)
    except (DocdbError, ValueError, TypeError):
        text = repr(value)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."


class _Recording(Evaluation):
    """Writes down under each node's identity what it came to, the last time where it is asked more than once."""

    def __init__(self, circumstances: Circumstances) -> None:
        super().__init__(circumstances)
        self.outcomes: dict[int, Any] = {}

    def value(self, node: Node) -> Any:
        return self.note(node, super().value)

    def present(self, node: Node) -> bool:
        found: bool = self.note(node, super().present)
        return found

    def note(self, node: Node, ask: Any) -> Any:
        try:
            found = ask(node)
        except Failure as failure:
            self.outcomes[id(node)] = failure
            raise
        self.outcomes[id(node)] = (found,)
        return found


def _nodes(tree: Node) -> Iterator[Node]:
    yield tree
    for child in children(tree):
        yield from _nodes(child)


def _steps(node: Node, source: str, depth: int, outcomes: dict[int, Any]) -> Iterator[Step]:
    text = source[node.place.start : node.place.end]
    outcome = outcomes.get(id(node))
    if isinstance(outcome, Failure):
        yield Step(node.place, text, depth, "failure", reason=outcome.reason)
    elif outcome is None:
        yield Step(node.place, text, depth, "unasked")
    else:
        yield Step(node.place, text, depth, "value", outcome[0])
    for child in children(node):
        yield from _steps(child, source, depth + 1, outcomes)


def _deciding(node: Node, outcomes: dict[int, Step]) -> Iterator[Step]:
    """Yield the parts of a truth that made it what it is: of a && that is false those that are, of one that failed those that did."""
    own = outcomes[id(node)]
    if isinstance(node, Not):
        yield from _deciding(node.operand, outcomes)
    elif isinstance(node, Logic):
        sides = [side for side in (node.left, node.right) if _says(outcomes[id(side)], own)]
        for side in sides:
            yield from _deciding(side, outcomes)
        if not sides:
            yield own
    else:
        yield own


def _says(side: Step, whole: Step) -> bool:
    return side.outcome == whole.outcome and side.value == whole.value


def _step(step: Step) -> dict[str, Any]:
    found: dict[str, Any] = {
        "line": step.place.line,
        "column": step.place.column,
        "depth": step.depth,
        "text": step.text,
    }
    if step.outcome == "value":
        found["value"] = _plain(step.value)
    elif step.outcome == "failure":
        found["failure"] = step.reason
    else:
        found["unasked"] = True
    return found


def _plain(value: Any) -> Any:
    try:
        return ejson.encode(value)
    except DocdbError:
        return repr(value)
