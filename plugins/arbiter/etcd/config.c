// SPDX-License-Identifier: Apache-2.0
#include "etcd.h"

#include <carrick/error.h>

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROBE_S_DEFAULT 60
#define PROBE_S_MAX 240 // a token of etcd lives for 300 s without use

// ---- endpoints

static bool is_port(const char *text)
{
    long port = strtol(text, NULL, 10);

    return text[0] != '\0' && strlen(text) <= 5 && strspn(text, "0123456789") == strlen(text) &&
           port > 0 && port < 65536;
}

// http://HOST:PORT or https://HOST:PORT and nothing more.
static bool is_endpoint(const char *text)
{
    static const char of_names[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                   ".-_";
    const char *host = strncmp(text, "https://", 8) == 0  ? text + 8
                       : strncmp(text, "http://", 7) == 0 ? text + 7
                                                          : "";
    size_t length;

    if (host[0] == '[') {
        length = 1 + strspn(host + 1, "0123456789abcdefABCDEF:.");
        return length > 2 && host[length] == ']' && host[length + 1] == ':' &&
               is_port(host + length + 2);
    }
    length = strspn(host, of_names);
    return length > 0 && host[length] == ':' && is_port(host + length + 1);
}

static int read_endpoints(struct json_object *value, struct etcd_settings *settings,
                          struct carrick_error *error)
{
    size_t count =
        json_object_is_type(value, json_type_array) ? json_object_array_length(value) : 0;
    char pointer[40];

    if (count < 1 || count > ETCD_ENDPOINTS_MAX)
        return carrick_error_config(
            error, "/endpoints",
            "expected a list of 1 to %u endpoints of one etcd cluster, such as "
            "\"https://10.0.0.1:2379\"",
            ETCD_ENDPOINTS_MAX);
    for (size_t i = 0; i < count; i++) {
        struct json_object *one = json_object_array_get_idx(value, i);
        const char *text =
            json_object_is_type(one, json_type_string) ? json_object_get_string(one) : "";

        snprintf(pointer, sizeof pointer, "/endpoints/%zu", i);
        if (strlen(text) >= ETCD_URL_BYTES || !is_endpoint(text))
            return carrick_error_config(
                error, pointer, "expected http://HOST:PORT or https://HOST:PORT, without a path");
        for (size_t k = 0; k < i; k++)
            if (strcmp(settings->endpoints[k], text) == 0)
                return carrick_error_config(error, pointer, "the endpoint '%.100s' is there twice",
                                            text);
        snprintf(settings->endpoints[i], ETCD_URL_BYTES, "%s", text);
    }
    settings->endpoint_count = (unsigned)count;
    return CARRICK_OK;
}

// ---- the other keys

static int read_text(struct json_object *value, const char *key, char *to, size_t size,
                     const char *what, struct carrick_error *error)
{
    char pointer[40];
    const char *text =
        json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";

    snprintf(pointer, sizeof pointer, "/%s", key);
    if (text[0] == '\0' || strlen(text) >= size ||
        strlen(text) != (size_t)json_object_get_string_len(value))
        return carrick_error_config(error, pointer, "expected %s", what);
    snprintf(to, size, "%s", text);
    return CARRICK_OK;
}

static int read_path(struct json_object *value, const char *key, char *to,
                     struct carrick_error *error)
{
    char pointer[40];
    int status = read_text(value, key, to, ETCD_PATH_BYTES, "the absolute path of a file", error);

    if (status != CARRICK_OK || to[0] == '/')
        return status;
    snprintf(pointer, sizeof pointer, "/%s", key);
    return carrick_error_config(error, pointer,
                                "expected the absolute path of a file, not '%.100s'", to);
}

static int read_prefix(struct json_object *value, struct etcd_settings *settings,
                       struct carrick_error *error)
{
    static const char what[] = "a prefix that begins with / and does not end with it, of letters, "
                               "digits and ._-/, such as \"/carrick/store1\"";
    char *prefix = settings->prefix;
    int status = read_text(value, "prefix", prefix, sizeof settings->prefix, what, error);

    if (status != CARRICK_OK)
        return status;
    if (prefix[0] != '/' || prefix[strlen(prefix) - 1] == '/' || strstr(prefix, "//") != NULL ||
        strspn(prefix, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") !=
            strlen(prefix))
        return carrick_error_config(error, "/prefix", "expected %s", what);
    return CARRICK_OK;
}

static int read_user(struct json_object *value, struct etcd_settings *settings,
                     struct carrick_error *error)
{
    int status = read_text(value, "user", settings->user, sizeof settings->user,
                           "the name of an etcd user, up to 128 bytes", error);

    for (const char *at = settings->user; status == CARRICK_OK && *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return carrick_error_config(error, "/user", "a user's name has no control characters");
    return status;
}

static int read_probe(struct json_object *value, struct etcd_settings *settings,
                      struct carrick_error *error)
{
    int64_t number = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : 0;

    if (number < 1 || number > PROBE_S_MAX)
        return carrick_error_config(error, "/probe_s",
                                    "expected seconds between two looks at etcd, from 1 to %d",
                                    PROBE_S_MAX);
    settings->probe_s = (uint32_t)number;
    return CARRICK_OK;
}

static int read_key(const char *key, struct json_object *value, struct etcd_settings *settings,
                    struct carrick_error *error)
{
    char pointer[80];

    if (strcmp(key, "endpoints") == 0)
        return read_endpoints(value, settings, error);
    if (strcmp(key, "prefix") == 0)
        return read_prefix(value, settings, error);
    if (strcmp(key, "ca") == 0)
        return read_path(value, key, settings->ca, error);
    if (strcmp(key, "cert") == 0)
        return read_path(value, key, settings->cert, error);
    if (strcmp(key, "key") == 0)
        return read_path(value, key, settings->key, error);
    if (strcmp(key, "user") == 0)
        return read_user(value, settings, error);
    if (strcmp(key, "password_file") == 0)
        return read_path(value, key, settings->password_file, error);
    if (strcmp(key, "probe_s") == 0)
        return read_probe(value, settings, error);
    snprintf(pointer, sizeof pointer, "/%.60s", key);
    return carrick_error_config(
        error, pointer,
        "etcd does not know '%.60s'; it has endpoints, prefix, ca, cert, key, user, "
        "password_file and probe_s",
        key);
}

static int check_together(const struct etcd_settings *settings, struct carrick_error *error)
{
    bool wants_tls = settings->ca[0] != '\0' || settings->cert[0] != '\0';
    char pointer[40];

    if (settings->endpoint_count == 0)
        return carrick_error_config(
            error, "", "\"endpoints\" is missing: a list such as [\"https://10.0.0.1:2379\"]");
    if (settings->prefix[0] == '\0')
        return carrick_error_config(
            error, "",
            "\"prefix\" is missing: what this pair's keys begin with, such as "
            "\"/carrick/store1\"; no other pair may have the same");
    if ((settings->cert[0] == '\0') != (settings->key[0] == '\0'))
        return carrick_error_config(error, settings->cert[0] ? "/cert" : "/key",
                                    "\"cert\" and \"key\" go together");
    if ((settings->user[0] == '\0') != (settings->password_file[0] == '\0'))
        return carrick_error_config(error, settings->user[0] ? "/user" : "/password_file",
                                    "\"user\" and \"password_file\" go together");
    for (unsigned i = 0; wants_tls && i < settings->endpoint_count; i++) {
        snprintf(pointer, sizeof pointer, "/endpoints/%u", i);
        if (strncmp(settings->endpoints[i], "https:", 6) != 0)
            return carrick_error_config(
                error, pointer,
                "there are files for TLS, but this endpoint does not begin with https");
    }
    return CARRICK_OK;
}

int etcd_settings_read(const char *config, struct etcd_settings *settings,
                       struct carrick_error *error)
{
    struct json_object *section = json_tokener_parse(config);
    int status = CARRICK_OK;

    memset(settings, 0, sizeof *settings);
    settings->probe_s = PROBE_S_DEFAULT;
    if (!json_object_is_type(section, json_type_object)) {
        json_object_put(section);
        return carrick_error_config(error, "",
                                    "etcd wants an object with \"endpoints\" and \"prefix\"");
    }
    json_object_object_foreach(section, key, value)
    {
        status = read_key(key, value, settings, error);
        if (status != CARRICK_OK)
            break;
    }
    json_object_put(section);
    return status == CARRICK_OK ? check_together(settings, error) : status;
}

// ---- files

// -1: refused. A FIFO must not hold anyone up.
static int open_checked(const char *path, bool is_secret, const char *pointer,
                        struct carrick_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;

    if (fd < 0 || fstat(fd, &info) != 0) {
        carrick_error_config(error, pointer, "the file %.120s cannot be read: %s", path,
                             strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        carrick_error_config(error, pointer, "%.120s is not a regular file", path);
    } else if (is_secret && info.st_uid != 0 && info.st_uid != geteuid()) {
        carrick_error_config(error, pointer,
                             "%.120s belongs to user %u; it must belong to root or to user %u",
                             path, (unsigned)info.st_uid, (unsigned)geteuid());
    } else if (is_secret && (info.st_mode & 077) != 0) {
        carrick_error_config(
            error, pointer,
            "%.120s has mode %04o: others than its owner have access; make it 0600 (chmod 600)",
            path, (unsigned)info.st_mode & 07777);
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

int etcd_password_read(const struct etcd_settings *settings, char password[ETCD_NAME_BYTES],
                       struct carrick_error *error)
{
    static const char pointer[] = "/password_file";
    int fd = open_checked(settings->password_file, true, pointer, error);
    size_t length = 0;
    ssize_t got = 1;

    if (fd < 0)
        return error->status;
    while (got > 0 && length < ETCD_NAME_BYTES) {
        got = read(fd, password + length, ETCD_NAME_BYTES - length);
        length += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    if (length > 0 && length < ETCD_NAME_BYTES && password[length - 1] == '\n')
        length--;
    if (got != 0 || length == 0 || length >= ETCD_NAME_BYTES)
        return carrick_error_config(error, pointer,
                                    "%.120s must hold one line of 1 to %u bytes: the password",
                                    settings->password_file, ETCD_NAME_BYTES - 2);
    password[length] = '\0';
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)password[i] < ' ' || password[i] == 0x7f)
            return carrick_error_config(error, pointer,
                                        "%.120s must hold one line, and no control characters",
                                        settings->password_file);
    return CARRICK_OK;
}

int etcd_files_check(const struct etcd_settings *settings, struct carrick_error *error)
{
    const struct {
        const char *path, *pointer;
        bool is_secret;
    } files[] = {
        {settings->ca, "/ca", false},
        {settings->cert, "/cert", false},
        {settings->key, "/key", true},
    };
    char password[ETCD_NAME_BYTES];
    int status = CARRICK_OK;

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        int fd;

        if (files[i].path[0] == '\0')
            continue;
        fd = open_checked(files[i].path, files[i].is_secret, files[i].pointer, error);
        if (fd < 0)
            return error->status;
        close(fd);
    }
    if (settings->password_file[0] != '\0')
        status = etcd_password_read(settings, password, error);
    explicit_bzero(password, sizeof password);
    return status;
}
