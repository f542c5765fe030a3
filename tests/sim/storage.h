// SPDX-License-Identifier: Apache-2.0
//
// Worlds in which both nodes run the storage plugins as they are: log and shadow, shelves, failover monitor.
//
//   storage_world.c     what is drawn and configured; the queue of what happens outside the nodes
//   storage_state.c     where the groups stand, who serves
//   storage_arbiter.c   the arbiter plugin: one truth, and ways not to hear of it
//   storage_users.c     users of the shelves, who dial, write, read, lose connections
//   storage_register.c  is what they saw possible? Each cell is a register
//   storage_faults.c    what goes wrong
//   storage_scenario.c  kinds of histories
//   storage_table.c     the table of failures: who must serve, and by when
//   storage_rot.c       a record of a log goes bad while its node is down
//   storage_map.c       the map of a shelf goes bad while its node is down
//   storage_power.c     both nodes lose power
//   storage_double.c    several things go wrong at one moment; many groups, with several shelves
//   storage_boot.c      a node boots, and is seen to, before its storage runs
//   storage_operator.c  no arbiter: an operator says who serves
//   storage_return.c    a node returns, and dies again on the way
//   storage_member.c    a node becomes a member again, and its partner dies
//   small_log.c         logs that a history fills
//   break_*.c           rules taken out, see storage_break.h
#ifndef STORAGE_H
#define STORAGE_H

#include <carrick/arbiter.h>
#include <carrick/block.h>
#include <carrick/log.h>

#include "tests/sim/sim_disk.h"
#include "tests/sim/world.h"

#define STORAGE_GROUPS_MAX 4u
#define STORAGE_GROUPS_DRAWN 2u // at most, but where a history is about many
#define STORAGE_SHELVES_MAX 3u  // of a group
#define STORAGE_USERS_MAX 12u
#define USER_DEPTH_MAX 4u

struct storage;
struct user;

// ---- the judge's history

enum user_kind {
    USER_WRITE,
    USER_READ,
    USER_ZERO, // trim and zero alike
    USER_FLUSH,
};

// One request of one user. Number 0 is what every cell holds in the beginning: zeroes.
struct user_op {
    uint8_t kind; // enum user_kind
    uint8_t group;
    uint8_t user;
    uint8_t node;
    bool answered, good; // good: with CARRICK_OK
    uint32_t first, count;
    uint64_t asked_ns, answered_ns; // as the user sees it
    uint8_t *data;                  // until it is answered
    uint32_t *values;               // READ, when it is answered: what came, as cell_read says
};

struct storage_group {
    char name[16];
    unsigned home;
    uint32_t level, log_bytes;
    uint32_t cells; // of all its shelves, one behind the other
    unsigned shelves;
    uint32_t shelf_first[STORAGE_SHELVES_MAX]; // cell
    struct carrick_arbiter_record truth;
    unsigned acknowledged; // writes, in the history
};

enum arbiter_way {
    ARBITER_WELL,
    ARBITER_DEAF, // what is asked never gets there
    ARBITER_MUTE, // it is done, and the answer is lost
    ARBITER_SLOW, // it is done, often after it was given up
    ARBITER_SICK, // it says at once that it cannot
};

struct storage_event {
    uint64_t due, order;
    void (*fn)(struct storage *storage, void *arg);
    void *arg;
};

struct storage {
    struct world *world;
    struct sim_random random;
    unsigned groups, users;
    struct storage_group group[STORAGE_GROUPS_MAX];
    uint32_t level;           // enum carrick_durability that is configured: the least of all groups
    bool with_arbiter, go_on; // go_on: on_mirror_loss is "continue"
    bool stay;                // on_driver_failure is "stay"
    bool boots;               // a node is seen to boot before it runs its clients
    uint32_t boot_ms;         // for how long its partner waits then; 0: as the profile says
    uint32_t cell_bytes;      // what is written at once, as the judge sees it
    uint32_t request_cells;   // longest request
    uint32_t destage_delay_ms, catchup_bytes_per_second; // of the shelves; 0: what the plugin has
    // the arbiter
    enum arbiter_way way[2];
    uint64_t arbiter_max_ns;
    struct arbiter_question *questions;
    // the users
    struct user *user[STORAGE_USERS_MAX];
    struct connection *connections;
    struct request *requests;
    bool users_work;
    uint64_t rest_max_ns, patience_ns, backoff_ns;
    struct user_op *ops;
    uint32_t op_count, op_room;
    uint64_t acknowledged, refused;
    // what happens outside the nodes
    struct storage_event *heap;
    uint32_t used, room;
    uint64_t order;
};

// storage_world.c
void storage_create(struct world *world);
void storage_free(struct world *world);
void storage_at(struct storage *storage, uint64_t delay_ns,
                void (*fn)(struct storage *storage, void *arg), void *arg);
uint64_t storage_next_ns(const struct storage *storage);
void storage_step(struct storage *storage);
// The manager's section: arbiter, and the clients. Returns the length written.
size_t storage_arbiter_text(const struct storage *storage, char *text, size_t room);
size_t storage_clients_text(const struct storage *storage, char *text, size_t room);
bool storage_plugins_add(struct world *world);
void storage_node_gone(struct world *world, unsigned node);
void storage_break(struct world *world, unsigned node); // takes out the rules that options name
struct carrick_client *storage_client(struct world *world, unsigned node, const char *name);
const char *storage_path(char *buffer, size_t room, const char *what, unsigned node,
                         unsigned group);
void storage_level_set(struct storage *storage, uint32_t level);
void storage_widen(struct world *world); // more groups, more shelves in each, no two alike
const char *storage_shelf_name(char *buffer, size_t room, unsigned group, unsigned shelf);
uint32_t storage_shelf_end(const struct storage_group *group, unsigned shelf); // cell behind it

// storage_state.c
// This node takes writes and reads of the group, and does not wait for its partner.
bool storage_serves(struct world *world, unsigned node, unsigned group);
bool storage_resyncs(struct world *world, unsigned node, unsigned group); // it fills its partner
bool storage_is_owner_alone(struct world *world, unsigned node, unsigned group);
const void *storage_service(struct world *world, unsigned node, const char *name, void **object);
// What this node's copy says; false: it does not say anything.
bool storage_copy(struct world *world, unsigned node, unsigned group,
                  struct carrick_log_copy *copy);
bool storage_protected(struct world *world);
bool storage_served(struct world *world);
void storage_say(struct world *world); // where each group stands
bool storage_shelves_equal(struct world *world);
void storage_say_difference(struct world *world);
void storage_sample(struct world *world); // rules that hold at every moment

// storage_arbiter.c
const struct carrick_plugin *sim_arbiter_entry(void);
void arbiter_free(struct storage *storage);

// storage_users.c
void users_create(struct storage *storage);
void users_free(struct storage *storage);
void users_node_gone(struct storage *storage, unsigned node);
bool users_are_idle(struct world *world);
void users_stir(struct storage *storage);
void users_read_all(struct storage *storage); // each reads all there is, once
bool users_have_read_all(struct world *world);
struct user_op *user_op_add(struct storage *storage, const struct user_op *op);

// storage_register.c
void register_judge(struct storage *storage);
void cell_fill(const struct storage *storage, uint8_t *cell, uint32_t number, uint32_t index);
// The request that wrote the cell, 0 for zeroes; UINT32_MAX: it was written by no single one.
uint32_t cell_read(const struct storage *storage, const uint8_t *cell, uint32_t index);

// storage_scenario.c
bool storage_wait(struct world *world, bool (*condition)(struct world *world), uint64_t time_ns);
bool storage_pause(struct world *world, uint64_t max_ns); // false: it has failed
void storage_begin(struct world *world);
void storage_finish(struct world *world);
void storage_heal(struct world *world); // nothing is wrong any more, and all groups get protected
void storage_command(struct world *world, unsigned node, const char *word, unsigned group,
                     bool force);
void storage_run_mixed(struct world *world);
void storage_run_calm(struct world *world);
void storage_run_crash(struct world *world);
void storage_run_split(struct world *world);
void storage_run_disk(struct world *world);
void storage_run_handover(struct world *world);
void storage_run_resync(struct world *world);

// storage_faults.c
enum storage_fault {
    STORAGE_KILL,
    STORAGE_FREEZE,
    STORAGE_POWER,
    STORAGE_CUT, // all links
    STORAGE_ARBITER,
    STORAGE_DISK,
    STORAGE_HAND, // a command to hand over, or to give back
    STORAGE_RESET,
    STORAGE_STOP,
    STORAGE_PATH,
    STORAGE_APART,                       // an owner, from its partner and the arbiter
    STORAGE_STILL,                       // an owner, for so long that its partner takes over
    STORAGE_DRIVER,                      // of an owner
    STORAGE_FAULTS_MIXED,                // those above are what `storage` draws from
    STORAGE_FILE = STORAGE_FAULTS_MIXED, // files of one kind cannot be written: logs, shelves, maps
    STORAGE_BOTH_KILLED,
    STORAGE_TAKE,       // a command to take over: refused where it may lose anything
    STORAGE_LINKS_DOWN, // an operator takes all links of a node down
    STORAGE_RESTART,    // killed, and back before it is missed
    STORAGE_FAULTS
};

void storage_fault(struct world *world, unsigned kind, unsigned unused); // enum storage_fault
void storage_disk_well(struct world *world, unsigned node, unsigned unused);

// storage_double.c
void storage_setup_double(struct world *world);
void storage_run_double(struct world *world);
void storage_setup_wide(struct world *world);
void storage_run_wide(struct world *world);

// storage_boot.c
void storage_setup_boot(struct world *world);
void storage_run_boot(struct world *world);

// storage_operator.c
void storage_setup_operator(struct world *world);
void storage_run_operator(struct world *world);

// storage_table.c
void storage_setup_table(struct world *world);
void storage_run_table(struct world *world);

// storage_power.c
void storage_setup_power(struct world *world);
void storage_run_power(struct world *world);

// storage_return.c
void storage_setup_return(struct world *world);
void storage_run_return(struct world *world);

// storage_member.c
void storage_setup_member(struct world *world);
void storage_run_member(struct world *world);

// storage_rot.c
void storage_setup_rot(struct world *world);
void storage_run_rot(struct world *world);

// storage_map.c
void storage_setup_map(struct world *world);
void storage_run_map(struct world *world);

#endif
