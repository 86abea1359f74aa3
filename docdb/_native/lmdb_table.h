/*
 * The table of LMDB's functions that py-lmdb's shared library exports, and the types it speaks in.
 *
 * The layout is py-lmdb's mdb_api.h as of 3.0.0 with LMDB 0.9.36 (64 bit, not MDB_VL32). Nobody promises that it stays: the
 * resolver gives back nothing unless version and data version stand where they must, and the caller compares them and the package's
 * version with those that were tested. The library must already be loaded (py-lmdb imported); it is never loaded here.
 */
#ifndef DOCDB_LMDB_TABLE_H
#define DOCDB_LMDB_TABLE_H

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct MDB_env MDB_env;
typedef struct MDB_txn MDB_txn;
typedef struct MDB_cursor MDB_cursor;
typedef unsigned int MDB_dbi;
typedef struct { size_t mv_size; void *mv_data; } MDB_val;
typedef struct {
    unsigned int ms_psize, ms_depth;
    size_t ms_branch_pages, ms_leaf_pages, ms_overflow_pages, ms_entries;
} MDB_stat;
typedef struct {
    void *me_mapaddr;
    size_t me_mapsize, me_last_pgno, me_last_txnid;
    unsigned int me_maxreaders, me_numreaders;
} MDB_envinfo;
typedef int (*MDB_msg_func)(const char *msg, void *ctx);

/* mdb_env_open, mdb_txn_begin */
#define DOCDB_NOTLS 0x200000
#define DOCDB_RDONLY 0x20000
#define DOCDB_NOMETASYNC 0x40000
#define DOCDB_NOLOCK 0x400000
/* mdb_put, mdb_dbi_open, mdb_env_copy2 */
#define DOCDB_APPEND 0x20000
#define DOCDB_CREATE 0x40000
#define DOCDB_COMPACT 0x01
/* MDB_cursor_op */
#define DOCDB_FIRST 0
#define DOCDB_LAST 6
#define DOCDB_NEXT 8
#define DOCDB_PREV 12
#define DOCDB_SET 15
#define DOCDB_SET_RANGE 17
/* return codes */
#define DOCDB_KEYEXIST (-30799)
#define DOCDB_NOTFOUND (-30798)

typedef struct {
    int major, minor, patch;
    unsigned int data_version;
    int (*env_create)(MDB_env **);
    int (*env_open)(MDB_env *, const char *, unsigned int, mode_t);
    void (*env_close)(MDB_env *);
    int (*env_copy2)(MDB_env *, const char *, unsigned int);
    int (*env_copyfd2)(MDB_env *, int, unsigned int);
    int (*env_copy3)(MDB_env *, const char *, unsigned int, MDB_txn *);
    int (*env_copyfd3)(MDB_env *, int, unsigned int, MDB_txn *);
    int (*env_sync)(MDB_env *, int);
    int (*env_stat)(MDB_env *, MDB_stat *);
    int (*env_info)(MDB_env *, MDB_envinfo *);
    int (*env_get_flags)(MDB_env *, unsigned int *);
    int (*env_set_flags)(MDB_env *, unsigned int, int);
    int (*env_get_maxkeysize)(MDB_env *);
    int (*env_get_maxreaders)(MDB_env *, unsigned int *);
    int (*env_get_path)(MDB_env *, const char **);
    int (*env_set_mapsize)(MDB_env *, size_t);
    int (*env_set_maxdbs)(MDB_env *, MDB_dbi);
    int (*env_set_maxreaders)(MDB_env *, unsigned int);
    int (*reader_check)(MDB_env *, int *);
    int (*reader_list)(MDB_env *, MDB_msg_func, void *);
    int (*txn_begin)(MDB_env *, MDB_txn *, unsigned int, MDB_txn **);
    int (*txn_commit)(MDB_txn *);
    void (*txn_abort)(MDB_txn *);
    void (*txn_reset)(MDB_txn *);
    int (*txn_renew)(MDB_txn *);
    size_t (*txn_id)(MDB_txn *);
    int (*dbi_open)(MDB_txn *, const char *, unsigned int, MDB_dbi *);
    int (*dbi_flags)(MDB_txn *, MDB_dbi, unsigned int *);
    void (*dbi_close)(MDB_env *, MDB_dbi);
    int (*drop)(MDB_txn *, MDB_dbi, int);
    int (*get)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *);
    int (*put)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *, unsigned int);
    int (*del)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *);
    int (*stat)(MDB_txn *, MDB_dbi, MDB_stat *);
    int (*cursor_open)(MDB_txn *, MDB_dbi, MDB_cursor **);
    void (*cursor_close)(MDB_cursor *);
    int (*cursor_get)(MDB_cursor *, MDB_val *, MDB_val *, int);
    int (*cursor_put)(MDB_cursor *, MDB_val *, MDB_val *, unsigned int);
    int (*cursor_del)(MDB_cursor *, unsigned int);
    int (*cursor_count)(MDB_cursor *, size_t *);
    char *(*strerror_fn)(int);
    char *(*version_fn)(int *, int *, int *);
} docdb_table;

/* Return the table of the loaded library at `path`, or NULL. */
static const docdb_table *docdb_resolve(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    const docdb_table *table;
    int major = -1, minor = -1, patch = -1;

    if (!library)
        return NULL;
    table = (const docdb_table *)dlsym(library, "lmdb_api_v09");
    if (!table || table->major != 0 || table->minor != 9 || table->data_version != 1 || sizeof(size_t) != 8)
        return NULL;
    /* The last entry answers for the whole layout: a table that grew or shrank does not end with this function. */
    if (!table->version_fn || !dlsym(library, "mdb09_version") || (void *)table->version_fn != dlsym(library, "mdb09_version"))
        return NULL;
    table->version_fn(&major, &minor, &patch);
    if (major != table->major || minor != table->minor || patch != table->patch)
        return NULL;
    return table; /* the library stays loaded: the reference is never given back */
}

/* Counts the forks above this process, also those that Python does not see. */
static volatile unsigned int docdb_forks = 0;
static void docdb_forked(void) { docdb_forks++; }
static int docdb_watch_forks(void) { return pthread_atfork(NULL, NULL, docdb_forked); }

#endif
