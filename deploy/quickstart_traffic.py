#!/usr/bin/env python3
"""Questions of tests/fleet/sample through a running weir, and what became of them.

usage: quickstart_traffic.py [--url URL] [--admin URL] [--rounds N] [--feedback SHARE] [--seed S]

Asks every question of the sample in each of N rounds, in an order drawn from the seed; after every 25 it says of a SHARE
of the answers whether they were right (POST /v1/feedback; the record knows), and waits until weir has learnt it. Prints
how many were right, how many the small models answered, and what it cost, beside the big model alone. It only needs Python
and a weir that serves policies/examples/quickstart.yaml in front of the replay fleet.
"""

import argparse
import gzip
import json
import random
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[1] / "tests" / "fleet" / "sample" / "sample.jsonl.gz"
SMALL, BIG = ("llama-3.1-8b-instruct", "gemini-1.5-flash"), "gemini-1.5-pro"
CLIENTS, BATCH = 8, 25
LEARN_S = 60  # what was said is believed within a second on an idle machine


def read(path=SAMPLE):
    """[(prompt, {model: 1 right, 0 wrong})] of the questions that all models of the cascade were asked."""
    with gzip.open(path, "rt", encoding="utf-8") as f:
        names = [m["name"] for m in json.loads(f.readline())["models"]]
        rows = [json.loads(line) for line in f]
    questions = [(row["prompt"], dict(zip(names, row["s"]))) for row in rows]
    return [q for q in questions if all(q[1][m] is not None for m in (*SMALL, BIG))]


def call(url, body=None):
    """(headers, JSON) of one request; whatever is not a success is an exception."""
    request = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode(),
                                     headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        return reply.headers, json.load(reply)


def ask(base, question, model="auto"):
    prompt, right = question
    head, _ = call(base + "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": prompt}]})
    return {"request_id": head["x-request-id"], "model": head["x-weir-model"], "usd": float(head["x-weir-cost-usd"]),
            "right": right[head["x-weir-model"]]}


def ask_all(base, questions, model="auto"):
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(lambda q: ask(base, q, model), questions))


def believed(admin):
    """(labels that the beliefs in force rest on, the scorers they are counted under); labels fade only over days."""
    models = [m for c in call(admin + "/admin/beliefs")[1]["contexts"] for m in c["models"]]
    return sum(m["labels"] for m in models), {m["model"]: m["scorer"] for m in models}


def teach(base, admin, answers, share, rng, limit_s=LEARN_S):
    """Says of a share of the answers whether they were right, and waits until weir believes it. A model that has got a new
    scorer begins to count anew."""
    before, scorers = believed(admin)
    told = [a for a in answers if rng.random() < share]
    for a in told:
        call(base + "/v1/feedback", {"request_id": a["request_id"], "success": bool(a["right"])})
    deadline = time.monotonic() + limit_s
    while (now := believed(admin))[0] < before + 0.99 * len(told) and now[1] == scorers:
        if time.monotonic() > deadline:
            raise TimeoutError(f"weir has not learnt {len(told)} labels within {limit_s} s")
        time.sleep(0.05)


def play(base, admin, rounds, share, seed, limit_s=LEARN_S):
    """Yields the answers of each round."""
    rng, questions = random.Random(seed), read()
    for _ in range(rounds):
        rng.shuffle(questions)
        answers = []
        for i in range(0, len(questions), BATCH):
            batch = ask_all(base, questions[i:i + BATCH])
            teach(base, admin, batch, share, rng, limit_s)
            answers += batch
        yield answers


def figures(answers):
    served = Counter(a["model"] for a in answers)
    return {"success": sum(a["right"] for a in answers) / len(answers), "small": sum(served[m] for m in SMALL) / len(answers),
            "usd": sum(a["usd"] for a in answers), "served": served}


def row(name, answers):
    f = figures(answers)
    print(f"  {name:26}{len(answers):5} questions  {f['success']:6.1%} right  {f['small']:6.1%} by the small models  ${f['usd']:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="without /v1")
    parser.add_argument("--admin", default="http://127.0.0.1:8081")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--feedback", type=float, default=1.0, help="share of the answers that weir is told of")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    row(BIG + " alone", ask_all(args.url, read(), BIG))
    every = []
    for n, answers in enumerate(play(args.url, args.admin, args.rounds, args.feedback, args.seed), 1):
        row(f"weir, round {n}", answers)
        every += answers
    row("weir, all rounds", every)
    print("  who answered: " + ", ".join(f"{m} {k}" for m, k in figures(every)["served"].most_common()))


if __name__ == "__main__":
    main()
