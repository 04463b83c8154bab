#!/usr/bin/env python3
"""How well heads classify, on the splits that the collections come with, through the program itself.

usage: quality.py WEIR DATA [--model NAME]...

DATA has routing/ and cache/ as the dev sets do. For each model (all-minilm-l6-v2 and static unless named) heads are trained
on the training split with the penalty chosen inside it, frozen, and evaluated on the other split: BANKING77 (its test split),
CLINC150 (its validation split, out-of-scope rows told apart), MMLU-Pro domains (a fifth held out, seed 1). A transformer's
heads, trained on fp32 features, are evaluated on int8 features too. Prints one Markdown row per case."""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path

TARGETS = {"BANKING77": 90.0, "CLINC150": 94.0, "MMLU-Pro domains": 72.0}


def rows(path):
    with gzip.open(path, "rt", encoding="utf-8") as f:
        for line in f:
            row = json.loads(line)
            if "text" in row or "prompt" in row:
                yield row


def write(path, some):
    with gzip.open(path, "wt", encoding="utf-8") as f:
        for row in some:
            label = row.get("cls") or row["class"]
            f.write(json.dumps({"text": row.get("text") or row["prompt"], "label": label}) + "\n")
    return path


def cases(data, work):
    """Name, files to train on, files to test on."""
    banking = list(rows(data / "cache/banking77.stream.jsonl.gz"))
    yield ("BANKING77", write(work / "b.train.gz", (r for r in banking if r["split"] == "train")),
           write(work / "b.test.gz", (r for r in banking if r["split"] == "test")))
    clinc = list(rows(data / "routing/intent_clinc150.jsonl.gz"))
    yield ("CLINC150", write(work / "c.train.gz", (r for r in clinc if r["grp"] == "train")),
           write(work / "c.test.gz", (r for r in clinc if r["grp"] != "train")))
    domains = sorted(rows(data / "routing/mmlu_pro.jsonl.gz"), key=lambda r: r["id"])
    yield ("MMLU-Pro domains", write(work / "m.train.gz", (r for i, r in enumerate(domains) if i % 5)),
           write(work / "m.test.gz", (r for i, r in enumerate(domains) if i % 5 == 0)))


def weir(program, *arguments):
    done = subprocess.run([program, *map(str, arguments), "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def show(name, model, precision, figures, missed):
    c, scope = figures["class"], figures.get("scope")
    worst = ", ".join(f"{p['is']} as {p['taken_for']} {p['rows']}" for p in c["confused"][:3])
    out = f"{scope['auroc']:.3f}, {100 * scope['below_out']:.0f} % / {100 * scope['below_in']:.1f} %" if scope else ""
    print(f"| {name} | {model} {precision} | {100 * c['accuracy']:.2f} | {c['macro_f1']:.3f} | {c['ece']:.3f} | {out} | {worst} |",
          flush=True)
    if model != "static" and 100 * c["accuracy"] < TARGETS[name]:
        missed.append(f"{name} with {model} {precision}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weir")
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", action="append")
    args = parser.parse_args()
    missed = []
    print("| rows | encoder | accuracy % | macro F1 | ECE | scope: AUROC, told apart / lost at 0.05 | confused most |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name, train, test in cases(args.data, work):
            for model in args.model or ["static", "all-minilm-l6-v2"]:
                heads = work / "heads.safetensors"
                precision = [] if model == "static" else ["--precision", "fp32"]
                common = ["--heads", heads, "--out-of-scope", "oos", "--model", model]
                show(name, model, "fp32" if precision else "",
                     weir(args.weir, "train", "--data", train, "--test", test, "--folds", 3, *common, *precision), missed)
                if precision:
                    show(name, model, "int8", weir(args.weir, "eval", "--data", test, *common, "--precision", "int8"), missed)
    for what in missed:
        print(f"below the target: {what}", file=sys.stderr)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
