"""Every conformance case of the files with a mark passes, but for those that ``decided.md`` lists; and those fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.compliance.marks import TOPICS

CASES = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "cases"
LINE = re.compile(r"^- (\w+) `(.+)`$", re.MULTILINE)
FILES = [
    name
    for topic in TOPICS
    for name in (topic, f"{topic}_errors")
    if not CASES.exists() or (CASES / f"{name}.jsonl.gz").exists()
]

pytestmark = [
    pytest.mark.skipif(not CASES.exists(), reason="the conformance cases do not lie beside the project"),
    pytest.mark.filterwarnings("ignore::ImportWarning"),
]
pytest.importorskip("bson", reason="pymongo is not installed")


def decided() -> set[tuple[str, str]]:
    text = Path(__file__).with_name("decided.md").read_text(encoding="utf-8")
    return set(LINE.findall(text))


@pytest.mark.parametrize("name", FILES)
def test_what_fails_is_what_was_decided(name):
    from tests.compliance.__main__ import verdicts

    found = verdicts(CASES / f"{name}.jsonl.gz", [], 30)
    failed = {case["id"] for case, verdict in found if not verdict.get("loose")}
    listed = {case for file, case in decided() if file == name}
    assert failed - listed == set(), "cases that fail and are not listed"
    assert listed - failed == set(), "cases that are listed and pass"


def test_each_listed_case_belongs_to_a_file_with_a_mark():
    assert {file for file, _ in decided()} <= set(FILES)
