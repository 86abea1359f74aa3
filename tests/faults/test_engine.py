"""Writes and flushes that fail under both LMDB engines: the state is old or new, an error is raised, nothing hangs."""

from __future__ import annotations

import ast
import errno
import shutil
import textwrap
from pathlib import Path

import pytest

from docdb.engine.base import DOCUMENTS
from docdb.engine.lmdb import open_engine, verify_file
from tests.engine.conftest import native_or_skip
from tests.faults import driver

COMMITS = 5
# Each commit replaces all five keys by its number; what is printed: the commits that succeeded, those that raised, what is read at the end.
SCRIPT = (
    driver.ENGINE_ONLY
    + """
import sys, threading
from docdb.engine.lmdb import open_engine
from docdb.errors import DocdbError, InvalidOperation, StorageError
engine = open_engine(sys.argv[1], native=sys.argv[2] == "True")
done, raised = [], []
open(sys.argv[3], "w").close()
for number in range(1, 6):
    before = engine.begin()
    try:
        writer = engine.begin(write=True)
        try:
            writer.put_many(0, [(b"%d" % key, b"%d" % number * 3000) for key in range(5)])
            writer.commit()
            done.append(number)
        finally:
            writer.abort()
    except StorageError as error:
        raised.append(number)
    try:
        assert before.get(0, b"0") is not None
    except (InvalidOperation, StorageError):
        assert raised, "a snapshot ended without need"
    before.abort()
try:
    reader = engine.begin()
    seen = [value[:1] for batch in reader.scan(0, b"", b"z", keys=False) for value in batch]
    reader.abort()
except StorageError as error:
    seen = None
print((done, raised, seen))
engine.close()
"""
)


@pytest.fixture(params=["lmdb", "native"])
def native(request: pytest.FixtureRequest) -> bool:
    """Say which LMDB engine the test runs on."""
    return request.param == "native" and native_or_skip()


def prepare(folder: Path, native: bool) -> None:
    """Make a store in which the five keys hold 0."""
    engine = open_engine(folder, native=native)
    writer = engine.begin(write=True)
    writer.put_many(DOCUMENTS, [(b"%d" % key, b"0" * 3000) for key in range(5)])
    writer.commit()
    engine.close()


def state(folder: Path, native: bool) -> set[bytes]:
    """Return what the keys hold, after a check of every page."""
    verify_file(folder / "data.mdb")
    engine = open_engine(folder, native=native)
    found = {value[:1] for batch in engine.begin().scan(DOCUMENTS, b"", b"z", keys=False) for value in batch}
    engine.close()
    return found


@pytest.mark.parametrize("mode", ["once", "ever"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_every_write_and_flush_may_fail(tmp_path: Path, native: bool, mode: str, error: int) -> None:
    prepare(tmp_path / "model", native)
    shutil.copytree(tmp_path / "model", tmp_path / "count")
    clean = driver.run(SCRIPT, tmp_path / "count", native, tmp_path / "arm", path="data.mdb", arm=tmp_path / "arm")
    assert ast.literal_eval(clean.output) == ([1, 2, 3, 4, 5], [], [b"5"] * 5)
    assert clean.calls >= 2 * COMMITS
    for at in driver.sweep(clean.calls):
        folder, arm = tmp_path / f"store{at}", tmp_path / f"arm{at}"
        shutil.copytree(tmp_path / "model", folder)
        run = driver.run(SCRIPT, folder, native, arm, path="data.mdb", at=at, mode=mode, error=error, arm=arm)
        assert run.status == 0, run.errors
        done, raised, seen = ast.literal_eval(run.output)
        assert run.failed >= 1 and raised, f"call {at} failed unnoticed"
        assert sorted(done + raised) == [1, 2, 3, 4, 5]
        last = b"%d" % max(done, default=0)
        assert state(folder, native) <= {last, *(b"%d" % number for number in raised if number > max(done, default=0))}
        assert len(state(folder, native)) == 1
        assert seen is None or (len(seen) == 5 and len(set(seen)) == 1)
        shutil.rmtree(folder)


@pytest.mark.parametrize("mode", ["once", "ever"])
def test_creation_may_fail_anywhere(tmp_path: Path, native: bool, mode: str) -> None:
    script = """
    import sys
    from docdb.engine.lmdb import open_engine
    from docdb.errors import StorageError
    try:
        open_engine(sys.argv[1], native=sys.argv[2] == "True").close()
        print("made")
    except StorageError as error:
        print("raised")
    """
    script = driver.ENGINE_ONLY + textwrap.dedent(script)
    clean = driver.run(script, tmp_path / "target-0", native, path="target-")
    assert clean.output == "made\n"
    assert clean.calls > 4
    for at in driver.sweep(clean.calls):
        run = driver.run(script, tmp_path / f"target-{at}", native, path="target-", at=at, mode=mode)
        assert run.status == 0, run.errors
        engine = open_engine(tmp_path / f"target-{at}", native=native)
        assert engine.begin().count(DOCUMENTS, b"", b"z") == 0
        engine.close()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_delay_is_felt(tmp_path: Path, native: bool) -> None:
    script = """
    import sys, time
    from docdb.engine.lmdb import open_engine
    engine = open_engine(sys.argv[1], native=sys.argv[2] == "True")
    start = time.perf_counter()
    writer = engine.begin(write=True); writer.put_many(0, [(b"a", b"1")]); writer.commit()
    print(time.perf_counter() - start)
    """
    prepare(tmp_path / "x", native)
    script = driver.ENGINE_ONLY + textwrap.dedent(script)
    run = driver.run(script, tmp_path / "x", native, path="data.mdb", sync_delay_us=20_000)
    assert float(run.output) > 0.02
