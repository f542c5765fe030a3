// SPDX-License-Identifier: Apache-2.0
//
// What happened: printed as it happens, or kept for a history that fails; and a hash by which two runs of one seed
// are compared.
#include "tests/sim/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void world_hash(struct world *world, const void *data, size_t length)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < length; i++)
        world->hash = (world->hash ^ bytes[i]) * 0x100000001b3ull;
}

static void line_add(struct world *world, const char *who, const char *what, const char *text)
{
    char *line = NULL;
    char **place = &world->log[world->log_count % WORLD_LOG_MAX];

    if (asprintf(&line, "%12.3f ms  %-2s %-18s %s",
                 (double)(world->clock.now_ns - WORLD_BEGIN_NS) / 1e6, who, what, text) < 0)
        abort();
    world_hash(world, line, strlen(line));
    world->log_count++;
    if (world->options.verbose)
        puts(line);
    free(*place);
    *place = line;
}

void world_say(struct world *world, const char *who, const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    line_add(world, who != NULL ? who : "", "", text);
}

void world_record(void *arg, const struct env_record *record)
{
    struct world_node *node = arg;
    char what[64];

    snprintf(what, sizeof(what), "%s%s%s", record->manager != NULL ? record->manager : "",
             record->object != NULL ? "/" : "", record->object != NULL ? record->object : "");
    line_add(node->world, node->name, what, record->text);
}

// Where each operation that does not complete hangs.
static void vi_say(struct world *world, const char *who, const struct vi *vi)
{
    const struct vi_op *op = &vi->ring[vi->head % VI_DEPTH];

    if (vi->ring == NULL || vi->head == vi->tail)
        return;
    world_say(
        world, who,
        "%s vi %u: state %u, head %llu, next %llu, tail %llu; %s, inflight %u%s%s%s%s; first: "
        "operation %u, state %d, %llu bytes, posted %llu, done %llu, chunks %u",
        vi->client->config->name, vi->number, vi->state, (unsigned long long)vi->head,
        (unsigned long long)vi->next, (unsigned long long)vi->tail,
        vi->lane == NULL ? "no lane" : vi->lane->conn->link->config->name, vi->inflight,
        vi->fence != NULL ? ", fence" : "", vi->held ? ", held" : "",
        vi->waiting ? ", waiting" : "", vi->bound != NULL ? ", moving" : "", op->operation,
        (int)op->state, (unsigned long long)op->length, (unsigned long long)op->posted_bytes,
        (unsigned long long)op->done_bytes, op->chunks);
}

void world_say_vis(struct world *world)
{
    for (unsigned i = 0; i < 2; i++) {
        const struct manager *manager = world->node[i].alive ? world->node[i].manager : NULL;

        for (uint32_t j = 0; manager != NULL && j < manager->client_count; j++)
            for (uint32_t k = 0; k < manager->clients[j].vis_room; k++)
                if (manager->clients[j].vis[k] != NULL)
                    vi_say(world, world->node[i].name, manager->clients[j].vis[k]);
    }
}

void world_print_log(struct world *world, unsigned lines)
{
    uint64_t from = world->log_count > lines ? world->log_count - lines : 0;

    if (world->log_count > WORLD_LOG_MAX && from < world->log_count - WORLD_LOG_MAX)
        from = world->log_count - WORLD_LOG_MAX;
    for (uint64_t i = from; i < world->log_count; i++)
        puts(world->log[i % WORLD_LOG_MAX]);
}
