#!/usr/bin/env python3
"""How good are the cache's decisions? Streams of questions of which it is known which share an answer go through the
cache's own gates and risk budget, from cold; beside them a static cut chosen in hindsight at the same error, vCache's
algorithm and GPTCache's default. GPTCache itself gets the same vectors. Then pairs with changed numbers, dates and negations
go through the gates alone.

usage: run.py [--data DIR] [--build DIR] [--seeds N] [--wrong-labels X] [--out DIR] [--peers PYTHON] [STREAM...]

DIR of --data holds cache/*.gz and routing/*.gz as described in its README; nothing of it is copied into the project.
Streams: banking77, clinc150, qqp (default: all). Writes the table and an SVG of precision against hit ratio to --out.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAIRS = ["gsmplus", "situatedqa_date", "negation", "mqp", "qqp", "mrpc", "sgd_lastturn"]


def rows(path):
    """Lines of a gzip JSONL file, without its header line, if it has one."""
    with gzip.open(path, "rt") as lines:
        for line in lines:
            row = json.loads(line)
            if "id" in row:
                yield row


def banking77(data):
    for row in rows(data / "cache/banking77.stream.jsonl.gz"):
        yield row["text"], row["cls"]


def clinc150(data):
    """Questions out of scope share their answer with nobody."""
    for row in rows(data / "routing/intent_clinc150.jsonl.gz"):
        yield row["prompt"], row["id"] if row["class"] == "oos" else row["class"]


def qqp(data):
    """The questions of all pairs; those that pairs call equal, directly or through others, share an answer."""
    parent = {}

    def root(text):
        while parent[text] != text:
            parent[text] = parent[parent[text]]
            text = parent[text]
        return text

    for row in rows(data / "cache/qqp.pairs.jsonl.gz"):
        for text in (row["a"], row["b"]):
            parent.setdefault(text, text)
        if row["label"] == 1:
            parent[root(row["a"])] = root(row["b"])
    for text in parent:
        yield text, root(text)


STREAMS = {"banking77": banking77, "clinc150": clinc150, "qqp": qqp}
COLOURS = ["#2b6cb0", "#c05621", "#2f855a", "#6b46c1"]


def draw(curves, path):
    """Precision (share of hits that are right) against hit ratio, of static cuts; one line per stream."""
    width, height, left, top = 640, 400, 60, 20
    inner_w, inner_h = width - left - 150, height - top - 50

    def at(hit, precision):
        return left + hit * inner_w, top + (1 - precision) * 2 * inner_h  # precision from 0.5 to 1

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="white"/>']
    for i in range(6):
        x, y = left + i / 5 * inner_w, top + i / 5 * inner_h
        parts.append(f'<path d="M{left} {y:.1f}h{inner_w}M{x:.1f} {top}v{inner_h}" stroke="#ddd" fill="none"/>'
                     f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{1 - i / 10:.1f}</text>'
                     f'<text x="{x:.1f}" y="{top + inner_h + 18}" text-anchor="middle">{i / 5:.1f}</text>')
    parts.append(f'<text x="{left + inner_w / 2}" y="{height - 8}" text-anchor="middle">hit ratio</text>'
                 f'<text x="14" y="{top + inner_h / 2}" transform="rotate(-90 14 {top + inner_h / 2})" text-anchor="middle">'
                 'precision of hits</text>')
    for (name, points), colour in zip(curves.items(), COLOURS):
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(h, p) for h, p in points if p >= 0.5))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x, y = at(*points[-1])
        parts.append(f'<text x="{min(x, left + inner_w) + 6:.1f}" y="{min(y, top + inner_h):.1f}" fill="{colour}">{name}</text>')
    path.write_text("\n".join(parts) + "\n</svg>\n")


def gptcache_itself(args, kept):
    """GPTCache's own code on the same vectors, in the first of the orders, beside the rule that stands for it in the table."""
    print("\nGPTCache itself (its adapter, stores, default evaluation and default threshold):", end="")
    if not args.peers.exists():
        print(f" NOT MEASURED: no environment with tests/bench/cache/peers-requirements.txt at {args.peers} (--peers)")
        return
    print("\n| stream | first requests | GPTCache: hits / wrong % | cosine 0.6: hits / wrong % |\n|---|---|---|---|", flush=True)
    for name, stem in kept.items():
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([args.peers, Path(__file__).with_name("gptcache_stream.py"), args.out / name, f"{stem}.vectors",
                                   f"{stem}.order", folder, str(args.peer_requests)], capture_output=True, text=True, check=False,
                                  env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode:
            print(f"| {name} | NOT MEASURED: {(done.stderr.strip() or 'no word').splitlines()[-1]} | | |")
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        print(f"| {name} | {row['requests']} | {100 * row['hits']:.2f} / {100 * row['wrong']:.2f} | "
              f"{100 * row['rule_hits']:.2f} / {100 * row['rule_wrong']:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--wrong-labels", type=float, default=0.0)
    parser.add_argument("--out", type=Path, default=ROOT / "build/bench/cache_quality")
    parser.add_argument("streams", nargs="*", metavar="STREAM", help=", ".join(STREAMS))
    parser.add_argument("--peers", type=Path, default=ROOT / "build/cachepeers/bin/python",
                        help="of an environment with tests/bench/cache/peers-requirements.txt")
    parser.add_argument("--peer-requests", type=int, default=5000, help="how many of each stream's requests GPTCache itself gets")
    args = parser.parse_args()
    for name in args.streams:
        if name not in STREAMS:
            parser.error(f"no stream is called {name}; there are {', '.join(STREAMS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    files = []
    for name in args.streams or STREAMS:
        files.append(args.out / name)
        with open(files[-1], "w") as out:
            for text, cls in STREAMS[name](args.data):
                out.write(json.dumps({"text": text, "cls": cls}) + "\n")
    model = ROOT / ".cache/models/all-minilm-l6-v2"
    command = [args.build / "tests/bench/cache_quality", "--seeds", str(args.seeds), "--curve", "--export", "--keep", args.out,
               "--wrong-labels", str(args.wrong_labels), "--model", model if model.is_dir() else "all-minilm-l6-v2", *files]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    curves, kept = {}, {}
    for line in done.stdout.splitlines():
        if line.startswith("curve,"):
            _, name, _, hit, precision = line.split(",")
            curves.setdefault(name, []).append((float(hit), float(precision)))
        elif line.startswith("kept,"):
            _, name, stem = line.split(",")
            kept[name] = stem
        else:
            print(line)
    gptcache_itself(args, kept)
    draw(curves, args.out / "precision-hit.svg")
    print("\nGates alone: share of pairs that each refuses.")
    for name in PAIRS:
        path = args.data / f"cache/{name}.pairs.jsonl.gz"
        text = "".join(json.dumps(row) + "\n" for row in rows(path))
        done = subprocess.run([str(args.build / "tests/bench/cache_guards")], input=text, stdout=subprocess.PIPE, text=True, check=True)
        print(name)
        print(done.stdout, end="")
    print(f"\ncurves: {args.out / 'precision-hit.svg'}")


if __name__ == "__main__":
    main()
