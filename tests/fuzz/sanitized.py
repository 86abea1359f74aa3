"""Run the kernels under the address and undefined-behaviour sanitizers: ``python -m tests.fuzz.sanitized --seed 1 --count 100000``.

What lives here: the build of the kernels with gcc's sanitizers (into ``build/sanitized``, never over the usual ones), the proof that they are awake (planted
faults), and the campaign in a process of its own. What it must not know: what the kernels are given (``tests/fuzz/kernels.py``).

A finding is printed with seed, door, round and input; ``--doors NAME --round N --count 1`` runs it again. Leaks are not looked for, since the interpreter
leaves memory behind when it ends.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.sanitized_child import FAULTS, NOTE

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "build" / "sanitized"
SUFFIX: Final = str(sysconfig.get_config_var("EXT_SUFFIX"))
RUNTIMES: Final = ("libasan.so", "libubsan.so")


def missing() -> str | None:
    """Return why there can be no campaign here, or None."""
    if sys.platform != "linux" or shutil.which("gcc") is None:
        return "the sanitizers need Linux and gcc"
    if importlib.util.find_spec("Cython") is None:
        return "the kernels are built with Cython"
    absent = [name for name in RUNTIMES if not runtime(name).is_file()]
    return f"gcc has no {absent[0]}" if absent else None


def runtime(name: str) -> Path:
    """Return the path of a library of gcc's."""
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout
    return Path(found.strip()).resolve()


def build(folder: Path, kernels: str = "all") -> Path:
    """Build the package with sanitized kernels (those named, with commas; the others as they are in this tree); return where it lies."""
    library = folder / "lib"
    made = subprocess.run(
        [sys.executable, "setup.py", "-q", "build", "--build-base", str(folder), "--build-lib", str(library)],
        cwd=ROOT, env={**os.environ, "DOCDB_SANITIZED": kernels, "DOCDB_PURE": ""}, capture_output=True, text=True,
    )  # fmt: skip
    if made.returncode:
        raise RuntimeError(f"the kernels were not built:\n{made.stderr}")
    native, usual = library / "docdb" / "_native", ROOT / "docdb" / "_native"
    for source in usual.glob("*.pyx"):
        kernel = native / f"{source.stem}{SUFFIX}"
        if kernels == "all" or source.stem in kernels.split(","):
            assert b"__asan_report_load" in kernel.read_bytes(), f"{kernel} has no sanitizer"
        else:
            shutil.copy2(usual / kernel.name, kernel)
    subprocess.run(
        ["gcc", "-O1", "-g", "-fPIC", "-shared", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
         "-I", sysconfig.get_path("include"), str(Path(__file__).with_name("planted.c")), "-o", str(library / f"planted{SUFFIX}")],
        check=True,
    )  # fmt: skip
    return library


class Campaign:
    """Runs of the child with one build and one seed."""

    def __init__(self, library: Path, seed: int, doors: Sequence[str], folder: Path) -> None:
        self._seed, self._doors = seed, doors
        self._note, self._report = folder / "note", folder / "report"
        self._note.write_bytes(bytes(NOTE.size))
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DOCDB", "COV"))},
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:strict_string_checks=1",
            "LD_PRELOAD": " ".join(str(runtime(name)) for name in RUNTIMES),
            "PYTHONHASHSEED": "0",
            "PYTHONMALLOC": "malloc",  # small objects would lie side by side in blocks the sanitizer does not know
            "TMPDIR": str(folder),
            "PYTHONPATH": f"{library}{os.pathsep}{ROOT}",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }

    def is_awake(self) -> bool:
        """Tell whether each planted fault ends the child with a report."""
        for fault in sorted(FAULTS):
            code, _ = self._run("--planted", fault, count=1)
            told = self._report.read_text(encoding="utf-8", errors="replace")
            if code == 0 or ("AddressSanitizer" not in told and "runtime error" not in told):
                print(f"the planted fault {fault!r} was not found:\n{told}")
                return False
        return True

    def run(self, count: int, first: int = 0) -> dict[str, tuple[int, float]] | None:
        """Run the campaign; return executions and seconds of each door, None when there was a finding, which is printed."""
        code, last = self._run("--round", str(first), count=count, shown=True)
        if code == 0:
            counts: dict[str, tuple[int, float]] = json.loads(last)
            return counts
        self._explain(code)
        return None

    def _run(self, *arguments: str, count: int, shown: bool = False, doors: str = "") -> tuple[int, str]:
        """Run the child to its end; return its code and its last line."""
        command = [
            sys.executable, "-P", "-m", "tests.fuzz.sanitized_child", "--seed", str(self._seed), "--count", str(count),
            "--doors", doors or ",".join(self._doors), "--note", str(self._note), *arguments,
        ]  # fmt: skip
        last = ""
        with (
            self._report.open("wb") as report,
            subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=report, text=True
            ) as child,
        ):
            assert child.stdout is not None
            for line in child.stdout:
                last = line.strip()
                if shown and not last.startswith("{"):
                    print(last, flush=True)
        return child.returncode, last

    def _explain(self, code: int) -> None:
        """Print what a child that died was doing, and look for the input."""
        number, round, _ = NOTE.unpack(self._note.read_bytes())
        name = self._doors[number]
        print(f"FOUND: {name}, seed {self._seed}, round {round}, exit code {code}")
        print(self._report.read_text(encoding="utf-8", errors="replace")[-8000:])
        again, _ = self._run("--round", str(round), "--singly", count=1, doors=name)
        place = NOTE.unpack(self._note.read_bytes())[2]
        inputs = batch(name, self._seed, round)
        if again:
            print(f"input {place} alone is enough: bytes.fromhex('{inputs[place].hex()}')")
            return
        print("no input is enough alone; the batch:")
        for data in inputs:
            print(data.hex())


def batch(name: str, seed: int, round: int) -> list[bytearray]:
    """Return the inputs of a round of a door."""
    from tests.fuzz.kernels import DOORS

    return DOORS[name]().source(Random(f"{seed} {name} {round}"))


def main() -> int:
    """Build, prove that the sanitizers are awake, run; 1 for a finding."""
    from tests.fuzz.kernels import DOORS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100_000, help="executions of all doors together")
    sound = [name for name in sorted(DOORS) if not name.startswith("planted.")]
    parser.add_argument("--doors", default=",".join(sound), help="names with commas, or the beginning of some")
    parser.add_argument("--round", type=int, default=0, help="the first round")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the kernels are built")
    options = parser.parse_args()
    reason = missing()
    if reason is not None:
        print(f"sanitized: skipped, {reason}")
        return 0
    doors = [name for name in sorted(DOORS) if name.startswith(tuple(options.doors.split(",")))]
    library = build(options.folder)
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="docdb-sanitized-", dir=memory) as folder:
        campaign = Campaign(library, options.seed, doors, Path(folder))
        if not campaign.is_awake():
            return 1
        print(f"seed {options.seed}; the planted faults were found, the sanitizers are awake", flush=True)
        began = time.monotonic()
        counts = campaign.run(options.count, options.round)
    if counts is None:
        return 1
    for name, (number, spent) in counts.items():
        print(f"{name}: {number} in {spent:.0f} s")
    print(f"{sum(number for number, _ in counts.values())} executions in {time.monotonic() - began:.0f} s, no finding")
    return 0


if __name__ == "__main__":
    sys.exit(main())
