/* Classes declared by a few examples, on rows with known classes: how often the right class is
 * chosen, how often a query of the class is refused, and how often queries of other classes and of
 * other collections are taken.
 *
 * usage: few_shot MODEL|static ROWS FOREIGN_ROWS     prints a Markdown table
 *
 * Draws the classes and their examples from ROWS (seeded, five draws); the rest of those classes
 * are queries, rows of all other classes are "near" strangers, FOREIGN_ROWS are "far" ones. */
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "base/rng.h"
#include "router/encoder/background.h"
#include "router/encoder/centroids.h"
#include "router/encoder/encoder.h"
#include "router/encoder/static_table.h"
#include "router/encoder/train/rows.h"

#define DRAWS   5
#define QUERIES 40 /* of each class, at most */
#define MAX_OUT 1000

struct source {
    struct encoder *encoder;
    struct encoder_session *session;
    const struct static_table *table;
    int dim;
};

/* One text's vector into out[dim]. */
static void embed(const struct source *s, struct slice text, float *out)
{
    struct err_text t = {""};
    struct encoder_vectors v = {.embedding = out};
    if (s->table)
        static_table_embed(s->table, text, out, NULL);
    else if (encoder_embed(s->session, &text, 1, &v, NULL, &t) != ERR_OK)
        fprintf(stderr, "few_shot: %s\n", t.s);
}

static float *embed_rows(const struct source *s, const struct rows *r)
{
    float *x = mem_alloc(r->count * (size_t)s->dim * sizeof *x);
    for (size_t i = 0; i < r->count; i++)
        embed(s, r->row[i].text, x + i * (size_t)s->dim);
    return x;
}

struct counts {
    size_t queries, right, taken_right, near, near_taken, far, far_taken;
};

/* The rows in a random order. */
static size_t *shuffled(struct rng *r, size_t n)
{
    size_t *order = mem_alloc((n + 1) * sizeof *order);
    for (size_t i = 0; i < n; i++) {
        size_t j = (size_t)rng_below(r, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

struct draw {
    const struct source *source;
    const struct rows *rows, *foreign;
    const float *x, *y, *background;
    size_t classes, shots;
};

static void count_queries(const struct draw *d, const struct centroids *c, const size_t *order,
                          const int *place, size_t *seen, struct counts *n)
{
    size_t dim = (size_t)d->source->dim, near = 0;
    struct centroids_match m;
    for (size_t i = 0; i < d->rows->count; i++) {
        int label = d->rows->row[order[i]].label;
        int class = label < 0 ? -1 : place[label];
        if (class >= 0 && (seen[class] < d->shots || seen[class] >= d->shots + QUERIES)) {
            seen[class]++;
            continue;
        }
        if (class < 0 && near++ >= MAX_OUT)
            continue;
        centroids_decide(c, d->x + order[i] * dim, &m);
        if (class < 0) {
            n->near++;
            n->near_taken += m.chosen >= 0;
        } else {
            seen[class]++;
            n->queries++;
            n->right += m.nearest == class;
            n->taken_right += m.chosen == class;
        }
    }
    for (size_t i = 0; i < d->foreign->count && i < MAX_OUT; i++) {
        centroids_decide(c, d->y + i * dim, &m);
        n->far++;
        n->far_taken += m.chosen >= 0;
    }
}

static void run_draw(const struct draw *d, uint64_t seed, struct counts *n)
{
    struct rng r;
    rng_seed(&r, seed);
    size_t dim = (size_t)d->source->dim, all = d->rows->classes;
    size_t *pick = shuffled(&r, all), *order = shuffled(&r, d->rows->count);
    int *place = mem_alloc((all + 1) * sizeof *place);
    float *examples = mem_zalloc(d->classes * d->shots * dim, sizeof *examples);
    size_t *seen = mem_zalloc(d->classes, sizeof *seen);
    struct centroids_class *classes = mem_zalloc(d->classes, sizeof *classes);
    for (size_t c = 0; c < all; c++)
        place[c] = -1;
    for (size_t c = 0; c < d->classes; c++) {
        place[pick[c]] = (int)c;
        classes[c] = (struct centroids_class){d->rows->class_name[pick[c]],
                                              examples + c * d->shots * dim, d->shots};
    }
    for (size_t i = 0; i < d->rows->count; i++) {
        int label = d->rows->row[order[i]].label, c = label < 0 ? -1 : place[label];
        if (c >= 0 && seen[c] < d->shots)
            memcpy(examples + ((size_t)c * d->shots + seen[c]++) * dim, d->x + order[i] * dim,
                   dim * sizeof *examples);
    }
    memset(seen, 0, d->classes * sizeof *seen);
    const struct centroids_options opt = {d->source->dim, d->background, background_count(), 1};
    struct centroids *c;
    struct err_text t = {""};
    if (centroids_new(classes, d->classes, &opt, &c, &t) == ERR_OK) {
        count_queries(d, c, order, place, seen, n);
        centroids_free(c);
    } else {
        fprintf(stderr, "few_shot: a draw is left out: %s\n", t.s);
    }
    free(classes);
    free(seen);
    free(examples);
    free(place);
    free(order);
    free(pick);
}

static double percent(size_t part, size_t all)
{
    return all ? 100 * (double)part / (double)all : 0;
}

static void run_all(struct draw *d)
{
    static const size_t classes[] = {5, 20}, shots[] = {5, 10};
    printf("| classes | examples each | right class nearest %% | chosen %% | near strangers taken "
           "%% | far strangers taken %% |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < 4; i++) {
        struct counts n = {0};
        d->classes = classes[i / 2];
        d->shots = shots[i % 2];
        for (uint64_t seed = 1; seed <= DRAWS; seed++)
            run_draw(d, seed, &n);
        printf("| %zu | %zu | %.1f | %.1f | %.1f | %.1f |\n", d->classes, d->shots,
               percent(n.right, n.queries), percent(n.taken_right, n.queries),
               percent(n.near_taken, n.near), percent(n.far_taken, n.far));
    }
}

static enum err open_source(const char *model, struct source *s, struct err_text *t)
{
    const struct encoder_options opt = {.folder = model, .device = ENCODER_CPU, .precision = -1};
    if (strcmp(model, "static") == 0) {
        s->table = static_table_builtin();
        s->dim = static_table_dim(s->table);
        return ERR_OK;
    }
    enum err e = encoder_open(&opt, &s->encoder, t);
    if (e != ERR_OK)
        return e;
    s->session = encoder_session_new(s->encoder);
    s->dim = encoder_facts(s->encoder).dim;
    return ERR_OK;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: few_shot MODEL_FOLDER|static ROWS FOREIGN_ROWS\n");
        return 2;
    }
    const struct rows_options opt = {.out_of_scope = "oos"};
    struct source s = {0};
    struct err_text t = {""};
    struct rows rows, foreign;
    rows_init(&rows);
    rows_init(&foreign);
    enum err e = open_source(argv[1], &s, &t);
    if (e == ERR_OK)
        e = rows_read(&rows, argv[2], &opt, &t);
    if (e == ERR_OK)
        e = rows_read(&foreign, argv[3], &opt, &t);
    if (e == ERR_OK) {
        float *x = embed_rows(&s, &rows), *y = embed_rows(&s, &foreign);
        float *background = mem_alloc(background_count() * (size_t)s.dim * sizeof *background);
        for (size_t i = 0; i < background_count(); i++)
            embed(&s, background_prompt(i), background + i * (size_t)s.dim);
        struct draw d = {&s, &rows, &foreign, x, y, background, 0, 0};
        run_all(&d);
        free(background);
        free(y);
        free(x);
    } else {
        fprintf(stderr, "few_shot: %s\n", t.s);
    }
    rows_clear(&foreign);
    rows_clear(&rows);
    encoder_session_free(s.session);
    encoder_free(s.encoder);
    return e != ERR_OK;
}
