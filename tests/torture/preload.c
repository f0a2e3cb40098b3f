/* A failing file layer and a clock that jumps, for one process: LD_PRELOAD, told by a mapped control file.
 *
 * TORTURE_CONTROL names the file; tests/torture/preload.py writes it. A fault holds from the moment that its
 * errno is not 0, for files whose path begins with the prefix; descriptors that are open already included. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
    int64_t clock_seconds;
    int32_t write_errno, read_errno, open_errno, unused;
    char prefix[512];
};

static volatile struct control *control;

__attribute__((constructor)) static void attach(void)
{
    const char *path = getenv("TORTURE_CONTROL");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED)
        control = map;
    close(fd);
}

static int below(const char *path)
{
    const char *prefix = (const char *)control->prefix;
    return *prefix && strncmp(path, prefix, strlen(prefix)) == 0;
}

static int hit(int fd, int code)
{
    char link[64], path[1024];
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length < 0)
        return 0;
    path[length] = 0;
    if (!below(path))
        return 0;
    errno = code;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAILS(fd, which) (control && control->which && hit(fd, control->which))
#define WRAP(type, name, which, parameters, ...) \
    type name parameters \
    { \
        static __typeof__(&name) real; \
        if (!real) \
            real = REAL(name); \
        return FAILS(fd, which) ? -1 : real(__VA_ARGS__); \
    }

WRAP(ssize_t, write, write_errno, (int fd, const void *data, size_t size), fd, data, size)
WRAP(ssize_t, pwrite, write_errno, (int fd, const void *data, size_t size, off_t at), fd, data, size, at)
WRAP(ssize_t, pwrite64, write_errno, (int fd, const void *data, size_t size, off64_t at), fd, data, size, at)
WRAP(ssize_t, pwritev, write_errno, (int fd, const struct iovec *all, int count, off_t at), fd, all, count, at)
WRAP(ssize_t, pwritev64, write_errno, (int fd, const struct iovec *all, int count, off64_t at), fd, all, count, at)
WRAP(ssize_t, writev, write_errno, (int fd, const struct iovec *all, int count), fd, all, count)
WRAP(int, ftruncate, write_errno, (int fd, off_t size), fd, size)
WRAP(int, ftruncate64, write_errno, (int fd, off64_t size), fd, size)
WRAP(int, fsync, write_errno, (int fd), fd)
WRAP(int, fdatasync, write_errno, (int fd), fd)
WRAP(ssize_t, read, read_errno, (int fd, void *data, size_t size), fd, data, size)
WRAP(ssize_t, pread, read_errno, (int fd, void *data, size_t size, off_t at), fd, data, size, at)
WRAP(ssize_t, pread64, read_errno, (int fd, void *data, size_t size, off64_t at), fd, data, size, at)
WRAP(ssize_t, preadv, read_errno, (int fd, const struct iovec *all, int count, off_t at), fd, all, count, at)
WRAP(ssize_t, preadv64, read_errno, (int fd, const struct iovec *all, int count, off64_t at), fd, all, count, at)

static int refused(const char *path, int flags)
{
    if (!control || !below(path))
        return 0;
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
    int code = control->open_errno ? control->open_errno : writes ? control->write_errno : 0;
    if (code)
        errno = code;
    return code != 0;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        return refused(path, flags) ? -1 : REAL(name)(path, flags, mode); \
    }

OPEN(open)
OPEN(open64)

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = REAL(clock_gettime);
    int answer = real(clock, now);
    if (answer == 0 && clock == CLOCK_REALTIME && control)
        now->tv_sec += control->clock_seconds;
    return answer;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    int answer = REAL(gettimeofday)(now, zone);
    if (answer == 0 && control)
        now->tv_sec += control->clock_seconds;
    return answer;
}

time_t time(time_t *to)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to)
        *to = now.tv_sec;
    return now.tv_sec;
}
