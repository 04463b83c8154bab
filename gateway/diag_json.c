/* Diagnostics as JSON. Called by api_admin and by cmd_check. */
#include "gateway/diag_json.h"

#include "gateway/json_put.h"

json_t *diag_json(const struct diags *d)
{
    json_t *array = json_array();
    for (size_t i = 0; i < d->count; i++) {
        const struct diag *g = &d->items[i];
        json_t *o = json_object();
        json_put_text(o, "severity", g->severity == DIAG_ERROR ? "error" : "warning");
        json_put_text(o, "file", g->file);
        json_put_int(o, "line", g->line);
        json_put_int(o, "column", g->column);
        json_put_text(o, "path", g->path);
        json_put_text(o, "message", g->message);
        json_put_text(o, "hint", g->hint);
        json_array_append_new(array, o);
    }
    return array;
}
