// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a configuration. Whatever comes, an answer has its errors or its configuration, each
// error has a place within the text, and a configuration agrees with itself.

#include "core/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static void check_errors(const struct config_errors *errs, const uint8_t *data, size_t size)
{
    unsigned lines = 1;
    char line[1024];

    HOLDS(errs->count > 0 && errs->count <= CONFIG_ERRORS_MAX);
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    for (size_t i = 0; i < errs->count; i++) {
        HOLDS(errs->error[i].line <= lines);
        HOLDS(errs->error[i].line == 0 || errs->error[i].column > 0);
        HOLDS(errs->error[i].text[0] != '\0');
        HOLDS(config_error_format(errs, i, line, sizeof(line)) > 0);
        HOLDS(strchr(line, '\n') == NULL && strchr(line, '\x1b') == NULL);
    }
}

static void check_config(const struct config *config)
{
    static struct config_errors errs;

    HOLDS(config_reload_check(config, config, &errs) == 0);
    HOLDS(strcmp(config->nodes[0], config->nodes[1]) != 0);
    HOLDS(config->managers_count > 0);
    for (size_t i = 0; i < config->managers_count; i++) {
        const struct config_manager *manager = &config->managers[i];

        HOLDS(config_manager_find(config, manager->name) == manager);
        HOLDS(manager->timers.link_dead_ms >= 2 * manager->timers.probe_ms);
        HOLDS(manager->links_count > 0);
        for (size_t j = 0; j < manager->links_count; j++) {
            HOLDS(config_link_find(manager, manager->links[j].name) == &manager->links[j]);
            HOLDS(manager->links[j].nodes[0].json[0] == '{');
        }
    }
    config_errors_init(&errs, config->file);
    (void)config_error_in(config, &errs, config->managers[0].pointer, "/name", "x");
    HOLDS(errs.error[0].line > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config_errors errs;
    struct config *config = NULL;
    int result = config_parse("fuzz", (const char *)data, size, &config, &errs);

    HOLDS((result == 0) == (config != NULL));
    if (config != NULL)
        check_config(config);
    else
        check_errors(&errs, data, size);
    config_free(config);
    return 0;
}
