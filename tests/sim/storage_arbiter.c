// SPDX-License-Identifier: Apache-2.0
//
// The arbiter of the simulator: one truth in the world. A question takes its time to get there, happens, and its answer
// takes its time to come back; each of the three may fail to, and a change may come to stand long after its answer was
// given up.
#include "tests/sim/storage.h"

#include <stdlib.h>
#include <string.h>

struct carrick_arbiter {
    const struct carrick_arbiter_host *host;
    struct storage *storage;
    unsigned node;
};

struct arbiter_question {
    struct arbiter_question *next;
    struct carrick_arbiter *arbiter; // NULL: nobody waits for the answer
    unsigned node;
    struct storage_group *group;
    bool change, happened, heard, refused;
    int status;
    uint64_t cookie, expected;
    struct carrick_arbiter_record record; // wanted, then the one that stands
    struct carrick_timer *timer;
};

static struct storage_group *group_find(struct storage *storage, const char *name)
{
    for (unsigned i = 0; i < storage->groups; i++)
        if (strcmp(storage->group[i].name, name) == 0)
            return &storage->group[i];
    return NULL;
}

static void truth_change(struct arbiter_question *question)
{
    struct storage *storage = world_current()->storage;
    struct carrick_arbiter_record *truth = &question->group->truth;

    if (truth->number != question->expected) {
        question->status = CARRICK_ERR_CONFLICT;
        return;
    }
    *truth = question->record;
    truth->struct_size = sizeof(*truth);
    truth->number = question->expected + 1;
    question->status = CARRICK_OK;
    world_say(storage->world, NULL, "arbiter: %s number %llu by %s: owner %s, members %s %s",
              question->group->name, (unsigned long long)truth->number,
              storage->world->node[question->node].name, truth->owner,
              truth->member_count > 0 ? truth->members[0].node : "",
              truth->member_count > 1 ? truth->members[1].node : "");
}

static void question_happens(struct storage *storage, void *arg)
{
    struct arbiter_question *question = arg;

    question->happened = true;
    question->status = CARRICK_OK;
    if (question->change)
        truth_change(question);
    question->record = question->group->truth;
    if (question->arbiter == NULL || storage->way[question->node] == ARBITER_MUTE)
        return;
    question->heard = true;
    question->arbiter->host->base->timer_start(
        question->timer, sim_random_below(&storage->random, storage->arbiter_max_ns) + 1);
}

// Its answer has come, or its time is up.
static void question_answer(void *arg)
{
    struct arbiter_question *question = arg;
    struct carrick_arbiter *arbiter = question->arbiter;
    struct carrick_arbiter_record record = question->record;
    int status = question->refused  ? CARRICK_ERR_UNREACHABLE
                 : question->heard  ? question->status
                 : question->change ? CARRICK_ERR_UNKNOWN
                                    : CARRICK_ERR_TIMEOUT;

    record.struct_size = sizeof(record);
    arbiter->host->base->timer_destroy(question->timer);
    question->timer = NULL;
    question->arbiter = NULL;
    arbiter->host->answered(arbiter->host, question->cookie, status,
                            question->heard ? &record : NULL);
}

static int ask(struct carrick_arbiter *arbiter, const char *group, uint32_t timeout_ms,
               uint64_t cookie, uint64_t expected, const struct carrick_arbiter_record *wanted)
{
    struct storage *storage = arbiter->storage;
    struct arbiter_question *question = calloc(1, sizeof(*question));
    uint64_t delay_ns = sim_random_below(&storage->random, storage->arbiter_max_ns);
    int status;

    if (question == NULL)
        abort();
    question->next = storage->questions;
    storage->questions = question;
    question->node = arbiter->node;
    question->group = group_find(storage, group);
    if (question->group == NULL)
        return CARRICK_ERR_NOT_FOUND;
    status = arbiter->host->base->timer_create(arbiter->host->base, question_answer, question,
                                               &question->timer);
    if (status != CARRICK_OK)
        return status;
    question->arbiter = arbiter;
    question->cookie = cookie;
    question->expected = expected;
    question->change = wanted != NULL;
    if (wanted != NULL)
        memcpy(&question->record, wanted,
               wanted->struct_size < sizeof(*wanted) ? wanted->struct_size : sizeof(*wanted));
    question->refused = storage->way[arbiter->node] == ARBITER_SICK;
    arbiter->host->base->timer_start(question->timer,
                                     question->refused ? delay_ns + 1 : timeout_ms * ENV_MS);
    if (question->refused)
        return CARRICK_OK;
    if (storage->way[arbiter->node] == ARBITER_SLOW)
        delay_ns += sim_random_below(&storage->random, 2 * timeout_ms * ENV_MS);
    // Some that nobody hears of still get there, in their own time.
    if (storage->way[arbiter->node] != ARBITER_DEAF)
        storage_at(storage, delay_ns, question_happens, question);
    else if (wanted != NULL && sim_random_percent(&storage->random, 30))
        storage_at(storage, delay_ns + sim_random_below(&storage->random, 2 * timeout_ms * ENV_MS),
                   question_happens, question);
    return CARRICK_OK;
}

static int sim_arbiter_read(struct carrick_arbiter *arbiter, const char *group, uint32_t timeout_ms,
                            uint64_t cookie)
{
    return ask(arbiter, group, timeout_ms, cookie, 0, NULL);
}

static int sim_arbiter_change(struct carrick_arbiter *arbiter, const char *group,
                              uint64_t expected_number, const struct carrick_arbiter_record *wanted,
                              uint32_t timeout_ms, uint64_t cookie)
{
    return ask(arbiter, group, timeout_ms, cookie, expected_number, wanted);
}

static int sim_arbiter_create(const struct carrick_arbiter_host *host, const char *config,
                              struct carrick_arbiter **out, struct carrick_error *error)
{
    struct carrick_arbiter *arbiter = calloc(1, sizeof(*arbiter));

    (void)config;
    (void)error;
    if (arbiter == NULL)
        return CARRICK_ERR_NO_MEMORY;
    arbiter->host = host;
    arbiter->storage = world_current()->storage;
    arbiter->node = (unsigned)(host->base->node[0] - 'a');
    *out = arbiter;
    return CARRICK_OK;
}

static void sim_arbiter_destroy(struct carrick_arbiter *arbiter)
{
    for (struct arbiter_question *question = arbiter->storage->questions; question != NULL;
         question = question->next)
        if (question->arbiter == arbiter) {
            arbiter->host->base->timer_destroy(question->timer);
            question->timer = NULL;
            question->arbiter = NULL;
        }
    free(arbiter);
}

void arbiter_free(struct storage *storage)
{
    while (storage->questions != NULL) {
        struct arbiter_question *question = storage->questions;

        storage->questions = question->next;
        free(question);
    }
}

static const struct carrick_arbiter_ops ops = {
    .create = sim_arbiter_create,
    .destroy = sim_arbiter_destroy,
    .read = sim_arbiter_read,
    .change = sim_arbiter_change,
};

static const struct carrick_plugin descriptor = {
    .struct_size = sizeof(descriptor),
    .abi_major = CARRICK_ABI_MAJOR,
    .abi_minor = CARRICK_ABI_MINOR,
    .kind = CARRICK_KIND_ARBITER,
    .ops_size = sizeof(ops),
    .name = "sim_arbiter",
    .version = "1",
    .licence = "Apache-2.0",
    .description = "one truth for both simulated nodes",
    .ops = &ops,
};

const struct carrick_plugin *sim_arbiter_entry(void)
{
    return &descriptor;
}
