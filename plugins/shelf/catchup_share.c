// SPDX-License-Identifier: Apache-2.0
//
// What a catch-up leaves to those who write meanwhile: it copies for a while and rests for a while, and what they get done
// in the one and in the other says how long each may be, so that they lose a quarter to two fifths of their
// rate: LOSS, and what copying still does to them when it rests. Where they lose nothing, since they want little or the
// disk is what limits the copying, it hardly rests.
#include "catchup_internal.h"

#define CYCLE_NS 100000000u // copying and resting together
#define REST_NS_MIN 5000000u
#define REST_NS_MAX 900000000u
#define LOSS 0.2      // what they may lose; copying still has an effect in the rests
#define FADING 0.7    // of what was counted in earlier cycles
#define WRITES_MIN 32 // fewer say nothing, unless one waits

static double rate_of(const struct catchup_pace *pace)
{
    return pace->ns > 0 ? pace->writes * 1e9 / pace->ns : 0;
}

static void phase_begin(struct shelf_group *group, bool resting, uint64_t length_ns)
{
    struct catchup_share *share = &group->catchup->share;

    share->resting = resting;
    share->began_ns = catchup_now_ns(group);
    share->length_ns = length_ns;
    share->acknowledged = group->acknowledged;
}

// The phase that ends now says how fast they are in such a phase.
static uint64_t phase_count(struct shelf_group *group)
{
    struct catchup_share *share = &group->catchup->share;
    struct catchup_pace *pace = share->resting ? &share->rest : &share->copy;
    uint64_t took_ns = catchup_now_ns(group) - share->began_ns;

    pace->writes =
        pace->writes * FADING +
        (double)(group->acknowledged - shelf_min(share->acknowledged, group->acknowledged));
    pace->ns = pace->ns * FADING + (double)took_ns;
    return took_ns;
}

// The part of the time that may be copied in.
static double part_of(const struct catchup_share *share)
{
    double copying = rate_of(&share->copy), resting = rate_of(&share->rest);

    if (share->rest.writes < WRITES_MIN || copying >= resting * (1 - LOSS))
        return 1;
    return LOSS / (1 - copying / resting);
}

void catchup_share_begin(struct shelf_group *group)
{
    group->catchup->share = (struct catchup_share){0};
    phase_begin(group, false, CYCLE_NS);
}

static uint64_t rest_length(const struct catchup_share *share, uint64_t copied_ns)
{
    double rest_ns = (double)copied_ns / part_of(share) - (double)copied_ns;

    if (share->rest.ns <= 0)
        return CYCLE_NS / 4; // the first one
    return rest_ns < REST_NS_MIN   ? REST_NS_MIN
           : rest_ns > REST_NS_MAX ? REST_NS_MAX
                                   : (uint64_t)rest_ns;
}

bool catchup_share_open(struct shelf_group *group, bool drained)
{
    struct catchup_share *share = &group->catchup->share;
    uint64_t elapsed_ns = catchup_now_ns(group) - share->began_ns;

    if (elapsed_ns < share->length_ns) {
        if (share->resting)
            catchup_timer_arm(group, share->length_ns - elapsed_ns);
        return !share->resting;
    }
    if (share->resting) {
        phase_count(group);
        phase_begin(group, false, (uint64_t)(CYCLE_NS * part_of(share)));
        return true;
    }
    // What is on its way still takes from them.
    if (!drained)
        return false;
    elapsed_ns = phase_count(group);
    if (share->copy.writes < WRITES_MIN && group->log_queue.count == 0) {
        phase_begin(group, false, CYCLE_NS);
        return true;
    }
    phase_begin(group, true, rest_length(share, elapsed_ns));
    catchup_timer_arm(group, share->length_ns);
    return false;
}
