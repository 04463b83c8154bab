/* Draws the frontier. Called by cmd_bench. */
#include "gateway/cli/bench_svg.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 760, HEIGHT = 480, LEFT = 70, RIGHT = 20, TOP = 30, BOTTOM = 60, TICKS = 5 };

/* Costs on a logarithmic axis: models differ by factors. */
struct axes {
    double cost_low, cost_high, success_low, success_high;
};

static double x_of(const struct axes *a, double cost)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * log(fmax(cost, a->cost_low) / a->cost_low) /
                      log(a->cost_high / a->cost_low);
}

static double y_of(const struct axes *a, double success)
{
    return HEIGHT - BOTTOM -
           (HEIGHT - TOP - BOTTOM) * (success - a->success_low) /
               (a->success_high - a->success_low);
}

static void include(struct axes *a, struct evaluate_point p)
{
    if (p.cost <= 0)
        return;
    a->cost_low = fmin(a->cost_low, p.cost);
    a->cost_high = fmax(a->cost_high, p.cost);
    a->success_low = fmin(a->success_low, p.success);
    a->success_high = fmax(a->success_high, p.success);
}

static struct axes axes_of(const struct bench_set *s, const struct bench_figures *f)
{
    struct axes a = {INFINITY, 0, INFINITY, 0};

    for (int j = 0; j < s->arms; j++)
        include(&a, f->single[j]);
    for (int k = 0; k < f->prices; k++)
        include(&a, f->family[BENCH_WEIR].point[k]);
    if (!(a.cost_high > a.cost_low)) {
        a.cost_low = fmin(a.cost_low, 1) / 2;
        a.cost_high = fmax(a.cost_high, 2 * a.cost_low + 1);
    }
    double room = fmax(0.01, 0.06 * (a.success_high - a.success_low));
    a.success_low -= room;
    a.success_high += room;
    a.cost_low *= 0.9;
    a.cost_high *= 1.1;
    return a;
}

static void put_axes(FILE *o, const struct axes *a)
{
    fprintf(o,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    for (int i = 0; i <= TICKS; i++) {
        double success = a->success_low + (a->success_high - a->success_low) * i / TICKS;
        double cost = a->cost_low * pow(a->cost_high / a->cost_low, (double)i / TICKS);
        fprintf(o,
                "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/>"
                "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.1f %%</text>\n",
                LEFT, y_of(a, success), WIDTH - RIGHT, LEFT - 6, y_of(a, success) + 4,
                100 * success);
        fprintf(o,
                "<path d=\"M%.1f %dV%d\" stroke=\"#ddd\"/>"
                "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.3g</text>\n",
                x_of(a, cost), TOP, HEIGHT - BOTTOM, x_of(a, cost), HEIGHT - BOTTOM + 18,
                cost / 1e6);
    }
    fprintf(o,
            "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">USD per 1,000 requests</text>\n"
            "<text x=\"%d\" y=\"18\">successes</text>\n",
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, LEFT);
}

static void put_line(FILE *o, const struct axes *a, const struct evaluate_point *p, size_t n,
                     const char *colour, const char *dash)
{
    fprintf(o, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\" d=\"",
            colour, dash);
    for (size_t i = 0; i < n; i++)
        fprintf(o, "%c%.1f %.1f", i ? 'L' : 'M', x_of(a, p[i].cost), y_of(a, p[i].success));
    fputs("\"/>\n", o);
}

static void put_text(FILE *o, const char *text)
{
    for (; *text; text++) {
        if (*text == '<' || *text == '&')
            fprintf(o, "&#%d;", *text);
        else
            fputc(*text, o);
    }
}

static void put_legend(FILE *o, int place, const char *colour, const char *what)
{
    int y = HEIGHT - BOTTOM - 14 - 18 * place;

    fprintf(o,
            "<path d=\"M%d %dh24\" stroke=\"%s\" stroke-width=\"2\"/><text x=\"%d\" y=\"%d\">%s"
            "</text>\n",
            WIDTH - 210, y - 4, colour, WIDTH - 180, y, what);
}

static void put_picture(FILE *o, const struct bench_set *s, const struct bench_figures *f)
{
    struct axes a = axes_of(s, f);
    struct evaluate_point line[BENCH_PRICES > PANDORA_BOXES ? BENCH_PRICES : PANDORA_BOXES];

    put_axes(o, &a);
    memcpy(line, f->single, sizeof f->single);
    put_line(o, &a, line, evaluate_hull(line, (size_t)s->arms), "#888", "4 3");
    memcpy(line, f->family[BENCH_CLASS_MEAN].point, sizeof f->family[0].point);
    put_line(o, &a, line, evaluate_hull(line, (size_t)f->prices), "#d08000", "");
    memcpy(line, f->family[BENCH_WEIR].point, sizeof f->family[0].point);
    put_line(o, &a, line, evaluate_hull(line, (size_t)f->prices), "#0060c0", "");
    for (int j = 0; j < s->arms; j++) {
        double x = x_of(&a, f->single[j].cost), y = y_of(&a, f->single[j].success);
        bool left = x > WIDTH * 0.7;
        fprintf(o, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"#444\"/>", x, y);
        fprintf(o, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"#444\">",
                x + (left ? -8 : 8), y + 14, left ? "end" : "start");
        put_text(o, s->arm[j]);
        fputs("</text>\n", o);
    }
    put_legend(o, 2, "#0060c0", "weir");
    put_legend(o, 1, "#d08000", "each class to one model");
    put_legend(o, 0, "#888", "random mix of single models");
    fputs("</svg>\n", o);
}

enum err bench_svg(const char *path, const struct bench_set *s, const struct bench_figures *f,
                   struct err_text *t)
{
    FILE *o = fopen(path, "w");

    if (!o) {
        err_say(t, "%s: %s", path, strerror(errno));
        return ERR_INTERNAL;
    }
    put_picture(o, s, f);
    bool failed = ferror(o);
    if (fclose(o) == 0 && !failed)
        return ERR_OK;
    err_say(t, "%s: cannot be written", path);
    return ERR_INTERNAL;
}
