"""What the tests of the command line share: a database in a folder, and a way to run the program in this process."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click", reason="the extra cli is not installed")
pytest.importorskip("rich", reason="the extra cli is not installed")

import docdb  # noqa: E402
from docdb.cli import run  # noqa: E402


@dataclass(frozen=True)
class Ran:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        """What was written one document a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Program = Callable[..., Ran]


@pytest.fixture
def program(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Program:
    """Run a command line and return its exit code, stdout and stderr."""

    def call(*arguments: object, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def first_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database that ``shop`` copies: making it once spares each test the waits for the disk."""
    path = tmp_path_factory.mktemp("first") / "shop.docdb"
    with docdb.open(path) as db:
        db["users"].insert_many(
            [
                {"_id": 1, "name": "Ann", "age": 25, "city": "Shanghai"},
                {"_id": 2, "name": "Bob", "age": 31, "city": "Rome", "address": {"street": "Via Appia", "number": 4}},
                {"_id": 3, "name": "Cid", "age": 31, "city": "Rome", "tags": ["a", "b"]},
                {"_id": 4, "name": "Dora", "age": 64, "city": "Lima"},
            ]
        )
        db["users"].create_index("city")
    return path


@pytest.fixture
def shop(first_shop: Path, tmp_path: Path) -> Path:
    """A database with four users and an index on their city."""
    return Path(shutil.copytree(first_shop, tmp_path / "shop.docdb"))


def stored(path: Path, collection: str) -> list[dict[str, Any]]:
    """Return the documents of a collection in the order of their ids."""
    with docdb.open(path, read_only=True) as db:
        return db[collection].find().sort("_id").to_list()
