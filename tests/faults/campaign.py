"""Every write and every flush of a script of 200 operations fails once, or for ever: ``python -m tests.faults.campaign``.

What lives here: the script, the model of what it does, and the judge. One process is warmed with the shim loaded and forks a child for each
call that shall fail; the parent then opens what the child left. Allowed is the state after all acknowledged operations with any of the
failed ones done or not done; the file is verified page by page, the checker is clean, the error was a StorageError (FullError
for ENOSPC), and no child hangs or dies.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import docdb
from docdb.engine.lmdb import verify_file

ROOT: Final = Path(__file__).resolve().parents[2]
ENGINES: Final = ("lmdb", "native")
ERRORS: Final = ("EIO", "ENOSPC")
MODES: Final = ("once", "ever")
HANG_S: Final = 20
AFTER: Final = 2  # operations tried after the one that failed
HISTORY_BYTES: Final = 30_000  # small, so that trimming the change log is part of the script
OPERATIONS: Final = 200

State = tuple[dict[int, dict[str, Any]], frozenset[str]]


def new_document(n: int) -> dict[str, Any]:
    """Return the n-th document; some are larger than a page."""
    return {"_id": n, "n": n, "tag": n % 7, "list": [n % 3, n % 5], "text": "x" * (n * 97 % 6000)}


def operation(number: int) -> tuple[str, int]:
    """Return what the script does at a place: kind and number."""
    special = {40: "index tag_1", 70: "index list_1", 100: "index n_1", 160: "unindex tag_1"}
    kinds = (
        "insert", "insert three", "inc one", "insert", "inc many", "delete", "insert", "set one", "insert", "replace",
    )  # fmt: skip
    return special.get(number, kinds[number % len(kinds)]), number


def perform(db: docdb.Database, what: str, n: int) -> None:
    """Do one operation on the database."""
    items = db["items"]
    verb, _, name = what.partition(" ")
    if what == "insert":
        items.insert_one(new_document(n * 10))
    elif what == "insert three":
        items.insert_many([new_document(n * 10 + i) for i in range(3)])
    elif what == "inc one":
        items.update_one({"_id": (n - 1) * 10}, {"$inc": {"count": 1}})
    elif what == "set one":
        items.update_one({"_id": (n - 1) * 10}, {"$set": {"count": n}})
    elif what == "inc many":
        items.update_many({"tag": n % 7}, {"$inc": {"count": 1}})
    elif what == "delete":
        items.delete_one({"_id": (n - 2) * 10})
    elif what == "replace":
        items.replace_one({"_id": (n - 1) * 10}, {"n": -n, "tag": 1})
    elif verb == "index":
        items.create_index(name.removesuffix("_1"), unique=name == "n_1")
    else:
        items.drop_index(name)


def after(state: State, what: str, n: int) -> State:
    """Return the model's state after one operation."""
    documents, indexes = dict(state[0]), state[1]
    verb, _, name = what.partition(" ")
    inc = lambda d: d | {"count": d.get("count", 0) + 1}  # noqa: E731
    if verb == "insert":
        documents |= {n * 10 + i: new_document(n * 10 + i) for i in range(3 if what == "insert three" else 1)}
    elif what == "inc many":
        documents = {key: inc(d) if d["tag"] == n % 7 else d for key, d in documents.items()}
    elif what == "delete":
        documents.pop((n - 2) * 10, None)
    elif verb == "index":
        indexes |= {name}
    elif verb == "unindex":
        indexes -= {name}
    elif (n - 1) * 10 in documents:
        key = (n - 1) * 10
        made = {"inc one": inc(documents[key]), "set one": documents[key] | {"count": n}}
        documents[key] = made.get(what, {"_id": key, "n": -n, "tag": 1})
    return documents, indexes


def allowed(outcomes: list[str]) -> Iterator[State]:
    """Yield the states that may be found: each failed operation done or not."""
    failed = [n for n, outcome in enumerate(outcomes) if outcome != "ok"]
    for done in itertools.product((False, True), repeat=len(failed)):
        undone = {n for n, is_done in zip(failed, done, strict=True) if not is_done}
        state: State = ({}, frozenset())
        for n in range(len(outcomes)):
            if n not in undone:
                state = after(state, *operation(n))
        yield state


class Shim:
    """The loaded shim of this process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.docdb_fault_calls.restype = ctypes.c_long
        self._library.docdb_fault_failed.restype = ctypes.c_long

    def arm(self, at: int, error: int = 0, ever: bool = False) -> None:
        self._library.docdb_fault_arm(ctypes.c_long(at), error, int(ever))

    def calls(self) -> int:
        return int(self._library.docdb_fault_calls())

    def failed(self) -> int:
        return int(self._library.docdb_fault_failed())


def opened(folder: Path, engine: str) -> docdb.Database:
    """Open the database of a run."""
    return docdb.open(folder, native=engine == "native", history_bytes=HISTORY_BYTES)


def play(folder: Path, engine: str, shim: Shim, at: int, error: int, ever: bool) -> dict[str, Any]:
    """Run the script in a child with one call failing; return what it saw."""
    db = opened(folder, engine)
    shim.arm(at, error, ever)
    outcomes: list[str] = []
    for number in range(OPERATIONS):
        try:
            perform(db, *operation(number))
            outcomes.append("ok")
        except docdb.DocdbError as raised:
            outcomes.append(type(raised).__name__)
        if sum(outcome != "ok" for outcome in outcomes) > AFTER:
            break
    calls, failed = shim.calls(), shim.failed()
    shim.arm(0)
    return {"outcomes": outcomes, "calls": calls, "failed": failed}


def fork_and_play(folder: Path, engine: str, shim: Shim, at: int, error: int, ever: bool) -> dict[str, Any]:
    """Run ``play`` in a child; a hang is ended by an alarm and reported, like any other death."""
    report = folder.with_suffix(".json")
    child = os.fork()
    if child == 0:
        signal.alarm(HANG_S)
        status = 1
        try:
            report.write_text(json.dumps(play(folder, engine, shim, at, error, ever)))
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        return {"died": "hang" if code == -signal.SIGALRM else code}
    return json.loads(report.read_text())  # type: ignore[no-any-return]


def judge(folder: Path, engine: str, seen: dict[str, Any], error: str) -> list[str]:
    """Return what is wrong with a run and what it left."""
    if "died" in seen:
        return [f"the process died: {seen['died']}"]
    problems = []
    errors = {outcome for outcome in seen["outcomes"] if outcome != "ok"}
    right = {"FullError"} if error == "ENOSPC" else {"StorageError"}
    if errors - right:
        problems.append(f"raised {sorted(errors)}")
    if not seen["failed"]:
        problems.append("no call failed")
    try:
        verify_file(folder / "data.mdb")
        with opened(folder, engine) as db:
            found = {document["_id"]: document for document in db["items"].find()}
            state = found, frozenset(db["items"].index_information()) - {"_id_"}
            problems += db.check().problems
    except docdb.DocdbError as raised:
        return [*problems, f"cannot be opened: {raised!r}"]
    if all(state != candidate for candidate in allowed(seen["outcomes"])):
        problems.append("neither the old nor the new state")
    return problems


def run(engine: str, error: str, mode: str, step: int, first: int) -> dict[str, Any]:
    """Fail every ``step``-th call of one variant; return counts and failures. Runs with the shim loaded."""
    shim = Shim()
    began = time.monotonic()
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="docdb-faulty-", dir=where) as name:
        base = Path(name)
        opened(base / "model", engine).close()
        shutil.copytree(base / "model", base / "clean")
        total = fork_and_play(base / "clean", engine, shim, 0, 0, False)
        assert set(total["outcomes"]) == {"ok"}, total
        failures: list[str] = []
        raised = runs = 0
        for at in range(first, total["calls"] + 1, step):
            folder = base / f"run{at}"
            shutil.copytree(base / "model", folder)
            seen = fork_and_play(folder, engine, shim, at, getattr(errno, error), mode == "ever")
            runs += 1
            raised += any(outcome != "ok" for outcome in seen.get("outcomes", ()))
            failures += [f"{engine} {error} {mode} call {at}: {text}" for text in judge(folder, engine, seen, error)]
            shutil.rmtree(folder)
            folder.with_suffix(".json").unlink(missing_ok=True)
    spent = round(time.monotonic() - began, 1)
    return {"calls": total["calls"], "runs": runs, "raised": raised, "failures": failures, "seconds": spent}


def spawn(engine: str, error: str, mode: str, step: int, first: int = 1) -> dict[str, Any]:
    """Run one variant in a process that has the shim loaded."""
    from tests.faults.driver import shim

    settings = {"LD_PRELOAD": str(shim()), "DOCDB_FAULT_PATH": "docdb-faulty-"}
    arguments = [
        "--engines",
        engine,
        "--errors",
        error,
        "--modes",
        mode,
        "--step",
        str(step),
        "--first",
        str(first),
        "--inner",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.campaign", *arguments], cwd=ROOT, env=os.environ | settings, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def main() -> int:
    """Run the campaign, or one variant of it inside a process with the shim."""
    parser = argparse.ArgumentParser(description="fail every write and flush of a script")
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--errors", default=",".join(ERRORS))
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    variants = itertools.product(options.engines.split(","), options.errors.split(","), options.modes.split(","))
    if options.inner:
        ((engine, error, mode),) = variants
        print(json.dumps(run(engine, error, mode, options.step, options.first)))
        return 0
    bad = 0
    for variant in variants:
        report = spawn(*variant, options.step, options.first)
        failures = report.pop("failures")
        print(*variant, report, f"failures {len(failures)}", flush=True)
        print(*failures, sep="\n", flush=True)
        bad += len(failures)
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
