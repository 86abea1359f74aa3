# cython: language_level=3
"""The bell's two words in shared memory: the fast twin of ``engine/bell.py``'s reference form.

What lives here: ``ring``, ``value`` and ``wait`` over a writable buffer of at least eight bytes, aligned to four. What it must not know: files,
commits, who waits. Word 0 holds the number rung last, word 1 whether anybody may be asleep: while it is 0, ringing makes no system call.
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

    static uint32_t bell_value(uint32_t* words)
    {
        return __atomic_load_n(&words[0], __ATOMIC_SEQ_CST);
    }

    static void bell_wait(uint32_t* words, uint32_t seen, int64_t timeout_ns)
    {
        struct timespec limit;
        limit.tv_sec = timeout_ns / 1000000000;
        limit.tv_nsec = timeout_ns % 1000000000;
        __atomic_store_n(&words[1], 1, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &words[0], FUTEX_WAIT, seen, &limit, NULL, 0);
    }
    #else
    #define BELL_FUTEX 0
    static void bell_ring(uint32_t* words, uint32_t number) { words[0] = number; }
    static uint32_t bell_value(uint32_t* words) { return words[0]; }
    static void bell_wait(uint32_t* words, uint32_t seen, int64_t timeout_ns)
    {
        (void)words; (void)seen; (void)timeout_ns;
    }
    #endif
    """
    const int BELL_FUTEX
    void bell_ring(uint32_t* words, uint32_t number) noexcept nogil
    uint32_t bell_value(uint32_t* words) noexcept nogil
    void bell_wait(uint32_t* words, uint32_t seen, int64_t timeout_ns) noexcept nogil


FUTEX = bool(BELL_FUTEX)


cdef uint32_t* words_of(unsigned char[::1] memory) except NULL:
    if memory.shape[0] < 8 or <uintptr_t>&memory[0] % 4:
        raise ValueError("a bell takes eight aligned bytes")
    return <uint32_t*>&memory[0]


def ring(unsigned char[::1] memory not None, uint32_t number):
    """Store the number and wake all who wait. Cost while nobody waits: two stores."""
    bell_ring(words_of(memory), number)


def value(unsigned char[::1] memory not None):
    """Return the number rung last."""
    return bell_value(words_of(memory))


def wait(unsigned char[::1] memory not None, uint32_t seen, int64_t timeout_ns):
    """Sleep until another number than ``seen`` is rung, the time is up or a signal came; returns at once when it has been already."""
    cdef uint32_t* words = words_of(memory)
    if timeout_ns > 0:
        with nogil:
            bell_wait(words, seen, timeout_ns)
