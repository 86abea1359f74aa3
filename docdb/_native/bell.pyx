# cython: language_level=3
"""The bell's two words in shared memory: the fast twin of ``engine/bell.py``'s reference form.

What lives here: ``ring``, ``ring_others``, ``value`` and ``wait`` over a writable buffer of at least eight bytes, aligned to four, and ``Herald``, which
rings from where there is no interpreter. What it must not know: files, what is committed, who waits. Word 0 holds the number rung last, word 1 whether
anybody may be asleep: while it is 0, ringing makes no system call.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
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

    /* A herald's two words: the outcome (0: not known, 1: landed, 2: failed), and whether somebody may be asleep on it. */
    static int herald_settle(uint32_t* words, uint32_t outcome)
    {
        uint32_t open = 0;
        return __atomic_compare_exchange_n(&words[0], &open, outcome, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }

    static void herald_wake(uint32_t* words)
    {
        if (__atomic_load_n(&words[1], __ATOMIC_SEQ_CST))
            syscall(SYS_futex, &words[0], FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    }

    static uint32_t herald_wait(uint32_t* words, int64_t timeout_ns)
    {
        const int64_t began = bell_clock_ns();
        const int64_t until = timeout_ns < INT64_MAX - began ? began + timeout_ns : INT64_MAX;
        uint32_t outcome;
        __atomic_store_n(&words[1], 1, __ATOMIC_SEQ_CST);
        while (!(outcome = __atomic_load_n(&words[0], __ATOMIC_SEQ_CST))) {
            const int64_t left = until - bell_clock_ns();
            struct timespec limit;
            if (left <= 0)
                break;
            limit.tv_sec = left / 1000000000;
            limit.tv_nsec = left % 1000000000;
            syscall(SYS_futex, &words[0], FUTEX_WAIT_PRIVATE, 0, &limit, NULL, 0);
        }
        return outcome;
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
    static int herald_settle(uint32_t* words, uint32_t outcome)
    {
        const int open = words[0] == 0;
        if (open)
            words[0] = outcome;
        return open;
    }
    static void herald_wake(uint32_t* words) { (void)words; }
    static uint32_t herald_wait(uint32_t* words, int64_t timeout_ns) { (void)timeout_ns; return words[0]; }
    #endif
    """
    const int BELL_FUTEX
    void bell_ring(uint32_t* words, uint32_t number) noexcept nogil
    int64_t bell_clock_ns() noexcept nogil
    uint32_t bell_value(uint32_t* words) noexcept nogil
    void bell_ring_others(uint32_t* words, uint32_t number, uint32_t own) noexcept nogil
    void bell_wait(uint32_t* words, uint32_t seen, int64_t timeout_ns, const uint32_t* quiet, uint32_t own) noexcept nogil
    void herald_wake(uint32_t* words) noexcept nogil
    bint herald_settle(uint32_t* words, uint32_t outcome) noexcept nogil
    uint32_t herald_wait(uint32_t* words, int64_t timeout_ns) noexcept nogil

cdef enum:
    LANDED = 1
    FAILED = 2


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


@cython.final
cdef class Herald:
    """Tells of one commit in the moment it is durable (``settled_ns`` of the monotonic clock): rings ``number``, and wakes who waits for the outcome.

    ``others``: rings like ``ring_others``, else like ``ring``. ``commit`` of the compiled engine calls it before it takes the interpreter's lock again.
    """

    def __cinit__(self, memory, uint32_t number, uint32_t own, bint others):
        PyObject_GetBuffer(memory, &self.memory, PyBUF_WRITABLE)
        if self.memory.len < 8 or <uintptr_t>self.memory.buf % 4:
            raise ValueError("a bell takes eight aligned bytes")
        self.number = number
        self.own = own
        self.others = others

    def __dealloc__(self):
        PyBuffer_Release(&self.memory)

    cdef void settle(self, bint landed) noexcept nogil:
        if not herald_settle(self.words, LANDED if landed else FAILED):
            return
        self.settled_ns = bell_clock_ns()
        if landed and self.others:
            bell_ring_others(<uint32_t*>self.memory.buf, self.number, self.own)
        elif landed:
            bell_ring(<uint32_t*>self.memory.buf, self.number)
        # Last: who waits here must not have the interpreter's lock before the writer.
        herald_wake(self.words)

    def tell(self, bint landed):
        """Tell the outcome; only the first one counts."""
        self.settle(landed)

    def wait(self, double timeout_s):
        """Wait for the outcome; tell whether the commit has landed by then."""
        cdef int64_t timeout_ns = 0
        cdef uint32_t outcome
        if timeout_s > 0:  # which NaN is not
            timeout_ns = <int64_t>(min(timeout_s, 1e9) * 1e9)
        with nogil:
            outcome = herald_wait(self.words, timeout_ns)
        return outcome == LANDED
