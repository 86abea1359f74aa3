"""A consumer whose writes and flushes fail: whatever the error leaves, each change is applied once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

from tests.faults import campaign, driver

# A process with the shim forks a child for each call that shall fail; the child consumes, the parent lets another consumer finish and looks.
SCRIPT = """
import errno, json, logging, os, shutil, signal, sys, tempfile
from pathlib import Path
import docdb
from docdb.sessions import following
from tests.faults.campaign import HANG_S, Shim

CHANGES = 8
logging.disable(logging.CRITICAL)
following.FIRST_PAUSE_S = 0.0005
engine, error, ever, step, first = sys.argv[1], getattr(errno, sys.argv[2]), sys.argv[3] == "ever", int(sys.argv[4]), int(sys.argv[5])
shim = Shim()

def opened(folder):
    return docdb.open(folder, native=engine == "native")

def fn(change, t):
    t["log"].insert_one({"_id": change.id, "text": "x" * 3_000})
    t["total"].update_one({"_id": 0}, {"$inc": {"n": 1}}, upsert=True)

def consume(folder, at):
    db = opened(folder)
    shim.arm(at, error, ever)
    consumer = db.consume("c", fn, collection="a", operations="insert", from_="oldest", times=3)
    try:
        consumer.catch_up()
    except docdb.StorageError:
        assert consumer.state == "stopped"
    calls = shim.calls()
    shim.arm(0)
    Path(f"{folder}.calls").write_text(str(calls))

def fork_and_consume(folder, at):
    child = os.fork()
    if child == 0:
        signal.alarm(HANG_S)
        status = 1
        try:
            consume(folder, at)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def look(folder):
    with opened(folder) as db:
        done = db["log"].count_documents({})
        with db.consume("c", fn, collection="a", operations="insert", from_="oldest", times=0) as consumer:
            consumer.catch_up()
            assert consumer.delivered == CHANGES - done, (consumer.delivered, done)
        assert db["log"].distinct("_id") == list(range(CHANGES))
        assert db["total"].find_one({"_id": 0})["n"] == CHANGES
        assert db.check().problems == []
    return done

where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
with tempfile.TemporaryDirectory(prefix="docdb-faulty-", dir=where) as name:
    base = Path(name)
    with opened(base / "model") as db:
        for n in range(CHANGES):
            db["a"].insert_one({"_id": n})
    shutil.copytree(base / "model", base / "clean")
    assert fork_and_consume(base / "clean", 0) == 0
    calls = int((base / "clean.calls").read_text())
    runs, done, died = 0, set(), []
    for at in range(first, calls + 1, step):
        folder = base / f"run{at}"
        shutil.copytree(base / "model", folder)
        status = fork_and_consume(folder, at)
        if status:
            died.append((at, status))
        done.add(look(folder))
        runs += 1
        shutil.rmtree(folder)
print(json.dumps({"runs": runs, "done": sorted(done), "died": died}))
"""


@pytest.mark.parametrize("mode", campaign.MODES)
@pytest.mark.parametrize("error", campaign.ERRORS)
def test_each_change_is_applied_once_whatever_fails(error: str, mode: str) -> None:
    engine = campaign.ENGINES[(error == "EIO") == (mode == "once")]
    settings = {"LD_PRELOAD": str(driver.shim()), "DOCDB_FAULT_PATH": "docdb-faulty-"}
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), engine, error, mode, "5", "1"]
    run = subprocess.run(
        command, cwd=driver.ROOT, env=os.environ | settings, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen["died"] == []
    assert seen["runs"] > 5
    assert set(seen["done"]) == {8} if mode == "once" else len(seen["done"]) > 2
