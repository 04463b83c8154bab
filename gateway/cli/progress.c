/* Progress lines. The rate is the mean since the beginning: steady enough to promise an end by.
 * Called by commands that take long. */
#include "gateway/cli/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "base/clock.h"

#define DRAW_US     100000
#define PLAIN_US    5000000 /* a plain line at most so often */
#define BAR_COLUMNS 24
#define SETTLE_US   500000 /* before that a rate says nothing */

void progress_amount(uint64_t n, enum progress_unit unit, char *out, size_t out_bytes)
{
    static const char *const names[] = {"bytes", "kB", "MB", "GB"};
    double x = (double)n;
    size_t i = 0;
    if (unit == PROGRESS_COUNT || n < 1000) {
        snprintf(out, out_bytes, unit == PROGRESS_COUNT ? "%llu" : "%llu bytes",
                 (unsigned long long)n);
        return;
    }
    for (; x >= 1000 && i < 3; i++)
        x /= 1000;
    snprintf(out, out_bytes, "%.1f %s", x, names[i]);
}

void progress_begin(struct progress *p, const char *label, enum progress_unit unit)
{
    const char *term = getenv("TERM");
    *p = (struct progress){.unit = unit, .begun_us = clock_mono_us()};
    snprintf(p->label, sizeof p->label, "%s", label);
    p->drawn_us = p->begun_us;
    p->terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

void progress_resume(struct progress *p, uint64_t begun_at)
{
    p->begun_at = begun_at;
}

static int terminal_columns(void)
{
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

/* "40.1 MB of 83.5 MB, 12.3 MB/s, 0:04 left" */
static void describe(const struct progress *p, uint64_t done, uint64_t total, int64_t now_us,
                     char *out, size_t out_bytes)
{
    char have[32], all[32], rate[32];
    progress_amount(done, p->unit, have, sizeof have);
    size_t n = (size_t)snprintf(out, out_bytes, "%s", have);
    if (total && n < out_bytes) {
        progress_amount(total, p->unit, all, sizeof all);
        n += (size_t)snprintf(out + n, out_bytes - n, " of %s", all);
    }
    int64_t took_us = now_us - p->begun_us;
    if (took_us < SETTLE_US || done <= p->begun_at || n >= out_bytes)
        return;
    double per_second = (double)(done - p->begun_at) * 1e6 / (double)took_us;
    progress_amount((uint64_t)per_second, p->unit, rate, sizeof rate);
    n += (size_t)snprintf(out + n, out_bytes - n, ", %s/s", rate);
    if (total > done && per_second > 0 && n < out_bytes) {
        double left = (double)(total - done) / per_second;
        int s = left < 359999 ? (int)(left + 0.5) : 359999;
        snprintf(out + n, out_bytes - n, s < 3600 ? ", %d:%02d left" : ", %d:%02d h left",
                 s < 3600 ? s / 60 : s / 3600, s < 3600 ? s % 60 : s / 60 % 60);
    }
}

static void draw(struct progress *p, uint64_t done, uint64_t total, const char *text)
{
    char bar[BAR_COLUMNS + 1], line[256];
    int full = total ? (int)((double)done / (double)total * BAR_COLUMNS) : 0;
    full = full > BAR_COLUMNS ? BAR_COLUMNS : full;
    memset(bar, '.', BAR_COLUMNS);
    memset(bar, '#', (size_t)full);
    bar[BAR_COLUMNS] = '\0';
    int n = total ? snprintf(line, sizeof line, "%s [%s] %s", p->label, bar, text)
                  : snprintf(line, sizeof line, "%s %s", p->label, text);
    int room = terminal_columns() - 1;
    /* To the first column, the line, and nothing behind it. */
    fprintf(stderr, "\r%.*s\033[K", n < room ? n : room, line);
    fflush(stderr);
}

void progress_update(struct progress *p, uint64_t done, uint64_t total)
{
    char text[128];
    int64_t now_us = clock_mono_us();
    int tenths = total ? (int)((double)done / (double)total * 10) : 0;
    bool due = p->terminal
                   ? now_us - p->drawn_us >= DRAW_US
                   : now_us - p->drawn_us >= PLAIN_US && (!total || tenths != p->plain_tenths);
    if (!due)
        return;
    describe(p, done, total, now_us, text, sizeof text);
    if (p->terminal)
        draw(p, done, total, text);
    else
        fprintf(stderr, "%s: %s\n", p->label, text);
    p->shown = true;
    p->drawn_us = now_us;
    p->plain_tenths = tenths;
}

void progress_end(struct progress *p)
{
    if (p->terminal && p->shown)
        fputs("\r\033[K", stderr);
    p->shown = false;
}
