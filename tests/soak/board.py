"""The board: numbers that all processes of a soak share, and that outlive whoever is killed.

What lives here: ``Board``, a shared mapping of 64-bit numbers, made before the processes are forked; ``Worker``, one process's part of it.
"""

from __future__ import annotations

import mmap
import random
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SLOTS: Final = 64
NUMBER: Final = struct.Struct("=q")


class Board:
    """Numbers by slot: what each worker has done, what it was promised, and whether all shall stop (slot 0)."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, SLOTS * NUMBER.size)

    def get(self, slot: int) -> int:
        return int(NUMBER.unpack_from(self._map, slot * NUMBER.size)[0])

    def add(self, slot: int) -> None:
        """Count one more; each slot has one writer at a time."""
        NUMBER.pack_into(self._map, slot * NUMBER.size, self.get(slot) + 1)

    def stop(self) -> None:
        self.add(0)

    @property
    def stopped(self) -> bool:
        return self.get(0) > 0


@dataclass(frozen=True, slots=True)
class Worker:
    """One process of the soak: its number, the database, its chance, and where it complains."""

    number: int
    role: str
    path: str
    folder: Path
    board: Board
    seed: int

    @property
    def slot(self) -> int:
        """The slot that counts what the worker has done; the next one counts its acknowledged commits."""
        return 2 + 2 * self.number

    def chance(self) -> random.Random:
        return random.Random(f"{self.seed} {self.role} {self.number} {self.board.get(self.slot)}")

    def goes_on(self, pause_s: float = 0.002) -> bool:
        """Count one piece of work, rest a little, and tell whether there shall be another."""
        self.board.add(self.slot)
        time.sleep(pause_s)
        return not self.board.stopped

    def acknowledge(self) -> None:
        """Note that a commit was acknowledged."""
        self.board.add(self.slot + 1)

    def acknowledged(self) -> int:
        return self.board.get(self.slot + 1)

    def file(self, name: str) -> Path:
        return self.folder / f"{self.role}-{self.number}.{name}"
