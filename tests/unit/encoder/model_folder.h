/* Small model folders for tests: random weights in the layout of a real model, written to a
 * directory, with single files replaced or single tensors left out. */
#ifndef TESTS_UNIT_ENCODER_MODEL_FOLDER_H
#define TESTS_UNIT_ENCODER_MODEL_FOLDER_H

#include "router/encoder/safetensors.h"

/* The layouts differ in pooling, prefixes of tensor names, dtype and the files beside. */
enum model_layout { LAYOUT_MINILM, LAYOUT_BGE, LAYOUT_E5, LAYOUT_GTE };

enum { FOLDER_LAYERS = 2, FOLDER_HIDDEN = 8, FOLDER_HEADS = 2, FOLDER_FEED = 16 };
enum { FOLDER_VOCABULARY = 11, FOLDER_POSITIONS = 20, FOLDER_MAX_TOKENS = 16 };

/* Writes a whole folder into dir (which exists); asserts that it can. */
void model_folder_write(const char *dir, enum model_layout layout);
/* Replaces one file of it; text NULL removes it. */
void model_folder_put(const char *dir, const char *name, const char *text);
/* Rewrites the weights: the tensor `name` left out (`instead` NULL) or put in another's place. */
void model_folder_swap(const char *dir, enum model_layout layout, const char *name,
                       const struct tensor *instead);
void model_folder_remove(const char *dir);

#endif
