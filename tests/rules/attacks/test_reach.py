"""Attacks on the handles themselves: what a user holds leads to nothing that is not judged."""

from __future__ import annotations

import contextlib
import copy
import logging
import pickle
from typing import Any, Final

import pytest

import docdb
from docdb import DeniedError, DocdbError
from docdb.database import Database
from docdb.sessions.session import StoreSession
from docdb.store.store import Store
from tests.rules.attacks.detector import seen
from tests.rules.attacks.entry_points import ENTRIES
from tests.rules.attacks.stage import CANARY, ME, Probe
from tests.rules.attacks.test_identity import OWN
from tests.rules.attacks.twin import Traced

DEEPEST: Final = 5
INSIDE: Final = ("session", "router", "source")  # what the rooms of docdb are to each other; no part of the public face


@pytest.fixture
def db():
    with docdb.open(":memory:") as db:
        db["notes"].insert_many(
            [{"_id": "mine", "_openid": "me", "text": "m"}, {"_id": "theirs", "_openid": "you", "text": CANARY}]
        )
        db["home"].insert_one({"_id": "h"})
        db.set_rules("notes", {"read": OWN, "write": OWN})
        db.set_rules("home", {"read": True, "write": True})
        yield db


class Kept(Traced):
    """A handle that keeps every object it has answered."""

    def __init__(self, inner: Any, names: set[Any], kept: list[Any]) -> None:
        super().__init__(inner, names)
        self._kept = kept
        kept.append(inner)

    def _like(self, value: Any) -> Any:
        self._kept.append(value)
        return Kept(value, self._names, self._kept) if isinstance(super()._like(value), Traced) else value


def reached(value: Any, depth: int, seen_ids: set[int]) -> list[str]:
    """Return the ways, by public names alone, to what is not judged."""
    if id(value) in seen_ids or depth > DEEPEST or isinstance(value, str | bytes | int | float | type(None) | type):
        return []
    seen_ids.add(id(value))
    if type(value).__module__.partition(".")[0] not in ("docdb", "builtins"):
        return []
    if type(value) in (Database, StoreSession, Store):
        return [type(value).__name__]
    if isinstance(value, dict | list | tuple | set):
        parts = list(value.values()) if isinstance(value, dict) else list(value)
        return [way for part in parts for way in reached(part, depth + 1, seen_ids)]
    found = []
    for name in dir(value):
        if not name.startswith("_") and name not in INSIDE:
            with contextlib.suppress(DocdbError):
                found += [f"{name}.{way}" for way in reached(getattr(value, name), depth + 1, seen_ids)]
    if isinstance(value, BaseException):
        for behind in (value.__cause__, value.__context__):
            found += [f"behind.{way}" for way in reached(behind, depth + 1, seen_ids)]
    return found


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
@pytest.mark.parametrize("filter", [{"_openid": "me"}, {}], ids=["allowed", "denied"])
def test_no_public_name_leads_to_the_administrator(db, entry, filter):
    kept: list[Any] = []
    handle = Kept(db.as_user(ME), set(), kept)
    found = seen(lambda: entry.call(handle, Probe(filter=filter, id="mine")))
    ways = [way for value in [*kept, found.value, found.error] for way in reached(value, 0, set())]
    assert ways == []


@pytest.mark.parametrize(
    "call",
    [
        lambda user: user["notes"].read("theirs"),
        lambda user: user["notes"].match_id("theirs"),
        lambda user: user["notes"].session.find(
            "notes", user["notes"].where({"_id": "theirs"}).cursor()._selection.query()
        ),
        lambda user: list(user["notes"].with_options(model=dict).find({"_id": "theirs"})),
        lambda user: user["notes"]["x"].count(),
        lambda user: type(user["notes"])(user["notes"].session, "notes").doc("theirs").get(),
        lambda user: user["notes"].session.get("notes", "theirs"),
    ],
)
def test_the_roads_below_the_methods_are_judged_too(db, call):
    found = seen(lambda: _tolerant(call, db.as_user(ME)))
    assert CANARY not in found.text
    assert found.error is not None


def _tolerant(call: Any, user: Any) -> Any:
    try:
        found = call(user)
        return list(found) if hasattr(found, "__next__") else found
    except (AttributeError, TypeError) as error:
        raise docdb.UsageError(str(error)) from None


@pytest.mark.parametrize(
    "make",
    [copy.copy, copy.deepcopy, lambda user: pickle.loads(pickle.dumps(user))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copied_handle_is_no_more_than_the_handle(db, make):
    try:
        other = make(db.as_user(ME))
        found = seen(lambda: other["notes"].doc("theirs").get())
    except Exception:  # a handle need not be copied
        return
    assert found.error is not None


def test_a_user_makes_no_other_user_that_may_more(db):
    user = db.as_user(ME)
    for call in (
        lambda: user.as_user({"openid": "you"}),
        lambda: user.set_rules("notes", {"read": True}),
        lambda: user.load_rules("x"),
    ):
        with pytest.raises(DeniedError):
            call()
    user.auth["openid"] = "you"
    with pytest.raises(DeniedError):
        user["notes"].doc("theirs").get()


def test_to_close_a_users_handle_leaves_the_database_open(db):
    user = db.as_user(ME)
    with contextlib.suppress(DeniedError, AttributeError):
        user.close()
    assert db["notes"].count() == 2


def test_the_text_of_a_handle_names_nothing(db):
    user = db.as_user({"openid": "me", "token": CANARY})
    handles = [
        user,
        user["notes"],
        user["notes"].where({}),
        user["notes"].doc("mine"),
        user.transaction(),
        user["notes"].find({}),
    ]
    assert not any(CANARY in repr(handle) for handle in handles)


def test_the_hook_gets_the_reason_and_the_caller_does_not(db):
    denials: list[Any] = []
    user = db.as_user(ME, on_denied=denials.append)
    with pytest.raises(DeniedError) as caught:
        user["notes"].find({}).to_list()
    assert len(denials) == 1
    assert "_openid" in str(denials[0])
    assert "_openid" not in seen(lambda: (_ for _ in ()).throw(caught.value)).text


def test_a_hook_that_fails_does_not_change_the_denial(db, caplog):
    def broken(denial):
        raise RuntimeError(CANARY)

    with pytest.raises(DeniedError) as caught:
        db.as_user(ME, on_denied=broken)["notes"].find({}).to_list()
    assert CANARY not in seen(lambda: (_ for _ in ()).throw(caught.value)).text


def test_the_log_of_denials_has_the_reason_and_the_id_the_caller_knows(db, caplog):
    with caplog.at_level(logging.DEBUG, logger="docdb.rules"), pytest.raises(DeniedError) as caught:
        db.as_user(ME)["notes"].find({}).to_list()
    assert caught.value.correlation_id in caplog.text
    assert "doc._openid == auth.openid" in caplog.text
