#!/usr/bin/env python3
"""The tokeniser beside Hugging Face's `tokenizers`, one thread each, in the same run.

usage: tokenizer.py BUILD_DIR VOCAB.TXT TEXTS      one text per line
"""

import os
import re
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Tokenizer  # noqa: E402  (reads the environment when it is loaded)
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

ROUNDS = 3


def theirs(vocab_file, texts):
    """MB/s and tokens of the faster of their two batch calls."""
    vocab = {line.rstrip("\n"): i for i, line in enumerate(open(vocab_file, encoding="utf-8", newline="\n"))}
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[(t, vocab[t]) for t in ("[CLS]", "[SEP]")])
    best, tokens = float("inf"), 0
    for _ in range(ROUNDS):
        for encode in (tokenizer.encode_batch, tokenizer.encode_batch_fast):
            begin = time.process_time()
            encodings = encode(texts)
            best = min(best, time.process_time() - begin)
            tokens = sum(len(e) for e in encodings)
    return sum(len(t.encode()) for t in texts) / best / 1e6, tokens


def main():
    build, vocab, texts_file = sys.argv[1:]
    texts = open(texts_file, encoding="utf-8", newline="\n").read().split("\n")
    texts = texts[:-1] if not texts[-1] else texts
    ours = subprocess.run([f"{build}/tests/bench/micro_tokenizer", vocab, texts_file], capture_output=True, text=True, check=True).stdout
    speed, tokens = theirs(vocab, texts)
    ours_speed = float(re.search(r"([\d.]+) MB/s", ours).group(1))
    ours_tokens = int(re.search(r"(\d+) tokens", ours).group(1))
    print("weir        " + ours.strip())
    print(f"tokenizers  {len(texts)} texts, {tokens} tokens: {speed:.1f} MB/s")
    print(f"weir is {ours_speed / speed:.1f} times as fast; tokens {'equal' if tokens == ours_tokens else 'DIFFER'}")


if __name__ == "__main__":
    main()
