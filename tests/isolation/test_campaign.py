"""The campaign in a short form: two processes, a few kills and interrupts. The long one is ``python -m tests.isolation``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.isolation import checker, driver, histories

ROOT = Path(__file__).resolve().parents[2]


def test_two_processes_kills_and_interrupts(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.isolation",
        "--transactions",
        "500",
        "--processes",
        "2",
        "--kills",
        "4",
        "--interrupts",
        "40",
    ]
    done = subprocess.run(
        [*command, "--keep", str(tmp_path / "kept")], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ transactions, .* 0 anomalies\n4 kills, 40 interrupts", done.stdout), done.stdout
    again = checker.check(histories.read_files((tmp_path / "kept").glob("*.history")))
    assert again.anomalies == []
    assert {f"{name} {again.counts[name]}" for name in ("committed", "unknown")} <= {
        f"{name} {count}" for count, name in re.findall(r"(\d+) (\w+)", done.stdout)
    }


def test_the_same_seed_gives_the_same_history() -> None:
    import docdb

    made = []
    for _ in range(2):
        with docdb.open(":memory:") as db:
            made.append(driver.interleave(db, 5, 80))
    assert made[0] == made[1]
    assert len({transaction.way for transaction in made[0]}) > 3
