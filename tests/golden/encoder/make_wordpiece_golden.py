#!/usr/bin/env python3
"""Writes wordpiece.jsonl: texts and the ids that Hugging Face's `tokenizers` gives them with the vocabulary of BERT (uncased).

usage: make_wordpiece_golden.py VOCAB.TXT PROMPTS.jsonl.gz... > wordpiece.jsonl

{"text": ..., "ids": [...]} per line, without special tokens; {"hex": ...} where the text is not UTF-8. Besides hand-picked rules
and random ones, a sample of the prompts (whose licence must allow it: see README.md here).
"""

import gzip
import json
import random
import sys
import unicodedata

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

RULES = [
    "", " ", "Hello, World!", "don't stop-me now...", "naïve café CAFÉ cafe\u0301 Ångström", "I\u0307stanbul \u0130stanbul ISTANBUL",
    "ΑΣ ας ΟΔΥΣΣΕΥΣ", "Straße STRASSE \u1e9e", "한국어 텍스트", "日本語とEnglish混在", "\uf900\U0002f800\u3400\u9fff\U0002b820",
    "a\u200db a\u00adb a\ufeffb a\u200bb", "a\u0085b a\x0bb a\x0cb a\x00b a\u2028b a\u00a0b a\u3000b", "\ufffd a\ufffdb",
    "😀 great😀 👨‍👩‍👧‍👦 🇩🇪 ☃", "$5 + 3 < 9 = 9 > ^ ` | ~ £ € ¥ ©", "¿Qué? «oui» „so“ —dash– …", "[CLS] [SEP] [MASK] [PAD] [UNK] [unused1]",
    "##ing ## # a##b", "unaffable untranslatable electroencephalographically", "x" * 99 + " " + "x" * 100 + " " + "x" * 101,
    "e" + "\u0301" * 200 + "x", "1234567890 3.14159 1,000,000 0x7f 1e-9", "http://example.com/a?b=c&d=%20#e", "def f(x):\n\treturn x**2  # ok",
    "Кириллица Ёлка й", "العَرَبِيَّة", "हिन्दी देवनागरी", "ไทย ภาษา", "Tiếng Việt ằẵ", "\U0001D16D\u302E a\u302E\U0001D16D",
]
BROKEN = [b"ab\xffcd", b"ab\xe2\x82cd \xe2\x82", b"\xed\xa0\x80x", b"\xc0\xafa \xf5b", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80 a"]


def prompts(paths, r):
    for path in paths:
        rows = [json.loads(line) for line in gzip.open(path, "rt")][1:]
        for row in r.sample(rows, 40):
            yield row["prompt"][:400]


def random_texts(r):
    marks = [p for p in range(0x110000) if unicodedata.combining(chr(p))]
    for _ in range(60):
        yield "".join(chr(r.choice(marks + list(range(97, 123)) * 20 + [32] * 200)) for _ in range(40))
    points = [p for p in range(32, 0x30000) if not 0xD800 <= p < 0xE000]
    for _ in range(60):
        yield "".join(chr(r.choice(points)) + r.choice(["", " ", "a"]) for _ in range(40))


def main():
    vocab = {line.rstrip("\n"): i for i, line in enumerate(open(sys.argv[1], encoding="utf-8", newline="\n"))}
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    r = random.Random(4)
    texts = RULES + list(random_texts(r)) + list(prompts(sys.argv[2:], r))
    for raw in [t.encode() for t in texts] + BROKEN:
        text = raw.decode("utf-8", "replace")
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        key = {"text": text} if raw == text.encode() and "\0" not in text else {"hex": raw.hex()}
        print(json.dumps({**key, "ids": ids}, separators=(",", ":")))


if __name__ == "__main__":
    main()
