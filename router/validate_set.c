/* Validators made ready. Called by snapshot.c on the control thread. */
#include "router/validate_set.h"

#include <stdlib.h>
#include "base/atomic_file.h"
#include "base/json_scan.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "cache/htable.h"
#include "policies/policy_url.h"

/* One connection at a time is the usual case of a judge. */
#define IDLE_CONNECTIONS 4

static void break_rule(struct validate_set *s, struct validate_rule *r, const char *why)
{
    char quoted[256];

    r->broken = arena_strdup(&s->arena, slice_str(why));
    log_line(LOG_WARN, "validate", "a validator cannot be used", "why=%s",
             log_quote(slice_str(why), quoted, sizeof quoted));
}

static void read_schema(struct validate_set *s, struct validate_rule *r)
{
    struct err_text why;
    char *text;
    size_t n, at;

    if (!r->how->file)
        return; /* the request's own */
    if (atomic_file_read(r->how->file, POLICY_MAX_SCHEMA_BYTES, &text, &n, &why) != ERR_OK) {
        break_rule(s, r, why.s);
        return;
    }
    r->schema = arena_dup(&s->arena, slice_make(text, n));
    free(text);
    if (!json_validate(r->schema, &at)) {
        err_say(&why, "%s is not JSON at byte %zu", r->how->file, at);
        break_rule(s, r, why.s);
    }
}

static void find_judge(struct validate_set *s, struct validate_rule *r)
{
    struct policy_endpoint e;
    const char *hint, *why = url_endpoint(slice_str(r->how->url), &s->arena, &e, &hint);

    if (why) {
        break_rule(s, r, why);
        return;
    }
    r->target = (struct upstream_target){.backend = "validator",
                                         .tls = e.tls,
                                         .host = e.host,
                                         .port = e.port,
                                         .authority = e.authority,
                                         .tls_verify = true,
                                         .max_idle_connections = IDLE_CONNECTIONS};
    r->path = slice_str(e.path[0] ? e.path : "/");
}

static void prepare(struct validate_set *s, struct validate_rule *r)
{
    struct err_text why;

    switch (r->how->kind) {
    case POLICY_VALIDATE_JSON_SCHEMA:
        read_schema(s, r);
        break;
    case POLICY_VALIDATE_REGEX:
        r->pattern = pattern_new(slice_str(r->how->pattern), &why);
        if (!r->pattern)
            break_rule(s, r, why.s);
        break;
    case POLICY_VALIDATE_HTTP:
        find_judge(s, r);
        break;
    case POLICY_VALIDATE_TOOL_ARGS:
    case POLICY_VALIDATE_NON_EMPTY:
    case POLICY_VALIDATE_COMMAND:
        break;
    }
}

static uint64_t fingerprint_text(uint64_t h, struct slice s)
{
    return htable_hash_id(h ^ htable_hash_slice(s));
}

static uint64_t fingerprint_of(uint64_t h, const struct validate_rule *r)
{
    const struct policy_validator *how = r->how;

    h = htable_hash_id(h + 1 + (uint64_t)how->kind);
    h = fingerprint_text(h, r->schema);
    h = fingerprint_text(h, slice_str(how->pattern ? how->pattern : ""));
    h = fingerprint_text(h, slice_str(how->url ? how->url : ""));
    for (size_t i = 0; i < how->argv_count; i++)
        h = fingerprint_text(h, slice_str(how->argv[i]));
    return h;
}

struct validate_set *validate_set_new(const struct policy_confidence *c)
{
    struct validate_set *s;

    if (c->validator_count == 0)
        return NULL;
    s = mem_zalloc(1, sizeof *s);
    arena_init(&s->arena, 1024);
    for (; s->count < c->validator_count; s->count++) {
        s->rules[s->count].how = &c->validators[s->count];
        prepare(s, &s->rules[s->count]);
        s->fingerprint = fingerprint_of(s->fingerprint, &s->rules[s->count]);
    }
    s->fingerprint |= 1;
    return s;
}

void validate_set_free(struct validate_set *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++)
        pattern_free(s->rules[i].pattern);
    arena_clear(&s->arena);
    free(s);
}
