/* Called by api_admin and cli/discover. */
#include "gateway/model_list_json.h"

#include <stdlib.h>
#include "base/mem.h"
#include "gateway/json_put.h"
#include "gateway/model_list.h"

json_t *model_list_entries_json(const struct policy *p, size_t backend,
                                const struct discovery *list)
{
    json_t *entries = json_array();

    for (size_t i = 0; i < list->count; i++) {
        const struct discovery_model *m = &list->models[i];
        json_t *o = json_object();

        json_put_text(o, "id", m->id.p);
        json_put(o, "context", m->context_tokens < 0 ? NULL : json_integer(m->context_tokens));
        json_put_bool(o, "declared", model_list_declared(p, backend, list, m));
        json_array_append_new(entries, o);
    }
    return entries;
}

json_t *model_list_problems_json(const struct policy *p, size_t backend,
                                 const struct discovery *list)
{
    size_t n = model_list_problems(p, backend, list, NULL, 0);
    struct model_list_problem *problems = mem_zalloc(n + 1, sizeof *problems);
    json_t *texts = json_array();
    char text[512];

    model_list_problems(p, backend, list, problems, n);
    for (size_t i = 0; i < n; i++) {
        model_list_problem_text(&problems[i], text, sizeof text);
        json_array_append_new(texts, json_put_string(text));
    }
    free(problems);
    return texts;
}
