// SPDX-License-Identifier: Apache-2.0
//
// The file with the cluster key: read, and refused when someone else could have read or written it.
#ifndef DAEMON_KEY_FILE_H
#define DAEMON_KEY_FILE_H

#include <carrick/types.h>

#define KEY_BYTES_MIN 32u
#define KEY_BYTES_MAX 4096u

struct key {
    size_t length;
    uint8_t bytes[KEY_BYTES_MAX];
};

// One newline at the end does not belong to the key. On failure error says what is wrong and what to do, and key is
// zeroed.
int key_file_read(const char *path, struct key *key, struct carrick_error *error);
void key_forget(struct key *key);

#endif
