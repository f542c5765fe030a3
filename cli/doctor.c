// SPDX-License-Identifier: Apache-2.0
//
// `carrick doctor [FILE]`: what on this node stands in the way of RDMA and of a good pair, each with the command that
// mends it. Needs no daemon.

#include "cli/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_DEFAULT CARRICK_SYSCONF_DIR "/carrick/carrick.json"
#define REACH_MS 1000

void doctor_find(struct doctor *doctor, enum finding_level level, const char *subject,
                 const char *mend, const char *format, ...)
{
    if (doctor->count == doctor->room) {
        size_t room = doctor->room ? doctor->room * 2 : 32;
        struct finding *more = realloc(doctor->findings, room * sizeof *more);
        if (!more) {
            complain("out of memory");
            exit(CLI_NOT_WELL);
        }
        doctor->findings = more;
        doctor->room = room;
    }
    struct finding *finding = &doctor->findings[doctor->count++];
    finding->level = level;
    snprintf(finding->subject, sizeof finding->subject, "%s", subject);
    snprintf(finding->mend, sizeof finding->mend, "%s", mend ? mend : "");
    va_list args;
    va_start(args, format);
    vsnprintf(finding->text, sizeof finding->text, format, args);
    va_end(args);
}

// ---- the configuration

static int find_node(const struct cli_options *options, const struct config *config)
{
    char host[256] = "";
    if (options->node)
        return config_node_index(config, options->node);
    if (gethostname(host, sizeof host - 1))
        return -1;
    int node = config_node_index(config, host);
    if (node >= 0)
        return node;
    host[strcspn(host, ".")] = 0; // with the domain or without it, as the daemon looks
    return config_node_index(config, host);
}

static void report_errors(struct doctor *doctor, const struct config_errors *errors,
                          const char *file)
{
    char text[CONFIG_POINTER_SIZE + CONFIG_TEXT_SIZE + 300], mend[320];
    config_error_format(errors, 0, text, sizeof text);
    snprintf(mend, sizeof mend, "carrick config check %s", file);
    doctor_find(doctor, FINDING_PROBLEM, "configuration", mend, "%.300s%s", text,
                errors->count > 1 ? " (and more)" : "");
}

static struct config *load_config(struct doctor *doctor, const struct cli_options *options,
                                  const char *file)
{
    struct config *config = NULL;
    struct config_errors *errors;
    char mend[320];
    if (!file && access(CONFIG_DEFAULT, R_OK) != 0) {
        doctor_find(doctor, FINDING_OK, "configuration", NULL,
                    "no file was named, and there is none at " CONFIG_DEFAULT
                    ": links, groups and memory are left out");
        return NULL;
    }
    if (!file)
        file = CONFIG_DEFAULT;
    errors = malloc(sizeof *errors);
    if (!errors)
        return NULL;
    if (config_load(file, &config, errors)) {
        report_errors(doctor, errors, file);
    } else {
        doctor->node = find_node(options, config);
        snprintf(mend, sizeof mend, "carrick doctor --node %s %s", config->nodes[0], file);
        if (doctor->node < 0)
            doctor_find(doctor, FINDING_PROBLEM, "configuration", mend,
                        "%s names the nodes %s and %s, and this host is called neither; carrickd "
                        "wants --node, too",
                        file, config->nodes[0], config->nodes[1]);
        else
            doctor_find(doctor, FINDING_OK, "configuration", NULL,
                        "%s: this is node %s of cluster %s", file, config->nodes[doctor->node],
                        config->cluster);
    }
    free(errors);
    if (config && doctor->node < 0) {
        config_free(config);
        config = NULL;
    }
    return config;
}

// ---- the report

static const char *level_name(enum finding_level level)
{
    return level == FINDING_OK ? "ok" : level == FINDING_WARNING ? "warning" : "problem";
}

static size_t count_of(const struct doctor *doctor, enum finding_level level)
{
    size_t count = 0;
    for (size_t i = 0; i < doctor->count; i++)
        count += doctor->findings[i].level == level;
    return count;
}

static void report_json(const struct doctor *doctor)
{
    struct json_object *report = json_object_new_object(), *list = json_object_new_array();
    for (size_t i = 0; i < doctor->count; i++) {
        const struct finding *finding = &doctor->findings[i];
        struct json_object *object = json_object_new_object();
        json_object_object_add(object, "level", json_object_new_string(level_name(finding->level)));
        json_object_object_add(object, "subject", json_object_new_string(finding->subject));
        json_object_object_add(object, "text", json_object_new_string(finding->text));
        json_object_object_add(object, "mend",
                               finding->mend[0] ? json_object_new_string(finding->mend) : NULL);
        json_object_array_add(list, object);
    }
    json_object_object_add(report, "ok",
                           json_object_new_boolean(count_of(doctor, FINDING_PROBLEM) == 0));
    json_object_object_add(report, "findings", list);
    json_print(report);
    json_object_put(report);
}

static void report_text(const struct doctor *doctor)
{
    static const enum paint paints[] = {PAINT_GOOD, PAINT_WARN, PAINT_BAD};
    for (size_t i = 0; i < doctor->count; i++) {
        const struct finding *finding = &doctor->findings[i];
        char word[16], clean[sizeof finding->text];
        snprintf(word, sizeof word, "%-8s", level_name(finding->level));
        paint_text(paints[finding->level], word);
        text_clean(finding->text, clean, sizeof clean);
        printf(" %s: %s\n", finding->subject, clean);
        text_clean(finding->mend, clean, sizeof clean);
        if (finding->mend[0])
            printf("         -> %s\n", clean);
    }
    size_t problems = count_of(doctor, FINDING_PROBLEM),
           warnings = count_of(doctor, FINDING_WARNING);
    if (problems)
        printf("%zu problem%s, %zu warning%s\n", problems, problems == 1 ? "" : "s", warnings,
               warnings == 1 ? "" : "s");
    else
        printf("nothing stands in the way, %zu warning%s\n", warnings, warnings == 1 ? "" : "s");
}

int command_doctor(struct cli_options *options, int argc, char **argv)
{
    struct doctor doctor = {
        .root = options->sysroot ? options->sysroot : "",
        .node = -1,
        .timeout_ms = options->timeout_ms ? options->timeout_ms : REACH_MS,
    };
    struct config *config = load_config(&doctor, options, argc > 0 ? argv[0] : NULL);
    doctor.config = config;
    if (config)
        doctor_key(&doctor);
    doctor_modules(&doctor);
    doctor_devices(&doctor);
    if (config)
        doctor_links(&doctor);
    doctor_memory(&doctor);
    if (options->json)
        report_json(&doctor);
    else
        report_text(&doctor);
    int result = count_of(&doctor, FINDING_PROBLEM) ? CLI_NOT_WELL : CLI_OK;
    free(doctor.findings);
    config_free(config);
    return result;
}
