"""Run a campaign: ``python -m tests.isolation --seed 1 --transactions 100000 --processes 4 --kills 200``.

Processes work on one database and are killed; then the checker judges what they saw. 1 when anything is wrong. ``--keep`` names a folder for
database and histories; ``--check`` judges the histories of such a folder again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.isolation.campaign import run
from tests.isolation.checker import check
from tests.isolation.histories import read_files


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.isolation", description="look for isolation anomalies")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transactions", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--interrupts", type=int, default=0, help="how often to send SIGINT to every second process")
    parser.add_argument("--durability", default="relaxed")
    parser.add_argument("--keep", help="a folder for database and histories")
    parser.add_argument("--check", type=Path, help="only judge the histories in this folder")
    chosen = parser.parse_args()
    if chosen.check is not None:
        verdict = check(read_files(sorted(chosen.check.glob("*.history"))))
        print(verdict)
        return verdict.anomalies != []
    print(f"seed {chosen.seed}", flush=True)
    result = run(
        chosen.seed, chosen.transactions, chosen.processes, chosen.kills, chosen.keep,
        interrupts=chosen.interrupts, durability=chosen.durability,
    )  # fmt: skip
    print(result)
    return result.verdict.anomalies != []


if __name__ == "__main__":
    sys.exit(main())
