"""The rules of one collection: which expression answers for which action, and for which field.

What lives here: the keys of a rule object and their defaults, the presets, field rules, the lints that need more than one
expression. What it must not know: sessions and storage.

    read, write                 true, false or an expression; without one: denied
    create, update, delete      before write where they stand
    fields                      {"path": {"read": ..., "write": ...}}: a field that may not be read is as if it were not there, one that
                                may not be written must stay as it is; a path without a rule follows the document's
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from docdb.errors import RuleError
from docdb.rules.checker import check, path_target
from docdb.rules.evaluator import Circumstances, allows
from docdb.rules.lints import Lint, constant, lints
from docdb.rules.parser import MAX_LENGTH, parse
from docdb.rules.syntax import Call, Literal, Node, Place, walk

__all__ = ["ACTIONS", "KEYS", "PRESETS", "FieldRule", "RuleSet", "lint_all", "load"]

ACTIONS: Final = ("read", "create", "update", "delete")
KEYS: Final = ("read", "write", "create", "update", "delete", "fields")
FIELD_KEYS: Final = ("read", "write")
OWN: Final = "auth != null && doc._openid == auth.openid"

PRESETS: Final[dict[str, dict[str, bool | str]]] = {
    "READONLY": {"read": True, "write": OWN},
    "PRIVATE": {"read": OWN, "write": OWN},
    "ADMINWRITE": {"read": True, "write": False},
    "ADMINONLY": {"read": False, "write": False},
}


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Who may read and who may write a field, beyond what the rules of the document say; None adds nothing."""

    read: Node | None = None
    write: Node | None = None


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The checked rules of a collection; ``lints`` and ``sources`` say by key (``read``, ``fields.secret.read``) what is
    probably not meant, and the text."""

    trees: Mapping[str, Node]
    lints: Mapping[str, tuple[Lint, ...]]
    fields: Mapping[str, FieldRule] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def key(self, action: str) -> str | None:
        """Return the key that answers for ``action``: its own, else write (never for read), else None."""
        if action not in ACTIONS:
            return None
        if action in self.trees:
            return action
        return "write" if action != "read" and "write" in self.trees else None

    def rule(self, action: str) -> Node | None:
        """Return the tree that answers for ``action``, None where nothing does."""
        key = self.key(action)
        return None if key is None else self.trees[key]

    def allows(self, action: str, circumstances: Circumstances) -> bool:
        """Return whether the action is allowed; without a rule, and for an unknown action, it is not."""
        tree = self.rule(action)
        return tree is not None and allows(tree, circumstances)

    def hidden(self, circumstances: Circumstances) -> frozenset[str]:
        """Return the paths whose rule does not let them be read in ``circumstances.doc``; each hides what lies below it, too.

        Without a document (``doc`` None) these are the fields that a query may not speak of: all whose rule needs a document
        to say true.
        """
        return frozenset(
            path for path, rule in self.fields.items() if rule.read is not None and not allows(rule.read, circumstances)
        )

    def unwritable(self, circumstances: Circumstances) -> frozenset[str]:
        """Return the paths whose rule does not let them be written: they, and what lies below them, must stay as they are."""
        return frozenset(
            path
            for path, rule in self.fields.items()
            if rule.write is not None and not allows(rule.write, circumstances)
        )

    def expressions(self) -> Iterator[tuple[str, Node]]:
        """Yield every expression with its key, those of fields as ``fields.secret.read``."""
        yield from self.trees.items()
        for path, rule in self.fields.items():
            for key in FIELD_KEYS:
                tree = getattr(rule, key)
                if tree is not None:
                    yield f"fields.{path}.{key}", tree


def load(
    rules: Mapping[str, Any] | str, *, max_length: int = MAX_LENGTH, collections: Collection[str] | None = None
) -> RuleSet:
    """Check a rule object, or a preset by name, as a whole; raise RuleError with the key as path at the first mistake.

    With ``collections`` (the names there are) a ``get`` of another one is a mistake.

    >>> load("ADMINWRITE").allows("read", Circumstances(auth=None, now=0))
    True
    """
    if isinstance(rules, str):
        if rules not in PRESETS:
            raise RuleError(f"there is no preset {rules!r}", hint=f"there are {', '.join(PRESETS)}")
        rules = PRESETS[rules]
    if not isinstance(rules, Mapping):
        raise RuleError("rules are an object or the name of a preset")
    loader = _Loader(max_length, collections)
    for key, value in rules.items():
        if _known(key, KEYS, None) == "fields":
            loader.fields(value)
        else:
            loader.trees[key] = loader.expression(key, key, value)
    if "write" in loader.trees and all(action in loader.trees for action in ("create", "update", "delete")):
        never = Lint("create, update and delete have rules of their own, so write is never asked", Place(1, 1))
        loader.lints["write"] += (never,)
    return RuleSet(loader.trees, loader.lints, loader.rules, loader.sources)


class _Loader:
    """What has been read of one rule object."""

    def __init__(self, max_length: int, collections: Collection[str] | None) -> None:
        self.max_length = max_length
        self.collections = collections
        self.trees: dict[str, Node] = {}
        self.rules: dict[str, FieldRule] = {}
        self.lints: dict[str, tuple[Lint, ...]] = {}
        self.sources: dict[str, str] = {}

    def expression(self, where: str, key: str, value: Any) -> Node:
        """Return the checked tree of the expression that stands at ``where`` as a rule for ``key``."""
        if isinstance(value, bool):
            text = str(value).lower()
            tree: Node = Literal(Place(1, 1, 0, len(text)), value)
        elif isinstance(value, str):
            text, tree = value, self.checked(where, key, value)
        else:
            raise RuleError("a rule is true, false or an expression", path=where)
        self.sources[where] = text
        self.lints[where] = tuple(lints(tree))
        return tree

    def checked(self, where: str, key: str, text: str) -> Node:
        try:
            tree = parse(text, max_length=self.max_length)
            check(text, tree, key, self.collections)
        except RuleError as error:
            error.path = where
            raise
        return tree

    def fields(self, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise RuleError('field rules are an object: {"path": {"read": ..., "write": ...}}', path="fields")
        for path, rule in value.items():
            where = f"fields.{path}"
            _check_path(path, where)
            if not isinstance(rule, Mapping) or not rule:
                raise RuleError("a field has a rule for read, for write or for both", path=where)
            trees = {
                _known(key, FIELD_KEYS, where): self.expression(f"{where}.{key}", key, text)
                for key, text in rule.items()
            }
            self.rules[path] = FieldRule(trees.get("read"), trees.get("write"))


def _check_path(path: Any, where: str) -> None:
    steps = path.split(".") if isinstance(path, str) else [""]
    if not all(steps) or any(step.startswith("$") or "\0" in step for step in steps):
        raise RuleError("this is no path of a field", path=where)
    if steps[0] == "_id":
        raise RuleError("_id has no rule of its own", path=where, hint="whoever may read a document knows its _id")
    if any(step.isdigit() for step in steps):
        raise RuleError("a field rule names fields, not positions in an array", path=where)


def lint_all(mapping: Mapping[str, RuleSet]) -> dict[str, dict[str, tuple[Lint, ...]]]:
    """Return by collection and key what is probably not meant, with the lints that need the rules of all collections.

    A ``get`` of a collection that users may write trusts what they wrote.
    """
    return {
        name: {key: (*ruleset.lints.get(key, ()), *_trusting(tree, mapping)) for key, tree in ruleset.expressions()}
        for name, ruleset in mapping.items()
    }


def _trusting(tree: Node, mapping: Mapping[str, RuleSet]) -> Iterator[Lint]:
    for node in walk(tree):
        target = path_target(node.arguments[0]) if isinstance(node, Call) and node.name == "get" else None
        key = None if target is None or target[0] not in mapping else _open_to_users(mapping[target[0]])
        if target is not None and key is not None:
            yield Lint(
                f"users may write {target[0]} (its rule for {key}), and this rule trusts what it finds there",
                node.place,
            )


def _open_to_users(ruleset: RuleSet) -> str | None:
    """Return the key by which users may write, None where no rule ever lets them."""
    for action in ("create", "update", "delete"):
        tree = ruleset.rule(action)
        if tree is not None and constant(tree) is not False:
            return ruleset.key(action)
    return None


def _known(key: Any, known: tuple[str, ...], where: str | None) -> str:
    if isinstance(key, str) and key in known:
        return key
    close = difflib.get_close_matches(str(key), known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
    raise RuleError(f"there is no rule key {key!r}", path=where, hint=hint)
