// SPDX-License-Identifier: Apache-2.0
//
// The control socket's protocol, with a handler of the test's own on a thread of its own, and clients that are right,
// wrong, slow, silent or too many.
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "daemon/control.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/mailbox.h"

enum { ANSWER_MS = 20000 }; // a test that waits so long has failed

static char dir[64];
static char path[96];
static struct control_options options;
static struct carrick_error error;

// ---- the server

static uv_loop_t loop;
static uv_thread_t thread;
static uv_sem_t ready;
static struct mailbox mailbox;
static struct log *server_log;
static struct control *control;
static struct control_request *kept; // by "keep", until "release"
static int open_status;

static void handle(void *arg, struct control_request *request)
{
    (void)arg;
    const char *command = request_command(request);
    struct json_object *args = request_args(request);
    if (!strcmp(command, "echo")) {
        request_answer(request, args ? json_object_to_json_string(args) : "null");
    } else if (!strcmp(command, "who")) {
        char text[64];
        snprintf(text, sizeof(text), "{\"pid\":%d,\"uid\":%u}", (int)request_caller(request)->pid,
                 (unsigned)request_caller(request)->uid);
        request_answer(request, text);
    } else if (!strcmp(command, "keep")) {
        kept = request;
    } else if (!strcmp(command, "release")) {
        if (kept)
            request_answer(kept, "\"released\"");
        kept = NULL;
        request_answer(request, "null");
    } else if (!strcmp(command, "large")) {
        size_t length = 8u << 20;
        char *text = malloc(length + 1);
        memset(text, 'x', length);
        text[0] = text[length - 1] = '"';
        text[length] = 0;
        request_answer(request, text);
        free(text);
    } else if (!strcmp(command, "follow")) {
        request_follow(request);
    } else {
        request_refuse(request, CARRICK_ERR_NOT_FOUND, "[\"first\",\"second\"]",
                       "no command \"%s\"", command);
    }
}

static void serve(void *arg)
{
    (void)arg;
    uv_sem_post(&ready);
    uv_run(&loop, UV_RUN_DEFAULT);
}

static void start(void)
{
    const struct log_options log_options = {CARRICK_LOG_ERROR, STDERR_FILENO, LOG_FORM_PLAIN};
    server_log = log_open(&log_options);
    uv_loop_init(&loop);
    mailbox_open(&mailbox, &loop);
    options.loop = &loop;
    options.path = path;
    options.log = server_log;
    options.handle = handle;
    error.struct_size = sizeof(error);
    open_status = control_open(&options, &control, &error);
    uv_sem_init(&ready, 0);
    uv_thread_create(&thread, serve, NULL);
    uv_sem_wait(&ready);
}

static void on_closed(void *arg)
{
    mailbox_close(arg);
}

static void close_here(void *arg)
{
    if (control)
        control_close(control, on_closed, arg);
    else
        on_closed(arg);
}

static void stop(void)
{
    cr_assert(eq(int, mailbox_post(&mailbox, close_here, &mailbox), CARRICK_OK));
    uv_thread_join(&thread);
    // A request outlives its connection and the socket.
    if (kept)
        request_answer(kept, "null");
    kept = NULL;
    cr_assert(eq(int, uv_loop_close(&loop), 0));
    mailbox_free(&mailbox);
    log_close(server_log);
}

static void begin(void)
{
    strcpy(dir, "/tmp/control-test-XXXXXX");
    cr_assert(ne(ptr, mkdtemp(dir), NULL));
    snprintf(path, sizeof(path), "%s/c.sock", dir);
    signal(SIGPIPE, SIG_IGN);
}

static void end(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    cr_assert(eq(int, system(command), 0));
}

TestSuite(control, .init = begin, .fini = end, .timeout = 90);

// ---- clients

static int dial(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(eq(int, connect(fd, (struct sockaddr *)&address, sizeof(address)), 0), "%s",
              strerror(errno));
    return fd;
}

static void say(int fd, const char *text)
{
    size_t length = strlen(text);
    cr_assert(eq(sz, (size_t)send(fd, text, length, MSG_NOSIGNAL), length));
}

// One line without its newline; false at the end of the connection.
static bool hear(int fd, char *line, size_t size)
{
    size_t used = 0;
    for (;;) {
        struct pollfd wait = {fd, POLLIN, 0};
        cr_assert(eq(int, poll(&wait, 1, ANSWER_MS), 1), "no answer");
        char c;
        ssize_t got = recv(fd, &c, 1, 0);
        if (got <= 0)
            return false;
        if (c == '\n') {
            line[used] = 0;
            return true;
        }
        if (used + 1 < size)
            line[used++] = c;
    }
}

static void expect_line(int fd, const char *expected)
{
    char line[4096];
    cr_assert(hear(fd, line, sizeof(line)), "the connection ended");
    cr_assert(zero(int, strcmp(line, expected)), "\"%s\" instead of \"%s\"", line, expected);
}

static void expect_refused(int fd, const char *status, const char *part)
{
    char line[4096];
    cr_assert(hear(fd, line, sizeof(line)), "the connection ended");
    struct json_object *answer = json_tokener_parse(line);
    cr_assert(ne(ptr, answer, NULL), "%s", line);
    cr_assert(not(json_object_get_boolean(json_object_object_get(answer, "ok"))));
    const char *said = json_object_get_string(json_object_object_get(answer, "status"));
    const char *text = json_object_get_string(json_object_object_get(answer, "text"));
    cr_assert(zero(int, strcmp(said, status)), "%s", line);
    cr_assert(ne(ptr, strstr(text, part), NULL), "%s", line);
    json_object_put(answer);
}

static void expect_end(int fd)
{
    char line[64];
    cr_assert(not(hear(fd, line, sizeof(line))), "\"%s\" instead of the end", line);
}

// ---- requests

Test(control, request_and_answer)
{
    start();
    int fd = dial();
    say(fd, "{\"command\":\"echo\",\"args\":{\"a\":[1,2]}}\n");
    expect_line(fd, "{\"ok\":true,\"result\":{ \"a\": [ 1, 2 ] }}");
    say(fd, "  {\"command\":\"echo\"} \r\n");
    expect_line(fd, "{\"ok\":true,\"result\":null}");
    close(fd);
    stop();
}

Test(control, caller_is_known)
{
    start();
    int fd = dial();
    char expected[96];
    snprintf(expected, sizeof(expected), "{\"ok\":true,\"result\":{\"pid\":%d,\"uid\":%u}}",
             (int)getpid(), (unsigned)getuid());
    say(fd, "{\"command\":\"who\"}\n");
    expect_line(fd, expected);
    close(fd);
    stop();
}

Test(control, refusal_has_status_text_and_errors)
{
    start();
    int fd = dial();
    say(fd, "{\"command\":\"dance\"}\n");
    expect_line(fd, "{\"ok\":false,\"status\":\"not-found\",\"text\":\"no command \\\"dance\\\"\","
                    "\"errors\":[\"first\",\"second\"]}");
    close(fd);
    stop();
}

Test(control, several_requests_at_once_are_answered_in_order)
{
    start();
    int fd = dial();
    say(fd, "{\"command\":\"echo\",\"args\":{\"n\":1}}\n{\"command\":\"nothing\"}\n"
            "{\"command\":\"echo\",\"args\":{\"n\":2}}\n{\"command\":\"ec");
    expect_line(fd, "{\"ok\":true,\"result\":{ \"n\": 1 }}");
    expect_refused(fd, "not-found", "nothing");
    expect_line(fd, "{\"ok\":true,\"result\":{ \"n\": 2 }}");
    say(fd, "ho\"}\n");
    expect_line(fd, "{\"ok\":true,\"result\":null}");
    close(fd);
    stop();
}

Test(control, request_that_comes_byte_by_byte)
{
    start();
    int fd = dial();
    for (const char *at = "{\"command\":\"echo\"}\n"; *at; at++)
        say(fd, (char[]){*at, 0});
    expect_line(fd, "{\"ok\":true,\"result\":null}");
    close(fd);
    stop();
}

Test(control, what_is_no_request_is_refused_and_the_connection_goes_on)
{
    static const struct {
        const char *line;
        const char *part;
    } bad[] = {
        {"hello\n", "not JSON"},
        {"\n", "not JSON"},
        {"{\"command\":\"echo\"\n", "not JSON"},
        {"{\"command\":\"echo\"} {}\n", "not JSON"},
        {"{'command':'echo'\n", "not JSON"},
        {"\xff\xfe\n", "not JSON"},
        {"[]\n", "must be an object"},
        {"null\n", "must be an object"},
        {"7\n", "must be an object"},
        {"{}\n", "\"command\""},
        {"{\"command\":7}\n", "\"command\""},
        {"{\"command\":null}\n", "\"command\""},
        {"{\"command\":\"echo\",\"args\":[]}\n", "\"args\""},
        {"{\"command\":\"echo\",\"args\":\"x\"}\n", "\"args\""},
        {"{\"command\":\"echo\",\"manager\":7}\n", "\"manager\""},
        {"{\"command\":\"echo\",\"manager\":\"a-name-that-is-far-too-long-for-a-manager\"}\n",
         "\"manager\""},
    };
    start();
    int fd = dial();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        say(fd, bad[i].line);
        expect_refused(fd, "invalid", bad[i].part);
    }
    char deep[600];
    memset(deep, '[', sizeof(deep) - 2);
    strcpy(deep + sizeof(deep) - 2, "\n");
    say(fd, deep);
    expect_refused(fd, "invalid", "not JSON");
    cr_assert(eq(sz, (size_t)send(fd, "{\"command\":\"e\0\"}\n", 17, MSG_NOSIGNAL), 17));
    expect_refused(fd, "invalid", "NUL");
    say(fd, "{\"command\":\"echo\"}\n");
    expect_line(fd, "{\"ok\":true,\"result\":null}");
    close(fd);
    stop();
}

static char *request_of(size_t length)
{
    char *text = malloc(length + 1);
    memset(text, ' ', length);
    memcpy(text, "{\"command\":\"echo\"", 17);
    text[length - 2] = '}';
    text[length - 1] = '\n';
    text[length] = 0;
    return text;
}

Test(control, longest_request)
{
    start();
    int fd = dial();
    char *text = request_of(CONTROL_REQUEST_BYTES_MAX);
    say(fd, text);
    expect_line(fd, "{\"ok\":true,\"result\":null}");
    free(text);
    close(fd);
    stop();
}

Test(control, longer_request_is_refused_and_ends_the_connection)
{
    start();
    int fd = dial();
    char *text = request_of(CONTROL_REQUEST_BYTES_MAX + 1);
    say(fd, text);
    expect_refused(fd, "limit", "65536 bytes");
    expect_end(fd);
    free(text);
    close(fd);
    stop();
}

// ---- answers that come later, or to nobody

Test(control, later_request_waits_for_the_answer_of_the_earlier)
{
    start();
    int fd = dial();
    int other = dial();
    say(fd, "{\"command\":\"keep\"}\n{\"command\":\"echo\"}\n");
    // Other connections are served meanwhile.
    say(other, "{\"command\":\"echo\"}\n");
    expect_line(other, "{\"ok\":true,\"result\":null}");
    say(other, "{\"command\":\"release\"}\n");
    expect_line(fd, "{\"ok\":true,\"result\":\"released\"}");
    expect_line(fd, "{\"ok\":true,\"result\":null}");
    close(fd);
    close(other);
    stop();
}

Test(control, half_closed_connection_gets_its_answer)
{
    start();
    int fd = dial();
    int other = dial();
    say(fd, "{\"command\":\"keep\"}\n");
    shutdown(fd, SHUT_WR);
    say(other, "{\"command\":\"echo\"}\n");
    expect_line(other, "{\"ok\":true,\"result\":null}");
    say(other, "{\"command\":\"release\"}\n");
    expect_line(fd, "{\"ok\":true,\"result\":\"released\"}");
    expect_end(fd);
    close(fd);
    close(other);
    stop();
}

Test(control, connection_that_has_gone_when_the_answer_comes)
{
    start();
    int fd = dial();
    int other = dial();
    say(fd, "{\"command\":\"keep\"}\n");
    close(fd);
    say(other, "{\"command\":\"echo\"}\n");
    expect_line(other, "{\"ok\":true,\"result\":null}");
    say(other, "{\"command\":\"release\"}\n");
    expect_line(other, "{\"ok\":true,\"result\":null}");
    close(other);
    stop();
}

Test(control, stop_while_a_request_waits)
{
    start();
    int fd = dial();
    int other = dial();
    say(fd, "{\"command\":\"keep\"}\n");
    say(other, "{\"command\":\"echo\"}\n");
    expect_line(other, "{\"ok\":true,\"result\":null}");
    stop();
    expect_end(fd);
    close(fd);
    close(other);
    cr_assert(eq(int, access(path, F_OK), -1));
}

// ---- limits

Test(control, too_many_connections)
{
    options.connections_max = 3;
    start();
    int fds[3];
    for (size_t i = 0; i < 3; i++) {
        fds[i] = dial();
        say(fds[i], "{\"command\":\"echo\"}\n");
        expect_line(fds[i], "{\"ok\":true,\"result\":null}");
    }
    int more = dial();
    expect_refused(more, "limit", "3 connections");
    expect_end(more);
    close(more);
    close(fds[0]);
    // The place is free again as soon as the end has been seen.
    for (bool served = false; !served;) {
        char line[256];
        int again = dial();
        if (send(again, "{\"command\":\"echo\"}\n", 19, MSG_NOSIGNAL) == 19 &&
            hear(again, line, sizeof(line)))
            served = strstr(line, "\"ok\":true") != NULL;
        close(again);
    }
    close(fds[1]);
    close(fds[2]);
    stop();
}

Test(control, request_that_does_not_arrive)
{
    options.read_ms = 50;
    start();
    int silent = dial();
    int partial = dial();
    // The end may have come before this.
    ssize_t sent = send(partial, "{\"command\":", 11, MSG_NOSIGNAL);
    cr_assert(sent == 11 || sent == -1);
    expect_end(silent);
    expect_end(partial);
    close(silent);
    close(partial);
    stop();
}

// What comes drop by drop has no more time than what comes not at all.
Test(control, request_that_never_ends)
{
    options.read_ms = 100;
    start();
    int fd = dial();
    char line[64];
    struct pollfd wait = {fd, POLLIN, 0};
    unsigned drops = 0;
    while (poll(&wait, 1, 10) == 0) {
        if (send(fd, " ", 1, MSG_NOSIGNAL) != 1)
            break;
        cr_assert(lt(u32, ++drops, ANSWER_MS / 10), "it is still listened to");
    }
    cr_assert(not(hear(fd, line, sizeof(line))));
    close(fd);
    stop();
}

Test(control, answer_that_is_not_read)
{
    options.write_ms = 50;
    options.read_ms = ANSWER_MS;
    start();
    int fd = dial();
    say(fd, "{\"command\":\"large\"}\n");
    // The daemon gives up after write_ms; then what is in the socket's buffer can be read, and the end comes.
    struct pollfd wait = {fd, POLLHUP, 0};
    wait.events = POLLRDHUP;
    cr_assert(eq(int, poll(&wait, 1, ANSWER_MS), 1), "the connection stays");
    close(fd);
    stop();
}

// ---- events

struct sent_event {
    const char *manager;
    const char *text;
    unsigned count;
};

static void send_events(void *arg)
{
    const struct sent_event *sent = arg;
    const struct log_event event = {
        981173106789,
        {CARRICK_LOG_NOTICE, "link-up", sent->manager, "left", sent->text},
    };
    for (unsigned i = 0; i < sent->count; i++)
        control_event(control, &event);
}

Test(control, followers_get_events_of_their_manager)
{
    start();
    int all = dial();
    int one = dial();
    say(all, "{\"command\":\"follow\"}\n");
    say(one, "{\"command\":\"follow\",\"manager\":\"second\"}\n");
    expect_line(all, "{\"ok\":true,\"result\":{}}");
    expect_line(one, "{\"ok\":true,\"result\":{}}");
    struct sent_event first = {"first", "a", 1};
    struct sent_event second = {"second", "b", 1};
    mailbox_post(&mailbox, send_events, &first);
    mailbox_post(&mailbox, send_events, &second);
    expect_line(all, "{\"time\":\"2001-02-03T04:05:06.789Z\",\"time_ms\":981173106789,"
                     "\"event\":\"link-up\",\"level\":\"notice\",\"manager\":\"first\","
                     "\"object\":\"left\",\"text\":\"a\"}");
    const char *of_second = "{\"time\":\"2001-02-03T04:05:06.789Z\",\"time_ms\":981173106789,"
                            "\"event\":\"link-up\",\"level\":\"notice\",\"manager\":\"second\","
                            "\"object\":\"left\",\"text\":\"b\"}";
    expect_line(all, of_second);
    expect_line(one, of_second);
    close(all);
    close(one);
    stop();
}

// It is told how many it missed, in their place, and gets what comes later.
Test(control, follower_that_is_too_slow)
{
    options.events_max = 4;
    options.write_ms = ANSWER_MS;
    start();
    int fd = dial();
    say(fd, "{\"command\":\"follow\"}\n");
    expect_line(fd, "{\"ok\":true,\"result\":{}}");
    char text[2000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    struct sent_event many = {"main", text, 5000}; // more than the socket's buffers hold
    mailbox_post(&mailbox, send_events, &many);
    unsigned taken = 0;
    unsigned long long dropped = 0;
    char line[4096];
    while (!dropped) {
        cr_assert(hear(fd, line, sizeof(line)));
        struct json_object *event = json_tokener_parse(line);
        const char *name = json_object_get_string(json_object_object_get(event, "event"));
        const char *said = json_object_get_string(json_object_object_get(event, "text"));
        if (strcmp(name, "events-dropped") == 0)
            cr_assert(eq(int, sscanf(said, "%llu events", &dropped), 1), "%s", said);
        else
            taken++;
        json_object_put(event);
    }
    cr_assert(eq(u64, taken + dropped, 5000));
    struct sent_event last = {"main", "the last", 1};
    mailbox_post(&mailbox, send_events, &last);
    cr_assert(hear(fd, line, sizeof(line)));
    cr_assert(ne(ptr, strstr(line, "the last"), NULL), "%s", line);
    close(fd);
    stop();
}

Test(control, too_many_followers)
{
    options.followers_max = 1;
    start();
    int first = dial();
    int second = dial();
    say(first, "{\"command\":\"follow\"}\n");
    expect_line(first, "{\"ok\":true,\"result\":{}}");
    say(second, "{\"command\":\"follow\"}\n");
    expect_refused(second, "limit", "follow events already");
    say(second, "{\"command\":\"echo\"}\n");
    expect_line(second, "{\"ok\":true,\"result\":null}");
    close(first);
    close(second);
    stop();
}

Test(control, what_a_follower_says_is_not_heard_but_its_end_is)
{
    options.followers_max = 1;
    start();
    int first = dial();
    say(first, "{\"command\":\"follow\"}\n");
    expect_line(first, "{\"ok\":true,\"result\":{}}");
    char noise[4096];
    memset(noise, '\n', sizeof(noise));
    for (unsigned i = 0; i < 64; i++)
        cr_assert(eq(sz, (size_t)send(first, noise, sizeof(noise), MSG_NOSIGNAL), sizeof(noise)));
    close(first);
    for (bool followed = false; !followed;) {
        char line[256];
        int second = dial();
        say(second, "{\"command\":\"follow\"}\n");
        cr_assert(hear(second, line, sizeof(line)));
        followed = strstr(line, "\"ok\":true") != NULL;
        close(second);
    }
    stop();
}

// ---- the socket itself

static void expect_text(const char *part)
{
    cr_assert(ne(ptr, strstr(error.text, part), NULL), "\"%s\" does not say \"%s\"", error.text,
              part);
}

Test(control, second_daemon_is_refused_and_told_of_the_first)
{
    start();
    struct control *second;
    cr_assert(eq(int, control_open(&options, &second, &error), CARRICK_ERR_EXISTS));
    char pid[64];
    snprintf(pid, sizeof(pid), "process %d has the control socket", (int)getpid());
    expect_text(pid);
    expect_text(path);
    // The first one is not harmed.
    int fd = dial();
    say(fd, "{\"command\":\"echo\"}\n");
    expect_line(fd, "{\"ok\":true,\"result\":null}");
    close(fd);
    stop();
}
