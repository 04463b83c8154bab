/* Commands as they are put together, the scripts by name or text, and what replies say. Called by
 * the other files of the Redis store. */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/ascii.h"
#include "base/mem.h"
#include "cache/store_redis_fields.h"
#include "cache/store_redis_int.h"
#include "cache/store_redis_scripts.h"

/* ---- words ---- */

void redis_words_init(struct redis_words *w)
{
    w->count = 0;
    arena_init(&w->room, 4096);
}

void redis_words_clear(struct redis_words *w)
{
    arena_clear(&w->room);
}

void redis_words_add(struct redis_words *w, struct slice s)
{
    assert(w->count < sizeof w->word / sizeof w->word[0]);
    w->word[w->count++] = s;
}

void redis_words_format(struct redis_words *w, const char *fmt, ...)
{
    char text[64];
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    assert(n >= 0 && (size_t)n < sizeof text);
    redis_words_add(w, arena_dup(&w->room, slice_make(text, (size_t)n)));
}

void redis_words_key(struct redis_words *w, const struct store_redis *s, unsigned bucket,
                     const char *kind, struct slice name)
{
    redis_words_add(w, slice_str(arena_printf(&w->room, "%s:{%u}:%s%.*s", s->prefix, bucket, kind,
                                              SLICE_ARG(name))));
}

void redis_words_entry_key(struct redis_words *w, const struct store_redis *s, unsigned bucket,
                           uint64_t id)
{
    char hex[20];

    snprintf(hex, sizeof hex, "%016" PRIx64, id);
    redis_words_key(w, s, bucket, "e:", slice_str(hex));
}

void redis_words_exact_key(struct redis_words *w, const struct store_redis *s, unsigned bucket,
                           struct digest exact)
{
    char hex[DIGEST_HEX_BYTES];

    digest_hex(exact, hex);
    redis_words_key(w, s, bucket, "x:", slice_str(hex));
}

void redis_words_home(struct redis_words *w, struct slice scope)
{
    redis_words_format(w, "%016" PRIx64, store_home(scope));
}

void redis_words_fields(struct redis_words *w, size_t count)
{
    for (size_t i = 0; i < count; i++)
        redis_words_add(w, slice_str(redis_field_keys[i]));
}

/* ---- scripts ---- */

static const char *const script_text[SCRIPTS] = {
    [SCRIPT_PUT] = REDIS_SCRIPT_PUT,       [SCRIPT_EXACT] = REDIS_SCRIPT_EXACT,
    [SCRIPT_DEL] = REDIS_SCRIPT_DEL,       [SCRIPT_FLUSH] = REDIS_SCRIPT_FLUSH,
    [SCRIPT_TAGGED] = REDIS_SCRIPT_TAGGED,
};

/* By its name where the server has it: a kilobyte less on the way. */
void redis_words_script(struct store_redis *s, struct redis_words *w, enum redis_script which,
                        int keys)
{
    redis_words_init(w);
    redis_words_add(w, s->sha[which][0] ? SLICE("EVALSHA") : SLICE("EVAL"));
    redis_words_add(w, slice_str(s->sha[which][0] ? s->sha[which] : script_text[which]));
    redis_words_format(w, "%d", keys);
}

struct script_load {
    struct store_redis *s;
    enum redis_script which;
};

static void on_loaded(void *ctx, enum err err, const struct redis_reply *r)
{
    struct script_load *l = ctx;
    struct slice sha = err == ERR_OK ? redis_reply_text(r) : SLICE("");

    if (sha.n == 40 && redis_reply_kind(r) == REDIS_KIND_TEXT)
        memcpy(l->s->sha[l->which], sha.p, 40);
    free(l);
}

void redis_scripts_load(struct store_redis *s)
{
    for (int i = 0; i < SCRIPTS; i++) {
        struct script_load *l = mem_alloc(sizeof *l);
        struct slice words[] = {SLICE("SCRIPT"), SLICE("LOAD"), slice_str(script_text[i])};
        *l = (struct script_load){s, (enum redis_script)i};
        memset(s->sha[i], 0, sizeof s->sha[i]);
        redis_link_call(s->calls, words, 3, REDIS_WRITE_US, on_loaded, l);
    }
}

/* What an answer that is none means. */
enum err redis_refusal(struct store_redis *s, const struct redis_reply *r)
{
    struct slice said = redis_reply_text(r);

    if (redis_reply_kind(r) != REDIS_KIND_ERROR)
        return ERR_OK;
    s->stat.failed++;
    snprintf(s->stat.detail, sizeof s->stat.detail, "%.*s", said.n < 150 ? (int)said.n : 150,
             said.p);
    if (slice_starts(said, SLICE("NOSCRIPT")))
        redis_scripts_load(s); /* somebody emptied its list of scripts */
    return slice_starts(said, SLICE("OOM")) ? ERR_TOO_LARGE : ERR_OVERLOADED;
}

/* ---- replies ---- */

uint64_t redis_decimal(struct slice s)
{
    uint64_t v = 0;

    for (size_t i = 0; i < s.n && i < 19 && ascii_is_digit(s.p[i]); i++)
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    return v;
}

uint64_t redis_hex(struct slice s)
{
    uint64_t v = 0;

    for (size_t i = 0; i < s.n && i < 16; i++) {
        char c = s.p[i];
        int digit = ascii_hex_lower(c);
        if (digit < 0)
            return 0;
        v = v << 4 | (unsigned)digit;
    }
    return v;
}
