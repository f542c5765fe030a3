// SPDX-License-Identifier: Apache-2.0
#include "daemon/key_file.h"

#include <carrick/error.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse_errno(struct carrick_error *error, const char *path, const char *what)
{
    int cause = errno;
    return carrick_error_set(error, cause == ENOENT ? CARRICK_ERR_NOT_FOUND : CARRICK_ERR_SYSTEM,
                             cause, "", "the key file %s %s: %s%s", path, what, strerror(cause),
                             cause == ENOENT
                                 ? "; make it on one node (head -c 32 /dev/urandom | base64) "
                                   "and copy it to the other"
                                 : "");
}

static int check_owner(const char *path, const struct stat *st, struct carrick_error *error)
{
    if (!S_ISREG(st->st_mode))
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "the key file %s is not a regular file", path);
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return carrick_error_set(
            error, CARRICK_ERR_DENIED, 0, "",
            "the key file %s belongs to user %u, who could change it; it must belong to "
            "root or to user %u (chown)",
            path, (unsigned)st->st_uid, (unsigned)geteuid());
    if (st->st_mode & 077)
        return carrick_error_set(
            error, CARRICK_ERR_DENIED, 0, "",
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
        status =
            carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                              "the key file %s holds %zu bytes; a key has at least %u (head -c 32 "
                              "/dev/urandom | base64)",
                              path, length, KEY_BYTES_MIN);
    else if (length > KEY_BYTES_MAX)
        status = carrick_error_set(
            error, CARRICK_ERR_INVALID, 0, "",
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
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "the key file %s must be an absolute path", path);
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
