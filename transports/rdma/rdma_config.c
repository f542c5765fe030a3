// SPDX-License-Identifier: Apache-2.0
#include "rdma_config.h"

#include <carrick/error.h>

#include <json-c/json.h>

#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 8, TEXT_MAX = 65536 };

static int wrong(struct carrick_error *error, const char *pointer, const char *key,
                 const char *format, ...) __attribute__((format(printf, 4, 5)));

static int wrong(struct carrick_error *error, const char *pointer, const char *key,
                 const char *format, ...)
{
    char where[128];
    va_list ap;

    snprintf(where, sizeof where, "%s%s%.64s", pointer, key[0] == '\0' ? "" : "/", key);
    va_start(ap, format);
    carrick_error_set_v(error, CARRICK_ERR_CONFIG, 0, where, format, ap);
    va_end(ap);
    return CARRICK_ERR_CONFIG;
}

// A key that a section may have: a text when `text` is set, else a number.
struct field {
    const char *name;
    bool required;
    char *text;
    size_t text_bytes;
    uint32_t *number;
    int64_t min, max;
    const char *wanted;
};

static struct json_object *parse_object(const char *text, const char *pointer,
                                        struct carrick_error *error)
{
    struct json_tokener *tokener;
    struct json_object *object;
    enum json_tokener_error said;
    size_t length = strlen(text);

    if (length > TEXT_MAX) {
        wrong(error, pointer, "", "longer than %d bytes", TEXT_MAX);
        return NULL;
    }
    tokener = json_tokener_new_ex(DEPTH_MAX);
    if (tokener == NULL) {
        carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, pointer, "out of memory");
        return NULL;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    object = json_tokener_parse_ex(tokener, text, (int)length + 1);
    said = json_tokener_get_error(tokener);
    json_tokener_free(tokener);
    if (said == json_tokener_success && json_object_is_type(object, json_type_object))
        return object;
    if (said == json_tokener_success)
        wrong(error, pointer, "", "must be an object, {...}");
    else
        wrong(error, pointer, "", "not JSON: %s", json_tokener_error_desc(said));
    json_object_put(object);
    return NULL;
}

static int take(const struct field *f, struct json_object *value, const char *pointer,
                struct carrick_error *error)
{
    int64_t n;
    size_t length;

    if (f->text == NULL) {
        n = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : f->min - 1;
        if (n < f->min || n > f->max)
            return wrong(error, pointer, f->name, "must be a whole number, %lld to %lld: %s",
                         (long long)f->min, (long long)f->max, f->wanted);
        *f->number = (uint32_t)n;
        return CARRICK_OK;
    }
    if (!json_object_is_type(value, json_type_string))
        return wrong(error, pointer, f->name, "must be a text: %s", f->wanted);
    length = (size_t)json_object_get_string_len(value);
    if (length == 0 || length >= f->text_bytes || strlen(json_object_get_string(value)) != length)
        return wrong(error, pointer, f->name, "has %zu characters, must have 1 to %zu: %s", length,
                     f->text_bytes - 1, f->wanted);
    memcpy(f->text, json_object_get_string(value), length + 1);
    return CARRICK_OK;
}

static int unknown(const struct field *fields, const char *name, const char *pointer,
                   struct carrick_error *error)
{
    char known[128] = "";

    for (; fields->name != NULL; fields++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", fields->name);
    }
    return wrong(error, pointer, name, "is no key of this section; it has: %s", known);
}

static int take_fields(const char *text, const char *pointer, const struct field *fields,
                       struct carrick_error *error)
{
    struct json_object *object = parse_object(text, pointer, error);
    const struct field *f;
    int status = CARRICK_OK;

    if (object == NULL)
        return error != NULL ? error->status : CARRICK_ERR_CONFIG;
    json_object_object_foreach(object, name, value)
    {
        if (status != CARRICK_OK)
            continue;
        f = fields;
        while (f->name != NULL && strcmp(f->name, name) != 0)
            f++;
        status = f->name == NULL ? unknown(fields, name, pointer, error)
                                 : take(f, value, pointer, error);
    }
    for (f = fields; status == CARRICK_OK && f->name != NULL; f++)
        if (f->required && !json_object_object_get_ex(object, f->name, NULL))
            status = wrong(error, pointer, "", "\"%s\" is missing: %s", f->name, f->wanted);
    json_object_put(object);
    return status;
}

// Addresses are numbers here: a device is found by its address, at once, and its capabilities with it.
static int address_parse(struct rdma_section *section, const char *pointer,
                         struct carrick_error *error)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];

    snprintf(port, sizeof port, "%u", section->port);
    if (getaddrinfo(section->address, port, &hints, &found) != 0 || found == NULL)
        return wrong(error, pointer, "address",
                     "\"%s\" is no IP address; an RDMA link wants the address of the device's "
                     "network interface in digits, not a name",
                     section->address);
    memcpy(&section->storage, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return CARRICK_OK;
}

int rdma_section_parse(const char *text, const char *pointer, struct rdma_section *section,
                       struct carrick_error *error)
{
    uint32_t port = 0;
    const struct field fields[] = {
        {"address", true, section->address, sizeof section->address, NULL, 0, 0,
         "the IP address of the device's network interface on that node"},
        {"port", true, NULL, 0, &port, 1, 65535, "the port on which that node takes connections"},
        {"device", false, section->device, sizeof section->device, NULL, 0, 0,
         "the name of the RDMA device that the address must belong to (see `rdma link`)"},
        {0},
    };
    int status;

    memset(section, 0, sizeof *section);
    status = take_fields(text, pointer, fields, error);
    section->port = (uint16_t)port;
    return status == CARRICK_OK ? address_parse(section, pointer, error) : status;
}

int rdma_settings_parse(const char *text, struct rdma_settings *settings,
                        struct carrick_error *error)
{
    const struct field fields[] = {
        {"traffic_class", false, NULL, 0, &settings->traffic_class, 0, 255,
         "the traffic class of all packets, DSCP in its upper six bits, for switches that keep "
         "RoCE lossless by it"},
        {0},
    };

    *settings = (struct rdma_settings){.traffic_class = RDMA_TRAFFIC_CLASS_DEFAULT};
    return take_fields(text, "/config", fields, error);
}

int rdma_config_check(const char *local, const char *remote, const char *config,
                      struct carrick_error *error)
{
    struct rdma_section here, there;
    struct rdma_settings settings;
    int status = rdma_section_parse(local, "/local", &here, error);

    if (status == CARRICK_OK)
        status = rdma_section_parse(remote, "/remote", &there, error);
    if (status == CARRICK_OK)
        status = rdma_settings_parse(config != NULL ? config : "{}", &settings, error);
    if (status != CARRICK_OK)
        return status;
    if (here.storage.ss_family != there.storage.ss_family)
        return wrong(error, "/remote", "address",
                     "\"%s\" is of another address family than the other end of the link, \"%s\"; "
                     "both must be IPv4, or both IPv6",
                     there.address, here.address);
    if (strcmp(here.address, there.address) == 0 && here.port == there.port)
        return wrong(error, "/remote", "port",
                     "both ends of the link are %s port %u; they must differ", here.address,
                     here.port);
    return CARRICK_OK;
}
