/*
 * What a row cannot be faster than, in C: LMDB's own calls on the stored bytes, flushes of pages, and the objects a document is made of.
 *
 * Compiled when it is asked for (floors.py); LMDB is the one in py-lmdb's shared library, through the table the engine uses. Each loop takes what it needs
 * ready made and returns nanoseconds, or a negative code of LMDB's, so that nothing of Python is in the time. Nothing is decoded, nothing checked.
 */
#include <Python.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lmdb_table.h"

enum { DOCUMENTS, ENTRIES, CHANGES, CATALOG, SPACES };

typedef struct {
    const docdb_table *api;
    MDB_env *env;
    MDB_dbi spaces[SPACES];
    MDB_txn *reader; /* reset, to be renewed */
} store;

typedef struct {
    int space, flags; /* flags: 1 append, 2 delete, 4 read only */
    const char *key, *value;
    size_t key_size, value_size;
} step;

volatile uint64_t floor_sink; /* what was read, so that no compiler leaves the reading out */

static long long now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static void look(const MDB_val *value)
{
    floor_sink += value->mv_size + *(const unsigned char *)value->mv_data;
}

/* Open a folder that nobody else has open; NULL when LMDB will not. */
void *floor_open(const char *library, const char *folder, const char **names, size_t map_bytes)
{
    store *made = calloc(1, sizeof *made);
    MDB_txn *txn = NULL;
    int code, space;

    if (made == NULL || (made->api = docdb_resolve(library)) == NULL)
        return NULL;
    code = made->api->env_create(&made->env);
    code = code ? code : made->api->env_set_mapsize(made->env, map_bytes);
    code = code ? code : made->api->env_set_maxdbs(made->env, SPACES);
    code = code ? code : made->api->env_open(made->env, folder, DOCDB_NOTLS, 0644);
    code = code ? code : made->api->txn_begin(made->env, NULL, DOCDB_RDONLY, &txn);
    for (space = 0; space < SPACES && code == 0; space++)
        code = made->api->dbi_open(txn, names[space], 0, &made->spaces[space]);
    code = code ? code : made->api->txn_commit(txn);
    code = code ? code : made->api->txn_begin(made->env, NULL, DOCDB_RDONLY, &made->reader);
    if (code)
        return NULL;
    made->api->txn_reset(made->reader);
    return made;
}

void floor_close(void *handle)
{
    store *known = handle;
    known->api->txn_abort(known->reader);
    known->api->env_close(known->env);
    free(known);
}

/* Carry the steps out in one durable commit. */
long long floor_commit(void *handle, const step *steps, size_t count)
{
    const store *known = handle;
    const docdb_table *api = known->api;
    const long long began = now();
    MDB_txn *txn;
    size_t at;
    int code = api->txn_begin(known->env, NULL, 0, &txn);

    for (at = 0; at < count && code == 0; at++) {
        const step *one = &steps[at];
        MDB_val key = {one->key_size, (void *)one->key}, value = {one->value_size, (void *)one->value};
        if (one->flags & 4) {
            code = api->get(txn, known->spaces[one->space], &key, &value);
            if (code == 0)
                look(&value);
        } else if (one->flags & 2) {
            code = api->del(txn, known->spaces[one->space], &key, NULL);
        } else {
            code = api->put(txn, known->spaces[one->space], &key, &value, one->flags & 1 ? DOCDB_APPEND : 0);
        }
    }
    if (code) {
        api->txn_abort(txn);
        return code < 0 ? code : -code;
    }
    code = api->txn_commit(txn);
    return code ? (code < 0 ? code : -code) : now() - began;
}

/* Get each document in a snapshot of its own. The keys lie behind one another. */
long long floor_get(void *handle, const char *keys, const size_t *sizes, size_t count)
{
    const store *known = handle;
    const docdb_table *api = known->api;
    const long long began = now();
    size_t at;

    for (at = 0; at < count; at++) {
        MDB_val key = {sizes[at], (void *)keys}, value;
        int code = api->txn_renew(known->reader);
        code = code ? code : api->get(known->reader, known->spaces[DOCUMENTS], &key, &value);
        if (code == 0)
            look(&value);
        api->txn_reset(known->reader);
        if (code)
            return code < 0 ? code : -code;
        keys += sizes[at];
    }
    return now() - began;
}

/* Go along an index from `low` and get the documents of so many entries. `prefix`: of the collection's documents, 4 bytes. */
long long floor_range(void *handle, const char *low, size_t low_size, const char *prefix, size_t count)
{
    const store *known = handle;
    const docdb_table *api = known->api;
    const long long began = now();
    MDB_cursor *entries, *documents;
    MDB_val key = {low_size, (void *)low}, value, wanted;
    char id[512];
    int code = api->txn_renew(known->reader);

    code = code ? code : api->cursor_open(known->reader, known->spaces[ENTRIES], &entries);
    if (code)
        return code < 0 ? code : -code;
    code = api->cursor_open(known->reader, known->spaces[DOCUMENTS], &documents);
    memcpy(id, prefix, 4);
    code = code ? code : api->cursor_get(entries, &key, &value, DOCDB_SET_RANGE);
    while (code == 0 && count > 0) {
        const size_t size = *(const unsigned char *)value.mv_data; /* of the id, at the key's end */
        memcpy(id + 4, (const char *)key.mv_data + key.mv_size - size, size);
        wanted.mv_size = size + 4;
        wanted.mv_data = id;
        code = api->cursor_get(documents, &wanted, &value, DOCDB_SET);
        if (code == 0)
            look(&value);
        if (--count > 0)
            code = code ? code : api->cursor_get(entries, &key, &value, DOCDB_NEXT);
    }
    api->cursor_close(entries);
    api->cursor_close(documents);
    api->txn_reset(known->reader);
    return code ? (code < 0 ? code : -code) : now() - began;
}

/* Write pages at their places and flush, then a meta page as LMDB does (by a descriptor that flushes each write). `page`: 4096 bytes. */
long long floor_flush(int data, int meta, const char *page, const off_t *places, size_t count, size_t meta_size)
{
    const long long began = now();
    size_t at;

    for (at = 0; at < count; at++)
        if (pwrite(data, page, 4096, places[at]) != 4096)
            return -errno;
    if (fdatasync(data) || pwrite(meta, page, meta_size, 0) != (ssize_t)meta_size)
        return -errno;
    return now() - began;
}

/* A value as a new object, which is as many objects as a decoder has to make. A NULL is Python's error. */
static PyObject *again(PyObject *value)
{
    PyObject *made, *name, *item;
    Py_ssize_t at = 0;

    if (PyUnicode_CheckExact(value))
        return PyUnicode_FromKindAndData(PyUnicode_KIND(value), PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value));
    if (PyLong_CheckExact(value))
        return PyLong_FromLongLong(PyLong_AsLongLong(value));
    if (PyFloat_CheckExact(value))
        return PyFloat_FromDouble(PyFloat_AS_DOUBLE(value));
    if (PyList_CheckExact(value)) {
        made = PyList_New(PyList_GET_SIZE(value));
        for (; made != NULL && at < PyList_GET_SIZE(value); at++) {
            item = again(PyList_GET_ITEM(value, at));
            if (item == NULL)
                Py_CLEAR(made);
            else
                PyList_SET_ITEM(made, at, item);
        }
        return made;
    }
    if (PyDict_CheckExact(value)) {
        /* Put into a copy: cheaper than what is built name by name, because the places are known. */
        made = PyDict_Copy(value);
        while (made != NULL && PyDict_Next(value, &at, &name, &item)) {
            item = again(item);
            if (item == NULL || PyDict_SetItem(made, name, item))
                Py_CLEAR(made);
            Py_XDECREF(item);
        }
        return made;
    }
    Py_INCREF(value);
    return value;
}

/* Make each document of a list anew and let it go again, as a caller would who reads one field. Called with the interpreter's lock. */
long long floor_dicts(PyObject *documents)
{
    const long long began = now();
    Py_ssize_t at;

    for (at = 0; at < PyList_GET_SIZE(documents); at++) {
        PyObject *made = again(PyList_GET_ITEM(documents, at));
        if (made == NULL) {
            PyErr_Clear();
            return -1;
        }
        floor_sink += (uint64_t)PyDict_GET_SIZE(made);
        Py_DECREF(made);
    }
    return now() - began;
}
