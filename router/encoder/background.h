/* Prompts of every kind that people send to language models, a few words each, written for this
 * project: what a class declared by examples is told apart from (centroids.h). Inside the program;
 * any thread. */
#ifndef ROUTER_ENCODER_BACKGROUND_H
#define ROUTER_ENCODER_BACKGROUND_H

#include "base/slice.h"

size_t background_count(void);
struct slice background_prompt(size_t i); /* never empty */

#endif
