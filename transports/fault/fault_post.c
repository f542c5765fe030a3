// SPDX-License-Identifier: Apache-2.0
//
// Posting: which of the operations reach the inner transport now, which later, which never.
#include "fault.h"

#include <string.h>

// What becomes of one call of post: [0, prompt) go to the inner transport at once, [prompt, end) are kept back by a
// delay, and with `rule` the fault of [end, count) begins.
struct plan {
    uint32_t prompt;
    uint32_t end;
    struct fault_rule *rule;
    uint64_t release_ns; // of the last of those kept back so far
};

static uint32_t subject_of(uint32_t operation)
{
    switch (operation) {
    case CARRICK_OP_WRITE:
        return FAULT_ON_WRITE;
    case CARRICK_OP_READ:
        return FAULT_ON_READ;
    case CARRICK_OP_SEND:
        return FAULT_ON_SEND;
    default:
        return FAULT_ON_FLUSH;
    }
}

static void op_put(struct carrick_endpoint *endpoint, struct fault_op *op)
{
    op->next_free = endpoint->free_ops;
    endpoint->free_ops = op;
}

// Fills endpoint->works with what the inner transport is to see.
static void works_fill(struct carrick_endpoint *endpoint, const struct carrick_work *work,
                       uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct carrick_work *from = carrick_work_at(work, i);
        struct carrick_work *to = &endpoint->works[i];
        struct fault_op *op = endpoint->free_ops;

        endpoint->free_ops = op->next_free;
        op->cookie = from->cookie;
        op->held = NULL;
        op->lose = false;
        *to = *from;
        to->struct_size = sizeof(*to);
        to->cookie = (uint64_t)(uintptr_t)op;
        if (from->registration != NULL)
            to->registration = from->registration->inner;
    }
}

static struct fault_op *op_of(const struct carrick_work *work)
{
    return (struct fault_op *)(uintptr_t)work->cookie;
}

// Takes [from, count) of works back; of those the held ones, too.
static void works_undo(struct carrick_endpoint *endpoint, uint32_t from, uint32_t count)
{
    for (uint32_t i = count; i > from; i--) {
        struct fault_op *op = op_of(&endpoint->works[i - 1]);

        if (op->held != NULL)
            fault_held_drop(op->held);
        op_put(endpoint, op);
    }
}

static bool keep_back(struct carrick_endpoint *endpoint, uint32_t i, uint64_t release_ns)
{
    struct carrick_work *work = &endpoint->works[i];

    op_of(work)->held = fault_held_make(endpoint, work, release_ns);
    return op_of(work)->held != NULL;
}

// Asks the rules about each operation. false: what a delay would keep back has no room.
static bool plan_make(struct carrick_endpoint *endpoint, uint32_t count, struct plan *plan)
{
    struct carrick_transport *transport = endpoint->device->transport;
    uint64_t now = transport->host->now_ns(transport->host);
    const struct fault_held *last = TAILQ_LAST(&endpoint->queue, fault_held_list);

    *plan = (struct plan){.prompt = count, .end = count};
    if (last != NULL) {
        plan->prompt = 0;
        plan->release_ns = last->release_ns;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct fault_rule *rule =
            fault_rules_decide(transport, subject_of(endpoint->works[i].operation));

        if (rule != NULL && rule->kind == FAULT_DELAY) {
            if (now + rule->delay_ns > plan->release_ns)
                plan->release_ns = now + rule->delay_ns;
            if (plan->prompt > i)
                plan->prompt = i;
        } else if (rule != NULL && rule->kind == FAULT_LOSE_COMPLETION) {
            op_of(&endpoint->works[i])->lose = true;
        } else if (rule != NULL) {
            plan->rule = rule;
            plan->end = i;
            if (plan->prompt > i)
                plan->prompt = i;
            return true;
        }
        if (i >= plan->prompt && !keep_back(endpoint, i, plan->release_ns))
            return false;
    }
    return true;
}

// Keeps back what the held operation and those posted with it: all of them happen later, in order, or never.
static bool hold_make(struct carrick_endpoint *endpoint, uint32_t count, const struct plan *plan)
{
    struct carrick_transport *transport = endpoint->device->transport;
    uint64_t release_ns = transport->host->now_ns(transport->host) + plan->rule->delay_ns;

    if (release_ns < plan->release_ns)
        release_ns = plan->release_ns;
    for (uint32_t i = plan->end; i < count; i++) {
        if (!keep_back(endpoint, i, release_ns))
            return i > plan->end;
    }
    return true;
}

static void queue_append(struct carrick_endpoint *endpoint, uint32_t from, uint32_t count)
{
    for (uint32_t i = from; i < count; i++) {
        struct fault_op *op = op_of(&endpoint->works[i]);

        if (op->held != NULL)
            fault_held_move(op->held, &endpoint->queue);
    }
}

static void fault_begin(struct carrick_endpoint *endpoint, const struct fault_rule *rule)
{
    switch (rule->kind) {
    case FAULT_HALF_OPEN:
        endpoint->swallow = true;
        break;
    case FAULT_HOLD:
        endpoint->holding = true;
        fault_endpoint_lose(endpoint, rule->status);
        break;
    default:
        fault_endpoint_lose(endpoint, rule->status);
        fault_queue_drop(endpoint);
        fault_endpoint_close_inner(endpoint, false);
        break;
    }
}

// An operation for which nothing could be kept is lost with the endpoint.
static const struct fault_rule cut_instead = {.kind = FAULT_CUT, .status = CARRICK_ERR_RESET};

static int post_planned(struct carrick_endpoint *endpoint, uint32_t count, const struct plan *plan)
{
    struct carrick_transport *transport = endpoint->device->transport;
    const struct fault_rule *rule = plan->rule;
    int rc = CARRICK_OK;

    if (rule != NULL && rule->kind == FAULT_HOLD && !hold_make(endpoint, count, plan))
        rule = &cut_instead;
    if (plan->prompt > 0)
        rc = transport->ops.post(endpoint->inner, endpoint->works, plan->prompt);
    if (rc != CARRICK_OK) {
        works_undo(endpoint, 0, count);
        return rc;
    }
    endpoint->posted += count;
    queue_append(endpoint, plan->prompt, count);
    if (rule != NULL)
        fault_begin(endpoint, rule);
    fault_queue_run(endpoint);
    return CARRICK_OK;
}

int fault_post(struct carrick_endpoint *endpoint, const struct carrick_work *work, uint32_t count)
{
    struct plan plan;

    if (!endpoint->connected || endpoint->lost || endpoint->core_closed)
        return CARRICK_ERR_STATE;
    if (count > endpoint->device->caps.max_posted - endpoint->posted)
        return CARRICK_ERR_AGAIN;
    if (endpoint->swallow) {
        endpoint->posted += count;
        return CARRICK_OK;
    }
    works_fill(endpoint, work, count);
    if (endpoint->device->transport->config.rules_count == 0) {
        plan = (struct plan){.prompt = count, .end = count};
    } else if (!plan_make(endpoint, count, &plan)) {
        works_undo(endpoint, 0, count);
        // With something posted a completion will come; else there is only room for less, which the core can
        // neither know nor wait for.
        if (endpoint->posted > 0)
            return CARRICK_ERR_AGAIN;
        works_fill(endpoint, work, count);
        plan = (struct plan){.prompt = count, .end = count};
    }
    return post_planned(endpoint, count, &plan);
}

// What a delay keeps back is not counted: it may wait in the inner transport, as it would without this rule of ours.
uint32_t fault_send_room(struct carrick_endpoint *endpoint, uint32_t wanted)
{
    const struct carrick_transport_ops *ops = &endpoint->device->transport->ops;

    if (!endpoint->connected || endpoint->lost || endpoint->swallow || endpoint->inner_closed ||
        ops->send_room == NULL)
        return UINT32_MAX;
    return ops->send_room(endpoint->inner, wanted);
}

bool fault_completion(struct carrick_endpoint *endpoint, struct carrick_event *event)
{
    struct fault_op *op = (struct fault_op *)(uintptr_t)event->cookie;
    bool lose = op->lose && event->status == CARRICK_OK;

    if (op->held != NULL) {
        fault_held_drop(op->held);
        op->held = NULL;
    }
    event->cookie = op->cookie;
    event->endpoint = endpoint;
    op_put(endpoint, op);
    // The core still counts a lost one as posted.
    if (lose || endpoint->faked || endpoint->zombie)
        return false;
    endpoint->posted--;
    return true;
}
