"""docs/rules.md: each of its examples is run as it stands there."""

import json
import re
from pathlib import Path

import pytest

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


def test_the_fixture(docdb_rules):
    [code] = blocks(PAGE, "python")
    names = {}
    exec(code, names)
    names["test_only_the_owner_writes"](docdb_rules)
