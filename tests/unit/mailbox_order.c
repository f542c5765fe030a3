// SPDX-License-Identifier: Apache-2.0
// needs plugin: mailbox
//
// What a mailbox makes safe before it goes on: the calls that reach the storage, in their order, and each of them failing.
// Whoever took one out would see nothing of it until power is lost.
#include <criterion/criterion.h>

#include "plugins/arbiter/mailbox/mailbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// ---- the calls, seen on their way: one word each, with what it was done to

static struct {
    char words[2048];
    int syncs, fail_sync; // the sync, counted from 1, that fails; 0: none
    bool on;
} seen;

static void see(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void see(const char *format, ...)
{
    size_t used = strlen(seen.words);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(seen.words + used, sizeof seen.words - used, format, arguments);
    va_end(arguments);
}

// NULL: neither a file nor a directory.
static const char *kind_of(int fd, struct stat *info)
{
    if (fstat(fd, info) != 0)
        return NULL;
    return S_ISDIR(info->st_mode) ? "directory" : S_ISREG(info->st_mode) ? "record" : NULL;
}

// These take the place of the library's own in this program.
int fsync(int fd)
{
    struct stat info;
    const char *kind = kind_of(fd, &info);
    long status = syscall(SYS_fsync, fd);

    if (!seen.on || kind == NULL)
        return (int)status;
    // A record that is not whole yet is not made safe by it.
    see("sync-%s%s ", kind, S_ISREG(info.st_mode) && info.st_size == 0 ? "-empty" : "");
    if (++seen.syncs != seen.fail_sync)
        return (int)status;
    errno = EIO;
    return -1;
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    if (seen.on)
        see("name ");
    return (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
}

int close(int fd)
{
    struct stat info;
    const char *kind = seen.on ? kind_of(fd, &info) : NULL;

    if (kind != NULL)
        see("close-%s ", kind);
    return (int)syscall(SYS_close, fd);
}

// ---- a mailbox

struct box {
    char path[64];
    struct mailbox_answer answer;
};

static void box_open(struct box *box)
{
    memset(box, 0, sizeof *box);
    snprintf(box->path, sizeof box->path, "%s/carrick-mailbox-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    cr_assert_not_null(mkdtemp(box->path));
}

static void box_close(struct box *box)
{
    DIR *entries = opendir(box->path);
    struct dirent *entry;

    while ((entry = readdir(entries)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(entries), entry->d_name, 0);
    closedir(entries);
    rmdir(box->path);
}

static void begin(int fail_sync)
{
    memset(&seen, 0, sizeof seen);
    seen.fail_sync = fail_sync;
    seen.on = true;
}

static int end(struct box *box)
{
    seen.on = false;
    return box->answer.status;
}

struct meddler {
    struct box *box;
    const char *record; // put under `name`, as another node does it, and not synced
    size_t length;
    const char *name;
    enum mailbox_point at;
};

static void put_record(const struct box *box, const char *name, const char *text, size_t length)
{
    char full[200];
    int fd;

    snprintf(full, sizeof full, "%s/%s", box->path, name);
    fd = open(full, O_WRONLY | O_CREAT | O_EXCL, 0644);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, length), (ssize_t)length);
    syscall(SYS_close, fd);
}

static void meddle(void *arg, enum mailbox_point point)
{
    const struct meddler *meddler = arg;

    if (point == meddler->at)
        put_record(meddler->box, meddler->name, meddler->record, meddler->length);
}

static int change(struct box *box, uint64_t expected, int fail_sync, struct meddler *meddler)
{
    struct mailbox_directory directory = {.path = box->path, .node = "alpha", .nonce = 1};
    struct carrick_arbiter_record wanted = {.struct_size = sizeof wanted, .owner = "alpha"};

    if (meddler != NULL) {
        directory.point = meddle;
        directory.arg = meddler;
    }
    begin(fail_sync);
    mailbox_change(&directory, "g1", expected, &wanted, &box->answer);
    return end(box);
}

static int look(struct box *box, int fail_sync)
{
    struct mailbox_directory directory = {.path = box->path, .node = "alpha"};

    begin(fail_sync);
    mailbox_read(&directory, "g1", &box->answer);
    return end(box);
}

static size_t record_text(uint64_t number, char text[MAILBOX_TEXT_MAX])
{
    struct carrick_arbiter_record record = {
        .struct_size = sizeof record, .owner = "beta", .number = number};

    return mailbox_record_put("g1", &record, text);
}

// ---- tests

Test(mailbox_order, a_record_is_safe_before_it_has_its_name_and_its_name_before_that_is_told)
{
    struct box box;

    box_open(&box);
    cr_assert_eq(change(&box, 0, 0, NULL), CARRICK_OK);
    cr_assert_str_eq(seen.words,
                     "sync-directory sync-record name sync-directory close-record "
                     "close-record close-directory ",
                     "%s", seen.words);
    box_close(&box);
}

// Who gave the name may have ended before it was safe.
Test(mailbox_order, what_is_read_is_safe_before_it_is_told)
{
    struct box box;
    char text[MAILBOX_TEXT_MAX];

    box_open(&box);
    put_record(&box, "g1.00000000000000000001", text, record_text(1, text));
    cr_assert_eq(look(&box, 0), CARRICK_OK);
    cr_assert_eq(box.answer.record.number, 1);
    cr_assert_str_eq(seen.words, "close-record sync-directory close-directory ", "%s", seen.words);
    box_close(&box);
}

Test(mailbox_order, what_stands_instead_is_safe_before_it_is_told)
{
    static const struct {
        enum mailbox_point at;
        uint64_t number;
        const char *words;
    } cases[] = {
        // found before anything is written
        {MAILBOX_POINT_COUNT, 1, "close-record sync-directory close-directory "},
        // named while this one was written
        {MAILBOX_SYNCED, 1,
         "sync-directory sync-record name close-record sync-directory close-record "
         "close-directory "},
        // named after this one, which has been overtaken
        {MAILBOX_PUBLISHED, 2,
         "sync-directory sync-record name sync-directory close-record sync-directory close-record "
         "close-directory "},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct box box;
        char text[MAILBOX_TEXT_MAX], name[64];
        struct meddler meddler = {.box = &box,
                                  .record = text,
                                  .length = record_text(cases[i].number, text),
                                  .name = name,
                                  .at = cases[i].at};

        box_open(&box);
        snprintf(name, sizeof name, "g1.%020llu", (unsigned long long)cases[i].number);
        if (cases[i].at == MAILBOX_POINT_COUNT)
            put_record(&box, name, text, meddler.length);
        cr_assert_eq(change(&box, 0, 0, &meddler), CARRICK_ERR_CONFLICT, "case %zu", i);
        cr_assert(box.answer.has_record);
        cr_assert_str_eq(box.answer.record.owner, "beta");
        cr_assert_str_eq(seen.words, cases[i].words, "case %zu: %s", i, seen.words);
        box_close(&box);
    }
}

// Storage that does not take it: what was not named is not there; of what was named it is not known.
Test(mailbox_order, a_sync_that_fails_is_never_called_done)
{
    static const struct {
        int status;
        bool named;
    } cases[] = {
        {CARRICK_ERR_UNREACHABLE, false}, // of what stands
        {CARRICK_ERR_UNREACHABLE, false}, // of the record
        {CARRICK_ERR_UNKNOWN, true},      // of its name
    };

    for (int i = 0; i < 3; i++) {
        struct box box;

        box_open(&box);
        cr_assert_eq(change(&box, 0, i + 1, NULL), cases[i].status, "sync %d", i + 1);
        cr_assert(!box.answer.has_record);
        cr_assert_not_null(strstr(box.answer.cause, strerror(EIO)), "%s", box.answer.cause);
        cr_assert_eq(strstr(seen.words, "name ") != NULL, cases[i].named, "%s", seen.words);
        box_close(&box);
    }
    struct box box;
    box_open(&box);
    cr_assert_eq(look(&box, 1), CARRICK_ERR_UNREACHABLE);
    cr_assert(!box.answer.has_record);
    box_close(&box);
}
