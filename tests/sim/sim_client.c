// SPDX-License-Identifier: Apache-2.0
//
// The client plugin of the simulator, and a policy that spreads VIs by chance.
#include "tests/sim/sim_client.h"

#include <stdlib.h>
#include <string.h>

static const char *who(const struct carrick_client *client)
{
    return client->world->node[client->node].name;
}

static struct load_vi *vi_find(struct carrick_client *client, const struct carrick_vi *vi)
{
    for (uint32_t i = 0; i < PAIR_VIS_MAX; i++)
        if (client->vis[i].vi == vi && vi != NULL)
            return &client->vis[i];
    return NULL;
}

// ---- clock: bursts, with rests between them

static void think(struct carrick_client *client)
{
    uint64_t max = 2 * client->world->net.delay_max_ns;

    if (client->burst > 0) {
        client->burst--;
    } else {
        client->burst = (unsigned)sim_random_between(&client->random, 1, 8);
        max = client->world->rest_max_ns;
    }
    client->host->base->timer_start(client->timer,
                                    1000 + sim_random_below(&client->random, max + 1));
}

static void vi_shut(struct carrick_client *client, struct load_vi *vi)
{
    int status;

    vi->closing = true;
    vi_counts(client, vi)->closed_here = true;
    status = client->host->vi_close(vi->vi);
    if (status != CARRICK_OK && status != CARRICK_ERR_STATE) // STATE: the partner has closed it
        world_fail(client->world, "%s/%s vi %u: vi_close answers %#x", who(client),
                   client_pair(client)->name, vi->number, (unsigned)status);
}

static void vi_open_anew(struct carrick_client *client, struct load_vi *vi)
{
    int status = client->host->vi_open(client->host, vi->number, &vi->vi);

    if (status == CARRICK_OK)
        vi->serial++;
    else
        vi->vi = NULL;
    if (status != CARRICK_OK && status != CARRICK_ERR_STATE) // STATE: the session is to end
        world_fail(client->world, "%s/%s vi %u: vi_open answers %#x", who(client),
                   client_pair(client)->name, vi->number, (unsigned)status);
}

static void vi_work(struct carrick_client *client, struct load_vi *vi)
{
    bool work = client->world->clients_work;

    if (vi->vi == NULL && !client->ending && sim_random_percent(&client->random, 50))
        vi_open_anew(client, vi);
    else if (vi->vi == NULL || vi->closing || !work)
        return;
    else if (sim_random_percent(&client->random, client->churn))
        vi_shut(client, vi);
    else if (vi->open && sim_random_percent(&client->random, 60))
        load_post(client, vi);
}

static void client_pump(void *arg)
{
    struct carrick_client *client = arg;

    if (client->forgotten || !client_side(client)->ready)
        return;
    for (uint32_t i = 0; i < client->vi_count; i++)
        vi_work(client, &client->vis[i]);
    think(client);
}

void client_stir(struct carrick_client *client)
{
    if (client->forgotten || !client_side(client)->ready)
        return;
    client->burst = (unsigned)sim_random_between(&client->random, 2, 12);
    client->host->base->timer_start(
        client->timer, sim_random_below(&client->random, client->world->net.delay_max_ns));
}

static void vis_close(struct carrick_client *client)
{
    for (uint32_t i = 0; i < client->vi_count; i++)
        if (client->vis[i].vi != NULL && !client->vis[i].closing)
            vi_shut(client, &client->vis[i]);
}

static void client_leave(void *arg)
{
    struct carrick_client *client = arg;

    if (!client->forgotten && client_side(client)->ready)
        vis_close(client);
}

// ---- life

static int client_create(const struct carrick_client_host *host, const char *config,
                         struct carrick_client **out, struct carrick_error *error)
{
    struct world *world = world_current();
    struct carrick_client *client = calloc(1, sizeof(*client));

    (void)config;
    (void)error;
    if (client == NULL)
        return CARRICK_ERR_NO_MEMORY;
    client->host = host;
    client->world = world;
    client->node = (unsigned)(host->base->node[0] - 'a');
    while (strcmp(world->pair[client->pair].name, host->base->instance) != 0)
        client->pair++;
    sim_random_init(&client->random,
                    world->options.seed * 31 + client->pair * 2 + client->node +
                        world->node[client->node].lives * 1009ull,
                    "client");
    client->depth = (uint32_t)sim_random_between(&client->random, 4, PAIR_OPS_MAX);
    client->churn = sim_random_percent(&client->random, 50)
                        ? 0
                        : (uint32_t)sim_random_between(&client->random, 1, 4);
    client->region_per_session = sim_random_percent(&client->random, 40);
    if (host->base->timer_create(host->base, client_pump, client, &client->timer) != CARRICK_OK ||
        host->base->timer_create(host->base, client_leave, client, &client->leave) != CARRICK_OK ||
        (!client->region_per_session && load_memory(client) != CARRICK_OK))
        abort();
    client_side(client)->instance = client;
    *out = client;
    return CARRICK_OK;
}

static void client_destroy(struct carrick_client *client)
{
    struct pair_side *side = client_side(client);

    if (!client->forgotten) {
        if (side->ready)
            world_fail(client->world, "%s/%s: destroy without ended", who(client),
                       client_pair(client)->name);
        side->instance = NULL;
        memset(side->here, 0, sizeof(side->here));
    }
    load_memory_free(client);
    for (uint32_t i = 0; i < PAIR_VIS_MAX; i++)
        load_drop(&client->vis[i]);
    client->host->base->timer_destroy(client->timer);
    client->host->base->timer_destroy(client->leave);
    free(client);
}

void client_forget(struct carrick_client *client)
{
    client->forgotten = true;
}

static int client_describe(struct carrick_client *client, struct carrick_client_info *info)
{
    const struct pair_side *side = client_side(client);

    info->vis = side->vis;
    info->version = 40 + client->node;
    info->region_count = side->regions;
    if (info->region_max < side->regions)
        return CARRICK_ERR_LIMIT;
    for (uint32_t i = 0; i < side->regions; i++) {
        struct carrick_region_want *want =
            (struct carrick_region_want *)(void *)((char *)info->wants +
                                                   (size_t)i * info->wants->struct_size);

        want->access = side->access[i];
        want->bytes = (uint64_t)side->words[i] * 8;
    }
    return CARRICK_OK;
}

static bool info_is_right(struct carrick_client *client, const struct carrick_session_info *info)
{
    const struct pair_side *side = client_side(client), *other = client_other(client);

    if (info->partner_version != 40u + !client->node ||
        info->vi_count != client_pair(client)->vis || info->here_count != other->regions ||
        info->there_count != side->regions)
        return false;
    for (uint32_t i = 0; i < side->regions; i++)
        if (info->there_bytes[i] != (uint64_t)side->words[i] * 8)
            return false;
    return true;
}

static void client_ready(struct carrick_client *client, const struct carrick_session_info *info)
{
    struct pair_side *side = client_side(client);

    if (client->forgotten)
        return;
    world_hash(client->world, &info->session, sizeof(info->session));
    judge_ready(client->world, client->pair, client->node, info);
    if (!info_is_right(client, info)) {
        world_fail(client->world, "%s/%s: ready tells other VIs or regions than were asked for",
                   who(client), client_pair(client)->name);
        return;
    }
    for (uint32_t i = 0; i < info->here_count; i++) {
        side->here[i] = client->host->region_ptr(info->here[i]);
        side->here_words[i] = client_other(client)->words[i];
        if (client->host->region_bytes(info->here[i]) < side->here_words[i] * 8)
            world_fail(client->world, "%s/%s: region %u is too short", who(client),
                       client_pair(client)->name, i);
    }
    if (client->region_per_session && load_memory(client) != CARRICK_OK)
        abort();
    client->ending = false;
    client->vi_count = info->vi_count;
    for (uint32_t i = 0; i < info->vi_count; i++) {
        client->vis[i].vi = info->vis[i];
        client->vis[i].number = i;
        client->vis[i].open = true;
        client->vis[i].serial = 1;
        client->vis[i].partner_serial = client->vis[i].partner_last = 0;
        if (client->host->vi_number(info->vis[i]) != i)
            world_fail(client->world, "%s/%s: VI %u bears another number", who(client),
                       client_pair(client)->name, i);
    }
    client_stir(client);
}

static void client_ending(struct carrick_client *client, uint32_t reason, uint64_t deadline_ns)
{
    uint64_t now = client->host->base->now_ns(client->host->base);
    uint64_t draw = sim_random_below(&client->random, 100);

    if (client->forgotten)
        return;
    (void)reason;
    client->ending = true;
    if (!client_side(client)->ready)
        world_fail(client->world, "%s/%s: ending without ready", who(client),
                   client_pair(client)->name);
    if (draw < 50)
        vis_close(client);
    else if (draw < 80 && deadline_ns > now) // or half as long again as there is time
        client->host->base->timer_start(
            client->leave, sim_random_below(&client->random, (deadline_ns - now) * 3 / 2));
}

static void client_ended(struct carrick_client *client, uint32_t reason)
{
    if (client->forgotten)
        return;
    world_hash(client->world, &reason, sizeof(reason));
    judge_ended(client->world, client->pair, client->node);
    client->host->base->timer_stop(client->timer);
    client->host->base->timer_stop(client->leave);
    for (uint32_t i = 0; i < PAIR_VIS_MAX; i++)
        load_drop(&client->vis[i]);
    client->vi_count = 0;
    if (client->region_per_session)
        load_memory_free(client);
}

// ---- data

static void client_completed(struct carrick_client *client,
                             const struct carrick_completion *completions, uint32_t count)
{
    if (client->forgotten)
        return;
    for (uint32_t i = 0; i < count; i++) {
        const struct carrick_completion *completion = carrick_completion_at(completions, i);
        struct load_vi *vi = vi_find(client, completion->vi);

        world_hash(client->world, &completion->cookie, sizeof(completion->cookie));
        world_hash(client->world, &completion->status, sizeof(completion->status));
        if (vi == NULL)
            world_fail(client->world, "%s/%s: a completion of a VI that is closed", who(client),
                       client_pair(client)->name);
        else
            load_completed(client, vi, completion);
    }
}

static void client_received(struct carrick_client *client, struct carrick_vi *handle,
                            const void *data, uint32_t length)
{
    struct load_vi *vi = vi_find(client, handle);

    if (client->forgotten)
        return;
    if (vi == NULL || !client_side(client)->ready)
        world_fail(client->world, "%s/%s: a send arrives for a VI that is closed", who(client),
                   client_pair(client)->name);
    else
        load_received(client, vi, data, length);
}

static void client_vi_changed(struct carrick_client *client, struct carrick_vi *handle,
                              uint32_t state)
{
    struct load_vi *vi = vi_find(client, handle);

    if (client->forgotten)
        return;
    if (vi == NULL) {
        world_fail(client->world, "%s/%s: state %u of a VI that is closed", who(client),
                   client_pair(client)->name, state);
        return;
    }
    if (state == CARRICK_VI_OPEN)
        vi->open = true;
    if (state != CARRICK_VI_CLOSED)
        return;
    if (vi->head != vi->tail)
        world_fail(client->world, "%s/%s vi %u: closed with %llu operations outstanding",
                   who(client), client_pair(client)->name, vi->number,
                   (unsigned long long)(vi->tail - vi->head));
    judge_vi_closed(client->world, client->pair, client->node, vi->number,
                    ((struct vi *)handle)->opening);
    load_drop(vi);
    if (vi->partner_serial != 0)
        vi->partner_last = vi->partner_serial;
    vi->partner_serial = 0;
    if (!client->ending && sim_random_percent(&client->random, 30))
        vi_open_anew(client, vi);
}

uint32_t client_opening(const struct carrick_client *client, uint32_t vi)
{
    const struct load_vi *load = client == NULL ? NULL : &client->vis[vi];

    return load == NULL || load->vi == NULL || !load->open || load->closing
               ? 0
               : ((const struct vi *)(const void *)load->vi)->opening;
}

static const struct carrick_client_ops client_ops = {
    .create = client_create,
    .destroy = client_destroy,
    .describe = client_describe,
    .ready = client_ready,
    .ending = client_ending,
    .ended = client_ended,
    .completed = client_completed,
    .received = client_received,
    .vi_changed = client_vi_changed,
};

static const struct carrick_plugin client_plugin = {
    .struct_size = sizeof(client_plugin),
    .abi_major = CARRICK_ABI_MAJOR,
    .abi_minor = CARRICK_ABI_MINOR,
    .kind = CARRICK_KIND_CLIENT,
    .ops_size = sizeof(client_ops),
    .name = "sim_client",
    .version = "1",
    .licence = "Apache-2.0",
    .description = "reads, writes and sends, and checks what comes of it",
    .ops = &client_ops,
};

const struct carrick_plugin *sim_client_entry(void)
{
    return &client_plugin;
}

// ---- the policy: a pure function of its input, as policy.h asks, and as unsteady as it may be

static int spread_create(const struct carrick_host *host, const char *config,
                         struct carrick_policy **policy, struct carrick_error *error)
{
    (void)host;
    (void)config;
    (void)error;
    *policy = malloc(1);
    return *policy != NULL ? CARRICK_OK : CARRICK_ERR_NO_MEMORY;
}

static void spread_destroy(struct carrick_policy *policy)
{
    free(policy);
}

static int32_t spread_choose(struct carrick_policy *policy,
                             const struct carrick_policy_input *input)
{
    struct sim_random random = {.state = input->sequence * 77 + input->vi};
    int32_t answer = CARRICK_POLICY_NONE;
    uint32_t found = 0;

    (void)policy;
    sim_random_next(&random);
    for (uint32_t i = 0; i < input->link_count; i++) {
        const struct carrick_policy_link *link = carrick_policy_link_at(input, i);

        if (!link->eligible)
            continue;
        if (link->busy) {
            if (answer == CARRICK_POLICY_NONE)
                answer = CARRICK_POLICY_BUSY;
            continue;
        }
        if ((int32_t)i == input->current && sim_random_percent(&random, 80))
            return (int32_t)i;
        if (sim_random_below(&random, ++found) == 0)
            answer = (int32_t)i;
    }
    return answer;
}

static const struct carrick_policy_ops spread_ops = {
    .create = spread_create,
    .destroy = spread_destroy,
    .choose = spread_choose,
};

static const struct carrick_plugin spread_plugin = {
    .struct_size = sizeof(spread_plugin),
    .abi_major = CARRICK_ABI_MAJOR,
    .abi_minor = CARRICK_ABI_MINOR,
    .kind = CARRICK_KIND_POLICY,
    .ops_size = sizeof(spread_ops),
    .name = "sim_spread",
    .version = "1",
    .licence = "Apache-2.0",
    .description = "spreads VIs over the links by chance, the same at each run",
    .ops = &spread_ops,
};

const struct carrick_plugin *sim_spread_entry(void)
{
    return &spread_plugin;
}
