"""Files of cases, the kit, coverage, verdicts."""

import datetime as dt
import json

import pytest

from docdb.errors import DocdbError, RuleError
from docdb.rules.cases import load_cases, milliseconds, run
from docdb.rules.kit import kit_of

RULES = {
    "posts": {
        "read": "doc.public == true || (auth != null && doc.owner == auth.uid)",
        "create": "auth != null && doc.owner == auth.uid",
        "update": "auth != null && doc.owner == auth.uid && request.data.edits == doc.edits",
        "delete": "get('database.roles.' + auth.uid).role == 'admin'",
        "fields": {"score": {"write": False}, "email": {"read": "auth != null && doc.owner == auth.uid"}},
    }
}
BASE = {
    "rules": RULES,
    "users": {"ann": {"uid": "ann"}},
    "documents": {"roles": [{"_id": "ann", "role": "admin"}]},
    "now": "2026-01-01T00:00:00Z",
}
MINE = {"owner": "ann", "edits": 1}


def outcomes(tmp_path, *cases, **more):
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({**BASE, **more, "cases": list(cases)}))
    return [(outcome.ok, outcome.complaint) for outcome in run(load_cases(path))]


def case(action, expect, **more):
    return {"collection": "posts", "action": action, "expect": expect, **more}


@pytest.mark.parametrize(
    "given",
    [
        case("read", "allow", doc={"public": True}),
        case("read", "deny", doc={"public": 1}),
        case("read", "allow", auth="ann", old=MINE, hidden=[]),
        case("read", "allow", doc={"public": True, "email": "x"}, hidden=["email"]),
        case("create", "allow", auth="ann", new=MINE),
        case("create", "allow", auth={"uid": "bob"}, doc={"owner": "bob"}),
        case("create", "deny", auth="ann", data={"owner": "bob"}),
        case("create", "deny", auth="ann", new={**MINE, "score": 5}, unwritable=["score"], reason="may not be written: score"),
        case("update", "allow", auth="ann", doc={**MINE, "score": 5}, data={"title": "x"}),
        case("update", "allow", auth="ann", doc=MINE, data={"$set": {"title": "x"}}),
        case("update", "deny", auth="ann", doc=MINE, data={"$inc": {"edits": 1}}),
        case("update", "deny", auth="ann", doc=MINE, data={"owner": "bob"}, reason="on the new image, doc.owner == auth.uid is false"),
        case("update", "deny", auth="ann", doc={**MINE, "score": 5}, new=MINE, unwritable=["score"]),
        case("update", "deny", auth="ann", doc={"owner": "bob", "edits": 1}, new=MINE, reason="on the old image"),
        case("delete", "allow", auth="ann", doc=MINE),
        case("delete", "deny", auth="ann", doc=MINE, documents={"roles": []}, reason="null has no field 'role'"),
        case("delete", "deny", doc=MINE),
    ],
)  # fmt: skip
def test_cases_that_are_as_expected(tmp_path, given):
    assert outcomes(tmp_path, given) == [(True, "")]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (case("read", "deny", doc={"public": True}), "allowed: doc.public == true is true"),
        (case("read", "allow", doc={}), "denied: doc.public == true is an error (there is no field 'public')"),
        (case("read", "allow", doc={"public": True}, hidden=[]), "hidden: email, not none"),
        (case("delete", "deny", doc=MINE, reason="owner"), "the reason is another one: "),
    ],
)
def test_a_case_that_is_not_as_expected_says_why(tmp_path, given, complaint):
    [(ok, found)] = outcomes(tmp_path, given)
    assert not ok
    assert found.startswith(complaint)


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        ({"collection": "posts"}, "action", "action is missing"),
        (case("watch", "allow"), "action", "did you mean|there are read"),
        (case("read", "allowed", doc={}), "expect", "did you mean 'allow'"),
        ({**case("read", "allow", doc={}), "collection": "post"}, "collection", "did you mean 'posts'"),
        (case("read", "allow"), "doc", "a read needs what is stored"),
        (case("read", "allow", doc={}, data={}), "data", "brings no data"),
        (case("create", "allow"), "new", "needs the new document"),
        (case("update", "allow", doc={}), "data", "an update needs new"),
        (case("update", "allow", doc={}, new={}, data={}), "data", "one of them"),
        (case("read", "allow", doc={}, old={}), "old", "are the same"),
        (case("read", "allow", doc={}, auth="bob"), "auth", "there is no user 'bob'"),
        (case("read", "allow", doc={}, auth=5), "auth", "an object or null"),
        (case("read", "allow", doc={}, expects=1), None, "has no key 'expects'"),
        (case("read", "allow", doc={}, now="soon"), "now", "is no date"),
        (case("read", "allow", doc={}, hidden="x"), "hidden", "a list of paths"),
        (case("read", "allow", doc={}, documents={"roles": [{}]}), "documents.roles", "each with an _id"),
        (case("read", "allow", doc={"at": {"$date": "x"}}), "doc.at.$date", "date"),
        (case("update", "allow", doc={}, data={"$sett": {}}), "$sett", "sett"),
    ],
)
def test_a_mistake_in_a_file_has_its_path(tmp_path, given, path, message):
    with pytest.raises(DocdbError, match=message) as caught:
        outcomes(tmp_path, case("read", "allow", doc={}), given)
    place = "cases.1" if path is None else f"cases.1.{path}"
    assert caught.value.path == f"{tmp_path / 'cases.json'}: {place}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"cases": [}', "this is no JSON"),
        ("[]", "a file of cases is an object"),
        ('{"rules": {}, "cases": []}', "there are no cases"),
        ('{"cases": [1]}', "which rules"),
        ('{"rules": "nowhere.json", "cases": [1]}', "nowhere.json"),
        ('{"rules": {"a": {"read": "doc.x =="}}, "cases": [1]}', "rules.a.read: the rule ends too early"),
        ('{"rules": {}, "rules": {}}', "the key 'rules' stands twice"),
        ('{"rules": {"_users": {}}, "cases": [1]}', "no collection that users reach"),
        ('{"rules": {}, "tests": []}', "did you mean 'users'|has no key 'tests'"),
    ],
)
def test_a_file_that_is_none(tmp_path, text, message):
    path = tmp_path / "cases.json"
    path.write_text(text)
    with pytest.raises((RuleError, OSError), match=message):
        load_cases(path)


def test_yaml(tmp_path):
    pytest.importorskip("yaml")
    (tmp_path / "rules.yaml").write_text("posts:\n  read: auth != null && doc.at < now\n  write: false\n")
    path = tmp_path / "posts.test.yml"
    path.write_text(
        """\
rules: rules.yaml
users: {ann: {uid: ann}}
cases:
  - {collection: posts, action: read, auth: ann, now: 2026-01-02, doc: {at: 2026-01-01T12:00:00Z}, expect: allow}
  - {collection: posts, action: read, auth: ann, now: 2026-01-01T11:00:00Z, doc: {at: 2026-01-01T12:00:00Z}, expect: deny}
  - {collection: posts, action: delete, auth: ann, doc: {}, expect: deny, reason: false is false}
"""
    )
    assert [outcome.complaint for outcome in run(load_cases(path))] == ["", "", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "this is no YAML"),
        ("posts: {read: true}\nposts: {read: false}", "stands twice in one object.*line 2, column 1"),
        ("a: &x {read: true}\nb: *x", "aliases are not read.*line 2, column 4"),
        ("a: !!python/object/apply:os.system ['true']", "this is no YAML"),
    ],
)
def test_yaml_that_is_refused(tmp_path, text, message):
    pytest.importorskip("yaml")
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(RuleError, match=message):
        kit_of(path)


def test_yaml_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    path = tmp_path / "rules.yaml"
    path.write_text("a: {}")
    with pytest.raises(RuleError, match="docdb-engine\\[yaml\\]"):
        kit_of(path)


@pytest.mark.parametrize(
    "now",
    ["2026-01-01T00:00:00Z", "2026-01-01", dt.date(2026, 1, 1), dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 1767225600000],
)  # fmt: skip
def test_now_is_a_date_or_milliseconds(now):
    assert milliseconds(now) == 1767225600000


# The kit


def test_the_kit_asserts_with_a_trace():
    kit = kit_of(RULES, documents={"roles": [{"_id": "ann", "role": "admin"}]})
    assert kit.assert_allowed("delete", "posts", auth={"uid": "ann"}, doc={}).key == "delete"
    kit.assert_denied("delete", "posts", auth={"uid": "bob"}, doc={})
    with pytest.raises(AssertionError, match="delete posts is denied.*\n.*failed: null has no field 'role'"):
        kit.assert_allowed("delete", "posts", auth={"uid": "bob"}, doc={})
    with pytest.raises(AssertionError, match="read posts is allowed: doc.public == true is true"):
        kit.assert_denied("read", "posts", doc={"public": True})


def test_without_a_rule_there_is_no_trace_and_no_right():
    verdict = kit_of({"posts": {"read": True}}).verdict("update", "posts", doc={}, data={"a": 1})
    assert (verdict.allowed, verdict.key, verdict.reason) == (False, None, "there is no rule for it")


@pytest.mark.parametrize(("action", "collection"), [("watch", "posts"), ("read", "post")])
def test_the_kit_refuses_what_is_not_there(action, collection):
    with pytest.raises(RuleError):
        kit_of(RULES).verdict(action, collection, doc={})


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, False),
        ({"a": {"b": 1}}, {"a": {"b": True}}, True),
        ({"a": {"b": 1}}, {"a": {}}, True),
        ({"a": {"b": 1}}, {}, True),
        ({"a": {"b": None}}, {"a": {}}, True),
        ({}, {"a": {"c": 1}}, False),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}, {"b": 3}]}, True),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1, "x": 1}, {"b": 2}]}, False),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 2}, {"b": 1}]}, True),
    ],
)
def test_a_field_that_may_not_be_written_stays_as_it_is(old, new, refused):
    kit = kit_of({"c": {"write": True, "fields": {"a.b": {"write": False}}}})
    assert kit.allows("update", "c", doc=old, new=new) is not refused


# Coverage


def test_coverage_counts_each_way_of_each_branch():
    kit = kit_of({"posts": {"read": "doc.a == 1 || (doc.b == 2 && !doc.c)", "write": False}})
    assert kit.coverage.share == 0.0
    kit.allows("read", "posts", doc={"a": 1})
    kit.allows("read", "posts", doc={"a": 2, "b": 2, "c": False})
    kit.allows("read", "posts", doc={"a": 2, "b": 3})
    data = kit.coverage.to_dict()
    parts = {part["text"]: part for part in data["collections"]["posts"]["read"]["parts"]}
    states = {text: part["state"] for text, part in parts.items() if part["branch"]}
    assert states == {
        "doc.a == 1 || (doc.b == 2 && !doc.c)": "both",
        "doc.a == 1": "both",
        "doc.b == 2 && !doc.c": "both",
        "doc.b == 2": "both",
        "!doc.c": "true",
        "doc.c": "false",
    }
    assert parts["!doc.c"]["failed"] == 0
    assert data["collections"]["posts"]["write"] == {
        "rule": "false", "branches": 0, "seen": 0,
        "parts": [{"line": 1, "column": 1, "text": "false", "branch": False, "true": 0, "false": 0, "other": 0, "failed": 0, "state": "never"}],
    }  # fmt: skip
    assert data["share"] == round(10 / 12, 4)


def test_coverage_of_failures_and_field_rules():
    kit = kit_of({"posts": {"read": True, "fields": {"x": {"read": "doc.a == 1"}}}})
    kit.allows("read", "posts", doc={})
    [part, *_] = kit.coverage.to_dict()["collections"]["posts"]["fields.x.read"]["parts"]
    assert (part["text"], part["state"], part["failed"]) == ("doc.a == 1", "failed", 1)


def test_coverage_as_a_page():
    kit = kit_of({"<b>": {"read": "doc.a < 1 && doc.b", "write": "doc.c"}})
    kit.allows("read", "<b>", doc={"a": 0, "b": True})
    kit.allows("read", "<b>", doc={"a": 1})
    page = kit.coverage.to_html()
    assert "<h2>&lt;b&gt;</h2>" in page
    assert (
        '<pre><span class="both" title="true 1, false 1, failed 0"><span class="both" title="true 1, false 1, failed 0">doc.a &lt; 1</span>'
        ' &amp;&amp; <span class="half" title="true 1, false 0, failed 0">doc.b</span></span></pre>'
    ) in page
    assert '<span class="never" title="true 0, false 0, failed 0">doc.c</span>' in page


def test_a_page_keeps_every_character_of_a_rule():
    import re
    from html import unescape

    text = "(doc.a == 'x' || !( doc.b in [1,2] )) && `a${doc.c}` not in ['b'] && get('database.r').where({a: doc.d}).size() > 0"
    page = kit_of({"c": {"read": text}}).coverage.to_html()
    [shown] = re.findall("<pre>(.*?)</pre>", page, re.S)
    bare = unescape(re.sub("<[^>]*>", "", shown))
    assert bare == text
