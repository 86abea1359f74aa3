/*
 * Makes writing and flushing fail, for tests: preload it (LD_PRELOAD) and say in the environment what shall happen.
 *
 *     DOCDB_FAULT_PATH     only files whose path contains this; all when unset
 *     DOCDB_FAULT_AT       the number of the call (from 1) that fails; 0 or unset: none
 *     DOCDB_FAULT_MODE     once (default), or ever: that call and all after it
 *     DOCDB_FAULT_ERRNO    the errno, as a number (default 5, EIO)
 *     DOCDB_FAULT_ARM      counting begins only when this file exists
 *     DOCDB_FAULT_COUNTS   a file that gets "calls failed\n" at the exit of the process
 *     DOCDB_SYNC_DELAY_US  each fsync and fdatasync (and synchronous pwrite) takes so much longer
 *
 * A process that has loaded it may also set it anew, through ctypes: docdb_fault_arm(at, errno, ever) counts from 1 again, and docdb_fault_calls() and
 * docdb_fault_failed() tell how many there were since. So one warmed process can fork a child for each call that shall fail.
 *
 * Counted: pwrite, pwritev, write, writev, fsync, fdatasync, ftruncate, and their 64 forms. All count together, in the order of the calls.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls, failed;
static long fail_at, delay_us;
static int fail_errno = EIO, fail_ever;
static const char *path_part, *arm, *counts;

__attribute__((constructor)) static void read_settings(void)
{
    const char *text;
    path_part = getenv("DOCDB_FAULT_PATH");
    arm = getenv("DOCDB_FAULT_ARM");
    counts = getenv("DOCDB_FAULT_COUNTS");
    if ((text = getenv("DOCDB_FAULT_AT")))
        fail_at = atol(text);
    if ((text = getenv("DOCDB_FAULT_ERRNO")))
        fail_errno = atoi(text);
    if ((text = getenv("DOCDB_FAULT_MODE")))
        fail_ever = strcmp(text, "ever") == 0;
    if ((text = getenv("DOCDB_SYNC_DELAY_US")))
        delay_us = atol(text);
}

__attribute__((destructor)) static void write_counts(void)
{
    FILE *file = counts ? fopen(counts, "w") : NULL;
    if (file) {
        fprintf(file, "%ld %ld\n", (long)calls, (long)failed);
        fclose(file);
    }
}

void docdb_fault_arm(long at, int error, int ever)
{
    fail_at = at;
    fail_errno = error;
    fail_ever = ever;
    calls = failed = 0;
}

long docdb_fault_calls(void)
{
    return calls;
}

long docdb_fault_failed(void)
{
    return failed;
}

static int concerns(int fd)
{
    char link[64], path[PATH_MAX + 1];
    ssize_t size;
    if (!path_part)
        return 1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, path, PATH_MAX);
    if (size < 0)
        return 0;
    path[size] = 0;
    return strstr(path, path_part) != NULL;
}

/* Count a call; true when it must fail, errno is then set. */
static int fails(int fd)
{
    long number;
    if (!concerns(fd) || (arm && access(arm, F_OK)))
        return 0;
    number = ++calls;
    if (!fail_at || (fail_ever ? number < fail_at : number != fail_at))
        return 0;
    failed++;
    errno = fail_errno;
    return 1;
}

static void delay(int fd)
{
    if (delay_us && concerns(fd))
        usleep(delay_us);
}

static void delay_write(int fd)
{
    if (delay_us && fcntl(fd, F_GETFL) & O_DSYNC)
        delay(fd);
}

#define NEXT(type, name, ...) \
    static type (*next)(__VA_ARGS__); \
    if (!next) \
        next = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

#define PWRITE(name, offset_type) \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset) \
    { \
        NEXT(ssize_t, name, int, const void *, size_t, offset_type); \
        if (fails(fd)) \
            return -1; \
        delay_write(fd); \
        return next(fd, data, size, offset); \
    }

#define PWRITEV(name, offset_type) \
    ssize_t name(int fd, const struct iovec *parts, int count, offset_type offset) \
    { \
        NEXT(ssize_t, name, int, const struct iovec *, int, offset_type); \
        if (fails(fd)) \
            return -1; \
        delay_write(fd); \
        return next(fd, parts, count, offset); \
    }

#define TRUNCATE(name, offset_type) \
    int name(int fd, offset_type size) \
    { \
        NEXT(int, name, int, offset_type); \
        return fails(fd) ? -1 : next(fd, size); \
    }

#define SYNC(name) \
    int name(int fd) \
    { \
        NEXT(int, name, int); \
        if (fails(fd)) \
            return -1; \
        delay(fd); \
        return next(fd); \
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
    return path_part && fails(fd) ? -1 : next(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    NEXT(ssize_t, writev, int, const struct iovec *, int);
    return path_part && fails(fd) ? -1 : next(fd, parts, count);
}
