# cython: language_level=3
"""LMDB's function table as Cython sees it (lmdb_table.h), and the engine's bounds."""

cdef enum:
    SPACE_COUNT = 4
    LONGEST_KEY = 511
    LARGEST_VALUE = 0x7FFFFFFF
    STEPS = 16384           # keys a loop walks before it comes back
    CHUNK = 1024            # keys handled with one release of the GIL
    RUN_CHUNK = 8192        # pairs of a run put with one release of the GIL
    FEW = 24                # fewer than this many keys are not worth releasing the GIL for
    POOLED = 64             # idle read transactions kept
    FIRST_BATCH = 16
    GROWTH = 4
    ENTRIES = 1

cdef extern from "lmdb_table.h" nogil:
    ctypedef struct MDB_env
    ctypedef struct MDB_txn
    ctypedef struct MDB_cursor
    ctypedef unsigned int MDB_dbi
    ctypedef struct MDB_val:
        size_t mv_size
        void *mv_data
    ctypedef struct MDB_stat:
        unsigned int ms_psize
        size_t ms_branch_pages
        size_t ms_leaf_pages
        size_t ms_overflow_pages
        size_t ms_entries
    ctypedef struct MDB_envinfo:
        size_t me_mapsize
        size_t me_last_pgno
        size_t me_last_txnid
    ctypedef int (*MDB_msg_func)(const char *, void *) noexcept
    ctypedef struct docdb_table:
        int major, minor, patch
        unsigned int data_version
        int (*env_create)(MDB_env **) noexcept nogil
        int (*env_open)(MDB_env *, const char *, unsigned int, unsigned int) noexcept nogil
        void (*env_close)(MDB_env *) noexcept nogil
        int (*env_copy2)(MDB_env *, const char *, unsigned int) noexcept nogil
        int (*env_info)(MDB_env *, MDB_envinfo *) noexcept nogil
        int (*env_stat)(MDB_env *, MDB_stat *) noexcept nogil
        int (*env_set_mapsize)(MDB_env *, size_t) noexcept nogil
        int (*env_set_maxdbs)(MDB_env *, MDB_dbi) noexcept nogil
        int (*env_set_maxreaders)(MDB_env *, unsigned int) noexcept nogil
        int (*reader_check)(MDB_env *, int *) noexcept nogil
        int (*reader_list)(MDB_env *, MDB_msg_func, void *) noexcept nogil
        int (*txn_begin)(MDB_env *, MDB_txn *, unsigned int, MDB_txn **) noexcept nogil
        int (*txn_commit)(MDB_txn *) noexcept nogil
        void (*txn_abort)(MDB_txn *) noexcept nogil
        void (*txn_reset)(MDB_txn *) noexcept nogil
        int (*txn_renew)(MDB_txn *) noexcept nogil
        size_t (*txn_id)(MDB_txn *) noexcept nogil
        int (*dbi_open)(MDB_txn *, const char *, unsigned int, MDB_dbi *) noexcept nogil
        int (*get)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *) noexcept nogil
        int (*put)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *, unsigned int) noexcept nogil
        int (*stat)(MDB_txn *, MDB_dbi, MDB_stat *) noexcept nogil
        int (*cursor_open)(MDB_txn *, MDB_dbi, MDB_cursor **) noexcept nogil
        void (*cursor_close)(MDB_cursor *) noexcept nogil
        int (*cursor_get)(MDB_cursor *, MDB_val *, MDB_val *, int) noexcept nogil
        int (*cursor_put)(MDB_cursor *, MDB_val *, MDB_val *, unsigned int) noexcept nogil
        int (*cursor_del)(MDB_cursor *, unsigned int) noexcept nogil
    const docdb_table *docdb_resolve(const char *)
    int docdb_watch_forks()
    unsigned int docdb_forks
    enum:
        DOCDB_NOTLS, DOCDB_RDONLY, DOCDB_NOMETASYNC, DOCDB_NOLOCK, DOCDB_APPEND, DOCDB_CREATE, DOCDB_COMPACT
        DOCDB_FIRST, DOCDB_LAST, DOCDB_NEXT, DOCDB_PREV, DOCDB_SET, DOCDB_SET_RANGE, DOCDB_KEYEXIST, DOCDB_NOTFOUND
