"""The rules of one collection: which expression answers for which action.

What lives here: the keys of a rule object and their defaults, the presets, the lint that needs more than one key. What it
must not know: sessions and storage.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from docdb.errors import RuleError
from docdb.rules.checker import Lint, check, lints
from docdb.rules.evaluator import Circumstances, allows
from docdb.rules.parser import MAX_LENGTH, parse
from docdb.rules.syntax import Literal, Node, Place

__all__ = ["ACTIONS", "PRESETS", "RuleSet", "load"]

ACTIONS = ("read", "create", "update", "delete")
KEYS = ("read", "write", "create", "update", "delete")
OWN = "auth != null && doc._openid == auth.openid"

PRESETS: dict[str, dict[str, bool | str]] = {
    "READONLY": {"read": True, "write": OWN},
    "PRIVATE": {"read": OWN, "write": OWN},
    "ADMINWRITE": {"read": True, "write": False},
    "ADMINONLY": {"read": False, "write": False},
}


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The checked rules of a collection; ``lints`` says by key what is probably not meant."""

    trees: Mapping[str, Node]
    lints: Mapping[str, tuple[Lint, ...]]

    def rule(self, action: str) -> Node | None:
        """Return the tree that answers for ``action``: its own, else that of write (never for read), else none."""
        if action not in ACTIONS:
            return None
        own = self.trees.get(action)
        return own if own is not None or action == "read" else self.trees.get("write")

    def allows(self, action: str, circumstances: Circumstances) -> bool:
        """Return whether the action is allowed; without a rule, and for an unknown action, it is not."""
        tree = self.rule(action)
        return tree is not None and allows(tree, circumstances)


def load(rules: Mapping[str, Any] | str, *, max_length: int = MAX_LENGTH) -> RuleSet:
    """Check a rule object, or a preset by name, as a whole; raise RuleError with the key as path at the first mistake.

    >>> load("ADMINWRITE").allows("read", Circumstances(auth=None, now=0))
    True
    """
    if isinstance(rules, str):
        if rules not in PRESETS:
            raise RuleError(f"there is no preset {rules!r}", hint=f"there are {', '.join(PRESETS)}")
        rules = PRESETS[rules]
    if not isinstance(rules, Mapping):
        raise RuleError("rules are an object or the name of a preset")
    trees: dict[str, Node] = {}
    found: dict[str, tuple[Lint, ...]] = {}
    for key, value in rules.items():
        trees[_known(key)] = _tree(key, value, max_length)
        found[key] = tuple(lints(trees[key]))
    if "write" in trees and all(action in trees for action in ("create", "update", "delete")):
        found["write"] += (
            Lint("create, update and delete have rules of their own, so write is never asked", Place(1, 1)),
        )
    return RuleSet(trees, found)


def _known(key: Any) -> str:
    if isinstance(key, str) and key in KEYS:
        return key
    close = difflib.get_close_matches(str(key), KEYS, n=1)
    raise RuleError(
        f"there is no rule key {key!r}", hint=f"did you mean {close[0]!r}?" if close else f"there are {', '.join(KEYS)}"
    )


def _tree(key: str, value: Any, max_length: int) -> Node:
    if isinstance(value, bool):
        return Literal(Place(1, 1), value)
    if not isinstance(value, str):
        raise RuleError("a rule is true, false or an expression", path=key)
    try:
        tree = parse(value, max_length=max_length)
        check(value, tree, key)
    except RuleError as error:
        error.path = key
        raise
    return tree
