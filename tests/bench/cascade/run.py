#!/usr/bin/env python3
"""What judging answers costs: CPU per request, and time to first token of a held stream.

usage: run.py [--build build/release] [--turns 5] [--seconds 2]

CPU: weir (one worker) in front of `weir-fleet --echo` (two models), weir-load on 8 connections; user and system time of the whole
weir process (worker, ledger's and learner's threads) over the requests it served, read from /proc. Routes take turns, so that a
machine that changes speed does so for all of them; what is printed are medians over the turns with the least and the most, and
the difference, turn by turn, to the plain route and to one that is classified: a route that judges its answers learns class by
class, so each of its requests is classified, here by the static tier.

Time to first token: the same upstream with --chunk-interval-us, 64 chunks, one connection at a time; from the request sent to
the first byte of content that the client gets."""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "conformance"))

ROUTES = """
  - {name: plain, match: {model: plain}, cascade: [echo, other]}
  - {name: refunds, match: {model: classed, class: refunds}, cascade: [echo, other]}
  - {name: classed, match: {model: classed}, cascade: [echo, other]}
  - {name: accept, match: {model: accept}, cascade: [echo, other], accept: 0.01}
  - {name: objective, match: {model: objective}, cascade: [echo, other], objective: {failure_price: 0.00001}, explore: {share: 0, step_share: 0}}
  - {name: held24, match: {model: held24}, cascade: [echo, other], accept: 0.01, confidence: {hold_tokens: 24}}
  - {name: whole, match: {model: whole}, cascade: [echo, other], accept: 0.01, confidence: {hold: whole}}
  - {name: off, match: {model: "off"}, cascade: [echo, other], accept: 0.01, confidence: {hold: off}}
"""


def policy(url, folder):
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{folder}/state"}}
backends: {{up: {{dialect: openai, url: "{url}"}}}}
models:
  echo: {{backend: up, price: {{input: 1, output: 2}}}}
  other: {{backend: up, price: {{input: 10, output: 20}}}}
classes: {{refunds: {{examples: [I want my money back, How do I return these shoes?]}}}}
routes:{ROUTES}"""


class Echo:
    def __init__(self, build, folder, *options):
        ports = Path(folder) / "echo.port"
        ports.unlink(missing_ok=True)
        self.child = subprocess.Popen([build / "tests/fleet/weir-fleet", "--port", "0", "--port-file", ports, "--echo", *options],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (ports.exists() and ports.read_text().strip()):
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{ports.read_text().split()[0]}/v1"

    def stop(self):
        self.child.terminate()
        self.child.wait()


def cpu_us(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1_000_000 / os.sysconf("SC_CLK_TCK")


def load(build, base, route, seconds, *more):
    done = subprocess.run([build / "tests/bench/weir-load", "--url", base + "/v1/chat/completions", "--model", route, "--connections", "8",
                           "--duration-s", str(seconds), "--expect-chunks", "0", *more], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def requests_of(report):
    return report["requests"]["ok"] if isinstance(report.get("requests"), dict) else report["ok"]


def measure_cpu(build, weir, turns, seconds):
    for stream, routes in ((False, ("plain", "classed", "accept", "objective")), (True, ("plain", "classed", "held24", "whole"))):
        used = {r: [] for r in routes}
        more = ("--stream",) if stream else ()
        for route in routes:
            load(build, weir.base, route, 0.5, *more)
        for turn in range(turns):
            for route in routes if turn % 2 == 0 else routes[::-1]:
                before = cpu_us(weir.child.pid)
                report = load(build, weir.base, route, seconds, *more)
                used[route].append((cpu_us(weir.child.pid) - before) / requests_of(report))
        print(f"\nCPU per request, us, {'streamed (64 chunks)' if stream else 'whole answers'}: median [least, most]; "
              "more than plain; more than classed")
        for route in routes:
            over = [statistics.median(u - p for u, p in zip(used[route], used[other])) for other in ("plain", "classed")]
            print(f"  {route:10} {statistics.median(used[route]):7.1f} [{min(used[route]):.1f}, {max(used[route]):.1f}]   "
                  f"{over[0]:+.1f}   {over[1]:+.1f}")


def first_token_ms(address, route):
    connection = http.client.HTTPConnection(*address)
    body = json.dumps({"model": route, "stream": True, "messages": [{"role": "user", "content": "hello"}]})
    began = time.monotonic()
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    for line in reply:
        if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
            taken = (time.monotonic() - began) * 1000
            reply.read()
            connection.close()
            return taken
    raise RuntimeError("a stream without content")


def measure_ttft(build, weir, turns):
    routes = ("plain", "off", "held24", "whole")
    print("\nTime to first token, ms, 64 chunks 10 ms apart: median [least, most]")
    got = {r: [] for r in routes}
    for _ in range(turns):
        for route in routes:
            got[route].append(first_token_ms(weir.address, route))
    for route in routes:
        print(f"  {route:10} {statistics.median(got[route]):7.1f} [{min(got[route]):.1f}, {max(got[route]):.1f}]")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args()
    os.environ["WEIR_BUILD"] = str(options.build)
    import weirproc
    with tempfile.TemporaryDirectory() as folder:
        for measure, extra in ((lambda w: measure_cpu(options.build, w, options.turns, options.seconds), ()),
                               (lambda w: measure_ttft(options.build, w, max(options.turns, 5)), ("--chunk-interval-us", "10000"))):
            echo = Echo(options.build, folder, *extra)
            weir = weirproc.Weir(Path(folder) / "weir", policy(echo.url, folder))
            try:
                measure(weir)
            finally:
                weir.stop()
                echo.stop()


if __name__ == "__main__":
    main()
