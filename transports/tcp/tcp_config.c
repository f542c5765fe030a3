// SPDX-License-Identifier: Apache-2.0
#include "tcp_config.h"

#include <carrick/error.h>

#include <json-c/json.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 8, TEXT_MAX = 65536 };

// A key of a section: its kind decides which of the other fields count.
struct field {
    const char *name;
    bool text;
    bool required;
    int64_t min, max;
    uint32_t *number; // here a number goes
    char *string;     // here a text goes, with that much room
    size_t string_bytes;
    const char *wanted; // for the error, what the value means
};

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

static struct json_object *parse_object(const char *text, const char *pointer,
                                        struct carrick_error *error)
{
    struct json_tokener *tokener;
    struct json_object *object = NULL;
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
    if (json_tokener_get_error(tokener) != json_tokener_success) {
        wrong(error, pointer, "", "not JSON: %s",
              json_tokener_error_desc(json_tokener_get_error(tokener)));
        json_object_put(object);
        object = NULL;
    } else if (!json_object_is_type(object, json_type_object)) {
        wrong(error, pointer, "", "must be an object, {...}");
        json_object_put(object);
        object = NULL;
    }
    json_tokener_free(tokener);
    return object;
}

static int take_number(const struct field *f, struct json_object *value, const char *pointer,
                       struct carrick_error *error)
{
    int64_t n;

    if (!json_object_is_type(value, json_type_int))
        return wrong(error, pointer, f->name, "must be a whole number: %s, %lld to %lld", f->wanted,
                     (long long)f->min, (long long)f->max);
    n = json_object_get_int64(value);
    if (n < f->min || n > f->max)
        return wrong(error, pointer, f->name, "is %lld, must be %lld to %lld: %s", (long long)n,
                     (long long)f->min, (long long)f->max, f->wanted);
    *f->number = (uint32_t)n;
    return CARRICK_OK;
}

static int take_text(const struct field *f, struct json_object *value, const char *pointer,
                     struct carrick_error *error)
{
    size_t length;

    if (!json_object_is_type(value, json_type_string))
        return wrong(error, pointer, f->name, "must be a text: %s", f->wanted);
    length = (size_t)json_object_get_string_len(value);
    if (length == 0 || length >= f->string_bytes || strlen(json_object_get_string(value)) != length)
        return wrong(error, pointer, f->name, "has %zu characters, must have 1 to %zu: %s", length,
                     f->string_bytes - 1, f->wanted);
    memcpy(f->string, json_object_get_string(value), length + 1);
    return CARRICK_OK;
}

static const struct field *field_find(const struct field *fields, const char *name)
{
    for (; fields->name != NULL; fields++)
        if (strcmp(fields->name, name) == 0)
            return fields;
    return NULL;
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
        f = field_find(fields, name);
        if (f == NULL) {
            char known[128] = "";
            for (f = fields; f->name != NULL; f++) {
                size_t used = strlen(known);
                snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", f->name);
            }
            status = wrong(error, pointer, name, "is no key of this section; it has: %s", known);
        } else {
            status = f->text ? take_text(f, value, pointer, error)
                             : take_number(f, value, pointer, error);
        }
    }
    for (f = fields; status == CARRICK_OK && f->name != NULL; f++)
        if (f->required && !json_object_object_get_ex(object, f->name, NULL))
            status = wrong(error, pointer, "", "\"%s\" is missing: %s", f->name, f->wanted);
    json_object_put(object);
    return status;
}

// AF_INET, AF_INET6, or AF_UNSPEC for a name.
static int family_of(const char *address)
{
    unsigned char bytes[16];
    char plain[TCP_HOST_BYTES];

    snprintf(plain, sizeof plain, "%s", address);
    plain[strcspn(plain, "%")] = '\0';
    if (inet_pton(AF_INET, plain, bytes) == 1)
        return AF_INET;
    return inet_pton(AF_INET6, plain, bytes) == 1 ? AF_INET6 : AF_UNSPEC;
}

static bool is_wildcard(const char *address)
{
    static const unsigned char zero[16];
    unsigned char bytes[16];

    if (inet_pton(AF_INET, address, bytes) == 1)
        return memcmp(bytes, zero, 4) == 0;
    return inet_pton(AF_INET6, address, bytes) == 1 && memcmp(bytes, zero, 16) == 0;
}

static bool is_host_name(const char *name)
{
    bool letter = false;

    for (const char *c = name; *c != '\0'; c++) {
        if (!isascii(*c) || (!isalnum((unsigned char)*c) && strchr("-._", *c) == NULL))
            return false;
        letter |= isalpha((unsigned char)*c) != 0;
    }
    return letter && name[0] != '.' && name[0] != '-';
}

int tcp_section_parse(const char *text, const char *pointer, struct tcp_section *section,
                      struct carrick_error *error)
{
    uint32_t port = 0;
    const struct field fields[] = {
        {"address", true, true, 0, 0, NULL, section->address, sizeof section->address,
         "an IPv4 or IPv6 address of the node, or a host name"},
        {"port", false, true, 1, 65535, &port, NULL, 0, "the TCP port that the node listens on"},
        {"interface", true, false, 0, 0, NULL, section->interface, sizeof section->interface,
         "the name of a network interface of the node, such as eth0"},
        {0},
    };
    int status;

    memset(section, 0, sizeof *section);
    status = take_fields(text, pointer, fields, error);
    if (status != CARRICK_OK)
        return status;
    section->port = (uint16_t)port;
    if (is_wildcard(section->address))
        return wrong(error, pointer, "address",
                     "\"%s\" stands for every address; give the one of this link",
                     section->address);
    if (family_of(section->address) == AF_UNSPEC && !is_host_name(section->address))
        return wrong(error, pointer, "address",
                     "\"%.100s\" is neither an IPv4 or IPv6 address nor a host name",
                     section->address);
    if (strpbrk(section->interface, "/ \t\n:") != NULL)
        return wrong(error, pointer, "interface", "\"%s\" is no name of a network interface",
                     section->interface);
    return CARRICK_OK;
}

int tcp_settings_parse(const char *text, struct tcp_settings *settings, struct carrick_error *error)
{
    const struct field fields[] = {
        {"user_timeout_ms", false, false, 10, 3600000, &settings->user_timeout_ms, NULL, 0,
         "how long sent data may stay unacknowledged before the kernel gives the connection up"},
        {"keepalive_s", false, false, 1, 3600, &settings->keepalive_s, NULL, 0,
         "seconds between keepalive probes of an idle connection"},
        {"send_buffer_bytes", false, false, 0, 1 << 30, &settings->send_buffer_bytes, NULL, 0,
         "size of the socket's send buffer; 0 leaves it to the kernel"},
        {"receive_buffer_bytes", false, false, 0, 1 << 30, &settings->receive_buffer_bytes, NULL, 0,
         "size of the socket's receive buffer; 0 leaves it to the kernel"},
        {"listen_backlog", false, false, 1, 65535, &settings->listen_backlog, NULL, 0,
         "connections that the kernel keeps until they are accepted"},
        {0},
    };

    *settings = (struct tcp_settings){
        .user_timeout_ms = 10000,
        .keepalive_s = 5,
        .listen_backlog = 64,
    };
    return take_fields(text, "/config", fields, error);
}

int tcp_config_check(const char *local, const char *remote, const char *config,
                     struct carrick_error *error)
{
    struct tcp_section here, there;
    struct tcp_settings settings;
    int status = tcp_section_parse(local, "/local", &here, error);

    if (status == CARRICK_OK)
        status = tcp_section_parse(remote, "/remote", &there, error);
    if (status == CARRICK_OK)
        status = tcp_settings_parse(config != NULL ? config : "{}", &settings, error);
    if (status != CARRICK_OK)
        return status;
    if (family_of(here.address) != AF_UNSPEC && family_of(there.address) != AF_UNSPEC &&
        family_of(here.address) != family_of(there.address))
        return wrong(error, "/remote", "address",
                     "\"%.60s\" is of another address family than the other end of the link, "
                     "\"%.60s\"; both must be IPv4, or both IPv6",
                     there.address, here.address);
    if (strcmp(here.address, there.address) == 0 && here.port == there.port)
        return wrong(error, "/remote", "port",
                     "both ends of the link are %.100s port %u; they must differ", here.address,
                     here.port);
    return CARRICK_OK;
}
