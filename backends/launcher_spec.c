/* Deep copy and comparison of specs. Called under the launcher's lock. */
#include "backends/launcher_spec.h"

#include <string.h>
#include "base/mem.h"

/* ---- copy: one block, the struct first, then pointer arrays, then text ---- */

struct block {
    char *strings;         /* where the next text goes; NULL while measuring */
    const char **pointers; /* where the next array goes */
    size_t string_bytes, pointer_count;
};

static const char *put_text(struct block *b, const char *s)
{
    size_t n = s ? strlen(s) + 1 : 0;
    char *to = b->strings;

    b->string_bytes += n;
    if (!s || !to)
        return NULL;
    memcpy(to, s, n);
    b->strings += n;
    return to;
}

static const char *const *put_list(struct block *b, const char *const *list)
{
    const char **to = b->pointers;
    size_t n = 0;

    if (!list)
        return NULL;
    for (; list[n]; n++) {
        const char *text = put_text(b, list[n]);

        if (to)
            to[n] = text;
    }
    if (to) {
        to[n] = NULL;
        b->pointers += n + 1;
    }
    b->pointer_count += n + 1;
    return to;
}

static void put_spec(struct block *b, const struct launcher_spec *s, struct launcher_spec *to)
{
    *to = *s;
    to->argv = put_list(b, s->argv);
    to->env = put_list(b, s->env);
    to->name = put_text(b, s->name);
    to->directory = put_text(b, s->directory);
    to->host = put_text(b, s->host);
    to->ready_path = put_text(b, s->ready_path);
    to->group = put_text(b, s->group);
}

struct launcher_spec *launcher_spec_copy(const struct launcher_spec *s)
{
    struct block b = {0};
    struct launcher_spec measured, *copy;
    size_t pointer_bytes;

    put_spec(&b, s, &measured);
    pointer_bytes = b.pointer_count * sizeof *b.pointers;
    copy = mem_alloc(sizeof *copy + pointer_bytes + b.string_bytes);
    b.pointers = (const char **)(void *)(copy + 1);
    b.strings = (char *)(copy + 1) + pointer_bytes;
    put_spec(&b, s, copy);
    return copy;
}

/* ---- comparison ---- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_list(const char *const *a, const char *const *b)
{
    size_t i = 0;

    if (!a || !b)
        return a == b;
    while (a[i] && same_text(a[i], b[i]))
        i++;
    return !a[i] && !b[i];
}

bool launcher_spec_equal(const struct launcher_spec *a, const struct launcher_spec *b)
{
    return same_text(a->name, b->name) && same_list(a->argv, b->argv) &&
           same_list(a->env, b->env) && same_text(a->directory, b->directory) &&
           same_text(a->host, b->host) && a->port == b->port &&
           same_text(a->ready_path, b->ready_path) && a->ready_timeout_ms == b->ready_timeout_ms &&
           a->idle_ms == b->idle_ms && a->stop_ms == b->stop_ms && same_text(a->group, b->group) &&
           a->min_run_ms == b->min_run_ms && a->max_queue == b->max_queue &&
           a->backoff_base_ms == b->backoff_base_ms && a->backoff_max_ms == b->backoff_max_ms;
}
