"""Outcomes of similar questions move an objective's choice: here no head knows anything, and one family of prompts fails on the small model."""

import hashlib
import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from scripted import Upstream, whole

import weirproc

FORMS = {"easy": ["what is the capital of {}", "which river flows through {}", "how many people live in {}", "is {} a large city"],
         "hard": ["prove a theorem on {} modules over rings", "derive the spectrum of the {} operator", "show that every {} manifold is compact",
                  "integrate the {} differential form"]}
KEYS = {"small": "sk-small-0123456789", "big": "sk-big-0123456789", "any": "sk-any-0123456789"}  # of tenants; two stay with one model
NAMES = "oslo paris rome lima cairo delhi quito seoul tunis vienna dublin lisbon prague athens bergen malta".split()
RING = [(kind, form.format(name)) for name in NAMES for i in range(4) for kind in ("easy", "hard") for form in [FORMS[kind][i]]]


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


def teach(weir):
    """Each question goes to both models; the cheap one fails on the hard ones. Returns the cheap one's requests."""
    def one(job):
        tenant, (kind, text) = job
        head = ask(weir, text, KEYS[tenant])
        assert head["x-weir-model"] == ("cheap" if tenant == "small" else "dear")
        say(weir, head["x-request-id"], tenant == "big" or kind == "easy", tenant)
        return head["x-request-id"]
    weirproc.wait_until(lambda: "contexts" in beliefs(weir), 60, "the first beliefs")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, [("big", q) for q in RING[:40]]))
        return list(pool.map(one, [("small", q) for q in RING]))


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
