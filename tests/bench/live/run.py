#!/usr/bin/env python3
"""The whole of it: weir with its encoder, its stores and its learner, against the fleet that answers from the record.

usage: run.py [--chain L|Q] [--floor F] [--requests N] [--rate N] [--interval S] [--replicas R] [--feedback SHARE]
              [--delay N] [--noise SHARE] [--duplicates SHARE] [--regress MODEL:SHARE] [--seed S] [--data FOLDER] [--build DIR] [--keep FOLDER]
              [--class-routing] [--json]

Plays N requests, --rate a second, over R replicas of weir (they share a redis-server when R > 1). For the replicas' wall clocks, and so for
what they have learnt to fade, S seconds lie between two requests (libfaketime; their timers run as ever). Posts feedback on a SHARE of them, N requests
late, with a share of the labels turned round and a share posted twice, in part to another replica than the one that served.
With --regress one model gets silently worse after half of the requests. Prequential: nothing is known in advance.
With --class-routing it plays the straw man instead, on the same stream and labels: weir's learner sends each class to one model, any
answer is final, and nothing is read from it or from questions that mean something similar.

Prints cost, success and cost per success, over all requests, over the last half, and in windows of 1,000, beside the
straw men: each single model, the random mix and the best model of each source, chosen knowing the record. Checks that the
ledgers' sum is what the fleet charged. Exit status 1 when it is not.
"""

import argparse
import json
import os
import queue
import random
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests" / "conformance"), str(Path(__file__).parent)]
import world  # noqa: E402
from weirproc import Fleet, Redis, Weir, http, wait_until  # noqa: E402

WINDOW = 1000
AGENTS = 8

POLICY = """version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{state}"}}
backends:
  fleet: {{dialect: openai, url: "{fleet}"}}
models:
{models}
{shared}
routes:
  - name: live
    match: {{model: auto}}
    cascade: [{cascade}]
    objective: {{floor: {floor}}}
{way}"""

# Every answer is final, and none tells anything but its label.
CLASS_ROUTING = """    accept: 0
    confidence: {logprobs: false}
    learn: {neighbours: off}
"""


def policy(args, folder, fleet, redis):
    models = world.CHAINS[args.chain]
    shared = f'cache: {{mode: off, store: redis, redis: {{url: "{redis}", prefix: live}}}}' if redis else ""
    lines = "\n".join(f"  {m}: {{backend: fleet, price: {{input: {world.PRICES[m][0]}, output: {world.PRICES[m][1]}}}}}" for m in models)
    return POLICY.format(state=folder / "state", fleet=fleet, models=lines, cascade=", ".join(models), floor=floor_as_told(args), shared=shared,
                         way=CLASS_ROUTING if args.class_routing else "")


def fast_clock(speed):
    """The environment in which the wall clock runs that much faster; that of timers does not."""
    if speed == 1:
        return {}
    found = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    assert found, "no libfaketime: --interval wants it (deploy/setup.sh brings it)"
    return {"LD_PRELOAD": str(found), "FAKETIME": f"+0 x{speed:g}", "DONT_FAKE_MONOTONIC": "1"}


def floor_as_told(args):
    """The floor among labels of which a share is turned round, where the true one is args.floor: weir only hears the labels."""
    return round(args.floor * (1 - 2 * args.noise) + args.noise, 4)


class FeedbackAgent(threading.Thread):
    """Says of answers, some requests late, whether they were right; not of all, not always truly, and some twice. Several words are
    under way at once, so that they come out of order, too."""

    def __init__(self, args, replicas):
        super().__init__(daemon=True)
        self.args, self.replicas = args, replicas
        self.waiting, self.lock = queue.Queue(), threading.Lock()
        self.said = Counter()  # told, turned, twice, refused
        self.last_refusal = None

    def run(self):
        late = []
        with ThreadPoolExecutor(AGENTS) as pool:
            while (item := self.waiting.get()) is not None:
                late.append(item)
                if len(late) > self.args.delay:
                    pool.submit(self.tell, *late.pop(0))
            for item in late:
                pool.submit(self.tell, *item)

    def tell(self, i, request_id, right):
        """What becomes of the label hangs on the request's place in the stream: the same for any number of replicas."""
        rng = random.Random(f"{self.args.seed} {i}")
        if rng.random() >= self.args.feedback:
            return
        turned, twice = rng.random() < self.args.noise, rng.random() < self.args.duplicates
        for _ in range(2 if twice else 1):
            weir = rng.choice(self.replicas)
            try:
                status, _, body = http("POST", weir.base + "/v1/feedback", {"request_id": request_id, "success": bool(right) != turned}, timeout_s=60)
            except OSError as error:
                status, body = 0, str(error).encode()
            with self.lock:
                self.said["told" if status == 200 else "refused"] += 1
                if status != 200:
                    self.last_refusal = (status, body[:300])
        with self.lock:
            self.said.update({"turned": turned, "twice": twice})


def stream(args, questions):
    """The questions in seeded order, as often as it takes; those after the half with one model worse."""
    rng, out = random.Random(args.seed), []
    while len(out) < args.requests:
        turn = list(questions)
        rng.shuffle(turn)
        out += turn
    return out[:args.requests]


def ask(weir, prompt):
    status, headers, body = http("POST", weir.base + "/v1/chat/completions",
                                 {"model": "auto", "messages": [{"role": "user", "content": prompt}]}, timeout_s=60)
    if status != 200:
        raise RuntimeError(f"status {status}: {body[:400]}")
    return headers


def play(args, replicas, order, agent, first=0):
    """[(question, model that served, cost of all attempts in nano-dollars, attempts, request id)], in the order of the stream,
    of which order[0] is number `first`."""
    out, lock, todo, began = [None] * len(order), threading.Lock(), iter(range(len(order))), time.monotonic()

    def client(weir):
        while True:
            with lock:
                i = next(todo, None)
            if i is None:
                return
            time.sleep(max(0.0, began + i / args.rate - time.monotonic()))
            headers = ask(weir, order[i].prompt)
            model = headers["x-weir-model"]
            out[i] = (order[i], model, round(float(headers["x-weir-cost-usd"]) * 1e9), int(headers["x-weir-attempts"]),
                      headers["x-request-id"])
            agent.waiting.put((first + i, headers["x-request-id"], order[i].right[model] >= 0.5))

    threads = [threading.Thread(target=client, args=(replicas[k % len(replicas)],)) for k in range(max(2, len(replicas)))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return out


def figures(rows):
    cost = world.mean(r[2] for r in rows)
    success = world.mean(r[0].right[r[1]] for r in rows)
    return {"requests": len(rows), "cost_nanousd": cost, "success": success, "cost_per_success_nanousd": cost / success if success else None,
            "attempts": world.mean(r[3] for r in rows)}


def compare(rows, chain):
    """The figures of rows beside what would have been had with the same questions by those who know the record."""
    questions = [r[0] for r in rows]
    f, single = figures(rows), world.singles(questions, chain)
    best = max(single.values(), key=lambda cs: (cs[1], -cs[0]))
    f["quality"] = f["success"] / best[1]
    f["share_of_best_single_cost"] = f["cost_nanousd"] / best[0]
    for name, frontier in (("random_mix", world.random_mix(questions, chain)), ("class_routing", world.class_routing(questions, chain))):
        at = world.cost_at(frontier, f["success"])
        f[f"share_of_{name}_cost"] = f["cost_nanousd"] / at if at else None
    f["singles"] = {m: {"cost_nanousd": c, "success": s} for m, (c, s) in single.items()}
    f["oracle"] = dict(zip(("cost_nanousd", "success"), world.oracle(questions, chain)))
    f["served"] = {m: sum(r[1] == m for r in rows) / len(rows) for m in world.CHAINS[chain]}
    return f


def straw_men(rows, chain):
    """[(name, success, cost in nano-dollars)] of those who would have had the same questions, knowing the record."""
    questions = [r[0] for r in rows]
    single = world.singles(questions, chain)
    success = world.mean(r[0].right[r[1]] for r in rows)
    best, cheapest = max(single, key=lambda m: (single[m][1], -single[m][0])), min(single, key=lambda m: single[m][0])
    out = [(f"best single, {best}", single[best][1], single[best][0]), (f"cheapest, {cheapest}", single[cheapest][1], single[cheapest][0])]
    for name, frontier in (("random mix", world.random_mix(questions, chain)), ("class routing", world.class_routing(questions, chain))):
        cost = world.cost_at(frontier, success)
        out.append((name + (", as good" if cost else ", at its best"), success if cost else frontier[-1][1], cost or frontier[-1][0]))
    return out


def recovery(played, half, floor):
    """Requests after the half until 1,000 in a row, the last of them so many after it, are at the floor again; None: never."""
    right = [r[0].right[r[1]] for r in played]
    for i in range(half + WINDOW, len(right) + 1):
        if world.mean(right[i - WINDOW:i]) >= floor:
            return i - half
    return None


def ledger_cost(replicas):
    total = 0
    for weir in replicas:
        with sqlite3.connect(f"file:{weir.state_dir}/ledger.sqlite?mode=ro", uri=True, timeout=10) as db:
            total += db.execute("SELECT coalesce(sum(cost_nanousd), 0) FROM attempts").fetchone()[0]
    return total


def report(out):
    said = Counter(out["said"])
    print(f"{out['way']}, chain {out['chain']}, floor {out['floor']}, {out['replicas']} replica(s), feedback on {out['feedback']:.0%}: "
          f"{said['told']} words taken ({said['turned']} untrue, {said['twice']} said twice), {said['refused']} refused; {out['seconds']:.0f} s")
    print(f"{'':14}{'success':>9}{'of best':>9}{'cost nUSD':>12}{'of best':>9}{'of mix':>9}{'of class':>9}{'CPS nUSD':>12}{'attempts':>10}")
    for name in ("all", "second half"):
        f = out[name]
        share = {k: f"{f[k]:.2f}" if f[k] is not None else "-" for k in ("share_of_random_mix_cost", "share_of_class_routing_cost")}
        print(f"{name:14}{f['success']:9.3f}{f['quality']:9.3f}{f['cost_nanousd']:12.0f}{f['share_of_best_single_cost']:9.2f}"
              f"{share['share_of_random_mix_cost']:>9}{share['share_of_class_routing_cost']:>9}{f['cost_per_success_nanousd']:12.0f}{f['attempts']:10.2f}")
    print("the second half, beside those who know the record:")
    for name, success, cost in [(out["way"], out["second half"]["success"], out["second half"]["cost_nanousd"]), *out["straw_men"]]:
        print(f"  {name:42}{success:.3f}  {cost:10.0f}")
    print("worse than class routing (dearer at the same success):",
          {None: "it never gets there"}.get(f["share_of_class_routing_cost"]) or ("no" if f["share_of_class_routing_cost"] <= 1 else "YES"))
    if out["recovery"] != "":
        print("requests until a window is at the floor again:", out["recovery"])
    for m, f in out["second half"]["singles"].items():
        print(f"  {m:28}{f['success']:.3f}  {f['cost_nanousd']:10.0f}   served {out['second half']['served'][m]:.1%}")
    print("windows of 1,000, success / share of the best single's cost: " +
          "  ".join(f"{s:.3f} / {c:.2f}" for s, c in out["window"]))
    print("windows under the floor, the first left out:", out["windows_under_floor"], "of", out["windows"])
    print(f"ledger {out['ledger_nanousd']} nUSD, fleet {out['fleet_nanousd']} nUSD: {'equal' if out['equal'] else 'NOT EQUAL'}")


def run(args, folder):
    questions = world.with_single_tokens(world.read(args.data, args.chain))
    order = stream(args, questions)
    rows = folder / "rows.jsonl.gz"
    world.write_rows(rows, questions, args.chain)
    fleet = Fleet(folder / "fleet", "--rows", rows)
    redis = Redis(folder / "redis") if args.replicas > 1 else None
    with ThreadPoolExecutor(args.replicas) as pool:  # at once: their clocks run fast from the start
        replicas = list(pool.map(lambda i: Weir(folder / f"weir{i}", policy(args, folder / f"weir{i}", fleet.url, redis.url if redis else None),
                                                fast_clock(args.interval * args.rate)), range(args.replicas)))
    agent = FeedbackAgent(args, replicas)
    agent.start()
    began = time.monotonic()
    half = len(order) // 2
    played = play(args, replicas, order[:half], agent)
    if args.regress:
        order[half:] = world.regress(order[half:], *args.regress, args.seed)
        world.write_rows(rows, list({q.prompt: q for q in order[half:]}.values()), args.chain)
        changed = Fleet(folder / "changed", "--rows", rows)
        for weir in replicas:
            weir.policy_file.write_text(weir.policy_file.read_text().replace(fleet.url, changed.url))
            wait_until(lambda: changed.url in http("GET", weir.admin + "/admin/policy")[2].decode(), 30, "the other fleet")
    played += play(args, replicas, order[half:], agent, half)
    agent.waiting.put(None)
    agent.join()
    for weir in replicas:
        (folder / f"{weir.policy_file.parent.name}.beliefs.json").write_bytes(http("GET", weir.admin + "/admin/beliefs")[2])
        weir.stop()  # its ledger is complete then
    charged = fleet.get("/fleet/stats")["total"]["cost_nanousd"]
    if args.regress:
        charged += changed.get("/fleet/stats")["total"]["cost_nanousd"]
        changed.stop()
    booked = ledger_cost(replicas)
    windows = [played[i:i + WINDOW] for i in range(WINDOW, len(played) - WINDOW + 1, WINDOW)]
    out = {"way": "class routing that learns" if args.class_routing else "weir", "chain": args.chain, "floor": args.floor, "replicas": args.replicas, "feedback": args.feedback,
           "said": dict(agent.said), "seconds": time.monotonic() - began, "all": compare(played, args.chain),
           "second half": compare(played[half:], args.chain), "straw_men": straw_men(played[half:], args.chain),
           "recovery": recovery(played, half, args.floor) if args.regress else "", "windows": len(windows),
           "windows_under_floor": sum(figures(w)["success"] < args.floor for w in windows),
           "window": [(f["success"], f["share_of_best_single_cost"]) for f in
                      (compare(played[i:i + WINDOW], args.chain) for i in range(0, len(played) - WINDOW + 1, WINDOW))],
           "ledger_nanousd": booked, "fleet_nanousd": charged, "equal": booked == charged}
    with open(folder / "played.jsonl", "w") as f:
        for q, model, cost, attempts, request_id in played:
            f.write(json.dumps({"request_id": request_id, "source": q.source, "model": model, "cost_nanousd": cost,
                                "attempts": attempts, "right": q.right}) + "\n")
    if agent.last_refusal:
        print("feedback refused, last:", agent.last_refusal, file=sys.stderr)
    for p in [fleet, *([redis] if redis else [])]:
        p.stop()
    return out


def number(least, most, kind=float):
    """What an option takes: a number of that kind from least to most."""
    def convert(text):
        try:
            if least <= kind(text) <= most:
                return kind(text)
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text}: a {'whole ' if kind is int else ''}number from {least} to {most}")
    return convert


def regression(text):
    """MODEL:SHARE; which models there are is the chain's to say."""
    model, _, share = text.rpartition(":")
    if not model:
        raise argparse.ArgumentTypeError(f"{text}: MODEL:SHARE is wanted")
    return model, number(0, 1)(share)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chain", choices=list(world.CHAINS), default="Q")
    parser.add_argument("--floor", type=number(0, 1), default=0.80)
    parser.add_argument("--requests", type=number(2, 10**6, int), default=12000)
    parser.add_argument("--rate", type=number(0.001, 10**6), default=100)
    parser.add_argument("--interval", type=number(0.001, 86400), default=10)
    parser.add_argument("--replicas", type=number(1, 64, int), default=1)
    parser.add_argument("--feedback", type=number(0, 1), default=0.30)
    parser.add_argument("--delay", type=number(0, 10**6, int), default=200)
    parser.add_argument("--noise", type=number(0, 0.49), default=0.05)
    parser.add_argument("--duplicates", type=number(0, 1), default=0.05)
    parser.add_argument("--regress", type=regression)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", default=str(ROOT.parent / "shared" / "data" / "routing"))
    parser.add_argument("--build", default=str(ROOT / "build" / "release"))
    parser.add_argument("--keep", help="where policies, ledgers and logs are left")
    parser.add_argument("--class-routing", action="store_true", help="the straw man instead: learned from the same labels, one try")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.regress and args.regress[0] not in world.CHAINS[args.chain]:
        parser.error(f"argument --regress: {args.regress[0]}: chain {args.chain} has {', '.join(world.CHAINS[args.chain])}")
    os.environ["WEIR_BUILD"] = args.build
    with tempfile.TemporaryDirectory(prefix="weir-live-") as folder:
        where = Path(args.keep or folder)
        where.mkdir(parents=True, exist_ok=True)
        out = run(args, where)
    print(json.dumps(out, indent=1)) if args.json else report(out)
    sys.exit(0 if out["equal"] else 1)


if __name__ == "__main__":
    main()
