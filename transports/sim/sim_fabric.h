// SPDX-License-Identifier: Apache-2.0
//
// The network of the sim transport: devices of both nodes, what is under way between them, and the switches by
// which a test makes it misbehave. A fabric and all devices on it belong to one thread.
//
// A device names its fabric and its own address in the link's section: {"fabric": 3, "device": "a0"}, where 3 is
// sim_fabric_id(). Fabric 0 is the thread's own: it is made when the first device on it is opened, and goes with
// the last; so the plugin can be used, without faults, by one who cannot call the functions below.
//
// What is promised to the one who uses the transport is include/carrick/transport.h and no more. Within that, a
// fabric is as unkind as it can be: writes land in pieces, at their own times; what was posted is fetched from the
// local buffer at the moment when it lands; messages under way when a connection is reset still land as long
// as the endpoint at the target has not told CLOSED; read answers likewise.
#ifndef SIM_FABRIC_H
#define SIM_FABRIC_H

#include <carrick/transport.h>

struct sim_fabric;

struct sim_fabric_options {
    uint64_t seed;

    // Time. With now_ns the owner runs the fabric: it calls sim_fabric_run when sim_fabric_next_ns says so. Without,
    // the devices run it, from device_poll and from timers of their hosts.
    uint64_t (*now_ns)(void *arg);
    // Called before bytes land in memory of a node: `to` still holds what was there. May be NULL.
    void (*landing)(void *arg, const char *node, const void *to, const void *from, uint64_t bytes);
    // Called on a mistake of the one who uses the transport (a call that transport.h forbids). May be NULL.
    void (*misuse)(void *arg, const char *text);
    void *arg;

    uint64_t delay_min_ns, delay_max_ns; // of a message, unless the path has its own
    uint64_t close_max_ns;               // longest time between endpoint_close and CLOSED
    uint64_t notice_max_ns;              // longest time until an end learns of a reset
    uint32_t pieces_max;                 // a write or a read lands in up to so many pieces
    bool request_waits; // the answering side is connected only when it knows that the other one is

    // Capabilities of the devices; 0 means the default of sim_fabric_options_init.
    uint32_t flags; // enum carrick_capability
    uint32_t proof; // enum carrick_proof
    uint32_t max_posted, max_reads, inline_bytes, max_send_bytes;
    uint64_t max_message_bytes;

    // Dishonest on purpose, to see that tests notice: what is under way still lands after CLOSED.
    bool break_fence;
};

void sim_fabric_options_init(struct sim_fabric_options *options);

// NULL: no memory, or too many fabrics on this thread.
struct sim_fabric *sim_fabric_create(const struct sim_fabric_options *options);
// All devices are closed.
void sim_fabric_destroy(struct sim_fabric *fabric);
int sim_fabric_id(const struct sim_fabric *fabric);

// When the next thing happens; UINT64_MAX: nothing is under way.
uint64_t sim_fabric_next_ns(const struct sim_fabric *fabric);
// Lets happen what is due, at most `max` things. Returns how many happened.
unsigned sim_fabric_run(struct sim_fabric *fabric, unsigned max);

// ---- faults. Devices are named by their address, nodes by the name that their host table tells.

enum sim_path_fault {
    SIM_PATH_SILENT_THERE = 1, // nothing from a reaches b; nobody is told, what is under way waits
    SIM_PATH_SILENT_BACK = 2,  // nothing from b reaches a
    SIM_PATH_SILENT = 3,
    SIM_PATH_REFUSING = 4, // who connects is told that there is no route
};

// Sets what is wrong with the path between two devices from now on; 0 heals it, and what waited goes on.
void sim_path_fault(struct sim_fabric *fabric, const char *a, const char *b, unsigned faults);
void sim_path_delay(struct sim_fabric *fabric, const char *a, const char *b, uint64_t min_ns,
                    uint64_t max_ns);
// Resets all connections of the path. What is under way is lost in part, and lands in part, up to late_ns later.
// Returns the number of connections.
unsigned sim_path_cut(struct sim_fabric *fabric, const char *a, const char *b, uint64_t late_ns);
// Each connection breaks, but only the end at `told` learns of it.
unsigned sim_path_half_open(struct sim_fabric *fabric, const char *told, const char *untold);

void sim_device_carrier(struct sim_fabric *fabric, const char *device, bool up);
// The device goes away; opening it fails until it is inserted again.
void sim_device_remove(struct sim_fabric *fabric, const char *device);
void sim_device_insert(struct sim_fabric *fabric, const char *device);

// The node dies at once, with its memory. Its handles stay valid until they are closed, and every close is done at
// once, so that what used them can be freed. reset: the partner is told; else the node just falls silent. It
// comes back by opening its devices anew.
void sim_node_kill(struct sim_fabric *fabric, const char *node, bool reset);
// The node's processor stands still. memory_open: its memory can be read and written all the same, as with RDMA; else
// nothing that is sent to it gets through until it goes on, as with TCP.
void sim_node_freeze(struct sim_fabric *fabric, const char *node, bool memory_open);
void sim_node_thaw(struct sim_fabric *fabric, const char *node);

// When something last came to the node that an end had sent which was gone by then: closed, or dead with its node. 0: never.
uint64_t sim_node_heard_gone_ns(struct sim_fabric *fabric, const char *node);

// Connections that exist now between two devices.
unsigned sim_path_connections(struct sim_fabric *fabric, const char *a, const char *b);

struct sim_fabric_counters {
    uint64_t messages; // delivered
    uint64_t late;     // of those, on a connection that had been reset
    uint64_t fenced;   // thrown away because the target had closed
    uint64_t resets;   // connections that a fault broke
    uint64_t misuses;
};
void sim_fabric_counters(const struct sim_fabric *fabric, struct sim_fabric_counters *counters);

#endif
