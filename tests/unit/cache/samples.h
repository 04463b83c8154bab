/* Entries to test with. */
#ifndef TESTS_UNIT_CACHE_SAMPLES_H
#define TESTS_UNIT_CACHE_SAMPLES_H

#include <stdio.h>
#include "cache/cache_entry.h"

#define SAMPLE_DIM 8

/* A question of its own for each n, with an answer of body_bytes. Lives until 2100. */
static inline struct cache_fields sample_fields(const char *scope, int n)
{
    static _Thread_local char texts[16][64], bodies[16][64];
    static _Thread_local int turn;
    static const uint16_t vector[SAMPLE_DIM] = {0x3C00};
    char *text = texts[turn % 16], *body = bodies[turn % 16];
    char key[96];

    turn++;
    snprintf(text, sizeof texts[0], "what is %d plus one?", n);
    snprintf(body, sizeof bodies[0], "{\"answer\": %d}", n + 1);
    int key_bytes = snprintf(key, sizeof key, "%s|%d", scope, n);
    return (struct cache_fields){
        .exact = digest_of(slice_make(key, (size_t)key_bytes)),
        .rest = digest_of(slice_str(scope)),
        .scope = slice_str(scope),
        .text = slice_str(text),
        .body = slice_str(body),
        .dialect = SLICE("openai"),
        .api = SLICE("chat"),
        .model = SLICE("small"),
        .route = SLICE("default"),
        .class_label = SLICE("sums"),
        .owner = SLICE("ann"),
        .tags = {SLICE("maths"), SLICE("v1")},
        .tag_count = 2,
        .vector = vector,
        .dim = SAMPLE_DIM,
        .fingerprint = {1, 2, 3},
        .created_ms = INT64_C(1700000000000),
        .expires_ms = INT64_C(4102444800000),
        .generation = 7,
        .usage = {.n = {10, 0, 0, 5, 1}, .source = USAGE_REPORTED},
        .cost = 1234,
        .source = CACHE_FROM_TRAFFIC,
    };
}

#endif
