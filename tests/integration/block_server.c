// SPDX-License-Identifier: Apache-2.0
//
// The shelf plugin's front over shelves in memory, as a process: what the block client and nbdkit are tested with.
//
//     block_server SOCKET BYTES
//
// Prints "ready". Commands, a line each, on standard input; each is answered by a line:
//     serve | close | stuck | go | delay NANOSECONDS | room N | fail ERRNO | count | describe | quit
#include "tests/unit/block_host.h"

#include "plugins/shelf/front.h"

struct server {
    struct loop loop;
    struct carrick_shelves shelves;
    struct front *front;
    bool ends;
};

static void say(const char *text)
{
    printf("%s\n", text);
    fflush(stdout);
}

static void count_say(const struct carrick_shelves *s)
{
    char text[256];
    snprintf(
        text, sizeof(text),
        "{\"read\":%llu,\"write\":%llu,\"flush\":%llu,\"trim\":%llu,\"zero\":%llu,\"fua\":%llu,"
        "\"again\":%llu}",
        (unsigned long long)s->operations[CARRICK_BLOCK_READ],
        (unsigned long long)s->operations[CARRICK_BLOCK_WRITE],
        (unsigned long long)s->operations[CARRICK_BLOCK_FLUSH],
        (unsigned long long)s->operations[CARRICK_BLOCK_TRIM],
        (unsigned long long)s->operations[CARRICK_BLOCK_ZERO], (unsigned long long)s->fua,
        (unsigned long long)s->agains);
    say(text);
}

static void obey(struct server *v, const char *word, unsigned long value)
{
    struct carrick_shelves *s = &v->shelves;
    char text[4096];
    if (!strcmp(word, "describe")) {
        front_describe(v->front, text, sizeof(text));
        say(text);
        return;
    }
    if (!strcmp(word, "count")) {
        count_say(s);
        return;
    }
    if (!strcmp(word, "serve"))
        s->serves = true;
    else if (!strcmp(word, "close"))
        shelves_close_all(s, "the group moved to beta");
    else if (!strcmp(word, "stuck"))
        s->stuck = true;
    else if (!strcmp(word, "go"))
        s->stuck = false;
    else if (!strcmp(word, "delay"))
        s->delay_ns = value;
    else if (!strcmp(word, "room"))
        s->pending_max = (uint32_t)value;
    else if (!strcmp(word, "fail"))
        s->fail_errno = (uint32_t)value;
    else if (!strcmp(word, "quit"))
        v->ends = true;
    else {
        say("what?");
        return;
    }
    say("ok");
}

static void command_ready(void *arg, uint32_t events)
{
    struct server *v = arg;
    char line[128], word[32] = "";
    unsigned long value = 0;
    (void)events;
    // Whole lines come in one piece, and one at a time: the other side waits for the answer.
    ssize_t got = read(STDIN_FILENO, line, sizeof(line) - 1);
    if (got <= 0) {
        v->ends = true;
        return;
    }
    line[got] = 0;
    sscanf(line, "%31s %lu", word, &value);
    obey(v, word, value);
}

int main(int argc, char **argv)
{
    static struct server v;
    if (argc != 3)
        return 2;
    loop_init(&v.loop);
    v.loop.loud = true;
    shelves_init(&v.shelves, &v.loop, strtoull(argv[2], NULL, 10));
    struct front_config config = {.path = argv[1]};
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct carrick_watch *commands = NULL;
    if (front_start(&v.loop.host, &config, &shelves_ops, &v.shelves, &v.front, &error)) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    loop_watch_create(&v.loop.host, STDIN_FILENO, CARRICK_WATCH_READ, command_ready, &v, &commands);
    say("ready");
    while (!v.ends)
        loop_turn(&v.loop, 1000000000u);
    front_stop(v.front);
    if (commands)
        loop_watch_destroy(commands);
    shelves_end(&v.shelves);
    return 0;
}
