// SPDX-License-Identifier: Apache-2.0

#include "core/config_internal.h"
#include "core/json_scan.h"
#include "core/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- reading

static int __attribute__((format(printf, 3, 4)))
fail(struct config_errors *errs, int error, const char *format, ...)
{
    char text[CONFIG_TEXT_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    config_errors_add(errs, 0, 0, "", text);
    return -error;
}

static int file_check(int fd, struct config_errors *errs)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return fail(errs, errno, "cannot look at the file: %s", strerror(errno));
    if (S_ISDIR(status.st_mode))
        return fail(errs, EISDIR, "this is a directory, expected a file");
    if (!S_ISREG(status.st_mode))
        return fail(errs, EINVAL, "this is not a regular file");
    if (status.st_size > CONFIG_FILE_BYTES_MAX)
        return fail(errs, EINVAL, "the file has %lld bytes, expected at most %d",
                    (long long)status.st_size, CONFIG_FILE_BYTES_MAX);
    return 0;
}

// The file may grow meanwhile: one byte more than allowed is read, and config_parse() refuses that.
static int file_read(int fd, char *text, size_t *length, struct config_errors *errs)
{
    *length = 0;
    while (*length <= CONFIG_FILE_BYTES_MAX) {
        ssize_t got = read(fd, text + *length, CONFIG_FILE_BYTES_MAX + 1 - *length);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(errs, errno, "cannot read the file: %s", strerror(errno));
        if (got == 0)
            break;
        *length += (size_t)got;
    }
    return 0;
}

int config_load(const char *path, struct config **out, struct config_errors *errs)
{
    // Without O_NONBLOCK a pipe of that name would hold the daemon up.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *text = NULL;
    size_t length = 0;
    int result;

    *out = NULL;
    config_errors_init(errs, path);
    if (fd < 0)
        return fail(errs, errno, "cannot open the file: %s", strerror(errno));
    result = file_check(fd, errs);
    if (result == 0) {
        text = malloc(CONFIG_FILE_BYTES_MAX + 1);
        result =
            text != NULL ? file_read(fd, text, &length, errs) : fail(errs, ENOMEM, "no memory");
    }
    close(fd);
    if (result == 0)
        result = config_parse(path, text, length, out, errs);
    free(text);
    return result;
}

// ---- parsing

// The scan has been through the text: what json-c refuses now is a difference between the two.
static int report_refusal(struct json_tokener *tokener, const char *text, size_t length,
                          struct config_errors *errs)
{
    size_t end = json_tokener_get_parse_end(tokener);
    struct json_scan scan;
    struct json_place_at place;
    char message[CONFIG_TEXT_SIZE];

    json_scan_init(&scan, text, length);
    place = json_scan_place(&scan, text + (end < length ? end : length));
    snprintf(message, sizeof(message), "the JSON library refuses the text here: %s",
             json_tokener_error_desc(json_tokener_get_error(tokener)));
    config_errors_add(errs, place.line, place.column, "", message);
    return -EINVAL;
}

static int values_parse(const char *text, size_t length, struct json_object **root,
                        struct config_errors *errs)
{
    struct json_tokener *tokener = json_tokener_new_ex(CONFIG_DEPTH_MAX + 2);
    char *copy = strndup(text, length); // json-c sees the end of a bare number by its NUL
    int result = 0;

    *root = NULL;
    if (tokener == NULL || copy == NULL) {
        result = fail(errs, ENOMEM, "out of memory");
    } else {
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
        *root = json_tokener_parse_ex(tokener, copy, (int)length + 1);
        if (json_tokener_get_error(tokener) != json_tokener_success)
            result = report_refusal(tokener, text, length, errs);
    }
    if (tokener != NULL)
        json_tokener_free(tokener);
    free(copy);
    return result;
}

static int values_check(const struct json_positions *positions, struct json_object *root,
                        struct config_errors *errs)
{
    struct json_cursor cursor = json_cursor_root(positions, root);
    char error[256];
    struct schema *schema =
        schema_new(config_schema_json, config_schema_json_size, error, sizeof(error));
    int result;

    if (schema == NULL)
        return fail(errs, ENOMEM, "the schema cannot be used: %s", error);
    result = schema_validate(schema, &cursor, errs);
    config_check(&cursor, errs);
    if (result == 0 && errs->count == 0 && schema_fill_defaults(schema, root) != 0)
        result = fail(errs, ENOMEM, "out of memory");
    schema_free(schema);
    return errs->count > 0 && result == 0 ? -EINVAL : result;
}

static struct config *make(const char *name, struct json_object *root)
{
    struct config *config = calloc(1, sizeof(*config));

    if (config == NULL)
        return NULL;
    config->file = strdup(name);
    if (config->file == NULL || config_build(root, config) != 0 || config_hash(config) != 0) {
        config_free(config);
        return NULL;
    }
    return config;
}

static int parse(const char *name, const char *text, size_t length, struct config **out,
                 struct config_errors *errs)
{
    struct json_positions *positions;
    struct json_object *root = NULL;
    int scanned = json_positions_scan(text, length, &positions, errs);
    int result = scanned;

    if (positions == NULL)
        return scanned;
    result = values_parse(text, length, &root, errs);
    if (result == 0)
        result = values_check(positions, root, errs);
    if (result == 0)
        result = scanned;
    if (result == 0) {
        *out = make(name, root);
        if (*out != NULL) {
            (*out)->positions = positions;
            positions = NULL;
        } else {
            result = fail(errs, ENOMEM, "out of memory");
        }
    }
    json_positions_free(positions);
    json_object_put(root);
    return result;
}

int config_parse(const char *name, const char *text, size_t length, struct config **out,
                 struct config_errors *errs)
{
    // In another locale [A-Z] holds more than those letters, and the decimal point is a comma.
    locale_t plain, before;
    int result;

    *out = NULL;
    config_errors_init(errs, name);
    if (length > CONFIG_FILE_BYTES_MAX)
        return fail(errs, EINVAL, "the text has more than %d bytes", CONFIG_FILE_BYTES_MAX);
    plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (plain == (locale_t)0)
        return fail(errs, ENOMEM, "out of memory");
    before = uselocale(plain);
    result = parse(name, text, length, out, errs);
    uselocale(before);
    freelocale(plain);
    config_errors_sort(errs);
    return result;
}

// ---- the end

static void section_free(struct config_section *section)
{
    free(section->json);
    free(section->pointer);
}

static void client_free(struct config_client *client)
{
    section_free(&client->config);
    free(client->pointer);
}

static void plugin_free(struct config_plugin *plugin)
{
    section_free(&plugin->config);
    free(plugin->pointer);
}

static void manager_free(struct config_manager *manager)
{
    for (size_t i = 0; i < manager->links_count; i++) {
        struct config_link *link = &manager->links[i];

        for (size_t n = 0; n < CONFIG_NODES; n++)
            section_free(&link->nodes[n]);
        section_free(&link->config);
        section_free(&link->wrapper.config);
        free(link->wrapper.pointer);
        free(link->pointer);
    }
    for (size_t i = 0; i < manager->clients_count; i++)
        client_free(&manager->clients[i]);
    plugin_free(&manager->policy);
    plugin_free(&manager->arbiter);
    free(manager->links);
    free(manager->clients);
    free(manager->pointer);
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    for (size_t i = 0; i < config->managers_count; i++)
        manager_free(&config->managers[i]);
    for (size_t i = 0; i < config->plugin_dirs_count; i++)
        free(config->plugin_dirs[i]);
    for (size_t i = 0; i < CONFIG_NODES; i++)
        free(config->metrics.listen[i].text);
    json_positions_free(config->positions);
    free(config->managers);
    free(config->plugin_dirs);
    free(config->control.socket);
    free(config->control.group);
    free(config->key_file);
    free(config->file);
    free(config);
}

// ---- before there is a root file system

static void manager_keep_early(struct config_manager *manager)
{
    size_t kept = 0;

    for (size_t i = 0; i < manager->clients_count; i++) {
        if (manager->clients[i].early)
            manager->clients[kept++] = manager->clients[i];
        else
            client_free(&manager->clients[i]);
    }
    manager->clients_count = kept;
    // Whoever asks the arbiter is a client; where it keeps its records may not be there yet.
    if (kept == 0) {
        plugin_free(&manager->arbiter);
        manager->arbiter = (struct config_plugin){.plugin = ""};
    }
}

void config_keep_early(struct config *config)
{
    for (size_t i = 0; i < config->managers_count; i++)
        manager_keep_early(&config->managers[i]);
}
