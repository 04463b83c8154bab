/* The reliability diagram: what was said across, what came true upwards, the diagonal is honesty; a
 * dot per bin, its area the rows in it, and a bar below for their number. Called by cmd_train and
 * cmd_eval. */
#include <stdarg.h>
#include <stdio.h>
#include "router/encoder/train/report.h"

#define LEFT   64.0
#define TOP    56.0
#define SIDE   360.0 /* of the diagram */
#define BARS   60.0  /* height of the bars below */
#define GAP    22.0
#define WIDTH  (LEFT + SIDE + 24)
#define HEIGHT (TOP + SIDE + GAP + BARS + 48)

struct drawing {
    struct buf *out;
    enum err err;
};

__attribute__((format(printf, 2, 3))) static void draw(struct drawing *d, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (d->err == ERR_OK)
        d->err = buf_append(d->out, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static double across(double said)
{
    return LEFT + SIDE * said;
}

static double up(double came_true)
{
    return TOP + SIDE * (1 - came_true);
}

static void draw_frame(struct drawing *d)
{
    draw(d,
         "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 "
         "%.0f %.0f\" font-family=\"system-ui,sans-serif\" font-size=\"12\" fill=\"#444\">\n",
         WIDTH, HEIGHT, WIDTH, HEIGHT);
    draw(d, "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n");
    for (int i = 0; i <= 5; i++) {
        double at = i / 5.0;
        draw(d, "<path d=\"M%.1f %.1fV%.1fM%.1f %.1fH%.1f\" stroke=\"#e6e6e6\"/>\n", across(at),
             up(0), up(1), across(0), up(at), across(1));
        draw(d, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.1f</text>\n", LEFT - 8,
             up(at) + 4, at);
        draw(d, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.1f</text>\n", across(at),
             HEIGHT - 26, at);
    }
    draw(d, "<path d=\"M%.1f %.1fL%.1f %.1f\" stroke=\"#999\" stroke-dasharray=\"4 4\"/>\n",
         across(0), up(0), across(1), up(1));
    draw(d, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">probability said</text>\n",
         across(0.5), HEIGHT - 8);
    draw(
        d,
        "<text transform=\"translate(18 %.1f) rotate(-90)\" text-anchor=\"middle\">share that came "
        "true</text>\n",
        up(0.5));
}

static void draw_bins(struct drawing *d, const struct metrics_reliability *r)
{
    size_t most = 1;
    double base = TOP + SIDE + GAP + BARS;
    for (size_t i = 0; i < METRICS_BINS; i++)
        most = r->bin[i].rows > most ? r->bin[i].rows : most;
    for (size_t i = 0; i < METRICS_BINS; i++) {
        const struct metrics_bin *b = &r->bin[i];
        double share = (double)b->rows / (double)most, width = SIDE / METRICS_BINS;
        if (b->rows == 0)
            continue;
        draw(d,
             "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
             "fill=\"#9bbfe0\"><title>%zu rows</title></rect>\n",
             LEFT + width * (double)i + 1, base - BARS * share, width - 2, BARS * share, b->rows);
        draw(d,
             "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"#1f5f99\" "
             "fill-opacity=\"0.85\"><title>said %.3f, came true %.3f, %zu rows</title></circle>\n",
             across(b->said), up(b->was), 3 + 7 * share, b->said, b->was, b->rows);
    }
    draw(d, "<path d=\"M%.1f %.1fH%.1f\" stroke=\"#999\"/>\n", LEFT, base, LEFT + SIDE);
    draw(d, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" font-size=\"10\">%zu rows</text>\n",
         LEFT + SIDE, base - BARS - 4, most);
}

/* Text for an SVG: the five characters that mean something in XML are left out. */
static void draw_name(struct drawing *d, struct slice s)
{
    for (size_t i = 0; i < s.n && i < 40; i++)
        if ((unsigned char)s.p[i] >= ' ' && !strchr("<>&\"'", s.p[i]))
            draw(d, "%c", s.p[i]);
}

enum err report_svg(const struct report_facts *f, size_t model, struct buf *out)
{
    struct drawing d = {out, ERR_OK};
    bool of_class = model == REPORT_CLASS;
    const struct metrics_reliability *r =
        of_class ? &f->e->classes.top : &f->e->model[model].reliability;
    draw_frame(&d);
    draw(&d, "<text x=\"%.1f\" y=\"24\" font-size=\"15\" fill=\"#111\">Reliability: ", LEFT);
    draw_name(&d, of_class ? SLICE("the chosen class") : heads_model_name(f->heads, model));
    draw(&d, "</text>\n<text x=\"%.1f\" y=\"42\">%zu %s, ECE %.3f, Brier %.3f</text>\n", LEFT,
         of_class ? f->e->classes.rows : f->e->model[model].rows, f->rows_are, r->ece, r->brier);
    draw_bins(&d, r);
    draw(&d, "</svg>\n");
    return d.err;
}
