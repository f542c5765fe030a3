// SPDX-License-Identifier: Apache-2.0
//
// Running histories: the command (main.c), and what the test suite runs (suite.c).
#ifndef RUNNER_H
#define RUNNER_H

#include "tests/sim/storage.h"

struct options {
    struct world_options world;
    uint64_t histories; // 0: not given
    unsigned jobs;
};

// What one run over many seeds came to.
struct tally {
    uint64_t passed, failed;
    struct world_numbers numbers;
};

struct verdict {
    bool good;
    uint64_t hash;
    struct world_numbers numbers;
};

// main.c
// show: how many of the last lines are printed when it fails.
struct verdict history(const struct world_options *options, unsigned show);
struct tally many(const struct options *options); // on several processes
void tally_add(struct tally *to, const struct tally *from);
void numbers_print(const struct world_numbers *numbers);
void replay_print(const struct world_options *options);

// suite.c
struct tally suite(const struct options *options);

#endif
