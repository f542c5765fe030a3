// SPDX-License-Identifier: Apache-2.0
//
// The metrics server, spoken to in plain bytes, with a manager of the test's own that answers or holds.
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "daemon/metrics_http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/manager.h"
#include "daemon/managers.h"

enum { ANSWER_MS = 20000 };

// ---- the manager: nothing but metrics

struct manager {
    struct manager_options options;
};

static atomic_bool hold;
static sem_t holding;
static sem_t go_on;

int manager_create(const struct manager_options *options, struct manager **made,
                   struct carrick_error *error)
{
    (void)error;
    *made = calloc(1, sizeof(**made));
    (*made)->options = *options;
    return CARRICK_OK;
}

int manager_start(struct manager *manager, struct carrick_error *error)
{
    (void)manager;
    (void)error;
    return CARRICK_OK;
}

void manager_stop(struct manager *manager)
{
    manager->options.stopped(manager->options.arg);
}

void manager_destroy(struct manager *manager)
{
    free(manager);
}

unsigned manager_poll(struct manager *manager)
{
    (void)manager;
    return 0;
}

uint64_t manager_spin_until_ns(struct manager *manager)
{
    (void)manager;
    return 0;
}

void manager_reload(struct manager *manager, const struct config *config,
                    const struct config_manager *section)
{
    (void)manager;
    (void)config;
    (void)section;
}

void manager_command(struct manager *manager, const char *word, struct json_object *args,
                     void (*reply)(void *arg, int status, struct json_object *value), void *arg)
{
    (void)manager;
    (void)word;
    (void)args;
    reply(arg, CARRICK_OK, NULL);
}

void manager_metrics(struct manager *manager, struct metrics_sink *sink)
{
    if (hold) {
        sem_post(&holding);
        sem_wait(&go_on);
    }
    const struct metrics_label label = {"manager", manager->options.section->name};
    metrics_family(sink, "carrick_test", METRICS_COUNTER, "A test's.");
    metrics_sample(sink, &label, 1, 7);
}

const char *manager_name(const struct manager *manager)
{
    return manager->options.section->name;
}

// ---- the server, on a thread of its own

static uv_loop_t loop;
static uv_thread_t thread;
static struct mailbox mailbox;
static struct log *test_log;
static struct config_manager sections[2] = {{.name = "one"}, {.name = "two"}};
static struct config config = {.managers_count = 2, .managers = sections};
static struct managers *managers;
static struct metrics_http *http;
static struct config_listen listen_on;
static unsigned wait_ms = ANSWER_MS;

static void add_own(void *arg, struct metrics_sink *sink)
{
    (void)arg;
    metrics_family(sink, "carrick_own", METRICS_GAUGE, "Ours.");
    metrics_sample(sink, NULL, 0, 1);
}

static void on_ended(void *arg)
{
    (void)arg;
    metrics_http_close(http);
    mailbox_close(&mailbox);
}

static void serve(void *arg)
{
    (void)arg;
    uv_run(&loop, UV_RUN_DEFAULT);
}

// An address of this process's own: no outgoing connection of another one has a port of it.
static struct sockaddr_in own_address(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(0x7f800000u | ((uint32_t)getpid() & 0x7fffffu));
    return address;
}

// A port that nobody has: bound and let go.
static uint16_t free_port(void)
{
    struct sockaddr_in address = own_address(0);
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(eq(int, bind(fd, (struct sockaddr *)&address, length), 0));
    cr_assert(eq(int, getsockname(fd, (struct sockaddr *)&address, &length), 0));
    close(fd);
    return ntohs(address.sin_port);
}

static void start(void)
{
    static char text[64];
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    const struct log_options log_options = {CARRICK_LOG_DEBUG, null, LOG_FORM_PLAIN};
    test_log = log_open(&log_options);
    uv_loop_init(&loop);
    mailbox_open(&mailbox, &loop);
    const struct managers_options managers_options = {
        .config = &config,
        .node = "a",
        .log = test_log,
        .mailbox = &mailbox,
        .ended = on_ended,
    };
    struct carrick_error error = {.struct_size = sizeof(error)};
    cr_assert(eq(int, managers_start(&managers_options, &managers, &error), CARRICK_OK));
    if (!listen_on.port)
        listen_on.port = free_port();
    const struct sockaddr_in own = own_address(listen_on.port);
    inet_ntop(AF_INET, &own.sin_addr, listen_on.address, sizeof(listen_on.address));
    snprintf(text, sizeof(text), "%.40s:%u", listen_on.address, listen_on.port);
    listen_on.text = text;
    const struct metrics_http_options options = {
        .loop = &loop,
        .mailbox = &mailbox,
        .listen = &listen_on,
        .managers = managers,
        .log = test_log,
        .own = add_own,
        .wait_ms = wait_ms,
    };
    cr_assert(eq(int, metrics_http_open(&options, &http), CARRICK_OK));
    uv_thread_create(&thread, serve, NULL);
}

static void stop_here(void *arg)
{
    managers_stop(arg);
}

static void stop(void)
{
    cr_assert(eq(int, mailbox_post(&mailbox, stop_here, managers), CARRICK_OK));
    uv_thread_join(&thread);
    managers_destroy(managers);
    cr_assert(eq(int, uv_loop_close(&loop), 0));
    mailbox_free(&mailbox);
    log_close(test_log);
}

static void begin(void)
{
    sem_init(&holding, 0, 0);
    sem_init(&go_on, 0, 0);
    signal(SIGPIPE, SIG_IGN);
}

TestSuite(metrics_http, .init = begin, .timeout = 60);

// ---- clients

static int dial(void)
{
    struct sockaddr_in address = own_address(listen_on.port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(eq(int, connect(fd, (struct sockaddr *)&address, sizeof(address)), 0), "%s",
              strerror(errno));
    return fd;
}

static int ask(const char *method, const char *path, const char *header)
{
    char text[512];
    int fd = dial();
    int length =
        snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n",
                 method, path, header);
    cr_assert(eq(int, (int)send(fd, text, (size_t)length, MSG_NOSIGNAL), length));
    return fd;
}

static char *hear(int fd)
{
    size_t used = 0;
    size_t room = 65536;
    char *text = malloc(room);
    for (;;) {
        struct pollfd wait = {fd, POLLIN, 0};
        cr_assert(eq(int, poll(&wait, 1, ANSWER_MS), 1), "no answer");
        ssize_t got = recv(fd, text + used, room - used - 1, 0);
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    text[used] = 0;
    close(fd);
    return text;
}

static void expect(int fd, const char *first, const char *const *parts)
{
    char *text = hear(fd);
    cr_assert(zero(int, strncmp(text, first, strlen(first))), "%s", text);
    for (size_t i = 0; parts && parts[i]; i++)
        cr_assert(ne(ptr, strstr(text, parts[i]), NULL), "no \"%s\" in\n%s", parts[i], text);
    free(text);
}

// ---- tests

Test(metrics_http, text_has_the_daemons_and_all_managers_metrics)
{
    start();
    static const char *const parts[] = {
        "Content-Type: text/plain; version=0.0.4",
        "# TYPE carrick_own gauge\ncarrick_own 1\n",
        "# TYPE carrick_test_total counter\ncarrick_test_total{manager=\"one\"} 7\n"
        "carrick_test_total{manager=\"two\"} 7\n",
        NULL,
    };
    expect(ask("GET", "/metrics", ""), "HTTP/1.1 200", parts);
    stop();
}

Test(metrics_http, openmetrics_when_asked_for)
{
    start();
    static const char *const parts[] = {
        "Content-Type: application/openmetrics-text; version=1.0.0",
        "# TYPE carrick_test counter\ncarrick_test_total{manager=\"one\"} 7\n",
        "\n# EOF\n",
        NULL,
    };
    expect(ask("GET", "/metrics", "Accept: application/openmetrics-text;q=0.9,*/*;q=0.1\r\n"),
           "HTTP/1.1 200", parts);
    stop();
}

Test(metrics_http, anything_else_is_refused)
{
    static const char *const allow[] = {"Allow: GET, HEAD", NULL};
    start();
    expect(ask("GET", "/", ""), "HTTP/1.1 404", NULL);
    expect(ask("GET", "/metrics/x", ""), "HTTP/1.1 404", NULL);
    expect(ask("DELETE", "/metrics", ""), "HTTP/1.1 405", allow);
    expect(ask("POST", "/metrics", "Content-Length: 4\r\n\r\nbody"), "HTTP/1.1 405", allow);
    stop();
}

Test(metrics_http, garbage_ends_its_connection_alone)
{
    start();
    int fd = dial();
    cr_assert(eq(int, (int)send(fd, "\x16\x03\x01\r\n\r\n", 7, MSG_NOSIGNAL), 7));
    free(hear(fd));
    expect(ask("GET", "/metrics", ""), "HTTP/1.1 200", NULL);
    stop();
}

Test(metrics_http, requests_wait_together_and_are_answered_together)
{
    start();
    hold = true;
    int first = ask("GET", "/metrics", "");
    sem_wait(&holding);
    int second = ask("GET", "/metrics", "");
    hold = false;
    sem_post(&go_on);
    expect(first, "HTTP/1.1 200", NULL);
    expect(second, "HTTP/1.1 200", NULL);
    stop();
}

// A manager that stands still: who asks is told so in bounded time, nothing piles up, and it heals.
Test(metrics_http, manager_that_does_not_answer)
{
    wait_ms = 50;
    start();
    hold = true;
    int first = ask("GET", "/metrics", "");
    sem_wait(&holding);
    expect(first, "HTTP/1.1 503", NULL);
    expect(ask("GET", "/metrics", ""), "HTTP/1.1 503", NULL);
    hold = false;
    sem_post(&go_on);
    for (bool served = false; !served;) {
        char *text = hear(ask("GET", "/metrics", ""));
        served = strstr(text, "HTTP/1.1 200") != NULL;
        free(text);
    }
    stop();
}

Test(metrics_http, stop_while_a_request_waits)
{
    start();
    hold = true;
    int fd = ask("GET", "/metrics", "");
    sem_wait(&holding);
    hold = false;
    sem_post(&go_on);
    stop();
    free(hear(fd));
}

Test(metrics_http, taken_port_is_no_reason_to_fail)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = own_address(0);
    socklen_t length = sizeof(address);
    cr_assert(eq(int, bind(fd, (struct sockaddr *)&address, length), 0));
    cr_assert(eq(int, listen(fd, 1), 0));
    cr_assert(eq(int, getsockname(fd, (struct sockaddr *)&address, &length), 0));
    listen_on.port = ntohs(address.sin_port);
    start();
    struct log_counts counts;
    log_counts(test_log, &counts);
    cr_assert(eq(u64, counts.written[CARRICK_LOG_ERROR], 1));
    stop();
    close(fd);
}
