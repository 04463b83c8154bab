/* Owns the points. Called by cmd_cache_eval.c. */
#include "gateway/cli/pchr.h"

#include <stdlib.h>
#include "base/mem.h"

static int by_falling_score(const void *a, const void *b)
{
    double x = ((const struct pchr_pair *)a)->score, y = ((const struct pchr_pair *)b)->score;

    return (x < y) - (x > y);
}

void pchr_init(struct pchr *p, struct pchr_pair *pairs, size_t n)
{
    size_t served = 0, right = 0;
    double hits_before = 0;

    *p = (struct pchr){.points = mem_alloc((n + 1) * sizeof *p->points)};
    if (n > 0)
        qsort(pairs, n, sizeof *pairs, by_falling_score);
    for (size_t i = 0; i < n; i++) {
        served += !pairs[i].refused;
        right += !pairs[i].refused && pairs[i].right;
        bool tied = i + 1 < n && pairs[i + 1].score >= pairs[i].score;
        if (tied || served == 0)
            continue;
        struct pchr_point at = {.cut = pairs[i].score,
                                .hits = (double)served / (double)n,
                                .precision = (double)right / (double)served};
        p->area += (at.hits - hits_before) * at.precision;
        hits_before = at.hits;
        p->points[p->count++] = at;
    }
}

void pchr_clear(struct pchr *p)
{
    free(p->points);
}

struct pchr_point pchr_at(const struct pchr *p, double cut)
{
    struct pchr_point at = {.cut = cut, .hits = 0, .precision = 1};

    for (size_t i = 0; i < p->count && p->points[i].cut >= cut; i++)
        at = p->points[i];
    at.cut = cut;
    return at;
}

struct pchr_point pchr_best(const struct pchr *p, double max_error)
{
    struct pchr_point best = {.cut = 1, .hits = 0, .precision = 1};

    for (size_t i = 0; i < p->count; i++)
        if (p->points[i].hits * (1 - p->points[i].precision) <= max_error &&
            p->points[i].hits > best.hits)
            best = p->points[i];
    return best;
}

/* ---- drawing ---- */

#define LEFT   60
#define TOP    40
#define WIDTH  560
#define HEIGHT 360

static enum err frame(const char *title, struct buf *out)
{
    enum err e =
        buf_printf(out,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
                   "font-family=\"sans-serif\" "
                   "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
                   "<text x=\"%d\" y=\"22\" font-size=\"15\">",
                   LEFT + WIDTH + 30, TOP + HEIGHT + 50, LEFT);
    for (; *title && e == ERR_OK; title++)
        e = *title == '<' || *title == '&' ? buf_printf(out, "&#%d;", *title)
                                           : buf_append(out, title, 1);
    if (e == ERR_OK)
        e = buf_append_slice(out, SLICE("</text>\n<g stroke=\"#ddd\">\n"));
    for (int i = 0; i <= 10 && e == ERR_OK; i++)
        e = buf_printf(out, "<path d=\"M%d %dh%d M%d %dv%d\"/>\n", LEFT, TOP + i * HEIGHT / 10,
                       WIDTH, LEFT + i * WIDTH / 10, TOP, HEIGHT);
    if (e == ERR_OK)
        e = buf_append_slice(out, SLICE("</g>\n"));
    for (int i = 0; i <= 10 && e == ERR_OK; i += 2)
        e = buf_printf(out,
                       "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%d %%</text>\n"
                       "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%d %%</text>\n",
                       LEFT - 6, TOP + (10 - i) * HEIGHT / 10 + 4, 10 * i, LEFT + i * WIDTH / 10,
                       TOP + HEIGHT + 18, 10 * i);
    if (e == ERR_OK)
        e = buf_printf(out,
                       "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">hits, of all pairs</text>\n"
                       "<text transform=\"translate(16 %d) rotate(-90)\" "
                       "text-anchor=\"middle\">right, of those served</text>\n",
                       LEFT + WIDTH / 2, TOP + HEIGHT + 38, TOP + HEIGHT / 2);
    return e;
}

/* At most some hundreds of points: more are no longer seen. */
static enum err line(const struct pchr_series *s, const char *colour, int at, struct buf *out)
{
    const struct pchr *p = s->curve;
    size_t step = p->count / 400 + 1;
    enum err e = buf_printf(
        out, "<text x=\"%d\" y=\"%d\" fill=\"%s\" text-anchor=\"end\">%s, area %.3f</text>\n",
        LEFT + WIDTH - 8, TOP + 20 + 16 * at, colour, s->name, p->area);

    if (e == ERR_OK)
        e = buf_printf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"",
                       colour);
    for (size_t i = 0; i < p->count && e == ERR_OK; i += step)
        e = buf_printf(out, "%.1f,%.1f ", LEFT + WIDTH * p->points[i].hits,
                       TOP + HEIGHT * (1 - p->points[i].precision));
    return e == ERR_OK ? buf_append_slice(out, SLICE("\"/>\n")) : e;
}

enum err pchr_svg(const struct pchr_series *series, size_t n, const char *title, struct buf *out)
{
    static const char *const colours[] = {"#1f6feb", "#d1242f", "#1a7f37", "#8250df"};
    enum err e = frame(title, out);

    for (size_t i = 0; i < n && e == ERR_OK; i++)
        e = line(&series[i], colours[i % 4], (int)i, out);
    return e == ERR_OK ? buf_append_slice(out, SLICE("</svg>\n")) : e;
}
