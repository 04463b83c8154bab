/* Collects answers. Owns their text; belongs to whoever will write the reply. Blocks and choices
 * count as bytes too: a peer that opens a million empty ones meets the same maximum. */
#include "backends/wire/chat_answer.h"

#include <stdlib.h>

#include "base/mem.h"

void chat_answer_init(struct chat_answer *a, size_t max_bytes)
{
    *a = (struct chat_answer){.max_bytes = max_bytes};
    arena_init(&a->arena, 512);
}

void chat_answer_clear(struct chat_answer *a)
{
    for (size_t i = 0; i < a->count; i++) {
        buf_clear(&a->blocks[i].text);
        buf_clear(&a->blocks[i].signature);
        buf_clear(&a->blocks[i].logprobs);
    }
    free(a->blocks);
    free(a->choices);
    arena_clear(&a->arena);
    chat_answer_init(a, a->max_bytes);
}

static bool charge(struct chat_answer *a, size_t bytes)
{
    if (bytes > a->max_bytes - a->bytes)
        return false;
    a->bytes += bytes;
    return true;
}

static enum err keep(struct chat_answer *a, struct slice text, struct slice *out)
{
    if (!charge(a, text.n))
        return ERR_UPSTREAM_TOO_LARGE;
    *out = arena_dup(&a->arena, text);
    return ERR_OK;
}

static enum err append(struct chat_answer *a, struct buf *b, struct slice text)
{
    return charge(a, text.n) && !buf_append_slice(b, text) ? ERR_OK : ERR_UPSTREAM_TOO_LARGE;
}

/* The last block of that choice; NULL when it has none. */
static struct chat_answer_block *chat_answer_last(struct chat_answer *a, int choice)
{
    for (size_t i = a->count; i-- > 0;)
        if (a->blocks[i].choice == choice)
            return &a->blocks[i];
    return NULL;
}

static enum err choice_at(struct chat_answer *a, int index, struct chat_answer_choice **out)
{
    size_t count = (size_t)index + 1;

    if (index < 0 || index >= CHAT_MAX_CHOICES)
        return ERR_INTERNAL;
    if (count > a->choice_count) {
        a->choices = mem_resize(a->choices, count, sizeof(*a->choices));
        for (size_t i = a->choice_count; i < count; i++)
            a->choices[i] = (struct chat_answer_choice){0};
        a->choice_count = count;
    }
    *out = &a->choices[index];
    return ERR_OK;
}

static enum err begin(struct chat_answer *a, const struct chat_event *e)
{
    enum err err = keep(a, e->id, &a->id);

    if (err)
        return err;
    a->usage = e->usage;
    a->has_usage = e->usage.source != USAGE_NONE;
    return keep(a, e->name, &a->model);
}

static enum err begin_block(struct chat_answer *a, const struct chat_event *e)
{
    struct chat_answer_choice *c;
    struct chat_answer_block *b;
    enum err err = choice_at(a, e->choice, &c);

    if (err)
        return err;
    if (!charge(a, sizeof(*b)))
        return ERR_UPSTREAM_TOO_LARGE;
    c->refused |= e->block == CHAT_BLOCK_REFUSAL;
    if ((a->count & (a->count - 1)) == 0) /* room is the power of two at or above count */
        a->blocks = mem_resize(a->blocks, a->count ? a->count * 2 : 1, sizeof(*a->blocks));
    b = &a->blocks[a->count++];
    *b = (struct chat_answer_block){.choice = e->choice, .kind = e->block};
    buf_init(&b->text, a->max_bytes);
    buf_init(&b->signature, a->max_bytes);
    buf_init(&b->logprobs, a->max_bytes);
    err = keep(a, e->id, &b->id);
    if (!err)
        err = keep(a, e->name, &b->name);
    return err ? err : append(a, &b->text, e->text);
}

static enum err add_logprobs(struct chat_answer *a, struct buf *to, struct slice array)
{
    enum err err = ERR_OK;

    if (array.n <= 2)
        return ERR_OK;
    if (buf_len(to))
        err = append(a, to, SLICE(","));
    return err ? err : append(a, to, slice_make(array.p + 1, array.n - 2));
}

static enum err add_text(struct chat_answer *a, const struct chat_event *e)
{
    struct chat_answer_block *b = chat_answer_last(a, e->choice);
    enum err err;

    if (!b)
        return ERR_INTERNAL;
    if (e->kind == CHAT_SIGNATURE)
        return append(a, &b->signature, e->text);
    err = append(a, &b->text, e->text);
    return err ? err : add_logprobs(a, &b->logprobs, e->logprobs);
}

static enum err finish(struct chat_answer *a, const struct chat_event *e)
{
    struct chat_answer_choice *c;
    enum err err = choice_at(a, e->choice, &c);

    if (err)
        return err;
    c->finished = true;
    c->finish = e->finish;
    return keep(a, e->text, &c->stop_sequence);
}

enum err chat_answer_add(struct chat_answer *a, const struct chat_event *e)
{
    switch (e->kind) {
    case CHAT_START:
        return begin(a, e);
    case CHAT_BLOCK_START:
        return begin_block(a, e);
    case CHAT_DELTA:
    case CHAT_SIGNATURE:
        return add_text(a, e);
    case CHAT_FINISH:
        return finish(a, e);
    case CHAT_USAGE:
        a->usage = e->usage;
        a->has_usage = true;
        return ERR_OK;
    case CHAT_END:
        a->complete = true;
        a->lossy = e->lossy;
        return ERR_OK;
    case CHAT_BLOCK_STOP:
    case CHAT_PING:
    case CHAT_ERROR:
        return ERR_OK;
    }
    return ERR_INTERNAL;
}
