"""Damaged files: a process that opens one gets an error or an answer, never a signal.

Cut files and flipped bytes in values and keys raise CorruptError or FormatError. For flips in raw pages (the B-tree itself) that is promised only with
``verify=True``; without it such a file is outside the promise, so these are opened with it alone.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import lmdb
import pytest

import docdb
from docdb.engine.base import CATALOG, CHANGES, DOCUMENTS, ENTRIES, SPACES
from docdb.errors import CorruptError
from docdb.language.order import order_key
from docdb.store import codec
from docdb.store.keyspace import document_key
from tests.engine.conftest import native_or_skip

pytestmark = pytest.mark.damaged
ROOT = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("DOCDB_SEED", "20240229"))
FLIPS = 100 if os.environ.get("DOCDB_LONG") == "1" else 6
REFUSALS = {"CorruptError", "FormatError"}

# Opens each folder named on standard input in a forked child, reads everything in every way, and prints what came of it.
READER = """
import json, os, signal, sys
import docdb
from docdb import database

def read(folder, verify, native):
    with docdb.open(folder, verify=verify, native=native) as db:
        for name in db.list_collection_names():
            items = db[name]
            for find in ({}, {"n": {"$gt": 3}}, {"list": 2}, {"text": {"$regex": "x"}}, {"_id": 7}, {"u": {"$lt": 9}}):
                list(items.find(find))
                items.count_documents(find)
            list(items.find({}, {"n": 1, "_id": 0}, hint="n_1"))
            items.distinct("list")
            list(items.aggregate([{"$group": {"_id": "$n", "s": {"$sum": "$u"}}}, {"$sort": {"s": 1}}]))
            items.update_many({"n": 2}, {"$inc": {"u": 1000}})
            items.delete_many({"n": 3})
            items.insert_one({"_id": "new", "n": 1, "u": -5, "list": [1]})
        return "fine" if db.check().ok else "CheckFailed"

def run(folder, verify, native):
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            answer = read(folder, verify, native)
        except docdb.DocdbError as error:
            answer = type(error).__name__
        except BaseException as error:
            import traceback
            answer = "!" + repr(error)[:300] + "".join(traceback.format_tb(error.__traceback__, -2))
        os.write(into, answer.encode())
        os._exit(0)
    os.close(into)
    answer = b""
    while part := os.read(out, 1000):
        answer += part
    os.close(out)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return answer.decode() if code == 0 else f"!died {code}"

for line in sys.stdin:
    print(json.dumps(run(*json.loads(line))), flush=True)
"""


class Reader:
    """A process that opens damaged files in children of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(READER)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, folder: Path, *, verify: bool = False, native: bool | None = None) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(folder), verify, native]) + "\n")
        self._process.stdin.flush()
        return str(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def reader() -> Any:
    """Give one reading process for all tests."""
    made = Reader()
    yield made
    made.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a small database with indexes of several kinds; closed."""
    folder = tmp_path_factory.mktemp("damage") / "model"
    with docdb.open(folder) as db:
        items = db.create_collection("items", validator={"n": {"$type": "number"}})
        items.create_index("n")
        items.create_index([("list", -1), ("n", 1)])
        items.create_index("u", unique=True, sparse=True)
        items.create_index("text", partialFilterExpression={"n": {"$gt": 2}})
        items.insert_many(
            {
                "_id": n,
                "n": n % 5,
                "u": n,
                "list": [n % 3, n % 7],
                "text": "x" * (n * 31 % 900),
                "sub": {"a": 1.5, "b": None},
            }
            for n in range(60)
        )
        items.update_many({"n": 1}, {"$set": {"more": [{"a": 1}, "text", docdb.ObjectId()]}})
    return folder


def copied(model: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder)
    return folder


@pytest.mark.parametrize("native", [None, False], ids=["default", "lmdb"])
def test_the_model_itself_is_fine(model: Path, tmp_path: Path, reader: Any, native: bool | None) -> None:
    assert reader(copied(model, tmp_path / "db"), verify=True, native=native) == "fine"


@pytest.mark.parametrize("verify", [False, True], ids=["plain", "verify"])
def test_cut_files_are_refused(model: Path, tmp_path: Path, reader: Any, verify: bool) -> None:
    size = (model / "data.mdb").stat().st_size
    chance = random.Random(SEED)
    # The whole file ends with pages the last commit needs; a file may be longer than that by free pages only.
    lengths = [
        0,
        1,
        100,
        4_095,
        4_096,
        8_191,
        8_192,
        12_288,
        size // 2,
        *(chance.randrange(size * 2 // 3) for _ in range(FLIPS)),
    ]
    found = {}
    for length in lengths:
        folder = copied(model, tmp_path / "db")
        os.truncate(folder / "data.mdb", length)
        found[length] = reader(folder, verify=verify)
    assert {length: answer for length, answer in found.items() if answer not in REFUSALS} == {}


def flip(folder: Path, chance: random.Random, space: int, *, key: bool) -> str:
    """Change one byte of one key or value of a space through LMDB, so that its B-tree stays sound."""
    environment = lmdb.open(str(folder), max_dbs=len(SPACES), lib_version=0)
    handle = environment.open_db(SPACES[space], create=False)
    with environment.begin(write=True, db=handle) as txn:
        pairs = list(txn.cursor())
        name, value = pairs[chance.randrange(len(pairs))]
        target = bytearray(name if key else value)
        place = chance.randrange(len(target)) if target else 0
        mode = chance.randrange(3)
        if mode == 0 and len(target) > 1:
            del target[place:]
        elif target:
            target[place] ^= 1 << chance.randrange(8) if mode == 1 else 255
        txn.delete(name)
        if key and not target:
            target = bytearray(b"x")
        txn.put(bytes(target) if key else name, value if key else bytes(target))
    environment.close()
    return f"space {space} {'key' if key else 'value'} {name.hex()} {bytes(target).hex()[:80]}"


@pytest.mark.parametrize("native", [None, False], ids=["default", "lmdb"])
@pytest.mark.parametrize("key", [False, True], ids=["values", "keys"])
@pytest.mark.parametrize(
    "space",
    [DOCUMENTS, ENTRIES, CHANGES, CATALOG],
    ids=lambda space: SPACES[space].decode(),
)
def test_flipped_bytes_in_keys_and_values_crash_nothing(
    model: Path, tmp_path: Path, reader: Any, space: int, key: bool, native: bool | None
) -> None:
    chance = random.Random(SEED + space)
    wrong = []
    for _ in range(FLIPS):
        folder = copied(model, tmp_path / "db")
        what = flip(folder, chance, space, key=key)
        answer = reader(folder, native=native)
        if answer.startswith("!"):
            wrong.append((what, answer))
    assert wrong == []


def test_damaged_entries_end_no_process(model: Path, tmp_path: Path, reader: Any) -> None:
    chance = random.Random(SEED)
    died = []
    for number in range(4 * FLIPS):
        folder = copied(model, tmp_path / "db")
        what = flip(folder, chance, ENTRIES, key=number % 2 == 0)
        answer = reader(folder)
        if answer.startswith("!died"):
            died.append((what, answer))
    assert died == []


@pytest.mark.parametrize("space", range(len(SPACES)), ids=lambda space: SPACES[space].decode())
def test_flipped_bytes_are_found_by_verify(model: Path, tmp_path: Path, reader: Any, space: int) -> None:
    chance = random.Random(SEED + space)
    answers: dict[str, str] = {}
    for _ in range(FLIPS // 2):
        folder = copied(model, tmp_path / "db")
        answers[flip(folder, chance, space, key=False)] = reader(folder, verify=True)
    allowed = REFUSALS | {
        "fine",
        "UsageError",
        "QueryError",
        "IndexDefinitionError",
        "ValidationError",
        "NotSupportedError",
    }
    assert {what: answer for what, answer in answers.items() if answer not in allowed} == {}


def test_flipped_pages_never_crash_with_verify(model: Path, tmp_path: Path, reader: Any) -> None:
    chance = random.Random(SEED)
    answers = []
    for _ in range(5 * FLIPS):
        folder = copied(model, tmp_path / "db")
        data = bytearray((folder / "data.mdb").read_bytes())
        for _ in range(chance.choice((1, 1, 4, 64))):
            place = chance.choice(
                (chance.randrange(len(data)), chance.randrange(len(data) // 4096) * 4096 + chance.randrange(64))
            )
            data[place] ^= 1 << chance.randrange(8)
        (folder / "data.mdb").write_bytes(data)
        answers.append(reader(folder, verify=True))
    assert [answer for answer in answers if answer.startswith("!")] == []
    assert REFUSALS & set(answers)


def test_a_file_of_something_else(tmp_path: Path, reader: Any) -> None:
    for number, data in enumerate((b"", b"SQLite format 3\0" + b"\0" * 9_000, random.Random(SEED).randbytes(40_000))):
        folder = tmp_path / f"db{number}"
        folder.mkdir()
        (folder / "data.mdb").write_bytes(data)
        assert reader(folder) in REFUSALS
        assert reader(folder, verify=True) in REFUSALS


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("value", [[1, 2], 5, None], ids=["array", "number", "null"])
def test_a_value_that_is_no_document_is_damage_wherever_it_is_written_over(
    tmp_path: Path, native: bool, value: Any
) -> None:
    assert not native or native_or_skip()
    with docdb.open(tmp_path / "d", native=native) as db:
        db["a"].insert_one({"_id": 1, "n": 1})
        key = document_key(db._store.collection("a").number, order_key(1))
        txn = db._store.engine.begin(write=True)
        txn.put_many(DOCUMENTS, [(key, codec.encode_value(value))])
        txn.commit()
        for call in (
            lambda: db["a"].update_one({"_id": 1}, {"$set": {"n": 2}}),
            lambda: db["a"].update_one({"_id": 1}, {"$inc": {"n": 2}}),
            lambda: db["a"].update_many({}, {"$inc": {"n": 2}}),
            lambda: db["a"].replace_one({"_id": 1}, {"n": 3}),
            lambda: db["a"].find_one_and_update({"_id": 1}, {"$inc": {"n": 2}}),
            lambda: db["a"].find_one_and_delete({"_id": 1}),
        ):
            with pytest.raises(CorruptError):
                call()
