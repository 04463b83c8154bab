"""Starts the real programs: weir and weir-fleet, on ports that the kernel chooses.

WEIR_BUILD names the build folder (default: the first of build/dev, build/asan, build/release that holds weir).
A program that ends with anything but status 0 when asked to stop (a leak report, a crash) fails the test that used it.
"""

import functools
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY_S = 30
PATIENCE = 4  # a limit only ends a test that has failed already: one that is too long costs nothing, one that is too short a good run


def build_dir():
    named = os.environ.get("WEIR_BUILD")
    candidates = [Path(named)] if named else [ROOT / "build" / b for b in ("dev", "asan", "release")]
    for folder in candidates:
        if (folder / "gateway" / "weir").exists():
            return folder
    raise FileNotFoundError(f"no gateway/weir in {', '.join(map(str, candidates))}: build first, or set WEIR_BUILD")


@functools.cache
def slowness():
    """How many times longer things may take here than the limits in the tests say: machines differ and are shared, and sanitizers
    slow programs down, the thread sanitizer most."""
    cache = build_dir() / "CMakeCache.txt"
    found = re.search(r"^WEIR_SANITIZE:[A-Z]+=(.*)$", cache.read_text(), re.MULTILINE) if cache.exists() else None
    return PATIENCE * (1 if not found or not found[1] else 4 if "thread" in found[1] else 2)


def free_port():
    """A port of 127.0.0.1 for a program that has to be told one: below those that the kernel hands out by itself, to listeners
    on port 0 and to whoever connects, so that no other test gets it by chance meanwhile."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(first // 3, first)
        try:
            socket.create_server(("127.0.0.1", port)).close()
            return port
        except OSError:
            pass  # somebody has it


def wait_until(condition, timeout_s, what):
    """Polls condition() until it is true; its value. AssertionError with `what` when it never is, in timeout_s seconds of an
    idle machine like the authors'."""
    deadline = time.monotonic() + timeout_s * slowness()
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s * slowness()} s: {what}"
        time.sleep(0.01)


def http(method, url, body=None, headers=None, timeout_s=10):
    """(status, headers, bytes) of one request; an error status is not an exception."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    if data is not None and not request.has_header("Content-type"):
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s * slowness()) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


class Process:
    """A child with its output in a file. stop() asks it to end and checks how it did."""

    def __init__(self, argv, log, env=None):
        self.log = Path(log)
        self.argv = [str(a) for a in argv]
        with open(self.log, "wb") as out:
            self.child = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                          env={**os.environ, **(env or {})})

    def alive(self):
        assert self.child.poll() is None, f"{self.argv[0]} ended with {self.child.returncode}:\n{self.tail()}"
        return True

    def tail(self, size=6000):
        return self.log.read_text(errors="replace")[-size:]

    def stop(self, timeout_s=40):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            status = self.child.wait(timeout_s * slowness())
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise AssertionError(f"{self.argv[0]} did not end within {timeout_s * slowness()} s of SIGTERM:\n{self.tail()}") from None
        assert status == 0, f"{self.argv[0]} ended with {status}:\n{self.tail()}"

    def kill(self):
        self.child.kill()
        self.child.wait()


class Redis(Process):
    """redis-server on a Unix socket of its own; nothing on disk unless `options` say so."""

    def __init__(self, folder, *options):
        self.folder, self.socket, self.options = Path(folder), Path(folder) / "redis.sock", options
        self.url = f"unix:{self.socket}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self):
        super().__init__(["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", self.folder, "--save", "",
                          *self.options], self.folder / "redis.log")
        wait_until(lambda: self.alive() and self.cli("PING") == "PONG", 10, "redis-server to answer")

    def cli(self, *words):
        done = subprocess.run(["redis-cli", "-s", str(self.socket), *map(str, words)], capture_output=True, text=True, check=False)
        return done.stdout.strip()


class Weir(Process):
    """weir serve with the given policy text, ready to serve. base: "http://127.0.0.1:PORT", admin likewise."""

    def __init__(self, folder, policy, env=None):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.policy_file = folder / "weir.yaml"
        self.policy_file.write_text(policy)
        ports = folder / "weir.ports"
        ports.unlink(missing_ok=True)
        super().__init__([build_dir() / "gateway" / "weir", "serve", "-c", self.policy_file, "--port-file", ports],
                         folder / "weir.log", env)
        self.state_dir = folder / "state"
        try:
            wait_until(lambda: self.alive() and ports.exists() and "admin=" in ports.read_text(), READY_S, "weir's port file")
            where = dict(line.split("=", 1) for line in ports.read_text().split())
            self.address = (where["listen"].rsplit(":", 1)[0], int(where["listen"].rsplit(":", 1)[1]))
            self.base, self.admin = "http://" + where["listen"], "http://" + where["admin"]
            wait_until(lambda: self.alive() and http("GET", self.admin + "/readyz")[0] == 200, READY_S, "weir's /readyz")
        except BaseException:
            self.child.kill()
            raise


class Fleet(Process):
    """weir-fleet with the repository's sample and every fault off. url: base URL with /v1."""

    def __init__(self, folder, *options):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        ports = folder / "fleet.port"
        ports.unlink(missing_ok=True)
        sample = ROOT / "tests" / "fleet" / "sample" / "sample.jsonl.gz"
        super().__init__([build_dir() / "tests" / "fleet" / "weir-fleet", "--port", "0", "--port-file", ports,
                          "--rows", sample, "--model", "text-embedding-3-small:0.02:0", "--time-scale", "0", *options], folder / "fleet.log")
        try:
            wait_until(lambda: self.alive() and ports.exists() and ports.read_text().strip(), READY_S, "the fleet's port file")
            self.root = f"http://127.0.0.1:{ports.read_text().split()[0]}"
            self.url = self.root + "/v1"
            wait_until(lambda: self.alive() and self.answers(), READY_S, "the fleet to answer")
        except BaseException:
            self.child.kill()
            raise

    def answers(self):
        try:
            return http("GET", self.url + "/models", timeout_s=2)[0] == 200
        except OSError:
            return False

    def get(self, path):
        status, _, body = http("GET", self.root + path)
        assert status == 200, (path, status, body)
        return json.loads(body)

    def faults(self, faults):
        status, _, body = http("POST", self.root + "/fleet/faults", faults)
        assert status == 200, (status, body)

    def reset(self):
        self.faults([])
        status, _, body = http("POST", self.root + "/fleet/reset", b"")
        assert status == 200, (status, body)
