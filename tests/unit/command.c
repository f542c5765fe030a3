// SPDX-License-Identifier: Apache-2.0
//
// Operators' commands: each is answered once, by its client, by the time-out, or at the manager's end.
#include "tests/unit/fake_world.h"

#include <json-c/json.h>

#include "core/command.h"

struct answer {
    unsigned count;
    int status;
    char text[512];
};

static void answered(void *arg, int status, struct json_object *value)
{
    struct answer *answer = arg;

    answer->count++;
    answer->status = status;
    snprintf(answer->text, sizeof(answer->text), "%s", json_object_to_json_string(value));
    json_object_put(value);
}

static void ask(const char *word, const char *args, struct answer *answer)
{
    struct json_object *object = args == NULL ? NULL : json_tokener_parse(args);

    memset(answer, 0, sizeof(*answer));
    manager_command(fake.a.manager, word, object, answered, answer);
    json_object_put(object);
}

static struct answer answer;

static void setup(void)
{
    fake.clients[0] = "echo,mirror";
    fake_start_up();
}

TestSuite(command, .init = setup, .fini = fake_end);

Test(command, what_shows_answers_at_once)
{
    static const char *const words[] = {"status", "links", "clients", "vis", "stats"};

    for (unsigned i = 0; i < 5; i++) {
        ask(words[i], NULL, &answer);
        cr_assert_eq(answer.count, 1, "%s", words[i]);
        cr_assert_eq(answer.status, CARRICK_OK);
        cr_assert(answer.text[0] == '{' || answer.text[0] == '[');
    }
}

Test(command, unknown_words_and_names)
{
    ask("dance", NULL, &answer);
    cr_assert_eq(answer.status, CARRICK_ERR_NOT_FOUND);
    cr_assert(strstr(answer.text, "dance") != NULL);
    ask("link-down", "{\"link\":\"link9\"}", &answer);
    cr_assert_eq(answer.status, CARRICK_ERR_NOT_FOUND);
    ask("link-down", NULL, &answer);
    cr_assert_eq(answer.status, CARRICK_ERR_NOT_FOUND);
    ask("link-down", "[1]", &answer);
    cr_assert_eq(answer.status, CARRICK_ERR_NOT_FOUND);
    ask("client", "{\"client\":\"nobody\",\"word\":\"x\"}", &answer);
    cr_assert_eq(answer.status, CARRICK_ERR_NOT_FOUND);
    ask("client", "{\"client\":\"echo\"}", &answer);
    cr_assert_eq(answer.status, CARRICK_ERR_NOT_FOUND);
    ask("client", "{\"client\":7,\"word\":{}}", &answer);
    cr_assert_eq(answer.status, CARRICK_ERR_NOT_FOUND);
    cr_assert_eq(answer.count, 1);
}

Test(command, links_go_down_and_up)
{
    ask("link-down", "{\"link\":\"link0\"}", &answer);
    cr_assert_eq(answer.status, CARRICK_OK);
    FAKE_UNTIL(link_state(&fake.a.manager->links[0]) == LINK_ADMIN_DOWN);
    ask("link-up", "{\"link\":\"link0\"}", &answer);
    cr_assert_eq(answer.status, CARRICK_OK);
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}

Test(command, a_session_is_reset_when_there_is_one)
{
    unsigned count = fake.a.manager->session.count;

    ask("session-reset", "{\"why\":\"because\"}", &answer);
    cr_assert_eq(answer.status, CARRICK_OK);
    FAKE_UNTIL(fake.a.manager->session.state != CARRICK_SESSION_UP);
    ask("session-reset", NULL, &answer);
    cr_assert_eq(answer.status, CARRICK_ERR_STATE);
    FAKE_UNTIL(fake.a.manager->session.count == count + 1);
    cr_assert_eq(fake_client("b", "echo")->ended_reason, CARRICK_REASON_OPERATOR);
}

Test(command, a_client_answers_now_or_later)
{
    struct carrick_client *echo = fake_client("a", "echo");

    ask("client", "{\"client\":\"echo\",\"word\":\"at-once\"}", &answer);
    cr_assert_eq(answer.count, 1);
    cr_assert(strstr(answer.text, "at once") != NULL);
    ask("client", "{\"client\":\"echo\",\"word\":\"later\",\"args\":{\"n\":3}}", &answer);
    cr_assert_eq(answer.count, 0);
    cr_assert_str_eq(echo->word, "later");
    cr_assert(strstr(echo->json, "3") != NULL);
    fake_run_ms(1000);
    echo->host->command_reply(echo->host, echo->token, CARRICK_OK, "{\"n\":4}");
    cr_assert_eq(answer.count, 1);
    cr_assert(strstr(answer.text, "4") != NULL);
    echo->host->command_reply(echo->host, echo->token, CARRICK_OK, "{\"n\":5}");
    cr_assert_eq(answer.count, 1, "once per token");
}

Test(command, nobody_answers_for_another_client)
{
    struct carrick_client *echo = fake_client("a", "echo"), *mirror = fake_client("a", "mirror");

    ask("client", "{\"client\":\"echo\",\"word\":\"later\"}", &answer);
    mirror->host->command_reply(mirror->host, echo->token, CARRICK_OK, "{}");
    echo->host->command_reply(echo->host, echo->token + 1, CARRICK_OK, "{}");
    cr_assert_eq(answer.count, 0);
    echo->host->command_reply(echo->host, echo->token, CARRICK_ERR_INVALID, NULL);
    cr_assert_eq(answer.count, 1);
    cr_assert_eq(answer.status, CARRICK_ERR_INVALID);
}

Test(command, what_is_no_json_is_still_an_answer)
{
    struct carrick_client *echo = fake_client("a", "echo");

    ask("client", "{\"client\":\"echo\",\"word\":\"later\"}", &answer);
    echo->host->command_reply(echo->host, echo->token, CARRICK_OK, "{ this is not");
    cr_assert_eq(answer.count, 1);
    cr_assert_gt(strlen(answer.text), 2);
}

Test(command, a_client_that_refuses_or_stays_silent)
{
    struct carrick_client *echo = fake_client("a", "echo");

    echo->command_status = CARRICK_ERR_NOT_SUPPORTED;
    ask("client", "{\"client\":\"echo\",\"word\":\"x\"}", &answer);
    cr_assert_eq(answer.count, 1);
    cr_assert_eq(answer.status, CARRICK_ERR_NOT_SUPPORTED);
    echo->command_status = CARRICK_OK;
    ask("client", "{\"client\":\"echo\",\"word\":\"x\"}", &answer);
    fake_run_ms(29900);
    cr_assert_eq(answer.count, 0);
    fake_run_ms(300);
    cr_assert_eq(answer.count, 1);
    cr_assert_eq(answer.status, CARRICK_ERR_TIMEOUT);
    echo->host->command_reply(echo->host, echo->token, CARRICK_OK, "{}");
    cr_assert_eq(answer.count, 1, "too late is nothing");
}

Test(command, only_so_many_wait_at_once)
{
    static struct answer answers[100];
    unsigned waiting = 0;

    for (unsigned i = 0; i < 100; i++) {
        ask("client", "{\"client\":\"echo\",\"word\":\"x\"}", &answers[i]);
        waiting += answers[i].count == 0;
        cr_assert(answers[i].count == 0 || answers[i].status == CARRICK_ERR_LIMIT);
    }
    cr_assert_gt(waiting, 0);
    cr_assert_lt(waiting, 100);
    // At the manager's end those that wait are told.
    fake_node_end(&fake.a);
    for (unsigned i = 0; i < 100; i++) {
        cr_assert_eq(answers[i].count, 1);
        cr_assert(answers[i].status == CARRICK_ERR_LIMIT ||
                  answers[i].status == CARRICK_ERR_CANCELLED);
    }
}
