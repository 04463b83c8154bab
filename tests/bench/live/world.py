"""The world that the live benchmark plays: recorded answers of real models as rows for the fleet, and what policies that
know the record would have cost.

A chain is an ordered list of models, cheapest first, with the prices at which the record was made (USD per million tokens;
rational-llm-cascades: Fireworks and OpenAI, January 2025). The record is read where it lies and written, in the fleet's
format, to a temporary folder only: its licence does not allow more.
"""

import gzip
import json
import random
from dataclasses import dataclass, field, replace
from pathlib import Path

PRICES = {  # model: (input, output)
    "llama3.2-1b": (0.10, 0.10), "llama3.2-3b": (0.10, 0.10), "llama3.1-8b": (0.20, 0.20), "llama3.1-70b": (0.90, 0.90),
    "llama3.1-405b": (3.00, 3.00), "gpt-4o-mini": (0.15, 0.60), "qwen2.5-32b-coder-instruct": (0.90, 0.90),
    "qwen2.5-72b-instruct": (0.90, 0.90), "gpt-4o": (2.50, 10.00),
}
CHAINS = {
    "L": ["llama3.2-1b", "llama3.2-3b", "llama3.1-8b", "llama3.1-70b", "llama3.1-405b"],
    "Q": ["gpt-4o-mini", "qwen2.5-32b-coder-instruct", "qwen2.5-72b-instruct", "gpt-4o"],
}
SOURCES = ["cascade_mmlu", "cascade_medmcqa", "cascade_triviaqa", "cascade_truthfulqa"]


@dataclass
class Question:
    source: str
    prompt: str
    right: dict                  # model -> 0..1
    nanousd: dict                # model -> cost of one answer at the list prices
    tokens: dict                 # model -> (input, output)
    logprob: dict = field(default_factory=dict)
    answer: dict = field(default_factory=dict)  # model -> the first four letters of what it said; "" where the record has none


def first_letters(answer):
    """What the fleet sends as one token: up to four bytes, cut between characters."""
    return (answer or "").strip().lower().encode()[:4].decode(errors="ignore") or "none"


def cost_nanousd(model, tokens):
    price_in, price_out = PRICES[model]
    return round(tokens[0] * price_in * 1000 + tokens[1] * price_out * 1000)


def read(folder, chain):
    """The questions that every model of the chain answered, in the order of the files."""
    models, out, seen = CHAINS[chain], [], set()
    for source in SOURCES:
        with gzip.open(Path(folder) / f"{source}.jsonl.gz", "rt") as f:
            names = [m["name"] for m in json.loads(next(f))["models"]]
            for row in map(json.loads, f):
                at = {m: names.index(m) for m in models}
                if row["prompt"].strip() in seen or any(row["s"][i] is None or row["n"][i] is None for i in at.values()):
                    continue
                seen.add(row["prompt"].strip())
                tokens = {m: tuple(row["n"][i]) for m, i in at.items()}
                out.append(Question(source, row["prompt"], {m: row["s"][i] for m, i in at.items()},
                                    {m: cost_nanousd(m, tokens[m]) for m in models}, tokens,
                                    {m: row["p"][i] for m, i in at.items()},
                                    {m: first_letters(row["a"][i]) for m, i in at.items()}))
    return out


def write_rows(path, questions, chain):
    """Rows for the fleet. Each answer is one token, so that its log-probability is the recorded one."""
    models = CHAINS[chain]
    with gzip.open(path, "wt") as f:
        head = {"format": "routing-rows/1", "source": "live", "conf": "p = log-probability",
                "models": [{"name": m, "usd_in": PRICES[m][0], "usd_out": PRICES[m][1]} for m in models], "rows": len(questions)}
        f.write(json.dumps(head) + "\n")
        for i, q in enumerate(questions):
            f.write(json.dumps({
                "id": f"live/{i}", "class": q.source, "grp": q.source, "prompt": q.prompt,
                "s": [q.right[m] for m in models], "p": [q.logprob[m] for m in models],
                "c": [q.nanousd[m] for m in models], "n": [[q.tokens[m][0], 1] for m in models],
                "a": [q.answer[m] for m in models]}) + "\n")


def with_single_tokens(questions):
    """The same questions with one output token, which is what write_rows makes the fleet bill."""
    for q in questions:
        q.tokens = {m: (n[0], 1) for m, n in q.tokens.items()}
        q.nanousd = {m: cost_nanousd(m, n) for m, n in q.tokens.items()}
    return questions


def regress(questions, model, share, seed):
    """The same questions, copied, with that model silently worse: a share of its right answers is wrong, with no less
    confidence. The same question fares the same each time."""
    rng, worse = random.Random(seed), {}
    for q in questions:
        if q.prompt not in worse:
            worse[q.prompt] = replace(q, right={**q.right, model: 0} if rng.random() < share else q.right)
    return [worse[q.prompt] for q in questions]


# ---- policies that know the record ----

def mean(values):
    values = list(values)
    return sum(values) / len(values)


def singles(questions, chain):
    """model -> (mean cost, success rate)."""
    return {m: (mean(q.nanousd[m] for q in questions), mean(q.right[m] for q in questions)) for m in CHAINS[chain]}


def hull(points):
    """The non-decreasing upper hull of (cost, success) points: what mixing them at random reaches."""
    out = []
    for c, s in sorted(points):
        if out and s <= out[-1][1]:
            continue
        while len(out) > 1 and (out[-1][1] - out[-2][1]) * (c - out[-1][0]) <= (s - out[-1][1]) * (out[-1][0] - out[-2][0]):
            out.pop()
        out.append((c, s))
    return out


def cost_at(frontier, success):
    """Least mean cost at which the frontier reaches that success rate; None: it does not."""
    for (c0, s0), (c1, s1) in zip([frontier[0]] + frontier, frontier):
        if s1 >= success:
            return c1 if s1 == s0 else c0 + (c1 - c0) * max(0.0, success - s0) / (s1 - s0)
    return None


def random_mix(questions, chain):
    return hull(singles(questions, chain).values())


def class_routing(questions, chain):
    """The frontier of one model for each source, chosen knowing the record: sweep over the value of a success."""
    by = {s: [q for q in questions if q.source == s] for s in SOURCES}
    table = {s: singles(qs, chain) for s, qs in by.items() if qs}
    points = []
    for step in range(-20, 141):
        v = 1e3 * 10 ** (step / 20)
        pick = {s: max(t.values(), key=lambda cs: v * cs[1] - cs[0]) for s, t in table.items()}
        points.append((sum(pick[s][0] * len(by[s]) for s in pick) / len(questions),
                       sum(pick[s][1] * len(by[s]) for s in pick) / len(questions)))
    return hull(points)


def oracle(questions, chain):
    """The cheapest right model for each question, the cheapest of all where none is."""
    cost = success = 0
    for q in questions:
        right = [m for m in CHAINS[chain] if q.right[m] >= 0.5]
        m = min(right or CHAINS[chain], key=lambda x: q.nanousd[x])
        cost, success = cost + q.nanousd[m], success + q.right[m]
    return cost / len(questions), success / len(questions)
