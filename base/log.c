/* logfmt lines. The descriptor and the level are the one piece of file-scope state in base: a log
 * that had to be passed down to every function would not be used. Lines are built on the stack and
 * leave in one write(2), so that lines of different threads do not mix. A line that cannot be
 * written is lost: logging never blocks a worker for good. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/utf8.h"

#define LINE_BYTES 4096

static atomic_int log_fd = STDERR_FILENO;
static atomic_int log_min = LOG_INFO;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_init(int fd, enum log_level level)
{
    atomic_store_explicit(&log_fd, fd, memory_order_relaxed);
    atomic_store_explicit(&log_min, (int)level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&log_min, memory_order_relaxed);
}

enum log_level log_level_parse(struct slice s, bool *ok)
{
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++)
        if (slice_eq(s, slice_str(level_names[i]))) {
            *ok = true;
            return (enum log_level)i;
        }
    *ok = false;
    return LOG_INFO;
}

static bool needs_quotes(struct slice v)
{
    if (v.n == 0)
        return true;
    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.p[i];
        if (c <= ' ' || c >= 0x7F || c == '"' || c == '=' || c == '\\')
            return true;
    }
    return false;
}

/* One character of v, escaped for the inside of quotes, to esc (room for 5). *taken: how many bytes
 * of v it stands for. */
static size_t escape_char(struct slice v, char *esc, size_t *taken)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char c = (unsigned char)v.p[0];
    size_t n = utf8_char_bytes(v.p, v.n);
    bool c1_control = c == 0xC2 && n == 2 && (unsigned char)v.p[1] < 0xA0; /* terminals obey them */
    *taken = n ? n : 1;
    if (n > 1 && !c1_control) {
        memcpy(esc, v.p, n);
        return n;
    }
    *taken = 1;
    if (c >= ' ' && c < 0x7F && c != '"' && c != '\\') {
        esc[0] = (char)c;
        return 1;
    }
    esc[0] = '\\';
    const char *named = c == '"'    ? "\""
                        : c == '\\' ? "\\"
                        : c == '\n' ? "n"
                        : c == '\r' ? "r"
                        : c == '\t' ? "t"
                                    : NULL;
    if (named) {
        esc[1] = named[0];
        return 2;
    }
    esc[1] = 'x';
    esc[2] = hex[c >> 4];
    esc[3] = hex[c & 15];
    return 4;
}

const char *log_quote(struct slice value, char *out, size_t out_bytes)
{
    if (!needs_quotes(value) && value.n < out_bytes) {
        memcpy(out, value.p, value.n);
        out[value.n] = '\0';
        return out;
    }
    if (out_bytes < 8) { /* no room for quotes, dots and a character */
        if (out_bytes)
            out[0] = '\0';
        return out;
    }
    size_t n = 0, mark = 1; /* mark: where the dots go when the rest does not fit */
    out[n++] = '"';
    while (value.n) {
        char esc[5];
        size_t taken, len = escape_char(value, esc, &taken);
        if (n + len + 2 > out_bytes) { /* closing quote and NUL */
            memcpy(out + mark, "...", 3);
            n = mark + 3;
            break;
        }
        memcpy(out + n, esc, len);
        n += len;
        if (n + 5 <= out_bytes) /* dots, quote, NUL */
            mark = n;
        value = slice_from(value, taken);
    }
    out[n++] = '"';
    out[n] = '\0';
    return out;
}

static void write_line(const char *line, size_t n)
{
    int fd = atomic_load_explicit(&log_fd, memory_order_relaxed);
    while (n) {
        ssize_t w = write(fd, line, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return;
        line += w;
        n -= (size_t)w;
    }
}

void log_line(enum log_level level, const char *at, const char *msg, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    int saved_errno = errno;
    char line[LINE_BYTES], when[32], quoted[1024];
    clock_rfc3339(clock_wall_us(), when, sizeof when);
    int head =
        snprintf(line, sizeof line, "time=%s level=%s at=%s msg=", when, level_names[level], at);
    size_t n = (size_t)head < sizeof line / 2 ? (size_t)head : sizeof line / 2;
    int m = snprintf(line + n, sizeof line - n, "%s ",
                     log_quote(slice_str(msg), quoted, sizeof quoted));
    n += (size_t)m;
    if (fmt) {
        va_list ap;
        va_start(ap, fmt);
        int k = vsnprintf(line + n, sizeof line - n, fmt, ap);
        va_end(ap);
        if (k > 0 && n + (size_t)k >= sizeof line - 1) {
            n = sizeof line - 5;
            memcpy(line + n, " ...", 4);
            n += 4;
        } else if (k > 0) {
            n += (size_t)k;
        }
    }
    while (n && line[n - 1] == ' ')
        n--;
    /* Whatever a caller let through unquoted must not start a line of its own. */
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7F)
            line[i] = '?';
    line[n++] = '\n';
    write_line(line, n);
    errno = saved_errno;
}
