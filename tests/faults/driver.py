"""Runs a Python script in a child process in which the k-th write or flush fails (shim.c).

What lives here: building the shim once, `run`, and `sweep` over every k. It must not know what the script does: the script prints what it
did, and the test judges it and what is on the disk afterwards.
"""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60

# Put before a script that needs the engine alone: the front door, which imports every room, is then not walked through in each child.
ENGINE_ONLY = f"""
import sys, types
sys.modules["docdb"] = types.ModuleType("docdb")
sys.modules["docdb"].__path__ = [{str(ROOT / "docdb")!r}]
"""


@dataclass(frozen=True)
class Outcome:
    """What a run printed, how often the shim was asked and how often it refused."""

    output: str
    errors: str
    status: int
    calls: int
    failed: int


def shim() -> Path:
    """Return the built shim; skips the test where there is no C compiler."""
    return built("shim.c")


@cache
def built(name: str) -> Path:
    """Return one of the libraries to be preloaded, built; skips the test where there is no C compiler.

    It goes with the process that built it; child processes are told by the environment and build nothing.
    """
    variable = f"DOCDB_TEST_{name.upper().replace('.', '_')}"
    if variable in os.environ:
        return Path(os.environ[variable])
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the fault shim needs Linux and a C compiler")
    folder = Path(tempfile.mkdtemp(prefix="docdb-faults-"))
    atexit.register(_remove, folder, os.getpid())
    library = folder / f"{name}.so"
    source = Path(__file__).with_name(name)
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"], check=True)
    os.environ[variable] = str(library)
    return library


def _remove(folder: Path, owner: int) -> None:
    """Remove a built library, unless this is a fork of the process that built it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def run(
    script: str,
    *arguments: object,
    path: str,
    at: int = 0,
    mode: str = "once",
    error: int = errno.EIO,
    sync_delay_us: int = 0,
    arm: Path | None = None,
) -> Outcome:
    """Run the script with call number ``at`` failing on files whose path contains ``path``; a hang fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts"
        settings = {
            "LD_PRELOAD": str(shim()),
            "DOCDB_FAULT_PATH": path,
            "DOCDB_FAULT_AT": str(at),
            "DOCDB_FAULT_MODE": mode,
            "DOCDB_FAULT_ERRNO": str(error),
            "DOCDB_FAULT_COUNTS": str(counts),
            "DOCDB_SYNC_DELAY_US": str(sync_delay_us),
        }
        if arm is not None:
            settings["DOCDB_FAULT_ARM"] = str(arm)
        command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        calls, failed = map(int, counts.read_text().split())
    return Outcome(done.stdout, done.stderr, done.returncode, calls, failed)


def sweep(calls: int, most: int = 24) -> Iterator[int]:
    """Yield the numbers of the calls to fail: all of them, or about ``most`` spread evenly."""
    step = max(1, -(-calls // most))
    yield from range(1, calls + 1, step)
