// SPDX-License-Identifier: Apache-2.0
// needs plugin: verbs
//
// The sections of an RDMA link: what is taken, and for what is wrong the place and what was expected.
#include <criterion/criterion.h>

#include "transports/rdma/rdma_config.h"

#include <netinet/in.h>
#include <string.h>

#define LOCAL "{\"address\":\"192.0.2.1\",\"port\":7471}"
#define REMOTE "{\"address\":\"192.0.2.2\",\"port\":7471}"

static void accepted(const char *local, const char *remote, const char *config)
{
    struct carrick_error error = {.struct_size = sizeof error};
    int status = rdma_config_check(local, remote, config, &error);

    cr_assert_eq(status, CARRICK_OK, "%s: %s", error.pointer, error.text);
}

static void refused(const char *local, const char *remote, const char *config, const char *pointer,
                    const char *part)
{
    struct carrick_error error = {.struct_size = sizeof error};
    int status = rdma_config_check(local, remote, config, &error);

    cr_assert_eq(status, CARRICK_ERR_CONFIG, "taken: %s %s %s", local, remote, config);
    cr_assert_eq(error.status, CARRICK_ERR_CONFIG);
    cr_assert_str_eq(error.pointer, pointer);
    cr_assert_not_null(strstr(error.text, part), "\"%s\" does not say \"%s\"", error.text, part);
}

Test(rdma_config, good_sections)
{
    struct rdma_section section;
    struct rdma_settings settings;

    accepted(LOCAL, REMOTE, "{}");
    accepted(LOCAL, REMOTE, NULL);
    accepted("{\"address\":\"192.0.2.1\",\"port\":7471,\"device\":\"rxe0\"}", REMOTE,
             "{\"traffic_class\":106}");
    accepted("{\"address\":\"2001:db8::1\",\"port\":1}",
             "{\"address\":\"2001:db8::2\",\"port\":65535}", "{}");
    // The same address on both nodes is one device that talks to itself.
    accepted(LOCAL, "{\"address\":\"192.0.2.1\",\"port\":7472}", "{}");

    cr_assert_eq(rdma_section_parse(LOCAL, "/local", &section, NULL), CARRICK_OK);
    cr_assert_eq(section.port, 7471);
    cr_assert_eq(section.storage.ss_family, AF_INET);
    cr_assert_eq(((struct sockaddr_in *)&section.storage)->sin_port, htons(7471));
    cr_assert_str_eq(section.device, "");
    cr_assert_eq(rdma_settings_parse("{}", &settings, NULL), CARRICK_OK);
    cr_assert_eq(settings.traffic_class, RDMA_TRAFFIC_CLASS_DEFAULT);
    cr_assert_eq(rdma_settings_parse("{\"traffic_class\":0}", &settings, NULL), CARRICK_OK);
    cr_assert_eq(settings.traffic_class, 0);
}

Test(rdma_config, bad_sections)
{
    refused("{\"port\":7471}", REMOTE, "{}", "/local", "\"address\" is missing");
    refused(LOCAL, "{\"address\":\"192.0.2.2\"}", "{}", "/remote", "\"port\" is missing");
    refused("{\"address\":\"192.0.2.1\",\"port\":0}", REMOTE, "{}", "/local/port", "1 to 65535");
    refused("{\"address\":\"192.0.2.1\",\"port\":\"7471\"}", REMOTE, "{}", "/local/port",
            "whole number");
    refused("{\"address\":7,\"port\":7471}", REMOTE, "{}", "/local/address", "must be a text");
    refused("{\"address\":\"\",\"port\":7471}", REMOTE, "{}", "/local/address", "0 characters");
    refused(LOCAL, "{\"address\":\"node-b\",\"port\":7471}", "{}", "/remote/address",
            "no IP address");
    refused("{\"address\":\"192.0.2.1\",\"port\":7471,\"interface\":\"eth0\"}", REMOTE, "{}",
            "/local/interface", "address, port, device");
    refused("[]", REMOTE, "{}", "/local", "must be an object");
    refused("{", REMOTE, "{}", "/local", "not JSON");
}

Test(rdma_config, ends_that_do_not_fit)
{
    refused(LOCAL, LOCAL, "{}", "/remote/port", "must differ");
    refused(LOCAL, "{\"address\":\"2001:db8::2\",\"port\":7471}", "{}", "/remote/address",
            "address family");
}

Test(rdma_config, settings)
{
    refused(LOCAL, REMOTE, "{\"traffic_class\":256}", "/config/traffic_class", "0 to 255");
    refused(LOCAL, REMOTE, "{\"mtu\":4096}", "/config/mtu", "traffic_class");
}
