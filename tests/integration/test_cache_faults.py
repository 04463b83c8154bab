"""Two replicas of weir and a real Redis, and everything that can go wrong between them: whatever happens, an answer from the
cache is whole, to just that question, of that tenant and not older than it may be; and afterwards there are hits again.

The upstream writes into each answer which question of which tenant it is to, when it was made and where it ends, so that every
reply can be judged by itself. `Judge.ask` does that for each request of these tests."""

import hashlib
import http.client as http_client
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import scripted
from weirproc import Redis, Weir, build_dir, http, slowness, wait_until

pytestmark = pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server")

TTL_S = {"auto": int(15 * slowness()), "brief": 1}  # by model; the long one leaves a slow machine the time to ask for everything twice
QUESTIONS = 12
KEYS = {"a": "sk-weir-faults-a", "b": "sk-weir-faults-b"}
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def logs(redis):
    return [key for key in redis.cli("KEYS", "weir:*:log").split("\n") if key]


def truthful(exchange):
    asked = exchange.json()
    said = {"user": asked["user"], "question": asked["messages"][-1]["content"], "born": time.monotonic(), "fill": "x" * 700}
    text = json.dumps(said) + "|end"
    if asked.get("stream"):
        scripted.stream(*scripted.answer(text[:300], text[300:600], text[600:]))(exchange)
        return
    choice = {**scripted.OK_REPLY["choices"][0], "message": {"role": "assistant", "content": text}}
    scripted.whole({**scripted.OK_REPLY, "choices": [choice]})(exchange)


@pytest.fixture(scope="module")
def upstream():
    up = scripted.Upstream()
    up.otherwise = truthful
    yield up
    up.close()


class Judge:
    """Asks, and looks at every reply. Nothing born before `horizon` may be served from `since` on."""

    def __init__(self):
        self.horizon = self.since = 0.0
        self.wrong, self.lost, self.lock = [], [], threading.Lock()
        self.told = {}  # birth of an answer -> when whoever it was made for had it whole: its life began before

    def text_of(self, body, streamed):
        if not streamed:
            return json.loads(body)["choices"][0]["message"]["content"]
        events = [line[6:] for line in body.decode().split("\n") if line.startswith("data: ")]
        assert events[-1] == "[DONE]", "a stream without its end"
        deltas = [choice["delta"] for event in events[:-1] for choice in json.loads(event)["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)

    def ask(self, weir, user, question, stream=False, model="auto", **headers):
        """What the cache said: "hit", "miss", "coalesced"; None when weir could not be asked."""
        began = time.monotonic()
        horizon = self.horizon if began >= self.since else 0
        body = {"model": model, "user": user, "messages": [{"role": "user", "content": question}], "stream": stream}
        try:
            status, head, reply = http("POST", weir.base + "/v1/chat/completions", body,
                                       {"Authorization": "Bearer " + KEYS[user], **headers}, timeout_s=20)
        except (OSError, http_client.HTTPException) as lost:  # it was killed, maybe in the midst of an answer
            self.lost.append(f"{question!r} of {user} after {time.monotonic() - began:.2f} s: {lost!r}")
            return None
        try:
            assert status == 200, f"status {status}: {reply[:200]}"
            text, _, end = self.text_of(reply, stream).rpartition("|")
            assert end == "end", "not whole"
            said = json.loads(text)
            assert (said["user"], said["question"]) == (user, question), "another's answer"
            if head.get("x-weir-cache") == "miss":
                self.told[said["born"]] = time.monotonic()
            # Whom it was made for may have gone with a process that was killed.
            assert began - self.told.get(said["born"], began) < TTL_S[model], f"{began - said['born']:.2f} s old"
            assert said["born"] >= horizon, f"born {horizon - said['born']:.2f} s before everything was removed"
        except (AssertionError, ValueError, KeyError, IndexError) as wrong:
            with self.lock:
                self.wrong.append(f"{head.get('x-weir-cache')} {question!r} of {user}: {wrong!r} {time.monotonic() - began:.2f} s")
        return head.get("x-weir-cache")

    def forget(self):
        """What was stored until now is being removed, and will be gone when forgotten() is called."""
        self.since = float("inf")
        self.horizon = time.monotonic()

    def forgotten(self):
        """Without word from its store nobody serves from memory for longer than two seconds."""
        self.since = time.monotonic() + 2 + 0.1 * slowness()

    def hit_rate(self, weirs, count=40, seed=1):
        some = random.Random(seed)
        said = [self.ask(some.choice(weirs), some.choice(list(KEYS)), f"question {some.randrange(QUESTIONS)}") for _ in range(count)]
        return sum(s == "hit" for s in said) / count

    def recovers(self, weirs, within_s=15):
        """The hit rate comes back on every replica."""
        for weir in weirs:
            wait_until(lambda w=weir: self.hit_rate([w]) >= 0.7, within_s, f"hits again; wrong: {self.wrong}")
        assert not self.wrong, self.wrong


class Traffic:
    """Questions from both tenants to all replicas, streamed and not, until the end of the block."""

    def __init__(self, judge, weirs, threads=3):
        self.judge, self.weirs, self.stop, self.asked = judge, weirs, threading.Event(), 0
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(threads)]

    def run(self, seed):
        some = random.Random(seed)
        while not self.stop.is_set():
            question = f"question {min(some.randrange(QUESTIONS), some.randrange(QUESTIONS))}"
            self.judge.ask(some.choice(self.weirs), some.choice(list(KEYS)), question, stream=some.random() < 0.3)
            self.asked += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def more(self, count=60):
        target = self.asked + count
        wait_until(lambda: self.asked >= target, 30, f"{count} more questions")


def policy(url, folder, store):
    tenants = "".join(f'  {name}: {{keys: [{{sha256: "{hashlib.sha256(key.encode()).hexdigest()}"}}]}}\n' for name, key in KEYS.items())
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{folder}/state", drain: 10s}}
backends:
  up: {{dialect: openai, url: "{url}", timeouts: {{connect: 60s, first_byte: 120s, between_bytes: 120s, total: 300s}}}}
models:
  m: {{backend: up, price: {{input: 1.00, output: 4.00}}}}
retry: {{max_attempts: 1, per_model: 1}}
cache: {{exact: {{ttl: {TTL_S["auto"]}s, timely_ttl: {TTL_S["auto"]}s}}, max_entries: 1000, {store}}}
tenants:
{tenants}routes:
  - {{name: brief, match: {{model: brief}}, cascade: [m], cache: {{exact: {{ttl: {TTL_S["brief"]}s, timely_ttl: {TTL_S["brief"]}s}}}}}}
  - {{name: r, match: {{model: [m, auto]}}, cascade: [m]}}
"""


def replica(upstream, folder, redis=None, env=None):
    store = f'store: redis, redis: {{url: "unix:{redis.socket}", budget: 100ms}}' if redis else "store: embedded"
    return Weir(folder, policy(upstream.url, folder, store), env)


@pytest.fixture
def judge(upstream):
    upstream.reset()
    return Judge()


@pytest.fixture(scope="module")
def world(upstream, tmp_path_factory):
    """(redis, [weir, weir]): shared by the tests that leave both alive."""
    folder = tmp_path_factory.mktemp("faults")
    redis = Redis(folder, "--appendonly", "yes", "--enable-debug-command", "local")
    weirs = [replica(upstream, folder / name, redis) for name in ("one", "two")]
    yield redis, weirs
    for weir in weirs:
        weir.stop()
    redis.stop()


def test_no_fault_at_all(world, judge):
    """The judge is content with a quiet world, where most are hits and all come from either replica."""
    _, weirs = world
    judge.recovers(weirs)
    assert judge.hit_rate(weirs) > 0.8


def test_the_server_restarts_with_its_data(world, judge):
    redis, weirs = world
    with Traffic(judge, weirs) as traffic:
        traffic.more()
        redis.kill()
        traffic.more()
        redis.start()
        traffic.more()
    judge.recovers(weirs)


def test_the_server_is_emptied_and_a_replica_sleeps_through_it(world, judge):
    """The one that is awake hears of it; the other slept through changes whose record is gone when it wakes: it must notice."""
    redis, weirs = world
    judge.recovers(weirs)
    weirs[1].child.send_signal(signal.SIGSTOP)
    try:
        with Traffic(judge, weirs[:1]) as traffic:
            judge.forget()
            redis.cli("FLUSHALL")
            judge.forgotten()
            traffic.more()
            wait_until(lambda: time.monotonic() > judge.since, 15, "the end of what memory may serve")
            traffic.more()
        for log in logs(redis):
            redis.cli("XTRIM", log, "MAXLEN", 0)
    finally:
        weirs[1].child.send_signal(signal.SIGCONT)
    judge.recovers(weirs)


def test_a_replica_sleeps_over_the_end_of_answers(world, judge):
    _, weirs = world
    questions = [f"sleep {i} {time.monotonic_ns()}" for i in range(QUESTIONS)]
    for question in questions:
        judge.ask(weirs[1], "a", question, model="brief")
    weirs[1].child.send_signal(signal.SIGSTOP)
    time.sleep(TTL_S["brief"])
    weirs[1].child.send_signal(signal.SIGCONT)
    assert {judge.ask(weirs[1], "a", question, model="brief") for question in questions} == {"miss"}
    judge.recovers(weirs)


@pytest.mark.parametrize("command", ["CLIENT PAUSE {} ALL", "DEBUG SLEEP {}"])
def test_a_slow_server_slows_nobody(world, judge, command):
    """While it stands still, question after question is answered: nobody waits for it to go on. A machine that does not get to ask
    three of them meanwhile is given more time."""
    redis, weirs = world
    judge.recovers(weirs)
    for stall_s in (3, 12, 48):
        said, answered = [], 0
        words = command.format(stall_s * 1000 if "PAUSE" in command else stall_s).split()
        stall = threading.Thread(target=lambda: said.extend((redis.cli(*words), redis.cli("PING"))))
        stall.start()
        while stall.is_alive():
            judge.ask(random.choice(weirs), "a", f"new {time.monotonic()}")
            answered += 1
        assert said == ["OK", "PONG"]
        if answered > 2:  # the first may have come before it, the last after it
            break
    assert answered > 2
    judge.recovers(weirs)


@pytest.mark.parametrize("how", ["volatile-lfu", "noeviction"])
def test_the_server_is_full(world, judge, how):
    """There is no room for all: answers are given up or not kept, and those that are asked for often come to be hits again."""
    redis, weirs = world
    used = int(next(line for line in redis.cli("INFO", "memory").split("\n") if line.startswith("used_memory:")).split(":")[1])
    redis.cli("CONFIG", "SET", "maxmemory-policy", how)
    redis.cli("CONFIG", "SET", "maxmemory", used + 50_000)
    try:
        with Traffic(judge, weirs) as traffic:
            for i in range(250):
                judge.ask(weirs[i % 2], "a", f"filler {i}")
            traffic.more()
        assert not judge.wrong, judge.wrong
        evicted = int(next(line for line in redis.cli("INFO", "stats").split("\n") if line.startswith("evicted_keys:")).split(":")[1])
        assert how == "noeviction" or evicted > 0
    finally:
        redis.cli("CONFIG", "SET", "maxmemory", 0)
    judge.recovers(weirs)


def test_two_writers_of_one_key(world, judge):
    """Both replicas are asked the same new question at once; afterwards both give one and the same answer."""
    _, weirs = world
    for i in range(8):
        question, together = f"writers {i} {time.monotonic_ns()}", threading.Barrier(4)

        def one(weir, asked=question, barrier=together):
            barrier.wait(10 * slowness())
            judge.ask(weir, "a", asked)

        threads = [threading.Thread(target=one, args=(weirs[n % 2],)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        def answers(asked=question):
            body = {"model": "auto", "user": "a", "messages": [{"role": "user", "content": asked}]}
            replies = [http("POST", w.base + "/v1/chat/completions", body, {"Authorization": "Bearer " + KEYS["a"]}) for w in weirs]
            return all(head.get("x-weir-cache") == "hit" for _, head, _ in replies) and \
                len({json.loads(reply)["choices"][0]["message"]["content"] for _, _, reply in replies}) == 1

        wait_until(answers, 5, "one answer on both")
    assert not judge.wrong, judge.wrong


def test_torn_streams_are_never_kept(world, judge, upstream):
    """Cut by the upstream before the event that says how it ended: the next to ask gets a whole answer from the model."""
    _, weirs = world
    pieces = scripted.answer("torn", "by", "half")
    cuts = [scripted.stream(*pieces[:n], end=False, then=how) for n in range(1, 5) for how in ("close", "reset")]
    for i, cut in enumerate(cuts):
        question = f"torn {i} {time.monotonic_ns()}"
        upstream.play(cut)
        body = {"model": "auto", "user": "a", "messages": [{"role": "user", "content": question}], "stream": True}
        try:
            _, _, reply = http("POST", weirs[i % 2].base + "/v1/chat/completions", body, {"Authorization": "Bearer " + KEYS["a"]})
        except (OSError, ValueError):
            reply = b""
        except http_client.IncompleteRead:
            reply = b""
        assert b"[DONE]" not in reply
        for weir in weirs:
            assert judge.ask(weir, "a", question, stream=True) in ("miss", "hit", "coalesced"), judge.lost
    assert not judge.wrong, judge.wrong


@pytest.mark.skipif(not FAKETIME, reason="no libfaketime")
def test_clocks_that_are_off(upstream, judge, tmp_path):
    """One replica is half an hour behind, one half an hour ahead; Redis has the right time, and by it answers live and die."""
    linked = subprocess.run(["ldd", build_dir() / "gateway" / "weir"], capture_output=True, text=True, check=True).stdout
    if "libasan" in linked or "libtsan" in linked:
        pytest.skip("a sanitizer and libfaketime do not go together")
    redis, weirs = Redis(tmp_path), []
    try:
        for name, offset in (("behind", "-30m"), ("ahead", "+30m"), ("right", "+0")):
            env = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
            weirs.append(replica(upstream, tmp_path / name, redis, env))
        judge.recovers(weirs)
        asked = f"skew {time.monotonic_ns()}"
        for writer in weirs:
            judge.ask(writer, "a", asked + writer.base)
            for reader in weirs:
                wait_until(lambda r=reader, w=writer: judge.ask(r, "a", asked + w.base, **{"Cache-Control": "no-store"}) == "hit",
                           15, "the others' hit")
        end = time.monotonic() + 2 * TTL_S["brief"]  # beyond the life of what was stored at first
        while time.monotonic() < end:
            judge.ask(random.choice(weirs), "a", asked, model="brief")
        judge.recovers(weirs)
    finally:
        for weir in weirs:
            weir.stop()
        redis.stop()


@pytest.mark.parametrize("store", ["embedded", "redis"])
def test_replicas_are_killed(upstream, judge, tmp_path, store):
    """kill -9 under traffic, at any moment; the one that comes back serves what is right, and soon from its cache."""
    redis = Redis(tmp_path, "--appendonly", "yes", "--appendfsync", "no") if store == "redis" else None
    weirs = [replica(upstream, tmp_path / "one", redis)]
    if redis:
        weirs.append(replica(upstream, tmp_path / "two", redis))
    some = random.Random(5)
    try:
        with Traffic(judge, weirs) as traffic:
            for _ in range(3):
                traffic.more(20)
                time.sleep(0.05 * some.random())
                os.kill(weirs[0].child.pid, signal.SIGKILL)
                weirs[0].child.wait()
                weirs[0] = replica(upstream, tmp_path / "one", redis)
        judge.recovers(weirs)
    finally:
        for weir in weirs:
            weir.stop()
        if redis:
            redis.stop()
