/* OpenAI error answers, both ways: what an upstream's means, and what a client of weir reads. Pure.
 * Sources: OpenAI API reference and error code guide; the servers named at each row of the table in
 * openai_error.c. */
#ifndef BACKENDS_WIRE_OPENAI_ERROR_H
#define BACKENDS_WIRE_OPENAI_ERROR_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

/* What an upstream's error answer means. body may be anything. Looks at status, error.code,
 * error.type and well-known message texts of OpenAI, vLLM, llama.cpp, Ollama, Azure, OpenRouter and
 * others. Returns ERR_UPSTREAM_{RATE_LIMITED,QUOTA,OVERLOADED,SERVER_ERROR,AUTH,
 * NOT_FOUND,CONTEXT_LENGTH,CONTENT_FILTER,REJECTED}. status 0 or 200: an error inside an answer
 * that began well; then a numeric error.code stands for the status. */
enum err openai_error_classify(int status, struct slice body);

/* The sentence an error answer (of most dialects: error.message, message, detail, or error itself)
 * has for people; "" when it has none. body may be anything. */
void openai_error_message(struct slice body, struct err_text *out);

/* {"error":{"message":..,"type":..,"param":..,"code":..}} for e; message NULL: err_text(e); param
 * NULL: null. Fails as buf_reserve does, and then has appended nothing. */
enum err openai_error_body(enum err e, const char *message, const char *param,
                           struct buf *out) MUST_CHECK;

#endif
