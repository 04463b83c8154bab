#!/usr/bin/env python3
"""weir beside nginx, HAProxy, Portkey's gateway and LiteLLM's proxy, in one run, before the same upstream.

    tests/bench/proxy/run.py [--quick] [--build DIR] [--only NAME[,NAME...]]

Every proxy has one core (1), upstream and load share the other (0); all speak HTTP/1.1 with keep-alive on loopback. The
systems take turns within each repetition. A fixed loop, timed before and after each turn on the proxy's core, tells how fast
the host was just then: CPU is scaled to the run's fastest loop ("norm"), and a turn within which the speed changed by more
than a fifth is taken again. Ratios are medians over repetitions of pairs measured seconds apart: trust those, not a
single absolute figure. CPU is what the scheduler counted for the proxy's whole process tree.

weir runs with everything on (policy, metrics, cost accounting, ledger, access log), one worker. nginx neither looks at
bodies nor logs. Prints the table and the bar of what must hold, writes build/bench/proxy.json and .csv. Exit status 1 when
the bar is not met.
"""

import argparse
import csv
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import peers
from peers import LOAD_CORE, PROXY_CORE, ROOT

SETTLE_S = 0.2
UNSTEADY = 1.2     # slowest over fastest loop of one turn
TURNS_AT_MOST = 3  # of one measurement, when the host keeps changing speed
CHUNK_INTERVAL_US = 10_000
STREAMS = 30
STREAMS_HELD = 1000
WARM_S = 10

# name: (title, options of weir-load, upstream "plain" or "tls")
SCENARIOS = {
    "1k": ("1 KB, 32 connections", {"body-bytes": 1016, "connections": 32}, "plain"),
    "1k256": ("1 KB, 256 connections", {"body-bytes": 1016, "connections": 256}, "plain"),
    "10k": ("10 KB, 32 connections", {"body-bytes": 10240, "connections": 32}, "plain"),
    "100k": ("100 KB, 32 connections", {"body-bytes": 102400, "connections": 32}, "plain"),
    "tls": ("1 KB, 32 connections, TLS upstream", {"body-bytes": 1016, "connections": 32}, "tls"),
    "sse": (f"64-chunk streams, {STREAMS} at once, a chunk every 10 ms",
            {"body-bytes": 1016, "connections": STREAMS, "stream": True, "stagger-ms": 640}, "plain"),
    "low": ("1 KB, 200 requests/s over 8 connections", {"body-bytes": 1016, "connections": 8, "rate": 200}, "plain"),
}


class Bench:
    def __init__(self, build):
        self.load_tool = build / "tests/bench/weir-load"
        self.rows = []
        self.loops = []

    # ---- one measurement ----

    def calibrate(self):
        """us that the fixed loop takes on the proxy's core now."""
        out = subprocess.run(["taskset", "-c", str(PROXY_CORE), self.load_tool, "calibrate"], capture_output=True, text=True, check=True)
        loop = json.loads(out.stdout)["loop_us"]
        self.loops.append(loop)
        return loop

    def load(self, port, headers=(), model="bench", **options):
        """What weir-load reports; options are its own, with _ for -."""
        argv = ["taskset", "-c", str(LOAD_CORE), str(self.load_tool), "--url", f"http://127.0.0.1:{port}/v1/chat/completions", "--model", model]
        for header in headers:
            argv += ["--header", header]
        for key, value in options.items():
            argv += ["--" + key.replace("_", "-")] + ([] if value is True else [str(value)])
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode not in (0, 1) or not done.stdout:
            raise RuntimeError(f"weir-load: {done.stderr.strip()[-500:]}")
        return json.loads(done.stdout)

    def turn(self, system, name, seconds):
        """One measurement of a system under a scenario: the load's report, CPU time and the host's speed around it."""
        _, options, kind = SCENARIOS[name]
        port = system.port if kind == "plain" else system.tls_port
        model = system.model if kind == "plain" else system.tls_model
        for _ in range(TURNS_AT_MOST):
            before = self.calibrate()
            began = system.program.threads_ns() if system.program else {}
            report = self.load(port, system.headers, model, duration_s=seconds, **options)
            time.sleep(SETTLE_S)  # what is written after a reply (ledger, log) belongs to it
            threads = {n: ns - began.get(n, 0) for n, ns in (system.program.threads_ns() if system.program else {}).items()}
            after = self.calibrate()
            if max(before, after) <= UNSTEADY * min(before, after):
                break
        return {"report": report, "cpu_ns": sum(threads.values()), "threads_ns": threads, "loop_us": (before + after) / 2,
                "rss_kb": system.program.rss_kb() if system.program else 0}

    def scenario(self, name, systems, seconds, repetitions):
        print(f"  {SCENARIOS[name][0]} ...", file=sys.stderr, flush=True)
        for repetition in range(repetitions):
            for system in systems:
                kind = SCENARIOS[name][2]
                if kind == "tls" and system.tls_port is None:
                    continue
                try:
                    measured = self.turn(system, name, seconds)
                except RuntimeError as problem:
                    print(f"  {system.name}: {problem}", file=sys.stderr)
                    continue
                self.rows.append({"scenario": name, "system": system.name, "repetition": repetition, **measured})

    # ---- what the measurements say ----

    def norm_us(self, row, thread=None):
        """CPU us per request (per chunk for streams) of a thread or of all, scaled to the run's fastest loop."""
        ns = row["cpu_ns"] if thread is None else row["threads_ns"].get(thread, 0)
        return ns / 1e3 / units(row) * min(self.loops) / row["loop_us"] if units(row) else None

    def of(self, scenario, system):
        return [r for r in self.rows if r["scenario"] == scenario and r["system"] == system]

    def median(self, scenario, system, value):
        values = [v for r in self.of(scenario, system) if (v := value(r)) is not None]
        return statistics.median(values) if values else None

    def ratio(self, scenario, system, base, value):
        """system/base: the median over repetitions of pairs, or of medians where one of the two had fewer turns."""
        ours, theirs = self.of(scenario, system), self.of(scenario, base)
        if len(ours) != len(theirs):
            return quotient(self.median(scenario, system, value), self.median(scenario, base, value))
        pairs = [value(a) / value(b) for a, b in zip(ours, theirs, strict=True) if value(a) and value(b)]
        return statistics.median(pairs) if pairs else None

    def added(self, system, quantile):
        """us that a system adds to direct at low load."""
        through, direct = self.median("low", system, latency(quantile)), self.median("low", "direct", latency(quantile))
        return through - direct if through is not None and direct is not None else None


def latency(quantile):
    return lambda row: row["report"]["latency_us"][quantile]


def delay(quantile):
    return lambda row: row["report"]["chunk_delay_us"][quantile]


def units(row):
    """What CPU is divided by: requests, or chunks where they are streamed."""
    return row["report"]["chunks" if SCENARIOS[row["scenario"]][1].get("stream") else "requests"]


# ---- measurements of their own shape ----

def memory_per_stream(bench, system):
    """(KB per stream, weir-load's report): STREAMS_HELD slow streams, one on each connection, all in flight at once."""
    before = peak = system.program.rss_kb()
    report = {}

    def work():
        report.update(bench.load(system.slow_port, system.headers, system.slow_model, body_bytes=1016, connections=STREAMS_HELD,
                                 requests=STREAMS_HELD, stream=True, duration_s=60))

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        peak = max(peak, system.program.rss_kb())
        thread.join(0.2)
    return (peak - before) / STREAMS_HELD, report


def cancel_ms(weir_port, listener, trials):
    """ms from a client's leaving before the first byte to the upstream seeing its connection close; one a trial."""
    body = json.dumps({"model": "bench-silent", "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
    request = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
               % (len(body), body))
    waits = []
    for _ in range(trials):
        with socket.create_connection(("127.0.0.1", weir_port), 5) as client:
            client.sendall(request)
            upstream, _ = listener.accept()
            upstream.settimeout(5)
            upstream.recv(65536)
            left = time.monotonic()
        try:
            while upstream.recv(65536):
                pass
        except ConnectionResetError:
            pass
        waits.append((time.monotonic() - left) * 1e3)
        upstream.close()
    return waits


def workers_scaling(bench, start, seconds):
    """{workers: (requests/s, CPU us per request)} with weir's workers free to use both cores beside load and upstream."""
    found = {}
    for workers in (1, 2):
        system = start(workers)
        try:
            cpu = system.program.cpu_ns()
            report = bench.load(system.port, system.headers, system.model, duration_s=seconds, body_bytes=1016, connections=64)
            cpu = system.program.cpu_ns() - cpu
            found[workers] = (report["req_per_s"], cpu / 1e3 / report["requests"])
        finally:
            system.program.stop()
    return found


# ---- what must hold ----

def bar(bench, extra):
    """[(what, value or None, limit, stretch or None, unit)]; smaller is better."""
    ratio, norm, workers = bench.ratio, bench.norm_us, extra.get("workers")
    rows = [
        ("CPU at 1 KB, x nginx", ratio("1k", "weir", "nginx", norm), 2.0, 1.0, "x"),
        ("CPU at 1 KB, TLS upstream, x nginx", ratio("tls", "weir", "nginx", norm), 2.0, 1.0, "x"),
        ("CPU at 100 KB, x nginx", ratio("100k", "weir", "nginx", norm), 2.7, 1.8, "x"),
        ("CPU per SSE chunk, x nginx", ratio("sse", "weir", "nginx", norm), 1.4, 1.0, "x"),
        ("added p50 at low load, x nginx", quotient(bench.added("weir", "p50"), bench.added("nginx", "p50")), 1.4, 1.0, "x"),
        ("CPU at 1 KB, of Portkey's", ratio("1k", "weir", "portkey", norm), 1 / 40, 1 / 80, "x"),
        ("memory per stream in flight", extra.get("kb_per_stream", {}).get("weir"), 25, 8, "KB"),
        ("RSS after the request runs", extra.get("rss_mb", {}).get("weir"), 25, None, "MB"),
        (f"of {STREAMS_HELD} streams at once, not whole", extra.get("streams_not_whole"), 0, None, ""),
        ("their worst delay of a chunk", extra.get("worst_delay_ms"), 1000, None, "ms"),
        ("client leaves early -> upstream cancelled, worst", extra.get("cancel_worst_ms"), 100, None, "ms"),
        ("CPU per request with two workers, of one's", quotient(workers[2][1], workers[1][1]) if workers else None, 1.2, None, "x"),
    ]
    return rows


def quotient(a, b):
    return a / b if a is not None and b else None


def shown(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def print_report(bench, systems, extra, absent):
    names = [s.name for s in systems]
    norm = bench.norm_us
    loops = bench.loops
    print(f"\nhost: {platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}; "
          f"calibration loop {min(loops):.1f} to {max(loops):.1f} us")
    for s in systems:
        if s.program:
            print(f"  {s.name}: {s.version}")
    for name, why in absent.items():
        print(f"  {name}: not measured, {why}")

    print("\nCPU us per request (norm), and x nginx; req/s on one core")
    print(f"{'':36}" + "".join(f"{n:>22}" for n in names if n != "direct"))
    for scenario in ("1k", "1k256", "10k", "100k", "tls"):
        cells = []
        for n in names:
            if n == "direct":
                continue
            us, x = bench.median(scenario, n, norm), bench.ratio(scenario, n, "nginx", norm)
            rps = bench.median(scenario, n, lambda r: r["report"]["req_per_s"])
            cells.append("-" if us is None else f"{us:.1f} {shown(x)}x {rps:.0f}/s")
        print(f"{SCENARIOS[scenario][0]:36}" + "".join(f"{c:>22}" for c in cells))

    threads = sorted({t for r in bench.of("1k", "weir") for t in r["threads_ns"]})
    print(f"of weir's at {SCENARIOS['1k'][0]}, by thread: " + ", ".join(
        f"{t} {bench.median('1k', 'weir', lambda r, t=t: norm(r, t)):.2f}" for t in threads))

    print(f"\n{SCENARIOS['sse'][0]}: CPU us per chunk (norm), x nginx, delay per chunk p50/p99 us")
    for n in names:
        us, x = bench.median("sse", n, norm), bench.ratio("sse", n, "nginx", norm)
        d50, d99 = bench.median("sse", n, delay("p50")), bench.median("sse", n, delay("p99"))
        if d50 is not None:
            print(f"  {n:10}{'' if n == 'direct' else f'{shown(us, 1):>8} {shown(x)}x':16} delay {d50:.0f} / {d99:.0f}")

    print("\nadded latency over direct at 200 requests/s, p50 / p99 us")
    for n in names:
        if n != "direct" and bench.added(n, "p50") is not None:
            kept_up = bench.median("low", n, lambda r: r["report"]["req_per_s"]) > 0.9 * SCENARIOS["low"][1]["rate"]
            print(f"  {n:10}{bench.added(n, 'p50'):8.0f} / {bench.added(n, 'p99'):.0f}{'' if kept_up else '   (did not keep up)'}")

    print("\nmemory: MB after the request runs, KB per stream in flight")
    for n in names:
        if n in extra["rss_mb"]:
            print(f"  {n:10}{extra['rss_mb'][n]:8.1f} {shown(extra['kb_per_stream'].get(n), 1):>10}")
    for workers, (rps, us) in extra.get("workers", {}).items():
        print(f"  weir with {workers} worker(s), sharing {os.cpu_count()} cores with load and upstream: {rps:.0f} req/s, {us:.1f} us CPU each")
    errors = sum(r["report"]["errors"] for r in bench.rows)
    print(f"\nerrors in all runs: {errors}" + "".join(
        f"\n  {r['system']} {r['scenario']}: { {k: v for k, v in r['report']['errors_by_kind'].items() if v} }"
        for r in bench.rows if r["report"]["errors"]))

    print("\nwhat must hold                                        value    limit   stretch")
    failed = 0
    for what, value, limit, stretch, unit in bar(bench, extra):
        met = value is not None and value <= limit
        failed += value is not None and not met
        print(f"  {what:50} {shown(value, 3 if limit < 1 else 2):>8}{limit:9.3g}{unit:3} {'' if stretch is None else f'{stretch:6.3g}{unit}':8} "
              f"{'met' if met else 'NOT MEASURED' if value is None else 'NOT MET'}"
              f"{', stretch met' if met and stretch is not None and value <= stretch else ''}")
    return failed


def write_files(bench, extra, out):
    (out / "proxy.json").write_text(json.dumps({"loops_us": bench.loops, "rows": bench.rows, "extra": extra}, indent=1))
    with open(out / "proxy.csv", "w", newline="") as f:
        table = csv.writer(f)
        table.writerow(["scenario", "system", "repetition", "requests", "chunks", "errors", "cpu_us_per_unit_raw", "cpu_us_per_unit_norm",
                        "loop_us", "requests_per_s", "latency_p50_us", "latency_p99_us", "delay_p50_us", "delay_p99_us", "rss_kb"])
        for r in bench.rows:
            report = r["report"]
            chunk_delay = report.get("chunk_delay_us", {})
            table.writerow([r["scenario"], r["system"], r["repetition"], report["requests"], report.get("chunks"), report["errors"],
                            round(r["cpu_ns"] / 1e3 / max(units(r), 1), 3), round(bench.norm_us(r) or 0, 3), round(r["loop_us"], 2),
                            report["req_per_s"], report["latency_us"]["p50"], report["latency_us"]["p99"],
                            chunk_delay.get("p50"), chunk_delay.get("p99"), r["rss_kb"]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="at most 90 s: fewer repetitions, weir, nginx, HAProxy and Portkey only")
    parser.add_argument("--build", type=Path, default=ROOT / "build/release", help="build folder (default build/release)")
    parser.add_argument("--only", help="systems to measure beside weir and nginx, by comma: haproxy, portkey, litellm")
    args = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        sys.exit("two cores are needed: one for the proxy, one for upstream and load")

    build, out = args.build.resolve(), ROOT / "build/bench"
    work = out / "run"
    work.mkdir(parents=True, exist_ok=True)
    peers_wanted = args.only.split(",") if args.only is not None else ["haproxy", "portkey"] + ([] if args.quick else ["litellm"])
    bench = Bench(build)
    programs, systems, absent = [], [], {}
    silent = socket.create_server(("127.0.0.1", 0))
    silent.settimeout(5)
    began = time.monotonic()
    try:
        upstream_programs, ports, ca = peers.upstreams(work, build, CHUNK_INTERVAL_US, 60_000 if args.quick else 150_000)
        programs += upstream_programs
        ports["silent"] = silent.getsockname()[1]
        direct = peers.System("direct", None, ports["plain"], ports["tls"])
        weir = peers.weir(work, build, ports, ca)
        programs.append(weir.program)
        systems = [direct, weir]
        starters = {"nginx": lambda: peers.nginx(work, ports), "haproxy": lambda: peers.haproxy(work, ports),
                    "portkey": lambda: peers.portkey(work, ports), "litellm": lambda: peers.litellm(work, ports)}
        for name in ["nginx", *peers_wanted]:
            try:
                systems.append(starters[name]())
                programs.append(systems[-1].program)
            except (RuntimeError, OSError) as problem:
                absent[name] = str(problem)
        print("warming up ...", file=sys.stderr, flush=True)
        for s in systems:
            if s.program:
                interpreted = s.name in ("portkey", "litellm")
                bench.load(s.port, s.headers, s.model, body_bytes=1016, connections=32,
                           duration_s=(WARM_S / 2 if args.quick else WARM_S) if interpreted else 1)

        proxies = systems[1:]
        compiled = [s for s in proxies if s.name not in ("portkey", "litellm")]
        slow = [s for s in proxies if s not in compiled]
        seconds, repetitions = (1.0, 2) if args.quick else (2.0, 5)
        bench.scenario("1k", compiled, seconds, repetitions)
        bench.scenario("1k", slow, 2 * seconds, 1 if args.quick else 2)
        if not args.quick:
            bench.scenario("1k256", proxies, seconds, 2)
            bench.scenario("10k", proxies, seconds, 2)
        bench.scenario("100k", compiled, seconds, repetitions)
        if not args.quick:
            bench.scenario("100k", slow, seconds, 2)
        bench.scenario("tls", compiled, seconds, repetitions)
        bench.scenario("sse", [direct, *compiled] if args.quick else systems, 1.5 if args.quick else 3.0, 2 if args.quick else 3)
        bench.scenario("low", [direct, *compiled] if args.quick else systems, 1.5 if args.quick else 4.0, 1 if args.quick else 2)

        extra = {"rss_mb": {s.name: s.program.rss_kb() / 1024 for s in proxies}, "kb_per_stream": {}}
        print(f"  {STREAMS_HELD} streams held at once ...", file=sys.stderr, flush=True)
        for s in compiled[:2] if args.quick else compiled:
            extra["kb_per_stream"][s.name], report = memory_per_stream(bench, s)
            if s is weir:
                extra["streams_not_whole"] = report["errors"]
                extra["worst_delay_ms"] = report["chunk_delay_us"]["max"] / 1e3
        extra["cancel_worst_ms"] = max(cancel_ms(weir.port, silent, 20))
        extra["workers"] = workers_scaling(
            bench, lambda n: peers.weir(work, build, ports, ca, n, f"{LOAD_CORE},{PROXY_CORE}", f"weir-{n}"), seconds)
    finally:
        for program in programs:
            program.stop()
    write_files(bench, extra, out)
    failed = print_report(bench, systems, extra, absent)
    print(f"\n{time.monotonic() - began:.0f} s; all figures in {(out / 'proxy.json').relative_to(ROOT)} and proxy.csv")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
