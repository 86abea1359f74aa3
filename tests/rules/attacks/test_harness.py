"""The harness itself: every public way is in the table, and every attack succeeds where no rules stand in its way."""

from __future__ import annotations

from typing import Final

import pytest

import docdb
from tests.rules.attacks import test_identity, test_names, test_oracles, test_pipelines, test_writes
from tests.rules.attacks.detector import leaks, seen, unlawful, visible
from tests.rules.attacks.entry_points import ENTRIES, VARIANTS, Entry, entries
from tests.rules.attacks.stage import CANARY, Probe, attack, dump
from tests.rules.attacks.twin import Blocking, Traced

MODULES: Final = (test_identity, test_names, test_oracles, test_pipelines, test_writes)
EVERY_ATTACK: Final = [attack for module in MODULES for attack in module.ATTACKS]
FORBIDDEN: Final = attack(
    "everything",
    {"notes": {"read": False}},
    {"notes": [{"_id": "theirs", "text": f"{CANARY} b"}, {"_id": "more", "text": f"{CANARY} a"}]},
    Probe(),
)
OPEN: Final = attack(
    "open",
    {"notes": {"read": True, "write": True}},
    {"notes": [{"_id": "theirs", "text": "b"}, {"_id": "more", "text": "a"}]},
    Probe(),
)
ALLOWED: Final = [
    entry
    for entry in entries("read", "count", "point", "update", "delete", "create", "pipeline")
    if entry.name != "out"
]  # $out removes what was there, which no rule is asked about: it is not for users
LATER: Final = ("watch", "database_watch")  # these tell only of what happens once they are open; test_feeds has them


def trips(stage, entry, probe):
    """Tell whether the detector reports an entry point that the administrator goes through."""
    learned, changed = {}, []
    for world, db in stage.plays.items():
        learned[world] = seen(lambda db=db: entry.call(db, probe)).text
        after = dump(db)
        changed += unlawful(stage.attack.rules, stage.attack.auth, stage.begun[world], after)
        learned[world] += visible(stage.attack.rules, stage.attack.auth, after)
        if repr(after) != repr(stage.begun[world]):
            stage.restore(world)
    return bool(changed or any(leaks(text) for text in learned.values()) or len(set(learned.values())) > 1)


@pytest.mark.parametrize("stage", [FORBIDDEN], indirect=True)
@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.name not in LATER], ids=lambda entry: entry.name)
def test_the_detector_hears_every_entry_point(stage, entry):
    assert trips(stage, entry, stage.attack.probes[0])


@pytest.mark.parametrize("stage", [attack for attack in EVERY_ATTACK if not attack.futile], indirect=True, ids=repr)
def test_every_attack_succeeds_where_nobody_asks_the_rules(stage):
    concerned = [entry for entry in ENTRIES if stage.attack.concerns(entry.uses) and entry.name not in LATER]
    concerned = [entry for entry in concerned if entry.kind not in stage.attack.without]
    concerned.sort(key=lambda entry: entry.kind == "feed")  # the slow ones last
    assert [probe for probe in stage.attack.probes if not any(trips(stage, entry, probe) for entry in concerned)] == []


@pytest.mark.parametrize("stage", EVERY_ATTACK, indirect=True, ids=repr)
def test_nothing_is_learned_where_nothing_is_asked(stage):
    silence = Entry("silence", "read", frozenset(), lambda handle, probe: None)
    assert not trips(stage, silence, stage.attack.probes[0])


@pytest.mark.parametrize("stage", [OPEN], indirect=True)
@pytest.mark.parametrize("entry", ALLOWED, ids=lambda entry: entry.name)
@pytest.mark.parametrize("twin", [False, True], ids=["plain", "asyncio"])
def test_what_is_allowed_is_done_as_for_the_administrator(stage, entry, twin, loop):
    db = stage.plays["known"]
    for name, wrap in VARIANTS.items():
        if name == "plain" or not (entry.alone or (name == "snapshot" and entry.writes)):
            outcomes = []
            for handle in (db, (Blocking(stage.twin("known"), loop) if twin else db).as_user(stage.attack.auth)):
                found = seen(lambda wrap=wrap, handle=handle: wrap(entry.call)(handle, stage.attack.probes[0]))
                outcomes.append((found.text, without_owner(dump(db))))
                stage.restore("known")
            assert outcomes[1] == outcomes[0], name


def without_owner(documents):
    """Return a dump without what the server puts into what a user makes."""
    return {
        name: [{key: row[key] for key in row if key != "_openid"} for row in rows] for name, rows in documents.items()
    }


# Classes whose names are not asked for one by one, with the reason.
ELSEWHERE: Final = {
    "Aggregation": "each method adds a stage; pipelines are tried as lists",
    "AsyncAggregation": "as Aggregation",
    "Change": "what a feed tells",
    "ChangeStream": "what it tells is tried through the methods that open it, what it says of places in test_feeds",
    "LiveQuery": "as ChangeStream",
    "_SealedChange": "what a feed tells",
    "LiveSnapshot": "what a feed tells",
    "Watcher": "what a feed with callbacks is; test_feeds",
}
# Names that lead to no document, with the reason.
HARMLESS: Final = {
    "active": "whether calls are answered",
    "alive": "whether more may come",
    "allow_disk_use": "an option without effect",
    "as_user": "test_reach",
    "auth": "a copy; test_reach",
    "batch_size": "an option without effect",
    "batches": "what iterating is made of",
    "change": "None; test_the_short_roads_are_closed_to_callers",
    "close": "ends a handle",
    "collation": "test_identity",
    "collection": "a handle",
    "committed": "whether it was",
    "command": "builds conditions",
    "done": "a builder's stages",
    "execute": "carries out what the methods ask for; test_reach",
    "explain_access": "test_reach",
    "few": "None; test_the_short_roads_are_closed_to_callers",
    "finder": "None; test_the_short_roads_are_closed_to_callers",
    "first": "of what was answered",
    "hint": "test_oracles",
    "id": "a name",
    "list_collection_names": "test_reach",
    "loaded": "turns documents into objects",
    "match_id": "what find_one stands on; test_reach",
    "max": "test_oracles",
    "max_time_ms": "test_oracles",
    "min": "test_oracles",
    "name": "a name",
    "next": "of what was answered",
    "object_of": "turns a document into an object",
    "path": "a name",
    "position": "test_feeds",
    "read": "what doc().get() stands on; test_reach",
    "reason": "what rollback was given",
    "refresh": "test_feeds",
    "restart": "test_feeds",
    "resume_token": "test_feeds",
    "rollback": "ends a transaction",
    "rolled_back": "whether it was",
    "router": "test_reach",
    "session": "test_reach",
    "settings": "model and dates",
    "stored": "turns an object into a document",
    "to_list": "of what was answered",
    "token": "of what was answered",
    "with_options": "the same collection with a model",
}
# What only the administrator does: a user is denied even where the rules say true, or has no such name.
REFUSED: Final = {
    "Collection.create_index": lambda user: user["notes"].create_index("text"),
    "Collection.create_indexes": lambda user: user["notes"].create_indexes([{"key": {"text": 1}}]),
    "Collection.drop": lambda user: user["notes"].drop(),
    "Collection.drop_index": lambda user: user["notes"].drop_index("text_1"),
    "Collection.drop_indexes": lambda user: user["notes"].drop_indexes(),
    "Collection.index_information": lambda user: user["notes"].index_information(),
    "Collection.index_stats": lambda user: user["notes"].index_stats(),
    "Collection.list_indexes": lambda user: user["notes"].list_indexes().to_list(),
    "Collection.options": lambda user: user["notes"].options(),
    "Collection.rename": lambda user: user["notes"].rename("other"),
    "Database.backup": lambda user: user.backup("/nowhere/backup"),
    "Database.check": lambda user: user.check(),
    "Database.compact": lambda user: user.compact(),
    "Database.consume": lambda user: user.consume("name", print).close(),
    "Database.create_collection": lambda user: user.create_collection("other"),
    "Database.drop_collection": lambda user: user.drop_collection("notes"),
    "Database.list_rules": lambda user: user.list_rules(),
    "Database.rules": lambda user: user.rules("notes"),
    "Database.list_collections": lambda user: list(user.list_collections()),
    "Database.load_rules": lambda user: user.load_rules("/nowhere/rules.json"),
    "Database.set_rules": lambda user: user.set_rules("notes", {"read": True}),
    "Database.stats": lambda user: user.stats(),
    "Database.sweep": lambda user: user.sweep(),
    "Database.trigger": lambda user: user.trigger("notes", "insert", print).close(),
    "Query.explain": lambda user: user["notes"].where({}).explain(),
    "Transaction.create_collection": lambda user: user.run_transaction(lambda t: t.create_collection("other")),
}  # fmt: skip
HANDLES: Final = ("Database", "Collection", "Query", "DocumentReference", "Transaction", "SnapshotView", "Cursor")


def public(kind):
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize("stage", [OPEN], indirect=True)
def test_every_public_name_is_in_the_table(stage):
    met = set()
    user = Traced(stage.plays["known"].as_user(stage.attack.auth), met)
    for name, wrap in VARIANTS.items():
        for entry in ENTRIES:
            if name == "plain" or not (entry.alone or (name == "snapshot" and entry.writes)):
                seen(lambda wrap=wrap, entry=entry: wrap(entry.call)(user, stage.attack.probes[0]))
                stage.restore("known")
    kinds = {kind for kind, _ in met if kind.__name__ not in ELSEWHERE}
    assert len(kinds) >= len(HANDLES)
    known = set(HARMLESS) | {name.partition(".")[2] for name in REFUSED} | {name for _, name in met}
    assert {f"{kind.__name__}.{name}" for kind in kinds for name in public(kind) - known} == set()


@pytest.mark.parametrize("stage", [OPEN], indirect=True)
def test_the_short_roads_are_closed_to_callers(stage):
    user = stage.plays["known"].as_user(stage.attack.auth)
    with user.transaction() as t, user.snapshot() as s:
        for notes in (user.collection("notes"), t.collection("notes"), s.collection("notes")):
            assert (notes.change, notes.finder, notes.few({"_id": "theirs"})) == (None, None, None)


@pytest.mark.parametrize("name", [*HANDLES, "Aggregation", "LiveQuery", "ChangeStream"])
def test_asyncio_has_no_names_of_its_own(name):
    import docdb.aio
    import docdb.feeds.live
    import docdb.feeds.streams

    homes = (docdb, docdb.feeds.live, docdb.feeds.streams, docdb.query, docdb.faces.cursor, docdb.faces.aggregation)
    plain = next(getattr(home, name) for home in homes if hasattr(home, name))
    assert public(getattr(docdb.aio, f"Async{name}")) - public(plain) == set()


@pytest.mark.parametrize("stage", [OPEN], indirect=True)
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("twin", [False, True], ids=["plain", "asyncio"])
def test_what_only_the_administrator_does_is_denied(stage, name, twin, loop):
    db = stage.plays["known"]
    handle = Blocking(stage.twin("known"), loop) if twin else db
    with pytest.raises((docdb.DeniedError, AttributeError)):
        REFUSED[name](handle.as_user(stage.attack.auth))
    assert dump(db) == stage.begun["known"]
