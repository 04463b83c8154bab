/* Over a whole object or array of validated text, for each level of SIMD, and the choice between
 * them. Pure; any thread. Called by json_iter.c.
 *
 * Blocks of 32 bytes become masks, a bit for each byte: quotes, backslashes, brackets. The quotes
 * that no backslash escapes, as a running exclusive or, tell what lies inside a string; the
 * brackets that do not are counted (after Langdale and Lemire, "Parsing Gigabytes of JSON per
 * Second", arXiv 1902.08318, section 3.1). */
#include "base/json_scan_int.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define BLOCK 32

const char *json_skip_portable(const char *p, const char *end)
{
    size_t depth = 0;
    while (p < end) {
        switch (*p++) {
        case '"':
            p = json_string_end(p, end, NULL);
            break;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (--depth == 0)
                return p;
            break;
        default:
            break;
        }
    }
    return p;
}

#if defined(__x86_64__)

#define INLINE static inline __attribute__((always_inline))

struct marks {
    uint32_t quotes, backslashes, opens, closes;
};

/* What one block leaves to the next. */
struct state {
    size_t depth;
    uint32_t in_string; /* all bits or none */
    uint32_t escaped;   /* 1: the next block's first byte is */
};

/* The bytes behind the odd ones of each row of backslashes. */
INLINE uint32_t escaped_bytes(struct state *s, uint32_t backslashes)
{
    uint32_t escaped = s->escaped;

    s->escaped = 0;
    for (uint32_t rest = backslashes & ~escaped; rest;) {
        uint32_t backslash = rest & -rest, behind = backslash << 1;

        escaped |= behind;
        s->escaped |= !behind;
        rest &= ~(backslash | behind);
    }
    return escaped;
}

/* From each quote up to the next one: ones. */
INLINE uint32_t between_quotes(uint32_t quotes)
{
    for (int i = 1; i < BLOCK; i *= 2)
        quotes ^= quotes << i;
    return quotes;
}

/* Behind the bracket that closes the outermost one, if it is in this block; else NULL. */
INLINE const char *skip_block(struct state *s, const char *p, struct marks m)
{
    if (m.backslashes | s->escaped)
        m.quotes &= ~escaped_bytes(s, m.backslashes);
    uint32_t inside = between_quotes(m.quotes) ^ s->in_string;
    uint32_t opens = m.opens & ~inside, closes = m.closes & ~inside;

    s->in_string = 0 - (inside >> (BLOCK - 1));
    size_t count = (size_t)__builtin_popcount(closes);
    if (count >= s->depth) {
        size_t closed = 0;
        for (uint32_t rest = closes; rest; rest &= rest - 1) {
            uint32_t before = opens & ((rest & -rest) - 1);
            if (s->depth + (size_t)__builtin_popcount(before) == ++closed)
                return p + __builtin_ctz(rest) + 1;
        }
    }
    s->depth += (size_t)__builtin_popcount(opens) - count;
    return NULL;
}

/* All of this block lies in a string that goes on, and so may many more: memchr is faster then. */
INLINE bool in_long_string(const struct state *s, struct marks m)
{
    return s->in_string && !(m.quotes | m.backslashes | s->escaped);
}

/* The last block overlaps what is done already, whose marks fall out: no byte behind the end is
 * read. */
INLINE struct marks last_marks(struct marks m, size_t rest)
{
    unsigned done = BLOCK - (unsigned)rest;

    return (struct marks){m.quotes >> done, m.backslashes >> done, m.opens >> done,
                          m.closes >> done};
}

/* '[' and '{', ']' and '}' differ in one bit. */
INLINE struct marks marks_sse2(const char *p)
{
    uint32_t bits[4][2];

    for (int i = 0; i < 2; i++) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
        __m128i curly = _mm_or_si128(v, _mm_set1_epi8(0x20));
        __m128i found[] = {
            _mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')),
            _mm_cmpeq_epi8(curly, _mm_set1_epi8('{')), _mm_cmpeq_epi8(curly, _mm_set1_epi8('}'))};
        for (int k = 0; k < 4; k++)
            bits[k][i] = (uint32_t)_mm_movemask_epi8(found[k]);
    }
    return (struct marks){bits[0][0] | bits[0][1] << 16, bits[1][0] | bits[1][1] << 16,
                          bits[2][0] | bits[2][1] << 16, bits[3][0] | bits[3][1] << 16};
}

const char *json_skip_sse2(const char *p, const char *end)
{
    struct state s = {0};
    const char *found;

    if (end - p < BLOCK)
        return json_skip_portable(p, end);
    while (end - p >= BLOCK) {
        struct marks m = marks_sse2(p);
        if (in_long_string(&s, m)) {
            p = json_string_end(p + BLOCK, end, NULL);
            s.in_string = 0;
        } else {
            if ((found = skip_block(&s, p, m)))
                return found;
            p += BLOCK;
        }
    }
    if (p < end &&
        (found = skip_block(&s, p, last_marks(marks_sse2(end - BLOCK), (size_t)(end - p)))))
        return found;
    return end;
}

#define AVX2 __attribute__((target("avx2,bmi,popcnt")))

AVX2 INLINE struct marks marks_avx2(const char *p)
{
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i curly = _mm256_or_si256(v, _mm256_set1_epi8(0x20));
    __m256i quotes = _mm256_cmpeq_epi8(v, _mm256_set1_epi8('"'));
    __m256i backslashes = _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\\'));
    __m256i opens = _mm256_cmpeq_epi8(curly, _mm256_set1_epi8('{'));
    __m256i closes = _mm256_cmpeq_epi8(curly, _mm256_set1_epi8('}'));

    return (struct marks){
        (uint32_t)_mm256_movemask_epi8(quotes), (uint32_t)_mm256_movemask_epi8(backslashes),
        (uint32_t)_mm256_movemask_epi8(opens), (uint32_t)_mm256_movemask_epi8(closes)};
}

AVX2 const char *json_skip_avx2(const char *p, const char *end)
{
    struct state s = {0};
    const char *found;

    if (end - p < BLOCK)
        return json_skip_portable(p, end);
    while (end - p >= BLOCK) {
        struct marks m = marks_avx2(p);
        if (in_long_string(&s, m)) {
            p = json_string_end(p + BLOCK, end, NULL);
            s.in_string = 0;
        } else {
            if ((found = skip_block(&s, p, m)))
                return found;
            p += BLOCK;
        }
    }
    if (p < end &&
        (found = skip_block(&s, p, last_marks(marks_avx2(end - BLOCK), (size_t)(end - p)))))
        return found;
    return end;
}

json_skip_fn json_skip_best(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                   __builtin_cpu_supports("popcnt")
               ? json_skip_avx2
               : json_skip_sse2;
}
#else
json_skip_fn json_skip_best(void)
{
    return json_skip_portable;
}
#endif
