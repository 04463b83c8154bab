#!/usr/bin/env python3
"""weir bench over many sets of recorded results, as one table.

    tests/bench/decide/sets.py FOLDER [--weir PROGRAM] [--seeds N] [--only TEXT] [--json FILE] [--streams [--requests N]]

FOLDER holds the rows (routing-rows/1) that the README names. Each case is a set and a choice of
models; what weir pays is compared with one model for each class and with the random mix of single
models, at shares of the best single model's success. Rows without costs get assumed ones here
(said in the case's name); nothing is written beside a temporary folder. --streams: streams with a
floor of 95 % of the best model's instead, beside class routing that learns from the same labels.
"""

import argparse
import concurrent.futures
import gzip
import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TARGETS = ("0.95", "0.97", "0.99")

LLAMAS = ["llama3.2-1b", "llama3.2-3b", "llama3.1-8b", "llama3.1-70b", "llama3.1-405b"]
QWENS = ["gpt-4o-mini", "qwen2.5-32b-coder-instruct", "qwen2.5-72b-instruct", "gpt-4o"]
CASCADES = ["cascade_mmlu", "cascade_medmcqa", "cascade_triviaqa", "cascade_truthfulqa"]
CALIB = "calib_boolq", "calib_sciq", "calib_halueval"
STATED = {
    "open": ["Meta-Llama-3.1-8B-Instruct", "Meta-Llama-3.1-70B-Instruct", "gpt-4o"],
    "cheap-dear": ["deepseek-v3", "o3-2025-04-16"],
    "four": ["Meta-Llama-3.1-8B-Instruct", "deepseek-v3", "gpt-4o", "o3-2025-04-16"],
    "six": [
        "Meta-Llama-3.1-8B-Instruct",
        "deepseek-v3",
        "gemini-2.5-flash",
        "deepseek-r1",
        "o3-2025-04-16",
        "gpt-4o",
    ],
}
CRUX = {
    "ladder": ["gemma-2-2b-it", "Qwen2.5-7B-Instruct", "gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06",
               "o1-mini-2024-09-12"],
    "old": ["Meta-Llama-3-8B-Instruct", "Meta-Llama-3.1-70B-Instruct", "claude-3-opus-20240229"],
}
MMLU_PRO = {
    "llamas": ["Meta-Llama-3_1-8B-Instruct", "Meta-Llama-3_1-70B-Instruct"],
    "wide": ["Phi-3-mini-4k-instruct", "mathstral-7B", "Meta-Llama-3_1-8B-Instruct",
             "jamba-1.5-large", "Meta-Llama-3_1-70B-Instruct"],
}
ROUTERBENCH = {
    "pair": ["mistralai/mixtral-8x7b-chat", "gpt-4-1106-preview"],
    "five": ["mistralai/mistral-7b-chat", "mistralai/mixtral-8x7b-chat", "zero-one-ai/Yi-34B-Chat",
             "claude-v1", "gpt-4-1106-preview"],
    "six": ["WizardLM/WizardLM-13B-V1.2", "claude-instant-v1", "gpt-3.5-turbo-1106",
            "zero-one-ai/Yi-34B-Chat", "claude-v1", "gpt-4-1106-preview"],
}
BFCL = {
    "five": ["gemini-1.5-flash-preview-0514", "open-mistral-nemo-2407-FC-Any",
             "gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06-FC", "claude-3-5-sonnet-20240620"],
    "two": ["gpt-4o-mini-2024-07-18", "claude-3-5-sonnet-20240620"],
    "broken": ["gpt-4o-2024-08-06", "mistral-large-2407", "gpt-3.5-turbo-0125-FC",
               "gpt-4-0613", "open-mistral-nemo-2407"],
}
# USD per million tokens, by the size in the name.
ASSUMED = {
    "llmrouter_uiuc": {"gemma-2-9b-it": 0.1, "qwen2.5-7b-instruct": 0.2,
                       "llama-3.1-8b-instruct": 0.2, "llama-3.3-nemotron-super-49b-v1": 0.9,
                       "llama-3.1-nemotron-51b-instruct": 0.9},
    "routerdc7": {"mistralai/Mistral-7B-v0.1": 0.1, "meta-math/MetaMath-Mistral-7B": 0.2,
                  "meta-llama/Meta-Llama-3-8B": 0.3,
                  "cognitivecomputations/dolphin-2.9-llama3-8b": 0.5},
    "mot_date": {"gpt-3.5-turbo cot": 1, "gpt-3.5-turbo pot2": 1, "gpt-4 cot": 30},
}


def cases():
    """(name, files, options of weir bench, models)"""
    pooled = [("L", LLAMAS), ("Q", QWENS), ("8b-405b", LLAMAS[2::2]), ("mini-4o", QWENS[::3]),
              ("70b-405b", LLAMAS[3:]), ("3b-mini-72b-4o", [LLAMAS[1], *QWENS[::2], QWENS[3]])]
    for name, models in pooled:
        yield f"cascade x4 {name}", CASCADES, ["--class-by-file"], models
    yield "cascade x4 L, no class", CASCADES, ["--class-key", "none"], LLAMAS
    yield "cascade x4 Q, no class", CASCADES, ["--class-key", "none"], QWENS
    yield "cascade x4 L, 15 classes", CASCADES, [], LLAMAS
    yield "cascade x4 Q, 15 classes", CASCADES, [], QWENS
    for file in [*CASCADES, "cascade_gsm8k"]:
        yield f"{file} L", [file], ["--class-by-file"], LLAMAS
        yield f"{file} Q", [file], ["--class-by-file"], QWENS
    for file in CALIB[:2]:
        for name, models in STATED.items():
            yield f"{file} {name}", [file], [], models
    yield "calib x3 six", CALIB, ["--class-by-file"], STATED["six"]
    for name, models in CRUX.items():
        yield f"zeroeval_crux {name}", ["zeroeval_crux"], [], models
    for name, models in MMLU_PRO.items():
        yield f"mmlu_pro {name}", ["mmlu_pro"], [], models
    for name, models in ROUTERBENCH.items():
        yield f"routerbench {name}", ["routerbench_sub"], [], models
    for name, models in BFCL.items():
        yield f"bfcl_tools {name}", ["bfcl_tools"], ["--class-key", "grp"], models
    yield "routellm_mmlu", ["routellm_mmlu"], [], []
    for file, prices in ASSUMED.items():
        yield f"{file} (costs assumed)", [file], [], list(prices)


def with_costs(source, prices, out):
    """The rows with costs by prices, a token for each four characters of the prompt and 100 of an
    answer; votes become confidences, and each vote a call."""
    with gzip.open(source, "rt") as rows, gzip.open(out, "wt") as to:
        header = json.loads(next(rows))
        names = [m["name"] for m in header["models"]]
        header["cost"] = "assumed, USD x 1e9"
        print(json.dumps(header), file=to)
        for row in map(json.loads, rows):
            votes = row.pop("v", None)
            tokens = len(row["prompt"]) / 4 + 100
            row["c"] = [prices[n] * 1e3 * tokens * (sum(votes[j]) if votes else 1)
                        if n in prices else None for j, n in enumerate(names)]
            if votes:
                row["p"] = [v[0] / sum(v) if v else None for v in votes]
                row["a"] = row.pop("pred")
            print(json.dumps(row), file=to)


def measure(weir, seeds, paths, options, models):
    command = [weir, "bench", *paths, *options, "--json", "--seeds", str(seeds)]
    if models:
        command += ["--models", ",".join(models)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr}")
    return json.loads(done.stdout)


def put_stream(name, r):
    weir, its, over = r["weir"], r["class_routing"], r["weir_over_class_routing"]
    ratio, each = ([over[k][p] for p in ("value", "low", "high")]
                   for k in ("late_cost_at_weirs_success", "late_cost_of_a_success"))
    pair = [" | ".join(f"{100 * way[k]['mean']:.1f}" for way in (weir, its))
            for k in ("late_success", "windows_below", "late_windows_below")]
    value = "never as good" if ratio[0] is None else f"{ratio[0]:.2f}"
    print(f"| {name} | {100 * r['floor']:.1f} | {pair[0]} | {value} [{ratio[1]:.2f}, {ratio[2]:.2f}] | "
          f"{each[0]:.2f} [{each[1]:.2f}, {each[2]:.2f}] | {pair[1]} | {pair[2]} |", flush=True)


def percent(figure):
    value, low, high = (figure[k] for k in ("value", "low", "high"))
    if value is None:
        return "never"
    return f"{100 * value:.1f} [{100 * low:.0f}, {'never' if high is None else f'{100 * high:.0f}'}]"


def put_case(name, r):
    weir, by_class, mix = r["ways"]["weir"], r["ways"]["class mean"], r["random_mix"]
    cells = [f"{percent(weir['cost_share_at'][t])} | {percent(by_class['cost_share_at'][t])} | "
             f"{percent(mix['cost_share_at'][t])}" for t in TARGETS]
    aiq = [way["aiq"]["value"] for way in (weir, by_class)]
    more = "none" if None in aiq else f"{100 * (aiq[0] - aiq[1]):+.2f}"  # the cheapest model is the best
    regret = 100 * (weir["regret"]["value"] - by_class["regret"]["value"])
    print(f"| {name} | {r['rows']} | {' | '.join(cells)} | {more} | {regret:+.2f} |", flush=True)


def put_summary(results):
    """Cases in which weir pays less or more than the other, beyond half a point and beyond noise (95 % of resamples)."""
    print("\n| weir against | at | cheaper (beyond noise) | dearer (beyond noise) | mean difference, points of the best's cost |")
    print("|---|---|---|---|---|")
    for name in ("class mean", "random mix"):
        for t in TARGETS:
            over = [r["weir_cost_share_over"][name][t] for r in results]
            less = [f["value"] for f in over]
            mean = sum(less) / len(less)
            error = math.sqrt(sum((x - mean) ** 2 for x in less) / len(less) / max(1, len(less) - 1))
            print(f"| {name} | {t} | {sum(x < -0.005 for x in less)} ({sum(f['high'] < 0 for f in over)}) "
                  f"| {sum(x > 0.005 for x in less)} ({sum(f['low'] > 0 for f in over)}) "
                  f"| {100 * mean:+.1f} ± {100 * error:.1f} |")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("folder", type=Path)
    p.add_argument("--weir", default="build/release/gateway/weir")
    p.add_argument("--seeds", type=int, default=2)
    p.add_argument("--only", default="", help="cases whose name matches this regular expression")
    p.add_argument("--json", type=Path, help="write all figures there")
    p.add_argument("--streams", action="store_true", help="streams, beside class routing that learns")
    p.add_argument("--requests", help="of each stream; default: weir bench's")
    a = p.parse_args()
    if a.requests and not a.streams:
        p.error("--requests has no effect without --streams")
    chosen = [c for c in cases() if re.search(a.only, c[0])]
    if not chosen:
        p.error(f"--only {a.only}: no case has such a name")
    results = {}
    with tempfile.TemporaryDirectory() as scratch:

        def run(case):
            name, files, options, models = case
            paths = [a.folder / f"{f}.jsonl.gz" for f in files]
            if files[0] in ASSUMED:
                paths = [Path(scratch) / paths[0].name]
                with_costs(a.folder / paths[0].name, ASSUMED[files[0]], paths[0])
            if a.streams:
                options = [*options, "--split", "prequential", "--floor-of-best", "0.95"]
                options += ["--requests", a.requests] if a.requests else []
            return name, measure(a.weir, a.seeds, paths, options, models)

        if a.streams:
            print("| case | floor | successes, 2nd half: weir | router | cost over the router's: at weir's success | of a success | "
                  "windows below: weir | router | 2nd half: weir | router |")
            print("|" + "---|" * 10)
        else:
            print("| case | rows | " + " | ".join(f"weir {t} | class | mix" for t in TARGETS) +
                  " | AIQ over class | regret over class |")
            print("|" + "---|" * (2 + 3 * len(TARGETS) + 2))
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for name, r in pool.map(run, chosen):
                results[name] = r
                (put_stream if a.streams else put_case)(name, r)
    if not a.streams:
        put_summary(list(results.values()))
    if a.json:
        a.json.write_text(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
