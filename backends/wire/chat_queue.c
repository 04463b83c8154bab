/* Puts the blocks of a choice in order. Owns what is held back; belongs to the decoder of one
 * answer. Called for each piece of text: the usual one, for the open block with nothing held, goes
 * through without a copy.
 *
 *     blocks: [over] [over] [open: opened, emptied] [waits: held] [waits: held]
 *                            ^ q->open
 */
#include "backends/wire/chat_queue.h"

#include <stdlib.h>

#include "backends/wire/chat_id.h"
#include "base/buf.h"
#include "base/mem.h"

/* How far the arguments are a JSON value: enough to know where an object or array ends. */
struct extent {
    int depth;
    bool in_string, escape;
    bool whole; /* the outermost bracket has closed */
};

struct chat_queue_block {
    enum chat_block kind;
    int64_t index;        /* of a tool call, as the dialect numbers it; -1: none */
    struct buf label;     /* of a tool call: id, then name */
    size_t id_bytes;      /* of label */
    struct buf held;      /* text that waits */
    struct buf held_logs; /* logprobs that wait: elements without their brackets */
    struct extent extent;
    bool opened, over;
};

void chat_queue_init(struct chat_queue *q, struct chat_queue_sink *sink, int choice)
{
    *q = (struct chat_queue){.sink = sink, .choice = choice};
}

static void drop_held(struct chat_queue *q, struct chat_queue_block *b)
{
    q->sink->held_bytes -= buf_len(&b->held) + buf_len(&b->held_logs);
    buf_clear(&b->held);
    buf_clear(&b->held_logs);
}

void chat_queue_clear(struct chat_queue *q)
{
    for (size_t i = 0; i < q->count; i++) {
        drop_held(q, &q->blocks[i]);
        buf_clear(&q->blocks[i].label);
    }
    free(q->blocks);
    *q = (struct chat_queue){.sink = q->sink, .choice = q->choice};
}

/* ---- delivering ---- */

static struct slice label_id(const struct chat_queue_block *b)
{
    return slice_make(buf_slice(&b->label).p, b->id_bytes);
}

static struct slice label_name(const struct chat_queue_block *b)
{
    return slice_from(buf_slice(&b->label), b->id_bytes);
}

static void deliver(struct chat_queue *q, struct chat_event *e, const struct chat_queue_block *b)
{
    if (q->sink->stopped)
        return;
    e->choice = q->choice;
    e->block = b->kind;
    e->block_index = (int)(b - q->blocks);
    q->sink->stopped = !q->sink->fn(e, q->sink->ctx);
}

static void open_block(struct chat_queue *q, struct chat_queue_block *b)
{
    struct chat_event e = {.kind = CHAT_BLOCK_START, .id = label_id(b), .name = label_name(b)};
    char made[CHAT_ID_BYTES];

    if (b->kind == CHAT_BLOCK_TOOL_CALL && e.id.n == 0) {
        chat_id_of_call(q->sink->answer_id, q->choice * CHAT_QUEUE_MAX_BLOCKS + (b - q->blocks),
                        made);
        e.id = slice_str(made);
    }
    if (b->kind == CHAT_BLOCK_THINKING)
        e.name = q->sink->thinking_name;
    b->opened = true;
    deliver(q, &e, b);
}

/* logs: the array with its brackets. */
static void deliver_text(struct chat_queue *q, struct chat_queue_block *b, struct slice text,
                         struct slice logs)
{
    struct chat_event e = {.kind = CHAT_DELTA, .text = text, .logprobs = logs};

    deliver(q, &e, b);
}

static enum err deliver_held(struct chat_queue *q, struct chat_queue_block *b)
{
    struct buf logs;
    enum err err = ERR_OK;

    if (buf_len(&b->held) + buf_len(&b->held_logs) == 0)
        return ERR_OK;
    buf_init(&logs, buf_len(&b->held_logs) + 2);
    if (buf_len(&b->held_logs))
        err = buf_printf(&logs, "[%.*s]", SLICE_ARG(buf_slice(&b->held_logs)));
    if (!err)
        deliver_text(q, b, buf_slice(&b->held), buf_slice(&logs));
    buf_clear(&logs);
    drop_held(q, b);
    return err;
}

static void close_block(struct chat_queue *q, struct chat_queue_block *b)
{
    struct chat_event e = {.kind = CHAT_BLOCK_STOP};

    deliver(q, &e, b);
    b->over = true;
}

/* Delivers whatever's turn it is. last: nothing more follows. */
static enum err advance(struct chat_queue *q, bool last)
{
    for (; q->open < q->count; q->open++) {
        struct chat_queue_block *b = &q->blocks[q->open];
        bool call = b->kind == CHAT_BLOCK_TOOL_CALL;
        bool others_wait = q->open + 1 < q->count;
        enum err err;

        if (!b->opened && call && label_name(b).n == 0)
            return last ? ERR_UPSTREAM_PROTOCOL : ERR_OK;
        if (!b->opened)
            open_block(q, b);
        err = deliver_held(q, b);
        if (err)
            return err;
        if (!last && !(others_wait && (!call || b->extent.whole)))
            return ERR_OK;
        close_block(q, b);
    }
    return ERR_OK;
}

/* ---- taking ---- */

static struct chat_queue_block *push(struct chat_queue *q, enum chat_block kind)
{
    struct chat_queue_block *b;

    if (q->count == CHAT_QUEUE_MAX_BLOCKS)
        return NULL;
    if ((q->count & (q->count - 1)) == 0) /* room is the power of two at or above count */
        q->blocks = mem_resize(q->blocks, q->count ? q->count * 2 : 1, sizeof(*q->blocks));
    b = &q->blocks[q->count++];
    *b = (struct chat_queue_block){.kind = kind, .index = -1};
    buf_init(&b->label, CHAT_QUEUE_MAX_LABEL);
    buf_init(&b->held, q->sink->max_held_bytes);
    buf_init(&b->held_logs, q->sink->max_held_bytes);
    return b;
}

/* The elements of an array, without brackets and the white space around them. */
static struct slice elements_of(struct slice array)
{
    struct slice s = array.n >= 2 ? slice_make(array.p + 1, array.n - 2) : SLICE("");

    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\n' || s.p[0] == '\r'))
        s = slice_from(s, 1);
    return s;
}

static enum err hold(struct chat_queue *q, struct chat_queue_block *b, struct slice text,
                     struct slice logprobs)
{
    struct slice logs = elements_of(logprobs);
    bool comma = logs.n && buf_len(&b->held_logs);
    size_t more = text.n + logs.n + comma;

    if (more > q->sink->max_held_bytes - q->sink->held_bytes)
        return ERR_UPSTREAM_TOO_LARGE;
    if (buf_append_slice(&b->held, text))
        return ERR_UPSTREAM_TOO_LARGE;
    q->sink->held_bytes += text.n;
    if (comma && buf_append(&b->held_logs, ",", 1))
        return ERR_UPSTREAM_TOO_LARGE;
    q->sink->held_bytes += comma;
    if (buf_append_slice(&b->held_logs, logs))
        return ERR_UPSTREAM_TOO_LARGE;
    q->sink->held_bytes += logs.n;
    return ERR_OK;
}

/* Text for a block that is not over: out at once when it is the block's turn. */
static enum err take(struct chat_queue *q, struct chat_queue_block *b, struct slice text,
                     struct slice logprobs)
{
    enum err err;

    if (b->opened) {
        deliver_text(q, b, text, logprobs);
        return ERR_OK;
    }
    err = hold(q, b, text, logprobs);
    return err ? err : advance(q, false);
}

enum err chat_queue_text(struct chat_queue *q, enum chat_block kind, struct slice text,
                         struct slice logprobs)
{
    struct chat_queue_block *b = q->count ? &q->blocks[q->count - 1] : NULL;
    enum err err;

    if (q->sink->stopped)
        return ERR_OK;
    if (!b || b->kind != kind || b->over) {
        b = push(q, kind);
        err = b ? advance(q, false) : ERR_UPSTREAM_TOO_LARGE;
        if (err)
            return err;
    }
    return take(q, b, text, logprobs);
}

static void extend(struct extent *x, struct slice json)
{
    for (size_t i = 0; i < json.n && !x->whole; i++) {
        char c = json.p[i];
        if (x->escape) {
            x->escape = false;
        } else if (x->in_string) {
            x->escape = c == '\\';
            x->in_string = c != '"';
        } else if (c == '"') {
            x->in_string = true;
        } else if (c == '{' || c == '[') {
            x->depth++;
        } else if (c == '}' || c == ']') {
            x->whole = --x->depth <= 0;
        }
    }
}

static bool is_blank(struct slice s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\n' || s.p[0] == '\r'))
        s = slice_from(s, 1);
    return s.n == 0;
}

/* A name where the index is taken starts a new call, unless it only says again whose call this is:
 * servers number all calls 0, repeat the name in each chunk, or make up a new id for each chunk
 * (which then comes without a name). */
static bool starts_anew(const struct chat_queue_block *holder, const struct chat_queue_call *call)
{
    if (call->name.n == 0)
        return false;
    if (call->id.n && holder->id_bytes)
        return true; /* of another id, or it had been found by it */
    return label_name(holder).n &&
           (holder->extent.whole || !slice_eq(label_name(holder), call->name));
}

static struct chat_queue_block *find_call(struct chat_queue *q, const struct chat_queue_call *call)
{
    struct chat_queue_block *by_index = NULL, *last = NULL;

    for (size_t i = q->count; i-- > 0;) {
        struct chat_queue_block *b = &q->blocks[i];
        if (b->kind != CHAT_BLOCK_TOOL_CALL)
            continue;
        if (call->id.n && slice_eq(label_id(b), call->id))
            return b;
        if (!last)
            last = b;
        if (!by_index && call->index >= 0 && b->index == call->index)
            by_index = b;
    }
    if (by_index)
        return starts_anew(by_index, call) ? NULL : by_index;
    return call->name.n || (call->id.n && call->index >= 0) ? NULL : last;
}

static enum err push_call(struct chat_queue *q, const struct chat_queue_call *call,
                          struct chat_queue_block **out)
{
    struct chat_queue_block *b;

    if (call->name.n == 0 && call->id.n == 0)
        return ERR_UPSTREAM_PROTOCOL;
    b = push(q, CHAT_BLOCK_TOOL_CALL);
    if (!b || buf_append_slice(&b->label, call->id) || buf_append_slice(&b->label, call->name))
        return ERR_UPSTREAM_TOO_LARGE;
    b->id_bytes = call->id.n;
    b->index = call->index;
    q->calls++;
    *out = b;
    return advance(q, false);
}

enum err chat_queue_call(struct chat_queue *q, const struct chat_queue_call *call)
{
    struct chat_queue_block *b = call->fresh ? NULL : find_call(q, call);
    enum err err = ERR_OK;

    if (q->sink->stopped)
        return ERR_OK;
    if (!b)
        err = push_call(q, call, &b);
    else if (!b->opened && label_name(b).n == 0 && buf_append_slice(&b->label, call->name))
        err = ERR_UPSTREAM_TOO_LARGE;
    if (err)
        return err;
    if (b->over)
        return is_blank(call->arguments) ? ERR_OK : ERR_UPSTREAM_PROTOCOL;
    if (call->arguments.n == 0)
        return advance(q, false);
    extend(&b->extent, call->arguments);
    err = take(q, b, call->arguments, slice_make("", 0));
    return err ? err : advance(q, false);
}

enum err chat_queue_finish(struct chat_queue *q)
{
    return advance(q, true);
}
