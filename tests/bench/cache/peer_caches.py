#!/usr/bin/env python3
"""Look-ups in GPTCache and redisvl, timed in this process: no HTTP, no encoder (vectors are made beforehand). For exact.py.

usage: peer_caches.py FOLDER REDIS_URL LOOKUPS ENTRIES        prints one JSON object; a part that cannot run says why
"""

import json
import sys
import time

import numpy as np

DIM = 384
ANSWER = "x" * 1200


def timed(look_up, count):
    took, cpu = [], time.process_time()
    for i in range(count):
        began = time.perf_counter()
        assert look_up(i), f"look-up {i} found nothing"
        took.append(time.perf_counter() - began)
    cpu = time.process_time() - cpu
    took.sort()
    return {"p50_us": 1e6 * took[count // 2], "p99_us": 1e6 * took[count * 99 // 100], "cpu_us": 1e6 * cpu / count}


def vectors(count):
    rows = np.random.default_rng(1).standard_normal((count, DIM)).astype("float32")
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def gptcache_exact(folder, count, entries):
    from gptcache import Cache
    from gptcache.adapter.api import get, put
    from gptcache.manager import get_data_manager
    from gptcache.processor.pre import get_prompt
    cache = Cache()
    cache.init(pre_embedding_func=get_prompt, data_manager=get_data_manager(data_path=f"{folder}/map.txt", max_size=2 * entries))
    for i in range(entries):
        put(f"question {i}", ANSWER, cache_obj=cache)
    return timed(lambda i: get(f"question {i % entries}", cache_obj=cache), count)


def gptcache_semantic(folder, count, entries):
    from gptcache import Cache
    from gptcache.adapter.api import get, put
    from gptcache.manager import CacheBase, VectorBase, get_data_manager
    from gptcache.processor.pre import get_prompt
    from gptcache.similarity_evaluation.distance import SearchDistanceEvaluation
    rows = vectors(entries)
    cache = Cache()
    cache.init(pre_embedding_func=get_prompt, embedding_func=lambda text, **_: rows[int(text.split()[1])],
               data_manager=get_data_manager(CacheBase("sqlite", sql_url=f"sqlite:///{folder}/s.db"),
                                             VectorBase("faiss", dimension=DIM, index_path=f"{folder}/faiss.index"),
                                             max_size=2 * entries),
               similarity_evaluation=SearchDistanceEvaluation())
    for i in range(entries):
        put(f"question {i}", ANSWER, cache_obj=cache)
    return timed(lambda i: get(f"question {i % entries}", cache_obj=cache), count)


def redisvl_exact(url, count, entries):
    from redisvl.extensions.cache.embeddings import EmbeddingsCache
    cache = EmbeddingsCache(redis_url=url)
    for i in range(entries):
        cache.set(content=f"question {i}", model_name="m", embedding=[0.0], metadata={"answer": ANSWER})
    return timed(lambda i: cache.get(content=f"question {i % entries}", model_name="m"), count)


def redisvl_semantic(url, count, entries):
    from redisvl.extensions.cache.llm import SemanticCache
    from redisvl.utils.vectorize import CustomVectorizer
    rows = vectors(entries)
    cache = SemanticCache(redis_url=url, vectorizer=CustomVectorizer(embed=lambda text, **_: rows[0].tolist()))
    for i in range(entries):
        cache.store(f"question {i}", ANSWER, vector=rows[i].tolist())
    return timed(lambda i: cache.check(vector=rows[i % entries].tolist()), count)


def main():
    folder, url, count, entries = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    out = {}
    for name, run in {"GPTCache exact (map)": lambda: gptcache_exact(folder, count, entries),
                      "GPTCache semantic (SQLite, FAISS)": lambda: gptcache_semantic(folder, count, entries),
                      "redisvl exact (EmbeddingsCache)": lambda: redisvl_exact(url, count, entries),
                      "redisvl semantic (SemanticCache)": lambda: redisvl_semantic(url, count, entries)}.items():
        try:
            out[name] = run()
        except Exception as error:  # a peer that cannot run is named, without figures
            out[name] = {"why": f"{type(error).__name__}: {error}".split("\n")[0][:160]}
    print(json.dumps(out))


if __name__ == "__main__":
    main()
