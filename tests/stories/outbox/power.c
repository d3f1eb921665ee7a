/* Writes down, in the order in which it happens, what a program does to its database files and when it answers over HTTP.
   Loaded into the program with LD_PRELOAD; the file to write to is named by POWER_LOG.

   Each record: one byte for what, one for the file ('d' database, 'l' its log, '-' none), two numbers of 8 bytes, and for
   'W' as many bytes as the second number says.

     W  bytes were written at (offset, length)
     T  the file was cut or extended to (length, 0)
     B  an fsync begins (its number, 0)
     S  that fsync has succeeded (its number, 0)
     A  an answer "HTTP/1.1 2.." is about to be sent (status, 0) */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
static int out = -1;
static uint64_t syncs;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void put(const void *bytes, size_t length) {
    ssize_t (*real)(int, const void *, size_t) = REAL(write);
    const char *rest = bytes;
    while (length > 0) {
        ssize_t written = real(out, rest, length);
        if (written <= 0) abort();
        rest += written;
        length -= written;
    }
}

static void note(char what, char file, uint64_t first, uint64_t second, const void *bytes) {
    if (out < 0) {
        const char *path = getenv("POWER_LOG");
        out = open(path ? path : "/dev/null", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (out < 0) abort();
    }
    char head[18];
    head[0] = what;
    head[1] = file;
    memcpy(head + 2, &first, 8);
    memcpy(head + 10, &second, 8);
    put(head, sizeof head);
    if (bytes) put(bytes, second);
}

/* Which of the two files this is; 0: neither. */
static char file_of(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (length > 7 && strcmp(path + length - 7, ".db-wal") == 0) return 'l';
    if (length > 3 && strcmp(path + length - 3, ".db") == 0) return 'd';
    return 0;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    char file = fd == out ? 0 : file_of(fd);
    if (!file) return REAL(write)(fd, bytes, length);
    pthread_mutex_lock(&one);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t written = REAL(write)(fd, bytes, length);
    int error = errno;
    if (written > 0) note('W', file, at, written, bytes);
    pthread_mutex_unlock(&one);
    errno = error;
    return written;
}

static ssize_t write_at(int fd, const void *bytes, size_t length, off64_t at) {
    char file = file_of(fd);
    if (!file) return REAL(pwrite64)(fd, bytes, length, at);
    pthread_mutex_lock(&one);
    ssize_t written = REAL(pwrite64)(fd, bytes, length, at);
    int error = errno;
    if (written > 0) note('W', file, at, written, bytes);
    pthread_mutex_unlock(&one);
    errno = error;
    return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) { return write_at(fd, bytes, length, at); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return write_at(fd, bytes, length, at); }

static int cut(int fd, off64_t length) {
    char file = file_of(fd);
    if (!file) return REAL(ftruncate64)(fd, length);
    pthread_mutex_lock(&one);
    int failed = REAL(ftruncate64)(fd, length);
    int error = errno;
    if (!failed) note('T', file, length, 0, NULL);
    pthread_mutex_unlock(&one);
    errno = error;
    return failed;
}

int ftruncate64(int fd, off64_t length) { return cut(fd, length); }
int ftruncate(int fd, off_t length) { return cut(fd, length); }

static int sync_with(int (*real)(int), int fd) {
    char file = file_of(fd);
    if (!file) return real(fd);
    pthread_mutex_lock(&one);
    uint64_t number = ++syncs;
    note('B', file, number, 0, NULL);
    pthread_mutex_unlock(&one);
    int failed = real(fd);
    int error = errno;
    if (!failed) {
        pthread_mutex_lock(&one);
        note('S', file, number, 0, NULL);
        pthread_mutex_unlock(&one);
    }
    errno = error;
    return failed;
}

int fsync(int fd) { return sync_with(REAL(fsync), fd); }
int fdatasync(int fd) { return sync_with(REAL(fdatasync), fd); }

static void maybe_answer(const void *bytes, size_t length) {
    if (length < 12 || memcmp(bytes, "HTTP/1.1 2", 10) != 0) return;
    pthread_mutex_lock(&one);
    note('A', '-', atoi((const char *)bytes + 9), 0, NULL);
    pthread_mutex_unlock(&one);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    maybe_answer(bytes, length);
    return REAL(send)(fd, bytes, length, flags);
}

ssize_t writev(int fd, const struct iovec *parts, int many) {
    if (many > 0) maybe_answer(parts[0].iov_base, parts[0].iov_len);
    return REAL(writev)(fd, parts, many);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    if (message->msg_iovlen > 0) maybe_answer(message->msg_iov[0].iov_base, message->msg_iov[0].iov_len);
    return REAL(sendmsg)(fd, message, flags);
}
