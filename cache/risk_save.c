/* What was learned as bytes: a header, the fixed part, the kept labels, the answers; then a SHA-256
 * over all of it. Native byte order and layout: it is written and read by one kind of machine, and
 * a program with other sizes refuses it by the header. The parent and the options are not in it. */
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/mem.h"
#include "cache/risk_int.h"

#define MAGIC   "weirrisk"
#define VERSION 1u

struct header {
    char magic[8];
    uint32_t version, features, sample_bytes, answer_bytes, fixed_bytes, window;
    uint64_t samples, answers;
};

/* Everything of struct risk that is learned and has a fixed size. */
struct fixed {
    double w[RISK_FEATURES], factor[RISK_FEATURES][RISK_FEATURES];
    uint64_t fit_count, fit_since, serial;
    float window[RISK_WINDOW];
    uint64_t requests, served, audits, audited_wrong, would_be;
    double risked, doubt, cut, correction;
    struct risk_audits seen;
    uint64_t alarm;
};

static size_t kept_samples(const struct risk *r)
{
    return r->fit.count < RISK_KEPT_LABELS ? (size_t)r->fit.count : RISK_KEPT_LABELS;
}

static size_t body_bytes(uint64_t samples, uint64_t answers)
{
    return sizeof(struct header) + sizeof(struct fixed) +
           (size_t)samples * sizeof(struct risk_sample) +
           (size_t)answers * sizeof(struct risk_answer);
}

size_t risk_save_bytes(const struct risk *r)
{
    return body_bytes(kept_samples(r), r->answer_count) + DIGEST_BYTES;
}

static char *put(char *at, const void *p, size_t n)
{
    memcpy(at, p, n);
    return at + n;
}

static struct header header_of(uint64_t samples, uint64_t answers)
{
    struct header h;

    memset(&h, 0, sizeof h);
    memcpy(h.magic, MAGIC, sizeof h.magic);
    h.version = VERSION;
    h.features = RISK_FEATURES;
    h.sample_bytes = sizeof(struct risk_sample);
    h.answer_bytes = sizeof(struct risk_answer);
    h.fixed_bytes = sizeof(struct fixed);
    h.window = RISK_WINDOW;
    h.samples = samples;
    h.answers = answers;
    return h;
}

void risk_save(const struct risk *r, char *out)
{
    struct header h = header_of(kept_samples(r), r->answer_count);
    struct fixed *f = mem_zalloc(1, sizeof *f);
    struct digest d;
    char *at;

    memcpy(f->w, r->fit.w, sizeof f->w);
    memcpy(f->factor, r->fit.factor, sizeof f->factor);
    memcpy(f->window, r->window, sizeof f->window);
    f->fit_count = r->fit.count;
    f->fit_since = r->fit.since;
    f->serial = r->serial;
    f->requests = r->requests;
    f->served = r->served;
    f->audits = r->audits;
    f->audited_wrong = r->audited_wrong;
    f->would_be = r->would_be;
    f->risked = r->risked;
    f->doubt = r->doubt;
    f->cut = r->cut;
    f->correction = r->correction;
    f->seen = r->seen;
    f->alarm = r->alarm;
    at = put(put(out, &h, sizeof h), f, sizeof *f);
    free(f);
    at = put(at, r->fit.samples, (size_t)h.samples * sizeof *r->fit.samples);
    for (size_t i = 0; i < r->slots; i++)
        if (r->answers[i].id)
            at = put(at, &r->answers[i], sizeof r->answers[i]);
    d = digest_of(slice_make(out, (size_t)(at - out)));
    put(at, d.bytes, DIGEST_BYTES);
}

/* Are these bytes one whole, unharmed save of this program's kind? */
static bool is_whole(struct slice saved, struct header *h)
{
    struct header expected;
    struct digest d;
    size_t body;

    if (saved.n < sizeof *h + DIGEST_BYTES)
        return false;
    memcpy(h, saved.p, sizeof *h);
    expected = header_of(h->samples, h->answers);
    if (memcmp(h, &expected, sizeof *h) != 0 || h->samples > RISK_KEPT_LABELS ||
        h->answers > saved.n / sizeof(struct risk_answer))
        return false;
    body = body_bytes(h->samples, h->answers);
    if (saved.n != body + DIGEST_BYTES)
        return false;
    memcpy(d.bytes, saved.p + body, DIGEST_BYTES);
    return digest_eq(d, digest_of(slice_make(saved.p, body)));
}

static void take_fixed(struct risk *r, const struct fixed *f)
{
    memcpy(r->fit.w, f->w, sizeof f->w);
    memcpy(r->fit.factor, f->factor, sizeof f->factor);
    memcpy(r->window, f->window, sizeof f->window);
    r->fit.count = f->fit_count;
    r->fit.since = f->fit_since;
    r->serial = f->serial;
    r->requests = f->requests;
    r->served = f->served;
    r->audits = f->audits;
    r->audited_wrong = f->audited_wrong;
    r->would_be = f->would_be;
    r->risked = f->risked;
    r->doubt = f->doubt;
    r->cut = f->cut;
    r->correction = f->correction;
    r->seen = f->seen;
    r->alarm = f->alarm != 0;
}

enum err risk_load(struct risk *r, struct slice saved)
{
    struct header h;
    struct fixed *f;
    const char *at;

    if (!is_whole(saved, &h) || h.answers > r->opt.max_answers)
        return ERR_BAD_CACHE_ENTRY;
    f = mem_alloc(sizeof *f);
    memcpy(f, saved.p + sizeof h, sizeof *f);
    take_fixed(r, f);
    free(f);
    at = saved.p + sizeof h + sizeof *f;
    memcpy(r->fit.samples, at, (size_t)h.samples * sizeof *r->fit.samples);
    at += (size_t)h.samples * sizeof *r->fit.samples;
    memset(r->answers, 0, r->slots * sizeof *r->answers);
    r->answer_count = 0;
    for (uint64_t i = 0; i < h.answers; i++, at += sizeof(struct risk_answer)) {
        struct risk_answer a;
        memcpy(&a, at, sizeof a);
        if (a.id)
            *risk_answer_of(r, a.id) = a;
    }
    return ERR_OK;
}
