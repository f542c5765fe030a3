// SPDX-License-Identifier: Apache-2.0
#include "daemon/metrics_http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/manager.h"
#include "daemon/managers.h"

enum { CONNECTIONS_MAX = 16, CONNECTION_TIMEOUT_S = 10, RETRY_MS = 10000, WAIT_MS = 5000 };

#define OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define PROMETHEUS_TYPE "text/plain; version=0.0.4; charset=utf-8"

// One request.
struct visit {
    struct visit *next, **link; // of those that wait; link NULL: it does not
    struct MHD_Connection *connection;
    enum metrics_format format;
    unsigned code; // of the answer; 0: not known yet
    char *text;
    size_t length;
};

// One collecting, for all requests that wait for it. It belongs to the thread of the manager that it is with, so the
// requests do not hang on it but on the server.
struct collection {
    struct metrics_http *http; // read by the main thread only
    struct mailbox *mailbox;
    struct metrics_sink *sink;
    size_t next; // manager
};

struct metrics_http {
    struct metrics_http_options options;
    struct MHD_Daemon *server;
    uv_poll_t poll;
    uv_timer_t turn;  // libmicrohttpd wants to be run
    uv_timer_t retry; // of listening
    uv_timer_t wait;  // of the requests
    unsigned handles;
    bool polling;
    struct visit *visits;
    struct collection *collection; // under way, or stuck in a manager that stands still
    bool failure_told;
};

// ---- running libmicrohttpd

static void on_turn(uv_timer_t *timer);

static void run_server(struct metrics_http *http)
{
    MHD_UNSIGNED_LONG_LONG ms;
    if (!http->server)
        return;
    MHD_run(http->server);
    if (MHD_get_timeout(http->server, &ms) == MHD_YES)
        uv_timer_start(&http->turn, on_turn, ms, 0);
    else
        uv_timer_stop(&http->turn);
}

static void on_turn(uv_timer_t *timer)
{
    run_server(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    run_server(poll->data);
}

// ---- collecting

static void visit_answer(struct visit *visit, unsigned code)
{
    *visit->link = visit->next;
    if (visit->next)
        visit->next->link = visit->link;
    visit->link = NULL;
    visit->code = code;
    MHD_resume_connection(visit->connection);
}

static void answer_all(struct metrics_http *http, const struct metrics_sink *sink)
{
    uv_timer_stop(&http->wait);
    while (http->visits) {
        struct visit *visit = http->visits;
        int status = sink ? metrics_render(sink, visit->format, &visit->text, &visit->length)
                          : CARRICK_ERR_TIMEOUT;
        visit_answer(visit, status ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK);
    }
    run_server(http);
}

static void collection_free(struct collection *collection)
{
    metrics_destroy(collection->sink);
    free(collection);
}

static void collect_next(void *arg);

static void collect_on_thread(void *arg, struct manager *manager)
{
    struct collection *collection = arg;
    manager_metrics(manager, collection->sink);
    mailbox_post(collection->mailbox, collect_next, collection);
}

static void collect_next(void *arg)
{
    struct collection *collection = arg;
    struct metrics_http *http = collection->http;
    if (!http) {
        collection_free(collection);
        return;
    }
    const struct managers *managers = http->options.managers;
    while (managers && collection->next < managers_count(managers)) {
        // One that has stopped is passed over.
        if (!managers_call(http->options.managers, collection->next++, collect_on_thread,
                           collection))
            return;
    }
    http->collection = NULL;
    answer_all(http, collection->sink);
    collection_free(collection);
}

static void on_wait_over(uv_timer_t *timer)
{
    answer_all(timer->data, NULL);
}

static bool collect(struct metrics_http *http)
{
    struct collection *collection = calloc(1, sizeof(*collection));
    if (!collection)
        return false;
    collection->http = http;
    collection->mailbox = http->options.mailbox;
    collection->sink = metrics_create();
    if (!collection->sink) {
        free(collection);
        return false;
    }
    http->options.own(http->options.arg, collection->sink);
    // Posted, since this is called from within libmicrohttpd, which must not be run again by the end of collecting.
    if (mailbox_post(http->options.mailbox, collect_next, collection)) {
        collection_free(collection);
        return false;
    }
    http->collection = collection;
    uv_timer_start(&http->wait, on_wait_over,
                   http->options.wait_ms ? http->options.wait_ms : WAIT_MS, 0);
    return true;
}

// ---- requests

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned code, const char *type,
                              char *text, size_t length, enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(length, text, mode);
    if (!response) {
        if (mode == MHD_RESPMEM_MUST_FREE)
            free(text);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_words(struct MHD_Connection *connection, unsigned code,
                                    const char *words)
{
    return answer(connection, code, "text/plain; charset=utf-8", (char *)(uintptr_t)words,
                  strlen(words), MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result answer_visit(struct visit *visit)
{
    if (visit->code != MHD_HTTP_OK)
        return answer_words(visit->connection, visit->code,
                            "a manager does not answer; see carrick status\n");
    char *text = visit->text;
    visit->text = NULL;
    return answer(visit->connection, visit->code,
                  visit->format == METRICS_OPENMETRICS ? OPENMETRICS_TYPE : PROMETHEUS_TYPE, text,
                  visit->length, MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result begin_visit(struct metrics_http *http, struct visit *visit)
{
    const char *accept = MHD_lookup_connection_value(visit->connection, MHD_HEADER_KIND, "Accept");
    visit->format = accept && strstr(accept, "application/openmetrics-text") ? METRICS_OPENMETRICS
                                                                             : METRICS_PROMETHEUS;
    // Requests that came first may still wait for the collecting that is under way; it is stuck when none does.
    if (http->collection ? !http->visits : !collect(http))
        return answer_words(visit->connection, MHD_HTTP_SERVICE_UNAVAILABLE,
                            "a manager does not answer, or memory is short; see carrick status\n");
    visit->next = http->visits;
    visit->link = &http->visits;
    if (visit->next)
        visit->next->link = &visit->next;
    http->visits = visit;
    MHD_suspend_connection(visit->connection);
    return MHD_YES;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_bytes, void **state)
{
    (void)version;
    (void)upload;
    struct visit *visit = *state;
    if (!visit) {
        // The headers have come; what may follow them is asked for by returning.
        visit = calloc(1, sizeof(*visit));
        if (!visit)
            return MHD_NO;
        visit->connection = connection;
        *state = visit;
        return MHD_YES;
    }
    if (*upload_bytes) {
        *upload_bytes = 0;
        return MHD_YES;
    }
    if (visit->code)
        return answer_visit(visit);
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer_words(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET is served\n");
    if (strcmp(url, "/metrics") != 0)
        return answer_words(connection, MHD_HTTP_NOT_FOUND, "the metrics are at /metrics\n");
    return begin_visit(arg, visit);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    (void)arg;
    (void)connection;
    (void)code;
    struct visit *visit = *state;
    *state = NULL;
    if (!visit)
        return;
    if (visit->link) {
        *visit->link = visit->next;
        if (visit->next)
            visit->next->link = visit->link;
    }
    free(visit->text);
    free(visit);
}

// ---- the server

static int make_address(const struct config_listen *listen, struct sockaddr_storage *address)
{
    memset(address, 0, sizeof(*address));
    struct sockaddr_in *four = (struct sockaddr_in *)address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;
    if (inet_pton(AF_INET, listen->address, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(listen->port);
    } else if (inet_pton(AF_INET6, listen->address, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(listen->port);
    }
    return address->ss_family;
}

static bool start_server(struct metrics_http *http)
{
    struct sockaddr_storage address;
    int family = make_address(http->options.listen, &address);
    unsigned flags =
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | (family == AF_INET6 ? MHD_USE_IPv6 : 0);
    errno = 0;
    http->server = MHD_start_daemon(
        flags, http->options.listen->port, NULL, NULL, on_request, http, MHD_OPTION_SOCK_ADDR,
        (struct sockaddr *)&address, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_TIMEOUT_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)16384, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, http, MHD_OPTION_END);
    if (!http->server)
        return false;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->server, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info || uv_poll_init(http->options.loop, &http->poll, info->epoll_fd)) {
        MHD_stop_daemon(http->server);
        http->server = NULL;
        return false;
    }
    http->poll.data = http;
    http->polling = true;
    http->handles++;
    uv_poll_start(&http->poll, UV_READABLE, on_poll);
    run_server(http);
    return true;
}

static void try_to_start(uv_timer_t *timer)
{
    struct metrics_http *http = timer->data;
    const char *where = http->options.listen->text;
    if (start_server(http)) {
        log_line(http->options.log, CARRICK_LOG_INFO, NULL, NULL,
                 "metrics are served at http://%s/metrics", where);
        return;
    }
    if (!http->failure_told)
        log_line(http->options.log, CARRICK_LOG_ERROR, "metrics-failed", NULL,
                 "cannot serve metrics on %s (metrics.listen): %s; it is tried again every %d s",
                 where, errno ? strerror(errno) : "the HTTP library does not say why",
                 RETRY_MS / 1000);
    http->failure_told = true;
    uv_timer_start(&http->retry, try_to_start, RETRY_MS, 0);
}

int metrics_http_open(const struct metrics_http_options *options, struct metrics_http **made)
{
    struct metrics_http *http = *made = calloc(1, sizeof(*http));
    if (!http)
        return CARRICK_ERR_NO_MEMORY;
    http->options = *options;
    uv_timer_t *timers[] = {&http->turn, &http->retry, &http->wait};
    for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
        uv_timer_init(options->loop, timers[i]);
        timers[i]->data = http;
        http->handles++;
    }
    try_to_start(&http->retry);
    return CARRICK_OK;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct metrics_http *http = handle->data;
    if (--http->handles == 0)
        free(http);
}

void metrics_http_close(struct metrics_http *http)
{
    if (!http)
        return;
    if (http->collection)
        http->collection->http = NULL; // freed when it comes back
    http->collection = NULL;
    answer_all(http, NULL);
    // Closed before the server goes, to which the descriptor belongs.
    if (http->polling)
        uv_close((uv_handle_t *)&http->poll, on_handle_closed);
    if (http->server)
        MHD_stop_daemon(http->server);
    http->server = NULL;
    uv_close((uv_handle_t *)&http->turn, on_handle_closed);
    uv_close((uv_handle_t *)&http->retry, on_handle_closed);
    uv_close((uv_handle_t *)&http->wait, on_handle_closed);
}
