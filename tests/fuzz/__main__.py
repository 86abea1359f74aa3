"""Throw generated input at every door: ``python -m tests.fuzz --seed 1 --count 2000 [--targets filter,update]``.

Each run gives a result or a docdb error, never another exception, and never takes longer than a second; a kernel gives what the reference
gives. What fails is printed with the seed that makes it again.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from random import Random

from tests.fuzz.targets import TARGETS, run_one


def main() -> int:
    """Run all targets; 1 when something failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=2_000, help="executions of each target")
    parser.add_argument("--targets", default=",".join(sorted(TARGETS)))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    failures = 0
    for name in options.targets.split(","):
        began, seen = time.monotonic(), set[str]()
        for number in range(options.count):
            seed = options.seed * 1_000_003 + number
            try:
                run_one(name, Random(seed))
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                label = f"{type(error).__name__} at {where.filename}:{where.lineno}: {error}"
                failures += 1
                if label.partition(": ")[0] not in seen:
                    seen.add(label.partition(": ")[0])
                    print(f"{name} seed {seed}: {label[:600]}", flush=True)
        print(
            f"{name}: {options.count} executions in {time.monotonic() - began:.1f} s, {len(seen)} kinds of failure",
            flush=True,
        )
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
