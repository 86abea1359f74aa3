"""``docdb watch``: changes and live results, of another process too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import docdb
from tests.cli.conftest import Program

ROOT = Path(__file__).resolve().parents[2]
SOON_S = 60.0


def test_changes_since_the_oldest(program: Program, shop: Path) -> None:
    with docdb.open(shop) as db:
        db["users"].doc(1).update({"age": 26})
        db["users"].doc(2).remove()
    found = program("watch", shop, "users", "--since", "oldest", "--timeout", 0).documents
    told = [(change["operation"], change.get("id")) for change in found]
    assert told[-2:] == [("update", 1), ("delete", 2)]
    assert told.count(("insert", 1)) == 1
    assert (found[-2]["updated_fields"], found[-2]["removed_fields"], found[-2]["after"]["age"]) == (
        {"age": 26},
        [],
        26,
    )

    rest = program("watch", shop, "--since", found[-2]["position"], "--timeout", 0).documents
    assert [(change["collection"], change["operation"], change["before"]["name"]) for change in rest] == [
        ("users", "delete", "Bob")
    ]


def test_changes_of_what_a_filter_names(program: Program, shop: Path) -> None:
    ran = program("watch", shop, "users", '{"city": "Lima"}', "--changes", "--since", "oldest", "--timeout", 0)
    assert [change["id"] for change in ran.documents if change["operation"] == "insert"] == [4]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (['{"city": "Rome"}'], ["Bob", "Cid"]),
        (['{"age": {"$gt": 1}}', "--sort", "-age,name", "--skip", 1, "--limit", 2], ["Bob", "Cid"]),
        (["--live", "-p", "name"], ["Ann", "Bob", "Cid", "Dora"]),
        (["--sort", "-_id"], ["Dora", "Cid", "Bob", "Ann"]),
    ],
    ids=str,
)
def test_a_result(program: Program, shop: Path, options: list[Any], names: list[str]) -> None:
    (first,) = program("watch", shop, "users", *options, "--count", 1).documents
    assert [document["name"] for document in first["docs"]] == names
    assert (first["event"], first["changes"]) == (0, [])


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (["--changes", "--live"], "--live"),
        (["users", "{}", "--changes", "--limit", 1], "--limit"),
        (["users", "{}", "--since", "oldest"], "--since"),
        (["--live"], "COLLECTION"),
        (["users", "{}", "--count", 0], "--count"),
        (["users", '{"a": {"$gtt": 1}}'], "$gtt"),
        (["--since", "yesterday"], "position"),
    ],
    ids=str,
)
def test_wrong_options_are_one_line(program: Program, shop: Path, options: list[Any], wrong: str) -> None:
    ran = program("watch", shop, *options)
    assert (ran.code != 0, len(ran.err.splitlines()), wrong in ran.err) == (True, 1, True)


def test_a_result_follows_another_process(shop: Path) -> None:
    command = [sys.executable, "-m", "docdb", "watch", str(shop), "users", '{"city": "Rome"}', "--count", "3"]
    watching = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    lines = [json.loads(watching.stdout.readline())]
    with docdb.open(shop) as db:
        db["users"].doc(1).update({"city": "Rome"})
        db["users"].doc(2).update({"city": "Oslo"})
    lines += [json.loads(line) for line in watching.communicate(timeout=SOON_S)[0].splitlines()]
    assert watching.returncode == 0
    assert [[document["_id"] for document in line["docs"]] for line in lines] == [[2, 3], [1, 2, 3], [1, 3]]
    assert lines[1]["changes"] == [
        {
            "data_type": "update",
            "queue_type": "enqueue",
            "id": 1,
            "updated_fields": {"city": "Rome"},
            "removed_fields": [],
        }
    ]


def test_changes_follow_another_process(shop: Path) -> None:
    """As they are committed, one a line, with positions to go on from."""
    command = [sys.executable, "-m", "docdb", "watch", str(shop), "users", "--since", "oldest"]
    watching = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    with docdb.open(shop) as db:
        for n in range(3):
            db["users"].insert_one({"_id": 100 + n})
            lines = []
            while not any(line.get("id") == 100 + n for line in lines):
                lines.append(json.loads(watching.stdout.readline()))
        assert (lines[-1]["operation"], lines[-1]["after"]) == ("insert", {"_id": 102})
        db["users"].doc(102).remove()
        removed = json.loads(watching.stdout.readline())
        assert (removed["operation"], removed["before"]) == ("delete", {"_id": 102})
        assert next(db.changes(resume_after=lines[-1]["position"])).position == removed["position"]
    watching.send_signal(signal.SIGINT)
    assert watching.wait(SOON_S) != 0
    watching.stdout.close()


def test_a_lost_position_is_one_line_with_a_way_on(program: Program, tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d", history_bytes=20_000) as db:
        db["a"].insert_one({"_id": -1})
        position = db.changes().position
        for n in range(100):
            db["a"].insert_one({"_id": n, "text": "x" * 1_000})
        oldest = db.changes(from_="oldest").position
    ran = program("watch", tmp_path / "d", "--since", position, "--timeout", 0)
    assert (ran.code != 0, len(ran.err.splitlines()), "older than the change log reaches" in ran.err) == (True, 1, True)
    assert oldest in ran.err
    left = program("watch", tmp_path / "d", "--since", oldest, "--timeout", 0).documents
    assert left[-1]["id"] == 99
