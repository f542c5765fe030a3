// SPDX-License-Identifier: Apache-2.0
//
// The hash by which two nodes see that they mean the same pair: SHA-256 over a text of what must
// agree between them. That is the cluster, the nodes, the managers, each manager's links with their
// transports, its arbiter's plugin and its clients with their plugins, and the order of all these. Everything else may
// differ: timers, addresses, paths, the log, the policy, what only a plugin understands.

#include "core/config_internal.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

// Names hold neither blanks nor line ends, so no two configurations make the same text.
static bool add(EVP_MD_CTX *digest, const char *word, const char *name, const char *second)
{
    return EVP_DigestUpdate(digest, word, strlen(word)) == 1 &&
           EVP_DigestUpdate(digest, " ", 1) == 1 &&
           EVP_DigestUpdate(digest, name, strlen(name)) == 1 &&
           EVP_DigestUpdate(digest, " ", 1) == 1 &&
           EVP_DigestUpdate(digest, second, strlen(second)) == 1 &&
           EVP_DigestUpdate(digest, "\n", 1) == 1;
}

static bool add_manager(EVP_MD_CTX *digest, const struct config_manager *manager)
{
    bool good = add(digest, "manager", manager->name, "");

    for (size_t i = 0; good && i < manager->links_count; i++)
        good = add(digest, "link", manager->links[i].name, manager->links[i].transport);
    if (good && manager->arbiter.plugin[0] != '\0')
        good = add(digest, "arbiter", manager->arbiter.plugin, "");
    for (size_t i = 0; good && i < manager->clients_count; i++)
        good = add(digest, "client", manager->clients[i].name, manager->clients[i].plugin);
    return good;
}

int config_hash(struct config *config)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool good = digest != NULL && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
                add(digest, "carrick-config", "1", "") &&
                add(digest, "cluster", config->cluster, "");

    for (size_t i = 0; good && i < CONFIG_NODES; i++)
        good = add(digest, "node", config->nodes[i], "");
    for (size_t i = 0; good && i < config->managers_count; i++)
        good = add_manager(digest, &config->managers[i]);
    good = good && EVP_DigestFinal_ex(digest, config->hash, NULL) == 1;
    EVP_MD_CTX_free(digest);
    return good ? 0 : -ENOMEM;
}
