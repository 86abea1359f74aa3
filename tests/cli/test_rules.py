"""``docdb rules``: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import docdb
from tests.cli.conftest import Program

OWNER = "auth != null && doc.owner == auth.uid"
RULES = {
    "posts": {"read": "doc.public == true || (auth != null && doc.owner == auth.uid)", "write": OWNER},
    "roles": "ADMINONLY",
}
CASES = {
    "rules": "rules.json",
    "users": {"ann": {"uid": "ann"}},
    "cases": [
        {"name": "owner", "collection": "posts", "action": "read", "auth": "ann", "doc": {"owner": "ann"}, "expect": "allow"},
        {"name": "others", "collection": "posts", "action": "read", "doc": {"owner": "ann", "public": False}, "expect": "deny"},
    ],
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write(tmp_path / "rules.json", RULES)
    write(tmp_path / "cases.json", CASES)
    return tmp_path


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


# check


def test_check_of_right_rules(program: Program, files: Path) -> None:
    ran = program("rules", "check", files / "rules.json")

    assert (ran.code, ran.out, ran.err) == (0, "ok: 4 expressions\n", "")


def test_check_shows_every_mistake_with_its_place(program: Program, tmp_path: Path) -> None:
    path = write(
        tmp_path / "rules.json",
        {
            "posts": {
                "read": "doc.a = 1",
                "write": "true &&\n  user.id == 1",
                "fields": {"x": {"read": 1, "write": True}},
            },
            "users": {"reed": True},
        },
    )

    ran = program("rules", "check", path)

    assert ran.code == 1
    assert ran.err.splitlines() == [
        f"docdb: {path}: posts.read: '=' is not expected here (line 1, column 7) (two values are compared with ==)",
        "doc.a = 1",
        "      ^",
        f"docdb: {path}: posts.write: there is no variable 'user' (line 2, column 3) (there are auth, doc, request, now)",
        "  user.id == 1",
        "  ^",
        f"docdb: {path}: posts.fields.x.read: a rule is true, false or an expression",
        f"docdb: {path}: users: there is no rule key 'reed' (did you mean 'read'?)",
    ]


def test_check_warns(program: Program, tmp_path: Path) -> None:
    rules = {
        "posts": {"read": "doc.n > 5 && doc.n < 3", "update": "get('database.roles.x').admin"},
        "roles": {"write": "auth != null"},
    }
    path = write(tmp_path / "rules.json", rules)

    ran = program("rules", "check", path)
    strict = program("rules", "check", path, "--strict")

    assert (ran.code, strict.code) == (0, 1)
    assert ran.out.splitlines() == [
        f"{path}: posts.read:1:1: warning: this is always false",
        f"{path}: posts.update:1:1: warning: users may write roles (its rule for write), and this rule trusts what it finds there",
        "ok: 3 expressions, 2 warnings",
    ]


def test_check_knows_collections(program: Program, tmp_path: Path) -> None:
    path = write(tmp_path / "rules.json", {"posts": {"read": "get('database.rols.x').admin"}})

    assert program("rules", "check", path).code == 0
    assert "did you mean 'roles'" in program("rules", "check", path, "--collections", "posts, roles").err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "this is no JSON: Expecting property name enclosed in double quotes (line 1, column 2)"),
        ("[]", "a file of rules is an object: {collection: rules}"),
        ('{"_users": {}}', "'_users' is no collection that users reach"),
    ],
)
def test_check_of_a_file_that_is_none(program: Program, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rules.json").write_text(text)

    ran = program("rules", "check", tmp_path / "rules.json")

    assert ran.code == 1
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_file_that_is_not_there(program: Program, tmp_path: Path) -> None:
    ran = program("rules", "check", tmp_path / "nowhere.json")

    assert (ran.code, ran.err) == (1, f"docdb: {tmp_path / 'nowhere.json'}: No such file or directory\n")


# test


def test_cases_pass(program: Program, files: Path) -> None:
    ran = program("rules", "test", files / "cases.json")

    assert (ran.code, ran.out, ran.err) == (0, "ok: 2 cases\n", "")


def test_cases_fail_against_other_rules(program: Program, files: Path) -> None:
    other = write(files / "other.json", {**RULES, "posts": {"read": True}})

    ran = program("rules", "test", files / "cases.json", "--rules", other, "--verbose")

    assert ran.code == 1
    assert ran.err == "docdb: 1 of 2 cases failed\n"
    assert ran.out.splitlines() == [
        f"ok     {files / 'cases.json'}: owner",
        f"FAILED {files / 'cases.json'}: others: allowed: true is true",
        "  true   true",
    ]


def test_a_mistake_in_a_case(program: Program, files: Path) -> None:
    write(files / "cases.json", {**CASES, "cases": [{"collection": "post"}]})

    ran = program("rules", "test", files / "cases.json")

    assert ran.code == 1
    assert (
        ran.err == f"docdb: {files / 'cases.json'}: cases.0.collection: collection is 'post' (did you mean 'posts'?)\n"
    )


# coverage


def test_coverage(program: Program, files: Path) -> None:
    page, counts = files / "coverage.html", files / "coverage.json"

    ran = program("rules", "coverage", files / "cases.json", "--html", page, "--json", counts)

    assert ran.code == 0
    assert ran.out.splitlines()[0] == "50% of the branches"
    assert "  posts.read:1:1: never true: doc.public == true" in ran.out.splitlines()
    assert "  posts.write:1:1: never asked: auth != null" in ran.out.splitlines()
    assert "posts.read:1:24" not in ran.out
    assert page.read_text().startswith("<!doctype html>")
    assert json.loads(counts.read_text())["share"] == 0.5


def test_coverage_may_fail(program: Program, files: Path) -> None:
    assert program("rules", "coverage", files / "cases.json", "--fail-under", 51).code == 1
    assert program("rules", "coverage", files / "cases.json", "--fail-under", 50).code == 0
    ran = program("rules", "coverage", files / "cases.json", "--json", "-", "--rules", files / "rules.json")
    assert json.loads(ran.out)["collections"].keys() == {"posts", "roles"}


# diff


def test_diff_tells_what_is_allowed_now(program: Program, files: Path) -> None:
    write(files / "new.json", {**RULES, "posts": {**RULES["posts"], "delete": f"{OWNER} || doc.stale == true"}})  # type: ignore[dict-item]

    ran = program("rules", "diff", files / "rules.json", files / "new.json")
    as_json = program("rules", "diff", files / "rules.json", files / "new.json", "--json")

    assert (ran.code, as_json.code) == (1, 1)
    assert ran.out.splitlines() == [
        "posts: delete is allowed now",
        "  auth       null",
        '  stored     {"_id": "1", "stale": true}',
        "  before     auth != null is false",
        "  now        doc.stale == true is true",
    ]
    [found] = as_json.documents
    assert (found["collection"], found["action"], found["old"]) == ("posts", "delete", {"_id": "1", "stale": True})


def test_diff_says_that_it_is_a_search(program: Program, files: Path) -> None:
    ran = program("rules", "diff", files / "rules.json", files / "rules.json")

    assert (ran.code, ran.out) == (
        0,
        "found nothing that the new rules allow and the old ones deny (a search, not a proof)\n",
    )


def test_diff_of_one_collection(program: Program, files: Path) -> None:
    write(files / "new.json", {"posts": {"read": True}, "roles": "READONLY", "more": {"read": True}})

    ran = program("rules", "diff", files / "rules.json", files / "new.json", "--collection", "more")

    assert ran.out.splitlines()[0] == "more: read is allowed now"
    assert "there is no rule for it" in ran.out
    assert (
        "no rules for 'x'"
        in program("rules", "diff", files / "rules.json", files / "new.json", "--collection", "x").err
    )


# explain


def test_explain(program: Program, files: Path) -> None:
    options = ["--auth", '{"uid": "ann"}', "--doc", '{"owner": "bob"}']

    ran = program("rules", "explain", files / "rules.json", "posts", "delete", *options)

    assert ran.code == 1
    assert ran.out.splitlines() == [
        "denied: doc.owner == auth.uid is false",
        f"  {OWNER}   false",
        "    auth != null                          true",
        '      auth                                {"uid": "ann"}',
        "    doc.owner == auth.uid                 false",
        '      doc.owner                           "bob"',
        '        doc                               {"owner": "bob"}',
        '      auth.uid                            "ann"',
        '        auth                              {"uid": "ann"}',
    ]


def test_explain_an_update_as_json(program: Program, files: Path) -> None:
    options = ["--auth", '{"uid": "ann"}', "--doc", '{"owner": "ann"}', "--data", '{"owner": "bob"}', "--json"]

    ran = program("rules", "explain", files / "rules.json", "posts", "update", *options)

    found = json.loads(ran.out)
    assert (ran.code, found["allowed"], found["key"]) == (1, False, "write")
    assert found["reason"] == "on the new image, doc.owner == auth.uid is false"
    assert {image: row["allowed"] for image, row in found["images"].items()} == {"old": True, "new": False}


def test_explain_dates_documents_and_hidden_fields(program: Program, tmp_path: Path) -> None:
    rules = {
        "read": "doc.at < now && get('database.roles.' + auth.uid).ok",
        "fields": {"secret": {"read": "auth.uid == 'bob'"}},
    }
    path = write(tmp_path / "rules.json", {"posts": rules})
    options = [
        "--auth", '{"uid": "ann"}', "--now", "1767225600001", "--doc", '{"at": {"$date": "2026-01-01T00:00:00Z"}}',
        "--documents", '{"roles": [{"_id": "ann", "ok": true}]}',
    ]  # fmt: skip

    ran = program("rules", "explain", path, "posts", "read", *options)

    assert ran.code == 0
    assert ran.out.splitlines()[-1] == "hidden: secret"
    assert "fields.secret.read:" in ran.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["posts", "watch"], "'watch' is not one of"),
        (["post", "read"], "there are no rules for 'post'"),
        (["posts", "read", "--auth", "5"], "this is a document or null, not a number"),
        (["posts", "read", "--now", "soon"], "now: 'soon' is no date"),
    ],
)
def test_explain_refuses(program: Program, files: Path, arguments: list[str], message: str) -> None:
    ran = program("rules", "explain", files / "rules.json", *arguments)

    assert ran.code in (1, 2)
    assert message in ran.err


# load and show


def test_rules_are_loaded_shown_and_loaded_again(program: Program, shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    file.write_text('{"users": {"read": true}, "posts": "PRIVATE"}')
    assert program("rules", "load", shop, file, "--who", "ann").out == "posts: version 1\nusers: version 1\n"
    shown = program("rules", "show", shop)
    assert json.loads(shown.out) == {"posts": "PRIVATE", "users": {"read": True}}
    assert "users: version 1, " in shown.err and "UTC by ann" in shown.err
    file.write_text(shown.out)
    assert program("rules", "load", shop, file).out == "posts: version 2\nusers: version 2\n"
    with docdb.open(shop) as database:
        assert database.as_user(None)["users"].count_documents({}) == 4


def test_a_mistake_loads_nothing(program: Program, shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    file.write_text('{"users": {"read": true}, "posts": {"read": "doc.x ="}}')
    ran = program("rules", "load", shop, file)
    assert (ran.code, ran.out) == (1, "") and "posts.read" in ran.err
    assert json.loads(program("rules", "show", shop).out) == {}
    assert program("--read-only", "rules", "load", shop, file).code == 2
    assert program("rules", "show", tmp_path / "absent").code == 1
