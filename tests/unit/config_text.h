// SPDX-License-Identifier: Apache-2.0
//
// A good configuration, and changes made to it. Each test of the configuration takes it from here.

#ifndef CARRICK_TESTS_CONFIG_TEXT_H
#define CARRICK_TESTS_CONFIG_TEXT_H

#include "core/config.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char config_text_good[] =
    "{\n"
    "  \"$schema\": \"carrick.schema.json\",\n"
    "  \"cluster\": \"store1\",\n"
    "  \"key_file\": \"/etc/carrick/cluster.key\",\n"
    "  \"plugin_dirs\": [\"/usr/lib/carrick/plugins\", \"/opt/plugins\"],\n"
    "  \"nodes\": [\"alpha\", \"beta\"],\n"
    "  \"control\": { \"socket\": \"/run/carrick/%n.sock\", \"group\": \"carrick\" },\n"
    "  \"metrics\": { \"listen\": { \"alpha\": \"127.0.0.1:9419\", \"beta\": \"[::1]:9420\" } },\n"
    "  \"log\": { \"level\": \"notice\" },\n"
    "  \"managers\": [\n"
    "    {\n"
    "      \"name\": \"main\",\n"
    "      \"profile\": \"fast\",\n"
    "      \"timers\": { \"probe_ms\": 25 },\n"
    "      \"poll_us\": 50,\n"
    "      \"lanes\": 3,\n"
    "      \"overstay_us\": 2000, \"partner_memory_mib\": 64,\n"
    "      \"policy\": { \"plugin\": \"least_inflight\", \"config\": { \"a\": 1 } },\n"
    "      \"links\": [\n"
    "        {\n"
    "          \"name\": \"left\",\n"
    "          \"transport\": \"tcp\",\n"
    "          \"wrapper\": { \"plugin\": \"fault\", \"config\": { \"seed\": 7 } },\n"
    "          \"nodes\": {\n"
    "            \"alpha\": { \"address\": \"10.0.1.1\", \"port\": 7410 },\n"
    "            \"beta\": { \"address\": \"10.0.1.2\", \"port\": 7410 }\n"
    "          },\n"
    "          \"config\": { \"nodelay\": true }\n"
    "        },\n"
    "        { \"name\": \"right\", \"transport\": \"tcp\", \"nodes\": { \"alpha\": {}, \"beta\": "
    "{} } }\n"
    "      ],\n"
    "      \"clients\": [\n"
    "        { \"name\": \"echo\", \"plugin\": \"echo\", \"required\": false, \"isolation\": "
    "\"inline\",\n"
    "          \"config\": { \"size\": 4096 } },\n"
    "        { \"name\": \"log\", \"plugin\": \"shadow\" }\n"
    "      ]\n"
    "    },\n"
    "    { \"name\": \"second\",\n"
    "      \"links\": [{ \"name\": \"left\", \"transport\": \"tcp\", \"nodes\": { \"alpha\": {}, "
    "\"beta\": {} } }] }\n"
    "  ]\n"
    "}\n";

// The good text with the first place where find stands replaced. find must stand in it; NULL stands
// for all of it. The caller frees the result.
static inline char *config_text_edit(const char *find, const char *replacement)
{
    const char *at = find != NULL ? strstr(config_text_good, find) : config_text_good;
    size_t skip = find != NULL ? strlen(find) : strlen(config_text_good);
    char *text = NULL;

    cr_assert_not_null(at, "the good text has no %s", find);
    cr_assert(asprintf(&text, "%.*s%s%s", (int)(at - config_text_good), config_text_good,
                       replacement, at + skip) >= 0);
    return text;
}

static inline void config_text_print(const struct config_errors *errs)
{
    char line[1024];

    for (size_t i = 0; i < errs->count; i++) {
        config_error_format(errs, i, line, sizeof(line));
        fprintf(stderr, "  %s\n", line);
    }
}

// Parses what must be good.
static inline struct config *config_text_parse(const char *text)
{
    static struct config_errors errs;
    struct config *config = NULL;
    int result = config_parse("test.json", text, strlen(text), &config, &errs);

    if (result != 0)
        config_text_print(&errs);
    cr_assert_eq(result, 0);
    cr_assert_not_null(config);
    return config;
}

static inline struct config *config_text_parse_edited(const char *find, const char *replacement)
{
    char *text = config_text_edit(find, replacement);
    struct config *config = config_text_parse(text);

    free(text);
    return config;
}

#endif
