// SPDX-License-Identifier: Apache-2.0
//
// Reading and changing a mailbox. What must hold, wherever a process ends:
//
//   - a name GROUP.N is only ever given to a record that is whole and synced;
//   - what is answered as standing is synced in the directory, too;
//   - a number that was pruned cannot be won again: whoever gives a name looks whether a higher one is there.
#include "mailbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LEFTOVER_S 3600 // a temporary file this old belongs to nobody any more
#define NAME_BYTES 128u

static void passed(const struct mailbox_directory *directory, enum mailbox_point point)
{
    if (directory->point != NULL)
        directory->point(directory->arg, point);
}

static void fail(struct mailbox_answer *answer, int status, const char *what, const char *where)
{
    answer->status = status;
    answer->has_record = false;
    snprintf(answer->cause, sizeof answer->cause, "%s %.160s: %s", what, where, strerror(errno));
}

static void name_put(const char *group, uint64_t number, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "%s.%020" PRIu64, group, number);
}

static bool name_get(const char *name, const char *group, uint64_t *number)
{
    size_t length = strlen(group);

    if (strncmp(name, group, length) != 0 || name[length] != '.' ||
        strlen(name + length + 1) != MAILBOX_DIGITS ||
        strspn(name + length + 1, "0123456789") != MAILBOX_DIGITS)
        return false;
    *number = strtoull(name + length + 1, NULL, 10);
    return *number > 0;
}

static int directory_open(const struct mailbox_directory *directory, struct mailbox_answer *answer)
{
    int fd = open(directory->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        fail(answer, CARRICK_ERR_UNREACHABLE, "cannot open the directory", directory->path);
    return fd;
}

// Calls fn for each name. The descriptor stays the caller's.
static bool each_name(int fd, void (*fn)(void *arg, const char *name), void *arg)
{
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = again < 0 ? NULL : fdopendir(again);
    struct dirent *entry;

    if (entries == NULL) {
        if (again >= 0)
            close(again);
        return false;
    }
    errno = 0;
    while ((entry = readdir(entries)) != NULL) {
        fn(arg, entry->d_name);
        errno = 0;
    }
    int error = errno;
    closedir(entries);
    errno = error;
    return error == 0;
}

struct highest {
    const char *group;
    uint64_t number;
};

static void take_highest(void *arg, const char *name)
{
    struct highest *highest = arg;
    uint64_t number;

    if (name_get(name, highest->group, &number) && number > highest->number)
        highest->number = number;
}

// ---- reading

static bool record_read(int fd, const char *group, uint64_t number,
                        struct carrick_arbiter_record *record)
{
    char name[NAME_BYTES], text[MAILBOX_TEXT_MAX + 1];
    size_t length = 0;
    ssize_t got = 1;
    int file;

    name_put(group, number, name);
    file = openat(fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0)
        return false;
    while (got > 0 && length < sizeof text) {
        got = read(file, text + length, sizeof text - length);
        if (got > 0)
            length += (size_t)got;
    }
    close(file);
    return got == 0 && mailbox_record_get(text, length, group, number, record);
}

// Another writer may prune what was the highest when the directory was read: then there is a higher one by now.
#define ATTEMPTS 8

static void find(int fd, const struct mailbox_directory *directory, const char *group,
                 struct mailbox_answer *answer)
{
    struct highest highest = {.group = group};

    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        highest.number = 0;
        if (!each_name(fd, take_highest, &highest)) {
            fail(answer, CARRICK_ERR_UNREACHABLE, "cannot read the directory", directory->path);
            return;
        }
        if (highest.number == 0) {
            answer->record = (struct carrick_arbiter_record){.struct_size = sizeof answer->record};
            answer->has_record = true;
            answer->status = CARRICK_OK;
            return;
        }
        if (record_read(fd, group, highest.number, &answer->record)) {
            answer->has_record = true;
            answer->status = CARRICK_OK;
            return;
        }
    }
    // An older one must not be told instead: this one may have stood.
    answer->status = CARRICK_ERR_UNREACHABLE;
    answer->has_record = false;
    snprintf(answer->cause, sizeof answer->cause,
             "%.120s/%s.%020" PRIu64
             " is damaged: nothing is decided until a person has looked and removed it",
             directory->path, group, highest.number);
}

// What was seen may have been named by a writer that ended before it synced the directory.
static void find_synced(int fd, const struct mailbox_directory *directory, const char *group,
                        struct mailbox_answer *answer)
{
    find(fd, directory, group, answer);
    if (answer->status == CARRICK_OK && fsync(fd) != 0)
        fail(answer, CARRICK_ERR_UNREACHABLE, "cannot sync the directory", directory->path);
}

void mailbox_read(const struct mailbox_directory *directory, const char *group,
                  struct mailbox_answer *answer)
{
    int fd;

    memset(answer, 0, sizeof *answer);
    fd = directory_open(directory, answer);
    if (fd < 0)
        return;
    find_synced(fd, directory, group, answer);
    close(fd);
}

// ---- changing

static void temporary_name(const struct mailbox_directory *directory, const char *group,
                           char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, ".new.%.31s.%.31s.%016" PRIx64, group, directory->node,
             directory->nonce);
}

static bool write_all(int file, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t wrote = write(file, text, length);

        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return false;
        text += wrote;
        length -= (size_t)wrote;
    }
    return true;
}

// The open file, whole and synced under a name of its own; -1.
static int temporary_make(int fd, const struct mailbox_directory *directory, const char *group,
                          const struct carrick_arbiter_record *record, const char *name)
{
    char text[MAILBOX_TEXT_MAX];
    size_t length = mailbox_record_put(group, record, text);
    int file = openat(fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    if (file < 0)
        return -1;
    passed(directory, MAILBOX_CREATED);
    if (write_all(file, text, length)) {
        passed(directory, MAILBOX_WRITTEN);
        if (fsync(file) == 0) {
            passed(directory, MAILBOX_SYNCED);
            return file;
        }
    }
    int error = errno;
    close(file);
    unlinkat(fd, name, 0);
    errno = error;
    return -1;
}

struct prune {
    int fd;
    const char *group;
    uint64_t number;
};

static void prune_name(void *arg, const char *name)
{
    const struct prune *prune = arg;
    struct stat info;
    uint64_t number;

    if (name_get(name, prune->group, &number)) {
        if (number + MAILBOX_KEEP <= prune->number)
            unlinkat(prune->fd, name, 0);
    } else if (strncmp(name, ".new.", 5) == 0 &&
               fstatat(prune->fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
               info.st_mtime + LEFTOVER_S < time(NULL)) {
        unlinkat(prune->fd, name, 0);
    }
}

// Over a network the answer of link(2) may be lost and the repeated request fail: the file's own count tells.
static bool link_won(int fd, int file, const char *temporary, const char *name)
{
    struct stat ours, named;

    if (linkat(fd, temporary, fd, name, 0) == 0)
        return true;
    int error = errno;
    bool won = fstat(file, &ours) == 0 && ours.st_nlink == 2 &&
               fstatat(fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && named.st_ino == ours.st_ino &&
               named.st_dev == ours.st_dev;
    errno = error;
    return won;
}

static void publish(int fd, int file, const struct mailbox_directory *directory, const char *group,
                    const struct carrick_arbiter_record *record, const char *temporary,
                    struct mailbox_answer *answer)
{
    char name[NAME_BYTES];

    name_put(group, record->number, name);
    if (!link_won(fd, file, temporary, name)) {
        if (errno == EEXIST) {
            find_synced(fd, directory, group, answer);
            if (answer->status == CARRICK_OK)
                answer->status = CARRICK_ERR_CONFLICT;
        } else {
            fail(answer, CARRICK_ERR_UNKNOWN, "cannot tell whether the name was given to", name);
        }
        return;
    }
    passed(directory, MAILBOX_LINKED);
    if (fsync(fd) != 0) {
        fail(answer, CARRICK_ERR_UNKNOWN, "cannot sync the directory", directory->path);
        return;
    }
    passed(directory, MAILBOX_PUBLISHED);
    find(fd, directory, group, answer);
    if (answer->status != CARRICK_OK) {
        answer->status = CARRICK_ERR_UNKNOWN;
    } else if (answer->record.number != record->number) {
        // A name that had been pruned, or another came after it, by a writer that may not have synced the directory yet.
        if (fsync(fd) != 0)
            fail(answer, CARRICK_ERR_UNKNOWN, "cannot sync the directory", directory->path);
        else
            answer->status = CARRICK_ERR_CONFLICT;
    }
}

static void change(int fd, const struct mailbox_directory *directory, const char *group,
                   uint64_t expected, const struct carrick_arbiter_record *wanted,
                   struct mailbox_answer *answer)
{
    struct carrick_arbiter_record record = *wanted;
    char temporary[NAME_BYTES];
    int file;

    find_synced(fd, directory, group, answer);
    if (answer->status != CARRICK_OK)
        return;
    if (answer->record.number != expected) {
        answer->status = CARRICK_ERR_CONFLICT;
        return;
    }
    record.number = expected + 1;
    temporary_name(directory, group, temporary);
    file = temporary_make(fd, directory, group, &record, temporary);
    if (file < 0) {
        fail(answer, CARRICK_ERR_UNREACHABLE, "cannot write a record in", directory->path);
        return;
    }
    publish(fd, file, directory, group, &record, temporary, answer);
    close(file);
    unlinkat(fd, temporary, 0);
    passed(directory, MAILBOX_UNLINKED);
    if (answer->status == CARRICK_OK) {
        struct prune prune = {.fd = fd, .group = group, .number = record.number};
        each_name(fd, prune_name, &prune);
        passed(directory, MAILBOX_PRUNED);
    }
}

void mailbox_change(const struct mailbox_directory *directory, const char *group, uint64_t expected,
                    const struct carrick_arbiter_record *wanted, struct mailbox_answer *answer)
{
    int fd;

    memset(answer, 0, sizeof *answer);
    fd = directory_open(directory, answer);
    if (fd < 0)
        return;
    change(fd, directory, group, expected, wanted, answer);
    close(fd);
}
