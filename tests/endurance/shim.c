// Loaded before the C library: lets the n-th call fail that does something to a file below one folder, or ends the
// process there, and sets the clock. `shim.py` builds it and says what its memory means. What passes it by: files that
// are mapped into memory, and what the C library does inside of a call of its own.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, CREATE = 4, RENAME = 8, REMOVE = 16, CHANGE = 32, READ = 64, OPEN = 128, LIST = 256 };

struct state {
    long armed, mask, nth, error, lasting, kill, seen, clock_seconds, clock_after, clock_calls;
    char below[1024];
    char hit[1024];
};

static struct state *state;

__attribute__((constructor)) static void begin(void) {
    if (state == NULL) {
        state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    }
}

struct state *shim_state(void) { return state; }

#define REAL(name) \
    static __typeof__(&name) real; \
    if (real == NULL) real = dlsym(RTLD_NEXT, #name)

static int is_below(const char *path) {
    size_t length = strlen(state->below);
    return strncmp(path, state->below, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int judged(int kind, const char *name, const char *path) {
    long seen = __atomic_add_fetch(&state->seen, 1, __ATOMIC_SEQ_CST);
    if (seen != state->nth && !(state->lasting && state->nth && seen > state->nth)) return 0;
    if (seen == state->nth) snprintf(state->hit, sizeof state->hit, "%s %s", name, path);
    if (state->kill) kill(0, SIGKILL);  // the group of the one that was begun
    errno = (int)state->error;
    (void)kind;
    return 1;
}

static int path_fails(int kind, const char *name, const char *path) {
    char whole[PATH_MAX * 2];
    if (state == NULL || !state->armed || !(state->mask & kind) || path == NULL) return 0;
    int before = errno;
    if (path[0] != '/') {
        if (getcwd(whole, PATH_MAX) == NULL) return 0;
        strncat(whole, "/", 2);
        strncat(whole, path, PATH_MAX - 1);
        path = whole;
    }
    errno = before;
    return is_below(path) && judged(kind, name, path);
}

static int file_fails(int kind, const char *name, int file) {
    char link[64], path[PATH_MAX];
    if (state == NULL || !state->armed || !(state->mask & kind)) return 0;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length <= 0) return 0;
    path[length] = 0;
    return is_below(path) && judged(kind, name, path);
}

#define FILE_CALL(type, name, kind, given, passed) \
    type name given { REAL(name); return file_fails(kind, #name, file) ? -1 : real passed; }
#define PATH_CALL(name, kind, given, passed) \
    int name given { REAL(name); return path_fails(kind, #name, path) ? -1 : real passed; }

FILE_CALL(ssize_t, write, WRITE, (int file, const void *data, size_t size), (file, data, size))
FILE_CALL(ssize_t, writev, WRITE, (int file, const struct iovec *data, int count), (file, data, count))
FILE_CALL(ssize_t, pwrite, WRITE, (int file, const void *data, size_t size, off_t at), (file, data, size, at))
FILE_CALL(ssize_t, pwrite64, WRITE, (int file, const void *data, size_t size, off64_t at), (file, data, size, at))
FILE_CALL(int, ftruncate, WRITE, (int file, off_t size), (file, size))
FILE_CALL(int, ftruncate64, WRITE, (int file, off64_t size), (file, size))
FILE_CALL(int, fsync, SYNC, (int file), (file))
FILE_CALL(int, fdatasync, SYNC, (int file), (file))
FILE_CALL(ssize_t, read, READ, (int file, void *data, size_t size), (file, data, size))
FILE_CALL(ssize_t, readv, READ, (int file, const struct iovec *data, int count), (file, data, count))
FILE_CALL(ssize_t, pread, READ, (int file, void *data, size_t size, off_t at), (file, data, size, at))
FILE_CALL(ssize_t, pread64, READ, (int file, void *data, size_t size, off64_t at), (file, data, size, at))
PATH_CALL(mkdir, CREATE, (const char *path, mode_t mode), (path, mode))
PATH_CALL(unlink, REMOVE, (const char *path), (path))
PATH_CALL(rmdir, REMOVE, (const char *path), (path))
PATH_CALL(chmod, CHANGE, (const char *path, mode_t mode), (path, mode))

ssize_t sendfile(int file, int from, off_t *at, size_t size) {
    static ssize_t (*real)(int, int, off_t *, size_t);
    if (real == NULL) real = (ssize_t(*)(int, int, off_t *, size_t))dlsym(RTLD_NEXT, "sendfile");
    return file_fails(WRITE, "sendfile", file) || file_fails(READ, "sendfile", from) ? -1 : real(file, from, at, size);
}

ssize_t sendfile64(int file, int from, off64_t *at, size_t size) {
    static ssize_t (*real)(int, int, off64_t *, size_t);
    if (real == NULL) real = (ssize_t(*)(int, int, off64_t *, size_t))dlsym(RTLD_NEXT, "sendfile64");
    return file_fails(WRITE, "sendfile", file) || file_fails(READ, "sendfile", from) ? -1 : real(file, from, at, size);
}

ssize_t copy_file_range(int from, off64_t *out, int file, off64_t *in, size_t size, unsigned flags) {
    REAL(copy_file_range);
    if (file_fails(WRITE, "copy_file_range", file) || file_fails(READ, "copy_file_range", from)) return -1;
    return real(from, out, file, in, size, flags);
}

int rename(const char *path, const char *to) {
    REAL(rename);
    return path_fails(RENAME, "rename", path) ? -1 : real(path, to);
}

int renameat(int from, const char *path, int there, const char *to) {
    REAL(renameat);
    return path_fails(RENAME, "renameat", path) ? -1 : real(from, path, there, to);
}

int renameat2(int from, const char *path, int there, const char *to, unsigned flags) {
    REAL(renameat2);
    return path_fails(RENAME, "renameat2", path) ? -1 : real(from, path, there, to, flags);
}

int symlink(const char *target, const char *path) {
    REAL(symlink);
    return path_fails(CREATE, "symlink", path) ? -1 : real(target, path);
}

int link(const char *target, const char *path) {
    REAL(link);
    return path_fails(CREATE, "link", path) ? -1 : real(target, path);
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat);
    char whole[PATH_MAX * 2], name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", folder);
    if (state != NULL && state->armed && path[0] != '/' && folder != AT_FDCWD) {
        ssize_t length = readlink(name, whole, PATH_MAX);
        if (length > 0) {
            snprintf(whole + length, PATH_MAX, "/%s", path);
            if (path_fails(REMOVE, "unlinkat", whole)) return -1;
        }
    } else if (path_fails(REMOVE, "unlinkat", path)) {
        return -1;
    }
    return real(folder, path, flags);
}

#define OPENING(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        int makes = flags & (O_CREAT | O_WRONLY | O_RDWR); \
        return path_fails(makes ? CREATE : OPEN, #name, path) ? -1 : real(path, flags, mode); \
    }

OPENING(open)
OPENING(open64)

int openat(int folder, const char *path, int flags, ...) {
    REAL(openat);
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (folder == AT_FDCWD || path[0] == '/') {
        int makes = flags & (O_CREAT | O_WRONLY | O_RDWR);
        if (path_fails(makes ? CREATE : OPEN, "openat", path)) return -1;
    }
    return real(folder, path, flags, mode);
}

DIR *opendir(const char *path) {
    REAL(opendir);
    return path_fails(LIST, "opendir", path) ? NULL : real(path);
}

static long shift(void) {
    if (state == NULL || state->clock_seconds == 0) return 0;
    long calls = __atomic_add_fetch(&state->clock_calls, 1, __ATOMIC_SEQ_CST);
    return calls > state->clock_after ? state->clock_seconds : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int done = real(clock, now);
    if (done == 0 && clock == CLOCK_REALTIME) now->tv_sec += shift();
    return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    REAL(gettimeofday);
    int done = real(now, zone);
    if (done == 0) now->tv_sec += shift();
    return done;
}

time_t time(time_t *place) {
    REAL(time);
    time_t now = real(NULL) + shift();
    if (place != NULL) *place = now;
    return now;
}
