"""Writes and flushes that fail under a whole database: a sample of the campaign, and how group commit fares on a slow disk."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.engine.conftest import native_or_skip
from tests.faults import campaign, driver

SAMPLE = 61  # every so many-th call; the first differs between the variants


@pytest.mark.parametrize("mode", campaign.MODES)
@pytest.mark.parametrize("error", campaign.ERRORS)
@pytest.mark.parametrize("engine", campaign.ENGINES)
def test_the_state_is_old_or_new_after_a_failed_call(engine: str, error: str, mode: str) -> None:
    assert engine != "native" or native_or_skip()
    driver.shim()
    first = 1 + 7 * (2 * campaign.ERRORS.index(error) + campaign.MODES.index(mode))
    report = campaign.spawn(engine, error, mode, SAMPLE, first)
    assert report["failures"] == []
    assert report["runs"] > 10


def test_every_operation_of_the_script_changes_something() -> None:
    """What a power cut may take back is the last commit; so none of them may be an operation that makes none."""
    state: campaign.State = ({}, frozenset())
    for n in range(campaign.OPERATIONS):
        was, state = state, campaign.after(state, *campaign.operation(n))
        assert state != was, campaign.operation(n)


def test_an_error_for_ever_is_raised(tmp_path: Path) -> None:
    report = campaign.spawn("lmdb", "EIO", "ever", 400)
    assert report["raised"] == report["runs"]


SLOW_DISK = """
import sys, threading, time
import docdb

def work(items, n, count):
    for i in range(count):
        items.insert_one({"_id": f"{n}-{i}", "n": i})

with docdb.open(sys.argv[1], native=None if sys.argv[2] == "True" else False) as db:
    items = db["items"]
    before = dict(db.stats()["writer"])
    began = time.perf_counter()
    work(items, "alone", 60)
    alone = 60 / (time.perf_counter() - began)
    middle = dict(db.stats()["writer"])
    began = time.perf_counter()
    threads = [threading.Thread(target=work, args=(items, n, 60)) for n in range(16)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    together = 16 * 60 / (time.perf_counter() - began)
    after = db.stats()["writer"]
    print((alone, together, (after["callers"] - middle["callers"]) / (after["storage_commits"] - middle["storage_commits"]), items.count_documents({})))
"""


@pytest.mark.parametrize("engine", campaign.ENGINES)
def test_sixteen_writers_share_the_commits_of_a_slow_disk(tmp_path: Path, engine: str) -> None:
    native = engine == "native" and native_or_skip()
    run = driver.run(SLOW_DISK, tmp_path / "slow", native, path="slow", sync_delay_us=1_000)
    assert run.status == 0, run.errors
    _alone, _together, callers, documents = ast.literal_eval(run.output)
    assert documents == 17 * 60
    assert callers > 4
