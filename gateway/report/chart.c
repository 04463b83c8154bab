/* Called by the pages of a report. */
#include "gateway/report/chart.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 720, HEIGHT = 380, LEFT = 70, RIGHT = 150, TOP = 20, BOTTOM = 50, TICKS = 4 };
enum { BAR = 22, BAR_LEFT = 190, BAR_RIGHT = 150 };
enum { MAX_POINTS = 32 };

static enum err put_text(struct buf *out, const char *text)
{
    enum err e = ERR_OK;

    for (; *text && e == ERR_OK; text++)
        e = (unsigned char)*text < ' ' || strchr("<>&\"'", *text)
                ? buf_printf(out, "&#%d;", (unsigned char)*text < ' ' ? ' ' : *text)
                : buf_append(out, text, 1);
    return e;
}

#define PUT(...)                                                                                   \
    do {                                                                                           \
        if (e == ERR_OK)                                                                           \
            e = buf_printf(out, __VA_ARGS__);                                                      \
    } while (0)
#define PUT_TEXT(s)                                                                                \
    do {                                                                                           \
        if (e == ERR_OK)                                                                           \
            e = put_text(out, s);                                                                  \
    } while (0)

struct axes {
    double cost, low, high; /* costs from 0 */
};

static double x_of(const struct axes *a, double cost)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * cost / a->cost;
}

static double y_of(const struct axes *a, double success)
{
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (success - a->low) / (a->high - a->low);
}

static struct axes axes_of(const struct chart_point *p, int n)
{
    struct axes a = {1, 1, 0};

    for (int i = 0; i < n; i++) {
        a.cost = fmax(a.cost, 1.1 * p[i].at.cost);
        a.low = fmin(a.low, p[i].at.success);
        a.high = fmax(a.high, p[i].at.success);
    }
    a.low = fmax(0, a.low - 0.05);
    a.high = fmin(1, a.high + 0.05);
    return a;
}

static enum err put_axes(const struct axes *a, struct buf *out)
{
    enum err e = ERR_OK;

    for (int i = 0; i <= TICKS; i++) {
        double cost = a->cost * i / TICKS, success = a->low + (a->high - a->low) * i / TICKS;
        PUT("<path d=\"M%d %.1fH%d\" stroke=\"currentColor\" stroke-opacity=\".2\"/>"
            "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.1f %%</text>\n",
            LEFT, y_of(a, success), WIDTH - RIGHT, LEFT - 6, y_of(a, success) + 4, 100 * success);
        PUT("<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.3g</text>\n", x_of(a, cost),
            HEIGHT - BOTTOM + 18, cost / 1e6);
    }
    PUT("<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">USD per 1,000 requests</text>\n",
        (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8);
    return e;
}

static enum err put_hull(const struct axes *a, const struct chart_point *p, int n, struct buf *out)
{
    struct evaluate_point hull[MAX_POINTS];
    size_t corners = 0;
    enum err e = ERR_OK;

    for (int i = 0; i < n; i++)
        if (!p[i].special)
            hull[corners++] = p[i].at;
    if (corners == 0)
        return ERR_OK;
    corners = evaluate_hull(hull, corners);
    PUT("<path fill=\"none\" stroke=\"currentColor\" stroke-dasharray=\"4 3\" d=\"");
    for (size_t i = 0; i < corners; i++)
        PUT("%c%.1f %.1f", i ? 'L' : 'M', x_of(a, hull[i].cost), y_of(a, hull[i].success));
    PUT("\"/>\n");
    return e;
}

enum err chart_frontier(const struct chart_point *p, int n, struct buf *out)
{
    struct axes a;
    enum err e = ERR_OK;

    if (n == 0)
        return ERR_OK;
    n = n < MAX_POINTS ? n : MAX_POINTS;
    a = axes_of(p, n);
    PUT("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
        "font-family=\"sans-serif\" font-size=\"12\" fill=\"currentColor\" role=\"img\" "
        "aria-label=\"success over cost\">\n",
        WIDTH, HEIGHT, WIDTH);
    if (e == ERR_OK)
        e = put_axes(&a, out);
    if (e == ERR_OK)
        e = put_hull(&a, p, n, out);
    for (int i = 0; i < n; i++) {
        double x = x_of(&a, p[i].at.cost), y = y_of(&a, p[i].at.success);
        PUT("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%d\" fill=\"%s\"/><text x=\"%.1f\" y=\"%.1f\">", x,
            y, p[i].special ? 7 : 5, p[i].special ? "#e4572e" : "#3d7ea6", x + 10, y + 4);
        PUT_TEXT(p[i].name);
        PUT("</text>\n");
    }
    PUT("</svg>\n");
    return e;
}

enum err chart_bars(const char *title, const struct chart_bar *b, int n, struct buf *out)
{
    double most = 0, room = WIDTH - BAR_LEFT - BAR_RIGHT;
    enum err e = ERR_OK;

    for (int i = 0; i < n; i++)
        most = fmax(most, b[i].value);
    if (!(most > 0))
        return ERR_OK;
    PUT("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
        "font-family=\"sans-serif\" font-size=\"12\" fill=\"currentColor\" role=\"img\">\n"
        "<text x=\"0\" y=\"14\" font-weight=\"600\">",
        WIDTH, BAR * (n + 1), WIDTH);
    PUT_TEXT(title);
    PUT("</text>\n");
    for (int i = 0; i < n; i++) {
        int y = BAR * (i + 1);
        double width = room * fmax(0, b[i].value) / most;
        PUT("<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", BAR_LEFT - 8, y + 15);
        PUT_TEXT(b[i].name);
        PUT("</text><rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"#3d7ea6\"/>"
            "<text x=\"%.1f\" y=\"%d\">",
            BAR_LEFT, y + 2, width, BAR - 6, BAR_LEFT + width + 6, y + 15);
        PUT_TEXT(b[i].label);
        PUT("</text>\n");
    }
    PUT("</svg>\n");
    return e;
}
