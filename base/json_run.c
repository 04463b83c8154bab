/* The inner loop of JSON strings, for each level of SIMD, and the choice between them. Pure; any
 * thread. Called by json_scan.c and json_string.c. */
#include "base/json_scan_int.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static bool is_plain(char c)
{
    return c >= ' ' && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

const char *json_run_portable(const char *p, const char *end)
{
    for (; end - p >= 8; p += 8) {
        size_t plain = json_plain_bytes8(p);
        if (plain < 8)
            return p + plain;
    }
    while (p < end && is_plain(*p))
        p++;
    return p;
}

#if defined(__x86_64__)
/* As signed bytes, everything below ' ' is a control character or not ASCII: one comparison for
 * both. */
const char *json_run_sse2(const char *p, const char *end)
{
    const __m128i space = _mm_set1_epi8(' '), quote = _mm_set1_epi8('"'),
                  backslash = _mm_set1_epi8('\\');
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i marks =
            _mm_or_si128(_mm_cmplt_epi8(v, space),
                         _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash)));
        unsigned mask = (unsigned)_mm_movemask_epi8(marks);
        if (mask)
            return p + __builtin_ctz(mask);
    }
    return json_run_portable(p, end);
}

__attribute__((target("avx2"))) const char *json_run_avx2(const char *p, const char *end)
{
    const __m256i space = _mm256_set1_epi8(' '), quote = _mm256_set1_epi8('"');
    const __m256i backslash = _mm256_set1_epi8('\\');
    for (; end - p >= 32; p += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
        __m256i marks = _mm256_or_si256(
            _mm256_cmpgt_epi8(space, v),
            _mm256_or_si256(_mm256_cmpeq_epi8(v, quote), _mm256_cmpeq_epi8(v, backslash)));
        unsigned mask = (unsigned)_mm256_movemask_epi8(marks);
        if (mask)
            return p + __builtin_ctz(mask);
    }
    return json_run_sse2(p, end);
}

json_run_fn json_run_best(void)
{
    return __builtin_cpu_supports("avx2") ? json_run_avx2 : json_run_sse2;
}
#else
json_run_fn json_run_best(void)
{
    return json_run_portable;
}
#endif
