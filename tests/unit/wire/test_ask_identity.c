/* Which requests are the same question, which are neighbours, and where a conversation stands. */
#include <cmocka.h>
#include "backends/wire/ask_identity.h"

struct asked {
    struct arena arena;
    struct ask ask;
    struct ask_identity id;
};

static void identify(struct asked *q, enum wire_api api, const char *body, const char *scope,
                     const char *group)
{
    const char *param = NULL;
    struct err_text t = {""};

    arena_init(&q->arena, 4096);
    if (ask_scan(api, slice_str(body), &q->arena, &q->ask, &param, &t) != ERR_OK)
        fail_msg("%s: %s", body, t.s);
    ask_identity(&q->ask, slice_str(scope), slice_str(group), &q->arena, &q->id);
}

/* What two bodies share: 0 nothing, 1 all but the last user text, 2 all. */
static int shared(enum wire_api api, const char *x, const char *y)
{
    struct asked a, b;
    int result;

    identify(&a, api, x, "", "g");
    identify(&b, api, y, "", "g");
    result = digest_eq(a.id.exact, b.id.exact)                                       ? 2
             : a.id.comparable && b.id.comparable && digest_eq(a.id.rest, b.id.rest) ? 1
                                                                                     : 0;
    arena_clear(&a.arena);
    arena_clear(&b.arena);
    return result;
}

#define USER(text)           "{\"role\":\"user\",\"content\":" text "}"
#define CHAT(rest, messages) "{\"model\":\"m\"," rest "\"messages\":[" messages "]}"

static void how_it_travels_does_not_count(void **state)
{
    (void)state;
    const char *plain = CHAT("", USER("\"hi\""));
    assert_int_equal(shared(WIRE_CHAT, plain, CHAT("\"stream\":true,", USER("\"hi\""))), 2);
    assert_int_equal(shared(WIRE_CHAT, plain,
                            CHAT("\"stream\":true,\"stream_options\":{\"include_usage\":true},",
                                 USER("\"hi\""))),
                     2);
    assert_int_equal(shared(WIRE_CHAT, plain, CHAT("\"user\":\"u1\",", USER("\"hi\""))), 2);
    assert_int_equal(shared(WIRE_CHAT, plain,
                            "{\"messages\":[{\"content\":\"h\\u0069\",\"role\":\"user\"}],"
                            "\"model\":\"another name\"}"),
                     2);
}

static void what_changes_an_answer_counts(void **state)
{
    (void)state;
    const char *plain = CHAT("", USER("\"hi\""));
    static const char *const others[] = {
        CHAT("\"temperature\":0,", USER("\"hi\"")),
        CHAT("\"tools\":[],", USER("\"hi\"")),
        CHAT("\"response_format\":{\"type\":\"json_object\"},", USER("\"hi\"")),
        CHAT("\"unknown_member\":1,", USER("\"hi\"")),
        CHAT("\"store\":true,", USER("\"hi\"")),
        CHAT("", "{\"role\":\"system\",\"content\":\"be brief\"}," USER("\"hi\"")),
        CHAT("", USER("\"hi\"") ",{\"role\":\"assistant\",\"content\":\"yes\"}," USER("\"hi\"")),
        CHAT("", "{\"role\":\"user\",\"name\":\"bo\",\"content\":\"hi\"}"),
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_int_equal(shared(WIRE_CHAT, plain, others[i]), 0);
    assert_int_equal(shared(WIRE_CHAT, CHAT("\"temperature\":1,", USER("\"hi\"")),
                            CHAT("\"temperature\":1.0,", USER("\"hi\""))),
                     2);
}

static void neighbours_differ_in_the_last_text_alone(void **state)
{
    (void)state;
#define TURNS(first, last)                                                                         \
    CHAT("", USER(first) ",{\"role\":\"assistant\",\"content\":\"yes\"}," USER(last))
    assert_int_equal(shared(WIRE_CHAT, CHAT("", USER("\"hi\"")), CHAT("", USER("\"ho\""))), 1);
    assert_int_equal(shared(WIRE_CHAT, TURNS("\"a\"", "\"b\""), TURNS("\"a\"", "\"c\"")), 1);
    assert_int_equal(shared(WIRE_CHAT, TURNS("\"a\"", "\"b\""), TURNS("\"x\"", "\"b\"")), 0);
    /* a picture beside the text is part of the rest */
#define PARTS(url, text)                                                                           \
    USER("[{\"type\":\"image_url\",\"image_url\":{\"url\":\"" url                                  \
         "\"}},{\"type\":\"text\",\"text\":" text "}]")
    assert_int_equal(shared(WIRE_CHAT, CHAT("", PARTS("http://a", "\"b\"")),
                            CHAT("", PARTS("http://a", "\"c\""))),
                     1);
    assert_int_equal(shared(WIRE_CHAT, CHAT("", PARTS("http://a", "\"b\"")),
                            CHAT("", PARTS("http://x", "\"b\""))),
                     0);
}

static void scope_group_and_protocol_separate(void **state)
{
    (void)state;
    const char *body = "{\"model\":\"m\",\"max_tokens\":5,\"messages\":[" USER("\"hi\"") "]}";
    struct asked a, b;
    static const struct {
        enum wire_api api;
        const char *scope, *group;
    } others[] = {
        {WIRE_CHAT, "t2", "g"},    {WIRE_CHAT, "", "g"},  {WIRE_CHAT, "t", "h"},
        {WIRE_MESSAGES, "t", "g"}, {WIRE_CHAT, "tg", ""},
    };

    identify(&a, WIRE_CHAT, body, "t", "g");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        identify(&b, others[i].api, body, others[i].scope, others[i].group);
        assert_false(digest_eq(a.id.exact, b.id.exact));
        assert_false(digest_eq(a.id.rest, b.id.rest));
        arena_clear(&b.arena);
    }
    arena_clear(&a.arena);
}

static void expect_turn(enum wire_api api, const char *body, enum ask_speaker speaker,
                        const char *text, int user_turns)
{
    struct ask_turn turn = ask_turn_of(api, slice_str(body));

    assert_int_equal(turn.speaker, speaker);
    assert_int_equal(turn.user_turns, user_turns);
    if (text)
        assert_true(slice_eq(turn.text, slice_str(text)));
    else
        assert_int_equal(turn.text.n, 0);
}

static void who_spoke_last(void **state)
{
    (void)state;
    expect_turn(WIRE_CHAT, CHAT("", USER("\"a\"")), ASK_BY_USER, "\"a\"", 1);
    expect_turn(WIRE_CHAT, CHAT("", USER("\"a\"") ",{\"role\":\"assistant\",\"content\":\"b\"}"),
                ASK_BY_ASSISTANT, "\"a\"", 1);
    expect_turn(
        WIRE_CHAT,
        CHAT("", USER("\"a\"") ",{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"4\"}"),
        ASK_BY_TOOL, "\"a\"", 1);
    expect_turn(
        WIRE_MESSAGES,
        CHAT("", USER("[{\"type\":\"tool_result\",\"tool_use_id\":\"1\",\"content\":\"4\"}]")),
        ASK_BY_TOOL, NULL, 0);
    expect_turn(WIRE_MESSAGES,
                CHAT("", USER("[{\"type\":\"tool_result\",\"tool_use_id\":\"1\"},"
                              "{\"type\":\"text\",\"text\":\"and?\"}]")),
                ASK_BY_TOOL, "\"and?\"", 1);
    expect_turn(WIRE_MESSAGES, CHAT("", USER("[{\"type\":\"image\"}]")), ASK_BY_USER, NULL, 1);
    expect_turn(WIRE_RESPONSES, "{\"input\":\"a\"}", ASK_BY_USER, "\"a\"", 1);
    expect_turn(WIRE_RESPONSES,
                "{\"input\":[" USER(
                    "[{\"type\":\"input_text\",\"text\":\"q\"}]") ","
                                                                  "{\"type\":\"function_call\","
                                                                  "\"name\":\"f\"},{\"type\":"
                                                                  "\"function_call_output\"}]}",
                ASK_BY_TOOL, "\"q\"", 1);
    expect_turn(WIRE_RESPONSES,
                "{\"input\":[{\"type\":\"message\","
                "\"role\":\"user\",\"content\":\"q\"}]}",
                ASK_BY_USER, "\"q\"", 1);
    expect_turn(WIRE_COMPLETIONS, "{\"prompt\":\"p\"}", ASK_BY_USER, "\"p\"", 1);
    expect_turn(WIRE_COMPLETIONS, "{\"prompt\":[\"p\",\"q\"]}", ASK_BY_NOBODY, NULL, 0);
    expect_turn(WIRE_CHAT, "{\"messages\":[1,null,\"x\"]}", ASK_BY_NOBODY, NULL, 0);
    expect_turn(WIRE_CHAT, "{}", ASK_BY_NOBODY, NULL, 0);
}

static void what_is_no_question_has_no_neighbours(void **state)
{
    (void)state;
    struct asked q;

    identify(&q, WIRE_CHAT, CHAT("", USER("\"caf\\u00e9\"")), "", "");
    assert_true(q.id.comparable);
    assert_true(slice_eq(q.id.text, SLICE("caf\xc3\xa9")));
    arena_clear(&q.arena);
    identify(&q, WIRE_CHAT, CHAT("", USER("\"a\"") ",{\"role\":\"tool\",\"content\":\"4\"}"), "",
             "");
    assert_false(q.id.comparable);
    assert_true(digest_eq(q.id.exact, q.id.rest));
    arena_clear(&q.arena);
    /* the text that counts is the last one; the member that hides it does not make a neighbour */
    identify(&q, WIRE_CHAT,
             "{\"model\":\"m\",\"messages\":[" USER("\"x\"") "],\"messages\":[" USER("\"y\"") "]}",
             "", "");
    assert_true(slice_eq(q.id.text, SLICE("y")));
    arena_clear(&q.arena);
}

static void what_a_server_keeps_is_nobody_elses(void **state)
{
    (void)state;
    struct asked q;

    identify(&q, WIRE_MESSAGES,
             "{\"model\":\"m\",\"max_tokens\":5,\"thread\":{\"type\":\"create\"},"
             "\"messages\":[" USER("\"a\"") "]}",
             "", "");
    assert_true(q.id.stateful);
    assert_false(q.id.comparable);
    arena_clear(&q.arena);
    identify(&q, WIRE_RESPONSES, "{\"model\":\"m\",\"input\":\"a\",\"background\":false}", "", "");
    assert_false(q.id.stateful);
    assert_true(q.id.comparable);
    assert_true(slice_eq(q.ask.last_user_text, SLICE("\"a\"")));
    arena_clear(&q.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(how_it_travels_does_not_count),
        cmocka_unit_test(what_changes_an_answer_counts),
        cmocka_unit_test(neighbours_differ_in_the_last_text_alone),
        cmocka_unit_test(scope_group_and_protocol_separate),
        cmocka_unit_test(who_spoke_last),
        cmocka_unit_test(what_is_no_question_has_no_neighbours),
        cmocka_unit_test(what_a_server_keeps_is_nobody_elses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
