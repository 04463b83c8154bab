/* Diagnostics as JSON. Called by api_admin and by cmd_check. */
#include "gateway/diag_json.h"

json_t *diag_json(const struct diags *d)
{
    json_t *array = json_array();
    for (size_t i = 0; i < d->count; i++) {
        const struct diag *g = &d->items[i];
        json_array_append_new(array, json_pack("{s:s,s:s?,s:i,s:i,s:s?,s:s,s:s?}", "severity",
                                               g->severity == DIAG_ERROR ? "error" : "warning", "file", g->file, "line",
                                               g->line, "column", g->column, "path", g->path, "message", g->message, "hint",
                                               g->hint));
    }
    return array;
}
