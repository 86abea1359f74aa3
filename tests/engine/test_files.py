"""Files, processes and damage, on both LMDB engines."""

from __future__ import annotations

import logging
import os
import struct
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from docdb.engine import files, shared
from docdb.engine import lmdb as lmdb_engine
from docdb.engine.base import DOCUMENTS, Engine
from docdb.engine.lmdb import open_engine
from docdb.errors import BusyError, CorruptError, FormatError, InvalidOperation, StorageError, UsageError
from tests.engine.conftest import native_or_skip
from tests.faults.driver import ENGINE_ONLY

ROOT = Path(__file__).resolve().parents[2]
END = b"\xff" * 4


def put(engine: Engine, *items: tuple[bytes, bytes]) -> None:
    writer = engine.begin(write=True)
    writer.put_many(DOCUMENTS, items)
    writer.commit()


def get(engine: Engine, key: bytes) -> Any:
    return engine.get_latest(DOCUMENTS, key)[1]


def start(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start a process that runs the code; the engine's module is at hand, arguments are in sys.argv."""
    lines = ENGINE_ONLY + "import sys, os\nfrom docdb.engine.lmdb import open_engine\n" + textwrap.dedent(code)
    command = [sys.executable, "-c", lines, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def finish(process: subprocess.Popen[str], text: str | None = None) -> str:
    out, error = process.communicate(text, timeout=30)
    assert process.returncode == 0, error
    return out


HOLD = """
engine = open_engine(sys.argv[1], native=sys.argv[2] == "True")
print("open", flush=True)
sys.stdin.read()
engine.close()
"""


def test_two_processes_see_each_other(tmp_path: Path, native: bool) -> None:
    engine = open_engine(tmp_path / "x", native=native)
    put(engine, (b"a", b"1"))
    before = engine.begin()
    code = """
    engine = open_engine(sys.argv[1], native=sys.argv[2] == "True")
    print(engine.get_latest(0, b"a")[1].decode())
    writer = engine.begin(True); writer.put_many(0, [(b"a", b"2")]); writer.commit()
    """
    last = engine.last_id()
    assert finish(start(code, tmp_path / "x", native)) == "1\n"
    assert engine.last_id() == last + 1
    assert (before.get(DOCUMENTS, b"a"), get(engine, b"a")) == (b"1", b"2")
    engine.close()


def test_both_engines_read_the_same_file(tmp_path: Path) -> None:
    native_or_skip()
    for number, native in enumerate([True, False, True]):
        engine = open_engine(tmp_path / "x", native=native)
        put(engine, (b"%d" % number, b"v"))
        assert engine.begin().count(DOCUMENTS, b"", END) == number + 1
        engine.close()


def test_two_opens_share_one_storage(tmp_path: Path, native: bool) -> None:
    first = open_engine(tmp_path / "x", native=native)
    (tmp_path / "link").symlink_to(tmp_path / "x")
    second = open_engine(tmp_path / "link", native=native)
    put(first, (b"a", b"1"))
    assert get(second, b"a") == b"1"
    first.close()
    first.close()
    assert get(second, b"a") == b"1"
    with pytest.raises(InvalidOperation):
        first.begin()
    second.close()
    assert shared._registry == {}


@pytest.mark.parametrize("options", [{"read_only": True}, {"durability": "relaxed"}], ids=["read_only", "durability"])
def test_opens_with_other_options_are_refused(tmp_path: Path, native: bool, options: dict[str, Any]) -> None:
    engine = open_engine(tmp_path / "x", native=native)
    with pytest.raises(UsageError, match="already open"):
        open_engine(tmp_path / "x", native=native, **options)
    engine.close()
    open_engine(tmp_path / "x", native=native, **options).close()


def test_read_only(tmp_path: Path, native: bool) -> None:
    engine = open_engine(tmp_path / "x", native=native)
    put(engine, (b"a", b"1"))
    engine.close()
    names = sorted(os.listdir(tmp_path / "x"))
    reader = open_engine(tmp_path / "x", native=native, read_only=True)
    assert get(reader, b"a") == b"1"
    with pytest.raises(InvalidOperation):
        reader.begin(write=True)
    reader.close()
    assert sorted(os.listdir(tmp_path / "x")) == names


def test_read_only_creates_nothing(tmp_path: Path, native: bool) -> None:
    engine = open_engine(tmp_path / "x", native=native)
    put(engine, (b"a", b"1"))
    engine.copy(str(tmp_path / "copy"))
    engine.close()
    (tmp_path / "copy" / "presence").unlink()
    reader = open_engine(tmp_path / "copy", native=native, read_only=True)
    assert get(reader, b"a") == b"1"
    assert os.listdir(tmp_path / "copy") == ["data.mdb"]
    process = start(HOLD, tmp_path / "copy", native)
    _, error = process.communicate("", timeout=30)
    assert "BusyError" in error
    reader.close()
    open_engine(tmp_path / "copy", native=native).close()
    with pytest.raises(UsageError, match="no database"):
        open_engine(tmp_path / "absent", native=native, read_only=True)
    assert not (tmp_path / "absent").exists()


def test_create_false(tmp_path: Path, native: bool) -> None:
    with pytest.raises(UsageError, match="no database"):
        open_engine(tmp_path / "x", native=native, create=False)


def test_a_folder_of_something_else_is_refused(tmp_path: Path, native: bool) -> None:
    (tmp_path / "letter.txt").write_text("hello")
    with pytest.raises(UsageError, match=r"letter\.txt"):
        open_engine(tmp_path, native=native)
    assert os.listdir(tmp_path) == ["letter.txt"]


def test_an_empty_folder_is_taken(tmp_path: Path, native: bool) -> None:
    (tmp_path / "x").mkdir()
    open_engine(tmp_path / "x", native=native).close()
    assert (tmp_path / "x" / "data.mdb").exists()


def test_creation_race(tmp_path: Path, native: bool) -> None:
    code = """
    sys.stdin.readline()
    engine = open_engine(sys.argv[1], native=sys.argv[2] == "True")
    writer = engine.begin(True); writer.put_many(0, [(sys.argv[3].encode(), b"v")]); writer.commit()
    """
    processes = [start(code, tmp_path / "x", native, number) for number in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        finish(process)
    engine = open_engine(tmp_path / "x", native=native)
    assert engine.begin().count(DOCUMENTS, b"", END) == 4
    engine.close()
    assert os.listdir(tmp_path) == ["x"]


def test_leftovers_of_dead_builders_are_removed(tmp_path: Path, native: bool) -> None:
    (tmp_path / ".x.new-0123").mkdir()
    (tmp_path / ".x.new-0123" / "data.mdb").write_bytes(b"half")
    with files.temporary_folder(tmp_path / "x") as held:
        open_engine(tmp_path / "x", native=native).close()
        assert sorted(os.listdir(tmp_path)) == sorted([held.name, "x"])
    assert os.listdir(tmp_path) == ["x"]


def test_a_folder_that_cannot_be_renamed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(16, "busy")

    (tmp_path / "x").mkdir()
    monkeypatch.setattr(os, "rename", refuse)
    engine = open_engine(tmp_path / "x", native=False)
    put(engine, (b"a", b"1"))
    engine.close()
    assert sorted(os.listdir(tmp_path / "x")) == ["data.mdb", "lock.mdb", "presence"]


def grown(folder: Path, native: bool) -> Path:
    engine = open_engine(folder, native=native)
    put(engine, *((b"%05d" % number, b"v" * 500) for number in range(2000)))
    engine.close()
    return folder / "data.mdb"


@pytest.mark.parametrize(
    "keep", [0.0, 0.001, 0.003, 0.5, 0.99], ids=["empty", "half a meta", "one meta", "half", "most"]
)
def test_truncated_files(tmp_path: Path, native: bool, keep: float) -> None:
    data = grown(tmp_path / "x", native)
    os.truncate(data, int(data.stat().st_size * keep))
    with pytest.raises(CorruptError):
        open_engine(tmp_path / "x", native=native)
    assert shared._registry == {}


@pytest.mark.parametrize(
    ("offset", "content", "error"),
    [
        (16, b"\0\0\0\0", FormatError),
        (20, struct.pack("=I", 3), FormatError),
        (4096 + 16, b"\0\0\0\0", FormatError),
        (40, struct.pack("=I", 7), CorruptError),
        (0, b"nothing like it" * 1000, FormatError),
    ],
    ids=["magic", "version", "second meta", "page size", "garbage"],
)
def test_wrong_headers(tmp_path: Path, native: bool, offset: int, content: bytes, error: type[Exception]) -> None:
    data = grown(tmp_path / "x", native)
    with open(data, "r+b") as file:
        file.seek(offset)
        file.write(content)
    with pytest.raises(error):
        open_engine(tmp_path / "x", native=native)


def test_verify_finds_damage_in_the_middle(tmp_path: Path, native: bool) -> None:
    data = grown(tmp_path / "x", native)
    open_engine(tmp_path / "x", native=native, verify=True).close()
    with open(data, "r+b") as file:
        for page in range(2, 60):
            file.seek(page * 4096)
            file.write(b"\x55" * 64)
    with pytest.raises(CorruptError):
        open_engine(tmp_path / "x", native=native, verify=True)


def test_a_file_short_by_free_pages_is_sound(tmp_path: Path) -> None:
    calls: list[Path] = []
    data = grown(tmp_path / "x", False)
    os.truncate(data, data.stat().st_size - 4096)
    files.check_size(data, calls.append)
    assert calls == [data]


def test_fork_opens_anew(tmp_path: Path, native: bool) -> None:
    code = """
    engine = open_engine(sys.argv[1], native=sys.argv[2] == "True")
    def put(key):
        writer = engine.begin(True); writer.put_many(0, [(key, b"v")]); writer.commit()
    put(b"parent"); engine.begin().abort()
    pid = os.fork()
    if pid == 0:
        put(b"child")
        for _ in range(3): engine.begin().abort()
        engine.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    put(b"again")
    print(sum(map(len, engine.begin().scan(0, b"", b"z"))), engine.stats()["readers"])
    """
    assert finish(start(code, tmp_path / "x", native)) == "3 0\n"


def test_fork_with_an_open_transaction(tmp_path: Path, native: bool) -> None:
    code = """
    from docdb.errors import InvalidOperation
    native = sys.argv[2] == "True"
    engine = open_engine(sys.argv[1], native=native)
    writer = engine.begin(True); writer.put_many(0, [(b"a", b"v")])
    reader = engine.begin(); scan = reader.scan(0, b"", b"z")
    pid = os.fork()
    if pid == 0:
        refused = 0
        for use in (lambda: reader.get(0, b"a"), lambda: next(iter(scan)), lambda: writer.put_many(0, [(b"b", b"")]), writer.commit):
            try: use()
            except InvalidOperation: refused += 1
        writer.abort(); reader.abort(); del writer, reader, scan
        try: usable = engine.begin().count(0, b"", b"z") == 0
        except InvalidOperation: usable = False
        os._exit(0 if refused == 4 and usable == native else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert reader.get(0, b"a") is None
    writer.commit()
    print(engine.begin().count(0, b"", b"z"))
    """
    assert finish(start(code, tmp_path / "x", native)) == "1\n"


def test_exclusive_names_the_others(tmp_path: Path, native: bool) -> None:
    engine = open_engine(tmp_path / "x", native=native)
    process = start(HOLD, tmp_path / "x", native)
    assert process.stdout is not None and process.stdout.readline() == "open\n"
    with pytest.raises(BusyError, match=str(process.pid)), engine.exclusive():
        pass
    finish(process, "")
    with engine.exclusive():
        _, error = start(HOLD, tmp_path / "x", native).communicate("", timeout=30)
        assert f"compacted or restored by process {os.getpid()}" in error
    second = open_engine(tmp_path / "x", native=native)
    with pytest.raises(BusyError, match=str(os.getpid())), engine.exclusive():
        pass
    second.close()
    engine.close()


@pytest.mark.parametrize("compact", [False, True], ids=["plain", "compact"])
def test_copy_and_replace(tmp_path: Path, native: bool, compact: bool) -> None:
    grown(tmp_path / "x", native)
    engine = open_engine(tmp_path / "x", native=native)
    writer = engine.begin(write=True)
    writer.delete_many(DOCUMENTS, [b"%05d" % number for number in range(1900)])
    writer.commit()
    engine.copy(str(tmp_path / "copy"), compact=compact)
    copied = open_engine(tmp_path / "copy", native=native)
    assert copied.begin().count(DOCUMENTS, b"", END) == 100
    assert (copied.stats()["pages"] < engine.stats()["pages"]) == compact
    copied.close()
    with pytest.raises(UsageError, match="not empty"):
        engine.copy(str(tmp_path / "copy"))
    with engine.exclusive():
        engine.replace(str(tmp_path / "copy"))
    assert engine.begin().count(DOCUMENTS, b"", END) == 100
    again = open_engine(tmp_path / "x", native=native)
    assert get(again, b"01950") == b"v" * 500
    again.close()
    engine.close()
    assert shared._registry == {}


def test_reopen_ends_snapshots(tmp_path: Path, native: bool) -> None:
    engine = open_engine(tmp_path / "x", native=native)
    put(engine, *((b"%05d" % number, b"v") for number in range(1000)))
    reader = engine.begin()
    scan = iter(reader.scan(DOCUMENTS, b"", END))
    next(scan)
    engine.reopen()
    with pytest.raises(InvalidOperation):
        reader.get(DOCUMENTS, b"00000")
    with pytest.raises(InvalidOperation):
        next(scan)
    reader.abort()
    assert get(engine, b"00999") == b"v"
    put(engine, (b"a", b"1"))
    engine.close()


def test_close_and_reopen_under_readers(tmp_path: Path, native: bool) -> None:
    engine = open_engine(tmp_path / "x", native=native)
    put(engine, *((b"%06d" % number, b"v" * 50) for number in range(20_000)))
    unexpected: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                reader = engine.begin()
                reader.count(DOCUMENTS, b"", END)
                list(reader.scan(DOCUMENTS, b"", END, batch=5000))
            except InvalidOperation:
                continue
            except BaseException as error:
                unexpected.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        engine.reopen()
    engine.close()
    stop.set()
    for thread in threads:
        thread.join(30)
    assert unexpected == []


def test_close_waits_for_the_writer_of_another_thread(
    tmp_path: Path, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(tmp_path / "x", native=native)
    monkeypatch.setattr(shared, "CLOSE_PATIENCE_S", 0.05)
    begun, refused = threading.Event(), threading.Event()

    def write() -> None:
        writer = engine.begin(write=True)
        begun.set()
        refused.wait(10)
        writer.put_many(DOCUMENTS, [(b"a", b"1")])
        writer.commit()

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait(10)
    with pytest.raises(BusyError):
        engine.close()
    refused.set()
    thread.join(10)
    assert get(engine, b"a") == b"1"
    engine.close()


def test_writer_stays_on_its_thread(tmp_path: Path) -> None:
    native_or_skip()
    engine = open_engine(tmp_path / "x", native=True)
    writer = engine.begin(write=True)
    errors: list[BaseException] = []

    def use() -> None:
        try:
            writer.put_many(DOCUMENTS, [(b"a", b"1")])
        except InvalidOperation as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(errors) == 1
    writer.commit()
    engine.close()


def test_killed_reader_is_cleared(tmp_path: Path, native: bool) -> None:
    engine = open_engine(tmp_path / "x", native=native)
    put(engine, (b"a", b"1"))
    code = """
    engine = open_engine(sys.argv[1], native=sys.argv[2] == "True")
    reader = engine.begin()
    print("open", flush=True)
    sys.stdin.read()
    """
    process = start(code, tmp_path / "x", native)
    assert process.stdout is not None and process.stdout.readline() == "open\n"
    assert engine.stats()["readers"] == 1
    process.kill()
    process.communicate(timeout=30)
    assert engine.reader_check() == 1
    assert engine.stats()["readers"] == 0
    engine.close()


def test_killed_writer_leaves_the_old_state(tmp_path: Path, native: bool) -> None:
    engine = open_engine(tmp_path / "x", native=native)
    put(engine, (b"a", b"1"))
    code = """
    engine = open_engine(sys.argv[1], native=sys.argv[2] == "True")
    writer = engine.begin(True); writer.put_many(0, [(b"a", b"2")])
    print("open", flush=True)
    sys.stdin.read()
    """
    process = start(code, tmp_path / "x", native)
    assert process.stdout is not None and process.stdout.readline() == "open\n"
    process.kill()
    process.communicate(timeout=30)
    put(engine, (b"b", b"1"))
    assert (get(engine, b"a"), get(engine, b"b")) == (b"1", b"1")
    engine.close()


def test_untested_package_falls_back_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    native_or_skip()
    monkeypatch.setattr(lmdb_engine, "TESTED_PACKAGES", frozenset({"2.9"}))
    with caplog.at_level(logging.WARNING, "docdb.engine"):
        engine = open_engine(tmp_path / "x")
    assert engine.name == "lmdb"
    assert "has not been tested" in caplog.text
    engine.close()
    with pytest.raises(UsageError, match="has not been tested"):
        open_engine(tmp_path / "x", native=True)


def test_untested_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native_or_skip()
    monkeypatch.setattr(lmdb_engine, "TESTED_TABLES", frozenset({(0, 9, 99, 1)}))
    with pytest.raises(UsageError, match="has not been tested"):
        open_engine(tmp_path / "x", native=True)


def test_replaced_files_are_noticed(tmp_path: Path, native: bool) -> None:
    engine = open_engine(tmp_path / "x", native=native)
    other = grown(tmp_path / "y", native)
    os.rename(other, tmp_path / "x" / "data.mdb")
    with pytest.raises(BusyError, match="replaced"):
        open_engine(tmp_path / "x", native=native)
    engine.close()


def test_stats_and_durability(tmp_path: Path, native: bool) -> None:
    grown(tmp_path / "x", native)
    engine = open_engine(tmp_path / "x", native=native, durability="relaxed")
    put(engine, (b"a", b"1"))
    stats = engine.stats()
    assert stats["page_size"] * stats["pages"] <= stats["file_bytes"] < stats["map_bytes"]
    assert 0 <= stats["free_pages"] < stats["pages"]
    assert stats["last_id"] == engine.last_id()
    engine.close()
    with pytest.raises(UsageError, match="durability"):
        open_engine(tmp_path / "x", native=native, durability="none")


def test_missing_parent(tmp_path: Path, native: bool) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        open_engine(tmp_path / "no" / "x", native=native)


def test_unwritable_parent(native: bool) -> None:
    with pytest.raises((StorageError, UsageError)):
        open_engine("/proc/x", native=native)
