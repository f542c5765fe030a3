// SPDX-License-Identifier: Apache-2.0
//
// The transitions of a session. docs/protocol.md shows this table; a test drives every event in every state.
#include "core/session.h"

#define STAY 0xff

// clang-format off
static const uint8_t table[CARRICK_SESSION_STATE_COUNT][SESSION_EVENT_COUNT] = {
#define ROW(joined, read, wrote, taken, told, built, ready, end, over, closed)                      \
    {joined, read, wrote, taken, told, built, ready, end, over, closed}
#define S(name) CARRICK_SESSION_##name
    //                             joined      read        wrote        taken       told         built     both ready end          over        closed
    [CARRICK_SESSION_IDLE]     = ROW(S(READING), STAY,       STAY,        STAY,       STAY,        STAY,     STAY,      S(CLOSING),  S(CLOSING), STAY),
    [CARRICK_SESSION_READING]  = ROW(STAY,       S(WRITING), STAY,        STAY,       STAY,        STAY,     STAY,      S(CLOSING),  S(CLOSING), STAY),
    [CARRICK_SESSION_WRITING]  = ROW(STAY,       STAY,       S(CHECKING), STAY,       STAY,        STAY,     STAY,      S(CLOSING),  S(CLOSING), STAY),
    [CARRICK_SESSION_CHECKING] = ROW(STAY,       STAY,       STAY,        S(TELLING), STAY,        STAY,     STAY,      S(CLOSING),  S(CLOSING), STAY),
    [CARRICK_SESSION_TELLING]  = ROW(STAY,       STAY,       STAY,        STAY,       S(BUILDING), STAY,     STAY,      S(CLOSING),  S(CLOSING), STAY),
    [CARRICK_SESSION_BUILDING] = ROW(STAY,       STAY,       STAY,        STAY,       STAY,        S(READY), STAY,      S(CLOSING),  S(CLOSING), STAY),
    [CARRICK_SESSION_READY]    = ROW(STAY,       STAY,       STAY,        STAY,       STAY,        STAY,     S(UP),     S(CLOSING),  S(CLOSING), STAY),
    [CARRICK_SESSION_UP]       = ROW(STAY,       STAY,       STAY,        STAY,       STAY,        STAY,     STAY,      S(ENDING),   S(CLOSING), STAY),
    [CARRICK_SESSION_ENDING]   = ROW(STAY,       STAY,       STAY,        STAY,       STAY,        STAY,     STAY,      STAY,        S(CLOSING), STAY),
    [CARRICK_SESSION_CLOSING]  = ROW(STAY,       STAY,       STAY,        STAY,       STAY,        STAY,     STAY,      STAY,        STAY,       S(IDLE)),
#undef S
#undef ROW
};
// clang-format on

enum carrick_session_state session_next(enum carrick_session_state state, enum session_event event)
{
    uint8_t next = table[state][event];

    return next == STAY ? state : (enum carrick_session_state)next;
}

const char *session_event_name(enum session_event event)
{
    static const char *const names[SESSION_EVENT_COUNT] = {
        [SESSION_EVENT_JOINED] = "joined",
        [SESSION_EVENT_READ] = "read",
        [SESSION_EVENT_WROTE] = "wrote",
        [SESSION_EVENT_TAKEN] = "taken",
        [SESSION_EVENT_TOLD] = "told",
        [SESSION_EVENT_BUILT] = "built",
        [SESSION_EVENT_BOTH_READY] = "both-ready",
        [SESSION_EVENT_END] = "end",
        [SESSION_EVENT_OVER] = "over",
        [SESSION_EVENT_CLOSED] = "closed",
    };
    return names[event];
}
