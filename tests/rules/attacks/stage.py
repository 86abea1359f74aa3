"""Where attacks are played: the same database three times, differing only in what the user must not learn.

What lives here: ``Probe``, what a user asks for, ``Attack``, probes with rules and documents around them, ``Stage``, its databases. The forbidden is
marked in the documents by values that hold ``CANARY`` (or are ``CANARY_NUMBER``):

    known     the documents as the attack gives them
    other     other values in the place of the canaries
    absent    no canaries: documents that hold one are gone, or where the secret is a field, that field

Whoever sees no difference between the three has learned nothing, by no result, count, order or error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import docdb
from docdb.aio import AsyncDatabase
from tests.rules.attacks.twin import Loop

__all__ = [
    "ABSENT",
    "CANARY",
    "CANARY_NUMBER",
    "HOME",
    "HOME_RULES",
    "ME",
    "Attack",
    "Probe",
    "Stage",
    "dump",
    "user_of",
]

CANARY: Final = "canary"
CANARY_NUMBER: Final = 70_000_007
OTHER: Final = "A quite different thing"
OTHER_NUMBER: Final = -3
ABSENT: Final = object()
NO_TEXT: Final = "\ud800"  # cannot be stored
ME: Final = {"openid": "me"}
HOME: Final = "home"  # a collection that everybody may use, beside those of the attack
HOME_RULES: Final = {"read": True, "write": True}
WORLDS: Final = ("known", "other", "absent")
MODES: Final = ("prove", "filter")

Documents = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Probe:
    """What is asked for; an entry point takes from it what it has a place for."""

    collection: str = "notes"
    filter: Any = field(default_factory=dict)
    id: Any = "theirs"
    key: str = "text"
    order: Any = (("text", 1),)
    fields: Any = None
    update: Any = field(default_factory=lambda: {"$set": {"text": "changed"}})
    program: Any = field(default_factory=lambda: [{"$set": {"text": "changed"}}])
    document: Any = field(default_factory=lambda: {"_id": "new", "text": "made"})
    stages: Sequence[Mapping[str, Any]] = ({"$match": {}},)
    array_filters: Any = None
    collation: Any = None


@dataclass(frozen=True, eq=False)  # equal to itself alone, so that pytest keeps its stage for all tests
class Attack:
    """Probes, and the world they are tried in. ``secret`` says what a canary makes forbidden: the document, or the field."""

    name: str
    rules: Mapping[str, Any]
    documents: Documents
    probes: Sequence[Probe]
    auth: Any = field(default_factory=lambda: dict(ME))
    uses: frozenset[str] = frozenset({"filter"})
    secret: str = "document"
    modes: Sequence[str] = MODES
    indexes: Sequence[tuple[str, Any, Mapping[str, Any]]] = ()
    without: Sequence[str] = ()
    futile: bool = (
        False  # refused for the administrator, too: nothing to succeed at, but something to say too much about
    )

    def __repr__(self) -> str:
        return self.name

    def concerns(self, uses: Iterable[str]) -> bool:
        """Tell whether an entry point that takes ``uses`` from the probe takes what this attack is made of."""
        return bool(self.uses & frozenset(uses))


def user_of(db: Any, auth: Any, mode: str = "prove", **more: Any) -> Any:
    """Return the user's handle in one of the two modes."""
    return db.as_user(auth, filter_mode=mode == "filter", **more)


def attack(name: str, rules: Mapping[str, Any], documents: Documents, *probes: Probe, **more: Any) -> Attack:
    """Return an attack made of these probes."""
    return Attack(name, rules, documents, probes, **more)


class Stage:
    """The three databases of an attack."""

    def __init__(self, attack: Attack) -> None:
        self.attack = attack
        self.plays = {world: _play(attack, world) for world in WORLDS}
        self.begun = {world: dump(db) for world, db in self.plays.items()}
        self._twins: dict[str, AsyncDatabase] = {}

    def twin(self, world: str) -> AsyncDatabase:
        """Return the asynchronous face of a database."""
        if world not in self._twins:
            self._twins[world] = AsyncDatabase(self.plays[world])
        return self._twins[world]

    def restore(self, world: str) -> None:
        """Put the documents of a world back where something changed them."""
        db = self.plays[world]
        for name in set(db.list_collection_names()) | set(self.begun[world]):
            if not name.startswith("_"):
                db[name].delete_many({})
                rows = self.begun[world].get(name, [])
                if rows:
                    db[name].insert_many([dict(row) for row in rows])

    def close(self, loop: Loop) -> list[str]:
        """Close the databases and return what the checker finds wrong with them."""
        problems = []
        for world, db in self.plays.items():
            problems += db.check().problems
            if world in self._twins:
                loop.run(self._twins[world].close)
            db.close()
        return problems


def dump(db: Any) -> dict[str, list[dict[str, Any]]]:
    """Return every document of every collection, as the administrator sees them."""
    return {name: list(db[name].find({}).sort("_id", 1)) for name in db.list_collection_names()}


def _play(attack: Attack, world: str) -> Any:
    db = docdb.open(":memory:", sweep_s=None)
    id = attack.probes[0].id
    home = [{"_id": "h", "to": "theirs" if isinstance(id, dict) or id == NO_TEXT else id, "one": 1, "_openid": "me"}]
    for name, rows in {HOME: home, **attack.documents}.items():
        shown = [row for row in (_turned(row, world, attack.secret) for row in rows) if row is not ABSENT]
        if shown:
            db[name].insert_many(shown)
        elif name not in db.list_collection_names():
            db.create_collection(name)
    for name, keys, options in attack.indexes:
        db[name].create_index(keys, **options)
    for name, rules in {HOME: HOME_RULES, **attack.rules}.items():
        db.set_rules(name, rules)
    return db


def _turned(row: Mapping[str, Any], world: str, secret: str) -> Any:
    if world == "known":
        return dict(row)
    if world == "other":
        return _mapped(row, _another)
    if secret == "document":
        return ABSENT if _mapped(row, _nothing) != row else dict(row)
    return _mapped(row, _nothing)


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return the value with its leaves changed; what becomes ABSENT is left out."""
    if isinstance(value, Mapping):
        changed = {name: _mapped(item, change) for name, item in value.items()}
        return {name: item for name, item in changed.items() if item is not ABSENT}
    if isinstance(value, list):
        return [item for item in (_mapped(item, change) for item in value) if item is not ABSENT]
    return change(value)


def is_canary(value: Any) -> bool:
    """Tell whether a scalar marks the forbidden."""
    return (isinstance(value, str) and CANARY in value.lower()) or (type(value) is int and value == CANARY_NUMBER)


def _another(value: Any) -> Any:
    if not is_canary(value):
        return value
    return OTHER if isinstance(value, str) else OTHER_NUMBER


def _nothing(value: Any) -> Any:
    return ABSENT if is_canary(value) else value
