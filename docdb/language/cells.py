"""Cells: squares of the sphere and of the plane, numbered so that what lies together is numbered together.

What lives here: ``Cell``, its number, the leaf cell of a place, ``cover`` (a region as few cells). What it must not know: shapes (a region tells
what it has in common with a cell, see ``geo_covers``), documents, keys.

The sphere is projected onto the six faces of a cube, each face is a square that is parted in four again and again, down to 30 levels (a centimetre). Along a
Hilbert curve the cells of a face are numbered in 60 bits. The number of a cell is: face (3 bits), two bits a level, one bit 1, zeros. So a
cell's descendants are the numbers from ``first`` to ``last`` and its ancestors are found by arithmetic. The squares are bent a little (by a parabola) so that
those of one level have nearly the same size. The plane is one face.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from docdb.language.sphere import Vector, normalized

__all__ = [
    "Cell", "FACES", "FINEST", "INSIDE", "Ids", "PLANE", "REACHES", "ancestors", "cell_key", "cell_around", "cover", "first_id", "ids_of",
    "joined", "last_id", "leaf_at", "leaf_of_place", "leaf_of_plane", "without",
]  # fmt: skip

FINEST: Final = 30
_SIDE: Final = 1 << FINEST
_STEP: Final = 4  # levels a lookup
# The Hilbert curve: in each of four orientations, the quarter (i, j) that comes at a position, and how the orientation turns there.
_QUARTER: Final = ((0, 1, 3, 2), (0, 2, 3, 1), (3, 2, 0, 1), (3, 1, 0, 2))
_TURN: Final = (1, 0, 0, 3)
# No cell of a level reaches further from its centre, in radians: the middle of a face to its corner, then at most 1.2194 halved with each level.
REACHES: Final = tuple(min(0.956, 1.22 * 0.5**level) for level in range(FINEST + 1))
_TAG: Final = b"\xc0"

Ids = tuple[int, int]  # the first and the last of some numbers, both belong to it


class Cell(NamedTuple):
    """A square: its face, level, place on the grid of its level, how the curve runs through it, and its place on the curve."""

    face: int
    level: int
    i: int
    j: int
    turn: int
    place: int

    @property
    def id(self) -> int:
        """The number."""
        shift = 2 * (FINEST - self.level)
        return (self.face << 61) | (((self.place << 1) | 1) << shift)

    @property
    def name(self) -> str:
        """The face, and for each level the quarter along the curve."""
        quarters = "".join(str(self.place >> 2 * step & 3) for step in range(self.level - 1, -1, -1))
        return f"{self.face}/{quarters}"

    @property
    def centre(self) -> Vector:
        """The middle of a cell of the sphere."""
        size = 2 << self.level
        return _direction(self.face, (2 * self.i + 1) / size, (2 * self.j + 1) / size)

    @property
    def reach(self) -> float:
        """No place of a cell of the sphere is further from its centre, in radians."""
        return REACHES[self.level]

    def children(self) -> list[Cell]:
        """Return the four cells it is parted in, along the curve."""
        face, level, i, j, turn, place = self
        return [
            Cell(face, level + 1, 2 * i + (ij >> 1), 2 * j + (ij & 1), turn ^ _TURN[at], 4 * place + at)
            for at, ij in enumerate(_QUARTER[turn])
        ]


FACES: Final = tuple(Cell(face, 0, 0, 0, face & 1, 0) for face in range(6))
PLANE: Final = Cell(0, 0, 0, 0, 0, 0)


# ---- numbers


def first_id(cell_id: int) -> int:
    """Return the least number among the cell and its descendants."""
    return cell_id - (cell_id & -cell_id) + 1


def last_id(cell_id: int) -> int:
    """Return the largest number among the cell and its descendants."""
    return cell_id + (cell_id & -cell_id) - 1


def ancestors(cell_id: int) -> list[int]:
    """Return the numbers of all cells the cell lies in, the next larger one first."""
    found = []
    bit = (cell_id & -cell_id) << 2
    while bit <= 1 << 60:
        cell_id = (cell_id & -bit) | bit
        found.append(cell_id)
        bit <<= 2
    return found


def ids_of(cell_id: int) -> Ids:
    """Return the numbers of the cell and its descendants."""
    return first_id(cell_id), last_id(cell_id)


def joined(parts: Iterable[Ids]) -> list[Ids]:
    """Return the numbers of all parts as few parts in order. Between two leaves lies one number, of a larger cell: it is taken along."""
    found: list[Ids] = []
    for low, high in sorted(parts):
        if found and low <= found[-1][1] + 2:
            if high > found[-1][1]:
                found[-1] = (found[-1][0], high)
        else:
            found.append((low, high))
    return found


def without(parts: Sequence[Ids], known: Sequence[Ids]) -> list[Ids]:
    """Return the numbers of ``parts`` that are not in ``known``; both in order and apart."""
    found: list[Ids] = []
    at = 0
    for low, high in parts:
        while at < len(known) and known[at][1] < low:
            at += 1
        place = at
        while place < len(known) and known[place][0] <= high:
            if known[place][0] > low:
                found.append((low, known[place][0] - 1))
            low = known[place][1] + 1
            place += 1
        if low <= high:
            found.append((low, high))
    return found


def cell_key(number: int) -> bytes:
    """Return the component of a cell in an index entry: C0 and the number in 8 bytes."""
    return _TAG + number.to_bytes(8, "big")


# ---- leaves


def leaf_of_place(longitude: float, latitude: float) -> int:
    """Return the number of the leaf cell of a place in degrees."""
    phi, theta = math.radians(latitude), math.radians(longitude)
    flat = math.cos(phi)
    return leaf_at((math.cos(theta) * flat, math.sin(theta) * flat, math.sin(phi)))


def leaf_at(point: Vector) -> int:
    """Return the number of the leaf cell of a unit vector."""
    x, y, z = point
    ax, ay, az = abs(x), abs(y), abs(z)
    if ax >= ay and ax >= az:
        face, u, v = (0, y / x, z / x) if x > 0 else (3, z / x, y / x)
    elif ay >= az:
        face, u, v = (1, -x / y, z / y) if y > 0 else (4, z / y, -x / y)
    else:
        face, u, v = (2, -x / z, -y / z) if z > 0 else (5, -y / z, -x / z)
    return _leaf(face, face & 1, _grid(_bent(u)), _grid(_bent(v)))


def leaf_of_plane(x: float, y: float, low: float, high: float) -> int:
    """Return the number of the leaf cell of a point in the square from ``low`` to ``high``, both ends included."""
    span = high - low
    return _leaf(0, 0, _grid((x - low) / span), _grid((y - low) / span))


def _grid(part: float) -> int:
    return min(_SIDE - 1, max(0, int(part * _SIDE)))


def _bent(u: float) -> float:
    """Return the place from 0 to 1 on an edge of a face, of a coordinate from -1 to 1."""
    return 0.5 * math.sqrt(1.0 + 3.0 * u) if u >= 0 else 1.0 - 0.5 * math.sqrt(1.0 - 3.0 * u)


def _straight(s: float) -> float:
    return (4.0 * s * s - 1.0) / 3.0 if s >= 0.5 else (1.0 - 4.0 * (1.0 - s) * (1.0 - s)) / 3.0


def _direction(face: int, s: float, t: float) -> Vector:
    """Return the unit vector of a place on a face."""
    u, v = _straight(s), _straight(t)
    if face == 0:
        return normalized((1.0, u, v))
    if face == 1:
        return normalized((-u, 1.0, v))
    if face == 2:
        return normalized((-u, -v, 1.0))
    if face == 3:
        return normalized((-1.0, -v, -u))
    if face == 4:
        return normalized((v, -1.0, -u))
    return normalized((v, u, -1.0))


def _steps() -> list[tuple[int, int]]:
    """Return for each orientation and four bits of i and of j the eight bits along the curve and the orientation behind them."""
    found = []
    for turn in range(4):
        for ij in range(256):
            way, place = turn, 0
            for bit in range(_STEP - 1, -1, -1):
                quarter = (ij >> (_STEP + bit) & 1) << 1 | (ij >> bit & 1)
                at = _QUARTER[way].index(quarter)
                place = place << 2 | at
                way ^= _TURN[at]
            found.append((place, way))
    return found


_STEPS: Final = _steps()


def _leaf(face: int, turn: int, i: int, j: int) -> int:
    # 30 levels are two and seven times four: the first two one by one.
    place = 0
    for bit in (29, 28):
        at = _QUARTER[turn].index((i >> bit & 1) << 1 | (j >> bit & 1))
        place = place << 2 | at
        turn ^= _TURN[at]
    for bit in range(24, -1, -_STEP):
        more, turn = _STEPS[turn << 8 | (i >> bit & 15) << 4 | (j >> bit & 15)]
        place = place << 8 | more
    return face << 61 | place << 1 | 1


def cell_around(leaf: int, level: int) -> int:
    """Return the number of the cell of a level that a leaf lies in."""
    bit = 1 << 2 * (FINEST - level)
    return (leaf & -bit) | bit


# ---- covers

Narrow = Callable[[Any, Cell], Any]
INSIDE: Final = "inside"  # what ``narrow`` answers for a cell that lies in the region as a whole


def cover(
    roots: Iterable[Cell], state: Any, narrow: Narrow, most: int, finest: int = FINEST
) -> list[tuple[Cell, bool]]:
    """Return cells that hold the region, about ``most``, and of each whether the whole cell is inside.

    ``narrow(state, cell)`` tells what of the region may lie in a cell, given what may lie in the cell around it: None for nothing,
    ``INSIDE`` for all of the cell, else a state for the cells in it. Coarse cells are parted first. Cost: about six times ``most`` calls.
    """
    found: list[tuple[Cell, bool]] = []
    waiting: deque[tuple[Cell, Any]] = deque()

    def sort_in(cells: list[tuple[Cell, Any]]) -> None:
        for cell, part in cells:
            if part is INSIDE or cell.level >= finest:
                found.append((cell, part is INSIDE))
            else:
                waiting.append((cell, part))

    sort_in(_narrowed(roots, state, narrow))
    while waiting:
        cell, part = waiting.popleft()
        below = _narrowed(cell.children(), part, narrow)
        if len(below) > 1 and len(found) + len(waiting) + len(below) > most:
            found.append((cell, False))
        else:
            sort_in(below)
    return found


def _narrowed(cells: Iterable[Cell], state: Any, narrow: Narrow) -> list[tuple[Cell, Any]]:
    return [(cell, part) for cell in cells if (part := narrow(state, cell)) is not None]
