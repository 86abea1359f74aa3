# cython: language_level=3
"""The bell's two words in shared memory: the fast twin of ``engine/bell.py``'s reference form.

What lives here: ``ring``, ``ring_others``, ``value`` and ``wait`` over a writable buffer of at least eight bytes, aligned to four. What it must not know:
files, commits, who waits. Word 0 holds the number rung last, word 1 whether anybody may be asleep: while it is 0, ringing makes no system call.
"""

from libc.stdint cimport int64_t, uint32_t, uintptr_t

cdef extern from *:
    """
    #include <stdint.h>
    #if defined(__linux__) && (defined(__GNUC__) || defined(__clang__))
    #include <errno.h>
    #include <limits.h>
    #include <linux/futex.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>
    #define BELL_FUTEX 1

    static void bell_ring(uint32_t* words, uint32_t number)
    {
        __atomic_store_n(&words[0], number, __ATOMIC_SEQ_CST);
        if (__atomic_exchange_n(&words[1], 0, __ATOMIC_SEQ_CST))
            syscall(SYS_futex, &words[0], FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    }

    static void bell_ring_others(uint32_t* words, uint32_t number, uint32_t own)
    {
        __atomic_store_n(&words[0], number, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&words[1], __ATOMIC_SEQ_CST))
            syscall(SYS_futex, &words[0], FUTEX_WAKE_BITSET, INT_MAX, NULL, NULL, ~own);
    }

    static uint32_t bell_value(uint32_t* words)
    {
        return __atomic_load_n(&words[0], __ATOMIC_SEQ_CST);
    }

    static int64_t bell_clock_ns(void)
    {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }

    static void bell_wait(uint32_t* words, uint32_t seen, int64_t timeout_ns, const uint32_t* quiet, uint32_t own)
    {
        const int64_t began = bell_clock_ns();
        const int64_t until = timeout_ns < INT64_MAX - began ? began + timeout_ns : INT64_MAX;
        struct timespec limit;
        limit.tv_sec = until / 1000000000;
        limit.tv_nsec = until % 1000000000;
        do {
            __atomic_store_n(&words[1], 1, __ATOMIC_SEQ_CST);
            syscall(SYS_futex, &words[0], FUTEX_WAIT_BITSET, seen, &limit, NULL, own);
            seen = bell_value(words);
        } while (seen == __atomic_load_n(&quiet[0], __ATOMIC_SEQ_CST) && !__atomic_load_n(&quiet[1], __ATOMIC_SEQ_CST)
                 && bell_clock_ns() < until);
    }
    #else
    #define BELL_FUTEX 0
    static void bell_ring(uint32_t* words, uint32_t number) { words[0] = number; }
    static uint32_t bell_value(uint32_t* words) { return words[0]; }
    static void bell_ring_others(uint32_t* words, uint32_t number, uint32_t own) { words[0] = number; (void)own; }
    static void bell_wait(uint32_t* words, uint32_t seen, int64_t timeout_ns, const uint32_t* quiet, uint32_t own)
    {
        (void)words; (void)seen; (void)timeout_ns; (void)quiet; (void)own;
    }
    #endif
    """
    const int BELL_FUTEX
    void bell_ring(uint32_t* words, uint32_t number) noexcept nogil
    uint32_t bell_value(uint32_t* words) noexcept nogil
    void bell_ring_others(uint32_t* words, uint32_t number, uint32_t own) noexcept nogil
    void bell_wait(uint32_t* words, uint32_t seen, int64_t timeout_ns, const uint32_t* quiet, uint32_t own) noexcept nogil


FUTEX = bool(BELL_FUTEX)


cdef uint32_t* words_of(unsigned char[::1] memory) except NULL:
    if memory.shape[0] < 8 or <uintptr_t>&memory[0] % 4:
        raise ValueError("a bell takes eight aligned bytes")
    return <uint32_t*>&memory[0]


def ring(unsigned char[::1] memory not None, uint32_t number):
    """Store the number and wake all who wait. Cost while nobody waits: two stores."""
    bell_ring(words_of(memory), number)


def ring_others(unsigned char[::1] memory not None, uint32_t number, uint32_t own):
    """Store the number and wake all who wait but those with exactly the bits ``own``, half of the bits of a word."""
    bell_ring_others(words_of(memory), number, own)


def value(unsigned char[::1] memory not None):
    """Return the number rung last."""
    return bell_value(words_of(memory))


def wait(unsigned char[::1] memory not None, uint32_t seen, int64_t timeout_ns, unsigned int[::1] quiet not None, uint32_t own):
    """Sleep until another number than ``seen`` is rung, which is not quiet, or the time is up; returns at once when it has been already.

    A number is quiet that stands in ``quiet[0]`` by then, while ``quiet[1]`` is 0. ``own``: bits, not 0, see ``ring_others``.
    """
    cdef uint32_t* words = words_of(memory)
    if quiet.shape[0] < 2 or not own:
        raise ValueError("the quiet number takes two places, and a bit is needed")
    if timeout_ns > 0:
        with nogil:
            bell_wait(words, seen, timeout_ns, <const uint32_t*>&quiet[0], own)
