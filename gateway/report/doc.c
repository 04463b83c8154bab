/* Called by the pages of a report. */
#include "gateway/report/doc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char style[] =
    ":root{color-scheme:light dark;--ink:#222;--paper:#fff;--line:#ccc;--soft:#f4f4f4;--warn:#a40}"
    "@media(prefers-color-scheme:dark){:root{--ink:#ddd;--paper:#181a1b;--line:#444;--soft:#222;"
    "--warn:#fa6}}"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:"
    "62rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}"
    "th,td{padding:.2rem .7rem;border-bottom:1px solid var(--line);text-align:left}"
    "table{display:block;max-width:100%;overflow-x:auto}" /* on a narrow screen tables scroll */
    ".n{text-align:right;white-space:nowrap}.w{color:var(--warn);font-weight:600}"
    "th{background:var(--soft)}svg{max-width:100%;height:auto;color:var(--ink)}"
    "@media print{:root{--ink:#000;--paper:#fff;--line:#999;--soft:#eee;--warn:#000}"
    "body{margin:0;max-width:none}table,svg{break-inside:avoid}}";

static void raw(struct doc *d, const char *s)
{
    if (d->err == ERR_OK)
        d->err = buf_append(&d->out, s, strlen(s));
}

/* Names are whatever clients and operators wrote. */
static void escaped(struct doc *d, const char *s)
{
    for (; *s; s++) {
        char one[8] = {*s, '\0'};
        if ((unsigned char)*s < ' ')
            snprintf(one, sizeof one, " ");
        else if (d->format == DOC_HTML && strchr("<>&\"'", *s))
            snprintf(one, sizeof one, "&#%d;", *s);
        else if (d->format == DOC_MARKDOWN && strchr("|\\`*_<[", *s))
            snprintf(one, sizeof one, "\\%c", *s);
        raw(d, one);
    }
}

static void formatted(struct doc *d, const char *fmt, va_list ap)
{
    char text[2048];

    vsnprintf(text, sizeof text, fmt, ap); /* longer names are cut */
    escaped(d, text);
}

void doc_begin(struct doc *d, enum doc_format format, const char *title)
{
    *d = (struct doc){.format = format};
    buf_init(&d->out, DOC_BYTES);
    if (format == DOC_MARKDOWN) {
        raw(d, "# ");
        escaped(d, title);
        raw(d, "\n");
        return;
    }
    raw(d, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
           "<meta name=\"viewport\" content=\"width=device-width\"><title>");
    escaped(d, title);
    raw(d, "</title><style>");
    raw(d, style);
    raw(d, "</style></head><body>\n<h1>");
    escaped(d, title);
    raw(d, "</h1>\n");
}

void doc_section(struct doc *d, const char *title)
{
    raw(d, d->format == DOC_HTML ? "<h2>" : "\n## ");
    escaped(d, title);
    raw(d, d->format == DOC_HTML ? "</h2>\n" : "\n");
}

void doc_text(struct doc *d, const char *fmt, ...)
{
    va_list ap;

    raw(d, d->format == DOC_HTML ? "<p>" : "\n");
    va_start(ap, fmt);
    formatted(d, fmt, ap);
    va_end(ap);
    raw(d, d->format == DOC_HTML ? "</p>\n" : "\n");
}

void doc_warning(struct doc *d, const char *fmt, ...)
{
    va_list ap;

    raw(d, d->format == DOC_HTML ? "<p class=\"w\">Warning: " : "\n**Warning:** ");
    va_start(ap, fmt);
    formatted(d, fmt, ap);
    va_end(ap);
    raw(d, d->format == DOC_HTML ? "</p>\n" : "\n");
}

/* ---- tables ---- */

enum { MAX_COLUMNS = 16 };

void doc_table(struct doc *d, const char *heads)
{
    char rule[8 * MAX_COLUMNS] = "|";

    d->columns = d->column = 0;
    raw(d, d->format == DOC_HTML ? "<table>\n<tr>" : "\n|");
    while (d->columns < MAX_COLUMNS) {
        size_t n = strcspn(heads, "|");
        bool number = *heads == '>';
        char head[64];
        snprintf(head, sizeof head, "%.*s", (int)n - number, heads + number);
        raw(d, d->format == DOC_HTML ? number ? "<th class=\"n\">" : "<th>" : " ");
        escaped(d, head);
        raw(d, d->format == DOC_HTML ? "</th>" : " |");
        memcpy(rule + strlen(rule), number ? "--:|" : "---|", 5);
        d->columns++;
        if (!heads[n])
            break;
        heads += n + 1;
    }
    raw(d, d->format == DOC_HTML ? "</tr>" : "\n");
    if (d->format == DOC_MARKDOWN)
        raw(d, rule);
}

void doc_cell(struct doc *d, const char *fmt, ...)
{
    bool first = d->column++ % d->columns == 0;
    va_list ap;

    if (first)
        raw(d, d->format == DOC_HTML ? "\n<tr>" : "\n|");
    raw(d, d->format == DOC_HTML ? first ? "<td>" : "<td class=\"n\">" : " ");
    va_start(ap, fmt);
    formatted(d, fmt, ap);
    va_end(ap);
    raw(d, d->format == DOC_HTML ? "</td>" : " |");
}

void doc_table_end(struct doc *d)
{
    raw(d, d->format == DOC_HTML ? "\n</table>\n" : "\n");
}

void doc_picture(struct doc *d, struct slice svg)
{
    if (d->format == DOC_HTML && d->err == ERR_OK)
        d->err = buf_append_slice(&d->out, svg);
}

enum err doc_end(struct doc *d)
{
    if (d->format == DOC_HTML)
        raw(d, "</body></html>\n");
    return d->err;
}

void doc_clear(struct doc *d)
{
    buf_clear(&d->out);
}
