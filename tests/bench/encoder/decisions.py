#!/usr/bin/env python3
"""What int8 changes in decisions: classes by a logistic head, and cache lookups, on labelled intents.

usage: decisions.py --bench BUILD/tests/bench/encoder_bench ROWS.jsonl.gz... [--model FOLDER] [--rows N]

Needs scikit-learn beside numpy (deploy/setup.sh --bench). A file's first line is a header, every other one a row with
"prompt" and "class" (BANKING77 and CLINC150 in the form of routing-rows/1). Rows are drawn with a fixed seed. A head is
trained on fp32 vectors of four fifths of the rows and judged on the rest, embedded as fp32 and as int8. A lookup asks
for the nearest of the four fifths; it is a hit from the similarity on that --hit-rate of lookups reach (a cut belongs to
the precision that it was set for), and wrong when the classes differ. Exit status 1 when accuracy or the rate of wrong
hits moves by more than 0.5 points.
"""

import argparse
import gzip
import json
import random
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from run import ROOT, Weir

BAR = 0.005


def read(path, count):
    with gzip.open(path, "rt") as f:
        next(f)
        rows = [json.loads(line) for line in f]
    random.Random(7).shuffle(rows)
    return [r["prompt"] for r in rows[:count]], np.array([r["class"] for r in rows[:count]])


def lookups(vectors, classes, split, hit_rate):
    similarity = vectors[split:] @ vectors[:split].T
    cut = np.quantile(similarity.max(1), 1 - hit_rate)
    hit = similarity.max(1) >= cut
    return cut, hit, hit & (classes[:split][similarity.argmax(1)] != classes[split:])


def compare(path, fp32, int8, args):
    texts, classes = read(path, args.rows)
    a, b = fp32.embed(texts), int8.embed(texts)
    split = len(texts) * 4 // 5
    head = LogisticRegression(C=10, max_iter=200).fit(a[:split], classes[:split])
    said_a, said_b = head.predict(a[split:]), head.predict(b[split:])
    right_a, right_b = (said_a == classes[split:]).mean(), (said_b == classes[split:]).mean()
    cut_a, hit_a, wrong_a = lookups(a, classes, split, args.hit_rate)
    cut_b, hit_b, wrong_b = lookups(b, classes, split, args.hit_rate)
    print(f"{Path(path).name}: {len(texts)} rows, {len(set(classes))} classes, {len(texts) - split} asked")
    print(f"  class   right: fp32 {right_a:.4f}, int8 {right_b:.4f}; the same answer {(said_a == said_b).mean():.4f}")
    print(f"  lookup  wrong hits: fp32 {wrong_a.mean():.4f} (cut {cut_a:.4f}), int8 {wrong_b.mean():.4f} "
          f"(cut {cut_b:.4f}); the same decision {(hit_a == hit_b).mean():.4f}", flush=True)
    return abs(right_a - right_b) <= BAR and abs(wrong_a.mean() - wrong_b.mean()) <= BAR


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--model", default=str(ROOT / ".cache/models/all-minilm-l6-v2"))
    parser.add_argument("--rows", type=int, default=10000)
    parser.add_argument("--hit-rate", type=float, default=0.5)
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    fp32, int8 = (Weir(args.bench, args.model, precision, None) for precision in ("fp32", "int8"))
    held = [compare(f, fp32, int8, args) for f in args.files]
    print("int8 moves no decision rate by more than 0.5 points" if all(held) else "int8 moves decisions too far")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
