/* What an answer says about itself, read along while it passes: its text, its tools' calls, why it
 * ended, the log-probabilities of its tokens. Whoever filters or translates an answer feeds it
 * (answer_options.signals); router/confidence makes numbers of it. Pure; embedded by value;
 * single-threaded; memory up to a maximum given at init.
 *
 * Of an answer with several choices (n > 1) these are the signals of choice 0: it is the one that
 * clients read when they read one. Of a batch of completions likewise the first prompt's.
 *
 * Anthropic's API has no log-probabilities: tokens.count stays 0. */
#ifndef BACKENDS_WIRE_ANSWER_SIGNALS_H
#define BACKENDS_WIRE_ANSWER_SIGNALS_H

#include "backends/wire/anthropic_event.h"
#include "backends/wire/chat_event.h"
#include "backends/wire/chat_queue.h"
#include "backends/wire/openai_choice.h"
#include "backends/wire/token_logprobs.h"
#include "base/buf.h"

#define ANSWER_SIGNALS_MAX_CALLS 64

/* A call of a tool as the model wrote it. */
struct answer_call {
    struct buf name;
    struct buf arguments; /* JSON text, whole once the answer is; empty: none, as {} */
};

struct answer_signals {
    size_t max_bytes; /* of text, and of all calls together */
    struct token_logprobs tokens;
    struct buf text;           /* decoded UTF-8 of what the model said, without its thinking */
    int64_t thinking_bytes;    /* JSON text */
    struct answer_call *calls; /* owned */
    size_t call_count;
    bool cut;     /* there was more than max_bytes of text or calls, or more calls than fit:
                     nothing was kept from there on */
    bool refused; /* said so by the API: a refusal in its own member, or a filter's finish */
    bool finished;
    enum chat_finish finish; /* meaningless until finished; STOP for a stop sequence too, which not
                                all servers tell apart */
    /* Private: puts the fragments of parallel calls together. */
    struct chat_queue queue;
    struct chat_queue_sink sink;
    struct buf scratch[3];
    size_t call_bytes;
    bool prefilled; /* the last call's arguments came with its start */
};

/* Must not be moved afterwards. */
void answer_signals_init(struct answer_signals *s, size_t max_bytes);
/* Frees; usable again with the same maximum. */
void answer_signals_clear(struct answer_signals *s);

/* ---- feeding; all values validated JSON ---- */

/* A choice of an OpenAI reply or chunk (chat or completions). */
void answer_signals_openai(struct answer_signals *s, const struct openai_choice *choice);
/* An event of an Anthropic stream. */
void answer_signals_anthropic(struct answer_signals *s, const struct anthropic_event *event);
/* A whole Anthropic message. */
void answer_signals_message(struct answer_signals *s, struct json_value message);
/* An event between a decoder and an encoder. */
void answer_signals_event(struct answer_signals *s, const struct chat_event *e);

/* ---- asking ---- */

static inline struct slice answer_signals_text(const struct answer_signals *s)
{
    return buf_slice(&s->text);
}
/* Says the API that the model refused, or do its first words (answer_phrases.h)? A refusal may be
 * right: it is a signal, no verdict. */
bool answer_signals_refuse(const struct answer_signals *s);
/* Do its last words doubt what it said before? */
bool answer_signals_hedge(const struct answer_signals *s);

#endif
