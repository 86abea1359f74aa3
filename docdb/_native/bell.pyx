# cython: language_level=3
"""The bell's words in shared memory: the fast twin of ``engine/bell.py``'s reference form.

What lives here: ``ring``, ``ring_others``, ``value``, ``wait``, ``asked`` and ``wait_for`` over a writable buffer of ``engine/notices.py``'s layout, aligned
to eight, and ``Herald``, which rings from where there is no interpreter. What it must not know: files, what is committed, who waits. Word 0 holds the
number rung last, word 1 whether anybody may be asleep: while it is 0, ringing makes no system call. Word 2 holds the bits of processes that ask for notices.
Behind 64 bytes are the outcomes of notices.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t

cdef extern from *:
    """
    #include <stdint.h>
    #define BELL_SIZE 320 /* the words, and the outcomes at 64 */
    #define BELL_OUTCOMES 32
    #define BELL_NUDGE 0x80000000u
    #define BELL_FOREWORD 0x40000000u

    static uint64_t* bell_place(uint32_t* words, uint64_t token)
    {
        return (uint64_t*)(void*)(words + 16) + token % BELL_OUTCOMES;
    }

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
        /* Taken back in front of the number: who has seen the number already and goes to sleep on it must be found by the next ring. */
        const uint32_t asleep = __atomic_exchange_n(&words[1], 0, __ATOMIC_SEQ_CST);
        __atomic_store_n(&words[0], number, __ATOMIC_SEQ_CST);
        if (asleep || __atomic_load_n(&words[1], __ATOMIC_SEQ_CST))
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

    static int bell_asked(uint32_t* words, uint32_t own)
    {
        if (!(__atomic_load_n(&words[2], __ATOMIC_SEQ_CST) & ~own))
            return 0;
        __atomic_fetch_and(&words[2], own, __ATOMIC_SEQ_CST);
        return 1;
    }

    static void bell_settle(uint32_t* words, uint64_t token, int landed)
    {
        __atomic_store_n(bell_place(words, token), landed ? token : token | (uint64_t)1 << 63, __ATOMIC_SEQ_CST);
    }

    static int bell_wait_for(uint32_t* words, uint64_t token, uint32_t rung, int64_t timeout_ns, uint32_t own)
    {
        const int64_t began = bell_clock_ns();
        const int64_t until = timeout_ns < INT64_MAX - began ? began + timeout_ns : INT64_MAX;
        struct timespec limit;
        limit.tv_sec = until / 1000000000;
        limit.tv_nsec = until % 1000000000;
        for (;;) {
            const uint32_t seen = bell_value(words); /* in front of the outcome, which is told first */
            const uint64_t outcome = __atomic_load_n(bell_place(words, token), __ATOMIC_SEQ_CST);
            if ((outcome & ~((uint64_t)1 << 63)) == token)
                return outcome == token;
            if ((seen ^ rung) & ~BELL_NUDGE || bell_clock_ns() >= until)
                return 0;
            __atomic_store_n(&words[1], 1, __ATOMIC_SEQ_CST);
            syscall(SYS_futex, &words[0], FUTEX_WAIT_BITSET, seen, &limit, NULL, own);
        }
    }

    static void bell_wait(uint32_t* words, uint32_t seen, int64_t timeout_ns, const uint32_t* quiet, uint32_t own, int eager)
    {
        const int64_t began = bell_clock_ns();
        const int64_t until = timeout_ns < INT64_MAX - began ? began + timeout_ns : INT64_MAX;
        struct timespec limit;
        limit.tv_sec = until / 1000000000;
        limit.tv_nsec = until % 1000000000;
        do {
            if (eager)
                __atomic_fetch_or(&words[2], own, __ATOMIC_SEQ_CST);
            __atomic_store_n(&words[1], 1, __ATOMIC_SEQ_CST);
            syscall(SYS_futex, &words[0], FUTEX_WAIT_BITSET, seen, &limit, NULL, own);
            seen = bell_value(words);
        } while (seen == __atomic_load_n(&quiet[0], __ATOMIC_SEQ_CST) && !__atomic_load_n(&quiet[1], __ATOMIC_SEQ_CST)
                 && bell_clock_ns() < until);
        if (__atomic_load_n(&quiet[2], __ATOMIC_SEQ_CST)) {
            const struct timespec courtesy = {0, 50000};
            nanosleep(&courtesy, NULL);
        }
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
    static void bell_wait(uint32_t* words, uint32_t seen, int64_t timeout_ns, const uint32_t* quiet, uint32_t own, int eager)
    {
        (void)words; (void)seen; (void)timeout_ns; (void)quiet; (void)own; (void)eager;
    }
    static int bell_asked(uint32_t* words, uint32_t own) { (void)words; (void)own; return 0; }
    static void bell_settle(uint32_t* words, uint64_t token, int landed)
    {
        *bell_place(words, token) = landed ? token : token | (uint64_t)1 << 63;
    }
    static int bell_wait_for(uint32_t* words, uint64_t token, uint32_t rung, int64_t timeout_ns, uint32_t own)
    {
        (void)rung; (void)timeout_ns; (void)own;
        return *bell_place(words, token) == token;
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
    const int BELL_FUTEX, BELL_SIZE
    const uint32_t BELL_NUDGE, BELL_FOREWORD
    bint bell_asked(uint32_t* words, uint32_t own) noexcept nogil
    void bell_settle(uint32_t* words, uint64_t token, bint landed) noexcept nogil
    bint bell_wait_for(uint32_t* words, uint64_t token, uint32_t rung, int64_t timeout_ns, uint32_t own) noexcept nogil
    void bell_ring(uint32_t* words, uint32_t number) noexcept nogil
    int64_t bell_clock_ns() noexcept nogil
    uint32_t bell_value(uint32_t* words) noexcept nogil
    void bell_ring_others(uint32_t* words, uint32_t number, uint32_t own) noexcept nogil
    void bell_wait(uint32_t* words, uint32_t seen, int64_t timeout_ns, const uint32_t* quiet, uint32_t own, bint eager) noexcept nogil
    void herald_wake(uint32_t* words) noexcept nogil
    bint herald_settle(uint32_t* words, uint32_t outcome) noexcept nogil
    uint32_t herald_wait(uint32_t* words, int64_t timeout_ns) noexcept nogil

cdef enum:
    LANDED = 1
    FAILED = 2


FUTEX = bool(BELL_FUTEX)


cdef uint32_t* words_of(unsigned char[::1] memory) except NULL:
    if memory.shape[0] < BELL_SIZE or <uintptr_t>&memory[0] % 8:
        raise ValueError(f"a bell takes {BELL_SIZE} aligned bytes")
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


def asked(unsigned char[::1] memory not None, uint32_t own):
    """Tell whether other processes than the one with the bits ``own`` ask for notices; each asks anew when it goes to sleep."""
    return bell_asked(words_of(memory), own)


def wait_for(unsigned char[::1] memory not None, uint64_t token, uint32_t rung, int64_t timeout_ns, uint32_t own):
    """Wait for the outcome of the notice that was rung with ``rung``; tell whether its commit has landed. Another number that is rung ends it."""
    cdef uint32_t* words = words_of(memory)
    cdef bint landed
    with nogil:
        landed = bell_wait_for(words, token, rung, timeout_ns, own)
    return landed


def wait(
    unsigned char[::1] memory not None, uint32_t seen, int64_t timeout_ns, unsigned int[::1] quiet not None, uint32_t own, bint eager=False
):
    """Sleep until another number than ``seen`` is rung, which is not quiet, or the time is up; returns at once when it has been already.

    A number is quiet that stands in ``quiet[0]`` by then, while ``quiet[1]`` is 0. While ``quiet[2]`` is not 0 another thread of the process that was woken
    goes first: this one sleeps on for 50 us. ``own``: bits, not 0, see ``ring_others``; ``eager``: see ``asked``.
    """
    cdef uint32_t* words = words_of(memory)
    if quiet.shape[0] < 3 or not own:
        raise ValueError("the quiet number takes three places, and a bit is needed")
    if timeout_ns > 0:
        with nogil:
            bell_wait(words, seen, timeout_ns, <const uint32_t*>&quiet[0], own, eager)


@cython.final
cdef class Herald:
    """Tells of one commit in the moment it is durable (``settled_ns`` of the monotonic clock): rings ``number``, and wakes who waits for the outcome.

    ``others``: rings like ``ring_others``, else like ``ring``. ``token``: of the commit's notice, 0: there is none. ``commit`` of the compiled engine calls it
    before it takes the interpreter's lock again.
    """

    def __cinit__(self, memory, uint32_t number, uint32_t own, bint others, uint64_t token=0):
        PyObject_GetBuffer(memory, &self.memory, PyBUF_WRITABLE)
        if self.memory.len < BELL_SIZE or <uintptr_t>self.memory.buf % 8:
            raise ValueError(f"a bell takes {BELL_SIZE} aligned bytes")
        self.token = token
        self.number = number
        self.own = own
        self.others = others

    def __dealloc__(self):
        PyBuffer_Release(&self.memory)

    cdef void settle(self, bint landed) noexcept nogil:
        if not herald_settle(self.words, LANDED if landed else FAILED):
            return
        cdef uint32_t* words = <uint32_t*>self.memory.buf
        self.settled_ns = bell_clock_ns()
        if self.token:
            bell_settle(words, self.token, landed)
        if landed and self.others:
            bell_ring_others(words, self.number, self.own)
        elif landed:
            bell_ring(words, self.number)
        elif self.token:
            bell_ring_others(words, self.number ^ BELL_FOREWORD ^ BELL_NUDGE, self.own)
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
