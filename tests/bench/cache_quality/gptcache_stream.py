#!/usr/bin/env python3
"""GPTCache itself on a stream of questions: its adapter, its FAISS and SQLite stores, its default evaluation
(SearchDistanceEvaluation) and its default threshold (Config's), on vectors that were made beforehand. For run.py; runs in an
environment with tests/bench/cache/peers-requirements.txt.

usage: gptcache_stream.py STREAM.jsonl VECTORS ORDER FOLDER REQUESTS

STREAM: lines of {"text", "cls"}; VECTORS: float32 [texts][dim], of unit length; ORDER: int32 [texts], in which they arrive;
FOLDER: for its files. Each question is looked up; one that finds nothing is stored with its class as the answer. Prints one JSON
object: shares of the first REQUESTS requests that were hits, and that were wrong ones; likewise for the rule that stands for
GPTCache in cache_quality (the nearest stored text, if its cosine is at least 0.6).
"""

import json
import sys
import time

import numpy as np

CUT = 0.6


def gptcache(texts, classes, vectors, order, folder):
    from gptcache import Cache, Config
    from gptcache.adapter.api import get, put
    from gptcache.manager import CacheBase, VectorBase, get_data_manager
    from gptcache.processor.pre import get_prompt
    from gptcache.similarity_evaluation.distance import SearchDistanceEvaluation
    at = {text: i for i, text in enumerate(texts)}  # equal texts have equal vectors
    cache = Cache()
    # Not policy: how often files are written, and that nothing is evicted.
    cache.init(pre_embedding_func=get_prompt, embedding_func=lambda text, **_: vectors[at[text]],
               data_manager=get_data_manager(CacheBase("sqlite", sql_url="sqlite://"),
                                             VectorBase("faiss", dimension=vectors.shape[1], index_path=f"{folder}/gptcache.index"),
                                             max_size=2 * len(texts)),
               similarity_evaluation=SearchDistanceEvaluation(), config=Config(auto_flush=1 << 30, disable_report=True))
    hits = wrong = 0
    for i in order:
        answer = get(texts[i], cache_obj=cache)
        if answer is None:
            put(texts[i], classes[i], cache_obj=cache)
        else:
            hits += 1
            wrong += answer != classes[i]
    return hits, wrong


def the_rule(classes, vectors, order):
    stored, ids = np.empty((len(order), vectors.shape[1]), "float32"), []
    hits = wrong = 0
    for i in order:
        cosines = stored[:len(ids)] @ vectors[i]
        if ids and cosines.max() >= CUT:
            hits += 1
            wrong += classes[ids[int(cosines.argmax())]] != classes[i]
        else:
            stored[len(ids)] = vectors[i]
            ids.append(i)
    return hits, wrong


def main():
    stream, vectors, order, folder, requests = sys.argv[1:]
    with open(stream) as lines:
        rows = [json.loads(line) for line in lines]
    texts, classes = [row["text"] for row in rows], [str(row["cls"]) for row in rows]
    vectors = np.fromfile(vectors, "float32").reshape(len(texts), -1)
    order = np.fromfile(order, "int32")[:int(requests)]
    began = time.monotonic()
    hits, wrong = gptcache(texts, classes, vectors, order, folder)
    took = time.monotonic() - began
    rule_hits, rule_wrong = the_rule(classes, vectors, order)
    n = len(order)
    print(json.dumps({"requests": n, "hits": hits / n, "wrong": wrong / n, "rule_hits": rule_hits / n, "rule_wrong": rule_wrong / n,
                      "seconds": took}))


if __name__ == "__main__":
    main()
