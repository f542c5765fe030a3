// SPDX-License-Identifier: Apache-2.0
//
// `carrick plugin inspect FILE.so|NAME`: what it is, and whether a daemon of this version takes it, with the daemon's
// own loader.

#include "cli/cli.h"
#include "core/loader.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void print_json(const char *path, const struct module_report *report,
                       const struct carrick_error *error, bool taken)
{
    struct json_object *object = json_object_new_object();
    char abi[32];
    snprintf(abi, sizeof abi, "%u.%u", report->abi_major, report->abi_minor);
    json_object_object_add(object, "file", json_object_new_string(path));
    json_object_object_add(object, "taken", json_object_new_boolean(taken));
    if (!taken)
        json_object_object_add(object, "why", json_object_new_string(error->text));
    if (report->name[0]) {
        json_object_object_add(object, "name", json_object_new_string(report->name));
        json_object_object_add(object, "kind", json_object_new_string(kind_name(report->kind)));
        json_object_object_add(object, "version", json_object_new_string(report->version));
        json_object_object_add(object, "licence", json_object_new_string(report->licence));
        json_object_object_add(object, "description", json_object_new_string(report->description));
        json_object_object_add(object, "abi", json_object_new_string(abi));
        json_object_object_add(object, "ops_size", json_object_new_int64(report->ops_size));
        json_object_object_add(object, "ops_size_core",
                               json_object_new_int64(report->ops_size_core));
        json_object_object_add(object, "missing_optional",
                               json_object_new_string(report->missing_optional));
    }
    json_print(object);
    json_object_put(object);
}

static void print_line(const char *name, const char *text)
{
    char clean[600];
    text_clean(text, clean, sizeof clean);
    printf("%-12s %s\n", name, clean[0] ? clean : "-");
}

static void print_text(const char *path, const struct module_report *report,
                       const struct carrick_error *error, bool taken)
{
    char text[160];
    print_line("file", path);
    if (report->name[0]) {
        print_line("name", report->name);
        print_line("kind", kind_name(report->kind));
        print_line("version", report->version);
        print_line("licence", report->licence);
        print_line("does", report->description);
        snprintf(text, sizeof text, "built against %u.%u; this is %d.%d", report->abi_major,
                 report->abi_minor, CARRICK_ABI_MAJOR, CARRICK_ABI_MINOR);
        print_line("ABI", text);
        snprintf(text, sizeof text, "%u bytes of operations; here %u", report->ops_size,
                 report->ops_size_core);
        print_line("table", text);
        print_line("leaves out",
                   report->missing_optional[0] ? report->missing_optional : "nothing optional");
    }
    printf("%-12s ", "verdict");
    if (taken) {
        paint_text(PAINT_GOOD, "this daemon takes it");
        putchar('\n');
    } else {
        char why[sizeof error->text];
        text_clean(error->text, why, sizeof why);
        paint_text(PAINT_BAD, "refused");
        printf(": %s\n", why[0] ? why : "no reason was given");
    }
}

// A name instead of a file: the plugin of that name, where the daemon would find it without a configuration.
static const char *file_of(const char *given, char *path, size_t size)
{
    if (strchr(given, '/') || access(given, F_OK) == 0)
        return given;
    snprintf(path, size, "%s/%s.so", CARRICK_PLUGIN_DIR, given);
    return path;
}

int command_plugin_inspect(struct cli_options *options, int argc, char **argv)
{
    struct module_report report = {0};
    struct carrick_error error = {.struct_size = sizeof error};
    char path[PATH_MAX], text[sizeof error.text];
    const char *file = file_of(argv[0], path, sizeof path);
    (void)argc;
    bool taken = module_inspect(file, &report, &error) == CARRICK_OK;
    if (file == path && access(path, F_OK) != 0) {
        snprintf(text, sizeof text,
                 "there is no file %.60s, and no plugin of that name (%.100s); plugins elsewhere "
                 "are named by their file",
                 argv[0], path);
        snprintf(error.text, sizeof error.text, "%s", text);
    }
    if (options->json)
        print_json(file, &report, &error, taken);
    else
        print_text(file, &report, &error, taken);
    return taken ? CLI_OK : CLI_NOT_WELL;
}
