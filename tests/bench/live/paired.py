#!/usr/bin/env python3
"""Three replicas on one Redis against one, paired: the same questions, labels and chances (paired.c says how).

usage: paired.py [--chain L|Q] [--floor F] [--replicas R] [--requests N] [--seeds S] [--first SEED] [--arms 135] [--jobs J]
                 [--data FOLDER] [--build DIR]

Prints by how much success and cost differ from those of one that learns every 25 requests, with 95 % intervals over seeds: of R
replicas that do so in turn (1); of R, and of one, that do so every 100 (2, 3); of R that all know all before each 25, where nothing
may differ (4); and of one whose requests' draws are others (5). A run that was luckier or more cautious buys more success for more
money: "at equal success" is the cost less what its success explains, by a line through all seeds, of which it takes some
hundred.
"""

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
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


def interval(values):
    """Mean and half of its 95 % interval, in hundredths."""
    return 100 * statistics.mean(values), 196 * statistics.stdev(values) / math.sqrt(len(values))


def at_equal_success(success, cost):
    slope = statistics.covariance(success, cost) / (statistics.variance(success) or math.inf)
    return [c - slope * s for s, c in zip(success, cost)]


def tell(rows):
    """rows: [(seed, arm, name, success, cost, usual cost, share decided otherwise)]"""
    one = {r[0]: r for r in rows if r[1] == 0}
    success, cost = statistics.mean(r[3] for r in one.values()), statistics.mean(r[4] for r in one.values())
    print(f"one replica, {len(one)} seeds: success {success:.4f}, cost {cost:.0f} nano-dollars; against it, with 95 % intervals over seeds:")
    for arm in sorted({r[1] for r in rows} - {0}):
        mine = [r for r in rows if r[1] == arm]
        more_success = [(r[3] - one[r[0]][3]) / success for r in mine]
        more_cost = [(r[4] - one[r[0]][4]) / cost for r in mine]
        columns = [("success", more_success), ("cost", more_cost), ("at equal success", at_equal_success(more_success, more_cost))]
        print(f"{mine[0][2]:34}", *(f"   {what} {m:+6.2f} % +- {h:5.2f}" for what, v in columns for m, h in [interval(v)]),
              f"   decided otherwise {100 * statistics.mean(r[6] for r in mine):5.1f} %", sep="")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chain", choices=list(world.CHAINS), default="Q")
    parser.add_argument("--floor", type=float, default=0.80)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--arms", default="12345")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--data", default=str(ROOT.parent / "shared" / "data" / "routing"))
    parser.add_argument("--build", default=str(ROOT / "build" / "release"))
    args = parser.parse_args()
    if args.jobs < 1 or args.seeds < max(args.jobs, 2):
        parser.error("at least two seeds, and one for each job")
    with tempfile.TemporaryDirectory(prefix="weir-paired-") as folder:
        questions = Path(folder) / "questions"
        write(questions, world.with_single_tokens(world.read(args.data, args.chain)), world.CHAINS[args.chain])

        def run(job):
            first, seeds = args.first + args.seeds * job // args.jobs, args.seeds * (job + 1) // args.jobs - args.seeds * job // args.jobs
            done = subprocess.run([Path(args.build) / "tests" / "bench" / "live_paired", questions, str(args.floor), str(args.replicas),
                                   str(args.requests), str(first), str(seeds), args.arms], check=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True)
            fields = (line.split("\t") for line in done.stdout.splitlines())
            return [(int(f[0]), int(f[1]), f[2], *map(float, f[3:])) for f in fields]

        with ThreadPoolExecutor(args.jobs) as pool:
            tell([row for rows in pool.map(run, range(args.jobs)) for row in rows])


if __name__ == "__main__":
    main()
