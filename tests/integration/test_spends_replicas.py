"""Budgets over replicas that share a Redis: what one has spent counts at the others, through restarts of theirs and of the Redis. A
request costs 12,000 nano-dollars; what is waited for is what replicas know of each other, never a time."""

import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

import weirproc

pytestmark = pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server")

ACME, OPS = "sk-acme-0123456789", "sk-ops-0123456789"
COST_USD = 12e-6
SPENT = 'weir_tenant_spent_usd{tenant="acme",period="month"}'
UP = 'weir_spends_store_up{store="redis"}'
HERE = 'weir_tenant_spent_here_usd{tenant="acme",period="month"}'


@pytest.fixture
def redis(tmp_path):
    server = weirproc.Redis(tmp_path / "redis")
    yield server
    server.kill()


@pytest.fixture
def replica(start, upstream, redis, tmp_path, one_day):
    """replica(n, requests) -> the gateway of that number, with a budget of so many requests a month. It may be started again."""
    def make(n, requests, route="cascade: [small]"):
        folder = tmp_path / f"replica{n}"
        folder.mkdir(exist_ok=True)
        return start(f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{folder}/state", drain: 5s}}
cache: {{store: redis, redis: {{url: "unix:{redis.socket}"}}}}
backends:
  up: {{dialect: openai, url: "{upstream.url}"}}
models:
  small: {{backend: up, price: {{input: 1, output: 1}}}}
  big: {{backend: up, price: {{input: 10, output: 10}}}}
tenants:
  acme: {{keys: [{{env: ACME_KEY}}], budget: {{max_usd_per_month: {requests * COST_USD:.6f}}}}}
  ops: {{keys: [{{env: OPS_KEY}}], admin: true}}
routes:
  - {{name: r, match: {{model: auto}}, cache: off, {route}}}
""", env={"ACME_KEY": ACME, "OPS_KEY": OPS}, folder=folder)
    return make


def ask(gateway):
    """The reply's status: 200, or 429 once the budget is spent."""
    status, head, body = weirproc.http("POST", gateway.base + "/v1/chat/completions",
                                       {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}, {"Authorization": f"Bearer {ACME}"})
    assert status in (200, 429), body
    assert status == 200 or b"insufficient_quota" in body
    return status


def metric(gateway, name):
    for line in gateway.get("/metrics", key=OPS).decode().splitlines():
        if line.rpartition(" ")[0] == name:
            return float(line.rpartition(" ")[2])
    return None


def requests_in(gateway, name):
    return round(metric(gateway, name) / COST_USD)


def all_know(gateways, requests):
    weirproc.wait_until(lambda: all(requests_in(g, SPENT) == requests for g in gateways), 20, f"all to know of {requests} requests")


def ledger_of(n, tmp_path):
    db = sqlite3.connect(f"file:{tmp_path}/replica{n}/state/ledger.sqlite?mode=ro", uri=True, timeout=10)
    try:
        return db.execute("SELECT coalesce(sum(cost_nanousd), 0), count(*) FROM requests WHERE tenant = 'acme' AND status = 200").fetchone()
    finally:
        db.close()


def test_three_have_one_budget(replica):
    gateways = [replica(n, 7) for n in range(3)]
    for i in range(7):
        assert ask(gateways[i % 3]) == 200
        all_know(gateways, i + 1)
    assert [ask(g) for g in gateways] == [429, 429, 429]
    assert [requests_in(g, HERE) for g in gateways] == [3, 2, 2]
    for g in gateways:
        _, _, ready = g.request("GET", "/readyz")
        assert ready["budgets"] == {"shared": True, "store_up": True}


def test_at_once(replica, redis, tmp_path):
    """What is admitted before the others have heard is finished; then all refuse, and all know the same sum, to the nano-dollar."""
    gateways = [replica(n, 40) for n in range(3)]

    def spend_it(gateway):
        served = 0
        while ask(gateway) == 200:
            served += 1
        return served

    with ThreadPoolExecutor(6) as pool:
        served = sum(pool.map(spend_it, gateways * 2))
    assert served >= 40
    all_know(gateways, served)
    assert [ask(g) for g in gateways] == [429, 429, 429]
    weirproc.wait_until(lambda: sum(ledger_of(n, tmp_path)[1] for n in range(3)) == served, 10, "the ledgers' rows")
    month = max(k for k in redis.cli("keys", "weir:spend:*").splitlines() if len(k) == len("weir:spend:2026-11"))
    fields = redis.cli("hgetall", month).splitlines()
    told = sum(int(v) for f, v in zip(fields[::2], fields[1::2]) if f.endswith(" t acme"))
    assert told == sum(ledger_of(n, tmp_path)[0] for n in range(3)) == served * 12_000
    assert int(redis.cli("ttl", month)) > 86400


def test_one_is_killed_and_comes_again(replica):
    gateways = [replica(n, 6) for n in range(2)]
    for i in range(6):
        assert ask(gateways[i % 2]) == 200
        all_know(gateways, i + 1)
    gateways[0].kill()
    gateways[0].child.returncode = 0
    gateways[0] = replica(0, 6)
    all_know(gateways, 6)  # what the kill cost the ledger included
    assert [ask(g) for g in gateways] == [429, 429]
    new = replica(2, 7)  # one that has never served, with a larger budget
    all_know([new], 6)
    assert ask(new) == 200
    all_know([*gateways, new], 7)
    assert ask(new) == 429


def test_the_redis_goes_and_comes_back_empty(replica, redis):
    gateways = [replica(n, 8) for n in range(2)]
    for i in range(4):
        assert ask(gateways[i % 2]) == 200
        all_know(gateways, i + 1)
    redis.kill()
    for g in gateways:
        weirproc.wait_until(lambda g=g: metric(g, UP) == 0, 10, "it is noticed")
        assert g.request("GET", "/readyz")[2]["budgets"] == {"shared": True, "store_up": False}
    # Each goes by what it last heard, 2, and by its own.
    assert [ask(gateways[0]) for _ in range(5)] == 4 * [200] + [429]
    assert ask(gateways[1]) == 200
    assert [requests_in(g, SPENT) for g in gateways] == [8, 5]
    redis.start()
    all_know(gateways, 9)
    assert [ask(g) for g in gateways] == [429, 429]
    for g in gateways:
        weirproc.wait_until(lambda g=g: metric(g, UP) == 1, 10, "it is there again")


def test_audits_have_one_daily_cap(replica, redis):
    route = "cascade: [small, big], accept: 0.01, audit: {share: 1, judge: big, max_usd_per_day: 0.0001}"

    def audits():
        days = [k for k in redis.cli("keys", "weir:spend:*").splitlines() if len(k) == len("weir:spend:2026-11-22")]
        fields = [line for k in days for line in redis.cli("hgetall", k).splitlines()]
        return sum(int(v) for f, v in zip(fields[::2], fields[1::2]) if f.endswith(" c route/r"))

    first = replica(0, 1000, route)
    assert ask(first) == 200
    weirproc.wait_until(lambda: audits() == 240_000, 20, "an audit and its grade")  # more than the cap: they were in flight
    second = replica(1, 1000, route)
    weirproc.wait_until(lambda: metric(second, UP) == 1, 20, "it has heard")
    for _ in range(3):
        assert ask(second) == 200
    second.stop()  # what was begun is booked then
    assert audits() == 240_000


def test_alone_nothing_is_shared(start, upstream, tmp_path):
    gateway = start(f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{tmp_path}/state"}}
backends: {{up: {{dialect: openai, url: "{upstream.url}"}}}}
models: {{small: {{backend: up, price: {{input: 1, output: 1}}}}}}
routes: [{{name: r, match: {{model: auto}}, cascade: [small]}}]
""")
    assert gateway.get("/readyz")["budgets"] == {"shared": False}
    assert b"weir_spends_store_up{" not in gateway.get("/metrics")
    assert not (tmp_path / "state" / "replica").exists()
