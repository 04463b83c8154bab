#!/usr/bin/env python3
"""What classification adds to a request: from the client's last byte to the upstream having the whole request.

    tests/bench/encoder/overhead.py [--build DIR] [--model DIR] [--rate 100] [--seconds 15]

weir (one worker, its encoder thread, ledger, access log) has one core (1); this program, which is client and upstream in one
and therefore has one clock for both ends, has the other (0). Requests come at random moments (Poisson) of the given rate, with
prompts of mixed lengths: two in three of one line, the others of up to 256 tokens and more. Each way of routing takes turns
with the others, three times; "direct" is the same without weir and is what the harness itself costs.

    plain   routes without classes          static  the static tier decides
    full    the transformer decides         first   the transformer is asked where the static tier is not sure (static_first)

Writes build/bench/encoder_overhead.json. Exit status 1 when a bar is not met: full p99 < 10 ms, static p99 < 1 ms, both over
direct; and plain as before (its p50 within 10 % of a policy that declares no classes at all).
"""

import argparse
import asyncio
import collections
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LOAD_CORE, WEIR_CORE = {0}, {1}
ROUNDS = 3
ANSWER = json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
                     "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}]}).encode()
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
EXAMPLES = {"refunds": ["I want my money back", "How do I return these shoes?", "Please refund my last order", "Cancel my order"],
            "cooking": ["How long do I boil an egg?", "Give me a recipe for lentil soup", "Which oven temperature for bread?", "How do I make pancakes?"]}


def prompts():
    """Lines of the background prompts; one in three requests is several of them in a row."""
    lines = [s.strip() for s in (ROOT / "router/encoder/data/background.txt").read_text().splitlines() if s.strip() and s[0] != "#"]
    rng = random.Random(1)
    while True:
        yield " ".join(rng.choices(lines, k=1 if rng.random() < 2 / 3 else rng.choice((3, 6, 12, 25))))


def policy(folder, port, way, model):
    named = "other" if way == "plain" else "auto"  # plain: classes are there, and this name's route does not ask for them
    encoder = ""
    if way in ("full", "first"):
        more = ", static_first: 0.8" if way == "first" else ""
        encoder = f"encoder: {{model: {model}, device: cpu, threads: 1{more}}}"
    classes = "" if way == "none" else "classes: " + json.dumps({name: {"examples": e} for name, e in EXAMPLES.items()})
    routes = "" if way == "none" else "".join(f"  - {{name: {c}, match: {{model: {named}, class: {c}}}, cascade: [m]}}\n" for c in EXAMPLES)
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{folder}/state", access_log: "{folder}/access.log"}}
backends: {{up: {{dialect: openai, url: "http://127.0.0.1:{port}/v1"}}}}
models: {{m: {{backend: up, price: {{input: 1, output: 1}}}}}}
{encoder}
{classes}
routes:
{routes}  - {{name: rest, match: {{model: auto}}, cascade: [m]}}
"""


class Upstream:
    """Answers every POST; remembers when the whole request with an id was there."""

    def __init__(self):
        self.arrived = {}

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(next(line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")))
                body = await reader.readexactly(length)
                now = time.perf_counter()
                at = body.index(b'"user": "') + 9
                self.arrived[int(body[at:body.index(b'"', at)])] = now
                writer.write(REPLY)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()


async def ask(pool, port, number, prompt, sent):
    reader, writer = pool.pop() if pool else await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"model": "auto", "user": str(number), "messages": [{"role": "user", "content": prompt}]}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    sent[number] = time.perf_counter()
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
    pool.append((reader, writer))


async def drive(upstream, port, rate, seconds, texts):
    """Milliseconds from the client's send to the upstream's receipt, one per request."""
    rng, sent, pool, tasks = random.Random(2), {}, [], []
    upstream.arrived.clear()
    due = time.perf_counter() + 0.2
    for number in range(int(rate * seconds)):
        due += rng.expovariate(rate)
        await asyncio.sleep(max(0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(pool, port, number, next(texts), sent)))
    await asyncio.gather(*tasks)
    for _, writer in pool:
        writer.close()
    return [1000 * (upstream.arrived[n] - sent[n]) for n in sent]


def start_weir(program, folder, text):
    folder.mkdir(parents=True)
    (folder / "weir.yaml").write_text(text)
    ports = folder / "ports"
    child = subprocess.Popen([program, "serve", "-c", folder / "weir.yaml", "--port-file", ports], stderr=open(folder / "log", "wb"),
                             preexec_fn=lambda: os.sched_setaffinity(0, WEIR_CORE))
    deadline = time.monotonic() + 30
    while not ports.exists() or "admin=" not in ports.read_text():
        assert child.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.01)
    return child, *(int(line.rsplit(":", 1)[1]) for line in ports.read_text().split())


def tiers(admin):
    """How many requests each tier decided, and why the encoder did not."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics") as f:
        text = f.read().decode()
    out = collections.Counter()
    for name, count in re.findall(r'^weir_(?:classified|encoder_shed)_total\{(?:tier|reason)="(\w+)".*\} (\d+)', text, re.M):
        out[name] += int(count)
    return out


def cpu_ms(child):
    """Milliseconds of CPU that the process and its threads have used: unlike times, the same on a busy machine."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{child.pid}/task").iterdir()) / 1e6


async def measure(args, ways):
    upstream, times, cpu, decided = Upstream(), {way: [] for way in ("direct", *ways)}, {}, {}
    port = await upstream.start()
    program = args.build / "gateway" / "weir"
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(ROUNDS):
            for way in times:
                texts, child, where, admin = prompts(), None, port, None
                if way != "direct":
                    folder = Path(scratch) / f"{way}{turn}"
                    child, where, admin = start_weir(program, folder, policy(folder, port, way, args.model))
                await drive(upstream, where, args.rate, 1, texts)  # warm
                begun = cpu_ms(child) if child else 0
                got = await drive(upstream, where, args.rate, args.seconds / ROUNDS, texts)
                times[way] += got
                if child:
                    cpu.setdefault(way, []).append((cpu_ms(child) - begun) / len(got))
                    decided.setdefault(way, collections.Counter()).update(tiers(admin))
                    child.terminate()
                    assert child.wait(30) == 0
    return times, cpu, decided


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--model", type=Path, default=ROOT / ".cache/models/all-minilm-l6-v2")
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--ways", nargs="+", help="of none plain static full first")
    parser.add_argument("--seconds", type=float, default=15)
    args = parser.parse_args()
    args.model = args.model.resolve()
    os.sched_setaffinity(0, LOAD_CORE)
    ways = ["none", "plain", "static"] + (["full", "first"] if (args.model / "model.safetensors").exists() else [])
    if args.ways:
        ways = [way for way in ways if way in args.ways]
    elif "full" not in ways:
        print(f"SKIPPED: the transformer: no weights in {args.model}")
    times, cpu, decided = asyncio.run(measure(args, ways))
    base = statistics.quantiles(times["direct"], n=100)
    print(f"{args.rate:g} requests/s, {len(times['direct'])} requests each, weir on one core; ms from the client's send to the upstream's receipt")
    print(f"{'':8} {'p50':>8} {'p90':>8} {'p99':>8} {'max':>8}   over direct: p50, p99   CPU per request   decided by, with the warm-up")
    rows = {}
    for way, ms in times.items():
        q = statistics.quantiles(ms, n=100)
        rows[way] = {"p50": q[49], "p90": q[89], "p99": q[98], "max": max(ms), "over_p50": q[49] - base[49], "over_p99": q[98] - base[98]}
        used = statistics.median(cpu[way]) if way in cpu else 0
        rows[way]["cpu_ms"] = used
        rows[way]["decided"] = decided.get(way, {})
        by = ", ".join(f"{k} {n}" for k, n in rows[way]["decided"].items())
        print(f"{way:8} {q[49]:8.3f} {q[89]:8.3f} {q[98]:8.3f} {max(ms):8.3f}   {rows[way]['over_p50']:8.3f} {rows[way]['over_p99']:8.3f}   {used:8.3f}   {by}")
    bars = []
    if "static" in rows:
        bars.append(("static p99 < 1 ms", rows["static"]["over_p99"] < 1))
    if "plain" in rows and "none" in rows:
        bars.append(("plain as without classes (p50 within 10 %)", rows["plain"]["p50"] < 1.1 * rows["none"]["p50"]))
    if "full" in rows:
        bars.append(("full p99 < 10 ms", rows["full"]["over_p99"] < 10))
    for what, met in bars:
        print(f"{'ok  ' if met else 'MISS'} {what}")
    out = ROOT / "build/bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / "encoder_overhead.json").write_text(json.dumps({"rate": args.rate, "rows": rows, "bars": dict(bars)}, indent=2) + "\n")
    sys.exit(0 if all(met for _, met in bars) else 1)


if __name__ == "__main__":
    main()
