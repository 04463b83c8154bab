#!/usr/bin/env python3
"""Embeds the texts in JSONL files for bench_vindex: halves, row after row, of unit length.

usage: embed.py MODEL_FOLDER OUT.f16 FILE.jsonl.gz...     (needs sentence-transformers)

Takes every string of 12 to 300 characters with a space in it, once, in random order, at most 60,000 of them.
"""

import gzip
import json
import random
import sys

import numpy as np
from sentence_transformers import SentenceTransformer

MOST, PIECE = 60_000, 1024


def strings(value):
    if isinstance(value, str):
        if 12 <= len(value) <= 300 and " " in value:
            yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)


def main():
    model_folder, out_path, *files = sys.argv[1:]
    texts = set()
    for name in files:
        with gzip.open(name, "rt") as lines:
            for line in lines:
                texts.update(strings(json.loads(line)))
    texts = sorted(texts)
    random.Random(1).shuffle(texts)
    model = SentenceTransformer(model_folder, device="cpu")
    model.max_seq_length = 64
    with open(out_path, "wb") as out:
        for i in range(0, min(MOST, len(texts)), PIECE):
            rows = model.encode(texts[i:min(i + PIECE, MOST)], normalize_embeddings=True)
            out.write(rows.astype(np.float16).tobytes())


if __name__ == "__main__":
    main()
