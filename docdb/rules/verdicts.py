"""May this be done to this document? All images and field rules together, as the kit for developers asks it.

What lives here: ``judge``. What it must not know: where documents and rules come from. An update is judged on the old image and on the new one, and
what may not be written must be the same in both; a create is judged on the new image, read and delete on what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from docdb.rules.comparison import is_list, same
from docdb.rules.evaluator import Circumstances
from docdb.rules.ruleset import RuleSet
from docdb.rules.tracing import Trace, trace

__all__ = ["Verdict", "images_of", "is_allowed", "judge"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an action is allowed, the key that answered, and by image (``old``, ``new``) what the rule came to.

    ``hidden`` are the fields a reader does not get, ``unwritable`` those that were changed and may not be, ``fields`` what the field rules that
    were asked came to, by key.
    """

    allowed: bool
    key: str | None
    traces: Mapping[str, Trace]
    hidden: frozenset[str] = frozenset()
    unwritable: frozenset[str] = frozenset()
    fields: Mapping[str, Trace] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """One line: what decided."""
        if self.key is None:
            return "there is no rule for it"
        if self.unwritable:
            return f"may not be written: {', '.join(sorted(self.unwritable))}"
        decisive = next((row for row in self.traces.items() if not row[1].allowed), None)
        image, found = decisive if decisive is not None else next(iter(self.traces.items()))
        where = f"on the {image} image, " if len(self.traces) > 1 and decisive is not None else ""
        return where + "; ".join(f"{' '.join(step.text.split())} is {_word(step)}" for step in found.reasons)


def judge(rules: RuleSet, action: str, about: Circumstances) -> Verdict:
    """Judge ``action``: read and delete on ``about.old``, create on ``about.new``, update on both, all with ``about``'s reader and memo."""
    key = rules.key(action)
    if key is None:
        return Verdict(False, None, {})
    old, new = about.old, about.new
    images = images_of(action, about)
    traces = {
        name: trace(rules.trees[key], rules.sources[key], replace(about, doc=image)) for name, image in images.items()
    }
    first = replace(about, doc=next(iter(images.values())))
    way = {"read": "read", "create": "write", "update": "write"}.get(action)
    fields = {} if way is None else _fields(rules, way, first)
    refused = frozenset(path for path, found in fields.items() if not found.allowed)
    hidden = refused if way == "read" else frozenset()
    unwritable = _changed(refused, old, new) if way == "write" else frozenset()
    allowed = all(found.allowed for found in traces.values()) and not unwritable
    return Verdict(
        allowed, key, traces, hidden, unwritable, {f"fields.{path}.{way}": found for path, found in fields.items()}
    )


def is_allowed(rules: RuleSet, action: str, about: Circumstances) -> bool:
    """Return what ``judge`` would say, without a trace."""
    images = list(images_of(action, about).values())
    if not all(rules.allows(action, replace(about, doc=image)) for image in images):
        return False
    if action not in ("create", "update"):
        return True
    return not _changed(rules.unwritable(replace(about, doc=images[0])), about.old, about.new)


def images_of(action: str, about: Circumstances) -> dict[str, Mapping[str, Any] | None]:
    """Return the images that an action is judged on, by name."""
    if action == "create":
        return {"new": about.new}
    return {"old": about.old, "new": about.new} if action == "update" else {"old": about.old}


def _fields(rules: RuleSet, way: str, about: Circumstances) -> dict[str, Trace]:
    trees = {path: getattr(rule, way) for path, rule in rules.fields.items()}
    return {
        path: trace(tree, rules.sources[f"fields.{path}.{way}"], about)
        for path, tree in trees.items()
        if tree is not None
    }


def _changed(paths: frozenset[str], old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> frozenset[str]:
    return frozenset(path for path in paths if not same(_reach(old, path.split(".")), _reach(new, path.split("."))))


def _reach(value: Any, steps: list[str]) -> Any:
    """Return everything that stands at a path, through arrays as well, as one value to compare."""
    if is_list(value):
        return [_reach(item, steps) for item in value]
    if not steps:
        return {"value": value}
    if isinstance(value, Mapping) and steps[0] in value:
        return _reach(value[steps[0]], steps[1:])
    return None


def _word(step: Any) -> str:
    return f"an error ({step.reason})" if step.outcome == "failure" else str(step)
