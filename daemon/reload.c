// SPDX-License-Identifier: Apache-2.0
//
// A new configuration for a running daemon: read and checked as a whole, then taken by every manager, or refused with
// the reason, and the old one stays.
#include "daemon/daemon.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

struct reloading {
    struct daemon *daemon;
    struct control_request *request; // NULL: by signal
    struct config *config;           // the new one
};

static void notify_reloading(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
               (unsigned long long)now.tv_sec * 1000000u + (unsigned long long)now.tv_nsec / 1000u);
}

// ---- refused

static void refuse(struct daemon *daemon, struct control_request *request, int status,
                   const char *text)
{
    log_line(daemon->log, CARRICK_LOG_ERROR, "reload-refused", NULL, "%s", text);
    if (request)
        request_refuse(request, status, NULL, "%s", text);
}

static void refuse_errors(struct daemon *daemon, struct control_request *request,
                          const struct config_errors *errs)
{
    char text[CONFIG_POINTER_SIZE + CONFIG_TEXT_SIZE + 320];
    char first[sizeof(text)] = "";
    struct json_object *array = json_object_new_array();
    for (size_t i = 0; i < errs->count; i++) {
        config_error_format(errs, i, text, sizeof(text));
        log_line(daemon->log, CARRICK_LOG_ERROR, "reload-refused", NULL, "%s", text);
        json_object_array_add(array, json_object_new_string(text));
        if (i == 0)
            memcpy(first, text, sizeof(first));
    }
    log_line(daemon->log, CARRICK_LOG_ERROR, "reload-refused", NULL,
             "%s is refused; the configuration in use stays", errs->file);
    size_t more = errs->count + errs->dropped - (errs->count > 0);
    if (request)
        request_refuse(request, CARRICK_ERR_CONFIG, json_object_to_json_string(array),
                       "%s%s; the configuration in use stays", first,
                       more ? " (and more, see the log)" : "");
    json_object_put(array);
}

// ---- taken

static void on_reloaded(void *arg, bool complete)
{
    struct reloading *reloading = arg;
    struct daemon *daemon = reloading->daemon;
    struct config *old = daemon->config;
    daemon->config = reloading->config;
    daemon->reloading = NULL;
    if (daemon->options.log_level < 0)
        log_set_level(daemon->log, daemon->config->log.level);
    log_line(daemon->log, CARRICK_LOG_NOTICE, "reloaded", NULL, "%s is in use",
             daemon->config->file);
    // A manager that did not get the new one still reads the old one.
    if (complete)
        config_free(old);
    sd_notify(0, "READY=1");
    if (reloading->request && complete)
        request_answer(reloading->request, "{}");
    else if (reloading->request)
        request_refuse(
            reloading->request, CARRICK_ERR_NO_MEMORY, NULL,
            "not every manager could be given the new configuration: restart the daemon");
    free(reloading);
}

static void start(struct daemon *daemon, struct control_request *request, struct config *config)
{
    struct reloading *reloading = malloc(sizeof(*reloading));
    if (reloading)
        *reloading = (struct reloading){daemon, request, config};
    daemon->reloading = reloading;
    notify_reloading();
    if (reloading && !managers_reload(daemon->managers, config, on_reloaded, reloading))
        return;
    daemon->reloading = NULL;
    free(reloading);
    config_free(config);
    sd_notify(0, "READY=1");
    refuse(daemon, request, CARRICK_ERR_NO_MEMORY, "no memory for a new configuration");
}

void daemon_reload(struct daemon *daemon, struct control_request *request)
{
    if (daemon->stopping || !daemon->managers) {
        refuse(daemon, request, CARRICK_ERR_STATE, "the daemon is stopping");
        return;
    }
    if (daemon->reloading) {
        refuse(daemon, request, CARRICK_ERR_AGAIN,
               "an earlier reload is not over: a manager has not answered; see carrick status");
        return;
    }
    struct config *config = NULL;
    struct config_errors *errs = malloc(sizeof(*errs));
    if (!errs) {
        refuse(daemon, request, CARRICK_ERR_NO_MEMORY, "no memory to read the configuration");
        return;
    }
    int status = config_load(daemon->options.config_file, &config, errs);
    if (!status) {
        prepare_stage(daemon, config);
        config_errors_init(errs, config->file);
        status = config_reload_check(daemon->config, config, errs);
    }
    if (!status)
        status = prepare_check(daemon, config, errs);
    if (status) {
        refuse_errors(daemon, request, errs);
        config_free(config);
    } else {
        start(daemon, request, config);
    }
    free(errs);
}
