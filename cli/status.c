// SPDX-License-Identifier: Apache-2.0
//
// `carrick status`: one screen. The first line is for the one who was woken up; what follows, for the one who
// is awake by then.

#include "cli/cli.h"
#include "cli/show.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void print_verdict(const struct verdict *verdict)
{
    static const enum paint paints[] = {PAINT_GOOD, PAINT_WARN, PAINT_BAD};
    char age[32];
    paint_text(paints[verdict->level], verdict_word(verdict->level));
    if (verdict->since_known) {
        text_age(verdict->since_ms, age, sizeof age);
        printf(" for %s", age);
    }
    printf(": %s\n", verdict->why);
}

static void print_field(const char *name, const char *value)
{
    char clean[256];
    text_clean(value, clean, sizeof clean);
    if (clean[0])
        printf("%s %s   ", name, clean);
}

static void print_node(struct json_object *status)
{
    char age[32];
    text_age((uint64_t)member_int(status, "uptime_ms"), age, sizeof age);
    print_field("node", member_text(status, "node"));
    print_field("partner", member_text(status, "partner"));
    print_field("cluster", member_text(status, "cluster"));
    print_field("carrickd", member_text(status, "version"));
    printf("process %d   running for %s%s\n", (int)member_int(status, "pid"), age,
           member_bool(status, "stopping") ? "   stopping" : "");
}

static void print_session(struct json_object *session)
{
    char age[32], text[400];
    const char *state = member_text(session, "state");
    bool up = strcmp(state, "up") == 0;
    struct json_object *refused = member_object(session, "refused"),
                       *end = member_object(session, "last_end");

    text_clean(state, text, sizeof text);
    text_age((uint64_t)member_int(session, "age_ms"), age, sizeof age);
    printf("  session   ");
    paint_text(up ? PAINT_GOOD : PAINT_BAD, text);
    printf(" for %s", age);
    if (up) {
        text_clean(member_text(session, "id"), text, sizeof text);
        printf("   id %s   protocol %d   number %d since the start", text,
               (int)member_int(session, "version"), (int)member_int(session, "sessions"));
    }
    putchar('\n');
    if (refused) {
        char why[400];
        text_clean(member_text(refused, "text"), why, sizeof why);
        text_clean(member_text(refused, "reason"), text, sizeof text);
        printf("  refused   by %s: ",
               strcmp(member_text(refused, "by"), "local") == 0 ? "this node" : "the partner");
        paint_text(PAINT_BAD, text);
        printf("%s%s\n", why[0] ? ": " : "", why);
    }
    if (end) {
        char why[400];
        text_age((uint64_t)member_int(end, "age_ms"), age, sizeof age);
        text_clean(member_text(end, "reason"), text, sizeof text);
        text_clean(member_text(end, "text"), why, sizeof why);
        printf("  last end  %s ago: %s%s%s\n", age, text, why[0] ? ": " : "", why);
    }
}

// What was read of the partner is of now only as long as it is read again and again.
static bool is_read(struct json_object *manager)
{
    struct json_object *links = member_array(manager, "links");
    if (strcmp(member_text(member_object(manager, "session"), "state"), "up") != 0)
        return false;
    for (size_t i = 0; i < array_length(links); i++)
        if (strcmp(member_text(json_object_array_get_idx(links, i), "state"), "up") == 0)
            return true;
    return false;
}

static void print_partner(struct json_object *manager)
{
    struct json_object *partner = member_object(manager, "partner");
    char state[96], stage[64], age[32];
    if (!partner)
        return;
    text_clean(member_text(partner, "state"), state, sizeof state);
    text_clean(member_text(partner, "boot_stage"), stage, sizeof stage);
    text_age((uint64_t)member_int(partner, "read_age_ms"), age, sizeof age);
    if (!is_read(manager)) {
        printf("  partner   not read now; %s ago it was %s, boot stage %s, heartbeat %lld\n", age,
               state, stage, (long long)member_int(partner, "heartbeat"));
        return;
    }
    printf("  partner   %s   boot stage %s   heartbeat %lld   read %s ago", state, stage,
           (long long)member_int(partner, "heartbeat"), age);
    if (member_int(partner, "clients_still_ms") > 0) {
        text_age((uint64_t)member_int(partner, "clients_still_ms"), age, sizeof age);
        snprintf(state, sizeof state, "a client process stands still for %s", age);
        printf("   ");
        paint_text(PAINT_BAD, state);
    }
    putchar('\n');
}

// VIs as counts, and by name only those that stand still: there may be thousands.
static void print_vis(struct json_object *vis, struct json_object *clients)
{
    size_t open = 0, stalled = 0, other = 0, all = 0;
    int64_t inflight = 0;
    for (size_t i = 0; i < array_length(clients); i++)
        all += (size_t)member_int(json_object_array_get_idx(clients, i), "vis");
    for (size_t i = 0; i < array_length(vis); i++) {
        struct json_object *vi = json_object_array_get_idx(vis, i);
        const char *state = member_text(vi, "state");
        open += strcmp(state, "open") == 0;
        stalled += strcmp(state, "stalled") == 0;
        inflight += member_int(vi, "inflight");
    }
    other = array_length(vis) - open - stalled;
    printf("  VIs       %zu open", open);
    if (other)
        printf(", %zu opening or closing", other);
    if (stalled) {
        char text[40];
        snprintf(text, sizeof text, "%zu stalled", stalled);
        printf(", ");
        paint_text(PAINT_BAD, text);
    }
    printf(", %lld operation%s in flight", (long long)inflight, inflight == 1 ? "" : "s");
    if (all > array_length(vis))
        printf(" (the first %zu of %zu; 'carrick vis' shows all)", array_length(vis), all);
    putchar('\n');
}

static void print_disk_error(void *arg, const char *text)
{
    char clean[400];

    (void)arg;
    text_clean(text, clean, sizeof clean);
    printf("  disk      ");
    paint_text(PAINT_BAD, clean);
    putchar('\n');
}

static void print_manager(struct json_object *manager)
{
    struct json_object *links = member_array(manager, "links"),
                       *clients = member_array(manager, "clients");
    char name[64];

    putchar('\n');
    text_clean(member_text(manager, "name"), name, sizeof name);
    printf("manager ");
    paint_text(PAINT_BOLD, name);
    if (member_text(manager, "error")[0]) {
        char error[300];
        text_clean(member_text(manager, "error"), error, sizeof error);
        printf("   ");
        paint_text(PAINT_BAD, "does not answer");
        printf(": %s\n", error);
        return;
    }
    printf("   ");
    print_field("policy", member_text(manager, "policy"));
    print_field("profile", member_text(manager, "profile"));
    print_field("incarnation", member_text(manager, "incarnation"));
    putchar('\n');
    print_session(member_object(manager, "session"));
    print_partner(manager);
    print_vis(member_array(manager, "vis"), clients);
    disk_errors(manager, print_disk_error, NULL);
    if (array_length(failover_groups(manager)) > 0) {
        putchar('\n');
        show_groups(failover_groups(manager), 2);
    }
    if (array_length(links) > 0) {
        putchar('\n');
        show_links(links, 2);
    }
    if (array_length(clients) > 0) {
        putchar('\n');
        show_clients(clients, 2, false);
    }
}

static void print_status(struct json_object *status, const struct verdict *verdict)
{
    struct json_object *managers = member_array(status, "managers");
    print_verdict(verdict);
    print_node(status);
    for (size_t i = 0; i < array_length(managers); i++)
        print_manager(json_object_array_get_idx(managers, i));
}

static int show_once(struct cli_options *options)
{
    struct json_object *status;
    struct verdict verdict;
    int result = request_run(options, "status", NULL, &status);

    if (options->watch_ms && paint_is_on())
        printf("\033[H\033[J");
    if (result != CLI_OK) {
        if (options->watch_ms && result == CLI_UNREACHABLE && !options->json) {
            paint_text(PAINT_BAD, "DOWN");
            printf(": the daemon cannot be reached\n");
        }
        return result;
    }
    verdict_judge(status, &verdict);
    if (options->json)
        json_print(status);
    else
        print_status(status, &verdict);
    json_object_put(status);
    fflush(stdout);
    return verdict.level == VERDICT_OK ? CLI_OK : CLI_NOT_WELL;
}

int command_status(struct cli_options *options, int argc, char **argv)
{
    struct timespec pause = {.tv_sec = options->watch_ms / 1000,
                             .tv_nsec = (long)(options->watch_ms % 1000) * 1000000};
    (void)argc;
    (void)argv;
    for (;;) {
        int result = show_once(options);
        // A daemon that is away may come back, which is what one watches for.
        if (!options->watch_ms || result == CLI_USAGE || ferror(stdout))
            return result;
        if (!options->json && !paint_is_on())
            putchar('\n');
        fflush(stdout);
        nanosleep(&pause, NULL);
    }
}
