#!/usr/bin/env python3
"""Speed of the encoder on one core, in turns with onnxruntime and sentence-transformers, and what int8 costs.

usage: run.py --bench BUILD/tests/bench/encoder_bench [--model FOLDER] [--core N] [--rounds N]
              [--sentence-transformers PYTHON] [--isa NAME]

Runs in the Python of build/bench/encoder (deploy/setup.sh --bench). All peers get one thread on one core and the same
numbers of tokens; what is compared is CPU time of the pass alone (no tokenizer), the least of many repeats taken in
turns, so that neither the machine's other work nor its clock favours one. onnxruntime runs the graph of make_onnx.py:
fp32, and int8 by its own dynamic quantisation; "tuned" is int8 without its SkipLayerNormalization, which is slow on
CPUs. sentence-transformers is measured when a Python that has it is named. Then 1,000 real prompts
(tests/golden/encoder): how near int8 stays to fp32, ours and onnxruntime's.

Exit status 1 when a target does not hold: int8 at least 2 times onnxruntime's int8 and 4 times its fp32, at 16 to 128
tokens, one query at a time.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import make_onnx

ROOT = Path(__file__).resolve().parents[3]
SINGLE = [8, 16, 32, 64, 128, 256]
PACKED = [(16, 16), (32, 16), (128, 4)]  # tokens, sequences
TARGETS = {"ort int8": 2.0, "ort fp32": 4.0}


class Weir:
    def __init__(self, tool, model, precision, isa):
        command = [tool, model, precision] + ([isa] if isa else [])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        facts = self.process.stdout.readline().decode().split()
        if not facts:
            sys.exit(f"run.py: {' '.join(command)} did not start")
        self.name, self.dim, self.bytes, self.open_ms = facts[0], int(facts[1]), int(facts[2]), float(facts[3])

    def ask(self, line):
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()

    def best(self, tokens, sequences, repeats):
        self.ask(f"time {tokens} {sequences} {repeats}\n")
        return min(map(float, self.process.stdout.readline().split()))

    def embed(self, texts):
        out = []
        for text in texts:
            data = text.encode()
            self.process.stdin.write(b"embed 1\n%d\n" % len(data) + data)
            self.process.stdin.flush()
            out.append(np.frombuffer(self.process.stdout.read(4 * self.dim), dtype=np.float32))
        return np.array(out)


class Onnx:
    def __init__(self, path, name, off=()):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.name = name
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"],
                                                    disabled_optimizers=list(off))

    def run(self, ids):
        return self.session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]

    def best(self, tokens, sequences, repeats):
        ids = np.random.default_rng(1).integers(1000, 29000, (sequences, tokens))
        times = []
        for _ in range(repeats):
            begin = time.thread_time()
            self.run(ids)
            times.append((time.thread_time() - begin) * 1e3)
        return min(times)

    def embed(self, token_lists):
        mean = np.array([self.run(np.array([ids]))[0].mean(0) for ids in token_lists])
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


# Runs in the other Python; answers "tokens sequences repeats" with the least CPU time, as encoder_bench would.
SENTENCE_TRANSFORMERS = """
import sys, time, torch
from sentence_transformers import SentenceTransformer
torch.set_num_threads(1)
torch.set_grad_enabled(False)
bert = SentenceTransformer(sys.argv[1], device="cpu")[0].auto_model.eval()
print("sentence-transformers", 0, 0, 0, flush=True)
for line in sys.stdin:
    _, tokens, sequences, repeats = line.split()
    ids = torch.randint(1000, 29000, (int(sequences), int(tokens)))
    times = []
    for _ in range(int(repeats)):
        begin = time.thread_time()
        bert(input_ids=ids, attention_mask=torch.ones_like(ids))
        times.append(1e3 * (time.thread_time() - begin))
    print(*times, flush=True)
"""


class SentenceTransformers(Weir):
    def __init__(self, python, model):
        self.process = subprocess.Popen([python, "-c", SENTENCE_TRANSFORMERS, model], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if not self.process.stdout.readline():
            sys.exit(f"run.py: {python} has no sentence-transformers")
        self.name = "sbert fp32"


def measure(peers, tokens, sequences, rounds):
    repeats = max(2, 256 // (tokens * sequences))
    best = {p.name: float("inf") for p in peers}
    for _ in range(rounds):
        for p in peers:
            best[p.name] = min(best[p.name], p.best(tokens, sequences, repeats))
    return best


def speed(peers, ours, rounds):
    failed = []
    print(f"\n{'tokens':>8} " + " ".join(f"{p.name:>16}" for p in peers) + "   ms, least CPU time; ratio to " + ours)
    for tokens, sequences in [(n, 1) for n in SINGLE] + PACKED:
        best = measure(peers, tokens, sequences, rounds)
        label = str(tokens) if sequences == 1 else f"{sequences}x{tokens}"
        cells = [f"{ms:8.3f} ({ms / best[ours]:4.2f}x)" for ms in best.values()]
        print(f"{label:>8} " + " ".join(f"{c:>16}" for c in cells), flush=True)
        if sequences == 1 and 16 <= tokens <= 128:
            failed += [f"{label} tokens: {best[peer] / best[ours]:.2f}x {peer}, not {bar}x"
                       for peer, bar in TARGETS.items() if best[peer] < bar * best[ours]]
    return failed


def accuracy(model, fp32, int8, ort):
    golden = load_file(ROOT / "tests/golden/encoder/prompts.safetensors")
    text, starts = golden["text"].tobytes(), golden["text_starts"]
    prompts = [text[a:b].decode() for a, b in zip(starts, starts[1:])]
    want = golden["embedding"].astype(np.float32)
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(int(golden["tokens"].max()))
    ids = [e.ids for e in tokenizer.encode_batch(prompts)]
    print(f"\ncosine to sentence-transformers fp32 on {len(prompts)} real prompts:")
    for name, got in ((fp32.name, fp32.embed(prompts)), (int8.name, int8.embed(prompts)), (ort.name, ort.embed(ids))):
        cosine = (got * want).sum(1)
        print(f"  {name:20} mean {cosine.mean():.6f}   1st percentile {np.quantile(cosine, 0.01):.6f}   "
              f"least {cosine.min():.6f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--model", default=str(ROOT / ".cache/models/all-minilm-l6-v2"))
    parser.add_argument("--onnx", default=str(ROOT / "build/bench/onnx"), help="where the graphs are kept")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--isa")
    parser.add_argument("--sentence-transformers", metavar="PYTHON")
    args = parser.parse_args()
    os.sched_setaffinity(0, {args.core})
    os.environ["OMP_NUM_THREADS"] = "1"
    fp32_path, int8_path = make_onnx.make(Path(args.model), Path(args.onnx))
    int8 = Weir(args.bench, args.model, "int8", args.isa)
    fp32 = Weir(args.bench, args.model, "fp32", args.isa)
    ort = Onnx(int8_path, "ort int8")
    peers = [int8, fp32, ort, Onnx(int8_path, "ort int8 tuned", ["SkipLayerNormFusion"]), Onnx(fp32_path, "ort fp32")]
    if args.sentence_transformers:
        peers.append(SentenceTransformers(args.sentence_transformers, args.model))
    else:
        print("sentence-transformers: not measured (name a Python that has it)")
    for w in (int8, fp32):
        print(f"{w.name}: {w.bytes / 1e6:.1f} MB of packed weights, opened in {w.open_ms:.0f} ms")
    failed = speed(peers, int8.name, args.rounds)
    accuracy(args.model, fp32, int8, ort)
    print("\ntargets: " + ("all hold" if not failed else "; ".join(failed)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
