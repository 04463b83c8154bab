/* Routes that no request can reach, because earlier ones take all that they would.
 *
 * A route is the set of requests for which every clause of its match holds. Each name that the
 * later route takes is looked at alone: it is covered if some earlier route takes that name and is
 * no narrower in every other clause. When all names are covered, and so for each of its tenants and
 * APIs, the later route is dead. This finds every dead route that a reader would call one; unions
 * over header values and sizes are not searched for. Routes that weir added itself may be dead.
 * Thread: the loader's. Called by policy_check.
 */
#include "policies/policy_check_int.h"
#include "policies/policy_glob.h"

/* A pathological file (thousands of routes with hundreds of names) ends the search instead of the
 * patience. */
#define WORK_MAX 20000000

struct search {
    struct binder *binder;
    const struct policy_snapshot *snapshot;
    size_t work;
    const char *takers; /* names of the first few routes that cover, for the message */
    size_t taker_count, last_taker;
};

static bool covers_name(const struct policy *p, const struct policy_match *wide,
                        const char *pattern)
{
    if (wide->model_count == 0)
        return true;
    return policy_match_model(p, wide, slice_str(pattern));
}

static bool covers_tenant(const struct policy_match *wide, const char *tenant)
{
    for (size_t i = 0; tenant && i < wide->tenant_count; i++)
        if (strcmp(wide->tenants[i], tenant) == 0)
            return true;
    return wide->tenant_count == 0;
}

/* All the tags that wide asks for are among those that narrow has (the tenant's own count as well).
 */
static bool covers_tags(const struct policy_match *wide, const struct policy_match *narrow)
{
    for (size_t i = 0; i < wide->tag_count; i++) {
        bool found = false;
        for (size_t j = 0; j < narrow->tag_count && !found; j++)
            found = strcmp(wide->tags[i], narrow->tags[j]) == 0;
        if (!found)
            return false;
    }
    return true;
}

static bool covers_headers(const struct policy_match *wide, const struct policy_match *narrow)
{
    for (size_t i = 0; i < wide->header_count; i++) {
        const struct policy_header *w = &wide->headers[i];
        bool found = false;
        for (size_t j = 0; j < narrow->header_count && !found; j++) {
            const struct policy_header *n = &narrow->headers[j];
            found =
                slice_ieq(slice_str(w->name), slice_str(n->name)) &&
                (!w->value || (n->value && glob_match(slice_str(w->value), slice_str(n->value))));
        }
        if (!found)
            return false;
    }
    return true;
}

static bool covers_range(struct policy_range wide, struct policy_range narrow)
{
    bool low = wide.min <= 0 || (narrow.min != POLICY_NONE && narrow.min >= wide.min);
    bool high = wide.max == POLICY_NONE || (narrow.max != POLICY_NONE && narrow.max <= wide.max);
    return low && high;
}

static bool covers_class(const struct policy_match *wide, const struct policy_match *narrow)
{
    for (size_t i = 0; wide->class_count && i < narrow->class_count; i++) {
        bool found = false;
        for (size_t j = 0; j < wide->class_count && !found; j++)
            found = strcmp(wide->classes[j], narrow->classes[i]) == 0;
        if (!found)
            return false;
    }
    return wide->class_count == 0 ||
           (narrow->class_count && wide->min_confidence <= narrow->min_confidence);
}

/* Does an earlier route take all requests of `later` for this name, tenant (NULL: any) and API? */
static bool covered(struct search *s, size_t later, const char *pattern, const char *tenant,
                    unsigned api)
{
    const struct policy *p = &s->snapshot->policy;
    const struct policy_match *narrow = &p->routes[later].match;
    for (size_t i = 0; i < later && s->work < WORK_MAX; i++) {
        const struct policy_match *wide = &p->routes[i].match;
        s->work += 1 + wide->model_count + wide->tenant_count;
        if (!covers_tenant(wide, tenant) || (wide->apis && !(wide->apis & 1u << api)) ||
            !covers_range(wide->prompt_tokens, narrow->prompt_tokens) ||
            !covers_tags(wide, narrow) || !covers_headers(wide, narrow) ||
            !covers_class(wide, narrow) || !covers_name(p, wide, pattern))
            continue;
        if ((!s->takers || s->last_taker != i) && s->taker_count++ < 8)
            s->takers =
                arena_printf(s->binder->scratch, "%s%s'%s' (line %d)", s->takers ? s->takers : "",
                             s->takers ? ", " : "", p->routes[i].name, p->routes[i].line);
        s->last_taker = i;
        return true;
    }
    return false;
}

static bool covered_by_all(struct search *s, size_t later, const char *pattern)
{
    const struct policy_match *m = &s->snapshot->policy.routes[later].match;
    size_t tenants = m->tenant_count ? m->tenant_count : 1;
    for (size_t t = 0; t < tenants; t++)
        for (unsigned api = 0; api < POLICY_APIS; api++)
            if ((!m->apis || (m->apis & 1u << api)) &&
                !covered(s, later, pattern, m->tenant_count ? m->tenants[t] : NULL, api))
                return false;
    return true;
}

/* Any name that the policy knows: those that can be listed, and those that some route takes by a
 * pattern. */
static bool every_name_covered(struct search *s, size_t later)
{
    const struct policy *p = &s->snapshot->policy;
    for (size_t i = 0; i < s->snapshot->name_count; i++)
        if (!covered_by_all(s, later, s->snapshot->names[i].name))
            return false;
    for (size_t i = 0; s->snapshot->globs && i < p->route_count; i++)
        for (size_t j = 0; j < p->routes[i].match.model_count; j++)
            if (glob_is(slice_str(p->routes[i].match.models[j])) &&
                !covered_by_all(s, later, p->routes[i].match.models[j]))
                return false;
    return true;
}

static bool dead(struct search *s, size_t later)
{
    const struct policy_match *m = &s->snapshot->policy.routes[later].match;
    s->takers = NULL;
    s->taker_count = 0;
    if (m->model_count == 0)
        return every_name_covered(s, later);
    for (size_t i = 0; i < m->model_count; i++)
        if (!covered_by_all(s, later, m->models[i]))
            return false;
    return true;
}

void policy_check_reach(struct binder *b, const struct policy_snapshot *snapshot)
{
    struct search s = {.binder = b, .snapshot = snapshot};
    const struct policy *p = &snapshot->policy;
    for (size_t i = 1; i < b->draft->written_routes && s.work < WORK_MAX; i++)
        if (dead(&s, i))
            bind_error(b, binder_place(b, &p->routes[i]), "move it up, or narrow the earlier route",
                       "the route '%s' can never match; before it comes %s", p->routes[i].name,
                       s.takers);
    if (s.work >= WORK_MAX)
        bind_warning(b, binder_place(b, &p->routes[0]), NULL,
                     "too many routes to look for those that can never match");
}
