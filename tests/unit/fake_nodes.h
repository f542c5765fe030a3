// SPDX-License-Identifier: Apache-2.0
//
// The rest of fake_world.h: the policy, the nodes, and short words for what tests do most.
#ifndef FAKE_NODES_H
#define FAKE_NODES_H

// ---- a policy that answers what the test wants

static struct {
    int32_t (*choose)(const struct carrick_policy_input *input); // NULL: the first eligible
    unsigned asked;
    unsigned created, destroyed;
    struct carrick_policy_link seen[LINKS_MAX]; // by the last question
    struct carrick_policy_input input;
} fake_policy;

struct carrick_policy {
    int unused;
};

static int fake_policy_create(const struct carrick_host *host, const char *config,
                              struct carrick_policy **policy, struct carrick_error *error)
{
    (void)host;
    if (strstr(config, "refuse") != NULL) {
        snprintf(error->text, sizeof(error->text), "it was told to refuse");
        return CARRICK_ERR_CONFIG;
    }
    *policy = calloc(1, sizeof(**policy));
    fake_policy.created++;
    return CARRICK_OK;
}

static void fake_policy_destroy(struct carrick_policy *policy)
{
    fake_policy.destroyed++;
    free(policy);
}

static int32_t fake_policy_choose(struct carrick_policy *policy,
                                  const struct carrick_policy_input *input)
{
    (void)policy;
    fake_policy.asked++;
    fake_policy.input = *input;
    for (uint32_t i = 0; i < input->link_count; i++)
        fake_policy.seen[i] = *carrick_policy_link_at(input, i);
    if (fake_policy.choose != NULL)
        return fake_policy.choose(input);
    for (uint32_t i = 0; i < input->link_count; i++)
        if (carrick_policy_link_at(input, i)->eligible)
            return (int32_t)i;
    return CARRICK_POLICY_NONE;
}

static const struct carrick_policy_ops fake_policy_ops = {
    .create = fake_policy_create,
    .destroy = fake_policy_destroy,
    .choose = fake_policy_choose,
};

static const struct carrick_plugin fake_policy_plugin = {
    .struct_size = sizeof(fake_policy_plugin),
    .abi_major = CARRICK_ABI_MAJOR,
    .abi_minor = CARRICK_ABI_MINOR,
    .kind = CARRICK_KIND_POLICY,
    .ops_size = sizeof(fake_policy_ops),
    .name = "fake_policy",
    .version = "1",
    .licence = "Apache-2.0",
    .description = "answers what a test wants",
    .ops = &fake_policy_ops,
};

static inline const struct carrick_plugin *fake_policy_entry(void)
{
    return &fake_policy_plugin;
}

// ---- nodes

struct fake_node {
    struct fake_env env;
    struct loader *loader;
    struct config *config;
    struct manager *manager;
    const char *name;
    bool stopped;
};

static struct fake_world {
    struct fake_node a, b;
    // What the configuration says; set before the world starts.
    unsigned links, lanes;
    const char *timers;     // "\"hold_ms\":100"
    const char *clients[2]; // per node, "echo,mirror"; b's default is a's
    const char *key[2];     // cluster keys
    const char *cluster[2];
    const char *client_config;
} fake;

static void fake_stopped(void *arg)
{
    ((struct fake_node *)arg)->stopped = true;
}

static struct config *fake_config(unsigned node)
{
    static struct config_errors errors;
    char text[8192], names[256];
    struct config *config = NULL;
    int used =
        snprintf(text, sizeof(text),
                 "{\"cluster\":\"%s\",\"key_file\":\"/key\",\"nodes\":[\"a\",\"b\"],\"managers\":[{"
                 "\"name\":\"main\",\"profile\":\"fast\",\"overstay_us\":10000000,\"lanes\":%u,"
                 "\"timers\":{%s},\"policy\":{\"plugin\":\"fake_policy\"},\"links\":[",
                 fake.cluster[node], fake.lanes, fake.timers);

    for (unsigned i = 0; i < fake.links; i++)
        used += snprintf(text + used, sizeof(text) - (size_t)used,
                         "%s{\"name\":\"link%u\",\"transport\":\"fake\",\"nodes\":{"
                         "\"a\":{\"device\":\"a%u\"},\"b\":{\"device\":\"b%u\"}}}",
                         i > 0 ? "," : "", i, i, i);
    used += snprintf(text + used, sizeof(text) - (size_t)used, "],\"clients\":[");
    snprintf(names, sizeof(names), "%s", fake.clients[node]);
    for (char *rest = names, *name; (name = strsep(&rest, ",")) != NULL;)
        if (*name != '\0')
            used += snprintf(text + used, sizeof(text) - (size_t)used,
                             "%s{\"name\":\"%s\",\"plugin\":\"fake_client\",\"required\":false,"
                             "\"config\":{%s}}",
                             name == names ? "" : ",", name, fake.client_config);
    snprintf(text + used, sizeof(text) - (size_t)used, "]}]}");
    cr_assert_eq(config_parse("test", text, strlen(text), &config, &errors), 0, "%s\n%s",
                 errors.error[0].text, text);
    // Nodes that differ in what the tests want to differ do not differ by this hash.
    memset(config->hash, 7, sizeof(config->hash));
    return config;
}

static inline int fake_node_create(struct fake_node *node, const char *name)
{
    struct carrick_error error = {.struct_size = sizeof(error)};
    unsigned index = name[0] == 'a' ? 0 : 1;
    struct manager_options options = {.node = name, .env = &node->env.base, .arg = node};
    int status;

    *node = (struct fake_node){.name = name};
    fake_env_init(&node->env, name);
    node->loader = loader_create(NULL, 0);
    cr_assert_eq(loader_add_static(node->loader, fake_transport_entry, &error), CARRICK_OK, "%s",
                 error.text);
    cr_assert_eq(loader_add_static(node->loader, client_fake_entry, &error), CARRICK_OK);
    cr_assert_eq(loader_add_static(node->loader, fake_policy_entry, &error), CARRICK_OK);
    node->config = fake_config(index);
    options.config = node->config;
    options.section = &node->config->managers[0];
    options.loader = node->loader;
    options.key = (const uint8_t *)fake.key[index];
    options.key_bytes = strlen(fake.key[index]);
    options.stopped = fake_stopped;
    status = manager_create(&options, &node->manager, &error);
    return status;
}

static inline void fake_node_end(struct fake_node *node)
{
    if (node->manager != NULL)
        manager_destroy(node->manager);
    node->manager = NULL;
    if (node->loader != NULL)
        loader_destroy(node->loader);
    node->loader = NULL;
    config_free(node->config);
    node->config = NULL;
    cr_assert_eq(node->env.memories, 0, "node %s forgot %u regions", node->name,
                 node->env.memories);
    for (struct env_timer *timer = fake_time.timers; timer != NULL; timer = timer->next)
        cr_assert_neq(timer->env, &node->env, "node %s forgot a timer", node->name);
}

static inline void fake_defaults(void)
{
    fake.links = fake.links == 0 ? 1 : fake.links;
    fake.lanes = fake.lanes == 0 ? 1 : fake.lanes;
    fake.timers = fake.timers == NULL ? "" : fake.timers;
    fake.clients[0] = fake.clients[0] == NULL ? "echo" : fake.clients[0];
    fake.client_config = fake.client_config == NULL ? "" : fake.client_config;
    for (unsigned i = 0; i < 2; i++) {
        fake.clients[i] = fake.clients[i] == NULL ? fake.clients[0] : fake.clients[i];
        fake.key[i] = fake.key[i] == NULL ? "a key of the cluster" : fake.key[i];
        fake.cluster[i] = fake.cluster[i] == NULL ? "pair" : fake.cluster[i];
    }
}

static inline void fake_node_start(struct fake_node *node, const char *name)
{
    struct carrick_error error = {.struct_size = sizeof(error)};

    fake_defaults();
    cr_assert_eq(fake_node_create(node, name), CARRICK_OK);
    cr_assert_eq(manager_start(node->manager, &error), CARRICK_OK);
}

static inline bool fake_is_up(const struct fake_node *node)
{
    const struct manager *manager = node->manager;

    if (manager->session.state != CARRICK_SESSION_UP)
        return false;
    for (uint32_t i = 0; i < manager->link_count; i++)
        if (!link_is_up(&manager->links[i]) && !fake_device(node->name)->gone)
            return false;
    return true;
}

static inline void fake_start(void)
{
    fake_node_start(&fake.a, "a");
    fake_node_start(&fake.b, "b");
}

// Both nodes up, with all their links.
static inline void fake_start_up(void)
{
    fake_start();
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}

static inline void fake_end(void)
{
    for (unsigned i = 0; i < fake_net.devices; i++) {
        fake_let_closed(fake_net.device[i].name);
        fake_let_registered(fake_net.device[i].name);
        fake_go(fake_net.device[i].name);
    }
    fake_node_end(&fake.a);
    fake_node_end(&fake.b);
    cr_assert_eq(fake_net.endpoints, 0, "%llu endpoints were forgotten",
                 (unsigned long long)fake_net.endpoints);
}

// ---- operations, short

static inline struct vi *fake_vi(struct carrick_client *client, uint32_t number)
{
    cr_assert(client->vi[number] != NULL, "VI %u of %s on %s is not open", number, client->name,
              client->node);
    return (struct vi *)client->vi[number];
}

static inline struct carrick_region *fake_region(struct carrick_client *client, uint64_t bytes)
{
    struct carrick_region *region = NULL;

    cr_assert_eq(client->host->region_create(client->host, bytes, &region), CARRICK_OK);
    return region;
}

static inline void *fake_memory(struct carrick_client *client, struct carrick_region *region)
{
    return client->host->region_ptr(region);
}

// The memory here that the partner's client asked for.
static inline uint8_t *fake_here(struct carrick_client *client, uint32_t index)
{
    cr_assert_lt(index, client->info.here_count);
    return client->host->region_ptr(client->info.here[index]);
}

static inline struct carrick_op fake_op(uint32_t operation, uint64_t cookie,
                                        struct carrick_region *region, uint64_t offset,
                                        uint64_t length, uint32_t there, uint64_t there_offset)
{
    return (struct carrick_op){.struct_size = sizeof(struct carrick_op),
                               .operation = operation,
                               .cookie = cookie,
                               .region = region,
                               .offset = offset,
                               .length = length,
                               .there = there,
                               .there_offset = there_offset};
}

static inline int fake_post_op(struct carrick_client *client, uint32_t vi, struct carrick_op op)
{
    return client->host->post(client->vi[vi], &op, 1);
}

static inline int fake_write(struct carrick_client *client, uint32_t vi, uint64_t cookie,
                             struct carrick_region *region, uint64_t offset, uint64_t length,
                             uint64_t there_offset)
{
    return fake_post_op(
        client, vi, fake_op(CARRICK_CLIENT_WRITE, cookie, region, offset, length, 0, there_offset));
}

static inline int fake_read(struct carrick_client *client, uint32_t vi, uint64_t cookie,
                            struct carrick_region *region, uint64_t offset, uint64_t length,
                            uint64_t there_offset)
{
    return fake_post_op(
        client, vi, fake_op(CARRICK_CLIENT_READ, cookie, region, offset, length, 0, there_offset));
}

static inline int fake_send(struct carrick_client *client, uint32_t vi, uint64_t cookie,
                            const void *data, uint32_t length)
{
    struct carrick_op op = fake_op(CARRICK_CLIENT_SEND, cookie, NULL, 0, length, 0, 0);

    op.data = data;
    return fake_post_op(client, vi, op);
}

static inline int fake_flush(struct carrick_client *client, uint32_t vi, uint64_t cookie)
{
    return fake_post_op(client, vi, fake_op(CARRICK_CLIENT_FLUSH, cookie, NULL, 0, 0, 0, 0));
}

// How often an operation of this cookie completed, and how the last time.
static inline unsigned fake_done(const struct carrick_client *client, uint64_t cookie, int *status)
{
    unsigned count = 0;

    for (unsigned i = 0; i < client->completed && i < FAKE_COMPLETIONS; i++)
        if (client->completion[i].cookie == cookie) {
            count++;
            if (status != NULL)
                *status = client->completion[i].status;
        }
    return count;
}

#endif
