"""The sanitized campaign from inside: runs in an interpreter whose kernels end the process at the first fault.

What lives here: the loop over rounds and doors, and the note (``Note``) that tells the parent what was under way. What it must not know: how the kernels were
built. Started by ``tests/fuzz/sanitized.py``; a round of a door is the same whatever other rounds and doors there are.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import mmap
import struct
import time
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final

__all__ = ["NOTE", "main"]

NOTE: Final = struct.Struct("<qqq")  # number of the door, round, input (-1: the whole batch)
HUNG_S: Final = 300  # of a round: it ends the process, with a traceback
PROGRESS: Final = 100_000
REPEATS: Final = 40  # of a single input, with different choices of the door


class Note:
    """What is under way, in a file that outlives the process."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), NOTE.size)

    def put(self, door: int, round: int, input: int = -1) -> None:
        NOTE.pack_into(self._memory, 0, door, round, input)


def main() -> None:
    """Run rounds until there were enough executions, and print how many each door had."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--doors", required=True)
    parser.add_argument("--round", type=int, default=0)
    parser.add_argument("--singly", action="store_true")
    parser.add_argument("--note", type=Path, required=True)
    parser.add_argument("--planted", default="")
    options = parser.parse_args()
    planted: Any = importlib.import_module("planted")
    if options.planted:
        fault, given = FAULTS[options.planted]
        print(getattr(planted, fault)(planted.exact(given) if isinstance(given, bytes) else given))
        return
    from tests.fuzz.kernels import DOORS

    names, note = options.doors.split(","), Note(options.note)
    ways = [DOORS[name]() for name in names]
    if options.singly:
        for number, (name, way) in enumerate(zip(names, ways, strict=True)):
            chance = Random(f"{options.seed} {name} {options.round}")
            for place, data in enumerate(way.source(chance)):
                note.put(number, options.round, place)
                for repeat in range(REPEATS):
                    way.door(Random(repeat), [planted.exact(data)])
        return
    done, began, told = 0, time.monotonic(), PROGRESS
    counts, spent = dict.fromkeys(names, 0), dict.fromkeys(names, 0.0)
    for round in count(options.round):
        for number, (name, way) in enumerate(zip(names, ways, strict=True)):
            note.put(number, round)
            faulthandler.dump_traceback_later(HUNG_S, exit=True)
            start = time.monotonic()
            chance = Random(f"{options.seed} {name} {round}")
            given = [planted.exact(data) for data in way.source(chance)]
            way.door(chance, given)
            spent[name] += time.monotonic() - start
            counts[name] += len(given)
            done += len(given)
            if done >= options.count:
                print(json.dumps({name: (counts[name], spent[name]) for name in names}), flush=True)
                return
        if done >= told:
            told += PROGRESS
            print(f"{done} executions, {done / (time.monotonic() - began):.0f} a second", flush=True)


# A function of planted.c and what it is given.
FAULTS: Final[dict[str, tuple[str, Any]]] = {
    "overflow": ("overflow", 2**31 - 1),
    "overrun": ("overrun", b"12345678901234567890"),
}

if __name__ == "__main__":
    main()
