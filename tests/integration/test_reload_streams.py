"""Reloads and ends while streams run: what a request began with stays until its end, and nothing of it afterwards."""

import hashlib
import json
import resource
import sqlite3
import subprocess
import threading
import time

import pytest

import scripted
import weirproc
from rawhttp import Client, request
from scripted import DONE, ROLE, answer, chunk, stream

CHAT = "/v1/chat/completions"


def text(folder, backend, url, model, route, tenant, key, price="1.00"):
    """Everything has another name in each version: backend, model, route, tenant."""
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{folder}/state", drain: 20s}}
backends:
  {backend}: {{dialect: openai, url: "{url}", headers: {{x-version: {backend}}}}}
models:
  {model}: {{backend: {backend}, price: {{input: {price}, output: 4.00}}}}
tenants:
  {tenant}: {{keys: [{{sha256: {hashlib.sha256(key.encode()).hexdigest()}}}], admin: true}}
routes:
  - name: {route}
    match: {{model: [auto, {model}], tenant: {tenant}}}
    cascade: [{model}]
"""


def ask(key, streamed=True, model="auto"):
    return request("POST", CHAT, json.dumps({"model": model, "messages": [], "stream": streamed}).encode(), [("Authorization", f"Bearer {key}")])


def held(release, *first):
    """Sends the first events, and the rest when told."""
    def step(exchange):
        exchange.send(scripted.SSE_HEAD)
        for piece in first:
            exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        release.wait()
        for piece in (*answer("end")[1:],):
            exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        exchange.send(b"0\r\n\r\n")
    return step


def test_streams_outlive_the_tenant_route_model_and_backend_they_began_with(start, upstream, tmp_path):
    other = scripted.Upstream()
    release = threading.Event()
    clients = []
    try:
        gateway = start(text(tmp_path, "old", upstream.url, "om", "old-route", "ann", "key-ann"))
        upstream.play(*[held(release, ROLE, chunk({"content": "begun "}))] * 16)
        for _ in range(16):
            clients.append(Client(gateway.address, 60))
            clients[-1].send(ask("key-ann"))
            assert clients[-1].until(b"begun ")
        for n, key in enumerate(("key-bob", "key-cid", "key-bob")):
            gateway.policy_file.write_text(text(tmp_path, f"new{n}", other.url, f"nm{n}", f"new-route{n}", f"bob{n}", key, price=f"{n + 2}.00"))
            gateway.until(lambda: gateway.request("GET", "/admin/policy", key=key)[0] == 200, f"version {n}")
            gateway.heard(key=key)
            with Client(gateway.address) as c:
                c.send(ask("key-ann", False))
                assert c.reply().status == 401
                c.send(ask(key, False))
                reply = c.reply()
                assert reply.status == 200 and reply.get("x-weir-model") == f"nm{n}" and reply.get("x-weir-route") == f"new-route{n}"
            assert other.last.header("x-version") == f"new{n}"
        listed = gateway.request("GET", "/admin/requests", key="key-bob")[2]["requests"]
        assert {(r["tenant"], r["route"], r["serving_model"]) for r in listed} == {("ann", "old-route", "om")} and len(listed) == 16
        release.set()
        for c in clients:
            assert c.until(DONE) and c.until(b"0\r\n\r\n") is not None
        gateway.until(lambda: b'weir_endpoint_up{backend="old"' not in gateway.request("GET", "/metrics", key="key-bob")[2],
                      "the old policy to be gone with its last request")

        def booked():
            with sqlite3.connect(f"file:{tmp_path}/state/ledger.sqlite?mode=ro", uri=True, timeout=5) as db:
                return db.execute("SELECT tenant, route, served_model, outcome, cost_nanousd, count(*) FROM requests WHERE tenant = 'ann' GROUP BY 1, 2, 3, 4, 5").fetchall()
        assert weirproc.wait_until(lambda: booked() and booked()[0][5] == 16 and booked(), 10, "16 rows") == [("ann", "old-route", "om", "ok", 18_000, 16)]
    finally:
        release.set()
        for c in clients:
            c.socket.close()
        other.close()


def test_a_drain_waits_for_streams_and_refuses_what_is_new(start, upstream, tmp_path):
    release = threading.Event()
    gateway = start(text(tmp_path, "up", upstream.url, "m", "r", "ann", "key"))
    upstream.play(*[held(release, ROLE)] * 8)
    clients = [Client(gateway.address, 60) for _ in range(8)]
    try:
        for c in clients:
            c.send(ask("key"))
            assert c.until(b"\n\n")
        gateway.child.terminate()
        gateway.until(lambda: refused(gateway.address), "the listener to close")
        release.set()
        for c in clients:
            assert c.until(DONE) and c.until(b"0\r\n\r\n") is not None and c.closed()
        assert gateway.child.wait(20 * weirproc.slowness()) == 0
    finally:
        release.set()
        for c in clients:
            c.socket.close()


def refused(address):
    try:
        Client(address, 1).socket.close()
    except OSError:
        return True
    return False


def test_a_ledger_that_may_not_grow_stops_nothing(upstream, tmp_path):
    """RLIMIT_FSIZE: the kernel sends SIGXFSZ, whose default is to kill. It is a full disk like any other: requests are served, the
    failure shows, and at the end the process says that rows were lost."""
    folder = tmp_path / "limited"
    folder.mkdir()
    policy = folder / "weir.yaml"
    policy.write_text(f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{folder}/state", drain: 1s}}
backends: {{up: {{dialect: openai, url: "{upstream.url}"}}}}
models: {{m: {{backend: up, price: {{input: 1.00, output: 4.00}}}}}}
""")
    ports, log = folder / "ports", open(folder / "log", "wb")
    limit = 256 * 1024
    child = subprocess.Popen([weirproc.build_dir() / "gateway" / "weir", "serve", "-c", policy, "--port-file", ports], stdin=subprocess.DEVNULL,
                             stdout=log, stderr=log, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    try:
        def ready():
            assert child.poll() is None, (folder / "log").read_text()
            return ports.exists() and "admin=" in ports.read_text()
        weirproc.wait_until(ready, 30, "weir")
        where = dict(line.split("=", 1) for line in ports.read_text().split())

        def errors():
            sample = [l for l in weirproc.http("GET", f"http://{where['admin']}/metrics")[2].decode().splitlines() if l.startswith("weir_ledger_errors_total ")]
            return float(sample[0].split()[1])

        def full():
            status, _, _ = weirproc.http("POST", f"http://{where['listen']}{CHAT}", {"model": "m", "messages": []})
            assert status == 200
            return errors() > 0
        weirproc.wait_until(full, 60, "the ledger to find no room")
        assert child.poll() is None
        assert weirproc.http("POST", f"http://{where['listen']}{CHAT}", {"model": "m", "messages": []})[0] == 200
        child.terminate()
        assert child.wait(40 * weirproc.slowness()) > 0, "rows were lost: that is no clean end, and no death by signal"
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        log.close()
