/* Called by weir top. */
#include "gateway/cli/samples.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define MAX_BUCKETS 64

/* One line, without its end: name{labels} value. */
static bool parse(struct slice line, struct sample *out)
{
    const char *space = memrchr(line.p, ' ', line.n), *brace;
    char number[64], *end;
    size_t head, n;

    if (!space || line.p[0] == '#')
        return false;
    head = (size_t)(space - line.p);
    n = line.n - head - 1;
    if (n == 0 || n >= sizeof number)
        return false;
    memcpy(number, space + 1, n);
    number[n] = '\0';
    out->value = strtod(number, &end);
    brace = memchr(line.p, '{', head);
    out->name = slice_make(line.p, brace ? (size_t)(brace - line.p) : head);
    out->labels = brace ? slice_make(brace + 1, (size_t)(space - brace) - 1) : SLICE("");
    if (out->labels.n && out->labels.p[out->labels.n - 1] == '}')
        out->labels.n--;
    return *end == '\0' && out->name.n > 0;
}

void samples_init(struct samples *s, struct slice page)
{
    size_t at = 0;

    *s = (struct samples){.text = mem_strdup(page)};
    while (at < page.n) {
        const char *from = s->text + at, *newline = memchr(from, '\n', page.n - at);
        size_t n = newline ? (size_t)(newline - from) : page.n - at;
        if (s->count == s->room) {
            s->room = s->room ? 2 * s->room : 256;
            s->at = mem_resize(s->at, s->room, sizeof *s->at);
        }
        s->count += n > 0 && parse(slice_make(from, n), &s->at[s->count]);
        at += n + 1;
    }
}

void samples_clear(struct samples *s)
{
    free(s->at);
    free(s->text);
    *s = (struct samples){.text = NULL};
}

struct slice samples_label(const struct sample *s, const char *label)
{
    size_t n = strlen(label), at = 0;

    while (at < s->labels.n) { /* name="value", */
        struct slice rest = slice_from(s->labels, at);
        size_t end = 0, begin;
        while (end < rest.n && rest.p[end] != '"')
            end++;
        begin = ++end;
        while (end < rest.n && rest.p[end] != '"')
            end += rest.p[end] == '\\' ? 2 : 1;
        if (begin > rest.n || end > rest.n)
            break;
        if (begin == n + 2 && memcmp(rest.p, label, n) == 0)
            return slice_make(rest.p + begin, end - begin);
        at += end + 2;
    }
    return SLICE("");
}

static bool matches(const struct sample *s, struct slice name, const char *label,
                    struct slice value)
{
    return slice_eq(s->name, name) && (!label || slice_eq(samples_label(s, label), value));
}

double samples_sum(const struct samples *s, const char *name, const char *label, struct slice value)
{
    double sum = 0;

    for (size_t i = 0; i < s->count; i++)
        if (matches(&s->at[i], slice_str(name), label, value))
            sum += s->at[i].value;
    return sum;
}

/* ---- quantiles ---- */

struct bucket {
    double upto, count; /* cumulative */
};

static double upper_end(const struct sample *s)
{
    struct slice le = samples_label(s, "le");
    char text[32];

    snprintf(text, sizeof text, "%.*s", SLICE_ARG(le));
    return strcmp(text, "+Inf") == 0 ? (double)INFINITY : strtod(text, NULL);
}

static int add_buckets(const struct samples *s, double sign, struct slice name, const char *label,
                       struct slice value, struct bucket *b, int n)
{
    for (size_t i = 0; i < s->count; i++) {
        int k = 0;
        double upto;
        if (!matches(&s->at[i], name, label, value))
            continue;
        upto = upper_end(&s->at[i]);
        while (k < n && b[k].upto < upto)
            k++;
        if (k == n || b[k].upto > upto) {
            if (n == MAX_BUCKETS)
                continue;
            memmove(&b[k + 1], &b[k], (size_t)(n - k) * sizeof *b);
            b[k] = (struct bucket){upto, 0};
            n++;
        }
        b[k].count += sign * s->at[i].value;
    }
    return n;
}

double samples_quantile(const struct samples *now, const struct samples *before, const char *name,
                        const char *label, struct slice value, double q)
{
    struct bucket b[MAX_BUCKETS];
    char full[128];
    int n;

    snprintf(full, sizeof full, "%s_bucket", name);
    n = add_buckets(now, 1, slice_str(full), label, value, b, 0);
    if (before)
        n = add_buckets(before, -1, slice_str(full), label, value, b, n);
    if (n == 0 || !(b[n - 1].count > 0))
        return (double)NAN;
    for (int k = 0; k < n; k++)
        if (b[k].count >= q * b[n - 1].count)
            return isinf(b[k].upto) && k > 0 ? b[k - 1].upto : b[k].upto;
    return (double)NAN;
}
