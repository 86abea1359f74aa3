"""Leases: one holder at a time, of all threads and processes; given back by whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from docdb.engine.base import Engine
from docdb.engine.lmdb import open_engine
from docdb.engine.memory import MemoryEngine
from docdb.errors import StorageError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["memory", "lmdb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path):
    made: Engine = {"memory": MemoryEngine, "lmdb": lambda: open_engine(tmp_path / "d")}[request.param]()
    yield made
    made.close()


def test_one_holder_at_a_time(engine: Engine) -> None:
    lease = engine.lease("a")
    assert lease is not None
    assert lease.held
    assert engine.lease("a") is None
    with engine.lease("b") as other:
        assert other.held
    lease.close()
    lease.close()
    assert not lease.held
    assert engine.lease("a") is not None


def test_two_engine_objects_on_one_file_share_the_names(tmp_path: Path) -> None:
    first, second = open_engine(tmp_path / "d"), open_engine(tmp_path / "d")
    lease = first.lease("a")
    assert second.lease("a") is None
    lease.close()
    assert second.lease("a") is not None
    first.close()
    second.close()


def test_engines_in_memory_share_nothing() -> None:
    first, second = MemoryEngine(), MemoryEngine()
    assert first.lease("a") is not None
    assert second.lease("a") is not None


@pytest.mark.parametrize("name", ["", "x" * 5_000, "Ünï/..\0"], ids=["empty", "long", "strange"])
def test_any_name_will_do(engine: Engine, name: str) -> None:
    lease = engine.lease(name)
    assert engine.lease(name) is None
    lease.close()


HOLDER = """
    import sys, time
    from docdb.engine.lmdb import open_engine
    engine = open_engine(sys.argv[1])
    lease = engine.lease("a")
    print(lease is not None, flush=True)
    time.sleep(60)
"""


def test_a_killed_holder_gives_it_back(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "d")
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), tmp_path / "d"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "True\n"
        assert engine.lease("a") is None
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert engine.lease("a") is not None
    engine.close()


def test_a_forked_child_has_not_inherited_it(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "d")
    lease = engine.lease("a")
    inside, outside = os.pipe()
    pid = os.fork()
    if pid == 0:  # waits for the parent to give it back
        child = open_engine(tmp_path / "d")
        os.write(outside, b"%d%d" % (lease.held, child.lease("a") is None))
        os.read(0, 0)
        os._exit(0)
    assert os.read(inside, 2) == b"01"
    os.waitpid(pid, 0)
    assert lease.held
    assert engine.lease("a") is None
    lease.close()
    assert engine.lease("a") is not None
    engine.close()


def test_a_child_that_lives_on_does_not_keep_it(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "d")
    lease = engine.lease("a")
    pid = os.fork()
    if pid == 0:
        signal.pause()
    lease.close()
    assert engine.lease("a") is not None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    engine.close()


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "d")
    (tmp_path / "d" / "leases").write_text("in the way")
    with pytest.raises(StorageError, match="leases"):
        engine.lease("a")
    engine.close()
