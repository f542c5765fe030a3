// SPDX-License-Identifier: Apache-2.0
//
// Steps of the table in steps.c, by the files that hold them.
#ifndef FAILOVER_STEPS_H
#define FAILOVER_STEPS_H

#include "failover.h"

void fo_theirs_at_least(const struct group *group, const struct carrick_log_copy *mine,
                        struct carrick_log_copy *theirs);
enum group_state fo_step_follow(struct group *group, const struct decide_out *out);
enum group_state fo_steps_become_shadow(struct group *group,
                                        const struct carrick_generation *generation,
                                        uint64_t cut_above, bool empty);

// ---- take.c: on the way to serving
enum group_state fo_shadow_take(struct group *group);
enum group_state fo_lost_look(struct group *group);
enum group_state fo_lost_late(struct group *group);
enum group_state fo_lost_looked(struct group *group);
enum group_state fo_lost_not_had(struct group *group);
enum group_state fo_lost_look_back(struct group *group);
enum group_state fo_take_fenced(struct group *group);
enum group_state fo_take_fence_again(struct group *group);
enum group_state fo_take_fence_late(struct group *group);
enum group_state fo_take_won(struct group *group);
enum group_state fo_take_refused(struct group *group);
enum group_state fo_take_not_had(struct group *group);
enum group_state fo_take_confirmed(struct group *group);
enum group_state fo_take_served(struct group *group);
enum group_state fo_take_failed(struct group *group);
enum group_state fo_take_serve_late(struct group *group);

// ---- owner.c: with a partner, and the hand-over
enum group_state fo_owner_unusable(struct group *group);
enum group_state fo_both_state(struct group *group);
enum group_state fo_both_lost(struct group *group);
enum group_state fo_both_late(struct group *group);
enum group_state fo_both_restored(struct group *group);
enum group_state fo_both_refused(struct group *group);
enum group_state fo_both_give(struct group *group);
enum group_state fo_ask_won(struct group *group);
enum group_state fo_ask_not_had(struct group *group);
enum group_state fo_both_back(struct group *group);
enum group_state fo_ask_back(struct group *group);
enum group_state fo_owner_refused(struct group *group);
// Does the partner's word say that history went on without this owner?
bool fo_owner_superseded(const struct group *group, const struct carrick_log_copy *mine);
enum group_state fo_quiet_changed(struct group *group);
enum group_state fo_quiet_over(struct group *group);
enum group_state fo_hand_won(struct group *group);
enum group_state fo_hand_not_had(struct group *group);
// The partner that was handed the group says that it serves it; or nothing came of it, or not in time.
void fo_hand_heard(struct group *group);
void fo_hand_unheard(struct group *group);

// ---- rejoin.c: alone, and the partner's return
enum group_state fo_alone_state(struct group *group);
enum group_state fo_alone_late(struct group *group);
enum group_state fo_alone_looked(struct group *group);
enum group_state fo_resync_changed(struct group *group);
enum group_state fo_resync_state(struct group *group);
enum group_state fo_resync_ended(struct group *group);
enum group_state fo_join_joined(struct group *group);
enum group_state fo_join_ended(struct group *group);
enum group_state fo_join_won(struct group *group);
enum group_state fo_join_not_had(struct group *group);

#endif
