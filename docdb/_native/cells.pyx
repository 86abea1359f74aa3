# cython: language_level=3
"""Covers of rings on the sphere: the fast twin of ``cover`` in ``language/cells.py`` for the region between two radii.

What lives here: ``cover_ring``. What it must not know: shapes, filters, keys. Every step is the reference's, in the same order, so that both give
the same cells.
"""

from libc.math cimport sqrt
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

cdef enum:
    FINEST = 30
    LEVELS = 31
    ROOM = 16  # more than one cell's children, or the faces

cdef struct Square:
    int face
    int level
    int turn
    int64_t i
    int64_t j
    int64_t place

cdef struct Ring:
    double x
    double y
    double z
    double outer[LEVELS]
    double inner[LEVELS]
    double hole[LEVELS]

# For each orientation: the quarters along the curve, and how the orientation turns in each (as in language/cells.py).
cdef int QUARTER[16]
QUARTER[:] = [0, 1, 3, 2, 0, 2, 3, 1, 3, 2, 0, 1, 3, 1, 0, 2]
cdef int TURN[4]
TURN[:] = [1, 0, 0, 3]


cdef inline double straight(double s) noexcept nogil:
    return (4.0 * s * s - 1.0) / 3.0 if s >= 0.5 else (1.0 - 4.0 * (1.0 - s) * (1.0 - s)) / 3.0


cdef double away(const Square* square, const Ring* ring) noexcept nogil:
    """Return the square of the straight distance from the ring's centre to the cell's."""
    cdef double size = <double>(<int64_t>2 << square.level)
    cdef double u = straight(<double>(2 * square.i + 1) / size)
    cdef double v = straight(<double>(2 * square.j + 1) / size)
    cdef double x, y, z, length
    if square.face == 0:
        x, y, z = 1.0, u, v
    elif square.face == 1:
        x, y, z = -u, 1.0, v
    elif square.face == 2:
        x, y, z = -u, -v, 1.0
    elif square.face == 3:
        x, y, z = -1.0, -v, -u
    elif square.face == 4:
        x, y, z = v, -1.0, -u
    else:
        x, y, z = v, u, -1.0
    length = sqrt(x * x + y * y + z * z)
    x, y, z = x / length - ring.x, y / length - ring.y, z / length - ring.z
    return x * x + y * y + z * z


cdef int narrowed(const Square* square, const Ring* ring) noexcept nogil:
    """Return 0 when a cell has nothing of the ring, 2 when it lies inside, else 1."""
    cdef double distance = away(square, ring)
    if distance > ring.outer[square.level] or distance < ring.hole[square.level]:
        return 0
    return 2 if distance <= ring.inner[square.level] else 1


cdef tuple shown(const Square* square, bint inside):
    return square.face, square.level, square.i, square.j, square.turn, square.place, inside


def cover_ring(double x, double y, double z, list outer, list inner, list hole, int most, int finest):
    """Return (face, level, i, j, turn, place, inside) of the cells that hold a ring around a unit vector, about ``most``.

    The three lists hold for each level the squared distances of a cell's centre: beyond ``outer`` and below ``hole`` the cell has nothing of the
    ring, up to ``inner`` it lies inside.
    """
    cdef Ring ring
    cdef Square cell
    cdef Square below[ROOM]
    cdef int kinds[ROOM]
    cdef Square* waiting
    cdef int level, at, ij, kind, count, left, first, room
    cdef list found = []
    if not (len(outer) == len(inner) == len(hole) == LEVELS) or not 0 < most <= 100_000 or not 0 <= finest <= FINEST:
        raise ValueError("a ring has a distance for each level")
    ring.x, ring.y, ring.z = x, y, z
    for level in range(LEVELS):
        ring.outer[level], ring.inner[level], ring.hole[level] = outer[level], inner[level], hole[level]
    room = most + ROOM
    waiting = <Square*>malloc(room * sizeof(Square))
    if waiting == NULL:
        raise MemoryError
    first = left = 0  # ``waiting`` is a ring buffer
    try:
        count = 0
        for at in range(6):
            cell.face, cell.level, cell.i, cell.j, cell.turn, cell.place = at, 0, 0, 0, at & 1, 0
            kind = narrowed(&cell, &ring)
            if kind:
                below[count], kinds[count] = cell, kind
                count += 1
        while True:
            for at in range(count):
                if kinds[at] == 2 or below[at].level >= finest:
                    found.append(shown(&below[at], kinds[at] == 2))
                else:
                    if left >= room:
                        raise AssertionError("more cells wait than there is room for")
                    waiting[(first + left) % room] = below[at]
                    left += 1
            if not left:
                return found
            cell = waiting[first]
            first = (first + 1) % room
            left -= 1
            count = 0
            for at in range(4):
                ij = QUARTER[4 * cell.turn + at]
                below[count].face, below[count].level = cell.face, cell.level + 1
                below[count].i, below[count].j = 2 * cell.i + (ij >> 1), 2 * cell.j + (ij & 1)
                below[count].turn, below[count].place = cell.turn ^ TURN[at], 4 * cell.place + at
                kinds[count] = narrowed(&below[count], &ring)
                if kinds[count]:
                    count += 1
            if count > 1 and len(found) + left + count > most:
                found.append(shown(&cell, False))
                count = 0
    finally:
        free(waiting)
