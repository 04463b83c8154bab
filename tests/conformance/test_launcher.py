"""Servers that weir starts itself: on the first request, one of a group at a time, ended with weir; and what happens when one
does not start. The servers are fleets."""

import json
import os
import signal
import socket
import subprocess
import threading

import pytest

from conftest import SLOW
from test_sdk import MODEL
from weirproc import ROOT, Weir, build_dir, free_port, http, wait_until

SAMPLE = ROOT / "tests" / "fleet" / "sample" / "sample.jsonl.gz"


def backend(name, port, argv=None, more=""):
    argv = argv or [str(build_dir() / "tests" / "fleet" / "weir-fleet"), "--port", str(port), "--rows", str(SAMPLE)]
    return (f'  {name}: {{dialect: openai, url: "http://127.0.0.1:{port}/v1", '
            f'command: {{argv: {argv}, ready: {{path: /v1/models, timeout: 120s}}{more}}}}}\n'.replace("'", '"'))


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


def server_of(weir, name="own"):
    return next(b["server"] for b in json.loads(http("GET", weir.admin + "/admin/backends")[2])["backends"] if b["name"] == name)


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
    wait_until(lambda: ask(weir)[0] == 200 and server_of(weir)["starts"] == 2, 20, "it to be started again")
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


def shell(script):
    return ["/bin/sh", "-c", script]


@pytest.mark.parametrize("argv,words", [
    (["no-such-server", "-m", "x"], ["cannot start 'no-such-server': not found in PATH"]),
    (shell("echo cannot load x.gguf; exit 3"), ["'/bin/sh' ended before it was ready: exit status 3", "last output: cannot load x.gguf"]),
    (shell("kill -SEGV $$"), ["'/bin/sh' ended before it was ready: killed by signal 11", "it wrote nothing"]),
    (shell("echo loading; exec sleep 60"), ["was not ready within 2000 ms: nobody listened on its port", "last output: loading"]),
    ("elsewhere", ["was not ready within 2000 ms: nobody listened on its port"]),
    ("unhealthy", [f"was not ready within {8000 * SLOW} ms: the last probe got status 404"]),
    ("taken", ["cannot start: another process listens on 127.0.0.1 port"]),
], ids=["missing", "exits", "crashes", "never_ready", "other_port", "never_well", "port_taken"])
def test_bad_commands_are_told_to_the_client_and_to_the_operator(tmp_path, argv, words):
    """The same words in the error, in /admin/backends and from `weir backends`; refused at once while it backs off."""
    port = free_port()
    fleet = [str(build_dir() / "tests" / "fleet" / "weir-fleet"), "--rows", str(SAMPLE), "--port"]
    argv, patience, path, holder = {
        "elsewhere": (fleet + [str(free_port())], "2s", "/v1/models", None),
        "unhealthy": (fleet + [str(port)], f"{8 * SLOW}s", "/no/such/page", None),  # it has to be up by then
        "taken": (fleet + [str(port)], "2s", "/v1/models", port),
    }.get(argv if isinstance(argv, str) else "", (argv, "2s", "/health", None))
    one = (f'  own: {{dialect: openai, url: "http://127.0.0.1:{port}/v1", command: {{argv: {json.dumps(argv)}, '
           f'ready: {{path: {path}, timeout: {patience}}}, backoff: {{base: 1m, max: 1m}}}}}}\n')
    weir = Weir(tmp_path, policy(one, f"  {MODEL}: {{backend: own, price: {{gpu_second: 0.0004}}}}\n",
                                 f"  - {{name: r, match: {{model: {MODEL}}}, cascade: [{MODEL}]}}\n", tmp_path / "state"))
    held = socket.create_server(("127.0.0.1", holder)) if holder else None
    try:
        status, headers, body = ask(weir)
        assert status == 502 and headers["x-weir-attempts"] == "0" and float(headers["x-weir-cost-usd"]) == 0
        wait_until(lambda: server_of(weir)["state"] == "failed", 15, "the failure")
        server = server_of(weir)
        assert (server["pid"], server["starts"], server["failures"]) == (0, 1, 1) and 0 < server["retry_in_ms"] <= 60_000
        shown = subprocess.run([build_dir() / "gateway" / "weir", "backends", "--url", weir.admin], capture_output=True, text=True).stdout
        assert "server failed for" in shown and "not started again for" in shown and "healthy" not in shown
        for part in words:
            assert part in json.loads(body)["error"]["message"] and part in server["last_error"] and part in shown
        again = ask(weir)
        assert again[0] == 502 and json.loads(again[2]) == json.loads(body) and server_of(weir)["starts"] == 1
        assert "level=warn" in next(line for line in weir.log.read_text().splitlines() if "model server failed" in line)
    finally:
        if held:
            held.close()
        weir.stop()


def test_more_than_the_queue_holds_are_refused_and_told_when_to_come_again(tmp_path):
    port = free_port()
    weir = Weir(tmp_path, policy(backend("own", port, shell("sleep 600"), more=", queue: 1"),
                                 f"  {MODEL}: {{backend: own, price: {{gpu_second: 0.0004}}}}\n",
                                 f"  - {{name: r, match: {{model: {MODEL}}}, cascade: [{MODEL}]}}\n", tmp_path / "state")
                .replace("workers: 2", "workers: 2, drain: 1s"))
    waiting = threading.Thread(target=ask, args=(weir,))
    waiting.start()
    try:
        wait_until(lambda: server_of(weir)["waiting"] == 1, 10, "the first to wait")
        status, headers, body = ask(weir)
        assert status == 503 and int(headers["retry-after"]) >= 1
        assert json.loads(body)["error"]["message"] == "1 requests wait for the server of 'own' already"
    finally:
        weir.stop()
        waiting.join()


def test_a_server_that_will_not_end_is_killed_with_what_it_started(tmp_path):
    """It ignores SIGTERM and leaves a process behind that holds the port."""
    port = free_port()
    fleet = f"{build_dir()}/tests/fleet/weir-fleet --port {port} --rows {SAMPLE}"
    stubborn = shell(f"trap '' TERM; (trap '' TERM; exec {fleet}) & while :; do sleep 1; done")
    one = (f'  own: {{dialect: openai, url: "http://127.0.0.1:{port}/v1", command: {{argv: {json.dumps(stubborn)}, '
           'ready: {path: /v1/models, timeout: 120s}, idle: 300ms, stop: 300ms}}\n')
    weir = Weir(tmp_path, policy(one, f"  {MODEL}: {{backend: own, price: {{gpu_second: 0.0004}}}}\n",
                                 f"  - {{name: r, match: {{model: {MODEL}}}, cascade: [{MODEL}]}}\n", tmp_path / "state"))
    try:
        for start in (1, 2):
            assert ask(weir)[0] == 200 and server_of(weir)["starts"] == start
            wait_until(lambda: server_of(weir)["state"] == "stopped", 15, "it to be ended")
            wait_until(lambda: not listening(port), 10, "what it started to be gone")
            assert server_of(weir)["failures"] == 0
        assert ask(weir)[0] == 200
    finally:
        weir.stop()
    wait_until(lambda: not listening(port), 10, "it to be gone, also when weir ends")
