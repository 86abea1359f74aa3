"""Terms of ids that are no plain values: bins of any values, and the numbers that tell to which day, month ... a date belongs, in a zone.
Part of grouping.pyx.

Two dates have the same numbers exactly when the expression gives the same value for both, so the expression itself is asked for the value, once a group.
"""

cdef enum:
    DAYS_KEPT = 1024            # offsets of a zone, by the number of a day

cdef enum Way:
    PARTS = 0                   # the parts whose bits are set
    TIMES = 1                   # bins of milliseconds since a moment
    CLOCKS = 2                  # bins of milliseconds of the wall clock
    MONTHS = 3                  # bins of months of the wall clock

cdef enum Part:                 # bits; pipeline/grouping_dates.py has the same
    YEAR = 1
    MONTH = 2
    DAY = 4
    HOUR = 8
    MINUTE = 16
    SECOND = 32
    MILLISECOND = 64
    DAY_OF_YEAR = 128
    DAY_OF_WEEK = 256
    WEEK = 512
    ISO_WEEK = 1024
    ISO_YEAR = 2048
    OFFSET = 4096

cdef int64_t FIRST_DATE = -62135596800000000        # the years 1 to 9999, in microseconds
cdef int64_t LAST_DATE = 253402300799999999
cdef int64_t DAY_MICROS = 86400000000

cdef struct Civil:
    int64_t year
    int64_t month
    int64_t day
    int64_t of_year             # 0 for the first day


cdef inline int64_t floored(int64_t value, int64_t width) noexcept nogil:
    """Return value // width as Python means it; width is positive."""
    cdef int64_t whole = value / width
    return whole - (value % width < 0)


cdef inline Civil civil(int64_t days) noexcept nogil:
    """Return the date so many days after 1970-01-01 (Hinnant, civil_from_days)."""
    cdef Civil made
    cdef int64_t era, of_era, of_march, year, month
    cdef bint leap
    days += 719468
    era = floored(days, 146097)
    of_era = days - era * 146097
    year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365
    of_march = of_era - (365 * year + year / 4 - year / 100)
    month = (5 * of_march + 2) / 153
    made.day = of_march - (153 * month + 2) / 5 + 1
    made.month = month + 3 if month < 10 else month - 9
    made.year = year + era * 400 + (made.month <= 2)
    leap = made.year % 4 == 0 and (made.year % 100 != 0 or made.year % 400 == 0)
    made.of_year = of_march + 59 + leap if month < 10 else of_march - 306
    return made


cdef class Reading:
    """How a term of an id is read that is no plain value."""

    cdef int put(self, const unsigned char* p, const unsigned char* end, Buffer* out) except -2:
        """Append what tells the value at p (NULL: none) apart to a key: 0, or -1 to decline."""
        return -1


cdef class Bins(Reading):
    """Between which of these order keys a value lies, the lower one included; outside of them it is declined, or (``rest``) in a bin of its own."""

    cdef list marks
    cdef bint rest
    cdef Buffer key

    def __cinit__(self):
        if buffer_start(&self.key, 256) < 0:
            raise MemoryError

    def __init__(self, list marks not None, bint rest):
        self.marks = [<bytes?>mark for mark in marks]
        self.rest = rest

    def __dealloc__(self):
        buffer_end(&self.key)

    cdef int put(self, const unsigned char* p, const unsigned char* end, Buffer* out) except -2:
        cdef Py_ssize_t low = 0, high = len(self.marks), middle
        cdef bytes mark
        cdef int order
        self.key.size = 0
        if p == NULL:
            if buffer_byte(&self.key, NULL_TAG) < 0:
                raise MemoryError
        elif key_of_packed(&p, end, &self.key, 0) < 0:
            return -1
        while low < high:
            middle = (low + high) // 2
            mark = <bytes>self.marks[middle]
            order = memcmp(PyBytes_AS_STRING(mark), self.key.data, min(<size_t>PyBytes_GET_SIZE(mark), self.key.size))
            if order > 0 or (order == 0 and <size_t>PyBytes_GET_SIZE(mark) > self.key.size):
                high = middle
            else:
                low = middle + 1
        if not 0 < low < len(self.marks):
            if not self.rest:
                return -1
            low = 0
        if buffer_reserve(out, 8) < 0:
            raise MemoryError
        put_number(out, low)
        return 0


cdef class DateReading(Reading):
    """How a date of an id is read. ``zone`` is None where ``offset``, in microseconds, holds for ever; else it has ``of_day`` and ``at``."""

    cdef int way
    cdef int64_t width
    cdef int64_t base
    cdef int parts
    cdef int64_t offset
    cdef object zone
    cdef int32_t days[DAYS_KEPT]
    cdef int64_t offsets[DAYS_KEPT]

    def __init__(self, int way, int64_t width, int64_t base, int parts, int64_t offset, zone):
        cdef int at
        if width < 1:
            raise ValueError("a bin has a width")
        self.way, self.width, self.base, self.parts = way, width, base, parts
        self.offset, self.zone = offset, zone
        for at in range(DAYS_KEPT):
            self.days[at] = -2147483648

    cdef int64_t offset_at(self, int64_t moment) except? -1:
        """Return how far the wall clock is ahead, in microseconds."""
        cdef int32_t day
        cdef int at
        if self.zone is None:
            return self.offset
        day = <int32_t>floored(moment, DAY_MICROS)
        at = day & (DAYS_KEPT - 1)
        if self.days[at] == day:
            return self.offsets[at]
        known = self.zone.of_day(day)
        if known is None:  # the clock changes on this day
            return self.zone.at(moment)
        self.days[at], self.offsets[at] = day, known
        return self.offsets[at]

    cdef int put(self, const unsigned char* p, const unsigned char* end, Buffer* out) except -2:
        """Append the numbers of the date at p (NULL: none) to a key: 0, or -1 to decline."""
        cdef Value value
        cdef int kind
        cdef int64_t moment, offset, local
        cdef Civil date
        if p == NULL or p[0] == 0xC0:
            if buffer_byte(out, NULL_TAG) < 0:
                raise MemoryError
            return 0
        kind = read_value(&p, end, &value)
        if kind != EXT or value.code != DATETIME or value.size != 8:
            return -1
        moment = <int64_t>load64(value.body)
        if not FIRST_DATE <= moment <= LAST_DATE:
            return -1
        offset = self.offset_at(moment)
        local = moment + offset
        if not FIRST_DATE <= local <= LAST_DATE:
            return -1
        if buffer_byte(out, DATE_TAG) < 0 or buffer_reserve(out, 16 * 8) < 0:
            raise MemoryError
        if self.way == TIMES:
            put_number(out, floored(floored(moment - self.base, 1000), self.width))
        elif self.way == CLOCKS:
            put_number(out, floored(floored(local - self.base, 1000), self.width))
        else:
            date = civil(floored(local, DAY_MICROS))
            if self.way == MONTHS:
                put_number(out, floored(date.year * 12 + date.month - 1 - self.base, self.width))
            else:
                put_parts(out, self.parts, local, &date, offset)
        return 0


cdef inline void put_number(Buffer* out, int64_t number) noexcept nogil:
    """Append eight bytes, for which there is room."""
    store64(out.data + out.size, <uint64_t>number)
    out.size += 8


cdef void put_parts(Buffer* out, int parts, int64_t local, Civil* date, int64_t offset) noexcept nogil:
    """Append the parts of a date whose bits are set."""
    cdef int64_t days = floored(local, DAY_MICROS)
    cdef int64_t clock = local - days * DAY_MICROS
    cdef int64_t weekday = days + 3 - 7 * floored(days + 3, 7)     # Monday 0
    cdef Civil thursday
    if parts & YEAR:
        put_number(out, date.year)
    if parts & MONTH:
        put_number(out, date.month)
    if parts & DAY:
        put_number(out, date.day)
    if parts & HOUR:
        put_number(out, clock / <int64_t>3600000000)
    if parts & MINUTE:
        put_number(out, clock / 60000000 % 60)
    if parts & SECOND:
        put_number(out, clock / 1000000 % 60)
    if parts & MILLISECOND:
        put_number(out, clock / 1000 % 1000)
    if parts & DAY_OF_YEAR:
        put_number(out, date.of_year)
    if parts & DAY_OF_WEEK:
        put_number(out, weekday)
    if parts & WEEK:
        put_number(out, (date.of_year + 7 - (weekday + 1) % 7) / 7)
    if parts & (ISO_WEEK | ISO_YEAR):
        thursday = civil(days - weekday + 3)
        if parts & ISO_WEEK:
            put_number(out, thursday.of_year / 7)
        if parts & ISO_YEAR:
            put_number(out, thursday.year)
    if parts & OFFSET:
        put_number(out, floored(offset, 60000000))
