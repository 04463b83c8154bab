#!/usr/bin/env python3
"""An exact hit served by weir beside nginx serving a static file of the same size, one request for the other; and look-ups in
GPTCache and redisvl in the same run.

    tests/bench/cache/exact.py [--build DIR] [--peers PYTHON] [--seconds S] [--repetitions N]

Both servers get the same POST requests over keep-alive connections, have one worker on one core, and take turns; the load is
on the other core. CPU is what the scheduler counted for the whole process tree (weir with everything on: policy, ledger, access
log, metrics; nginx looks at nothing and logs nothing). The ratio is the median over pairs of neighbouring turns. p99 is of two
connections that ask again as soon as they are answered: at a low rate one would time how long idle cores take to wake. PYTHON:
of an environment with peers-requirements.txt.
Exit status 1 when a hit takes more than twice nginx's CPU, or its p99 is above 0.3 ms while nginx's is not: where nginx itself
is that late it is the machine that has other things to do, and nothing is said.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests/bench/proxy"), str(ROOT / "tests/conformance")]

import scripted  # noqa: E402
from peers import LOAD_CORE, PROXY_CORE, Program, free_ports  # noqa: E402
from weirproc import http, wait_until  # noqa: E402

MOST_CPU, MOST_P99_US = 2.0, 300
ANSWER = {**scripted.OK_REPLY, "choices": [{**scripted.OK_REPLY["choices"][0],
                                            "message": {"role": "assistant", "content": "An answer of some length. " * 40}}]}


def start_weir(folder, build, upstream):
    port, admin = free_ports(2)
    (folder / "weir.yaml").write_text(f"""version: 1
server: {{listen: "127.0.0.1:{port}", admin: "127.0.0.1:{admin}", workers: 1, state_dir: "{folder}/state", access_log: "{folder}/access.log"}}
backends: {{up: {{dialect: openai, url: "{upstream.url}"}}}}
models: {{echo: {{backend: up, price: {{input: 2.50, output: 10.00}}}}}}
cache: {{exact: {{ttl: 24h}}}}
routes: [{{name: r, match: {{model: echo}}, cascade: [echo]}}]
""")
    program = Program([build / "gateway/weir", "serve", "-c", folder / "weir.yaml"], folder / "weir.log", str(PROXY_CORE))
    program.wait_port(port)
    return program, port


def start_nginx(folder, body):
    """A file for GET is no file for POST: the error page is the file."""
    (port,) = free_ports(1)
    (folder / "reply.json").write_bytes(body)
    (folder / "nginx.conf").write_text(f"""daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; keepalive_requests 100000000; tcp_nodelay on; sendfile on;
    open_file_cache max=10; default_type application/json;
    server {{ listen 127.0.0.1:{port}; root {folder};
        location = /v1/chat/completions {{ error_page 405 =200 /reply.json; try_files /reply.json =404; }}
        location = /reply.json {{ error_page 405 =200 /reply.json; }} }}
}}
""")
    program = Program(["nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"], folder / "nginx.log", str(PROXY_CORE))
    program.wait_port(port)
    return program, port


def load(build, port, **options):
    argv = ["taskset", "-c", str(LOAD_CORE), str(build / "tests/bench/weir-load"), "--url", f"http://127.0.0.1:{port}/v1/chat/completions"]
    for key, value in options.items():
        argv += ["--" + key.replace("_", "-"), str(value)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    if done.returncode or not report["ok"]:
        sys.exit(f"weir-load: {done.stderr or done.stdout}")
    return report


def turn(build, program, port, seconds):
    cpu = program.cpu_ns()
    report = load(build, port, connections=32, duration_s=seconds)
    time.sleep(0.2)  # what is written after a reply belongs to it
    return (program.cpu_ns() - cpu) / 1e3 / report["ok"]


def prime(build, port, upstream):
    """One request of the load's own makes the answer; from then on the upstream hears nothing."""
    load(build, port, requests=1, connections=1)

    def all_hit():
        before = len(upstream.seen)
        load(build, port, requests=20, connections=1)
        return len(upstream.seen) == before

    wait_until(all_hit, 10, "hits only")


def peers_beside(python, folder):
    if not python or not Path(python).exists():
        return {"GPTCache, redisvl": {"why": "no environment with peers-requirements.txt (--peers)"}}
    redis = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", f"{folder}/redis.sock", "--save", "", "--dir", folder],
                             stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: Path(f"{folder}/redis.sock").exists(), 10, "redis-server")
        done = subprocess.run(["taskset", "-c", str(PROXY_CORE), python, ROOT / "tests/bench/cache/peer_caches.py", folder,
                               f"unix://{folder}/redis.sock", "2000", "2000"], capture_output=True, text=True, check=False)
        if done.returncode:
            return {"GPTCache, redisvl": {"why": done.stderr.strip().split("\n")[-1]}}
        return json.loads(done.stdout.strip().split("\n")[-1])
    finally:
        redis.terminate()
        redis.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--peers", type=Path, default=ROOT / "build/cachepeers/bin/python")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    upstream = scripted.Upstream()
    upstream.otherwise = scripted.whole(ANSWER)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        weir, weir_port = start_weir(folder, args.build, upstream)
        prime(args.build, weir_port, upstream)
        asked = len(upstream.seen)
        body = upstream.last.body
        status, head, reply = http("POST", f"http://127.0.0.1:{weir_port}/v1/chat/completions", body)
        if (status, head.get("x-weir-cache")) != (200, "hit"):
            sys.exit(f"not a hit: {status} {head}")
        nginx, nginx_port = start_nginx(folder, reply)
        try:
            rows = {"weir": [], "nginx": []}
            for _ in range(args.repetitions):
                rows["nginx"].append(turn(args.build, nginx, nginx_port, args.seconds))
                rows["weir"].append(turn(args.build, weir, weir_port, args.seconds))
            calm = {n: load(args.build, p, connections=2, duration_s=3 * args.seconds)["latency_us"]
                    for n, p in (("nginx", nginx_port), ("weir", weir_port))}
            if len(upstream.seen) != asked:
                sys.exit("the upstream was asked: these were not all hits")
        finally:
            weir.stop()
            nginx.stop()
        peers = peers_beside(args.peers, folder)
    ratio = statistics.median(w / n for w, n in zip(rows["weir"], rows["nginx"], strict=True))
    print(f"A reply of {len(reply)} bytes to a request of {len(body)}, {args.repetitions} turns each.\n")
    print("| | CPU per request, us | p50, us | p99, us |\n|---|---|---|---|")
    for name in ("nginx", "weir"):
        print(f"| {name}{': static file' if name == 'nginx' else ': exact hit'} | {statistics.median(rows[name]):.1f} | "
              f"{calm[name]['p50']} | {calm[name]['p99']} |")
    for name, row in peers.items():
        print(f"| {name}, in process | " + (f"not measured: {row['why']} | | |" if "why" in row else
                                             f"{row['cpu_us']:.1f} | {row['p50_us']:.0f} | {row['p99_us']:.0f} |"))
    busy, late = (calm[name]["p99"] > MOST_P99_US for name in ("nginx", "weir"))
    print(f"\nCPU {ratio:.2f} times nginx's (bar {MOST_CPU}): {'met' if ratio <= MOST_CPU else 'MISSED'}; p99 (bar {MOST_P99_US} us): "
          + ("not judged, the machine is busy" if busy else "MISSED" if late else "met"))
    return 1 if ratio > MOST_CPU or (late and not busy) else 0


if __name__ == "__main__":
    sys.exit(main())
