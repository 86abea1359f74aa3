"""The front door: its names, and the program on the README's first screen."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

import docdb

README = Path(__file__).resolve().parent.parent / "README.md"
NAMES = [
    "Binary", "BulkWriteError", "BusyError", "Collection", "CollectionError", "ConflictError", "CorruptError", "Database",
    "DeleteMany", "DeleteOne", "DeniedError", "DocdbError", "DocumentError", "DuplicateKeyError", "FormatError", "FullError",
    "HistoryLost", "IndexDefinitionError", "InsertOne", "Int64", "InvalidOperation", "MaxKey", "MinKey", "NotSupportedError",
    "ObjectId", "QueryError", "Regex", "ReplaceOne", "RetryError", "RolledBack", "RuleError", "SnapshotExpired", "SnapshotView",
    "StorageError", "TimeoutExpired", "Timestamp", "Transaction", "TransactionConflict", "TransactionExpired", "UpdateError",
    "UpdateMany", "UpdateOne", "UsageError", "UserDatabase", "ValidationError", "aio", "command", "ejson", "geo", "open", "restore", "server_date",
]  # fmt: skip


def test_public_names_are_pinned() -> None:
    assert docdb.__all__ == NAMES
    assert sorted(docdb.__all__) == docdb.__all__


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(docdb, name) is not None


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        docdb.nothing  # noqa: B018


def test_all_names_are_listed_and_come_with_a_star_import() -> None:
    names: dict[str, object] = {}
    exec("from docdb import *", names)
    assert set(NAMES) <= set(names)
    assert set(NAMES) <= set(dir(docdb))


def test_importing_brings_in_nothing_heavy() -> None:
    program = (
        "import sys, docdb; print([m for m in ('asyncio', 'docdb.database', 'lmdb', 'msgpack') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_program_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert program is not None
    monkeypatch.chdir(tmp_path)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(program[1], "README.md", "exec"), {})
    shown = output.getvalue().splitlines()
    assert "'visits': 1" in shown[0]
    assert shown[1] == "{'name': 'Bo', 'age': 25, 'city': 'Oslo'}"
    assert shown[2] == "[{'_id': 'Oslo', 'n': 2}]"
    assert "create_index" in shown[3]
