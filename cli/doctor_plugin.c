// SPDX-License-Identifier: Apache-2.0
//
// Whether this node has the plugin of a link's transport, and can load it.

#include "cli/doctor.h"
#include "core/loader.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

// The directories in which the daemon looks; the last is followed by NULL.
static const char *directory(const struct doctor *doctor, size_t index)
{
    if (doctor->config->plugin_dirs_count > 0)
        return index < doctor->config->plugin_dirs_count ? doctor->config->plugin_dirs[index]
                                                         : NULL;
    return index == 0 ? CARRICK_PLUGIN_DIR : NULL;
}

static bool find_plugin(const struct doctor *doctor, const char *name, char *path, size_t size)
{
    for (size_t i = 0; directory(doctor, i); i++) {
        snprintf(path, size, "%s/%s.so", directory(doctor, i), name);
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
    char dirs[200] = "";
    for (size_t i = 0, used = 0; directory(doctor, i) && used < sizeof dirs; i++)
        used += (size_t)snprintf(dirs + used, sizeof dirs - used, "%s%s", i ? ", " : "",
                                 directory(doctor, i));
    if (right)
        snprintf(mend, sizeof mend, "\"transport\": \"%s\" # in the link, on both nodes", right);
    else if (!link_is_rdma(link))
        snprintf(mend, sizeof mend,
                 "\"plugin_dirs\": [...] # with the directory that holds %.60s.so; or another "
                 "transport: \"tcp\", \"verbs\" for InfiniBand and RoCE, \"iwarp\"",
                 link->transport);
    doctor_find(doctor, FINDING_PROBLEM, subject, mend,
                "there is no plugin for the transport \"%.60s\": no %.60s.so in %s%s",
                link->transport, link->transport, dirs,
                !right && link_is_rdma(link) ? "; it is left out of a build without rdma-core"
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
