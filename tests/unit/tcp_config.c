// SPDX-License-Identifier: Apache-2.0
// needs plugin: tcp
//
// The sections of a tcp link: what is taken, and for what is wrong the place and what was expected.
#include <criterion/criterion.h>

#include "transports/tcp/tcp_config.h"

#include <stdio.h>
#include <string.h>

#define LOCAL "{\"address\":\"10.0.0.1\",\"port\":7410}"
#define REMOTE "{\"address\":\"10.0.0.2\",\"port\":7410}"

static void accepted(const char *local, const char *remote, const char *config)
{
    struct carrick_error error = {.struct_size = sizeof error};
    int status = tcp_config_check(local, remote, config, &error);

    cr_assert_eq(status, CARRICK_OK, "%s: %s", error.pointer, error.text);
}

static void refused(const char *local, const char *remote, const char *config, const char *pointer,
                    const char *part)
{
    struct carrick_error error = {.struct_size = sizeof error};
    int status = tcp_config_check(local, remote, config, &error);

    cr_assert_eq(status, CARRICK_ERR_CONFIG, "taken: %s %s %s", local, remote, config);
    cr_assert_eq(error.status, CARRICK_ERR_CONFIG);
    cr_assert_str_eq(error.pointer, pointer);
    cr_assert_not_null(strstr(error.text, part), "\"%s\" does not say \"%s\"", error.text, part);
}

Test(tcp_config, good_sections)
{
    accepted(LOCAL, REMOTE, "{}");
    accepted(LOCAL, REMOTE, NULL);
    accepted("{\"address\":\"::1\",\"port\":1}", "{\"address\":\"fe80::1\",\"port\":65535}", "{}");
    accepted("{\"address\":\"node-a.example\",\"port\":7410,\"interface\":\"eth0\"}",
             "{\"address\":\"node-b.example\",\"port\":7410}", "{}");
    accepted("{\"address\":\"127.0.0.1\",\"port\":7410}",
             "{\"address\":\"127.0.0.1\",\"port\":7411}",
             "{\"user_timeout_ms\":10,\"keepalive_s\":3600,\"send_buffer_bytes\":0,"
             "\"receive_buffer_bytes\":1073741824,\"listen_backlog\":1}");
}

Test(tcp_config, defaults)
{
    struct tcp_settings settings;

    cr_assert_eq(tcp_settings_parse("{\"keepalive_s\":7}", &settings, NULL), CARRICK_OK);
    cr_assert_eq(settings.keepalive_s, 7);
    cr_assert_eq(settings.send_buffer_bytes, 0, "the kernel tunes it");
    cr_assert(settings.user_timeout_ms > 0);
    cr_assert(settings.listen_backlog > 0);
}

Test(tcp_config, bad_sections)
{
    refused("", REMOTE, "{}", "/local", "not JSON");
    refused("{\"address\":", REMOTE, "{}", "/local", "not JSON");
    refused("[]", REMOTE, "{}", "/local", "object");
    refused(LOCAL, "{\"port\":7410}", "{}", "/remote", "\"address\" is missing");
    refused(LOCAL, "{\"address\":\"10.0.0.2\"}", "{}", "/remote", "\"port\" is missing");
    refused(LOCAL, REMOTE, "{\"timeout\":1}", "/config/timeout", "user_timeout_ms");
    refused("{\"adress\":\"10.0.0.1\",\"port\":1}", REMOTE, "{}", "/local/adress", "address, port");
}

Test(tcp_config, bad_values)
{
    refused("{\"address\":1,\"port\":7410}", REMOTE, "{}", "/local/address", "must be a text");
    refused("{\"address\":\"\",\"port\":7410}", REMOTE, "{}", "/local/address", "0 characters");
    refused("{\"address\":\"10.0.0.256\",\"port\":7410}", REMOTE, "{}", "/local/address",
            "neither");
    refused("{\"address\":\"10.0.0.1:7410\",\"port\":7410}", REMOTE, "{}", "/local/address",
            "neither");
    refused("{\"address\":\"two words\",\"port\":7410}", REMOTE, "{}", "/local/address", "neither");
    refused("{\"address\":\"0.0.0.0\",\"port\":7410}", REMOTE, "{}", "/local/address",
            "every address");
    refused("{\"address\":\"::\",\"port\":7410}", REMOTE, "{}", "/local/address", "every address");
    refused("{\"address\":\"10.0.0.1\",\"port\":0}", REMOTE, "{}", "/local/port", "1 to 65535");
    refused("{\"address\":\"10.0.0.1\",\"port\":65536}", REMOTE, "{}", "/local/port", "65536");
    refused("{\"address\":\"10.0.0.1\",\"port\":99999999999999999999}", REMOTE, "{}", "/local/port",
            "must be");
    refused("{\"address\":\"10.0.0.1\",\"port\":\"7410\"}", REMOTE, "{}", "/local/port", "whole");
    refused("{\"address\":\"10.0.0.1\",\"port\":1.5}", REMOTE, "{}", "/local/port", "whole");
    refused("{\"address\":\"10.0.0.1\",\"port\":1,\"interface\":\"sixteen_letters_\"}", REMOTE,
            "{}", "/local/interface", "1 to 15");
    refused("{\"address\":\"10.0.0.1\",\"port\":1,\"interface\":\"a/b\"}", REMOTE, "{}",
            "/local/interface", "no name");
    refused(LOCAL, REMOTE, "{\"user_timeout_ms\":9}", "/config/user_timeout_ms", "is 9");
    refused(LOCAL, REMOTE, "{\"listen_backlog\":true}", "/config/listen_backlog", "whole");
}

Test(tcp_config, ends_that_do_not_fit)
{
    refused(LOCAL, "{\"address\":\"fd00::2\",\"port\":7410}", "{}", "/remote/address", "family");
    refused(LOCAL, LOCAL, "{}", "/remote/port", "must differ");
}

Test(tcp_config, pointer_is_bounded)
{
    struct carrick_error error = {.struct_size = sizeof error};
    char text[4096];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"");

    memset(text + n, 'k', 3000);
    snprintf(text + n + 3000, sizeof text - n - 3000, "\":1}");
    cr_assert_eq(tcp_config_check(text, REMOTE, "{}", &error), CARRICK_ERR_CONFIG);
    cr_assert_eq(strncmp(error.pointer, "/local/kkk", 10), 0);
    cr_assert(strlen(error.pointer) < sizeof error.pointer);
}
