"""Global options, help, and what becomes of errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import docdb
from docdb.cli import main
from tests.cli.conftest import Program, stored


def test_version(program: Program) -> None:
    assert program("--version").out == f"docdb {docdb.__version__}\n"


@pytest.mark.parametrize("verb", sorted(main.VERBS))
def test_help_of_each_verb_has_an_example(program: Program, verb: str) -> None:
    ran = program(verb, "--help")

    assert ran.code == 0
    assert f"docdb {verb}" in ran.out.partition("Usage:")[2].partition("\n")[2]


@pytest.mark.parametrize("verb", ["list", "create", "drop", "info"])
def test_help_of_each_index_verb_has_an_example(program: Program, verb: str) -> None:
    assert f"docdb index {verb} shop.docdb" in program("index", verb, "--help").out


def test_without_arguments_help_goes_to_stderr(program: Program) -> None:
    ran = program()

    assert (ran.code, ran.out) == (2, "")
    assert "The order is always" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fnd"], 2, "docdb: there is no verb 'fnd'; did you mean find? (docdb --help)\n"),
        (["count", "SHOP"], 2, "docdb: Missing argument 'COLLECTION' (docdb count --help)\n"),
        (["count", "nowhere", "users"], 1, "docdb: there is no database at nowhere\n"),
        (["find", "SHOP", "users", '{"age": {"$gtt": 3}}'], 1, "docdb: age.$gtt: unknown operator $gtt"),
        (["find", "SHOP", "users", '{"age":\n 3,}'], 2, "(line 2, column"),
        (["find", "SHOP", "users", "{'age': 3}"], 2, "JSON text stands in double quotes"),
        (["find", "SHOP", "users", "[]"], 2, "this is a document, not a list"),
        (["find", "SHOP", "users", "@missing.json"], 2, "missing.json: No such file or directory"),
        (["find", "SHOP", "users", "--sort", "a,,b"], 2, "a name between the commas is empty"),
        (["--read-only", "delete", "SHOP", "users", "{}", "--all"], 2, "delete writes: leave --read-only out"),
        (["--read-only", "restore", "SHOP", "other"], 2, "restore writes: leave --read-only out"),
        (["import", "SHOP", "missing.json"], 1, "docdb: missing.json: No such file or directory\n"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_errors_are_one_line(program: Program, shop: Path, arguments: list[str], code: int, message: str) -> None:
    ran = program(*[shop if argument == "SHOP" else argument for argument in arguments])

    assert ran.code == code
    assert message in ran.err
    assert ran.err.startswith("docdb: ")
    assert ran.err.splitlines()[-1].startswith("docdb: ")
    assert "Traceback" not in ran.err


def test_read_only_reads(program: Program, shop: Path) -> None:
    assert program("--read-only", "--durability", "relaxed", "count", shop, "users").out == "4\n"


def test_a_wrong_path_makes_no_folder(program: Program, tmp_path: Path) -> None:
    program("find", tmp_path / "new", "users")

    assert not (tmp_path / "new").exists()


def test_a_missing_extra_is_named(program: Program, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "docdb.cli.bson_files", raising=False)
    monkeypatch.setitem(sys.modules, "bson", None)

    ran = program("export", shop, "users", "--format", "bson")

    assert ran.code == 1
    assert ran.err == "docdb: this needs bson (pip install 'docdb-engine[mongo]')\n"


def _start(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "docdb", *map(str, arguments)]
    root = Path(docdb.__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    path = tmp_path / "many.docdb"
    with docdb.open(path) as db:
        db["c"].insert_many([{"n": n, "text": "x" * 200} for n in range(5_000)])
    process = _start("export", path, "c")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()

    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(30) == 141


def test_interrupted(tmp_path: Path) -> None:
    process = _start("import", tmp_path / "new.docdb", "-", "--collection", "c")
    assert process.stdin is not None
    process.stdin.write(b'{"_id": 1}\n7\n')
    process.stdin.flush()
    assert process.stderr is not None
    assert process.stderr.readline().startswith(b"docdb: stdin: line 2")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert (process.returncode, out, err) == (130, b"c: 1 imported\n", b"")
    assert stored(tmp_path / "new.docdb", "c") == [{"_id": 1}]


def test_interrupted_while_closing(program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise docdb.BusyError("not now")

    monkeypatch.setattr(docdb, "open", interrupted)

    ran = program("import", tmp_path / "new", "-", "-c", "c")
    assert (ran.code, ran.err) == (130, "")
