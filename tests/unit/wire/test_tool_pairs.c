/* Tool calls and their results: which conversations each dialect takes, and what is named in the
 * others. A conversation is written "u:x a:c1c2 t:r1 u:r2x": messages of user, assistant, tool and
 * system, with texts, calls and results of one-letter ids. */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "backends/wire/tool_pairs.h"

static enum chat_role role_of(char c)
{
    return c == 'a' ? CHAT_ASSISTANT : c == 's' ? CHAT_SYSTEM : c == 't' ? CHAT_TOOL : CHAT_USER;
}

static void add_part(struct chat_part ***end, const char **p, int at, struct arena *a)
{
    struct chat_part *part = ARENA_NEW(a, struct chat_part);

    part->at = at;
    part->kind = **p == 'c'   ? CHAT_PART_TOOL_CALL
                 : **p == 'r' ? CHAT_PART_TOOL_RESULT
                              : CHAT_PART_TEXT;
    part->text = part->name = SLICE("f");
    if (part->kind != CHAT_PART_TEXT)
        part->id = slice_make(++*p, 1);
    ++*p;
    **end = part;
    *end = &part->next;
}

static void build(const char *text, struct chat *c, struct arena *a)
{
    struct chat_message **end = &c->messages;
    int at = 0;

    *c = (struct chat){.from = CHAT_OPENAI};
    while (*text) {
        struct chat_message *m = ARENA_NEW(a, struct chat_message);
        struct chat_part **parts = &m->parts;
        m->role = role_of(*text);
        m->at = at++;
        text += 2;
        for (int i = 0; *text && *text != ' '; i++)
            add_part(&parts, &text, i, a);
        text += *text == ' ';
        *end = m;
        end = &m->next;
    }
}

/* "message.part" of what stands alone, "" when nothing does. */
static const char *alone(const char *text, enum tool_pairs_by by, struct arena *a)
{
    struct tool_pairs_fault out;
    struct chat c;

    build(text, &c, a);
    if (tool_pairs_match(&c, by, a, &out))
        return "";
    assert_true(out.why && out.why[0]);
    return arena_printf(a, "%d.%d", out.message->at, out.part->at);
}

static const struct {
    const char *text, *by_message, *by_turn;
} cases[] = {
    {"", "", ""},
    {"u:x a:x u:x", "", ""},
    {"u:x a:c1 t:r1", "", ""},
    {"u:x a:xc1c2 t:r2 t:r1 a:x u:x", "", ""},
    {"u:x a:c1 t:r1 a:c1 t:r1", "", ""}, /* in another turn the id is another's */
    {"u:x a:c1c2 u:xr1r2", "", ""},      /* the writers put a message's results first */
    {"a:c1 u:r1x a:x", "", ""},
    /* without an answer */
    {"u:x a:c1", "1.0", "1.0"},
    {"u:x a:xc1c2 t:r2 u:x", "1.1", "1.1"},
    {"u:x a:c1 u:x a:x", "1.0", "1.0"},
    {"a:c3c1c2", "0.0", "0.0"}, /* the first as it was written */
    {"a:c1 a:x", "0.0", "0.0"},
    /* without a call */
    {"t:r1", "0.0", "0.0"},
    {"u:x a:c1 t:r1 t:r2", "3.0", "3.0"},
    {"u:x a:c1 t:r1 a:x t:r1", "4.0", "4.0"},
    {"a:c1 t:r1 t:r1", "2.0", "2.0"},
    {"a:c1c1 t:r1 t:r1 t:r1", "3.0", "0.1"},
    /* where the dialects differ */
    {"a:c1 s:x t:r1", "0.0", ""}, /* system messages stand elsewhere with Anthropic */
    {"a:c1 t:r1 s:x a:x", "", ""},
    {"a:c1 u:x u:r1", "0.0", ""}, /* neighbours are one turn there */
    {"a:c1 a:c2 t:r1 t:r2", "0.0", ""},
    {"a:c1 t:r1 u:x t:r1", "3.0", "3.0"},
    {"a:c1c1 t:r1 t:r1", "", "0.1"}, /* equal ids are told apart by their number only */
    {"a:c1c2c1 t:r1 t:r2", "0.2", "0.2"},
};

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena a;
        arena_init(&a, 1024);
        print_message("%s\n", cases[i].text);
        assert_string_equal(alone(cases[i].text, TOOL_PAIRS_BY_MESSAGE, &a), cases[i].by_message);
        assert_string_equal(alone(cases[i].text, TOOL_PAIRS_BY_TURN, &a), cases[i].by_turn);
        arena_clear(&a);
    }
}

/* Many calls of one turn, answered in the worst order, and many of one id: no quadratic time. */
static void test_many(void **state)
{
    enum { MANY = 50000 };
    struct arena a;
    struct chat c = {.from = CHAT_OPENAI};
    struct chat_message *calls, *results;
    struct chat_part **to;
    struct tool_pairs_fault out;

    (void)state;
    for (int equal = 0; equal < 2; equal++) {
        arena_init(&a, 1 << 16);
        calls = ARENA_NEW(&a, struct chat_message);
        results = ARENA_NEW(&a, struct chat_message);
        *calls = (struct chat_message){.role = CHAT_ASSISTANT, .next = results};
        *results = (struct chat_message){.role = CHAT_TOOL};
        c.messages = calls;
        to = &calls->parts;
        for (int i = 0; i < 2 * MANY; i++) {
            struct chat_part *p = ARENA_NEW(&a, struct chat_part);
            int n = i < MANY ? i : 2 * MANY - 1 - i;
            if (i == MANY)
                to = &results->parts;
            p->kind = i < MANY ? CHAT_PART_TOOL_CALL : CHAT_PART_TOOL_RESULT;
            p->id = equal ? SLICE("") : slice_str(arena_printf(&a, "call_%d", n));
            *to = p;
            to = &p->next;
        }
        assert_true(tool_pairs_match(&c, TOOL_PAIRS_BY_MESSAGE, &a, &out));
        assert_int_equal(tool_pairs_match(&c, TOOL_PAIRS_BY_TURN, &a, &out), !equal);
        arena_clear(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
