"""Interrupt every call at every point: ``python -m tests.interruption --engine native``; 1 when anything is wrong."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
from pathlib import Path
from random import Random

from tests.interruption.cases import CASES, Strike
from tests.interruption.test_interruption import ENGINES, opened


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.interruption", description="interrupt calls at every point")
    parser.add_argument("--engine", choices=list(ENGINES), default="native")
    parser.add_argument(
        "--thrown", action="store_true", help="throw into another thread instead of sending signals to the main one"
    )
    parser.add_argument("--points", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", action="append", choices=list(CASES))
    chosen = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    wrong: list[str] = []
    left = list(chosen.case or CASES)

    def work() -> None:
        while left:
            wrong.extend(_all(left[0], chosen))
            del left[0]

    if chosen.thrown:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    else:
        work()
    return bool(wrong or left)  # what ends a thread early must not look like success


def _all(name: str, chosen: argparse.Namespace) -> list[str]:
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder), chosen.engine) as db:
        strike = Strike(db, name, signalled=not chosen.thrown)
        points = range(1, strike.points + 1)
        sample = sorted(Random(chosen.seed).sample(points, min(chosen.points, len(points))))
        for point in sample:
            try:
                strike.at(point)
            except AssertionError as error:
                wrong.append(f"{error}")
        print(f"{name}: {len(sample)} of {len(points)} points, {len(wrong)} wrong", *wrong[:5], sep="\n  ", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
