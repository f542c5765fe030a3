// SPDX-License-Identifier: Apache-2.0
#include "daemon/key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(struct carrick_error *error, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int refuse(struct carrick_error *error, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    error->status = status;
    return status;
}

static int refuse_errno(struct carrick_error *error, const char *path, const char *what)
{
    int cause = errno;
    int status =
        refuse(error, cause == ENOENT ? CARRICK_ERR_NOT_FOUND : CARRICK_ERR_SYSTEM,
               "the key file %s %s: %s%s", path, what, strerror(cause),
               cause == ENOENT ? "; make it on one node (head -c 32 /dev/urandom | base64) "
                                 "and copy it to the other"
                               : "");
    error->sys_errno = cause;
    return status;
}

static int check_owner(const char *path, const struct stat *st, struct carrick_error *error)
{
    if (!S_ISREG(st->st_mode))
        return refuse(error, CARRICK_ERR_INVALID, "the key file %s is not a regular file", path);
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return refuse(error, CARRICK_ERR_DENIED,
                      "the key file %s belongs to user %u, who could change it; it must belong to "
                      "root or to user %u (chown)",
                      path, (unsigned)st->st_uid, (unsigned)geteuid());
    if (st->st_mode & 077)
        return refuse(error, CARRICK_ERR_DENIED,
                      "the key file %s has mode %04o: others than its owner have access; make it "
                      "0600 (chmod 600), and a new key, if it may have been read",
                      path, (unsigned)st->st_mode & 07777);
    return CARRICK_OK;
}

static int read_key(const char *path, int fd, struct key *key, struct carrick_error *error)
{
    uint8_t room[KEY_BYTES_MAX + 2]; // one for a newline, one to see that there is more
    size_t length = 0;
    ssize_t got;
    while ((got = read(fd, room + length, sizeof(room) - length)) != 0) {
        if (got < 0 && errno != EINTR)
            return refuse_errno(error, path, "cannot be read");
        length += got > 0 ? (size_t)got : 0;
    }
    if (length > 0 && room[length - 1] == '\n')
        length--;
    int status = CARRICK_OK;
    if (length < KEY_BYTES_MIN)
        status = refuse(error, CARRICK_ERR_INVALID,
                        "the key file %s holds %zu bytes; a key has at least %u (head -c 32 "
                        "/dev/urandom | base64)",
                        path, length, KEY_BYTES_MIN);
    else if (length > KEY_BYTES_MAX)
        status = refuse(error, CARRICK_ERR_INVALID,
                        "the key file %s holds more than the %u bytes that a key may have; is it "
                        "the right file?",
                        path, KEY_BYTES_MAX);
    else
        memcpy(key->bytes, room, key->length = length);
    explicit_bzero(room, sizeof(room));
    return status;
}

int key_file_read(const char *path, struct key *key, struct carrick_error *error)
{
    memset(key, 0, sizeof(*key));
    if (path[0] != '/')
        return refuse(error, CARRICK_ERR_INVALID, "the key file %s must be an absolute path", path);
    // A FIFO must not hold us up.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return refuse_errno(error, path, "cannot be opened");
    struct stat st;
    int status = fstat(fd, &st) ? refuse_errno(error, path, "cannot be examined")
                                : check_owner(path, &st, error);
    if (!status)
        status = read_key(path, fd, key, error);
    close(fd);
    return status;
}

void key_forget(struct key *key)
{
    explicit_bzero(key, sizeof(*key));
}
