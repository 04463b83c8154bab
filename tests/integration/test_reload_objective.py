"""A reload never leaves an objective's route without beliefs: those of the new policy are there before it serves, and the old one's as long as
requests of it come; and the next process has those of the one before."""

import json
import signal
import sqlite3
import threading

import pytest
from scripted import Upstream, whole

import weirproc

CASCADES = ["[small, big]", "[big, small]", "[small, third, big]", "[third, small]", "[big, third]"]


class Model(Upstream):
    def reset(self):
        super().reset()
        self.script = self

    def __bool__(self):
        return True

    def pop(self, _):
        return whole()


@pytest.fixture
def model():
    upstream = Model()
    yield upstream
    upstream.close()


def policy(url, folder, cascade):
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{folder}/state"}}
backends:
  up: {{dialect: openai, url: "{url}"}}
models:
  small: {{backend: up, price: {{input: 1, output: 1}}}}
  third: {{backend: up, price: {{input: 2, output: 2}}}}
  big: {{backend: up, price: {{input: 10, output: 10}}}}
routes:
  - {{name: main, match: {{model: auto}}, cascade: {cascade}, objective: {{failure_price: 0.001}}}}
"""


def ask(weir):
    status, head, data = weirproc.http("POST", weir.base + "/v1/chat/completions",
                                       {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}, timeout_s=60)
    assert status == 200, data
    return head["x-request-id"]


class Clients:
    """Some that ask all the time."""

    def __init__(self, weir, count):
        self.weir, self.done, self.stop, self.fault = weir, 0, False, None
        self.threads = [threading.Thread(target=self.run) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self):
        try:
            while not self.stop:
                ask(self.weir)
                self.done += 1
        except BaseException as error:
            self.fault = error

    def until_more(self, count):
        goal = self.done + count
        weirproc.wait_until(lambda: self.fault or self.done >= goal, 60, "requests to be answered")

    def end(self):
        self.stop = True
        for thread in self.threads:
            thread.join()
        if self.fault:
            raise self.fault


def first_decisions(weir):
    """(beliefs, what a success was worth, id) of each request so far."""
    with sqlite3.connect(f"file:{weir.state_dir}/ledger.sqlite?mode=ro", uri=True, timeout=30) as db:
        return db.execute("SELECT d.beliefs, d.success_nanousd, r.request_id FROM decisions d JOIN requests r ON r.id = d.request WHERE d.step = 1").fetchall()


def all_decisions(weir, count):
    return weirproc.wait_until(lambda: len(rows := first_decisions(weir)) >= count and rows, 60, "all decisions to be in the ledger")


def assert_decided_by_beliefs(rows):
    without = [row for row in rows if row[0] == 0 or row[1] is None or row[1] < 0]
    assert not without, f"{len(without)} of {len(rows)} decisions were taken without beliefs"


def test_reloads_under_traffic(start, model, weir, tmp_path):
    gateway = start(policy(model.url, tmp_path, CASCADES[0]))
    clients = Clients(gateway, 4)
    try:
        for i in range(1, 16):
            before = gateway.version()
            gateway.policy_file.write_text(policy(model.url, tmp_path, CASCADES[i % len(CASCADES)]))
            gateway.child.send_signal(signal.SIGHUP)
            gateway.until_another(before)
            clients.until_more(10)
    finally:
        clients.end()
    rows = all_decisions(gateway, clients.done)
    assert_decided_by_beliefs(rows)
    assert len({row[0] for row in rows}) >= 15, "each policy had beliefs of its own"

    version, _, one = rows[-1]
    why = ["why", "--ledger", gateway.state_dir / "ledger.sqlite", one]
    told = weir(*why)
    assert told.returncode == 0 and f" It was decided by beliefs {version}, built on 2" in told.stdout
    assert json.loads(weir(*why, "--json").stdout)["decisions"][0]["beliefs"] == version


def test_the_next_process_begins_with_what_was_learned(start, model, tmp_path):
    text = policy(model.url, tmp_path, "[small, big]")
    gateway = start(text)
    ids = [ask(gateway) for _ in range(30)]
    for one in ids:
        assert weirproc.http("POST", gateway.base + "/v1/feedback", {"request_id": one, "success": True})[0] == 200
    all_decisions(gateway, len(ids))
    gateway.stop()

    gateway = start(text)
    contexts = json.loads(weirproc.http("GET", gateway.admin + "/admin/beliefs")[2])["contexts"]
    assert sum(m["labels"] for c in contexts for m in c["models"]) > 0.9 * len(ids)
    ask(gateway)
    assert_decided_by_beliefs(all_decisions(gateway, len(ids) + 1))
