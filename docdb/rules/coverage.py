"""Which parts of the rules the tests have seen true, seen false, seen fail, never seen.

What lives here: ``Coverage``. What it must not know: where verdicts come from. A *branch* is a part that must say true or false: the whole
expression and each side of ``&&``, ``||`` and ``!``; each counts twice, once for true and once for false (a failure is neither).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final

from docdb.rules.ruleset import RuleSet
from docdb.rules.syntax import Literal, Logic, Node, Not, children, walk
from docdb.rules.tracing import Trace

__all__ = ["Coverage", "Counts"]

STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222; }
pre { background: #f6f6f6; padding: .8em; overflow-x: auto; white-space: pre-wrap; }
h3 { margin-bottom: .2em; }
.both { background: #d6f5d6; } .half { background: #fff0c2; } .never { background: #ffd6d6; } .failed { border-bottom: 2px dotted #b00; }
.key span { padding: 0 .4em; margin-right: .6em; }
"""


@dataclass(slots=True)
class Counts:
    """How often a part was asked, and what it came to."""

    true: int = 0
    false: int = 0
    other: int = 0
    failed: int = 0

    @property
    def seen(self) -> int:
        return self.true + self.false + self.other + self.failed


@dataclass(frozen=True, slots=True)
class _Expression:
    tree: Node
    source: str
    counts: list[Counts] = field(default_factory=list)


class Coverage:
    """Counts over the rules of all collections; ``record`` takes what was traced."""

    def __init__(self, rules: Mapping[str, RuleSet]) -> None:
        self._rules = rules
        self._expressions = {
            (name, key): _Expression(tree, ruleset.sources[key], [Counts() for _ in walk(tree)])
            for name, ruleset in rules.items()
            for key, tree in ruleset.expressions()
        }

    def record(self, collection: str, key: str, found: Trace) -> None:
        """Count one evaluation of the expression under ``key``."""
        for counts, step in zip(self._expressions[collection, key].counts, found.steps, strict=True):
            if step.outcome == "failure":
                counts.failed += 1
            elif step.outcome == "value" and isinstance(step.value, bool):
                counts.true += step.value
                counts.false += not step.value
            elif step.outcome == "value":
                counts.other += 1

    @property
    def share(self) -> float:
        """The share of branches seen both ways, 1.0 where there are none."""
        done, all_ = self._totals(self._expressions)
        return done / all_ if all_ else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as plain data, by collection and key."""
        found: dict[str, Any] = {"share": round(self.share, 4), "collections": {}}
        for (name, key), expression in self._expressions.items():
            done, all_ = self._totals([(name, key)])
            parts = [
                _part(node, expression.source, counts, node_is_branch)
                for node, counts, node_is_branch in _rows(expression)
            ]
            found["collections"].setdefault(name, {})[key] = {
                "rule": expression.source, "branches": all_, "seen": done, "parts": parts,
            }  # fmt: skip
        return found

    def to_html(self) -> str:
        """Return a page that shows each rule with its branches coloured."""
        rows = []
        for name in self._rules:
            rows.append(f"<h2>{escape(name)}</h2>")
            for (owner, key), expression in self._expressions.items():
                if owner == name:
                    done, all_ = self._totals([(name, key)])
                    rows.append(
                        f"<h3>{escape(key)} <small>{done} of {all_}</small></h3><pre>{_marked(expression)}</pre>"
                    )
        legend = "".join(
            f'<span class="{name}">{text}</span>'
            for name, text in (
                ("both", "seen true and false"),
                ("half", "seen one way"),
                ("never", "never asked"),
                ("failed", "failed"),
            )
        )
        return (
            f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Coverage of rules</title><style>{STYLE}</style>\n'
            f'<h1>Coverage of rules: {self.share:.0%}</h1><p class="key">{legend}</p>\n'
            + "\n".join(rows)
            + "\n</html>\n"
        )

    def _totals(self, keys: Any) -> tuple[int, int]:
        done = all_ = 0
        for key in keys:
            for _, counts, is_branch in _rows(self._expressions[key]):
                if is_branch:
                    done += (counts.true > 0) + (counts.false > 0)
                    all_ += 2
        return done, all_


def _rows(expression: _Expression) -> Iterator[tuple[Node, Counts, bool]]:
    branches = {id(node) for node in _branches(expression.tree)}
    for node, counts in zip(walk(expression.tree), expression.counts, strict=True):
        yield node, counts, id(node) in branches


def _branches(tree: Node) -> Iterator[Node]:
    """Yield the parts that must say true or false; what always says the same is none."""
    if isinstance(tree, Literal):
        return
    yield tree
    for node in walk(tree):
        if isinstance(node, Not | Logic):
            yield from (child for child in children(node) if not isinstance(child, Literal))


def _part(node: Node, source: str, counts: Counts, is_branch: bool) -> dict[str, Any]:
    place = node.place
    return {
        "line": place.line, "column": place.column, "text": source[place.start : place.end], "branch": is_branch,
        "true": counts.true, "false": counts.false, "other": counts.other, "failed": counts.failed,
        "state": _state(counts, is_branch),
    }  # fmt: skip


def _state(counts: Counts, is_branch: bool) -> str:
    if not counts.seen:
        return "never"
    if not is_branch:
        return "seen"
    return "both" if counts.true and counts.false else "true" if counts.true else "false" if counts.false else "failed"


def _marked(expression: _Expression) -> str:
    marks = {id(node): (counts, is_branch) for node, counts, is_branch in _rows(expression)}
    return _span(expression.tree, expression.source, marks)


def _span(node: Node, source: str, marks: dict[int, tuple[Counts, bool]]) -> str:
    """Return the text of a node with its parts in their spans."""
    text, at = "", node.place.start
    for child in children(node):
        text += escape(source[at : child.place.start]) + _span(child, source, marks)
        at = child.place.end
    text += escape(source[at : node.place.end])
    counts, is_branch = marks[id(node)]
    if not is_branch:
        return text
    state = _state(counts, is_branch)
    colour = state if state in ("both", "never") else "half"
    failed = " failed" if counts.failed else ""
    title = f"true {counts.true}, false {counts.false}, failed {counts.failed}"
    return f'<span class="{colour}{failed}" title="{title}">{text}</span>'
