// SPDX-License-Identifier: Apache-2.0
//
// The rig's loop, its begin and its end.
#include "rig.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EVENTS 16u
// With descriptors: how long nothing may happen before what was under way counts as over.
#define QUIET_NS (20 * RIG_MS)
#define QUIET_VIRTUAL_NS (10000 * RIG_MS)
// A device that says again and again that there is something to poll, and gives nothing.
#define IDLE_ROUNDS_MAX 10000000ull

static void say_end(const struct rig_end *end)
{
    fprintf(stderr,
            "  end %u of %s:%s%s%s%s%s status 0x%x, %u posted, %u completed, %u OK, %u received\n",
            end->index, end->node->host.node, end->requested ? " requested" : "",
            end->connected ? " connected" : "", end->disconnected ? " disconnected" : "",
            end->closing ? " closing" : "", end->closed ? " closed" : "", (unsigned)end->status,
            end->posted, end->completions, end->completed, end->messages_count);
}

void rig_failed(struct rig *rig, const char *file, int line, const char *condition,
                const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "over %s:\n", rig->kind.name);
    for (unsigned i = 0; i < rig->ends_count && i < 8; i++)
        say_end(rig->ends[i]);
    if (rig_forked()) {
        fprintf(stderr, "over %s: %s:%d: %s%s%s\n", rig->kind.name, file, line, condition,
                text[1] != '\0' ? ":" : "", text);
        _exit(1);
    }
    cr_assert_fail("over %s: %s:%d: %s%s%s", rig->kind.name, file, line, condition,
                   text[1] != '\0' ? ":" : "", text);
    abort();
}

unsigned rig_patience(const struct rig *rig)
{
    return rig->kind.address_from[0] != '\0' ? 4 : 1;
}

unsigned rig_rounds_step(const struct rig *rig)
{
    return rig_patience(rig) > 1 ? 5 : 1;
}

unsigned rig_random(struct rig *rig, unsigned below)
{
    rig->random_state = rig->random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)((rig->random_state >> 33) % below);
}

static unsigned node_poll(struct rig_node *node)
{
    struct rig *rig = node->rig;
    uint64_t room[EVENTS * 32];
    struct carrick_event *events = (struct carrick_event *)room;
    unsigned count;

    CHECK(rig, rig->stride * EVENTS <= sizeof(room));
    memset(room, 0xa5, sizeof(room));
    events->struct_size = rig->stride;
    count = node->ops.device_poll(node->device, events, EVENTS);
    events->struct_size = rig->stride;
    CHECK(rig, count <= EVENTS);
    for (unsigned i = 0; i < count; i++)
        rig_event(node, carrick_event_at(events, i));
    for (unsigned i = 0; i < rig->ends_count && count < EVENTS; i++) {
        if (rig->ends[i]->node == node && rig->ends[i]->closing)
            rig->ends[i]->silent = true;
    }
    return count;
}

static unsigned nodes_poll(struct rig *rig)
{
    unsigned count = 0;

    for (unsigned i = 0; i < 2; i++) {
        struct rig_node *node = &rig->node[i];

        if (!node->poll_needed || node->paused || node->device == NULL)
            continue;
        node->poll_needed = false;
        if (node_poll(node) > 0) {
            node->poll_needed = true;
            count++;
        }
    }
    return count;
}

void rig_step(struct rig *rig, uint64_t until_ns)
{
    bool armed = true;

    if (rig_timers_run(rig) || nodes_poll(rig) > 0) {
        rig->idle_rounds = 0;
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        struct rig_node *node = &rig->node[i];

        if (node->paused || node->device == NULL)
            continue;
        if (node->ops.device_arm(node->device) != 0) {
            node->poll_needed = true;
            armed = false;
        }
    }
    if (armed)
        rig_sleep(rig, until_ns);
    else
        CHECK(rig, ++rig->idle_rounds < IDLE_ROUNDS_MAX, "a device is armed in vain");
}

void rig_wait_begin(struct rig *rig)
{
    rig->deadline_ns = rig_now(rig) + RIG_WAIT_MS * rig_patience(rig) * RIG_MS;
    rig->node[0].poll_needed = rig->node[1].poll_needed = true;
}

void rig_wait_step(struct rig *rig, const char *file, int line, const char *condition)
{
    if (rig_now(rig) >= rig->deadline_ns)
        rig_failed(rig, file, line, condition, "it did not come about");
    rig_step(rig, rig->deadline_ns);
}

void rig_rounds(struct rig *rig, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        rig->node[0].poll_needed = rig->node[1].poll_needed = true;
        if (!rig_timers_run(rig) && nodes_poll(rig) == 0 && rig->kind.is_virtual) {
            rig->node[0].ops.device_arm(rig->node[0].device);
            rig->node[1].ops.device_arm(rig->node[1].device);
            rig_sleep(rig, rig->now_ns + RIG_MS);
        }
    }
}

void rig_drain(struct rig *rig)
{
    uint64_t quiet_ns = rig->kind.is_virtual ? QUIET_VIRTUAL_NS : QUIET_NS;
    uint64_t until_ns = rig_now(rig) + quiet_ns;

    rig->node[0].poll_needed = rig->node[1].poll_needed = true;
    while (rig_now(rig) < until_ns)
        rig_step(rig, until_ns);
}

static void device_open(struct rig_node *node)
{
    struct carrick_device_options options = {
        .struct_size = sizeof(options),
        .name = "link",
        .local = node->local,
        .config = "{}",
    };
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct rig *rig = node->rig;
    int rc;

    rig_wait_begin(rig);
    while ((rc = node->ops.device_open(node->transport, &options, &node->device, &error)) ==
           CARRICK_ERR_AGAIN)
        rig_wait_step(rig, __FILE__, __LINE__, "the device is open");
    CHECK(rig, rc == CARRICK_OK, "device_open: 0x%x %s %s", (unsigned)rc, error.pointer,
          error.text);
    node->caps.struct_size = sizeof(node->caps);
    node->ops.device_caps(node->device, &node->caps);
    node->fd = node->ops.device_fd(node->device);
    CHECK(rig, node->fd >= 0 || node->ops.device_wake != NULL,
          "a device has neither a descriptor nor device_wake");
}

static void woken(void *arg)
{
    struct rig_node *node = arg;

    node->poll_needed = true;
}

struct rig *rig_open(const struct rig_kind *kind, const char *fault_config)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    cr_assert(rig != NULL);
    rig->kind = *kind;
    rig->now_ns = 3ull * 3600 * 1000 * RIG_MS; // hours after the machine began
    rig->random_state = 42;
    rig->stride = sizeof(struct carrick_event);
    rig->timers = rig_timers_new();
    for (unsigned i = 0; i < 2; i++) {
        rig->node[i].rig = rig;
        rig->node[i].index = i;
        rig_host_init(&rig->node[i]);
    }
    rig_load(rig, fault_config);
    for (unsigned i = 0; i < 2; i++) {
        struct rig_node *node = &rig->node[i];

        device_open(node);
        if (node->ops.device_wake != NULL)
            node->ops.device_wake(node->device, woken, node);
    }
    return rig;
}

static bool ends_closed(const struct rig *rig)
{
    for (unsigned i = 0; i < rig->ends_count; i++) {
        if (!rig->ends[i]->closed)
            return false;
    }
    return true;
}

static bool regions_gone(const struct rig *rig)
{
    for (unsigned i = 0; i < rig->regions_count; i++) {
        if (rig->regions[i]->status == CARRICK_OK && !rig->regions[i]->deregistered)
            return false;
    }
    return true;
}

static void ends_finish(struct rig *rig)
{
    for (unsigned i = 0; i < rig->ends_count; i++) {
        if (!rig->ends[i]->closing && !rig->ends[i]->closed)
            rig_end_close(rig->ends[i], false);
    }
    WAIT(rig, ends_closed(rig));
    for (unsigned i = 0; i < rig->ends_count; i++) {
        struct rig_end *end = rig->ends[i];

        for (unsigned j = 0; j < end->messages_count; j++)
            free(end->messages[j].data);
        free(end->messages);
        free(end);
    }
    rig->ends_count = 0;
}

static void regions_finish(struct rig *rig)
{
    for (unsigned i = 0; i < rig->regions_count; i++) {
        struct rig_region *region = rig->regions[i];

        if (region->status != CARRICK_OK || region->deregistering)
            continue;
        region->deregistering = true;
        CHECK(rig, region->node->ops.region_deregister(region->handle) == CARRICK_OK);
    }
    WAIT(rig, regions_gone(rig));
    for (unsigned i = 0; i < rig->regions_count; i++) {
        munmap(rig->regions[i]->memory - RIG_PAGE, rig->regions[i]->bytes + 2 * (size_t)RIG_PAGE);
        free(rig->regions[i]);
    }
    rig->regions_count = 0;
}

void rig_close(struct rig *rig)
{
    rig->node[0].paused = rig->node[1].paused = false;
    ends_finish(rig);
    regions_finish(rig);
    for (unsigned i = 0; i < rig->domains_count; i++) {
        rig->domains[i]->node->ops.domain_destroy(rig->domains[i]->handle);
        free(rig->domains[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        struct rig_node *node = &rig->node[i];

        if (node->listening)
            node->ops.unlisten(node->device);
        node->ops.device_close(node->device);
        // An instance is destroyed only when no work of it is under way.
        rig_wait_begin(rig);
        node->device = NULL;
        while (rig_works(rig))
            rig_wait_step(rig, __FILE__, __LINE__, "no work is under way");
        node->ops.destroy(node->transport);
    }
    rig_timers_free(rig->timers);
    rig_unload(rig);
    free(rig);
}
