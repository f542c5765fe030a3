// SPDX-License-Identifier: Apache-2.0
//
// The pure parts of the command: words for people, and the verdict.
#include <criterion/criterion.h>

#include "cli/group.c"
#include "cli/json.c"
#include "cli/text.c"
#include "cli/verdict.c"

static void age_is(uint64_t ms, const char *wanted)
{
    char text[32];
    text_age(ms, text, sizeof text);
    cr_assert_str_eq(text, wanted);
}

Test(cli_text, ages)
{
    age_is(0, "0 ms");
    age_is(999, "999 ms");
    age_is(1000, "1.0 s");
    age_is(59999, "59 s");
    age_is(192000, "3 m 12 s");
    age_is(7500000, "2 h 5 m");
    age_is(UINT64_C(90) * 3600 * 1000, "3 d 18 h");
}

Test(cli_text, bytes)
{
    char text[32];
    text_bytes(0, text, sizeof text);
    cr_assert_str_eq(text, "0 B");
    text_bytes(65536, text, sizeof text);
    cr_assert_str_eq(text, "64 KiB");
    text_bytes(1572864, text, sizeof text);
    cr_assert_str_eq(text, "1.5 MiB");
    text_bytes(UINT64_MAX, text, sizeof text);
    cr_assert_str_eq(text, "16384 PiB");
}

Test(cli_text, what_was_meant)
{
    static const char *const words[] = {"status", "links", "clients", "events", "link"};
    cr_assert_str_eq(text_meant("stauts", words, 5), "status");
    cr_assert_str_eq(text_meant("stat", words, 5), "status");
    cr_assert_str_eq(text_meant("cleints", words, 5), "clients");
    cr_assert_null(text_meant("frobnicate", words, 5));
    cr_assert_null(text_meant("x", words, 5));
}

Test(cli_text, nothing_reaches_the_terminal_that_could_steer_it)
{
    char text[64];
    text_clean("a\033[31mb\nc\177", text, sizeof text);
    cr_assert_str_eq(text, "a [31mb c ");
    text_clean("\302\233"
               "31m",
               text, sizeof text); // the same escape as one character
    cr_assert_str_eq(text, "  31m");
    text_clean("\303\244\303\244", text, 4); // not cut within a character
    cr_assert_str_eq(text, "\303\244");
}

static void group_says(const char *json, const char *state, const char *durability)
{
    struct json_object *group = json_tokener_parse(json);
    char text[120];
    group_state(group, text, sizeof text);
    cr_assert_str_eq(text, state);
    group_durability(group, text, sizeof text);
    cr_assert_str_eq(text, durability);
    json_object_put(group);
}

Test(cli_text, a_group_tells_its_progress_and_how_durable_each_side_is)
{
    group_says("{\"state\":\"protected\",\"copy\":{\"level\":\"memory\"},"
               "\"partner_copy\":{\"level\":\"memory\"}}",
               "protected", "memory");
    group_says("{\"state\":\"alone\",\"copy\":{\"level\":\"persistent\"}}", "alone",
               "persistent, there unknown");
    group_says(
        "{\"state\":\"resyncing\",\"resync_percent\":42,\"resync_bytes_per_second\":125829120,"
        "\"resync_left_s\":75,\"copy\":{\"level\":\"persistent\"},"
        "\"partner_copy\":{\"level\":\"volatile\"}}",
        "resyncing 42%, 120 MiB/s, 1 m 15 s left", "persistent, there volatile");
    group_says("{\"state\":\"resyncing\",\"resync_percent\":0}", "resyncing 0%", "-");
}

static struct verdict judge(const char *json)
{
    struct verdict verdict;
    struct json_object *status = json_tokener_parse(json);
    cr_assert_not_null(status);
    verdict_judge(status, &verdict);
    json_object_put(status);
    return verdict;
}

#define SESSION_UP "\"session\":{\"state\":\"up\",\"age_ms\":5000}"

Test(cli_verdict, all_well)
{
    struct verdict verdict =
        judge("{\"partner\":\"beta\",\"managers\":[{\"name\":\"main\"," SESSION_UP
              ",\"links\":[{\"name\":\"left\",\"state\":\"up\",\"eligible\":true}],"
              "\"clients\":[{\"name\":\"echo\",\"state\":\"ready\"}]}]}");
    cr_assert_eq(verdict.level, VERDICT_OK);
    cr_assert(verdict.since_known && verdict.since_ms == 5000);
    cr_assert_not_null(strstr(verdict.why, "beta"));
}

Test(cli_verdict, a_dead_link_degrades_and_is_named_with_its_cause_and_age)
{
    struct verdict verdict = judge(
        "{\"managers\":[{" SESSION_UP
        ",\"links\":[{\"name\":\"left\",\"state\":\"up\"},{\"name\":\"right\",\"state\":\"down\","
        "\"cause\":\"carrier lost\",\"age_ms\":700}]}]}");
    cr_assert_eq(verdict.level, VERDICT_DEGRADED);
    cr_assert_str_eq(verdict.why, "link right is down: carrier lost");
    cr_assert_eq(verdict.since_ms, 700);
}

Test(cli_verdict, a_client_that_is_not_ready_degrades)
{
    struct verdict verdict =
        judge("{\"managers\":[{" SESSION_UP
              ",\"clients\":[{\"name\":\"echo\",\"state\":\"no-partner\"}]}]}");
    cr_assert_eq(verdict.level, VERDICT_DEGRADED);
    cr_assert_not_null(strstr(verdict.why, "client echo"));
    cr_assert_not(verdict.since_known);
}

// Both copies are equal, and still nobody could take over.
Test(cli_verdict, an_arbiter_that_would_not_do_degrades)
{
    struct verdict verdict = judge(
        "{\"managers\":[{" SESSION_UP ",\"clients\":[{\"name\":\"fo\",\"plugin\":\"failover\","
        "\"state\":\"ready\",\"detail\":{\"groups\":[{\"name\":\"g1\",\"state\":\"protected\","
        "\"age_ms\":9000,\"reason\":\"-\",\"arbiter_fault\":\"it is "
        "away\",\"arbiter_fault_ms\":70},"
        "{\"name\":\"g2\",\"state\":\"protected\",\"age_ms\":9000,\"reason\":\"-\"}]}}]}]}");
    cr_assert_eq(verdict.level, VERDICT_DEGRADED);
    cr_assert_str_eq(verdict.why,
                     "group g1 is protected, but could not change hands now: it is away");
    cr_assert_eq(verdict.since_ms, 70);
}

Test(cli_verdict, a_client_in_trouble_degrades_whatever_its_plugin)
{
    struct verdict verdict =
        judge("{\"managers\":[{" SESSION_UP
              ",\"clients\":[{\"name\":\"echo\",\"plugin\":\"own\",\"state\":\"ready\","
              "\"detail\":{\"trouble\":\"nobody listens\"}}]}]}");
    cr_assert_eq(verdict.level, VERDICT_DEGRADED);
    cr_assert_str_eq(verdict.why, "client echo: nobody listens");
}

Test(cli_verdict, a_stalled_vi_degrades)
{
    struct verdict verdict =
        judge("{\"managers\":[{" SESSION_UP
              ",\"vis\":[{\"client\":\"echo\",\"number\":3,\"state\":\"stalled\"}]}]}");
    cr_assert_eq(verdict.level, VERDICT_DEGRADED);
    cr_assert_not_null(strstr(verdict.why, "echo/3"));
}

Test(cli_verdict, a_refusal_is_down_and_tells_who_and_why)
{
    struct verdict verdict = judge(
        "{\"partner\":\"beta\",\"managers\":[{\"session\":{\"state\":\"idle\",\"age_ms\":9,"
        "\"refused\":{\"by\":\"partner\",\"reason\":\"configuration\",\"text\":\"lanes differ\"},"
        "\"last_end\":{\"reason\":\"link-lost\",\"age_ms\":4000}}}]}");
    cr_assert_eq(verdict.level, VERDICT_DOWN);
    cr_assert_not_null(strstr(verdict.why, "beta refuses it (configuration): lanes differ"));
    // Since the session was lost, not since the last attempt.
    cr_assert_eq(verdict.since_ms, 4000);
    verdict =
        judge("{\"partner\":\"beta\",\"managers\":[{\"session\":{\"state\":\"idle\",\"age_ms\":9,"
              "\"refused\":{\"by\":\"local\",\"reason\":\"configuration\",\"text\":\"-\",\"age_"
              "ms\":7000},"
              "\"last_end\":{\"reason\":\"configuration\",\"age_ms\":40}}}]}");
    cr_assert_eq(verdict.since_ms, 7000);
}

Test(cli_verdict, one_manager_down_outweighs_one_degraded)
{
    struct verdict verdict =
        judge("{\"partner\":\"beta\",\"managers\":[{\"name\":\"a\"," SESSION_UP
              ",\"links\":[{\"name\":\"left\",\"state\":\"down\"}]},"
              "{\"name\":\"b\",\"session\":{\"state\":\"reading\",\"age_ms\":3}}]}");
    cr_assert_eq(verdict.level, VERDICT_DOWN);
    cr_assert_not_null(strstr(verdict.why, "manager b: "));
}

Test(cli_verdict, further_faults_are_counted)
{
    struct verdict verdict =
        judge("{\"managers\":[{" SESSION_UP ",\"links\":[{\"name\":\"a\",\"state\":\"down\"},"
              "{\"name\":\"b\",\"state\":\"down\"},{\"name\":\"c\",\"state\":\"admin-down\"}]}]}");
    cr_assert_str_eq(verdict.why, "link a is down; and 2 more");
}

Test(cli_verdict, a_manager_that_does_not_answer_is_down)
{
    struct verdict verdict = judge("{\"managers\":[{\"name\":\"main\",\"status\":\"timeout\","
                                   "\"error\":\"its loop does not answer\",\"silent_ms\":4100}]}");
    cr_assert_eq(verdict.level, VERDICT_DOWN);
    cr_assert_not_null(strstr(verdict.why, "its loop does not answer"));
    cr_assert_eq(verdict.since_ms, 4100);
}

Test(cli_verdict, nonsense_is_down_and_harmless)
{
    cr_assert_eq(judge("{}").level, VERDICT_DOWN);
    cr_assert_eq(judge("[]").level, VERDICT_DOWN);
    cr_assert_eq(judge("{\"managers\":[1,null,{\"session\":7,\"links\":{}}]}").level, VERDICT_DOWN);
}
