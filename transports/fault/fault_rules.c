// SPDX-License-Identifier: Apache-2.0
//
// Which operation fails: counting, and random numbers that depend on the seed alone.
#include "fault.h"

// splitmix64: one word of state, and good enough to pick victims.
uint64_t fault_random(struct carrick_transport *transport)
{
    uint64_t z = transport->random_state += 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static bool rule_fires(struct carrick_transport *transport, struct fault_rule *rule)
{
    rule->seen++;
    if (rule->seen <= rule->after)
        return false;
    if (rule->count != 0 && rule->hits >= rule->count)
        return false;
    if (rule->every != 0)
        return (rule->seen - rule->after) % rule->every == 0;
    return (fault_random(transport) >> 11) < rule->threshold;
}

struct fault_rule *fault_rules_decide(struct carrick_transport *transport, uint32_t subject)
{
    struct fault_rule *winner = NULL;

    // Each rule counts what it looks at, also when another one has won: a rule's victims do not move when a rule
    // is added before it.
    for (uint32_t i = 0; i < transport->config.rules_count; i++) {
        struct fault_rule *rule = &transport->config.rules[i];

        if ((rule->subjects & subject) != 0 && rule_fires(transport, rule) && winner == NULL)
            winner = rule;
    }
    if (winner != NULL) {
        winner->hits++;
        transport->host->log(transport->host, CARRICK_LOG_DEBUG, "fault: %s, number %llu",
                             fault_kind_name(winner->kind), (unsigned long long)winner->hits);
    }
    return winner;
}
