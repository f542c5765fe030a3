// SPDX-License-Identifier: Apache-2.0
//
// Statuses, names and conventions that every other public header uses. Read this one first.
//
// Conventions of the whole ABI:
//
//  - Times are unsigned nanoseconds of the manager's monotonic clock, names end in _ns. Where a person
//    writes them (configuration, command line) they are milliseconds or microseconds and the name says so.
//  - Sizes are bytes. Offsets count from the start of a region.
//  - A call that can fail returns an int: CARRICK_OK (0) or one of enum carrick_status.
//  - A call that returned an error has no later effect: no event, no completion, no callback for it follows.
//  - Every structure that either side fills begins with struct_size, set by the side that owns the memory
//    to its own sizeof. The other side reads or writes only the fields that lie within that size.
//    In an array, the struct_size of the first element is the distance between elements.
//  - Strings are UTF-8, end in NUL, and belong to the side that handed them over; they are valid during
//    the call, unless the comment of the call says longer.
//  - Memory is freed by the side that allocated it.
#ifndef CARRICK_TYPES_H
#define CARRICK_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The version of this ABI. A plugin built against MAJOR.n works with every core of MAJOR.m, m >= n.
// The minor number grows when something is appended; the major one when a meaning changes, which
// includes the order of calls, the thread they come on, who owns what, and what a return value says.
#define CARRICK_ABI_MAJOR 1
#define CARRICK_ABI_MINOR 1

// Longest name of a cluster, node, manager, link, client or plugin, without its NUL.
#define CARRICK_NAME_MAX 31

// Statuses are grouped by the largest thing that is lost, so that a caller who does not know a
// particular status can still act on its group: carrick_status_scope().
enum carrick_status {
    CARRICK_OK = 0,

    // Nothing is lost: the call was refused, the object is as it was.
    CARRICK_ERR_INVALID = 0x101,       // an argument is wrong; the caller's mistake
    CARRICK_ERR_NOT_SUPPORTED = 0x102, // this plugin or core does not have the operation
    CARRICK_ERR_NO_MEMORY = 0x103,     // an allocation failed
    CARRICK_ERR_AGAIN = 0x104,         // the queue is full; try again after the next completion
    CARRICK_ERR_NOT_FOUND = 0x105,     // no object of that name or number
    CARRICK_ERR_EXISTS = 0x106,        // the name or number is taken
    CARRICK_ERR_LIMIT = 0x107,         // a configured or fixed limit would be exceeded
    CARRICK_ERR_DENIED = 0x108,        // the caller may not do this
    CARRICK_ERR_STATE = 0x109,         // not in this state of the object
    CARRICK_ERR_BOUNDS = 0x10a,        // offset and length do not lie within the region
    CARRICK_ERR_CONFIG = 0x10b,  // a configuration section is wrong; the error's pointer says where
    CARRICK_ERR_VERSION = 0x10c, // no common version
    CARRICK_ERR_SYSTEM = 0x10d,  // a system call failed; the error's sys_errno says which way

    // One operation is lost; the endpoint or VI goes on.
    CARRICK_ERR_CANCELLED = 0x201, // ended by its owner before it was done
    CARRICK_ERR_CONFLICT = 0x202,  // a compare-and-set met another value
    CARRICK_ERR_UNKNOWN = 0x203,   // it is not known whether the operation took effect

    // The endpoint is lost, with all that is posted on it.
    CARRICK_ERR_RESET = 0x301,  // the partner, or the network, reset it
    CARRICK_ERR_CLOSED = 0x302, // the partner closed it in order
    // The partner refused the connection; the data says why. Without data: its node answers, and nobody listens there.
    CARRICK_ERR_REFUSED = 0x303,
    CARRICK_ERR_REMOTE_ACCESS = 0x304, // wrong key, bounds or access at the target
    CARRICK_ERR_PROTOCOL = 0x305,      // what came over the wire is against the protocol
    CARRICK_ERR_TIMEOUT = 0x306,       // no answer within the deadline

    // The link is lost: no endpoint between this pair of devices works.
    CARRICK_ERR_UNREACHABLE = 0x401, // no route, or nothing answers
    CARRICK_ERR_LINK_DOWN = 0x402,   // the carrier is lost, or the link was taken down by command

    // The device is lost, with all its endpoints and registrations.
    CARRICK_ERR_DEVICE_REMOVED = 0x501,
    CARRICK_ERR_NO_DEVICE = 0x502, // there is no such device on this node

    // The session is lost, with all VIs and what was in flight on them.
    CARRICK_ERR_SESSION_ENDED = 0x601,
};

enum carrick_scope {
    CARRICK_SCOPE_NOTHING = 0,
    CARRICK_SCOPE_CALL = 1,
    CARRICK_SCOPE_OPERATION = 2,
    CARRICK_SCOPE_ENDPOINT = 3,
    CARRICK_SCOPE_LINK = 4,
    CARRICK_SCOPE_DEVICE = 5,
    CARRICK_SCOPE_SESSION = 6,
};

static inline enum carrick_scope carrick_status_scope(int status)
{
    return (enum carrick_scope)((status >> 8) & 0xf);
}

// An error with its cause, for a person. Filled by the callee when it returns something other than
// CARRICK_OK; the caller sets struct_size and zeroes the rest.
struct carrick_error {
    uint32_t struct_size;
    int32_t status;    // what the call returned
    int32_t sys_errno; // errno of the failed system call, or 0
    uint32_t reserved;
    char pointer
        [128];      // for CARRICK_ERR_CONFIG: JSON pointer (RFC 6901) into the section handed over
    char text[256]; // cause, actual and wanted value, and what to do; no newline
};

enum carrick_log_level {
    CARRICK_LOG_ERROR = 3, // the numbers of syslog(3)
    CARRICK_LOG_WARNING = 4,
    CARRICK_LOG_NOTICE = 5,
    CARRICK_LOG_INFO = 6,
    CARRICK_LOG_DEBUG = 7,
};

// What a region's memory may be used for, from the partner's side.
enum carrick_access {
    CARRICK_ACCESS_LOCAL = 0,        // only as the local buffer of this node's operations
    CARRICK_ACCESS_REMOTE_READ = 1,  // the partner may read it
    CARRICK_ACCESS_REMOTE_WRITE = 2, // the partner may write it
};

// How far a node has come since power-on, as its status line tells (enum values are on the wire).
enum carrick_boot_stage {
    CARRICK_BOOT_UNKNOWN = 0,
    CARRICK_BOOT_INITRAMFS = 1,
    CARRICK_BOOT_ROOT = 2,
    CARRICK_BOOT_SERVICES = 3,
    CARRICK_BOOT_SERVING = 4,
};

// State of a session (enum values are on the wire, in the status line). docs/protocol.md has the table.
enum carrick_session_state {
    CARRICK_SESSION_IDLE = 0,     // no link to the partner is proven
    CARRICK_SESSION_READING = 1,  // first read of the partner's status line
    CARRICK_SESSION_WRITING = 2,  // writing our peer information
    CARRICK_SESSION_CHECKING = 3, // second read: did the partner take it, which version rules
    CARRICK_SESSION_TELLING = 4,  // second write: our client information
    CARRICK_SESSION_BUILDING = 5, // making the regions and ports that the partner's table asks for
    CARRICK_SESSION_READY = 6,    // READY written; the partner's is awaited
    CARRICK_SESSION_UP = 7,       // clients are told; VIs carry data
    CARRICK_SESSION_ENDING = 8,   // clients are warned and close their ports
    CARRICK_SESSION_CLOSING = 9,  // endpoints are being closed; bring-up follows
    CARRICK_SESSION_STATE_COUNT
};

// Why a session ended or was refused (enum values are on the wire). Both nodes log it and show it.
enum carrick_reason {
    CARRICK_REASON_NONE = 0,
    CARRICK_REASON_VERSION = 1,        // no protocol version in common
    CARRICK_REASON_CLUSTER = 2,        // the partner is of another cluster
    CARRICK_REASON_NODE = 3,           // not the node, manager or link that the configuration names
    CARRICK_REASON_AUTHENTICATION = 4, // the proof of the cluster key is wrong or missing
    CARRICK_REASON_CONFIGURATION = 5,  // what must agree between the nodes does not
    CARRICK_REASON_RESOURCES = 6,      // what the partner's clients ask for cannot be given
    CARRICK_REASON_PROTOCOL = 7,       // the partner sent what the protocol does not allow
    CARRICK_REASON_DEADLINE = 8,       // a state lasted longer than its deadline
    CARRICK_REASON_LINK_LOST = 9,      // no link left for longer than the session may wait
    CARRICK_REASON_PARTNER_RESTARTED = 10, // the partner's incarnation changed
    CARRICK_REASON_OPERATOR = 11,          // by command
    CARRICK_REASON_SHUTDOWN = 12,          // the daemon is stopping
    CARRICK_REASON_CLIENT = 13,            // a client asked for it
    CARRICK_REASON_DUPLICATE = 14,         // both connected at once and the other connection stays
    CARRICK_REASON_STALE_SESSION = 15,     // the connection was made for a session that is over
    CARRICK_REASON_PARTNER_ENDED = 16,     // the partner ended the session
    CARRICK_REASON_NOT_READY = 17, // not able to take a connection at this moment; try again
    CARRICK_REASON_COUNT
};

#ifdef __cplusplus
}
#endif

#endif
