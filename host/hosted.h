// SPDX-License-Identifier: Apache-2.0
//
// A client process: plugins of clients, run outside of the daemon, each with the complete host tables. Timers, watches,
// files, work and log are of this process; memory is the daemon's, mapped here; operations and events pass through rings.
//
//   main.c          the program, its loop, messages
//   hosted.c        a client: made, called back, ended
//   hosted_host.c   struct carrick_client_host: memory, services, the rest
//   hosted_vi.c     VIs: posting, completing
#ifndef HOST_HOSTED_H
#define HOST_HOSTED_H

#include <carrick/arbitration.h>

#include "core/host.h"
#include "core/loader.h"
#include "daemon/env_uv.h"
#include "host/channel.h"

#define HOSTED_VI_DEPTH 256u // operations that a VI holds, as in the core
#define HOSTED_SERVICES_MAX 64u

struct hosted;
struct host_process;

struct carrick_region {
    struct hosted *hosted;
    struct carrick_region *next;
    uint64_t number; // the daemon's, or CHANNEL_HERE_REGION with an index
    uint64_t bytes, mapped;
    void *address;
    int fd;
    uint32_t operations; // that use it now
};

struct hosted_op {
    uint64_t cookie;
    struct carrick_region *region;
};

struct carrick_vi {
    struct hosted *hosted;
    uint32_t number, generation, state;
    bool closing;
    int last_status; // of the last completion that was not CARRICK_OK
    uint64_t head, tail;
    struct hosted_op ops[HOSTED_VI_DEPTH];
};

// Records that found no room in the ring.
struct hosted_waiting {
    struct hosted_waiting *next;
    uint32_t type, length;
    uint8_t data[];
};

struct hosted_host {
    struct carrick_client_host base;
    struct hosted *hosted;
};

struct hosted_service {
    struct hosted *hosted;
    char name[CARRICK_NAME_MAX + 1];
    const void *table;
    void *object;
};

struct hosted {
    struct host_process *process;
    struct hosted *next; // of those that are gone
    uint32_t index;
    char name[CARRICK_NAME_MAX + 1];
    struct host host;
    struct hosted_host client_host;
    struct loader *loader;
    struct module *module;
    const struct carrick_client_ops *ops;
    struct carrick_client *instance;
    struct channel_shared *shared;
    struct channel_ring ops_ring, events;
    struct hosted_waiting *waiting, **waiting_end;
    struct carrick_region *regions; // made by the plugin
    struct carrick_region_want *wants;
    uint32_t want_count;
    uint64_t *there_bytes;
    struct carrick_region **coming; // of the session that is to come: by HERE
    uint32_t coming_count;
    // session
    bool ready;
    struct carrick_region **here;
    uint32_t here_count;
    struct carrick_vi **vis; // [CARRICK_CLIENT_VIS_MAX]
    uint64_t question;
};

struct hosted_question {
    struct hosted_question *next;
    struct hosted *hosted;
    uint64_t cookie;
    carrick_arbitration_fn fn;
    void *arg;
};

struct host_deferred {
    struct host_deferred *next;
    struct channel_message message;
};

struct host_process {
    char node[CARRICK_NAME_MAX + 1], partner[CARRICK_NAME_MAX + 1], manager[CARRICK_NAME_MAX + 1];
    char arbiter[CARRICK_NAME_MAX + 1];
    struct env_uv *env_uv;
    struct env *env;
    struct channel_page *page;
    int event_in, event_out;
    uint64_t beat_ns;
    struct env_timer *beat, *again;
    struct env_watch *watch_socket, *watch_event;
    struct hosted *clients[CHANNEL_CLIENTS_MAX];
    uint32_t client_count;
    bool destroying;
    struct hosted *gone; // what is left of them goes with the process
    struct hosted_service services[HOSTED_SERVICES_MAX];
    uint32_t service_count;
    struct hosted_question *questions;
    // Came while the answer to a call was awaited.
    struct host_deferred *deferred, **deferred_end;
};

// main.c
void host_send(struct host_process *process, const struct channel_message *message);
// Asks the daemon and waits for its answer, which the caller ends.
void host_call(struct hosted *hosted, struct channel_message *message,
               struct channel_message *answer);
void host_wake_daemon(struct host_process *process);
void host_take_here(struct host_process *process); // HERE that is on its way
void host_end(void) __attribute__((noreturn));

// hosted.c
void hosted_create(struct host_process *process, struct channel_message *message);
void hosted_message(struct hosted *hosted, struct channel_message *message);
void hosted_here(struct hosted *hosted, struct channel_message *message);
bool hosted_events(struct hosted *hosted); // true: there is more
void hosted_state(struct hosted *hosted);

// hosted_host.c
void hosted_host_init(struct hosted *hosted);
void hosted_region_unmap(struct carrick_region *region);
struct carrick_region *hosted_region_map(struct hosted *hosted, uint64_t number, uint64_t bytes,
                                         uint64_t offset, int fd);
void hosted_answered(struct hosted *hosted, const struct channel_message *message);

// hosted_vi.c
struct carrick_vi *hosted_vi_make(struct hosted *hosted, uint32_t number, uint32_t generation,
                                  uint32_t state);
struct carrick_vi *hosted_vi(const struct hosted *hosted, uint32_t number, uint32_t generation);
int hosted_vi_open(const struct carrick_client_host *base, uint32_t number, struct carrick_vi **vi);
int hosted_vi_close(struct carrick_vi *vi);
uint32_t hosted_vi_room(struct carrick_vi *vi);
int hosted_post(struct carrick_vi *vi, const struct carrick_op *ops, uint32_t count);
void hosted_completed(struct hosted *hosted, const struct channel_completed *run);
void hosted_vi_changed(struct hosted *hosted, const struct channel_vi *event);
void hosted_vis_end(struct hosted *hosted); // after ended
void hosted_put(struct hosted *hosted, uint32_t type, const void *head, uint32_t head_bytes,
                const void *data, uint32_t data_bytes);
void hosted_waiting_go_on(struct hosted *hosted);

#endif
