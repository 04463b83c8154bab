/* decode(encode(events)) is events: random answers are written as a stream and as a whole reply of
 * each dialect that weir can also read, and read back. What a dialect cannot say is left out before
 * comparing, and only that; texts are compared joined, because a whole reply has no deltas. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/rng.h"
#include "tests/unit/wire/answer_run.h"

#define MAX_BYTES (1 << 20)
#define ROUNDS    400

/* ---- random answers ---- */

struct script {
    struct arena arena;
    struct chat_event events[256];
    size_t count;
};

static const char *const pieces[] = {
    "a",
    "Hello",
    " world",
    "\n",
    "\"",
    "\\",
    "\t",
    "\xC3\xA9",
    "\xF0\x9F\x98\x80",
    "{",
    "}",
    "\x01",
    "data: [DONE]\n\n",
    "</s>",
    "0",
    "\xE2\x80\xA8",
};

static struct slice random_text(struct script *s, struct rng *r)
{
    char text[256];
    size_t n = 0, count = 1 + rng_below(r, 8);

    for (size_t i = 0; i < count; i++) {
        const char *piece = pieces[rng_below(r, sizeof(pieces) / sizeof(pieces[0]))];
        memcpy(text + n, piece, strlen(piece));
        n += strlen(piece);
    }
    return arena_dup(&s->arena, slice_make(text, n));
}

static struct chat_event *add(struct script *s, enum chat_event_kind kind)
{
    assert_true(s->count < sizeof(s->events) / sizeof(s->events[0]));
    s->events[s->count] = (struct chat_event){.kind = kind};
    return &s->events[s->count++];
}

static void add_text(struct script *s, enum chat_event_kind kind, enum chat_block block, int index,
                     struct slice text)
{
    struct chat_event *e = add(s, kind);

    e->block = block;
    e->block_index = index;
    e->text = text;
}

/* A JSON object in random fragments: what decoders must be able to take apart again. */
static void add_arguments(struct script *s, struct rng *r, int index)
{
    static const char *const values[] = {"{}", "{\"a\":1.50}",
                                         "{\"s\":\"}{\\\"\\n\",\"l\":[1,{}]}"};
    struct slice json = slice_str(values[rng_below(r, 3)]);

    while (json.n) {
        size_t n = 1 + rng_below(r, json.n);
        add_text(s, CHAT_DELTA, CHAT_BLOCK_TOOL_CALL, index, slice_make(json.p, n));
        json = slice_from(json, n);
    }
}

static void add_block(struct script *s, struct rng *r, enum chat_block block, int index)
{
    struct chat_event *e = add(s, CHAT_BLOCK_START);

    e->block = block;
    e->block_index = index;
    if (block == CHAT_BLOCK_TOOL_CALL) {
        e->id = slice_str(arena_printf(&s->arena, "call_%d_%u", index, (unsigned)rng_below(r, 99)));
        e->name = SLICE("tool-\xC3\xBC");
        add_arguments(s, r, index);
    } else if (block == CHAT_BLOCK_REDACTED_THINKING) {
        e->text = random_text(s, r);
    } else {
        for (size_t n = 1 + rng_below(r, 4); n; n--)
            add_text(s, CHAT_DELTA, block, index, random_text(s, r));
    }
    if (block == CHAT_BLOCK_THINKING && rng_below(r, 2))
        add_text(s, CHAT_SIGNATURE, block, index, SLICE("c2ln+/=="));
    add_text(s, CHAT_BLOCK_STOP, block, index, SLICE(""));
}

/* Blocks in the order in which both dialects can have them: thinking, one text, tool calls. */
static void make_script(struct script *s, struct rng *r, enum answer_dialect dialect)
{
    static const enum chat_finish finishes[] = {CHAT_FINISH_STOP, CHAT_FINISH_LENGTH,
                                                CHAT_FINISH_FILTER};
    int index = 0;
    size_t calls = rng_below(r, 4);
    struct chat_event *e;

    s->count = 0;
    e = add(s, CHAT_START);
    e->id = dialect == RUN_OPENAI ? SLICE("chatcmpl-x-1_Z") : SLICE("msg_x-1_Z");
    e->name = SLICE("some/model:\"q4\"");
    if (rng_below(r, 2))
        add_block(s, r, CHAT_BLOCK_THINKING, index++);
    if (dialect == RUN_ANTHROPIC && rng_below(r, 2))
        add_block(s, r, CHAT_BLOCK_REDACTED_THINKING, index++);
    if (rng_below(r, 2))
        add_block(s, r, CHAT_BLOCK_TEXT, index++);
    else if (dialect == RUN_OPENAI && rng_below(r, 2))
        add_block(s, r, CHAT_BLOCK_REFUSAL, index++);
    for (size_t i = 0; i < calls; i++)
        add_block(s, r, CHAT_BLOCK_TOOL_CALL, index++);
    e = add(s, CHAT_FINISH);
    e->finish = calls ? CHAT_FINISH_TOOL_CALLS : finishes[rng_below(r, 3)];
    if (dialect == RUN_ANTHROPIC && !calls && rng_below(r, 4) == 0) {
        e->finish = CHAT_FINISH_STOP_SEQUENCE;
        e->text = SLICE("\nEND");
    }
    e = add(s, CHAT_USAGE);
    e->usage.source = USAGE_REPORTED;
    for (int k = 0; k < TOK_KINDS; k++)
        e->usage.n[k] = (int64_t)rng_below(r, 1000);
    add(s, CHAT_END);
}

/* ---- comparing ---- */

/* One line per fact: deltas of a block joined, signatures only where the dialect has them. */
struct digest {
    enum answer_dialect dialect;
    struct buf text, joined;
};

static void flush(struct digest *d, const struct chat_event *e)
{
    struct chat_event whole = *e;

    whole.kind = CHAT_DELTA;
    whole.text = buf_slice(&d->joined);
    /* No arguments and an empty object are the same in a whole message. */
    if (whole.text.n && !(e->block == CHAT_BLOCK_TOOL_CALL && slice_eq(whole.text, SLICE("{}"))))
        answer_run_print(&whole, &d->text);
    buf_reset(&d->joined);
}

static bool on_event(const struct chat_event *e, void *ctx)
{
    struct digest *d = ctx;
    struct chat_event copy = *e;

    if (e->kind == CHAT_DELTA)
        return buf_append_slice(&d->joined, e->text) == ERR_OK;
    if (e->kind == CHAT_SIGNATURE && d->dialect == RUN_OPENAI)
        return true;
    if (e->kind == CHAT_SIGNATURE || e->kind == CHAT_BLOCK_STOP)
        flush(d, e);
    if (e->kind == CHAT_START)
        copy.usage = (struct token_usage){0};
    answer_run_print(&copy, &d->text);
    return true;
}

static void digest_init(struct digest *d, enum answer_dialect dialect)
{
    d->dialect = dialect;
    buf_init(&d->text, MAX_BYTES);
    buf_init(&d->joined, MAX_BYTES);
}

static void digest_clear(struct digest *d)
{
    buf_clear(&d->text);
    buf_clear(&d->joined);
}

/* ---- both ways ---- */

static void write_stream(const struct script *s, enum answer_dialect dialect,
                         const struct chat_encode_options *options, struct buf *out)
{
    struct openai_encode openai;
    struct anthropic_encode anthropic;

    openai_encode_init(&openai, options);
    anthropic_encode_init(&anthropic, options);
    for (size_t i = 0; i < s->count; i++)
        assert_int_equal(dialect == RUN_OPENAI
                             ? openai_encode_on(&openai, &s->events[i], out)
                             : anthropic_encode_on(&anthropic, &s->events[i], out),
                         ERR_OK);
    openai_encode_clear(&openai);
    anthropic_encode_clear(&anthropic);
}

static void write_reply(const struct script *s, enum answer_dialect dialect,
                        const struct chat_encode_options *options, struct buf *out)
{
    struct chat_answer answer;

    chat_answer_init(&answer, MAX_BYTES);
    for (size_t i = 0; i < s->count; i++)
        assert_int_equal(chat_answer_add(&answer, &s->events[i]), ERR_OK);
    assert_int_equal(dialect == RUN_OPENAI ? openai_encode_reply(&answer, options, out)
                                           : anthropic_encode_reply(&answer, options, out),
                     ERR_OK);
    chat_answer_clear(&answer);
}

static void read_stream(enum answer_dialect dialect, struct slice in, struct digest *d)
{
    struct openai_decode_options options = {
        .n = 1, .max_event_bytes = MAX_BYTES, .max_held_bytes = MAX_BYTES};
    struct openai_decode openai;
    struct anthropic_decode anthropic;

    openai_decode_init(&openai, &options, on_event, d);
    anthropic_decode_init(&anthropic, MAX_BYTES, on_event, d);
    if (dialect == RUN_OPENAI) {
        assert_int_equal(openai_decode_feed(&openai, in), ERR_OK);
        assert_true(openai_decode_exhausted(&openai));
        assert_int_equal(openai_decode_end(&openai), ERR_OK);
    } else {
        assert_int_equal(anthropic_decode_feed(&anthropic, in), ERR_OK);
        assert_true(anthropic_decode_exhausted(&anthropic));
        assert_int_equal(anthropic_decode_end(&anthropic), ERR_OK);
    }
    openai_decode_clear(&openai);
    anthropic_decode_clear(&anthropic);
}

static void read_reply(enum answer_dialect dialect, struct slice in, struct digest *d)
{
    assert_int_equal(dialect == RUN_OPENAI ? openai_decode_whole(in, SLICE("r"), on_event, d, NULL)
                                           : anthropic_decode_whole(in, on_event, d, NULL),
                     ERR_OK);
}

static void check_same(const char *how, struct buf *bytes, struct digest *got, struct digest *want)
{
    if (!slice_eq(buf_slice(&got->text), buf_slice(&want->text)))
        fail_msg("%s:\n%.*s\ngot\n%.*s\nwant\n%.*s", how, SLICE_ARG(buf_slice(bytes)),
                 SLICE_ARG(buf_slice(&got->text)), SLICE_ARG(buf_slice(&want->text)));
}

static void check_script(const struct script *s, enum answer_dialect dialect)
{
    struct chat_encode_options options = {
        .created_s = 1, .include_usage = true, .max_answer_bytes = MAX_BYTES};
    struct digest want, stream, reply;
    struct buf bytes;

    digest_init(&want, dialect);
    digest_init(&stream, dialect);
    digest_init(&reply, dialect);
    buf_init(&bytes, MAX_BYTES);
    for (size_t i = 0; i < s->count; i++)
        on_event(&s->events[i], &want);
    write_stream(s, dialect, &options, &bytes);
    read_stream(dialect, buf_slice(&bytes), &stream);
    check_same("stream", &bytes, &stream, &want);
    buf_reset(&bytes);
    write_reply(s, dialect, &options, &bytes);
    read_reply(dialect, buf_slice(&bytes), &reply);
    check_same("reply", &bytes, &reply, &want);
    digest_clear(&want);
    digest_clear(&stream);
    digest_clear(&reply);
    buf_clear(&bytes);
}

static void check_dialect(enum answer_dialect dialect)
{
    struct rng r;

    rng_seed(&r, 20251121);
    for (int i = 0; i < ROUNDS; i++) {
        struct script s = {.count = 0};
        arena_init(&s.arena, 1024);
        make_script(&s, &r, dialect);
        check_script(&s, dialect);
        arena_clear(&s.arena);
    }
}

static void test_openai(void **state)
{
    (void)state;
    check_dialect(RUN_OPENAI);
}

static void test_anthropic(void **state)
{
    (void)state;
    check_dialect(RUN_ANTHROPIC);
}

/* Responses has no decoder: its last event must hold what the whole reply is. */
static void test_responses(void **state)
{
    struct rng r;

    (void)state;
    rng_seed(&r, 7);
    for (int i = 0; i < ROUNDS; i++) {
        struct chat_encode_options options = {.created_s = 1, .max_answer_bytes = MAX_BYTES};
        struct responses_encode e;
        struct script s = {.count = 0};
        struct buf stream, reply;
        struct slice response;

        arena_init(&s.arena, 1024);
        make_script(&s, &r, i % 2 ? RUN_OPENAI : RUN_ANTHROPIC);
        buf_init(&stream, MAX_BYTES);
        buf_init(&reply, MAX_BYTES);
        responses_encode_init(&e, &options);
        for (size_t k = 0; k < s.count; k++)
            assert_int_equal(responses_encode_on(&e, &s.events[k], &stream), ERR_OK);
        assert_int_equal(responses_encode_reply(&e.answer, &options, &reply), ERR_OK);
        response = buf_slice(&stream);
        assert_true(response.n > buf_len(&reply) + 3);
        response = slice_make(response.p + response.n - buf_len(&reply) - 3, buf_len(&reply));
        if (!slice_eq(response, buf_slice(&reply)))
            fail_msg("got\n%.*s\nwant\n%.*s", SLICE_ARG(response), SLICE_ARG(buf_slice(&reply)));
        responses_encode_clear(&e);
        buf_clear(&stream);
        buf_clear(&reply);
        arena_clear(&s.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openai),
        cmocka_unit_test(test_anthropic),
        cmocka_unit_test(test_responses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
