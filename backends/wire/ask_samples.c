/* Changes a written body's top level. Called by router/sampling.c. */
#include "backends/wire/ask_samples.h"

#include <stdio.h>
#include "backends/wire/json_pen.h"
#include "backends/wire/member.h"

/* Room for the members that are put in. */
#define EXTRA_BYTES 128

bool ask_samples_greedy(struct slice body)
{
    struct json_member m;
    double temperature;

    return json_get((struct json_value){JSON_OBJECT, json_trim(body)}, SLICE("temperature"), &m) &&
           json_number(m.value, &temperature) && temperature == 0;
}

bool ask_samples_choices(const struct ask_target *to, enum wire_api asked)
{
    return to->dialect == WIRE_OPENAI && (asked == WIRE_CHAT || asked == WIRE_COMPLETIONS) &&
           !(to->quirks->lacks & LACKS_N);
}

/* Does the member go, because a sample says it otherwise or not at all? A seed would draw the same
 * answer each time. */
static bool is_dropped(const struct json_member *m, const struct ask_target *to,
                       const struct ask_samples *how)
{
    static const char *const names[] = {"stream", "stream_options", "seed", "n", "best_of"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (member_is(m, slice_str(names[i])))
            return true;
    if (to->quirks && to->quirks->seed_key && member_is(m, slice_str(to->quirks->seed_key)))
        return true;
    return how->temperature >= 0 && member_is(m, SLICE("temperature"));
}

static void put_rest(struct json_pen *pen, struct json_value root, const struct ask_target *to,
                     const struct ask_samples *how)
{
    struct json_member m;
    struct json_iter it;
    bool first = true;

    json_iter_init(&it, root);
    while (json_iter_next(&it, &m)) {
        if (is_dropped(&m, to, how))
            continue;
        if (!first)
            JSON_PEN(pen, ",");
        first = false;
        json_pen_raw(pen, slice_make(root.text.p + m.begin, m.end - m.begin));
    }
    if (how->n > 1) {
        json_pen_raw(pen, first ? SLICE("\"n\":") : SLICE(",\"n\":"));
        json_pen_int(pen, how->n);
    }
}

bool ask_samples_write(const struct ask_body *written, const struct ask_target *to,
                       const struct ask_samples *how, struct arena *a, struct slice *out)
{
    struct slice text = slice_str(arena_join(a, written->pieces, written->count));
    struct json_value root = {JSON_OBJECT, json_trim(text)};
    char temperature[32];
    struct json_pen pen;
    struct buf body;
    bool good;

    if (root.text.n == 0 || root.text.p[0] != '{' || !json_validate(root.text, NULL))
        return false;
    buf_init(&body, root.text.n + EXTRA_BYTES);
    json_pen_begin(&pen, &body);
    JSON_PEN(&pen, "{");
    put_rest(&pen, root, to, how);
    if (how->temperature >= 0) {
        snprintf(temperature, sizeof temperature, "%.6g", how->temperature);
        json_pen_raw(&pen,
                     buf_len(&body) > 1 ? SLICE(",\"temperature\":") : SLICE("\"temperature\":"));
        json_pen_raw(&pen, slice_str(temperature));
    }
    JSON_PEN(&pen, "}");
    good = json_pen_end(&pen) == ERR_OK;
    if (good)
        *out = arena_dup(a, buf_slice(&body));
    buf_clear(&body);
    return good;
}
