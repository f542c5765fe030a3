// SPDX-License-Identifier: Apache-2.0
#include "core/names.h"

#include <string.h>

static const struct {
    int status;
    const char *name;
} statuses[] = {
    {CARRICK_OK, "ok"},
    {CARRICK_ERR_INVALID, "invalid"},
    {CARRICK_ERR_NOT_SUPPORTED, "not-supported"},
    {CARRICK_ERR_NO_MEMORY, "no-memory"},
    {CARRICK_ERR_AGAIN, "again"},
    {CARRICK_ERR_NOT_FOUND, "not-found"},
    {CARRICK_ERR_EXISTS, "exists"},
    {CARRICK_ERR_LIMIT, "limit"},
    {CARRICK_ERR_DENIED, "denied"},
    {CARRICK_ERR_STATE, "wrong-state"},
    {CARRICK_ERR_BOUNDS, "out-of-bounds"},
    {CARRICK_ERR_CONFIG, "configuration"},
    {CARRICK_ERR_VERSION, "version"},
    {CARRICK_ERR_SYSTEM, "system"},
    {CARRICK_ERR_CANCELLED, "cancelled"},
    {CARRICK_ERR_CONFLICT, "conflict"},
    {CARRICK_ERR_UNKNOWN, "outcome-unknown"},
    {CARRICK_ERR_RESET, "reset"},
    {CARRICK_ERR_CLOSED, "closed-by-partner"},
    {CARRICK_ERR_REFUSED, "refused"},
    {CARRICK_ERR_REMOTE_ACCESS, "remote-access"},
    {CARRICK_ERR_PROTOCOL, "protocol"},
    {CARRICK_ERR_TIMEOUT, "timeout"},
    {CARRICK_ERR_UNREACHABLE, "unreachable"},
    {CARRICK_ERR_LINK_DOWN, "link-down"},
    {CARRICK_ERR_DEVICE_REMOVED, "device-removed"},
    {CARRICK_ERR_NO_DEVICE, "no-device"},
    {CARRICK_ERR_SESSION_ENDED, "session-ended"},
};

const char *status_name(int status)
{
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (statuses[i].status == status)
            return statuses[i].name;
    return "unknown-status";
}

static const struct {
    const char *name, *text;
} reasons[CARRICK_REASON_COUNT] = {
    [CARRICK_REASON_NONE] = {"none", "no reason was given"},
    [CARRICK_REASON_VERSION] =
        {"version", "the nodes speak no common protocol version; upgrade the older one"},
    [CARRICK_REASON_CLUSTER] =
        {"cluster", "the partner belongs to another cluster; compare \"cluster\" on both nodes"},
    [CARRICK_REASON_NODE] =
        {"node", "the other end is not the node, manager or link that the configuration names; "
                 "check addresses and cabling"},
    [CARRICK_REASON_AUTHENTICATION] =
        {"authentication", "the cluster keys differ; copy the key file from one node to the other"},
    [CARRICK_REASON_CONFIGURATION] = {"configuration",
                                      "the configurations differ in nodes, managers, links, "
                                      "arbiter or clients; use the same file on both nodes"},
    [CARRICK_REASON_RESOURCES] = {"resources",
                                  "what the partner's clients ask for cannot be given here"},
    [CARRICK_REASON_PROTOCOL] = {"protocol", "the partner sent what the protocol does not allow"},
    [CARRICK_REASON_DEADLINE] = {"deadline", "a step of bring-up took longer than bringup_ms"},
    [CARRICK_REASON_LINK_LOST] = {"link-lost", "no link to the partner is left"},
    [CARRICK_REASON_PARTNER_RESTARTED] = {"partner-restarted", "the partner has started anew"},
    [CARRICK_REASON_OPERATOR] = {"operator", "by command"},
    [CARRICK_REASON_SHUTDOWN] = {"shutdown", "the daemon is stopping"},
    [CARRICK_REASON_CLIENT] = {"client", "a client asked for it"},
    [CARRICK_REASON_DUPLICATE] = {"duplicate",
                                  "both nodes connected at once; the other connection stays"},
    [CARRICK_REASON_STALE_SESSION] = {"stale-session",
                                      "the connection belongs to a session that is over"},
    [CARRICK_REASON_PARTNER_ENDED] = {"partner-ended", "the partner ended the session"},
    [CARRICK_REASON_NOT_READY] = {"not-ready", "not able to take a connection at this moment"},
};

const char *reason_name(uint32_t reason)
{
    return reason < CARRICK_REASON_COUNT ? reasons[reason].name : "unknown-reason";
}

const char *reason_text(uint32_t reason)
{
    return reason < CARRICK_REASON_COUNT ? reasons[reason].text : "unknown reason";
}

const char *session_state_name(uint32_t state)
{
    static const char *const names[CARRICK_SESSION_STATE_COUNT] = {
        [CARRICK_SESSION_IDLE] = "idle",       [CARRICK_SESSION_READING] = "reading",
        [CARRICK_SESSION_WRITING] = "writing", [CARRICK_SESSION_CHECKING] = "checking",
        [CARRICK_SESSION_TELLING] = "telling", [CARRICK_SESSION_BUILDING] = "building",
        [CARRICK_SESSION_READY] = "ready",     [CARRICK_SESSION_UP] = "up",
        [CARRICK_SESSION_ENDING] = "ending",   [CARRICK_SESSION_CLOSING] = "closing",
    };
    return state < CARRICK_SESSION_STATE_COUNT ? names[state] : "unknown";
}

const char *boot_stage_name(uint32_t stage)
{
    static const char *const names[] = {
        [CARRICK_BOOT_UNKNOWN] = "unknown", [CARRICK_BOOT_INITRAMFS] = "initramfs",
        [CARRICK_BOOT_ROOT] = "root",       [CARRICK_BOOT_SERVICES] = "services",
        [CARRICK_BOOT_SERVING] = "serving",
    };
    return stage < sizeof(names) / sizeof(names[0]) ? names[stage] : "unknown";
}

uint32_t boot_stage_of(const char *name)
{
    for (uint32_t stage = CARRICK_BOOT_INITRAMFS; stage <= CARRICK_BOOT_SERVING; stage++)
        if (strcmp(boot_stage_name(stage), name) == 0)
            return stage;
    return CARRICK_BOOT_UNKNOWN;
}
