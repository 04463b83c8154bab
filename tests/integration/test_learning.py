"""Replicas that share a Redis learn as one: the same traffic through three of them leaves the same counters as through one. When
the Redis is away, requests go on."""

import json
import random
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

import scripted
import weirproc

pytestmark = pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server")


FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
TIMELY = ("latency_ms", "predicted_milli", "foretold_")


class Redis(weirproc.Redis):
    def counters(self):
        """{(context, arm, kind): {field: sum over buckets}}, but for what hangs on time: how long answers took, and what was believed
        and foretold of them when they came."""
        sums = {}
        for key in self.cli("keys", "weir:{learn}:u:*").splitlines():
            context, arm, kind, _ = key.removeprefix("weir:{learn}:u:").split(" ")
            cells = self.cli("hgetall", key).splitlines()
            unit = sums.setdefault((context, arm, kind), {})
            for field, value in zip(cells[::2], cells[1::2]):
                unit[field] = unit.get(field, 0) + int(value)
        return {name: {f: v for f, v in unit.items() if v and not f.startswith(TIMELY)} for name, unit in sums.items()}


@pytest.fixture
def redis(tmp_path):
    server = Redis(tmp_path)
    yield server
    server.kill()


def policy(url, redis, folder):
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{folder}/state", drain: 5s}}
cache: {{store: redis, redis: {{url: "unix:{redis.socket}"}}}}
backends:
  up: {{dialect: openai, url: "{url}"}}
models:
  small: {{backend: up, price: {{input: 1, output: 1}}}}
  big: {{backend: up, price: {{input: 10, output: 10}}}}
routes:
  - {{name: ladder, match: {{model: auto}}, cascade: [small, big], accept: 0.01, cache: off}}
  - {{name: top, match: {{model: top}}, cascade: [big, small], accept: 0.01, cache: off}}
"""


@pytest.fixture
def replicas(start, upstream, redis, tmp_path):
    """replicas(n): so many gateways on one Redis."""
    made = []

    def make(n):
        for _ in range(n):
            folder = tmp_path / f"replica{len(made)}"
            folder.mkdir()
            made.append(start(policy(upstream.url, redis, folder), folder=folder))
        return made[-n:]
    return make


def ask(weir, model):
    status, head, data = weirproc.http("POST", weir.base + "/v1/chat/completions",
                                       {"model": model, "messages": [{"role": "user", "content": "hello"}]})
    assert status == 200, data
    return head["x-request-id"]


def feed(weir, request_id, **body):
    status, _, data = weirproc.http("POST", weir.base + "/v1/feedback", {"request_id": request_id, **body})
    return status, json.loads(data)


def say(weir, request_id, **body):
    """feed(), again where what was asked has not come to the store yet: it is waited for, but for a second at most."""
    weirproc.wait_until(lambda: feed(weir, request_id, **body)[0] == 200, 20, f"{request_id} to be known")


def traffic(gateways, redis, seed=3, requests=60):
    """Answers labelled by whichever replica, late, twice, withdrawn, out of order; the same whatever the number of replicas."""
    dice, ids = random.Random(seed), []
    redis.cli("flushall")
    for i in range(requests):
        where = gateways[dice.randrange(3) % len(gateways)]
        ids.append(ask(where, dice.choice(["auto", "auto", "top"])))
    words = []
    for i, one in enumerate(ids):
        if dice.random() < 0.7:
            for moment in range(dice.randrange(1, 4)):
                words.append((one, 1000 + moment, dice.choice([{"success": True}, {"success": False}, {"score": 0.5}, {"success": None}])))
    words += dice.sample(words, len(words) // 2)
    dice.shuffle(words)
    jobs = [(gateways[dice.randrange(3) % len(gateways)], w) for w in words]

    def work(part):
        for where, (one, moment, body) in part:
            say(where, one, time=moment, **body)
    threads = [threading.Thread(target=work, args=(jobs[i::4],)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    weirproc.wait_until(lambda: sum(u.get("asked", 0) for u in redis.counters().values()) == requests, 10, "everything is counted")
    return redis.counters()


def test_three_learn_as_one(replicas, redis):
    alone = traffic(replicas(1), redis)
    together = traffic(replicas(3), redis)
    assert alone == together
    slow = [u for (_, _, kind), u in together.items() if kind == "s"]
    assert sum(u.get("resolved", 0) for u in slow) > 20
    assert not any(v < 0 for u in together.values() for v in u.values())


def test_a_redis_that_goes_away_and_comes_back_empty(replicas, redis, tmp_path):
    (weir,) = replicas(1)
    before = ask(weir, "auto")
    say(weir, before, success=True)
    redis.kill()
    during = [ask(weir, "auto") for _ in range(5)]
    status, got = feed(weir, during[0], success=True)
    assert (status, got["error"]["code"]) == (503, "overloaded")
    weirproc.wait_until(lambda: weir.metric("weir_learn_store_up") == 0, 10, "it is noticed")
    again = Redis(tmp_path)
    try:
        weirproc.wait_until(lambda: feed(weir, during[0], success=True)[0] == 200, 20, "learning goes on")
        assert feed(weir, before, success=True)[0] == 404  # gone with the Redis
        weirproc.wait_until(lambda: sum(u.get("asked", 0) for (_, _, kind), u in again.counters().items() if kind == "s") == 5, 10,
                            "what was asked meanwhile to be counted")
        weirproc.wait_until(lambda: weir.metric("weir_learn_store_up") == 1, 10, "it is noticed")
        assert weir.metric("weir_learn_dropped_total") == 0
    finally:
        weir.stop()
        again.kill()


def believed(weir):
    """{(route, class, model): labels} of /admin/beliefs; nothing before there are any."""
    contexts = json.loads(weirproc.http("GET", weir.admin + "/admin/beliefs")[2]).get("contexts", [])
    return {(c["route"], c["class"], m["model"]): round(m["labels"], 6) for c in contexts for m in c["models"]}


def test_who_joins_late_believes_what_the_others_do(replicas, redis):
    both = replicas(2)
    for i in range(20):
        say(both[i % 2], ask(both[i % 2], "auto"), success=i % 3 > 0)
    weirproc.wait_until(lambda: sum(believed(both[0]).values()) > 19, 20, "everything to be believed")
    (late,) = replicas(1)
    weirproc.wait_until(lambda: believed(late) == believed(both[0]) == believed(both[1]), 20, "the late one to believe the same")
    assert sum(believed(late).values()) > 19
    for weir in (late, both[0]):  # and on: what one hears all believe
        say(weir, ask(weir, "auto"), success=True)
    weirproc.wait_until(lambda: sum(believed(late).values()) > 21 and believed(late) == believed(both[1]), 20, "they learn on together")


@pytest.mark.skipif(not FAKETIME, reason="no libfaketime")
@pytest.mark.parametrize("store", ["embedded", "redis"])
def test_a_clock_that_jumps_and_is_set_back(store, upstream, redis, tmp_path):
    """A hundred days ahead everything is too old to count; when that was a mistake, all is there again."""
    linked = subprocess.run(["ldd", weirproc.build_dir() / "gateway" / "weir"], capture_output=True, text=True, check=True).stdout
    if "libasan" in linked or "libtsan" in linked:
        pytest.skip("a sanitizer and libfaketime do not go together")
    clock, text = tmp_path / "clock", policy(upstream.url, redis, tmp_path)

    def set_clock(by):  # whole or not at all
        (tmp_path / "next").write_text(by)
        (tmp_path / "next").rename(clock)
    set_clock("+0d")
    if store == "embedded":
        text = "\n".join(line for line in text.splitlines() if not line.startswith("cache:"))
    weir = weirproc.Weir(tmp_path / store, text, {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
                                                  "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"})
    try:
        for _ in range(12):
            say(weir, ask(weir, "auto"), success=True)
        weirproc.wait_until(lambda: sum(believed(weir).values()) > 11, 20, "everything to be believed")
        set_clock("+100d")
        weirproc.wait_until(lambda: sum(believed(weir).values()) < 1, 20, "everything to be too old")
        set_clock("+0d")
        weirproc.wait_until(lambda: sum(believed(weir).values()) > 11, 20, "everything to be there again")
    finally:
        weir.stop()


def scorers(weir):
    """What /admin/beliefs says of the small model's scorer: once for each context."""
    contexts = json.loads(weirproc.http("GET", weir.admin + "/admin/beliefs")[2])["contexts"]
    return [m["scorer"] for c in contexts for m in c["models"] if m["model"] == "small"]


def test_one_replica_fits_a_scorer_for_all(replicas, upstream, redis):
    """What the default does not see: that answers with a call are good, and others are not."""
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    said = scripted.OK_REPLY["choices"][0]
    calls = {**scripted.OK_REPLY, "choices": [{**said, "message": {"role": "assistant", "content": None, "tool_calls": [call]},
                                               "finish_reason": "tool_calls"}]}
    both = replicas(2)
    assert all(one is None for weir in both for one in scorers(weir))
    for i in range(260):
        good = i % 2 == 0
        upstream.otherwise = scripted.whole(calls if good else scripted.OK_REPLY)
        one = ask(both[i % 3 % 2], "auto")
        say(both[i % 2], one, success=good)
    weirproc.wait_until(lambda: all(scorers(weir) and all(scorers(weir)) for weir in both), 60, "both have a scorer")  # tried once a minute
    first, other = scorers(both[0])[0], scorers(both[1])[0]
    assert first == other and first["version"] > 0
    assert first["held_out_log_loss"] < first["held_out_log_loss_before"] - 0.2
    assert {"q10", "constant"} < set(first["coefficients"])
    assert sorted(weir.metric('weir_learn_scorers_total{result="published"}') for weir in both) == [0, 1]
    say(both[0], ask(both[0], "auto"), success=True)  # scored by it, and counted
    arm = f"small/{first['version']}"
    weirproc.wait_until(lambda: arm in {a for _, a, _ in redis.counters()}, 10, "it is counted under the scorer's version")


def test_a_slow_redis_does_not_slow_requests(replicas, redis):
    (weir,) = replicas(1)
    ask(weir, "auto")
    redis.child.send_signal(signal.SIGSTOP)
    ids = [ask(weir, "auto") for _ in range(10)]  # though nothing moves there
    assert feed(weir, ids[0], success=True)[0] == 503
    redis.child.send_signal(signal.SIGCONT)
    for one in ids:
        weirproc.wait_until(lambda: feed(weir, one, success=True)[0] == 200, 20, "it is counted")
    assert sum(u.get("resolved", 0) for (_, _, kind), u in redis.counters().items() if kind == "s") == 10


def test_traffic_follows_what_is_learned(start, tmp_path):
    """One process: the small model is good enough, then fails in silence, which only feedback tells."""
    small, big = scripted.Upstream(), scripted.Upstream()
    weir = start(f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{tmp_path}/state", drain: 1s}}
backends:
  s: {{dialect: openai, url: "{small.url}"}}
  b: {{dialect: openai, url: "{big.url}"}}
models:
  small: {{backend: s, price: {{input: 1, output: 1}}}}
  big: {{backend: b, price: {{input: 10, output: 10}}}}
routes:
  - {{name: r, match: {{model: auto}}, cascade: [small, big], objective: {{floor: 0.8}}}}
""")
    dice = random.Random(5)

    def follow(good, least=0.0, most=1.0):
        """Until the small model's share of the last hundred is within bounds; 2,000 requests at most."""
        models = []
        while len(models) < 100 or not least < models[-100:].count("small") / 100 < most:
            assert len(models) < 2000, models[-100:].count("small")
            status, head, data = weirproc.http("POST", weir.base + "/v1/chat/completions",
                                               {"model": "auto", "messages": [{"role": "user", "content": "hello"}]})
            assert status == 200, data
            models.append(head["x-weir-model"])
            assert feed(weir, head["x-request-id"], success=dice.random() < good[models[-1]])[0] == 200
            time.sleep(0.01)  # as long as a fast model takes: beliefs follow within half a second
    try:
        follow({"small": 0.95, "big": 0.95}, least=0.5)
        follow({"small": 0.0, "big": 0.95}, most=0.35)
    finally:
        weir.stop()
        small.close()
        big.close()
