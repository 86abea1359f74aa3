"""The rules of a database: stored text, and what is made of it.

What lives here: ``known_rules`` (the checked rules of a stored record), and setting, loading and showing them. What it must not know: who is judged by
them, how.

A record is checked before it is stored, all records of a call are stored in one commit, and each is parsed once as long as it stands in the
catalog.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from docdb.errors import CollectionError, CorruptError, RuleError, UsageError
from docdb.rules.checker import path_target
from docdb.rules.files import load_mapping, read
from docdb.rules.parser import MAX_LENGTH
from docdb.rules.ruleset import PRESETS, RuleSet, load
from docdb.rules.syntax import Call, walk
from docdb.sessions.administration import check_name
from docdb.sessions.session import StoreSession
from docdb.store.batch import WriteBatch
from docdb.store.rule_records import RuleRecord

__all__ = ["KnownRules", "known_rules", "list_rules", "load_rules", "rules_of", "set_rules"]

LONGEST: Final = 2**20  # characters of a stored rule: its own bound was asked for when it was set
_OWNED: Final = ("PRIVATE", "READONLY")
_WEB: Final = {
    name: {
        key: rule.replace("auth.openid", "auth.uid") if isinstance(rule, str) else rule for key, rule in rules.items()
    }
    for name, rules in PRESETS.items()
}
_logger = logging.getLogger("docdb.rules")
_logger.addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class KnownRules:
    """The checked rules of a name. ``web`` are those for callers that have a ``uid`` and no ``openid``; ``owned``: the preset adds the owner to queries."""

    name: str
    rules: RuleSet
    web: RuleSet
    version: int
    preset: str | None = None

    @property
    def owned(self) -> bool:
        """Whether a condition on ``_openid`` is added to what a query does not say itself."""
        return self.preset in _OWNED


def known_rules(record: RuleRecord) -> KnownRules:
    """Return what a record says; CorruptError or RuleError for one that says nothing. Cost: once a record."""
    found: KnownRules | None = record.parsed
    if found is None:
        text, version, _, _ = record.content()
        spec = _decoded(record.name, text)
        rules = load(spec, max_length=LONGEST)
        preset = spec if isinstance(spec, str) else None
        web = rules if preset is None else load(_WEB[preset])
        found = record.parsed = KnownRules(record.name, rules, web, version, preset)
    return found


def set_rules(
    session: StoreSession, name: str, rules: Any, *, who: str | None = None, max_length: int = MAX_LENGTH
) -> int | None:
    """Store the rules of one name, None to remove them; return the version."""
    session.administer("set_rules", name)
    check_name(name)
    _check_who(who)
    loaded = {} if rules is None else load_mapping({name: rules}, max_length=max_length)
    versions = _store(session, {name: rules}, who)
    there = {*session.store.catalog().collections, *session.store.catalog().rules}
    for key, missing in _unknown(loaded, there):
        _logger.warning("the rules of %r name a collection that is not there yet: %r, in %s", name, missing, key)
    return versions[name]


def load_rules(
    session: StoreSession, path: str | os.PathLike[str], *, who: str | None = None, max_length: int = MAX_LENGTH
) -> dict[str, int]:
    """Store all rules of a file in one commit; return the versions by name. A ``get`` of a collection that is nowhere is a mistake here."""
    session.administer("load_rules")
    _check_who(who)
    found = read(path)
    if not isinstance(found, Mapping):
        raise RuleError("a file of rules is an object: {collection: rules}", path=os.fspath(path))
    for name in found:
        if isinstance(name, str):
            _check_rule_name(name)
    catalog = session.store.catalog()
    load_mapping(found, max_length=max_length, collections={*found, *catalog.collections, *catalog.rules})
    return {name: version for name, version in _store(session, found, who).items() if version is not None}


def rules_of(session: StoreSession, name: str) -> Any:
    """Return the rules of a name as they were given, None where there are none."""
    session.administer("rules", name)
    check_name(name)
    record = session.store.catalog().rules.get(name)
    return None if record is None else _decoded(name, record.content()[0])


def list_rules(session: StoreSession) -> list[dict[str, Any]]:
    """Return name, rules, version, when and who of all rules, by name."""
    session.administer("list_rules")
    shown = []
    for name, record in sorted(session.store.catalog().rules.items()):
        text, version, when, who = record.content()
        shown.append({"name": name, "rules": _decoded(name, text), "version": version, "when": when, "who": who})
    return shown


def _store(session: StoreSession, rules: Mapping[str, Any], who: str | None) -> dict[str, int | None]:
    texts = {name: None if spec is None else _encoded(spec) for name, spec in rules.items()}
    when = session.settings.clock()

    def call(batch: WriteBatch) -> dict[str, int | None]:
        versions: dict[str, int | None] = {}
        for name, text in texts.items():
            known = batch.catalog.rules.get(name)
            if text is None:
                versions[name] = None
                if known is not None:
                    batch.define_rules(name, None)
                continue
            versions[name] = 1 if known is None else _version(known) + 1
            batch.define_rules(name, RuleRecord.pack(name, text, versions[name] or 1, when, who))
        return versions

    versions: dict[str, int | None] = session.store.write(call)
    return versions


def _version(record: RuleRecord) -> int:
    try:
        return record.content()[1]
    except CorruptError:
        return 0  # a damaged record is replaced, not a reason to keep it


def _encoded(spec: Any) -> str:
    """Return the canonical text: the keys stand as they were given, since their order means nothing and people read it."""
    return json.dumps(spec, ensure_ascii=False, separators=(",", ":"))


def _decoded(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CorruptError(f"the rules of {name!r} are damaged") from error


def _check_who(who: Any) -> None:
    if who is not None and not isinstance(who, str):
        raise UsageError("who is text: whoever sets the rules", path="who")


def _check_rule_name(name: str) -> None:
    try:
        check_name(name)
    except CollectionError as error:
        raise RuleError(error.message, path=name, hint=error.hint) from error


def _unknown(loaded: Mapping[str, RuleSet], there: set[str]) -> Iterator[tuple[str, str]]:
    for rules in loaded.values():
        for key, tree in rules.expressions():
            for node in walk(tree):
                target = path_target(node.arguments[0]) if isinstance(node, Call) and node.name == "get" else None
                if target is not None and target[0] not in there:
                    yield key, target[0]
