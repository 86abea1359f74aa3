/*
 * Records what a process writes to its data files and when it flushes them, for tests: preload it (LD_PRELOAD) and say in the environment
 *
 *     DOCDB_RECORD         the file that takes the record
 *     DOCDB_RECORD_PATH    only files whose path contains this
 *
 * The record is a sequence of events, each begun by 24 bytes: kind (1), durable (1), six of padding, and two numbers of 8 bytes:
 *
 *     W  offset, size    a write has returned; its bytes follow. Durable: the file was open with O_DSYNC or O_SYNC
 *     S  writes, 0       a flush has returned that began when so many writes had
 *     T  size, 0         the file was cut to, or stretched to, a size
 *     R  0, 0            a folder was renamed: the file is where it will be looked for
 *     M  number, 0       docdb_record_mark(number) was called (through ctypes): what the process holds for done
 *
 * One file at a time is meant: events do not say which it was.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct head {
    char kind, durable, padding[6];
    uint64_t first, second;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *record;
static const char *path_part;
static uint64_t writes;

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("DOCDB_RECORD");
    path_part = getenv("DOCDB_RECORD_PATH");
    if (name && path_part)
        record = fopen(name, "wb");
}

__attribute__((destructor)) static void end(void)
{
    if (record)
        fclose(record);
    record = NULL;
}

static int concerns(int fd)
{
    char link[64], path[PATH_MAX + 1];
    ssize_t size;
    if (!record)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, path, PATH_MAX);
    if (size < 0)
        return 0;
    path[size] = 0;
    return strstr(path, path_part) && strstr(path, "data.mdb");
}

static void note(char kind, int durable, uint64_t first, uint64_t second, const struct iovec *parts, int count)
{
    struct head head = {.kind = kind, .durable = (char)durable, .first = first, .second = second};
    uint64_t left = second;
    pthread_mutex_lock(&lock);
    if (record) {
        fwrite(&head, sizeof head, 1, record);
        for (int i = 0; i < count && left; i++) {
            size_t size = parts[i].iov_len < left ? parts[i].iov_len : left;
            fwrite(parts[i].iov_base, 1, size, record);
            left -= size;
        }
        writes += kind == 'W';
    }
    pthread_mutex_unlock(&lock);
}

static void wrote(int fd, off_t offset, ssize_t size, const struct iovec *parts, int count)
{
    if (size > 0)
        note('W', (fcntl(fd, F_GETFL) & (O_DSYNC | O_SYNC)) != 0, (uint64_t)offset, (uint64_t)size, parts, count);
}

static uint64_t writes_now(void)
{
    uint64_t now;
    pthread_mutex_lock(&lock);
    now = writes;
    pthread_mutex_unlock(&lock);
    return now;
}

void docdb_record_mark(long number)
{
    note('M', 0, (uint64_t)number, 0, NULL, 0);
}

#define NEXT(type, name, ...) \
    static type (*next)(__VA_ARGS__); \
    if (!next) \
        next = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

#define PWRITE(name, offset_type) \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset) \
    { \
        NEXT(ssize_t, name, int, const void *, size_t, offset_type); \
        ssize_t done = next(fd, data, size, offset); \
        if (concerns(fd)) \
            wrote(fd, offset, done, &(struct iovec){(void *)data, size}, 1); \
        return done; \
    }

#define PWRITEV(name, offset_type) \
    ssize_t name(int fd, const struct iovec *parts, int count, offset_type offset) \
    { \
        NEXT(ssize_t, name, int, const struct iovec *, int, offset_type); \
        ssize_t done = next(fd, parts, count, offset); \
        if (concerns(fd)) \
            wrote(fd, offset, done, parts, count); \
        return done; \
    }

#define TRUNCATE(name, offset_type) \
    int name(int fd, offset_type size) \
    { \
        NEXT(int, name, int, offset_type); \
        int done = next(fd, size); \
        if (!done && concerns(fd)) \
            note('T', 0, (uint64_t)size, 0, NULL, 0); \
        return done; \
    }

#define SYNC(name) \
    int name(int fd) \
    { \
        NEXT(int, name, int); \
        int ours = concerns(fd); \
        uint64_t before = ours ? writes_now() : 0; \
        int done = next(fd); \
        if (!done && ours) \
            note('S', 0, before, 0, NULL, 0); \
        return done; \
    }

PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)
SYNC(fsync)
SYNC(fdatasync)

ssize_t write(int fd, const void *data, size_t size)
{
    NEXT(ssize_t, write, int, const void *, size_t);
    int ours = concerns(fd);
    ssize_t done = next(fd, data, size);
    if (ours && done > 0)
        wrote(fd, lseek(fd, 0, SEEK_CUR) - done, done, &(struct iovec){(void *)data, size}, 1);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    NEXT(ssize_t, writev, int, const struct iovec *, int);
    int ours = concerns(fd);
    ssize_t done = next(fd, parts, count);
    if (ours && done > 0)
        wrote(fd, lseek(fd, 0, SEEK_CUR) - done, done, parts, count);
    return done;
}

int rename(const char *from, const char *to)
{
    NEXT(int, rename, const char *, const char *);
    int done = next(from, to);
    if (!done && record && strstr(to, path_part))
        note('R', 0, 0, 0, NULL, 0);
    return done;
}
