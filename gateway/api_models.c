/* The lists of models. Called on a worker for each such request; pure. */
#include "gateway/api_models.h"

#include "base/clock.h"
#include "base/json_scan.h"

static enum err append_string(struct buf *out, const char *s)
{
    struct slice raw = slice_str(s);
    char *room;
    size_t bytes;
    enum err err = buf_reserve(out, raw.n * 6 + 2, &room, &bytes);

    if (err == ERR_OK)
        buf_commit(out, json_string_encode(raw, room, bytes));
    return err;
}

static enum err append_key(struct buf *out, struct slice key, const char *value)
{
    enum err err = buf_append_slice(out, key);

    return err == ERR_OK ? append_string(out, value) : err;
}

static enum err append_openai(const struct policy *p, const struct policy_name *n, struct buf *out)
{
    const struct policy_model *m =
        n->model ? n->model : policy_find_model(p, slice_str(n->canonical));
    enum err err = append_key(out, SLICE("{\"id\":"), n->name);

    if (err == ERR_OK)
        err = buf_printf(out, ",\"object\":\"model\",\"created\":%lld",
                         (long long)(p->loaded_wall_us / 1000000));
    if (err == ERR_OK)
        err = append_key(out, SLICE(",\"owned_by\":"), m ? p->backends[m->backend].name : "weir");
    return err == ERR_OK ? buf_append_slice(out, SLICE("}")) : err;
}

static enum err append_anthropic(const struct policy *p, const struct policy_name *n,
                                 struct buf *out)
{
    char created[32];
    enum err err = append_key(out, SLICE("{\"type\":\"model\",\"id\":"), n->name);

    clock_rfc3339(p->loaded_wall_us, created, sizeof created);
    if (err == ERR_OK)
        err = append_key(out, SLICE(",\"display_name\":"), n->name);
    if (err == ERR_OK)
        err = append_key(out, SLICE(",\"created_at\":"), created);
    return err == ERR_OK ? buf_append_slice(out, SLICE("}")) : err;
}

static enum err append_model(const struct policy *p, enum wire_dialect d,
                             const struct policy_name *n, struct buf *out)
{
    return d == WIRE_ANTHROPIC ? append_anthropic(p, n, out) : append_openai(p, n, out);
}

/* What follows the list: Anthropic pages, and this is the only page. */
static enum err append_tail(enum wire_dialect d, const char *first, const char *last,
                            struct buf *out)
{
    enum err err;

    if (d != WIRE_ANTHROPIC)
        return buf_append_slice(out, SLICE("]}"));
    if (!first)
        return buf_append_slice(out,
                                SLICE("],\"has_more\":false,\"first_id\":null,\"last_id\":null}"));
    err = append_key(out, SLICE("],\"has_more\":false,\"first_id\":"), first);
    if (err == ERR_OK)
        err = append_key(out, SLICE(",\"last_id\":"), last);
    return err == ERR_OK ? buf_append_slice(out, SLICE("}")) : err;
}

enum err api_models_list(const struct policy *p, const struct policy_tenant *tenant,
                         enum wire_dialect d, struct buf *out)
{
    const struct policy_name *names;
    const char *first = NULL, *last = NULL;
    size_t n = policy_names(p, &names);
    enum err err = buf_append_slice(
        out, d == WIRE_ANTHROPIC ? SLICE("{\"data\":[") : SLICE("{\"object\":\"list\",\"data\":["));

    for (size_t i = 0; err == ERR_OK && i < n; i++) {
        if (!policy_offers(p, slice_str(names[i].name), tenant))
            continue;
        if (first)
            err = buf_append_slice(out, SLICE(","));
        if (err == ERR_OK)
            err = append_model(p, d, &names[i], out);
        last = names[i].name;
        first = first ? first : last;
    }
    return err == ERR_OK ? append_tail(d, first, last, out) : err;
}

enum err api_models_one(const struct policy *p, const struct policy_tenant *tenant,
                        enum wire_dialect d, struct slice name, struct buf *out)
{
    const struct policy_name *names;
    size_t n = policy_names(p, &names);

    for (size_t i = 0; i < n; i++)
        if (slice_eq(slice_str(names[i].name), name) && policy_offers(p, name, tenant))
            return append_model(p, d, &names[i], out);
    return ERR_MODEL_NOT_FOUND;
}
