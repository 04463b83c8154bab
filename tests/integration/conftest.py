"""What the integration tests share: the real programs with real files, signals and sockets. The helpers that start weir and
play an upstream live with the conformance tests."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "conformance"))

import scripted  # noqa: E402
import weirproc  # noqa: E402

CLEAN_ENV = {"NO_COLOR": "1"}


def policy(url, folder, model="small", server="", extra="", price="1.00", listen="127.0.0.1:0", admin="127.0.0.1:0"):
    """One backend, one model under the name `auto`. Change price or model for another version."""
    return f"""version: 1
server: {{listen: "{listen}", admin: "{admin}", workers: 2, state_dir: "{folder}/state", drain: 20s{server}}}
backends:
  up: {{dialect: openai, url: "{url}"}}
models:
  {model}: {{backend: up, context: 8192, price: {{input: {price}, output: 4.00}}}}
routes:
  - name: default
    match: {{model: [auto, {model}]}}
    cascade: [{model}]
{extra}"""


class Gateway(weirproc.Weir):
    """weir serve, and short ways to ask its admin API."""

    def request(self, method, path, body=None, key=None, **headers):
        """(status, headers, body): JSON is decoded; headers may be written If_Match."""
        send = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            send["Authorization"] = "Bearer " + key
        status, got, data = weirproc.http(method, self.admin + path, body, send)
        if got.get("Content-Type", "").startswith("application/json") and data:
            data = json.loads(data)
        return status, got, data

    def get(self, path, **more):
        status, _, body = self.request("GET", path, **more)
        assert status == 200, (status, body)
        return body

    def version(self):
        return self.get("/readyz")["policy"]["version"]

    def put(self, text, tag="*", **more):
        """Every worker serves it afterwards, if it was taken."""
        answer = self.request("PUT", "/admin/policy", text.encode(), If_Match=tag, **more)
        if answer[0] == 200:
            self.heard(**more)
        return answer

    def heard(self, **more):
        """Waits until every worker has read its mail: what was decided before, each obeys from then on. A policy that has shut the
        door on this asker cannot be waited for so."""
        def all_answer():
            status, _, body = self.request("GET", "/admin/requests", **more)
            return status in (401, 403) or status == 200 and body["silent_workers"] == []
        self.until(all_answer, "every worker to answer")

    def until_another(self, before, what="another version"):
        """Waits until another policy than `before` serves, in every worker."""
        self.until(lambda: self.version() != before, what)
        self.heard()

    def metric(self, name):
        """The value of a sample, named with its labels; 0 when it is not there."""
        for line in self.get("/metrics").decode().splitlines():
            if line.rpartition(" ")[0] == name:
                return float(line.rpartition(" ")[2])
        return 0

    def chat(self, model="auto", timeout_s=20):
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        return weirproc.http("POST", self.base + "/v1/chat/completions", body, timeout_s=timeout_s)

    def until(self, condition, what, timeout_s=15):
        return weirproc.wait_until(lambda: self.alive() and condition(), timeout_s, what)


@pytest.fixture
def upstream():
    server = scripted.Upstream()
    yield server
    server.close()


@pytest.fixture
def small():
    """The first model of a cascade."""
    server = scripted.Upstream()
    yield server
    server.close()


@pytest.fixture
def big():
    """The model that a cascade goes on to."""
    server = scripted.Upstream()
    yield server
    server.close()


@pytest.fixture
def start(tmp_path):
    """start(policy_text, env=None, folder=tmp_path) -> Gateway. Whatever still runs at the end must end well."""
    running = []

    def start_one(text, env=None, folder=tmp_path):
        running.append(Gateway(folder, text, env))
        return running[-1]

    yield start_one
    for gateway in running:
        gateway.stop()


@pytest.fixture
def one_day():
    """What was spent today, or this month, begins anew at midnight (UTC): a test that begins too near to it waits for it."""
    left_s = 86400 - time.time() % 86400
    if left_s < 10 * weirproc.slowness():
        time.sleep(left_s + 1)


@pytest.fixture
def gateway(start, upstream, tmp_path):
    return start(policy(upstream.url, tmp_path))


@pytest.fixture(scope="session")
def weir():
    """weir("check", file, ...) -> CompletedProcess with text output; stdin closed unless input is given."""
    program = (weirproc.build_dir() / "gateway" / "weir").resolve()

    def run(*argv, input=None, env=None, timeout=60, **more):
        standard = {} if input is not None else {"stdin": subprocess.DEVNULL}
        return subprocess.run([str(program), *map(str, argv)], input=input, text=True, timeout=timeout * weirproc.slowness(),
                              env={**os.environ, **CLEAN_ENV, **(env or {})},
                              **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **standard, **more})
    run.program = program
    return run
