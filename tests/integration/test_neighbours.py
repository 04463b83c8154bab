"""Outcomes of similar questions move an objective's choice: here no head knows anything, and one family of prompts fails on the small model."""

import hashlib
import json
import shutil
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from scripted import Upstream, whole

import weirproc

FORMS = {"easy": ["what is the capital of {}", "which river flows through {}", "how many people live in {}", "is {} a large city"],
         "hard": ["prove a theorem on {} modules over rings", "derive the spectrum of the {} operator", "show that every {} manifold is compact",
                  "integrate the {} differential form"]}
KEYS = {"small": "sk-small-0123456789", "big": "sk-big-0123456789", "any": "sk-any-0123456789"}  # of tenants; two stay with one model
NAMES = "oslo paris rome lima cairo delhi quito seoul tunis vienna dublin lisbon prague athens bergen malta".split()
RING = [(kind, form.format(name)) for name in NAMES for i in range(4) for kind in ("easy", "hard") for form in [FORMS[kind][i]]]
EASY = [(kind, text) for kind, text in RING if kind == "easy"]
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


class Model(Upstream):
    def reset(self):
        super().reset()
        self.script = self

    def __bool__(self):
        return True

    def pop(self, _):
        return lambda exchange: whole({
            "id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "an answer"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}})(exchange)


@pytest.fixture
def redis(tmp_path):
    server = weirproc.Redis(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def upstream():
    model = Model()
    yield model
    model.close()


def policy(url, folder, learn="{}", cache=""):
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{folder}/state"}}
{cache}
backends:
  up: {{dialect: openai, url: "{url}"}}
models:
  cheap: {{backend: up, price: {{input: 1, output: 1}}}}
  dear: {{backend: up, price: {{input: 40, output: 40}}}}
routes:
  - name: main
    match: {{model: auto}}
    cascade: [cheap, dear]
    objective: {{failure_price: 0.001}}
    learn: {learn}
    explore:
      share: 0.01
      cold_start: 0
      step_share: 0
      pins: [{{model: cheap, tenant: small}}, {{model: dear, tenant: big}}]
tenants:
{"".join(f'  {name}: {{keys: [{{sha256: "{hashlib.sha256(key.encode()).hexdigest()}"}}], admin: true}}' + chr(10) for name, key in KEYS.items())}"""


def ask(weir, text, key=KEYS["any"]):
    status, head, data = weirproc.http("POST", weir.base + "/v1/chat/completions",
                                       {"model": "auto", "messages": [{"role": "user", "content": text}]},
                                       {"Authorization": "Bearer " + key})
    assert status == 200, data
    return head


def say(weir, request_id, good, tenant):
    def taken():
        """A Redis that is slow may not have the request yet."""
        return weirproc.http("POST", weir.base + "/v1/feedback", {"request_id": request_id, "success": good},
                             {"Authorization": "Bearer " + KEYS[tenant]})[0] == 200
    weirproc.wait_until(taken, 20, f"{request_id} to be known")


def tell(weir, tenant, questions, good):
    """Each question goes to the tenant's model, and good(kind) is said of the answer. Returns the requests."""
    def one(question):
        kind, text = question
        head = ask(weir, text, KEYS[tenant])
        assert head["x-weir-model"] == ("cheap" if tenant == "small" else "dear")
        say(weir, head["x-request-id"], good(kind), tenant)
        return head["x-request-id"]
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(one, questions))


def await_beliefs(weir):
    weirproc.wait_until(lambda: "contexts" in beliefs(weir), 60, "the first beliefs")


def teach(weir):
    """Each question goes to both models; the cheap one fails on the hard ones. Returns the cheap one's requests."""
    await_beliefs(weir)
    tell(weir, "big", RING[:40], lambda kind: True)
    return tell(weir, "small", RING, lambda kind: kind == "easy")


def beliefs(weir):
    status, _, data = weirproc.http("GET", weir.admin + "/admin/beliefs", headers={"Authorization": "Bearer " + KEYS["any"]})
    assert status == 200, data
    return json.loads(data)


def neighbours(weir):
    return next((c["neighbours"] for c in beliefs(weir)["contexts"] if "neighbours" in c), None)


def await_neighbours(weir, questions, trust=1):
    """Of a look at all of them that also had the beliefs to judge them by: those may come after the questions."""
    def there():
        n = neighbours(weir)
        return n and n["questions"] == questions and n["trust"] == trust
    weirproc.wait_until(there, 90, f"{questions} labelled questions to be neighbours, trusted by {trust}")


def first_choice(weir, text):
    """Candidates by their names, as the ledger has them."""
    request_id = ask(weir, text)["x-request-id"]

    def row():
        with sqlite3.connect(f"file:{weir.state_dir}/ledger.sqlite?mode=ro", uri=True, timeout=5) as db:
            return db.execute("SELECT d.candidates FROM decisions d JOIN requests r ON r.id = d.request WHERE r.request_id = ? AND step = 1",
                              (request_id,)).fetchone()
    return request_id, {c["model"]: c for c in json.loads(weirproc.wait_until(row, 60, "the decision")[0])}


def goes_apart(weir):
    """The hard family begins with the dear model, the easy one with the cheap one. Returns a hard request's id."""
    _, easy = first_choice(weir, FORMS["easy"][0].format("riga"))
    request_id, hard = first_choice(weir, FORMS["hard"][0].format("riga"))
    assert easy["cheap"]["neighbours"] > 0.3 and hard["cheap"]["neighbours"] < -0.3, (easy, hard)
    assert easy["cheap"]["index_nanousd"] > easy["dear"]["index_nanousd"], "the first choice, but for what is drawn"
    assert hard["dear"]["index_nanousd"] > hard["cheap"]["index_nanousd"]
    return request_id


def test_a_family_goes_to_the_model_that_can(start, upstream, weir, tmp_path):
    text = policy(upstream.url, tmp_path)
    gateway = start(text)
    assert "neighbours" not in first_choice(gateway, FORMS["hard"][0].format("riga"))[1]["cheap"]
    ids = teach(gateway)
    await_neighbours(gateway, len(RING) + 40)
    told = weir("why", goes_apart(gateway), "--ledger", gateway.state_dir / "ledger.sqlite")
    assert told.returncode == 0 and "what came of similar questions" in told.stdout, told.stdout + told.stderr
    told = weir("beliefs", "--url", gateway.admin, env={"WEIR_API_KEY": KEYS["any"]})
    assert f"neighbours: {len(RING) + 40} questions with outcomes; trusted by 100 %" in told.stdout

    gateway.stop()
    gateway = start(text)  # what was remembered is there again
    await_neighbours(gateway, len(RING) + 40)
    goes_apart(gateway)
    for one in ids:  # and what is taken back is no more
        say(gateway, one, None, "small")
    await_neighbours(gateway, 40, trust=0)
    assert "neighbours" not in first_choice(gateway, FORMS["hard"][0].format("riga"))[1]["cheap"]


def test_nothing_is_kept_where_they_are_off(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, "{neighbours: off}"))
    teach(gateway)

    def remembered():
        with sqlite3.connect(f"file:{gateway.state_dir}/learn.sqlite?mode=ro", uri=True, timeout=5) as db:
            return db.execute("SELECT text FROM memories").fetchall()
    lines = weirproc.wait_until(lambda: len(r := remembered()) == len(RING) + 40 and r, 60, "all to be remembered")
    assert all(line.startswith("2 ") for (line,) in lines) and neighbours(gateway) is None


@pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server")
def test_another_replica_sees_them(redis, start, upstream, tmp_path):  # the Redis ends last
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    cache = f'cache: {{store: redis, redis: {{url: "unix:{redis.socket}"}}}}'
    one, two = (start(policy(upstream.url, folder, cache=cache), folder=folder) for folder in folders)
    ids = teach(one)
    await_neighbours(two, len(RING) + 40)
    goes_apart(two)
    say(one, ids[-1], None, "small")  # the last word of all
    await_neighbours(two, len(RING) + 39)


@pytest.fixture
def faketime():
    """The environment in which the wall clock is libfaketime's; that of timers is not."""
    linked = subprocess.run(["ldd", weirproc.build_dir() / "gateway" / "weir"], capture_output=True, text=True, check=True).stdout
    if not FAKETIME or "libasan" in linked or "libtsan" in linked:
        pytest.skip("no libfaketime, or a sanitizer: the two do not go together")
    return {"LD_PRELOAD": str(FAKETIME), "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}


def test_what_a_model_did_before_it_changed_is_forgotten(start, upstream, tmp_path, faketime):
    """The cheap model was right on the whole family and is so no more. That the dear one fails on the other keeps neighbours trusted."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    gateway = start(policy(upstream.url, tmp_path), {**faketime, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"})
    await_beliefs(gateway)
    tell(gateway, "big", RING, lambda kind: kind == "easy")
    tell(gateway, "small", EASY, lambda kind: True)
    await_neighbours(gateway, len(RING) + len(EASY))

    (tmp_path / "next").write_text("+10m")  # whole or not at all
    (tmp_path / "next").rename(clock)
    tell(gateway, "small", EASY[:24], lambda kind: False)

    def changed():
        models = [m for c in beliefs(gateway)["contexts"] for m in c["models"]]
        return {m["model"] for m in models if "changed_at" in m} == {"cheap"}
    weirproc.wait_until(changed, 30, "the change to be known")

    def forgotten():
        """Expected is little of it now, so that answers from before would say: these are easy questions."""
        _, now = first_choice(gateway, FORMS["easy"][0].format("riga"))
        return now["dear"]["neighbours"] > 0.3 and now["cheap"]["neighbours"] <= 0
    weirproc.wait_until(forgotten, 20, "the cheap model not to be lifted by what it did before")
    assert neighbours(gateway) == {"questions": len(RING) + 24, "trust": 1}


def test_they_follow_when_the_wall_clock_runs_fast(start, upstream, tmp_path, faketime):
    """Long runs are made short so. How long they rest hangs on the CPU time that they took, which libfaketime makes run fast, too."""
    gateway = start(policy(upstream.url, tmp_path), {**faketime, "FAKETIME": "+0 x2000"})
    ids = teach(gateway)
    until = time.monotonic() + 50 * weirproc.slowness()  # of rests of a minute there is no room for five
    for i, one in enumerate(ids[:5]):
        say(gateway, one, None, "small")
        await_neighbours(gateway, len(RING) + 40 - i - 1)
    assert time.monotonic() < until
