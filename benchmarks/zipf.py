"""Which record comes next: YCSB's request distributions, seeded.

What lives here: ``Zipfian`` (Gray et al., "Quickly Generating Billion-Record Synthetic Databases", SIGMOD 1994, with YCSB's constant 0.99) and the
scrambling that spreads its favourites over the whole range. What it must not know: what a record is.
"""

from __future__ import annotations

import random
from typing import Final

__all__ = ["Zipfian", "scrambled"]

THETA: Final = 0.99
_OFFSET: Final = 0xCBF29CE484222325  # FNV-1a, 64 bits
_PRIME: Final = 0x100000001B3


class Zipfian:
    """Numbers from 0 to ``count`` - 1, number n about n**0.99 times rarer than the first."""

    def __init__(self, count: int, chance: random.Random) -> None:
        self.count = count
        self._chance = chance
        zeta2 = 1 + 0.5**THETA
        self._zeta = sum(1 / (rank + 1) ** THETA for rank in range(count))
        self._alpha = 1 / (1 - THETA)
        self._eta = (1 - (2 / count) ** (1 - THETA)) / (1 - zeta2 / self._zeta)

    def __call__(self) -> int:
        """Return the next number."""
        drawn = self._chance.random()
        scaled = drawn * self._zeta
        if scaled < 1:
            return 0
        if scaled < 1 + 0.5**THETA:
            return 1
        return min(self.count - 1, int(self.count * (self._eta * drawn - self._eta + 1) ** self._alpha))


def scrambled(number: int, count: int) -> int:
    """Return where a number lies when the favourites are spread: its FNV-1a hash modulo ``count``."""
    value = _OFFSET
    for _ in range(8):
        value = ((value ^ (number & 0xFF)) * _PRIME) & 0xFFFFFFFFFFFFFFFF
        number >>= 8
    return value % count
