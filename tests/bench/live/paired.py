#!/usr/bin/env python3
"""Three replicas on one Redis against one, paired: the same questions, labels and chances (paired.c says how).

usage: paired.py [--chain L|Q] [--floor F] [--replicas R] [--requests N] [--seeds S] [--data FOLDER] [--build DIR]

Prints by how much success and cost of R replicas differ from those of one that learns every 25 requests, with 95 % intervals
over seeds: R that do so in turn; R, and one, that do so every 100; R that all know all before each 25, where nothing may
differ; and one whose requests' draws are others.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(Path(__file__).parent)]
import world  # noqa: E402


def score(question, model):
    """What a single token's log-probability says, as a chance; one half where the record has none."""
    logprob = question.logprob.get(model)
    return 0.5 if logprob is None else math.exp(logprob)


def write(path, questions, models):
    with open(path, "w") as f:
        print("\t".join(f"{m}\t{world.PRICES[m][0]}\t{world.PRICES[m][1]}" for m in models), file=f)
        for q in questions:
            print("\t".join([q.source, *(f"{q.right[m]}\t{q.nanousd[m]}\t{score(q, m):.6f}" for m in models)]), file=f)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chain", choices=list(world.CHAINS), default="Q")
    parser.add_argument("--floor", type=float, default=0.80)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", default=str(ROOT.parent / "shared" / "data" / "routing"))
    parser.add_argument("--build", default=str(ROOT / "build" / "release"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-paired-") as folder:
        rows = Path(folder) / "questions"
        write(rows, world.with_single_tokens(world.read(args.data, args.chain)), world.CHAINS[args.chain])
        sys.exit(subprocess.run([Path(args.build) / "tests" / "bench" / "live_paired", rows, str(args.floor), str(args.replicas), str(args.requests),
                                 str(args.seeds)], check=False, stderr=subprocess.DEVNULL).returncode)


if __name__ == "__main__":
    main()
