// SPDX-License-Identifier: Apache-2.0
//
// Terms: what of a client's configuration must be the same on both nodes, as lines "KEY: VALUE" that the client writes
// (carrick_client_info in carrick/client.h). The core knows nothing of what they mean; it finds the first key whose values
// differ.
#ifndef CORE_TERMS_H
#define CORE_TERMS_H

#include <stdbool.h>
#include <stddef.h>

// Whole lines of printable ASCII, each with a key, and not too many. Not NUL-ended: these bytes.
bool terms_are_sound(const char *terms, size_t bytes);

// For printf's "%.*s".
struct terms_word {
    const char *at;
    int bytes;
};

struct terms_difference {
    struct terms_word key, here, there;
};

// Both are sound and NUL-ended. false: nothing differs.
bool terms_differ(const char *here, const char *there, struct terms_difference *difference);

#endif
