// SPDX-License-Identifier: Apache-2.0
//
// The mailbox: a directory on storage that both nodes reach. A group's record number N is the file GROUP.N (twenty
// digits), which is complete and synced before it gets that name, by link(2): whoever finds the name taken has lost.
// Nobody holds a lock, so nobody who is frozen or cut off can keep one.
#ifndef MAILBOX_MAILBOX_H
#define MAILBOX_MAILBOX_H

#include <carrick/arbiter.h>

#define MAILBOX_DIGITS 20u
#define MAILBOX_TEXT_MAX 1024u
#define MAILBOX_KEEP 16u // newest records that are kept, to be looked at by people
#define MAILBOX_CAUSE_BYTES 256u

// ---- record.c: a record as text that ends with its checksum

size_t mailbox_record_put(const char *group, const struct carrick_arbiter_record *record,
                          char text[MAILBOX_TEXT_MAX]);
// False: torn, damaged, or of another group or number than the file's name says.
bool mailbox_record_get(const char *text, size_t length, const char *group, uint64_t number,
                        struct carrick_arbiter_record *record);

// ---- directory.c: blocks; for workers only

// Where a change is, for tests that end the process there. In the order in which they are passed.
enum mailbox_point {
    MAILBOX_CREATED = 0,
    MAILBOX_WRITTEN,
    MAILBOX_SYNCED,
    MAILBOX_LINKED,
    MAILBOX_PUBLISHED, // the directory is synced
    MAILBOX_UNLINKED,
    MAILBOX_PRUNED,
    MAILBOX_POINT_COUNT
};

struct mailbox_directory {
    const char *path;
    const char *node;
    uint64_t nonce; // tells the temporary files of several writers apart
    void (*point)(void *arg, enum mailbox_point point); // NULL outside of tests
    void *arg;
};

// Statuses as of carrick_arbiter_ops; record is the one that stands, where has_record says so; cause is for people.
struct mailbox_answer {
    int status;
    bool has_record;
    struct carrick_arbiter_record record;
    char cause[MAILBOX_CAUSE_BYTES];
};

void mailbox_read(const struct mailbox_directory *directory, const char *group,
                  struct mailbox_answer *answer);
void mailbox_change(const struct mailbox_directory *directory, const char *group, uint64_t expected,
                    const struct carrick_arbiter_record *wanted, struct mailbox_answer *answer);

#endif
