/* A list of routes by name: there are few, and it is walked once per load. Control's thread. */
#include "router/audit_caps.h"

#include <stdlib.h>
#include "base/arena.h"
#include "base/mem.h"
#include "router/daily_cap.h"
#include "router/snapshot.h"

struct audit_cap {
    struct audit_cap *next;
    char *name;
    struct daily_cap cap;
};

void audit_caps_clear(struct audit_caps *c)
{
    while (c->first) {
        struct audit_cap *r = c->first;

        c->first = r->next;
        free(r->name);
        free(r);
    }
}

static struct daily_cap *cap_of(struct audit_caps *c, const char *name)
{
    struct audit_cap *r = c->first;

    while (r && strcmp(r->name, name) != 0)
        r = r->next;
    if (r)
        return &r->cap;
    r = mem_zalloc(1, sizeof *r);
    r->name = mem_strdup(slice_str(name));
    r->next = c->first;
    c->first = r;
    return &r->cap;
}

void audit_caps_serve(struct audit_caps *c, struct snapshot *s)
{
    const struct policy *p = s->policy;

    s->audit_caps = ARENA_ARRAY(s->arena, struct daily_cap *, p->route_count);
    for (size_t i = 0; i < p->route_count; i++)
        if (p->routes[i].decide.audit.share > 0)
            s->audit_caps[i] = cap_of(c, p->routes[i].name);
}
