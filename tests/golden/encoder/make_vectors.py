#!/usr/bin/env python3
"""Makes prompts.safetensors: 1,000 real prompts and what sentence-transformers embeds them to.

usage: make_vectors.py ROWS_FOLDER MODEL_FOLDER      (needs sentence-transformers and numpy; not part of any build)

ROWS_FOLDER holds the gzip JSON-Lines files named in SOURCES (routing-rows/1: a header line, then one row a line). One
prompt of every length from 2 tokens to the model's limit, 20 longer ones, the rest drawn from the sources as they come.
Tensors: text U8 (all prompts, one after the other), text_starts I32 [n + 1], tokens I32 [n] (with specials, after
truncation), embedding F16 [n][dim]. Metadata names the sources and their licences.
"""

import gzip
import json
import random
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer

# file, the row's texts, prompts drawn as they come
SOURCES = [
    ("intent_banking77", lambda row: [row["prompt"]], 250),
    ("intent_clinc150", lambda row: [row["prompt"]], 275),
    ("mmlu_pro", lambda row: [row["prompt"]], 150),
    ("zeroeval_crux_text", lambda row: [x for x in row["x"] if x], 50),
]
PROMPTS, LONGER = 1000, 20


def read(path, texts):
    with gzip.open(path, "rt") as f:
        header = json.loads(next(f))
        return header, [t for line in f for t in texts(json.loads(line))]


def cut_to(tokenizer, text, tokens):
    """The beginning of text, up to a token's end, that has so many tokens (with specials); None if there is none."""
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False, truncation=False)
    spans = encoded["offset_mapping"]
    if len(spans) < tokens - 2:
        return None
    short = text[: spans[tokens - 3][1]] if tokens > 2 else ""
    again = tokenizer(short, truncation=False)["input_ids"]
    return short if len(again) == tokens else None


def main():
    rows, folder = map(Path, sys.argv[1:])
    model = SentenceTransformer(str(folder), device="cpu")
    tokenizer, limit = model.tokenizer, model.max_seq_length
    rng = random.Random(20)
    credits, drawn, long_texts = {}, [], []
    for name, texts, share in SOURCES:
        header, all_texts = read(rows / f"{name}.jsonl.gz", texts)
        credits[name] = f'{header["repo"]} at {header["commit"]}, {header["licence"]}'
        rng.shuffle(all_texts)
        fitting = [t for t in all_texts if len(t) < 900]
        drawn += fitting[:share]
        long_texts += [t for t in all_texts[:2000] if len(t) > 400]
    rng.shuffle(long_texts)
    prompts = []
    for tokens in range(2, limit + 1):
        prompts.append(next(s for t in long_texts if (s := cut_to(tokenizer, t, tokens)) is not None))
        rng.shuffle(long_texts)
    over = [t for t in long_texts if len(tokenizer(t, truncation=False)["input_ids"]) > limit and len(t) < 1800]
    prompts += over[:LONGER]
    prompts += drawn[: PROMPTS - len(prompts)]
    assert len(prompts) == PROMPTS
    lengths = [min(limit, len(tokenizer(p, truncation=False)["input_ids"])) for p in prompts]
    vectors = model.encode(prompts, batch_size=1, normalize_embeddings=True).astype(np.float16)
    encoded = [p.encode() for p in prompts]
    starts = np.cumsum([0] + [len(e) for e in encoded]).astype(np.int32)
    out = Path(__file__).parent / "prompts.safetensors"
    save_file(
        {
            "text": np.frombuffer(b"".join(encoded), dtype=np.uint8),
            "text_starts": starts,
            "tokens": np.array(lengths, dtype=np.int32),
            "embedding": vectors,
        },
        out,
        metadata={"model": folder.name, **credits},
    )
    print(f"{len(prompts)} prompts, {sum(lengths)} tokens, {out.stat().st_size} bytes in {out}")


if __name__ == "__main__":
    main()
