// SPDX-License-Identifier: Apache-2.0
//
// Virtual interfaces: the unit that clients see. A VI keeps what is in flight, whatever happens to the link below it.
//
//   vi.c        making and ending; posting by the client; receiving
//   vi_open.c   opening and closing while the session is up
//   vi_pump.c   from the VI's queue onto its lane; from the lane's completions back to the client
//   vi_carry.c  onto another lane after a failure, or to spread the load
#ifndef CORE_VI_H
#define CORE_VI_H

#include "core/model.h"

// vi.c
int vi_make_all(
    struct client *client); // those of bring-up, which are open on both sides with READY
int vi_table_room(struct client *client, uint32_t number);
struct vi *vi_make(struct client *client, uint32_t number);
void vi_detach(struct vi *vi); // it can no longer be found
void vi_free(struct vi *vi);
void vi_end_all(
    struct client *client); // with the session: all that is outstanding completes as such
uint32_t vi_open_count(const struct manager *manager);
int vi_post(struct vi *vi, const struct carrick_op *ops, uint32_t count);
uint32_t vi_room(const struct vi *vi);
struct client *vi_client(const struct manager *manager, uint64_t identity); // NULL: there is none
// A send of the partner. false: it breaks the protocol.
bool vi_receive(struct conn *conn, const struct send_header *header, const void *data,
                uint32_t length);
void vi_enter(struct vi *vi, uint32_t state);

// vi_open.c
struct vi_opening *vi_opening(struct client *client, uint32_t number); // NULL: no memory
int vi_open(struct client *client, uint32_t number, struct vi **vi);
int vi_close(struct vi *vi);
void vi_close_if_drained(struct vi *vi);
void vi_changes(struct manager *manager); // what follows from vi_open and vi_close
void vi_message(struct manager *manager,
                const struct message *message); // VI_OPEN, VI_CLOSE, VI_HEARD
void vi_sent_to(struct vi *vi);              // a send has come for it, so it is open at the partner
void vi_tell_some(struct manager *manager);  // there may be room on a control lane
void vi_open_again(struct manager *manager); // messages may have been lost with a conn
void vi_open_tick(struct manager *manager, uint64_t now_ns);
void vi_open_forget(struct manager *manager); // the session has ended

// vi_pump.c
void vi_pump(struct vi *vi);
void vi_chunk_done(struct vi *vi, struct vi_op *op, uint64_t bytes);
void vi_chunk_lost(struct vi *vi, struct vi_op *op);
void vi_lane_has_room(struct lane *lane);
void vi_buffers_go_on(struct manager *manager); // send buffers are free again
void vi_buffer_forget(struct vi *vi);           // it waits for none any more
void vi_link_changed(struct link *link); // registrations came: what waited for them may go on
void vi_complete_all(struct vi *vi, int status); // nothing is on a lane any more

// vi_carry.c
void vi_place(struct vi *vi, struct lane *lane);
void vi_unplace(struct vi *vi);
void vi_lane_lost(struct lane *lane);  // its VIs stall until the conn's fence is over
void vi_fence_over(struct conn *conn); // they go on by whatever the policy chooses

static inline struct vi_op *vi_entry(const struct vi *vi, uint64_t number)
{
    return &vi->ring[number & (VI_DEPTH - 1)];
}

static inline uint64_t vi_identity(uint32_t rank, uint32_t number)
{
    return (uint64_t)rank << 32 | number;
}

#endif
