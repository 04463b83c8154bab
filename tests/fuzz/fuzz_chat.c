/* Requests of any bytes through the translators. What a parser accepts every writer writes as JSON
 * or refuses by name; what is written is accepted by its own dialect's parser. The first byte
 * chooses the client's dialect; the byte-true splice of Anthropic's sees the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include "backends/wire/anthropic_chat.h"
#include "backends/wire/anthropic_request.h"
#include "backends/wire/openai_chat.h"
#include "backends/wire/responses_chat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static enum err parse(int dialect, struct slice body, struct arena *a, struct chat *c,
                      const char **param, struct err_text *t)
{
    if (dialect == CHAT_OPENAI)
        return openai_chat_parse(body, a, c, param, t);
    if (dialect == CHAT_ANTHROPIC)
        return anthropic_chat_parse(ANTHROPIC_MESSAGES, body, a, c, param, t);
    return responses_chat_parse(body, a, c, param, t);
}

static void check_written(enum err err, int dialect, struct slice body, struct arena *a,
                          const char *param, const struct err_text *t)
{
    struct chat again;
    struct err_text why;
    const char *where;

    if (err) {
        must(body.n == 0 && (err == ERR_TOO_LARGE || (err == ERR_UNTRANSLATABLE && param)));
        must(t->s[0] != 0);
        return;
    }
    must(json_validate(body, NULL));
    must(parse(dialect, body, a, &again, &where, &why) == ERR_OK);
}

static void write_all(const struct chat *c, struct arena *a)
{
    struct err_text t = {""};
    const char *param = NULL;
    struct buf out;
    enum err err;

    buf_init(&out, 1 << 22);
    for (int i = 0; i < QUIRK_SERVERS; i++) {
        struct openai_target to = {.quirks = quirks_get((enum quirk_server)i),
                                   .model = SLICE("up"),
                                   .ask_usage = i & 1,
                                   .keep_thinking = i & 2};
        err = openai_chat_write(c, &to, a, &out, &param, &t);
        check_written(err, CHAT_OPENAI, buf_slice(&out), a, param, &t);
        buf_reset(&out);
    }
    for (int i = 0; i < 4; i++) {
        struct anthropic_target to = {
            .model = SLICE("up"), .adaptive_thinking = i & 1, .keep_thinking = i & 2};
        err = anthropic_chat_write(c, &to, a, &out, &param, &t);
        check_written(err, CHAT_ANTHROPIC, buf_slice(&out), a, param, &t);
        buf_reset(&out);
    }
    buf_clear(&out);
}

static void splice(struct slice body, struct arena *a)
{
    struct anthropic_request r;
    struct err_text t;
    struct slice *pieces;
    const char *param;
    size_t total, at = 0, count;
    char *text;

    if (anthropic_request_scan(body, a, &r, &param, &t))
        return;
    count = anthropic_request_splice(&r, SLICE("up"), true, a, &pieces, &total);
    text = arena_alloc(a, total + 1);
    for (size_t i = 0; i < count; i++) {
        must(pieces[i].n <= total - at);
        if (pieces[i].n)
            memcpy(text + at, pieces[i].p, pieces[i].n);
        at += pieces[i].n;
    }
    must(at == total && json_validate(slice_make(text, total), NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err_text t = {""};
    const char *param = NULL;
    struct slice body;
    struct arena a;
    struct chat c;
    char *copy;
    enum err err;

    if (size == 0 || size > 65536)
        return 0;
    arena_init(&a, 4096);
    copy = malloc(size);
    must(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    body = slice_make(copy, size - 1);
    err = parse(data[0] % 3, body, &a, &c, &param, &t);
    if (err)
        must(t.s[0] != 0 && (err == ERR_BAD_JSON || (err == ERR_BAD_REQUEST && param)));
    else
        write_all(&c, &a);
    splice(body, &a);
    free(copy);
    arena_clear(&a);
    return 0;
}
