/* Requests of any bytes. What is accepted must splice into a body that is accepted again, names the
 * new model, asks for usage where it was told to, and splices into itself. The first byte chooses
 * the API. */
#include <stdint.h>
#include <stdlib.h>
#include "backends/wire/openai_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static struct slice joined(const struct openai_request *r, enum openai_usage_wish ask,
                           bool logprobs, struct arena *a)
{
    struct slice *pieces;
    size_t total,
        at = 0, count = openai_request_splice(r, SLICE("up\"m"), ask, logprobs, a, &pieces, &total);
    char *text = arena_alloc(a, total + 1);

    for (size_t i = 0; i < count; i++) {
        must(pieces[i].n <= total - at);
        memcpy(text + at, pieces[i].p, pieces[i].n);
        at += pieces[i].n;
    }
    must(at == total);
    return slice_make(text, total);
}

static void check_splice(const struct openai_request *r, enum openai_usage_wish ask, bool logprobs,
                         struct arena *a)
{
    struct openai_request again;
    struct slice text = joined(r, ask, logprobs, a);
    struct err_text t;
    const char *param;

    must(openai_request_scan(r->api, text, a, &again, &param, &t) == ERR_OK);
    must(slice_eq(again.model_name, SLICE("up\"m")));
    must(again.stream == r->stream && again.n == r->n && again.max_tokens == r->max_tokens);
    must(again.include_usage ==
         (r->include_usage || (ask != OPENAI_USAGE_AS_WRITTEN && r->stream)));
    must(again.logprobs == (r->logprobs || (logprobs && r->api != WIRE_EMBEDDINGS)));
    must(slice_eq(again.last_user_text, r->last_user_text) &&
         slice_eq(again.messages.value.text, r->messages.value.text));
    must(slice_eq(joined(&again, ask, logprobs, a), text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct openai_request r;
    struct arena a;
    struct err_text t = {""};
    const char *param = NULL;
    enum err err;

    if (size == 0)
        return 0;
    arena_init(&a, 4096);
    char *copy = malloc(size);
    must(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    err = openai_request_scan((enum wire_api)(data[0] % WIRE_APIS), slice_make(copy, size - 1), &a,
                              &r, &param, &t);
    if (err) {
        must(err == ERR_BAD_JSON || (err == ERR_BAD_REQUEST && param));
        must(t.s[0] != 0);
    } else {
        for (int logprobs = 0; logprobs < 2; logprobs++) {
            check_splice(&r, OPENAI_USAGE_AS_WRITTEN, logprobs, &a);
            check_splice(&r, OPENAI_USAGE_AT_END, logprobs, &a);
            check_splice(&r, OPENAI_USAGE_THROUGHOUT, logprobs, &a);
        }
    }
    free(copy);
    arena_clear(&a);
    return 0;
}
