"""A sample of the conformance cases; ``python -m tests.compliance`` runs them all."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import pytest

from tests.compliance.marks import DECIDED

CASES = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "cases"
STEP = 60  # every 60th case of a file

pytestmark = [
    pytest.mark.skipif(not CASES.exists(), reason="the conformance cases do not lie beside the project"),
    pytest.mark.filterwarnings("ignore::ImportWarning"),
]
pytest.importorskip("bson", reason="pymongo is not installed")


@pytest.mark.parametrize("name", ["find_command", "query", "query_errors", "update", "update_errors", "write_commands"])
def test_every_so_many_cases(name):
    from tests.compliance.adapter import Adapter, run_cases

    driver = Adapter()
    with gzip.open(CASES / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        cases = [json.loads(line) for line in itertools.islice(lines, 0, None, STEP)]
    cases = [case for case in cases if "later" not in case["tags"] and case["kind"] != "unified"]
    verdicts = {case["id"]: run_cases.run_one(driver, run_cases.ejson.dec(case)) for case in cases}
    failed = [name for name, verdict in verdicts.items() if not verdict.get("loose")]
    assert [name for name in failed if not any(part in name for part in DECIDED)] == []
