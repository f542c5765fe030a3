// SPDX-License-Identifier: Apache-2.0
//
// The failover monitor: one instance per manager. Its parts:
//
//     config, timers   what was asked for, checked
//     monitor          what is known of the partner: state, reason, age
//     message          what the two monitors tell each other
//     decide           who shall serve when nobody does (pure)
//     claim            one change at the arbiter, from the first read to a settled outcome
//     look             what the arbiter would say, looked at while nothing is asked
//     group, steps     the state machine of each group, as a table, and what its transitions do:
//     take, owner,     on the way to serving; with the partner, which may be lost or take over;
//     rejoin           alone, until the partner is a member again
//     hooks            the operator's commands
//     command, report  what an operator asks and sees
#ifndef FAILOVER_FAILOVER_H
#define FAILOVER_FAILOVER_H

#include <carrick/arbitration.h>
#include <carrick/client.h>
#include <carrick/log.h>

#include "config.h"
#include "decide.h"

#define GROUPS_MAX 64u
#define REASON_BYTES 200u
#define FAILOVER_VERSION 1u
#define MS 1000000ull // nanoseconds

struct carrick_client; // = struct failover

// ---- the partner

enum partner_state {
    PARTNER_UNSEEN = 0, // not seen since this node's start
    PARTNER_UP,
    PARTNER_SUSPECT,
    PARTNER_HUNG,        // its kernel or card answers, its beat stands still
    PARTNER_UNREACHABLE, // nothing answers
    PARTNER_DEAD,        // it said that it stops
    PARTNER_BOOTING,     // it is there or will be, and no session of the monitors stands yet
    PARTNER_STATE_COUNT
};

struct monitor {
    enum partner_state state;
    uint64_t since_ns;
    char reason[REASON_BYTES];
    bool lost; // silent for longer than the budget: whoever waits for it need not any more
    // Time during which this process ran: a processor that was busy here is no silence there.
    uint64_t awake_ns, ticked_ns;
    uint64_t heard_awake_ns;  // when, by that clock, something last came from it
    uint64_t linked_awake_ns; // when, by that clock, a session with a link last stood
    uint64_t heartbeat, heartbeat_moved_ns;
    bool heard_ever, said_stop;
    // The partner's boot, as its status line tells: from the first stage that was seen until it serves. Between the
    // instance in its initramfs and the next one nothing can be read, and the budget runs on.
    bool boots;
    uint32_t boot_stage; // enum carrick_boot_stage, the last that was read; 0: none was
    uint64_t boot_awake_ns, boot_read_ns;
    uint64_t losses; // how often `lost` became true
    bool linked;     // a session with a link that is up stands
    // None of this node's links can be used, each for a reason that lies at this node.
    bool driver_failed;
    uint32_t links;
};

// ---- messages

enum message_kind {
    MESSAGE_STATE = 1,    // what a group's copy bears here, whenever that changes
    MESSAGE_BEAT = 2,     // this monitor lives
    MESSAGE_JOIN = 3,     // owner: both are equal; bear that you are a member, and say so
    MESSAGE_JOINED = 4,   // shadow: it does
    MESSAGE_HANDOVER = 5, // owner that was: the record names you
    MESSAGE_KIND_COUNT
};

struct message {
    uint32_t kind;
    uint32_t mirror;
    char group[CARRICK_NAME_MAX + 1];
    struct carrick_log_copy copy;
    uint64_t record_number;
};

#define MESSAGE_BYTES 192u

void fo_message_put(const struct message *message, uint8_t bytes[MESSAGE_BYTES]);
// False: not of this protocol, or out of range.
bool fo_message_get(const void *data, uint32_t length, struct message *message);

// ---- events of a group

enum group_event {
    EVENT_READY = 0, // a session stands
    EVENT_STATE,     // the partner told what its copy bears
    EVENT_ENDED,     // the session has ended: the partner cannot write
    EVENT_LOST,      // the monitor gives the partner up
    EVENT_BACK,      // … and has it back
    EVENT_LOOKED,    // claim LOOK: record is known
    EVENT_WON,       // the change stands
    EVENT_REFUSED,   // the record forbids the change
    EVENT_NOT_HAD,   // the arbiter could not be had
    EVENT_SERVED,    // the log serves
    EVENT_FAILED,    // it could not
    EVENT_CHANGED,   // something in copy, mirror or resynchronisation changed
    EVENT_UNUSABLE,  // this node's shelves cannot take what the log holds, and it still has a role
    EVENT_JOIN,
    EVENT_JOINED,
    EVENT_HANDOVER,
    EVENT_DEADLINE, // the state has lasted too long
    EVENT_TAKE,     // operator: takeover
    EVENT_GIVE,     // operator: hand-over
    EVENT_COUNT
};

// ---- one change at the arbiter

enum claim_purpose {
    CLAIM_NONE = 0,
    CLAIM_LOOK,     // only read
    CLAIM_ALONE,    // this node the owner and only member
    CLAIM_BOTH,     // this node the owner, both members
    CLAIM_JOIN,     // the partner a member again
    CLAIM_HANDOVER, // the partner the owner, both members
    CLAIM_RESTORE,  // take back a win that came too late to be used
    CLAIM_FORCE,    // as ALONE, whatever the record says
};

struct claim {
    enum claim_purpose purpose; // NONE: none under way
    uint64_t attempt;           // grows; an answer for another attempt is void
    uint64_t deadline_ns;
    uint64_t expected;
    bool posted;   // a change went out whose outcome is not known yet
    bool settling; // the read under way is to find that out
    bool again;    // to be tried again at again_ns
    uint64_t again_ns;
    bool due; // the outcome waits to be told
    enum group_event outcome;
    struct carrick_arbiter_record wanted;
    char cause[REASON_BYTES]; // of the last failure
};

// ---- looks at the arbiter

struct look; // look.c

struct look_answer {
    bool had;                 // the record is known, and could be changed by force
    char fault[REASON_BYTES]; // why this node could not take the group over; empty: it could
};

// What is known of the arbiter while the group is well.
struct outlook {
    uint64_t look_at_ns;
    unsigned doubts; // looks in a row that found a fault
    uint64_t since_ns;
    char fault[REASON_BYTES]; // empty: none
};

// ---- groups

enum group_state {
    GROUP_BOOT = 0,  // started; waits for the partner
    GROUP_TALK,      // a session stands; waits for the partner's word
    GROUP_LOOK,      // reads the arbiter's record, to fo_decide
    GROUP_UNDECIDED, // nothing can be done by itself now
    GROUP_YIELD,     // the partner is the one to serve
    GROUP_DIVERGED,
    GROUP_FENCE,     // to serve: waits until the partner cannot write any more
    GROUP_CLAIM,     // to serve: asks the arbiter
    GROUP_CONFIRM,   // was handed the group: reads that the record says so
    GROUP_SERVE,     // the log is scanned and replayed
    GROUP_BOTH,      // owner, two members
    GROUP_BOTH_ASK,  // owner that lost its partner: asks to be the only member
    GROUP_ALONE,     // owner, the only member
    GROUP_RESYNC,    // owner that brings the partner up to date
    GROUP_JOIN,      // owner: waits until the partner says that it is equal
    GROUP_JOIN_ASK,  // owner: asks for the partner to be a member again
    GROUP_QUIET,     // hand-over: waits until all is acknowledged
    GROUP_HAND_ASK,  // hand-over: asks the arbiter
    GROUP_RESET,     // follows: waits for a session in which the partner can write
    GROUP_SHADOW,    // follows
    GROUP_LOST,      // shadow that lost its owner: leaves it the first word
    GROUP_LOST_LOOK, // shadow that lost its owner: may it take over?
    GROUP_STATE_COUNT
};

struct group {
    struct failover *failover;
    char name[CARRICK_NAME_MAX + 1];
    struct carrick_log *log;

    enum group_state state;
    uint64_t state_since_ns, deadline_ns;
    char word[24]; // as last shown; its age is what operators see
    uint64_t word_since_ns;
    char reason[REASON_BYTES];

    bool theirs_known; // told in this session
    struct message theirs;
    const char *waits_for;        // why it decided to wait, as last logged: a text of decide.c
    uint64_t acknowledged_before; // of this copy, when the session began
    uint64_t theirs_incarnation;  // of the manager that told it

    bool record_known, record_fresh;
    struct carrick_arbiter_record record; // the newest that was seen
    struct call *calls;                   // claim.c: asked at the arbiter and not answered

    struct outlook outlook;
    struct claim claim;
    bool unsettled; // a change of this node may stand, now or later, that was given up
    uint8_t unsettled_generation[16];
    uint64_t unsettled_expected;
    unsigned
        checks; // since the start: of a shadow, whether what was asked for before it came to stand late
    uint64_t check_at_ns;

    enum claim_purpose purpose; // why it goes FENCE, CLAIM, SERVE
    uint32_t serve_mirror;
    struct carrick_generation serve_generation;
    bool was_shadow; // the promise that was withdrawn, to be given anew
    struct carrick_generation followed;
    uint64_t role_epoch; // bring-up during which the role last changed
    bool fence_open;     // the partner may still be able to write
    uint64_t shadow_of;  // incarnation of the owner that it follows
    bool forced;

    uint64_t wait_until_ns;   // for a partner that is not there
    uint64_t given_until_ns;  // for a partner that was handed the group
    uint64_t shift_until_ns;  // for a partner that is to take it over and cannot be told
    bool handing;             // the command that waits is a hand-over whose partner has to speak
    unsigned resync_failures; // in a row, for the same cause; 0: none
    uint64_t resync_at_ns;    // not before this it is tried again
    char resync_cause[REASON_BYTES];
    uint64_t unconnected_ns; // since when the mirror is not connected; 0: it is
    uint64_t
        behind_ns; // since when it was seen that the partner's file does not take what is written; 0: it does
    bool serves; // as hooks were told
    uint64_t takeovers, handovers;
    uint64_t token; // of the command that waits for an answer; 0: none
};

// Rules that the simulator takes out, to see that its judges notice.
enum failover_break {
    FAILOVER_BREAK_WIN = 1,   // serving alone does not wait for a win at the arbiter
    FAILOVER_BREAK_FENCE = 2, // nor for the end of the session in which the partner can write
    FAILOVER_BREAK_FOUND = 4, // a change compares with what is found, not with what this copy bears
    FAILOVER_BREAK_EQUAL =
        8, // a partner becomes a member while its shelf is still brought up to date
    FAILOVER_BREAK_HOLD = 16, // "hold" holds nobody
    FAILOVER_BREAK_BOOT = 32, // nobody waits for a partner that is seen to boot
};

struct hooks; // hooks.c

struct failover {
    const struct carrick_client_host *host;
    struct config config;
    struct hooks *hooks;
    struct carrick_timer *beat, *soon;

    const struct carrick_log_ops *logs_ops;
    struct carrick_logs *logs;
    const struct carrick_arbitration_ops *arbiter_ops;
    struct carrick_arbitration *arbiter;
    bool found, complained;

    struct group *groups;
    uint32_t group_count;
    struct look *looks; // under way
    bool looking;       // one of them is made by this node for itself

    struct carrick_vi *vi;
    bool session, bringup;
    bool stopping;  // the daemon is
    uint64_t epoch; // grows with each bring-up
    uint64_t partner_incarnation, incarnation;
    bool reset_wanted;
    char reset_why[REASON_BYTES];
    uint64_t state_due; // bit per group: its STATE has not been sent yet
    bool beat_due;
    uint64_t refused_messages;
    struct monitor monitor;
    uint32_t break_rules; // for the simulator only: enum failover_break, rules that are taken out
};

static inline uint64_t failover_now_ns(const struct failover *failover)
{
    return failover->host->base->now_ns(failover->host->base);
}

static inline const struct timers *group_timers(const struct group *group)
{
    return &group->failover->config.timers;
}

// ---- plugin.c

void failover_say(struct failover *failover, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// The session is ended in order once the callback that runs has returned.
void failover_reset(struct failover *failover, const char *why);
void failover_send(struct group *group, uint32_t kind);
void failover_tell(struct group *group); // STATE
void failover_soon(struct failover *failover);

// ---- monitor.c

void fo_monitor_init(struct failover *failover);
void fo_monitor_heard(struct failover *failover);
// True when `lost` changed.
bool fo_monitor_look(struct failover *failover);
// As monitor.linked, at this very moment.
bool fo_monitor_is_linked(const struct failover *failover);
// Whether the partner boots, within boot_ms, and its monitor has not spoken since that began. Who waits for it goes on
// waiting.
bool fo_monitor_boots_in_time(const struct failover *failover);
const char *fo_boot_stage_name(uint32_t stage);
const char *fo_partner_state_name(enum partner_state state);

// ---- claim.c

// Ends with EVENT_LOOKED, WON, REFUSED or NOT_HAD, never from within the call.
void fo_claim_begin(struct group *group, enum claim_purpose purpose);
// Calls that are not answered will not be any more.
void fo_claim_forget(struct group *group);
// What is under way is given up; if a change went out, the group is `unsettled`.
void fo_claim_drop(struct group *group);
bool fo_claim_is_only_asked(const struct group *group);
void fo_claim_tick(struct group *group, uint64_t now_ns);
void fo_claim_wanted(struct group *group, enum claim_purpose purpose,
                     const struct carrick_arbiter_record *found,
                     struct carrick_arbiter_record *out);
void fo_generation_of(const struct carrick_arbiter_record *record,
                      const struct carrick_log_copy *copy, struct carrick_generation *out);
bool failover_has_arbiter(const struct failover *failover);
const char *fo_claim_not_had_text(int status);

// ---- look.c

typedef void (*fo_look_fn)(void *arg, struct group *group, const struct look_answer *answer);

// Asks the arbiter for the record, once. fn is called once, never from within the call; not where this returns an error.
// arg is of malloc: it is freed by fo_looks_forget for looks that are not answered any more, else it is fn's.
int fo_look(struct group *group, fo_look_fn fn, void *arg);
void fo_looks_forget(struct failover *failover);
void fo_look_tick(struct group *group, uint64_t now_ns);

// ---- group.c

void fo_group_init(struct group *group, struct failover *failover, const char *name);
int fo_group_attach(struct group *group);
void fo_group_fire(struct group *group, enum group_event event);
void fo_group_tick(struct group *group, uint64_t now_ns);
void fo_group_reason(struct group *group, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
const char *fo_group_state_name(enum group_state state);
const char *fo_group_word(struct group *group);
bool fo_group_is_diverged(const struct group *group);
void fo_group_copy(const struct group *group, struct carrick_log_copy *copy);
void fo_group_mirror(const struct group *group, struct carrick_mirror_state *mirror);
void fo_group_decide(struct group *group, struct decide_out *out);
const char *fo_group_peer_name(const struct group *group);

// ---- steps.c: what transitions do; each returns the next state

typedef enum group_state (*group_step)(struct group *group);

enum group_state fo_step_deciding(struct group *group); // decides with what is known, and begins it
enum group_state fo_step_begin_take(struct group *group, enum claim_purpose purpose);
void fo_steps_answer(struct group *group, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct group_row {
    enum group_state state;
    enum group_event event;
    group_step step;
};
extern const struct group_row fo_group_table[];
extern const size_t fo_group_table_rows;

// ---- hooks.c

int fo_hooks_create(struct failover *failover);
void fo_hooks_destroy(struct failover *failover);
void fo_hooks_run(struct group *group, enum hook_step step);

// ---- command.c, report.c

int fo_command_run(struct failover *failover, const char *word, const char *json, uint64_t token);
void fo_report_state(struct failover *failover, char *text, size_t size);

#endif
