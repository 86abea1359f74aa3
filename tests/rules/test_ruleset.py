"""Rule objects: keys and their defaults, field rules, what is refused."""

import pytest

from docdb.errors import RuleError
from docdb.rules.evaluator import Circumstances
from docdb.rules.ruleset import load
from tests.rules.readers import Rows

OWNER = "auth != null && doc.owner == auth.uid"


def about(doc=None, uid="me", **more):
    return Circumstances(auth=None if uid is None else {"uid": uid}, now=0, doc=doc, **more)


def test_the_key_that_answers_for_an_action():
    rules = load({"read": True, "write": True, "update": False})
    assert [rules.key(action) for action in ("read", "create", "update", "delete", "watch", "write")] == [
        "read", "write", "update", "write", None, None,
    ]  # fmt: skip
    assert load({"write": True}).key("read") is None


def test_sources_and_expressions_have_the_same_keys():
    rules = load({"read": True, "write": OWNER, "fields": {"a.b": {"read": OWNER, "write": False}}})
    assert rules.sources == {"read": "true", "write": OWNER, "fields.a.b.read": OWNER, "fields.a.b.write": "false"}
    assert [key for key, _ in rules.expressions()] == list(rules.sources) == list(rules.lints)
    for key, tree in rules.expressions():
        assert rules.sources[key][tree.place.start : tree.place.end] == rules.sources[key]


def test_hidden_fields_depend_on_the_document_and_the_caller():
    rules = load(
        {
            "read": True,
            "fields": {"salary": {"read": OWNER}, "notes.private": {"read": False}, "name": {"write": False}},
        }
    )
    assert rules.hidden(about({"owner": "me"})) == {"notes.private"}
    assert rules.hidden(about({"owner": "you"})) == {"salary", "notes.private"}
    assert rules.hidden(about({})) == {"salary", "notes.private"}
    assert rules.hidden(about({"owner": "me"}, uid=None)) == {"salary", "notes.private"}


def test_without_a_document_a_query_may_speak_only_of_fields_that_nobody_has_to_look_for():
    rules = load({"read": True, "fields": {"salary": {"read": OWNER}, "grade": {"read": "auth.uid == 'boss'"}}})
    assert rules.hidden(about()) == {"salary", "grade"}
    assert rules.hidden(about(uid="boss")) == {"salary"}


def test_unwritable_fields_see_both_images():
    rules = load(
        {"write": True, "fields": {"state": {"write": "doc.state == 'draft' && request.data.state == 'open'"}}}
    )
    assert rules.unwritable(about({"state": "draft"}, new={"state": "open"})) == frozenset()
    assert rules.unwritable(about({"state": "draft"}, new={"state": "done"})) == {"state"}
    assert rules.unwritable(about({}, new={"state": "open"})) == {"state"}
    assert rules.hidden(about({})) == frozenset()


def test_field_rules_may_get():
    rules = load({"read": True, "fields": {"x": {"read": "get('database.roles.' + auth.uid).role == 'hr'"}}})
    reader = Rows(roles=[{"_id": "me", "role": "hr"}])
    assert rules.hidden(about({}, reader=reader)) == frozenset()
    assert rules.hidden(about({}, uid="you", reader=reader)) == {"x"}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ([], "fields"),
        (True, "fields"),
        ({"": {"read": True}}, "fields."),
        ({1: {"read": True}}, "fields.1"),
        ({"a..b": {"read": True}}, "fields.a..b"),
        ({"$where": {"read": True}}, "fields.$where"),
        ({"a.$x": {"read": True}}, "fields.a.$x"),
        ({"a\0": {"read": True}}, "fields.a\0"),
        ({"_id": {"read": True}}, "fields._id"),
        ({"_id.x": {"read": True}}, "fields._id.x"),
        ({"a.0.b": {"read": True}}, "fields.a.0.b"),
        ({"a": True}, "fields.a"),
        ({"a": {}}, "fields.a"),
        ({"a": {"update": True}}, "fields.a"),
        ({"a": {"reed": True}}, "fields.a"),
        ({"a": {"read": 1}}, "fields.a.read"),
        ({"a": {"read": "doc.x =="}}, "fields.a.read"),
        ({"a": {"read": "request.data.x == 1"}}, "fields.a.read"),
        ({"a": {"read": "changed('a')"}}, "fields.a.read"),
        ({"a": {"write": "user.x == 1"}}, "fields.a.write"),
    ],
)
def test_wrong_field_rules_are_refused_with_their_path(fields, path):
    with pytest.raises(RuleError) as caught:
        load({"read": True, "fields": fields})
    assert caught.value.path == path


def test_lints_of_field_rules():
    rules = load({"read": True, "fields": {"a": {"read": "doc.n > 5 && doc.n < 3"}}})
    assert [lint.message for lint in rules.lints["fields.a.read"]] == ["this is always false"]
