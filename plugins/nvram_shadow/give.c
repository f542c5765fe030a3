// SPDX-License-Identifier: Apache-2.0
//
// Records on their way out of a copy that follows: those above a cut, or all of them. In the turns that follow
//   1. the consumer hears that its role has ended, and forgets what it was told of the copy,
//   2. it is told of each record that goes, and makes durable where its disk may differ because of it,
//   3. and only then they are cut, wiped, and the partner hears of the copy.
// Until 3 they are in the ring as they were, so that a crash finds them again.
#include "nvram.h"

// Whether what goes may be on the consumer's disk, and on no other.
static bool is_to_be_told(const struct carrick_log *log)
{
    const struct carrick_log_consumer *consumer = log->consumer;

    // A copy that was being filled holds nothing that its owner lacks.
    return !log->give.filled &&
           consumer->struct_size > offsetof(struct carrick_log_consumer, gives_up) &&
           consumer->gives_up != NULL;
}

void nv_give_begin(struct carrick_log *log, const struct nv_cursor *to, uint64_t cut_above,
                   bool empty)
{
    struct nv_give *give = &log->give;
    struct nv_give before = *give; // an earlier one may not have ended

    *give = (struct nv_give){.phase = NV_GIVE_TELL,
                             .to = *to,
                             .empty = empty || before.empty,
                             .strays = before.strays || log->condition == CARRICK_LOG_CORRUPT,
                             .filled = log->condition == CARRICK_LOG_INCONSISTENT ||
                                       log->condition == CARRICK_LOG_EMPTY,
                             .cut_above = cut_above};
    if (before.phase != NV_GIVE_NOT && before.to.sequence < to->sequence)
        give->to = before.to;
    // What has not ended was no filled copy, or the consumer had been told of it.
    if (before.phase != NV_GIVE_NOT)
        give->filled = before.filled;
    give->at = give->to;
    if (log->consumer == NULL)
        nv_give_cut(log);
    else
        log->idle_due = log->told_role != CARRICK_LOG_IDLE;
}

// A slice of them; true: all.
static bool tell(struct carrick_log *log)
{
    struct nv_give *give = &log->give;
    struct nv_record record;

    for (uint32_t i = 0; i < NV_SLICE_RECORDS; i++) {
        struct nv_cursor at = give->at;

        // Behind a bad record the chain does not reach any.
        if (at.sequence >= log->ring.tail.sequence || !nv_ring_peek(&log->ring, &at, &record)) {
            log->consumer->gives_up(log->consumer_arg, NULL);
            return true;
        }
        nv_ring_step(&give->at, &record);
        if (record.kind != NV_FILL) {
            const struct carrick_log_entry entry = nv_entry_of(log, &record, &at);

            log->consumer->gives_up(log->consumer_arg, &entry);
        }
    }
    nv_turn_arm(log);
    return false;
}

void nv_gave_up(struct carrick_log *log)
{
    if (log->give.phase != NV_GIVE_WAIT)
        return;
    log->give.phase = NV_GIVE_CUT;
    nv_turn_arm(log);
}

// The chain ends at the cut. Behind a bad record lie others that it does not reach: those are to be looked for.
static void chain_cut(struct carrick_log *log)
{
    struct nv_give *give = &log->give;

    nv_copy_cut(log, &give->to);
    if (give->strays) {
        nv_scan_begin(&give->scan, &log->ring, 0, 0, &log->head.generation);
        give->scan.tags[3] = log->scan.tags[2];
    }
    give->phase = NV_GIVE_WIPE;
}

static void end(struct carrick_log *log)
{
    struct nv_give *give = &log->give;

    give->phase = NV_GIVE_NOT;
    if (give->strays)
        nv_persist_rewound(log, log->ring.first.position + log->ring.size);
    if (give->empty) {
        if (log->synced > give->cut_above)
            log->synced = give->cut_above;
        nv_copy_empty(log, &(struct nv_cursor){.sequence = 1});
    } else if (log->condition == CARRICK_LOG_CORRUPT) {
        nv_condition_set(log, CARRICK_LOG_WHOLE, NULL); // the bad record was above the cut
    }
    nv_head_write(log);
    log->state_due = true;
    nv_changed(log);
    *give = (struct nv_give){0};
}

void nv_give_cut(struct carrick_log *log)
{
    struct nv_give *give = &log->give;

    if (give->phase != NV_GIVE_WIPE)
        chain_cut(log);
    while (give->strays && !nv_scan_step(&give->scan, UINT64_MAX))
        ;
    end(log);
}

bool nv_give_step(struct carrick_log *log)
{
    struct nv_give *give = &log->give;

    if (give->phase == NV_GIVE_TELL && !is_to_be_told(log)) {
        give->phase = NV_GIVE_CUT;
    } else if (give->phase == NV_GIVE_TELL) {
        give->phase = NV_GIVE_WAIT; // its answer may come from within
        if (!tell(log))
            give->phase = NV_GIVE_TELL;
    }
    if (give->phase == NV_GIVE_CUT)
        chain_cut(log);
    if (give->phase == NV_GIVE_WIPE) {
        if (!give->strays || nv_scan_step(&give->scan, NV_SLICE_BYTES))
            end(log);
        else
            nv_turn_arm(log);
    }
    return give->phase == NV_GIVE_NOT;
}
