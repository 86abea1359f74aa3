"""A document, and a caller, that one set of rules allows and another denies.

What lives here: ``differences``: the search. What it must not know: files, the command line.

It is a search, not a proof: worlds (caller, documents, clock) are made out of the constants and paths that stand in both rule sets, and improved step
by step towards one that the new rules allow and the old ones do not. What it finds is true, and cut down to what matters; where it finds nothing there
may still be something.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from docdb.rules.checker import path_target
from docdb.rules.evaluator import Circumstances, Failure, evaluate
from docdb.rules.readers import Documents
from docdb.rules.ruleset import ACTIONS, RuleSet
from docdb.rules.syntax import Binary, Call, Index, Literal, Logic, Member, Method, Node, Not, ObjectOf, Variable, walk
from docdb.rules.verdicts import Verdict, images_of, is_allowed, judge

__all__ = ["ATTEMPTS", "Difference", "differences"]

ATTEMPTS: Final = 60  # starts of the search for one action
STEPS: Final = 250  # improvements that are tried from one start
NOW: Final = 1_767_225_600_000
PEOPLE: Final = ("ann", "bob")  # who the caller and others may be
ABSENT: Final = object()
Path = tuple[str, ...]  # its first step is auth, doc, new or a collection's name behind "get:"


@dataclass(frozen=True, slots=True)
class Difference:
    """A world in which the new rules allow an action and the old ones deny it; with ``field`` a world in which they show that field."""

    action: str
    field: str | None
    auth: Mapping[str, Any] | None
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None
    documents: Mapping[str, Sequence[Mapping[str, Any]]]
    denied: Verdict
    allowed: Verdict
    now: int


def differences(old: RuleSet, new: RuleSet, *, seed: int = 0, attempts: int = ATTEMPTS) -> Iterator[Difference]:
    """Yield for each action at most one difference: what ``new`` allows and ``old`` denies. The same seed finds the same."""
    for action in ACTIONS:
        if _may_differ(old, new, action):
            found = _Search(old, new, action, None, random.Random(seed)).run(attempts)
            if found is not None:
                yield found
    for path, rule in old.fields.items():
        if rule.read is not None and new.rule("read") is not None and new.fields.get(path) != rule:
            found = _Search(old, new, "read", path, random.Random(seed)).run(attempts)
            if found is not None:
                yield found


def _may_differ(old: RuleSet, new: RuleSet, action: str) -> bool:
    if new.rule(action) is None:
        return False
    return old.rule(action) != new.rule(action) or (action in ("create", "update") and old.fields != new.fields)


class _Search:
    """Hill climbing over assignments of values to the paths that the rules speak of."""

    def __init__(self, old: RuleSet, new: RuleSet, action: str, field: str | None, rng: random.Random) -> None:
        self.old, self.new, self.action, self.field, self.rng = old, new, action, field, rng
        self.trees = [tree for rules in (old, new) for _, tree in rules.expressions()]
        paths = {path for tree in self.trees for path in _paths(tree, action)} | {("auth",)}
        written = {path for rules in (old, new) for path in rules.fields if action in ("create", "update")}
        paths |= {(root, *path.split(".")) for path in written for root in ("doc", "new")}
        self.paths = sorted(paths)
        self.near = {path: sorted(values, key=repr) for path, values in _constants(self.trees).items()}
        literals = {
            _key(node.value): node.value for tree in self.trees for node in walk(tree) if isinstance(node, Literal)
        }
        self.pool = [value for literal in literals.values() for value in _neighbours(literal)]
        self.pool += [*PEOPLE, True, False, None, ABSENT, 1, "", [], {}, NOW - 1000, NOW + 1000]

    def run(self, attempts: int) -> Difference | None:
        for _ in range(attempts):
            world = {path: self.value(path) for path in self.paths}
            best = self.score(world)
            for _ in range(STEPS):
                if best == 0.0:
                    return self.smallest(world)
                changed = {**world, **{path: self.value(path) for path in self.rng.sample(self.paths, self.some())}}
                score = self.score(changed)
                if score <= best:
                    world, best = changed, score
        return None

    def some(self) -> int:
        return min(len(self.paths), 1 if self.rng.random() < 0.7 else 2)

    def value(self, path: Path) -> Any:
        chance = self.rng.random()
        if chance < 0.4 and self.near.get(path[1:]):
            return self.rng.choice(self.near[path[1:]])
        if chance < 0.7:
            return self.rng.choice(PEOPLE)
        value = self.rng.choice(self.pool)
        return [value] if self.rng.random() < 0.1 and value is not ABSENT else value

    def score(self, world: Mapping[Path, Any]) -> float:
        """Return how far a world is from a difference: 0.0 is one."""
        about = self.circumstances(world)
        if self.permits(self.new, about) and not self.permits(self.old, about):
            return 0.0
        return 0.001 + self.distance(self.new, True, about) + self.distance(self.old, False, about)

    def permits(self, rules: RuleSet, about: Circumstances) -> bool:
        if not is_allowed(rules, self.action, about):
            return False
        return self.field is None or self.field not in rules.hidden(replace(about, doc=about.old))

    def distance(self, rules: RuleSet, truth: bool, about: Circumstances) -> float:
        """Return how far the rule is from ``truth``, and the field rules that stand beside it: all must allow, or one must not."""
        tree = rules.rule(self.action)
        if tree is None:
            return 0.0
        images = list(images_of(self.action, about).values())
        scores = [_distance(tree, truth, replace(about, doc=image)) for image in images]
        scores += [_distance(tree, truth, replace(about, doc=images[0])) for tree in self.beside(rules)]
        return sum(scores) / len(scores) if truth else min(scores)

    def beside(self, rules: RuleSet) -> list[Node]:
        if self.field is not None:
            found = [rules.fields[self.field].read] if self.field in rules.fields else []
        else:
            found = [rule.write for rule in rules.fields.values()] if self.action in ("create", "update") else []
        return [tree for tree in found if tree is not None]

    def circumstances(self, world: Mapping[Path, Any]) -> Circumstances:
        roots: dict[str, Any] = {}
        for path in self.paths:
            if world[path] is not ABSENT:
                _put(roots, path, world[path])
        auth = roots.get("auth")
        documents: dict[str, list[dict[str, Any]]] = {}
        for root, document in roots.items():
            if root.startswith("get:") and isinstance(document, dict):
                documents.setdefault(root[4:], []).append({"_id": "1", **document})
        old = _document(roots.get("doc")) if self.action != "create" else None
        new = _document(roots.get("new" if self.action == "update" else "doc"))
        return Circumstances(
            auth=auth if isinstance(auth, dict) else None,
            now=NOW,
            old=old,
            new=new if self.action in ("create", "update") else None,
            reader=Documents(documents),
        )

    def smallest(self, world: dict[Path, Any]) -> Difference:
        """Take away everything that the difference does not need."""
        for path in sorted(self.paths, key=len, reverse=True):
            for simpler in (ABSENT, {}) if path == ("auth",) else (ABSENT, *PEOPLE, True, 1):
                without = {**world, path: simpler}
                if world[path] is not ABSENT and self.score(without) == 0.0:
                    world = without
                    break
        about = self.circumstances(world)
        denied, allowed = judge(self.old, self.action, about), judge(self.new, self.action, about)
        reader: Any = about.reader
        return Difference(
            self.action, self.field, about.auth, about.old, about.new, reader.collections, denied, allowed, NOW
        )


def _distance(node: Node, truth: bool, about: Circumstances) -> float:
    """Return 0.0 where ``node`` is ``truth`` (not true counts as false), else a figure that falls as more of its parts are as they should be."""
    match node:
        case Not(operand=operand):
            return _distance(operand, not truth, about)
        case Logic(operator=operator, left=left, right=right):
            sides = _distance(left, truth, about), _distance(right, truth, about)
            return min(sides) if (operator == "||") is truth else sum(sides) / 2 if truth else sum(sides)
    try:
        return 0.0 if (evaluate(node, about) is True) is truth else 1.0
    except Failure:
        return 1.5 if truth else 0.0


def _document(value: Any) -> dict[str, Any]:
    return {"_id": "1", **value} if isinstance(value, dict) else {"_id": "1"}


def _put(roots: dict[str, Any], path: Path, value: Any) -> None:
    """Set a value; a scalar that stands in the way gives way, an object is never overwritten by a shorter path (they come first)."""
    place: dict[str, Any] = roots
    for step in path[:-1]:
        inner = place.get(step)
        if not isinstance(inner, dict):
            if inner is None and step in place and path[0] == "auth":
                return
            inner = place[step] = {}
        place = inner
    place[path[-1]] = dict(value) if isinstance(value, dict) else value


def _paths(tree: Node, action: str) -> Iterator[Path]:
    """Yield the paths into caller and documents that a rule speaks of; a key that is computed may be one of the people."""
    for node in walk(tree):
        for path in _chains(node):
            yield path
            if path[0] == "doc" and action == "update":
                yield ("new", *path[1:])
        if isinstance(node, Call) and node.name == "changed" and isinstance(node.arguments[0], Literal):
            for root in ("doc", "new"):
                yield (root, *str(node.arguments[0].value).split("."))
        if isinstance(node, Method) and node.name == "where" and isinstance(node.arguments[0], ObjectOf):
            place = _root(node)
            if place is not None:
                yield from ((place, *key.split(".")) for key, _ in node.arguments[0].pairs)
        if isinstance(node, Call) and node.name == "get":
            place = _root(node)
            if place is not None:
                yield (place, "_id")


def _chains(node: Node) -> list[Path]:
    """Return the paths a chain of fields may mean, more than one where a key is computed."""
    if isinstance(node, Variable):
        return [(node.name,)] if node.name in ("auth", "doc") else []
    if isinstance(node, Member):
        if isinstance(node.owner, Variable) and node.owner.name == "request":
            return [("new",)]
        return [(*path, node.name) for path in _chains(node.owner)]
    if isinstance(node, Index):
        if isinstance(node.key, Literal):
            step = node.key.value
            return [(*path, step) if isinstance(step, str) else path for path in _chains(node.owner)]
        return [(*path, name) for path in _chains(node.owner) for name in PEOPLE]
    root = _root(node)
    return [] if root is None else [(root,)]


def _root(node: Node) -> str | None:
    if isinstance(node, Method) and node.name == "where":
        return _root(node.owner)
    target = path_target(node.arguments[0]) if isinstance(node, Call) and node.name == "get" else None
    return None if target is None else f"get:{target[0]}"


def _constants(trees: Sequence[Node]) -> dict[Path, list[Any]]:
    """Return by path what it is compared with, neighbours included."""
    found: dict[Path, dict[Any, Any]] = {}
    for tree in trees:
        for node in walk(tree):
            if isinstance(node, Binary):
                for side, other in ((node.left, node.right), (node.right, node.left)):
                    values = [leaf.value for leaf in walk(other) if isinstance(leaf, Literal)] + _computed(other)
                    for path in _chains(side):
                        row = found.setdefault(path[1:], {})
                        row.update({_key(value): value for literal in values for value in _neighbours(literal)})
            elif isinstance(node, ObjectOf):
                for key, value in node.pairs:
                    if isinstance(value, Literal):
                        found.setdefault(tuple(key.split(".")), {})[_key(value.value)] = value.value
    return {path: list(row.values()) for path, row in found.items()}


def _computed(node: Node) -> list[Any]:
    """Return what a term comes to that needs the clock alone, such as ``now - 60000``."""
    try:
        value = evaluate(node, Circumstances(auth=None, now=NOW))
    except Failure:
        return []
    return [value] if type(value) in (int, float) else []


def _neighbours(value: Any) -> list[Any]:
    """Return a constant and what lies just beside it."""
    if isinstance(value, bool) or value is None:
        return [value]
    if isinstance(value, str):
        return [value, f"{value}x"]
    return [value - 1, value, value + 1]


def _key(value: Any) -> tuple[str, str]:
    return type(value).__name__, repr(value)
