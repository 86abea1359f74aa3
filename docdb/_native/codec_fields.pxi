"""Decoding a few fields of a document: what a projection or a pipeline reads. Part of codec.pyx.

The walk ends when all fields were met, so damage behind them is not seen, as a filter's program does not see it either.
"""

cdef enum:
    MOST_FIELDS = 64

cdef struct Wanted:
    const unsigned char* name
    uint32_t size


@cython.final
cdef class FieldsDecoder(Decoder):
    """A decoder of the top-level fields with these names, at most 64, in the order of the document."""

    cdef Wanted wanted[MOST_FIELDS]
    cdef uint32_t count
    cdef uint64_t lengths       # bit n: a name has n bytes (modulo 64)
    cdef list owned             # the bytes the pointers above belong to

    def __init__(self, names):
        cdef uint32_t at
        self.owned = [name.encode("utf-8", "surrogatepass") for name in dict.fromkeys(names)]
        if len(self.owned) > MOST_FIELDS:
            raise ValueError(f"at most {MOST_FIELDS} fields")
        self.count = <uint32_t>len(self.owned)
        self.lengths = 0
        for at in range(self.count):
            self.wanted[at].name = <const unsigned char*>PyBytes_AS_STRING(self.owned[at])
            self.wanted[at].size = <uint32_t>PyBytes_GET_SIZE(self.owned[at])
            self.lengths |= <uint64_t>1 << (self.wanted[at].size & 63)

    cdef bint wants(self, const unsigned char* name, uint32_t size) noexcept:
        cdef uint32_t at
        if not self.lengths >> (size & 63) & 1:
            return False
        for at in range(self.count):
            if self.wanted[at].size == size and memcmp(self.wanted[at].name, name, size) == 0:
                return True
        return False

    cdef object decode_at(self, const unsigned char* data, Py_ssize_t size):
        cdef const unsigned char* p = data
        cdef const unsigned char* end = data + size
        cdef const unsigned char* name
        cdef uint32_t length
        cdef uint32_t left = self.count
        cdef int64_t count = open_map(&p, end)
        cdef dict result = {}
        if count < 0:
            raise damaged("not a document")
        try:
            while count and left:
                count -= 1
                if read_name(&p, end, &name, &length) < 0:
                    raise damaged("the name of a field")
                if self.wants(name, length):
                    PyDict_SetItem(result, name_at(name, length), value_at(&p, end, 1))
                    left -= 1
                elif skip_value(&p, end) < 0:
                    raise damaged("a value that does not fit")
        except UnicodeDecodeError as error:
            raise damaged(str(error)) from error
        return result
