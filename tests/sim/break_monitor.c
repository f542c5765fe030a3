// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/storage_break.h"

#include "plugins/failover/failover.h"

void break_monitor(struct carrick_client *client, unsigned rules)
{
    struct failover *failover = (struct failover *)(void *)client;

    failover->break_rules = (rules & BREAK_WIN ? FAILOVER_BREAK_WIN : 0u) |
                            (rules & BREAK_CLOSED ? FAILOVER_BREAK_FENCE : 0u) |
                            (rules & BREAK_FOUND ? FAILOVER_BREAK_FOUND : 0u) |
                            (rules & BREAK_EQUAL ? FAILOVER_BREAK_EQUAL : 0u) |
                            (rules & BREAK_HOLD ? FAILOVER_BREAK_HOLD : 0u) |
                            (rules & BREAK_BOOT ? FAILOVER_BREAK_BOOT : 0u);
}
