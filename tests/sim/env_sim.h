// SPDX-License-Identifier: Apache-2.0
//
// The world of one simulated node: virtual time, seeded chance, timers and work in one heap of events. Nothing happens
// by itself: the owner asks when the next event of each node is due, sets the clock, and runs it.
#ifndef ENV_SIM_H
#define ENV_SIM_H

#include "core/env.h"

// One clock for everything that is simulated together.
struct sim_clock {
    uint64_t now_ns;
};

// splitmix64: small, and the same everywhere.
struct sim_random {
    uint64_t state;
};
void sim_random_init(struct sim_random *random, uint64_t seed, const char *purpose);
uint64_t sim_random_next(struct sim_random *random);
uint64_t sim_random_below(struct sim_random *random, uint64_t below); // below 0: 0
uint64_t sim_random_between(struct sim_random *random, uint64_t low, uint64_t high);
bool sim_random_percent(struct sim_random *random, unsigned percent);

struct env_sim;
struct sim_disk;

struct env_sim_options {
    struct sim_clock *clock;
    uint64_t seed;
    struct sim_disk *disk;  // outlives the env; NULL: there is none
    uint64_t jitter_max_ns; // a timer is late by up to so much
    void (*log)(void *arg, const struct env_record *record);
    void *arg;
};

struct env_sim *env_sim_create(const struct env_sim_options *options);
// All timers are destroyed and all memory is unmapped; what was forgotten is told as a leak, by its number.
unsigned env_sim_destroy(struct env_sim *env);
struct env *env_sim_base(struct env_sim *env);

uint64_t env_sim_next_ns(const struct env_sim *env); // UINT64_MAX: nothing to do, or frozen
void env_sim_step(struct env_sim *env);              // runs the first event
// Nothing of this node runs until it is thawed. clock_stops: it will not know that time went by.
void env_sim_freeze(struct env_sim *env, bool clock_stops);
void env_sim_thaw(struct env_sim *env);
// Work that is under way is done now: a node that dies has no workers left to wait for.
void env_sim_finish_work(struct env_sim *env);

#endif
