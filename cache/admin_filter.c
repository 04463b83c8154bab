/* Owns nothing. Called by admin_job.c, for each entry that a page brings. */
#include "cache/admin_filter.h"

#include <inttypes.h>
#include <stdio.h>

static bool has_tag(const struct cache_fields *f, struct slice tag)
{
    for (size_t i = 0; i < f->tag_count; i++)
        if (slice_eq(f->tags[i], tag))
            return true;
    return false;
}

static bool id_begins(uint64_t id, struct slice hex)
{
    char text[20];

    snprintf(text, sizeof text, "%016" PRIx64, id);
    return slice_istarts(slice_str(text), hex);
}

static bool texts_match(const struct admin_filter *want, const struct cache_fields *f)
{
    const struct {
        unsigned condition;
        struct slice want, is;
    } equal[] = {
        {ADMIN_BY_SCOPE, want->scope, f->scope},
        {ADMIN_BY_MODEL, want->model, f->model},
        {ADMIN_BY_ROUTE, want->route, f->route},
        {ADMIN_BY_CLASS, want->class_label, f->class_label},
    };

    for (size_t i = 0; i < sizeof equal / sizeof *equal; i++)
        if ((want->by & equal[i].condition) && !slice_eq(equal[i].want, equal[i].is))
            return false;
    return (!(want->by & ADMIN_BY_TAG) || has_tag(f, want->tag)) &&
           (!(want->by & ADMIN_BY_TEXT) || slice_istarts(f->text, want->text)) &&
           (!(want->by & ADMIN_BY_ID) || id_begins(f->id, want->id));
}

bool admin_filter_matches(const struct admin_filter *want, const struct cache_fields *f)
{
    return (!(want->by & ADMIN_BY_ANSWER) || f->answer == want->answer) &&
           (!(want->by & ADMIN_BY_SOURCE) || f->source == want->source) &&
           (!(want->by & ADMIN_BY_PINNED) || f->pinned == want->pinned) &&
           (!(want->by & ADMIN_BY_QUARANTINED) || f->quarantined == want->quarantined) &&
           (!(want->by & ADMIN_BY_OLDER) || f->created_ms < want->older_ms) &&
           (!(want->by & ADMIN_BY_NEWER) || f->created_ms >= want->newer_ms) &&
           texts_match(want, f);
}
