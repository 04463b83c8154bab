/* See the header. Called for each request: its line in the access log, sums of money, names. */
#include "base/line.h"

#include "base/decimal.h"

void line_put(struct line *l, struct slice s)
{
    size_t n = s.n < l->max - l->n ? s.n : l->max - l->n;

    if (n)
        memcpy(l->p + l->n, s.p, n);
    l->n += n;
}

void line_put_int(struct line *l, int64_t v)
{
    char digits[DECIMAL_BYTES];

    line_put(l, slice_make(digits, decimal_put_signed(v, digits)));
}

void line_copy(char *out, size_t out_bytes, struct slice s)
{
    struct line l = line_in(out, out_bytes - 1);

    line_put(&l, s);
    out[l.n] = '\0';
}
