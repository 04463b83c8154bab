/* Owns nothing. Called by api_cache.c. */
#include "gateway/cache_json.h"

#include <inttypes.h>
#include <stdio.h>
#include "cache/admin_job.h"
#include "gateway/json_put.h"

#define HEX_BYTES 17 /* of an id, with NUL */

static void put_id(json_t *o, const char *key, uint64_t id)
{
    char text[HEX_BYTES];

    snprintf(text, sizeof text, "%016" PRIx64, id);
    json_put_text(o, key, text);
}

static void put_digest(json_t *o, const char *key, struct digest d)
{
    char text[DIGEST_HEX_BYTES];

    digest_hex(d, text);
    json_put_text(o, key, text);
}

void cache_json_hex(const uint8_t *bytes, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

json_t *cache_json_tags(const struct cache_fields *f)
{
    json_t *tags = json_array();

    for (size_t i = 0; i < f->tag_count; i++)
        json_array_append_new(tags, json_put_slice(f->tags[i]));
    return tags;
}

json_t *cache_json_usage(const struct token_usage *u)
{
    json_t *o = json_object();

    for (int k = 0; k < TOK_KINDS; k++)
        json_put_int(o, token_kind_name((enum token_kind)k), u->n[k]);
    json_put_text(o, "source", usage_source_name(u->source));
    return o;
}

json_t *cache_json_head(const struct cache_fields *f)
{
    char fingerprint[2 * CACHE_FINGERPRINT_BYTES + 1];
    json_t *o = json_object();

    put_id(o, "id", f->id);
    put_id(o, "answer", f->answer);
    json_put(o, "scope", json_put_slice(f->scope));
    json_put(o, "owner", json_put_slice(f->owner));
    json_put(o, "text", json_put_slice(f->text));
    json_put(o, "dialect", json_put_slice(f->dialect));
    json_put(o, "api", json_put_slice(f->api));
    json_put(o, "model", json_put_slice(f->model));
    json_put(o, "route", json_put_slice(f->route));
    json_put(o, "class", json_put_slice(f->class_label));
    json_put(o, "tags", cache_json_tags(f));
    json_put_text(o, "source", cache_source_name(f->source));
    json_put_bool(o, "pinned", f->pinned);
    json_put_bool(o, "quarantined", f->quarantined);
    json_put_time(o, "created_at", f->created_ms * 1000);
    json_put_time(o, "expires_at", f->expires_ms * 1000);
    json_put_int(o, "bytes", (int64_t)admin_job_entry_bytes(f));
    json_put(o, "usage", cache_json_usage(&f->usage));
    json_put_int(o, "cost_nanousd", f->cost);
    cache_json_hex(f->fingerprint, sizeof f->fingerprint, fingerprint);
    json_put_text(o, "encoder", f->vector ? fingerprint : NULL);
    return o;
}

json_t *cache_json_entry(const struct cache_fields *f)
{
    json_t *o = cache_json_head(f), *body = json_loadb(f->body.p, f->body.n, JSON_DECODE_ANY, NULL);

    put_digest(o, "exact", f->exact);
    put_digest(o, "rest", f->rest);
    json_put(o, "body", body ? body : json_put_slice(f->body));
    return o;
}

void cache_json_tag(const struct cache_fields *f, char out[static CACHE_JSON_TAG_BYTES])
{
    uint8_t sum[CACHE_SUM_BYTES];

    cache_entry_sum(f, sum);
    cache_json_hex(sum, sizeof sum, out);
}

bool cache_json_parse_tag(struct slice tag, uint8_t out[static CACHE_SUM_BYTES])
{
    char padded[2 * DIGEST_BYTES];
    struct digest d;

    if (tag.n != 2 * CACHE_SUM_BYTES)
        return false;
    memset(padded, '0', sizeof padded);
    memcpy(padded, tag.p, tag.n);
    if (!digest_parse(slice_make(padded, sizeof padded), &d))
        return false;
    memcpy(out, d.bytes, CACHE_SUM_BYTES);
    return true;
}
