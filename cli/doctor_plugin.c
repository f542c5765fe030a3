// SPDX-License-Identifier: Apache-2.0
//
// Whether this node has the plugin of a link's transport, and can load it.

#include "cli/doctor.h"
#include "core/loader.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool find_plugin(const struct doctor *doctor, const char *name, char *path, size_t size)
{
    static char standard[] = CARRICK_PLUGIN_DIR;
    char *const only[] = {standard};
    const bool own = doctor->config->plugin_dirs_count > 0;
    char *const *dirs = own ? doctor->config->plugin_dirs : only;
    for (size_t i = 0; i < (own ? doctor->config->plugin_dirs_count : 1); i++) {
        snprintf(path, size, "%s/%s.so", dirs[i], name);
        if (tree_is_there(doctor, "%s", path))
            return true;
    }
    return false;
}

// What people call it, and what it is called.
static const char *meant(const char *name)
{
    static const char *const names[][2] = {
        {"rdma", "verbs"},    {"roce", "verbs"}, {"infiniband", "verbs"}, {"ib", "verbs"},
        {"ibverbs", "verbs"}, {"rxe", "verbs"},  {"verb", "verbs"},       {"siw", "iwarp"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcasecmp(name, names[i][0]))
            return names[i][1];
    return NULL;
}

static void say_missing(struct doctor *doctor, const struct config_link *link, const char *subject)
{
    const char *right = meant(link->transport);
    char mend[200] = "scripts/deps build rdma && make && make install # where Carrick was built";
    if (right)
        snprintf(mend, sizeof mend, "\"transport\": \"%s\" # in the link, on both nodes", right);
    else if (!link_is_rdma(link))
        snprintf(mend, sizeof mend,
                 "\"transport\": \"verbs\" for InfiniBand and RoCE, \"iwarp\", or \"tcp\"");
    doctor_find(doctor, FINDING_PROBLEM, subject, mend,
                "there is no plugin for the transport \"%.60s\"%s", link->transport,
                !right && link_is_rdma(link) ? ": it is left out of a build without rdma-core"
                                             : "");
}

bool doctor_plugin(struct doctor *doctor, const struct config_link *link, const char *subject)
{
    struct module_report report = {0};
    struct carrick_error error = {.struct_size = sizeof error};
    char path[PATH_MAX], mend[300];
    if (!find_plugin(doctor, link->transport, path, sizeof path)) {
        say_missing(doctor, link, subject);
        return false;
    }
    // A test's tree has no plugins that could be loaded.
    if (doctor->root[0] || module_inspect(path, &report, &error) == CARRICK_OK)
        return true;
    if (strstr(error.text, "libibverbs") || strstr(error.text, "librdmacm"))
        snprintf(mend, sizeof mend, INSTALL_RDMA);
    else
        snprintf(mend, sizeof mend, "carrick plugin inspect %.200s", path);
    doctor_find(doctor, FINDING_PROBLEM, subject, mend,
                "the plugin \"%.60s\" cannot be loaded: %.200s", link->transport, error.text);
    return false;
}
