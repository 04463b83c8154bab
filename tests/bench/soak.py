#!/usr/bin/env python3
"""Soak: load with faults, clients that leave, upstreams that are killed and policies that are reloaded, on loopback.

usage: soak.py [--requests N] [--build DIR]        default 100,000 requests, build/release

Four phases of N/4 requests each, on one weir process with two workers and two fleet processes:
  calm      whole replies and streams, no fault          ledger rows and cost = the fleet's own, to the nano-dollar
  faults    5xx, 429, resets, cuts, slow first tokens    attempts = requests that reached the fleet (but for lost copies); every request has one row
  leavers   a fifth of the clients leave early           every request has one row, no upstream call is left running
  chaos     SIGKILL of one fleet in turn, reloads        every request has one row; weir lives; nothing is in flight at the end
RSS is read after each phase: the last may not exceed the first by more than 4 MB. Prints a table; exit status 1 on any violation.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "conformance"))
from weirproc import Fleet, Process, Weir, build_dir, http, wait_until  # noqa: E402

MODEL = "llama-3.1-8b-instruct"
RSS_GROWTH_KB = 4096

POLICY = """version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{state}", access_log: "{state}/access.log"}}
backends:
  fleet:
    dialect: openai
    url: ["{a}", "{b}"]
    timeouts: {{connect: 1s, first_byte: 5s, between_bytes: 2s, total: 20s}}
models:
  {model}: {{backend: fleet, price: {{input: 0.20, output: 0.20}}}}   # as the fleet prices it
retry: {{max_attempts: 4, per_model: 4, backoff: {{base: 1ms, max: 10ms}}, budget: {{percent: 100, min_per_second: 1000}}}}
routes:
  - name: soak{serial}
    match: {{model: {model}}}
    cascade: [{model}]
"""

FAULTS = [{"kind": kind, "probability": 0.03, "seed": seed, **more} for seed, (kind, more) in enumerate((
    ("503", {}), ("429", {"retry_after_ms": 5}), ("reset", {}), ("cut", {"after": 3}), ("malformed_chunk", {"after": 2}),
    ("no_done", {}), ("no_usage", {}), ("crlf", {}), ("error_event", {"after": 2})), 1)]


def rss_kb(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


class Soak:
    def __init__(self, folder, requests):
        self.folder, self.requests = Path(folder), requests
        self.fleets = [Fleet(self.folder / "a"), Fleet(self.folder / "b")]
        self.serial = 0
        self.weir = Weir(self.folder, self.policy())
        self.problems = []

    def policy(self):
        return POLICY.format(state=self.folder / "state", a=self.fleets[0].url, b=self.fleets[1].url, model=MODEL,
                             serial=self.serial)

    def check(self, phase, condition, text):
        if not condition:
            self.problems.append(f"{phase}: {text}")

    def load(self, requests, *options):
        command = [str(build_dir() / "tests" / "bench" / "weir-load"), "--url", self.weir.base + "/v1/chat/completions", "--model", MODEL,
                   "--requests", str(requests), "--connections", "64", "--unique", "--expect-chunks", "0", "--duration-s", "600", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        return json.loads(done.stdout)

    def ledger(self, sql):
        with sqlite3.connect(f"file:{self.folder}/state/ledger.sqlite?mode=ro", uri=True, timeout=10) as db:
            return db.execute(sql).fetchone()

    def settled(self):
        """Waits until nothing is in flight and the ledger's queue is empty; (requests, attempts, cost) of the ledger."""
        def idle():
            listed = json.loads(http("GET", self.weir.admin + "/admin/requests")[2])
            return not listed.get("requests")
        wait_until(idle, 30, "nothing in flight")
        time.sleep(0.3)  # the ledger commits at least every 50 ms
        rows = self.ledger("SELECT count(*), coalesce(sum(cost_nanousd), 0) FROM requests")
        attempts = self.ledger("SELECT count(*), coalesce(sum(cost_nanousd), 0), count(*) FILTER (WHERE role = 'lost') FROM attempts")
        return {"requests": rows[0], "cost": rows[1], "attempts": attempts[0], "attempt_cost": attempts[1], "lost": attempts[2]}

    def fleet_total(self):
        totals = [f.get("/fleet/stats")["total"] for f in self.fleets]
        return {k: sum(t[k] for t in totals) for k in ("requests", "cost_nanousd")}

    def phase(self, name, run, sent_per_request=1):
        for f in self.fleets:
            f.reset()
        before = self.settled()
        started = time.monotonic()
        reports = run(self.requests // 4)
        after = self.settled()
        delta = {k: after[k] - before[k] for k in after}
        sent = sum(r["issued"] if "issued" in r else r["requests"] for r in reports)
        rss = rss_kb(self.weir.child.pid)
        print(f"{name:9} sent {sent:7}  ledger requests {delta['requests']:7}  attempts {delta['attempts']:7}  "
              f"cost {delta['cost']:13} nUSD  RSS {rss:6} KB  {time.monotonic() - started:6.1f} s", flush=True)
        self.check(name, delta["requests"] == sent, f"{sent} requests sent, {delta['requests']} in the ledger")
        self.check(name, delta["cost"] == delta["attempt_cost"], "requests' cost is not the sum of the attempts'")
        self.weir.alive()
        return delta, rss

    def calm(self, n):
        return [self.load(n // 2), self.load(n // 4, "--stream"), self.load(n // 4, "--stream", "--include-usage")]

    def faults(self, n):
        for f in self.fleets:
            f.faults(FAULTS)
        try:
            return [self.load(n // 2), self.load(n // 2, "--stream")]
        finally:
            self.total = self.fleet_total()
            for f in self.fleets:
                f.faults([])

    def leavers(self, n):
        slow = [{"kind": "slow_first", "delay_ms": 30, "probability": 0.3, "seed": 1}]
        for f in self.fleets:
            f.faults(slow)
        try:
            return [self.load(n // 2, "--stream", "--abort-before", "0.1", "--abort-mid", "0.1", "--abort-after-ms", "5"),
                    self.load(n // 2, "--abort-before", "0.2", "--abort-after-ms", "5")]
        finally:
            for f in self.fleets:
                f.faults([])

    def chaos(self, n):
        stop = threading.Event()

        def reload():
            while not stop.wait(0.2):
                self.serial += 1
                fresh = self.folder / "next.yaml"
                fresh.write_text(self.policy() if self.serial % 5 else "version: 1\nroutes: [oops\n")
                os.replace(fresh, self.weir.policy_file)

        def kill():
            turn = 0
            while not stop.wait(1.0):
                fleet = self.fleets[turn % 2]
                turn += 1
                port = fleet.root.rsplit(":", 1)[1]
                fleet.child.kill()
                fleet.child.wait()
                time.sleep(0.3)
                argv = list(fleet.argv)
                argv[argv.index("--port") + 1] = port
                Process.__init__(fleet, argv, fleet.log)
                wait_until(fleet.answers, 10, "the fleet to be back")

        threads = [threading.Thread(target=t) for t in (reload, kill)]
        for t in threads:
            t.start()
        try:
            return [self.load(n // 2), self.load(n // 2, "--stream")]
        finally:
            stop.set()
            for t in threads:
                t.join()

    def run(self):
        delta, first_rss = self.phase("calm", self.calm)
        total = self.fleet_total()
        self.check("calm", delta["attempts"] == total["requests"], f"the fleet had {total['requests']} requests")
        self.check("calm", delta["cost"] == total["cost_nanousd"], f"the fleet charged {total['cost_nanousd']}")
        delta, _ = self.phase("faults", self.faults)
        # A copy sent on a connection that the server was closing may or may not have arrived.
        arrived = self.total["requests"]
        self.check("faults", delta["attempts"] - delta["lost"] <= arrived <= delta["attempts"],
                   f"the fleet had {arrived} requests, the ledger {delta['attempts']} attempts, {delta['lost']} of them lost copies")
        self.phase("leavers", self.leavers)
        running = sum(len(f.get("/fleet/inflight")) for f in self.fleets)
        self.check("leavers", running == 0, f"{running} upstream calls are still running")
        _, last_rss = self.phase("chaos", self.chaos)
        self.check("RSS", last_rss <= first_rss + RSS_GROWTH_KB, f"grew from {first_rss} to {last_rss} KB")
        self.weir.stop()
        for f in self.fleets:
            f.stop()
        return self.problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--build", default=str(ROOT / "build" / "release"))
    args = parser.parse_args()
    os.environ["WEIR_BUILD"] = args.build
    with tempfile.TemporaryDirectory(prefix="weir-soak-") as folder:
        problems = Soak(folder, args.requests).run()
    for problem in problems:
        print("VIOLATED", problem)
    print("soak: ok" if not problems else f"soak: {len(problems)} violations")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
