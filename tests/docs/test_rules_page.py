"""docs/rules.md: each of its examples is run as it stands there."""

import datetime as dt
import json
import re
from functools import reduce
from pathlib import Path

import pytest

import docdb
from docdb import ejson
from docdb.pytest_plugin import docdb_rules
from docdb.rules.cases import load_cases, run
from docdb.rules.kit import kit_of
from docdb.rules.ruleset import lint_all

__all__ = ["docdb_rules"]

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
NOON = "2026-01-01T12:00:00Z"
EXAMPLES = [part for part in re.split(r"^(?=##+ )", PAGE, flags=re.M) if re.match(r"### \d+\. ", part)]
TITLES = [re.match(r"### \d+\. (.*)", part)[1] for part in EXAMPLES]


def blocks(part, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", part, re.S | re.M)


def rows(part):
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("| caller")]


CASES = [(number, row) for number, part in enumerate(EXAMPLES) for row in rows(part)]


def test_the_ten_examples_are_there():
    assert TITLES == [
        "Owner", "Team", "Role collection", "Public read", "Field masking", "Moderation queue", "Rate by time", "Immutable fields",
        "Multi-tenant", "Chat room",
    ]  # fmt: skip
    assert all(len(rows(part)) >= 6 for part in EXAMPLES)


@pytest.mark.parametrize("part", EXAMPLES, ids=TITLES)
def test_the_rules_of_an_example_load_without_a_lint(part):
    [rules] = blocks(part, "json")
    lints = lint_all(kit_of(json.loads(rules)).rules)
    messages = [lint.message for by_key in lints.values() for row in by_key.values() for lint in row]
    assert [message for message in messages if "anonymous" not in message] == []


@pytest.mark.parametrize(("number", "row"), CASES, ids=[f"{TITLES[number]}-{row[0]}-{row[1]}" for number, row in CASES])
def test_an_example_allows_and_denies_what_its_table_says(number, row):
    caller, what, stored, becomes, verdict = row
    part = EXAMPLES[number]
    [rules] = blocks(part, "json")
    documents = [json.loads(block) for block in blocks(part, "json documents")]
    kit = kit_of(json.loads(rules), documents=documents[0] if documents else {}, now=NOON)
    action, collection = what.split()
    found = kit.verdict(
        action,
        collection,
        auth=None if caller == "nobody" else {"openid": caller},
        doc=json.loads(stored.strip("`")) if stored else None,
        new=json.loads(becomes.strip("`")) if becomes else None,
    )
    word, _, hidden = verdict.partition(" without ")
    assert ("allow" if found.allowed else "deny", sorted(found.hidden) if found.allowed else []) == (
        word,
        sorted(name.strip() for name in hidden.split(",") if name),
    ), found.reason


def test_the_file_of_cases(tmp_path):
    pytest.importorskip("yaml")
    [cases] = blocks(PAGE, "yaml cases")
    [rules] = blocks(EXAMPLES[0], "json")
    (tmp_path / "rules.json").write_text(rules)
    (tmp_path / "notes.yaml").write_text(cases)
    outcomes = list(run(load_cases(tmp_path / "notes.yaml")))
    assert [outcome.complaint for outcome in outcomes] == [""] * 4


@pytest.mark.parametrize(("number", "row"), CASES, ids=[f"{TITLES[number]}-{row[0]}-{row[1]}" for number, row in CASES])
def test_a_database_allows_and_denies_the_same(number, row):
    caller, what, stored, becomes, verdict = row
    part = EXAMPLES[number]
    documents = [json.loads(block) for block in blocks(part, "json documents")]
    action, collection = what.split()
    old = json.loads(stored.strip("`")) if stored else None
    new = ejson.decode(json.loads(becomes.strip("`"))) if becomes else None
    with docdb.open(":memory:") as db:
        db._session.settings.clock = lambda: dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
        for name, rules in json.loads(blocks(part, "json")[0]).items():
            db.set_rules(name, rules)
        for name, rows_of in (documents[0] if documents else {}).items():
            db[name].insert_many([ejson.decode(row) for row in rows_of])
        if old is not None:
            db[collection].insert_one({"_id": "it", **ejson.decode(old)})
        user = db.as_user(None if caller == "nobody" else {"openid": caller})[collection]
        before = db[collection].find().to_list()
        call = {
            "read": lambda: user.doc("it").get(),
            "create": lambda: user.insert_one(new),
            "update": lambda: user.replace_one({"_id": "it"}, new),
            "delete": lambda: user.delete_one({"_id": "it"}),
        }[action]
        word, _, hidden = verdict.partition(" without ")
        if word == "deny":
            with pytest.raises(docdb.DeniedError):
                call()
            assert db[collection].find().to_list() == before
        else:
            found = call()
            for path in hidden.split(", ") if hidden else ():
                steps = path.split(".")
                assert steps[-1] not in reduce(lambda value, step: value[step], steps[:-1], found)


def test_the_program_at_the_top(capsys):
    exec(blocks(PAGE, "python")[0], {})
    assert capsys.readouterr().out.startswith("the rules do not allow it ")


def test_the_fixture(docdb_rules):
    _, code = blocks(PAGE, "python")
    names = {}
    exec(code, names)
    names["test_only_the_owner_writes"](docdb_rules)
