// SPDX-License-Identifier: Apache-2.0
//
// The test client's own parts; what others see of it stands in world.h.
//
//   sim_client.c   its life: the callbacks
//   sim_load.c     what it posts, and what it expects of it
#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include "tests/sim/world.h"

#define POISON_WRITE 0xeeeeeeeeeeeeeeeeull // in a buffer that was given back after a write
#define POISON_READ 0xddddddddddddddddull  // in one that is not, or no more, read into

// One operation under way.
struct load_op {
    uint64_t cookie;
    uint32_t operation;            // enum carrick_client_operation
    uint32_t region, first, count; // words
    uint32_t slot;
    uint64_t sequence;  // of a send
    uint64_t *expected; // of a read, at the time of posting
};

struct load_vi {
    struct carrick_vi *vi; // NULL: closed
    uint32_t number;
    bool open; // joined: it takes operations
    bool closing;
    uint32_t serial; // of its openings in this session, as the client counts them
    uint32_t
        partner_serial;    // of the partner's opening that sends of this one come from; 0: none yet
    uint32_t partner_last; // … that sends of earlier ones came from
    bool broken;           // an operation did not succeed: none after it may
    struct load_op ring[PAIR_OPS_MAX];
    uint64_t head, tail;
    // writes that the next send can vouch for
    struct {
        uint32_t region, index;
        uint64_t word;
    } recent[PAIR_CHECKS_MAX];
    uint32_t recent_count;
    uint32_t mail;           // word that the next send hands over, from 1; 0: none
    uint64_t mail_word;      // and what was written to it
    uint32_t mails_out;      // words that are handed over and not given back, a bit for each
    uint32_t mails_returned; // the partner's, to be given back with the next send
};

struct carrick_client {
    const struct carrick_client_host *host;
    struct world *world;
    struct sim_random random;
    unsigned pair, node;
    bool forgotten; // the node is dead
    bool region_per_session;
    struct carrick_region *region;
    uint64_t *local;     // of region
    uint32_t slot_words; // each VI has PAIR_OPS_MAX slots
    uint32_t depth;
    struct carrick_timer *timer;
    uint32_t churn;              // how often it closes a VI, percent
    bool ending;                 // it was warned of the session's end
    struct carrick_timer *leave; // closes the VIs, some time after ending
    uint64_t cookie;
    unsigned burst; // pumps that follow each other closely
    uint32_t vi_count;
    struct load_vi vis[PAIR_VIS_MAX];
};

static inline struct pair *client_pair(struct carrick_client *client)
{
    return &client->world->pair[client->pair];
}

static inline struct pair_side *client_side(struct carrick_client *client)
{
    return &client_pair(client)->side[client->node];
}

static inline struct pair_side *client_other(struct carrick_client *client)
{
    return &client_pair(client)->side[!client->node];
}

// Of a VI that is not closed, in the core: what the core calls it says nothing to a client, but much to the judge.
static inline struct pair_opening *vi_counts(struct carrick_client *client,
                                             const struct load_vi *vi)
{
    return pair_opening_at(client_side(client), vi->number,
                           ((const struct vi *)(const void *)vi->vi)->opening);
}

// sim_load.c
int load_memory(struct carrick_client *client); // makes the local region
void load_memory_free(struct carrick_client *client);
void load_post(struct carrick_client *client, struct load_vi *vi);
void load_completed(struct carrick_client *client, struct load_vi *vi,
                    const struct carrick_completion *completion);
void load_received(struct carrick_client *client, struct load_vi *vi, const void *data,
                   uint32_t length);
void load_drop(struct load_vi *vi); // nothing is under way any more

#endif
