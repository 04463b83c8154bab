/* Six numbers about the shape of a text, counted in one pass over its bytes. Called where a head's
 * input is put together: the trainer, the service. */
#include "router/encoder/features.h"

#include <math.h>
#include <stdbool.h>
#include "base/ascii.h"

/* What is common in program text and rare in prose. Brackets, quotes and commas are not: multiple
 * choice and prose have them as well. */
static bool is_code_mark(unsigned char c)
{
    switch (c) {
    case '{':
    case '}':
    case '[':
    case ']':
    case '<':
    case '>':
    case '=':
    case ';':
    case '_':
    case '\\':
    case '`':
    case '|':
    case '&':
    case '#':
    case '*':
    case '+':
    case '^':
    case '~':
        return true;
    default:
        return false;
    }
}

/* A share of the text's bytes, stretched so that what is seen in practice fills 0..1. */
static float share(size_t count, size_t bytes, float stretch)
{
    float s = bytes ? stretch * (float)count / (float)bytes : 0;
    return s < 1 ? s : 1;
}

void features_scalars(struct slice text, float *out)
{
    size_t digits = 0, code = 0, foreign = 0, breaks = 0, questions = 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        digits += ascii_is_digit(c);
        code += is_code_mark(c);
        foreign += c >= 0x80;
        breaks += c == '\n';
        questions += c == '?';
    }
    /* 64 KiB and more are 1: log(1 + 65536) is about 11.09. */
    float length = logf(1 + (float)text.n) / 11.09f;
    out[0] = length < 1 ? length : 1;
    out[1] = share(digits, text.n, 4);
    out[2] = share(code, text.n, 8);
    out[3] = share(foreign, text.n, 1);
    out[4] = share(breaks, text.n, 16);
    out[5] = share(questions, text.n, 32);
}
