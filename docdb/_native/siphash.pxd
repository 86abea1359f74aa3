# cython: language_level=3
"""SipHash-1-3 (Aumasson and Bernstein 2012): a keyed hash that nobody who lacks the key can make collide. Inline C, no GIL."""

from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #ifndef DOCDB_SIPHASH
    #define DOCDB_SIPHASH
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>
    #define DOCDB_ROTATE(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
    #define DOCDB_ROUND \\
        v0 += v1; v2 += v3; v1 = DOCDB_ROTATE(v1, 13) ^ v0; v3 = DOCDB_ROTATE(v3, 16) ^ v2; v0 = DOCDB_ROTATE(v0, 32); \\
        v2 += v1; v0 += v3; v1 = DOCDB_ROTATE(v1, 17) ^ v2; v3 = DOCDB_ROTATE(v3, 21) ^ v0; v2 = DOCDB_ROTATE(v2, 32);
    static inline uint64_t docdb_siphash(uint64_t k0, uint64_t k1, const unsigned char *p, size_t size) {
        uint64_t v0 = k0 ^ 0x736f6d6570736575ULL, v1 = k1 ^ 0x646f72616e646f6dULL;
        uint64_t v2 = k0 ^ 0x6c7967656e657261ULL, v3 = k1 ^ 0x7465646279746573ULL;
        uint64_t word, last = (uint64_t)size << 56;
        size_t left = size;
        unsigned i;
        while (left >= 8) {
            memcpy(&word, p, 8);
            v3 ^= word;
            DOCDB_ROUND
            v0 ^= word;
            p += 8;
            left -= 8;
        }
        for (i = 0; i < left; i++) last |= (uint64_t)p[i] << (8 * i);
        v3 ^= last;
        DOCDB_ROUND
        v0 ^= last;
        v2 ^= 0xff;
        DOCDB_ROUND DOCDB_ROUND DOCDB_ROUND
        return v0 ^ v1 ^ v2 ^ v3;
    }
    #endif
    """
    uint64_t siphash "docdb_siphash"(uint64_t k0, uint64_t k1, const unsigned char* p, size_t size) noexcept nogil
