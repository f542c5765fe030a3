// SPDX-License-Identifier: Apache-2.0
//
// One history: two nodes with the real core, one network, one clock, one seed.
//
//   env_sim.c       time, chance, timers and work of a node
//   world.c         the two nodes: starting, killing, stopping; the loop over all that happens
//   world_config.c  the configuration of a history, drawn from its seed
//   world_log.c     what happened, as a timeline and as a hash
//   faults.c        what goes wrong, and how it is made good again
//   sim_client.c    the client plugin that both nodes run: it reads, writes and sends, and knows what must come of it
//   judge.c         what must hold at every landing, completion and arrival
//   scenario.c      kinds of histories
//   main.c          the command
#ifndef WORLD_H
#define WORLD_H

#include "core/config.h"
#include "core/loader.h"
#include "core/manager.h"
#include "core/model.h"
#include "tests/sim/env_sim.h"
#include "tests/sim/storage_break.h"
#include "transports/sim/sim_fabric.h"

// Hours after the machine began: a time that was never set (0) must not look like one that was a while ago.
#define WORLD_BEGIN_NS (3ull * 3600 * 1000 * ENV_MS)
#define WORLD_LINKS_MAX 4u
#define WORLD_CLIENTS_MAX 3u
#define WORLD_ACTIONS_MAX 256u
#define WORLD_SESSIONS_MAX 4096u
#define WORLD_LOG_MAX 4096u
#define PAIR_REGIONS_MAX 2u
#define PAIR_VIS_MAX 4u
#define PAIR_OPS_MAX 32u   // operations of one VI under way
#define PAIR_CHECKS_MAX 4u // writes that a send vouches for
#define PAIR_OPENINGS 64u  // of each VI, that are kept in mind
#define PAIR_MAILS 8u      // words of each VI, behind the cells of region 0, that are handed over

struct world;
struct storage;
struct sim_disk;
struct carrick_client;

// A session that a client of either node was told of.
struct world_session {
    uint64_t id;
    unsigned pair;
    bool ready[2], ended[2];
};

// One opening of a VI on one side.
struct pair_opening {
    uint32_t number;            // that the core gave it, the same on both sides
    uint64_t received;          // sends of the other side
    uint64_t posted, completed; // sends of this side
    bool closed_here;           // by the client itself
};

// What one node's client has written into the memory of the other's: a picture of every word, as last posted.
struct pair_side {
    uint32_t regions; // that this side asks for at the other
    uint32_t vis;     // that this side asks for
    uint32_t cell_bytes[PAIR_REGIONS_MAX];
    uint32_t cell_words[PAIR_REGIONS_MAX]; // of all VIs
    uint32_t words[PAIR_REGIONS_MAX];      // and those that are handed over
    uint32_t access[PAIR_REGIONS_MAX];
    uint64_t *posted[PAIR_REGIONS_MAX]; // last posted to each word
    uint64_t *proven[PAIR_REGIONS_MAX]; // last completed
    struct carrick_client *instance;    // that lives now, or NULL
    bool ready;
    uint32_t session; // serial, while ready
    uint64_t session_id;
    // memory here that the other side writes
    uint64_t *here[PAIR_REGIONS_MAX];
    uint64_t here_words[PAIR_REGIONS_MAX];
    struct pair_opening opening[PAIR_VIS_MAX]
                               [PAIR_OPENINGS]; // of this session; see pair_opening_at
    uint64_t done; // operations completed with success since the count was last cleared
    uint64_t outstanding;
};

// A client of the same name on both nodes.
struct pair {
    char name[16];
    uint32_t vis;   // the larger of both wishes
    uint32_t cells; // of each VI in each region
    struct pair_side side[2];
};

struct world_node {
    struct world *world;
    unsigned index;
    char name[4];
    struct env_sim *env;
    struct sim_disk *disk; // what outlives its daemon; NULL: nothing does
    struct manager *manager;
    const struct config *config;
    uint8_t key[32];
    bool alive;    // it has a manager
    bool dying;    // what its clients are told counts no more
    bool stopping; // manager_stop was called
    bool stopped;
    bool again; // is to start as soon as it has stopped
    bool frozen;
    uint64_t thawed_ns;
    uint64_t gone_ns;    // when its last life ended,
    uint64_t before;     // and that one's incarnation
    uint32_t boot_stage; // enum carrick_boot_stage with which it starts; 0: serving
    unsigned lives;
    enum carrick_session_state seen; // last seen state of its session
};

enum fault_kind {
    FAULT_CUT,
    FAULT_CUT_ONE, // never more than one link
    FAULT_SILENCE,
    FAULT_REFUSE,
    FAULT_HALF_OPEN,
    FAULT_SLOW,
    FAULT_CARRIER,
    FAULT_REMOVE,
    FAULT_KILL,
    FAULT_FREEZE,
    FAULT_STOP,
    FAULT_RESET,     // the operator resets the session
    FAULT_LINK_DOWN, // the operator takes a link down
    FAULT_COUNT
};

// Something that the seed has in store, or the end of something that goes on.
struct action {
    uint64_t due;
    void (*fn)(struct world *world, unsigned a, unsigned b);
    unsigned a, b;
    bool repair; // is done at once when all faults are to end
};

struct scenario {
    const char *name, *text;
    void (*setup)(struct world *world); // changes what was drawn of it; may be NULL
    void (*run)(struct world *world);
    bool storage; // the nodes run the storage plugins
};

struct world_options {
    uint64_t seed;
    const struct scenario *scenario;
    unsigned steps; // faults of the history; 0: the seed chooses
    bool verbose;
    unsigned break_rules; // enum break_rule
};

struct world_numbers {
    uint64_t events, operations, landings, sessions, link_failures, faults, late;
};

struct world {
    struct world_options options;
    struct sim_random random;
    struct sim_clock clock;
    struct sim_fabric *fabric;
    struct loader *loader;
    struct world_node node[2];
    struct config *configs[2]; // of the two nodes; the same, except where they are to disagree
    struct config *early;      // before there is a root file system; NULL: no history of that
    unsigned links, pairs;
    struct config_timers timers;
    struct sim_fabric_options net;
    struct pair pair[WORLD_CLIENTS_MAX];
    struct world_session sessions[WORLD_SESSIONS_MAX];
    uint32_t session_count; // serials run from 1
    uint64_t stamp;         // grows with every write
    bool clients_work;      // they post
    uint64_t rest_max_ns;   // between two bursts of a client
    struct action actions[WORLD_ACTIONS_MAX];
    unsigned action_count;
    // a fault that waits for a state of a session
    int trigger_state; // enum carrick_session_state; -1: none
    unsigned trigger_node;
    void (*trigger)(struct world *world);
    // sampled rules
    uint64_t next_sample_ns;
    uint64_t half_since_ns[WORLD_CLIENTS_MAX];
    bool no_session_expected; // the nodes must refuse each other
    bool failed;
    char why[512];
    struct storage *storage; // NULL: the nodes run no storage plugins
    uint64_t hash;
    struct world_numbers numbers;
    char *log[WORLD_LOG_MAX]; // the last lines, kept for one that fails
    uint64_t log_count;
};

// world.c
void world_run(const struct world_options *options,
               struct world *world); // leaves verdict, hash and numbers
void world_free(struct world *world);
struct world *world_current(void); // of this thread: plugins have no other way to find it
bool world_advance(struct world *world,
                   uint64_t until_ns); // runs until then; false: the history has failed
// Runs until the condition holds, at most for so long.
bool world_wait(struct world *world, bool (*condition)(struct world *world), uint64_t time_ns);
void node_start(struct world *world, unsigned node);
void node_kill(struct world *world, unsigned node, bool reset);
void node_power_off(struct world *world,
                    unsigned node);                 // its memory is lost, and what no sync covers
void node_stop(struct world *world, unsigned node); // in order
void node_freeze(struct world *world, unsigned node, bool memory_open, bool clock_stops);
void node_thaw(struct world *world, unsigned node);
bool world_is_up(struct world *world);
__attribute__((format(printf, 2, 3))) void world_fail(struct world *world, const char *format, ...);

// world_config.c
void world_configure(struct world *world);
// A configuration of its own for one node, which does not agree with the other's.
void world_disagree(struct world *world, unsigned node, const char *cluster,
                    const char *extra_link);
const char *profile_draw(struct world *world);
const char *link_address(char *buffer, unsigned node, unsigned link);

// world_log.c
__attribute__((format(printf, 3, 4))) void world_say(struct world *world, const char *who,
                                                     const char *format, ...);
void world_record(void *arg, const struct env_record *record); // arg: struct world_node
void world_hash(struct world *world, const void *data, size_t length);
void world_say_vis(struct world *world);
void world_print_log(struct world *world, unsigned lines);

// faults.c
void action_add(struct world *world, uint64_t delay_ns,
                void (*fn)(struct world *world, unsigned a, unsigned b), unsigned a, unsigned b,
                bool repair);
uint64_t action_next_ns(const struct world *world);
void action_run(struct world *world);
void fault_random(struct world *world);
void fault_make(struct world *world, enum fault_kind kind);
// The driver of all of a node's devices fails, for so long.
void fault_driver(struct world *world, unsigned node, uint64_t time_ns);
void fault_links_down(struct world *world, unsigned node, uint64_t time_ns); // an operator does
void fault_cut_link(struct world *world, unsigned link, uint64_t late_ns);
void node_back(struct world *world, unsigned node, unsigned unused);
uint64_t draw_time_ns(struct world *world);
void fault_random_path(struct world *world); // of one link
void paths_fault(struct world *world, unsigned faults,
                 uint64_t time_ns);   // of all links: enum sim_path_fault
void faults_end(struct world *world); // all is made good, dead nodes are started

// judge.c
void judge_landing(void *arg, const char *node, const void *to, const void *from, uint64_t bytes);
void judge_misuse(void *arg, const char *text);
void judge_sample(struct world *world);
void judge_ready(struct world *world, unsigned pair, unsigned side,
                 const struct carrick_session_info *info);
void judge_ended(struct world *world, unsigned pair, unsigned side);
void judge_vi_closed(struct world *world, unsigned pair, unsigned side, uint32_t vi,
                     uint32_t opening);
struct pair_opening *pair_opening_at(struct pair_side *side, uint32_t vi, uint32_t number);
void judge_node_gone(struct world *world, unsigned node);
// A write of these words has completed: they must be there.
void judge_written(struct world *world, unsigned pair, unsigned side, unsigned region,
                   uint32_t first, uint32_t count, const uint64_t *stamps);
// At the end of a history, all operations done: memory holds what was written last, no send is missing.
void judge_quiet(struct world *world);

// A word in memory: where it belongs, the session that it was posted in, and when.
#define STAMP_BITS 36
uint64_t word_make(const struct world *world, unsigned pair, unsigned writer, unsigned region,
                   uint32_t index);
static inline uint64_t word_stamp(uint64_t word)
{
    return word & ((1ull << STAMP_BITS) - 1);
}
static inline uint32_t word_session(uint64_t word)
{
    return (uint32_t)(word >> STAMP_BITS) & 4095;
}
static inline uint32_t word_place(uint64_t word)
{
    return (uint32_t)(word >> (STAMP_BITS + 12)); // 16 bits
}
uint32_t place_make(unsigned pair, unsigned writer, unsigned region, uint32_t index);

// sim_client.c
const struct carrick_plugin *sim_client_entry(void);
const struct carrick_plugin *sim_spread_entry(void);
void client_stir(struct carrick_client *client);   // it begins a burst
void client_forget(struct carrick_client *client); // its node is dead: nothing counts any more
uint32_t client_opening(const struct carrick_client *client, uint32_t vi); // number; 0: not open

// scenario.c
extern const struct scenario scenarios[];
extern const unsigned scenario_count;
const struct scenario *scenario_find(const char *name);
const struct scenario *scenario_choose(uint64_t seed);

#endif
