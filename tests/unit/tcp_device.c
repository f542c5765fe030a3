// SPDX-License-Identifier: Apache-2.0
// needs plugin: tcp
//
// Devices of the tcp transport over a host of this file: a name with several addresses is listened at on all of them,
// and a connection that wakes a sleeping loop often gets a watch of its own.
#include <criterion/criterion.h>

#include "transports/tcp/tcp.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

struct carrick_watch {
    int fd;
    void (*fn)(void *arg, uint32_t events);
    void *arg;
};

// One side: a device in a loop of its own.
struct side {
    struct carrick_host host;
    struct carrick_transport transport;
    struct carrick_device *device;
    struct carrick_endpoint *endpoint;
    struct carrick_watch *watch; // at most one
    unsigned watches_made;
    unsigned polls_by_watch;
    bool poll_wanted, connected, closed;
    unsigned completions, messages;
};

static struct side *side_of(const struct carrick_host *host)
{
    return (struct side *)(uintptr_t)host;
}

static uint64_t now_ns(const struct carrick_host *host)
{
    struct timespec t;

    (void)host;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

__attribute__((format(printf, 3, 4))) static void no_log(const struct carrick_host *host, int level,
                                                         const char *format, ...)
{
    (void)host;
    (void)level;
    (void)format;
}

static void fill_random(const struct carrick_host *host, void *buffer, size_t length)
{
    (void)host;
    cr_assert_eq(getrandom(buffer, length, 0), (ssize_t)length);
}

static int watch_create(const struct carrick_host *host, int fd, uint32_t events,
                        void (*fn)(void *arg, uint32_t events), void *arg,
                        struct carrick_watch **watch)
{
    struct side *s = side_of(host);

    cr_assert_eq(events, (uint32_t)CARRICK_WATCH_READ);
    cr_assert_null(s->watch);
    s->watch = malloc(sizeof *s->watch);
    *s->watch = (struct carrick_watch){fd, fn, arg};
    s->watches_made++;
    *watch = s->watch;
    return CARRICK_OK;
}

static struct side *sides; // whose watch watch_destroy is given

static void watch_destroy(struct carrick_watch *watch)
{
    for (int i = 0; i < 2; i++)
        if (sides[i].watch == watch)
            sides[i].watch = NULL;
    free(watch);
}

static int work_now(const struct carrick_host *host, void (*work)(void *arg),
                    void (*done)(void *arg), void *arg)
{
    (void)host;
    work(arg);
    done(arg);
    return CARRICK_OK;
}

// The name that these tests look up.
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    static const char *const numbers[] = {"127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.3"};
    bool name = strcmp(node, "both.test") == 0;
    unsigned count = name ? 4 : 1;
    struct addrinfo *list = calloc(count, sizeof *list);
    struct sockaddr_in *at = calloc(count, sizeof *at);

    if (hints->ai_flags & AI_NUMERICHOST && name) {
        free(list);
        free(at);
        return EAI_NONAME;
    }
    for (unsigned i = 0; i < count; i++) {
        at[i].sin_family = AF_INET;
        at[i].sin_port = htons((uint16_t)atoi(service));
        cr_assert_eq(inet_pton(AF_INET, name ? numbers[i] : node, &at[i].sin_addr), 1);
        list[i].ai_addr = (struct sockaddr *)&at[i];
        list[i].ai_addrlen = sizeof at[i];
        list[i].ai_next = i + 1 < count ? &list[i + 1] : NULL;
    }
    *found = list;
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    free(list->ai_addr);
    free(list);
}

// Below those that outgoing connections take, so that nobody gets it before it is listened at.
static unsigned port_free(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    uint16_t port = 0;

    at.sin_addr.s_addr = htonl(INADDR_ANY);
    for (bool free = false; !free;) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        cr_assert(fd >= 0 && getrandom(&port, sizeof port, 0) == sizeof port);
        port = (uint16_t)(10000 + port % 20000);
        at.sin_port = htons(port);
        free = bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
        close(fd);
    }
    return port;
}

static void woken(void *arg)
{
    struct side *s = arg;

    s->poll_wanted = true;
    s->polls_by_watch++;
}

static void side_open(struct side *s, const char *local)
{
    struct carrick_device_options options = {
        .struct_size = sizeof options, .name = "link", .local = local, .config = "{}"};
    struct carrick_error error = {.struct_size = sizeof error};

    s->host = (struct carrick_host){.struct_size = sizeof s->host,
                                    .log = no_log,
                                    .now_ns = now_ns,
                                    .random = fill_random,
                                    .watch_create = watch_create,
                                    .watch_destroy = watch_destroy,
                                    .work = work_now};
    s->transport.host = &s->host;
    cr_assert_eq(tcp_device_open(&s->transport, &options, &s->device, &error), CARRICK_OK, "%s",
                 error.text);
    tcp_device_wake(s->device, woken, s);
}

static void side_event(struct side *s, const struct carrick_event *event)
{
    struct carrick_connect_options options = {
        .struct_size = sizeof options, .receive_bytes = 4096, .receive_depth = 8};

    switch (event->type) {
    case CARRICK_EVENT_REQUEST:
        s->endpoint = event->endpoint;
        cr_assert_eq(tcp_endpoint_accept(s->endpoint, &options), CARRICK_OK);
        break;
    case CARRICK_EVENT_CONNECTED:
        s->connected = true;
        break;
    case CARRICK_EVENT_COMPLETION:
        s->completions++;
        break;
    case CARRICK_EVENT_RECEIVE:
        cr_assert_eq(event->length, 1000u);
        s->messages++;
        break;
    case CARRICK_EVENT_CLOSED:
        s->closed = true;
        break;
    default:
        cr_assert_fail("event %u, status %d", event->type, event->status);
    }
}

static void side_poll(struct side *s)
{
    struct carrick_event events[8] = {{.struct_size = sizeof events[0]}};
    uint32_t count = tcp_device_poll(s->device, events, 8);

    for (uint32_t i = 0; i < count; i++)
        side_event(s, &events[i]);
}

// One turn of both loops, each asleep before it; at most so long.
static void turn(struct side *pair)
{
    struct pollfd fds[4];

    for (int i = 0; i < 2; i++) {
        struct side *s = &pair[i];
        while (tcp_device_arm(s->device) != 0)
            side_poll(s);
        fds[2 * i] = (struct pollfd){.fd = tcp_device_fd(s->device), .events = POLLIN};
        fds[2 * i + 1] =
            (struct pollfd){.fd = s->watch != NULL ? s->watch->fd : -1, .events = POLLIN};
    }
    cr_assert_gt(poll(fds, 4, 5000), 0, "nothing happens");
    for (int i = 0; i < 2; i++) {
        struct side *s = &pair[i];
        if (fds[2 * i + 1].revents != 0)
            s->watch->fn(s->watch->arg, CARRICK_WATCH_READ);
        else if (fds[2 * i].revents != 0)
            s->poll_wanted = true;
        if (s->poll_wanted) {
            s->poll_wanted = false;
            side_poll(s);
        }
    }
}

Test(tcp_device, listens_at_all_addresses_of_a_name)
{
    static const char *const numbers[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3"};
    struct side s = {0};
    struct carrick_error error = {.struct_size = sizeof error};
    char local[80];
    unsigned port = port_free();

    snprintf(local, sizeof local, "{\"address\":\"both.test\",\"port\":%u}", port);
    side_open(&s, local);
    cr_assert_eq(tcp_listen(s.device, &error), CARRICK_OK, "%s", error.text);
    // One is told twice, and taken once.
    cr_assert_eq(s.device->listener_count, 3u);
    for (int i = 0; i < 3; i++) {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        struct pollfd ready = {.fd = tcp_device_fd(s.device), .events = POLLIN};
        uint64_t before = s.device->accepted;
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        inet_pton(AF_INET, numbers[i], &at.sin_addr);
        cr_assert_eq(connect(fd, (struct sockaddr *)&at, sizeof at), 0, "%s: no listener",
                     numbers[i]);
        while (s.device->accepted == before) {
            cr_assert_gt(poll(&ready, 1, 5000), 0, "%s: not accepted", numbers[i]);
            side_poll(&s);
        }
        close(fd);
    }
    tcp_unlisten(s.device);
    cr_assert_eq(s.device->listener_count, 0u);
    tcp_device_close(s.device);
}

static void pair_connect(struct side *pair)
{
    unsigned port = port_free();
    char text[2][80];
    struct carrick_connect_options options = {.struct_size = sizeof options,
                                              .timeout_ms = 5000,
                                              .receive_bytes = 4096,
                                              .receive_depth = 8,
                                              .remote = text[1]};
    struct carrick_error error = {.struct_size = sizeof error};

    for (int i = 0; i < 2; i++) {
        snprintf(text[i], sizeof text[i], "{\"address\":\"127.0.0.%d\",\"port\":%u}", 1 + i, port);
        side_open(&pair[i], text[i]);
    }
    cr_assert_eq(tcp_listen(pair[1].device, &error), CARRICK_OK, "%s", error.text);
    cr_assert_eq(tcp_endpoint_connect(pair[0].device, &options, &pair[0].endpoint, &error),
                 CARRICK_OK);
    while (!pair[0].connected || !pair[1].connected)
        turn(pair);
}

static void exchange(struct side *pair, int from, void (*step)(struct side *pair))
{
    static char bytes[1000];
    const struct carrick_work work = {.struct_size = sizeof work,
                                      .operation = CARRICK_OP_SEND,
                                      .local = bytes,
                                      .length = sizeof bytes};
    unsigned done = pair[from].completions + 1, got = pair[1 - from].messages + 1;

    cr_assert_eq(tcp_post(pair[from].endpoint, &work, 1), CARRICK_OK);
    while (pair[from].completions < done || pair[1 - from].messages < got)
        step(pair);
    cr_assert_eq(pair[1 - from].messages, got);
}

static void poll_both(struct side *pair)
{
    side_poll(&pair[0]);
    side_poll(&pair[1]);
}

Test(tcp_device, watch_of_its_own)
{
    struct side pair[2] = {0};
    unsigned before;

    sides = pair;
    pair_connect(pair);
    cr_assert_eq(pair[0].watches_made + pair[1].watches_made, 0u);
    for (int i = 0; i < 2 * TCP_SLEPT_RECEIVES; i++)
        exchange(pair, i % 2, turn);
    cr_assert_not_null(pair[0].watch);
    cr_assert_not_null(pair[1].watch);
    before = pair[1].polls_by_watch;
    for (int i = 0; i < 50; i++)
        exchange(pair, 0, turn);
    cr_assert_geq(pair[1].polls_by_watch - before, 50u, "the watch is not what wakes it");
    // A caller who polls for another reason finds what has come, without the watch having told.
    for (int i = 0; i < 2; i++)
        while (tcp_device_arm(pair[i].device) != 0)
            side_poll(&pair[i]);
    exchange(pair, 0, poll_both);
    // Polled without pause it needs none, and gets it back when that is over.
    for (int i = 0; i < 2 * TCP_POLLS_AWAKE; i++)
        poll_both(pair);
    cr_assert_null(pair[0].watch);
    cr_assert_null(pair[1].watch);
    for (int i = 0; i < 2 * TCP_SLEPT_RECEIVES; i++)
        exchange(pair, i % 2, turn);
    cr_assert_not_null(pair[1].watch);

    for (int i = 0; i < 2; i++)
        tcp_endpoint_close(pair[i].endpoint, i == 0);
    for (int i = 0; i < 2; i++) {
        cr_assert_null(pair[i].watch, "a watch on a descriptor that may be closed");
        while (!pair[i].closed)
            side_poll(&pair[i]);
    }
    tcp_unlisten(pair[1].device);
    tcp_device_close(pair[0].device);
    tcp_device_close(pair[1].device);
}
