"""Servers that weir starts itself: on the first request, one of a group at a time, ended with weir; and what happens when one
does not start. The servers are fleets."""

import json
import os
import signal
import socket
import subprocess

import pytest

from test_sdk import MODEL
from weirproc import ROOT, Weir, build_dir, http, wait_until

SAMPLE = ROOT / "tests" / "fleet" / "sample" / "sample.jsonl.gz"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def backend(name, port, argv=None, more=""):
    argv = argv or [str(build_dir() / "tests" / "fleet" / "weir-fleet"), "--port", str(port), "--rows", str(SAMPLE)]
    return (f'  {name}: {{dialect: openai, url: "http://127.0.0.1:{port}/v1", '
            f'command: {{argv: {argv}, ready: {{path: /v1/models, timeout: 20s}}{more}}}}}\n'.replace("'", '"'))


def policy(backends, models, routes, state_dir):
    return f"""
version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{state_dir}"}}
backends:
{backends}models:
{models}routes:
{routes}"""


def ask(weir, model=MODEL):
    return http("POST", weir.base + "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "hi"}]},
                timeout_s=40)


def listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def test_started_on_first_need_and_ended_with_weir(tmp_path):
    port = free_port()
    weir = Weir(tmp_path, policy(backend("own", port), f"  {MODEL}: {{backend: own, price: {{gpu_second: 0.0004}}}}\n",
                                 f"  - {{name: r, match: {{model: {MODEL}}}, cascade: [{MODEL}]}}\n", tmp_path / "state"))
    assert not listening(port), "nothing is started before it is needed"
    assert ask(weir)[0] == 200 and ask(weir)[0] == 200
    assert listening(port)
    (known,) = json.loads(http("GET", weir.admin + "/admin/backends")[2])["backends"]
    assert known["server"]["state"].lower() == "ready" and known["server"]["pid"] > 0 and known["server"]["rss_bytes"] > 0
    shown = subprocess.run([build_dir() / "gateway" / "weir", "backends", "--url", weir.admin], capture_output=True, text=True)
    assert shown.returncode == 0 and "own" in shown.stdout and str(known["server"]["pid"]) in shown.stdout
    weir.stop()
    assert not listening(port), "children end with weir"


def test_a_server_that_was_killed_is_started_again(tmp_path):
    port = free_port()
    weir = Weir(tmp_path, policy(backend("own", port), f"  {MODEL}: {{backend: own, price: {{gpu_second: 0.0004}}}}\n",
                                 f"  - {{name: r, match: {{model: {MODEL}}}, cascade: [{MODEL}]}}\n", tmp_path / "state"))
    assert ask(weir)[0] == 200
    children = [int(p) for t in os.listdir(f"/proc/{weir.child.pid}/task")
                for p in open(f"/proc/{weir.child.pid}/task/{t}/children").read().split()]
    assert len(children) == 1
    os.kill(children[0], signal.SIGKILL)
    wait_until(lambda: not listening(port), 5, "the server to be gone")
    wait_until(lambda: ask(weir)[0] == 200, 20, "it to be started again")
    weir.stop()


def test_idle_servers_are_stopped(tmp_path):
    port = free_port()
    weir = Weir(tmp_path, policy(backend("own", port, more=", idle: 300ms"), f"  {MODEL}: {{backend: own, price: {{gpu_second: 0.0004}}}}\n",
                                 f"  - {{name: r, match: {{model: {MODEL}}}, cascade: [{MODEL}]}}\n", tmp_path / "state"))
    assert ask(weir)[0] == 200
    wait_until(lambda: not listening(port), 10, "the idle server to be stopped")
    assert ask(weir)[0] == 200
    weir.stop()


def test_one_of_a_group_runs_at_a_time(tmp_path):
    ports = [free_port(), free_port()]
    more = ", group: gpu, min_run: 100ms"
    weir = Weir(tmp_path, policy(backend("one", ports[0], more=more) + backend("two", ports[1], more=more),
                                 f"  a: {{backend: one, name: {MODEL}, price: {{gpu_second: 0.0004}}}}\n"
                                 f"  b: {{backend: two, name: {MODEL}, price: {{gpu_second: 0.0004}}}}\n",
                                 "  - {name: a, match: {model: a}, cascade: [a]}\n  - {name: b, match: {model: b}, cascade: [b]}\n",
                                 tmp_path / "state"))
    for model in "abab":
        assert ask(weir, model)[0] == 200
        assert [listening(p) for p in ports] == [model == "a", model == "b"]
    weir.stop()


def test_what_does_not_start_falls_over_or_says_its_last_words(tmp_path):
    ports = [free_port(), free_port()]
    broken = ["/bin/sh", "-c", "echo no weights at /models/x.gguf >&2; exit 3"]
    weir = Weir(tmp_path, policy(backend("broken", ports[0], broken) + backend("own", ports[1]),
                                 f"  bad: {{backend: broken, price: {{gpu_second: 0.0004}}}}\n"
                                 f"  {MODEL}: {{backend: own, price: {{gpu_second: 0.0004}}}}\n",
                                 f"  - {{name: both, match: {{model: both}}, cascade: [bad], fallback: [{MODEL}]}}\n"
                                 "  - {name: bad, match: {model: bad}, cascade: [bad]}\n", tmp_path / "state"))
    status, headers, _ = ask(weir, "both")
    assert status == 200 and headers["x-weir-model"] == MODEL
    status, _, body = ask(weir, "bad")
    assert status == 502 and b"no weights at /models/x.gguf" in body
    states = {b["name"]: b["server"] for b in json.loads(http("GET", weir.admin + "/admin/backends")[2])["backends"]}
    assert states["broken"]["state"].lower() == "failed" and "no weights" in states["broken"]["log_tail"]
    weir.stop()


def test_a_client_that_leaves_while_a_server_starts_leaves_nothing_behind(tmp_path):
    port = free_port()
    slow = ["/bin/sh", "-c", "sleep 30"]
    weir = Weir(tmp_path, policy(backend("slow", port, slow), f"  {MODEL}: {{backend: slow, price: {{gpu_second: 0.0004}}}}\n",
                                 f"  - {{name: r, match: {{model: {MODEL}}}, cascade: [{MODEL}]}}\n", tmp_path / "state"))
    with pytest.raises(OSError):
        http("POST", weir.base + "/v1/chat/completions", {"model": MODEL, "messages": []}, timeout_s=0.5)
    wait_until(lambda: b"AWAIT" not in http("GET", weir.admin + "/admin/requests")[2], 5, "the request to be gone")
    weir.stop()
