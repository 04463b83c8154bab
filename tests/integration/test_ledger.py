"""What the ledger says of conversations, and what a restart finds in it: the sums that tenants' budgets are held to."""

import json
import resource
import sqlite3

import pytest
from conftest import Gateway, policy
from scripted import whole

import weirproc


REPLY = {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
         "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
         "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}


@pytest.fixture
def gateway(start, upstream, tmp_path):
    upstream.script += 8 * [whole(REPLY)]
    return start(policy(upstream.url, tmp_path))


def rows(folder, sql, *args):
    db = sqlite3.connect(f"file:{folder}/state/ledger.sqlite?mode=ro", uri=True, timeout=10)
    try:
        return db.execute(sql, args).fetchall()
    finally:
        db.close()


def booked(gateway, folder, n):
    gateway.until(lambda: rows(folder, "SELECT count(*) FROM requests") == [(n,)], f"{n} rows")


def ask(gateway, *texts, path="/v1/chat/completions", **more):
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    status, _, body = weirproc.http("POST", gateway.base + path, {"model": "auto", "messages": turns, **more})
    assert status == 200, body


def test_a_damaged_ledger_is_called_so(upstream, tmp_path):
    """Requests are answered on; what they cost waits, and the log says why."""
    gateway = Gateway(tmp_path, policy(upstream.url, tmp_path))
    try:
        upstream.script += 2 * [whole(REPLY)]
        ask(gateway, "before")
        booked(gateway, tmp_path, 1)
        gateway.stop()
        page, = rows(tmp_path, "PRAGMA page_size")[0]
        roots = [root for root, in rows(tmp_path, "SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'requests' AND rootpage > 0")]
        with open(tmp_path / "state" / "ledger.sqlite", "r+b") as file:
            for root in roots:
                file.seek((root - 1) * page)
                file.write(b"\xff" * page)
        gateway = Gateway(tmp_path, policy(upstream.url, tmp_path))
        ask(gateway, "after")
        gateway.until(lambda: "cannot write" in gateway.tail(), "the ledger's complaint")
        complaint, = (line for line in gateway.tail().splitlines() if "cannot write" in line)
        assert "malformed" in complaint and "at=ledger" in complaint, complaint
        assert gateway.metric("weir_ledger_errors_total") >= 1 and gateway.get("/readyz")["ledger"]["queued"] >= 1
    finally:
        gateway.kill()


def test_a_limit_of_the_files_size_is_a_failed_write(gateway, tmp_path):
    """Not the end of the process: requests are answered, and booked once there is room again."""
    ask(gateway, "before")
    booked(gateway, tmp_path, 1)
    before = resource.prlimit(gateway.child.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway.child.pid, resource.RLIMIT_FSIZE, (gateway.log.stat().st_size + 2000, before[1]))
    ask(gateway, "full")
    gateway.until(lambda: gateway.metric("weir_ledger_errors_total") >= 1, "a write to fail")
    ask(gateway, "still full")
    assert gateway.get("/readyz")["ledger"]["queued"] >= 1
    resource.prlimit(gateway.child.pid, resource.RLIMIT_FSIZE, before)
    booked(gateway, tmp_path, 3)


def test_turns_of_a_conversation_have_one_key(gateway, tmp_path):
    ask(gateway, "What is a weir?")
    ask(gateway, "What is a weir?", "A dam.", "How high?")
    ask(gateway, "What is a lock?")
    ask(gateway, "What is a weir?", path="/v1/messages", max_tokens=10, system="Be brief.")
    ask(gateway, "What is a weir?", "A dam.", "How high?", path="/v1/messages", max_tokens=10, system="Be brief.")
    ask(gateway, "What is a weir?", path="/v1/messages", max_tokens=10, system="Be long.")
    booked(gateway, tmp_path, 6)
    keys = [key for key, in rows(tmp_path, "SELECT conversation FROM requests ORDER BY id")]
    assert all(isinstance(key, int) and key for key in keys)
    assert keys[0] == keys[1] and keys[3] == keys[4] and len(set(keys)) == 4
    dump = b"".join(p.read_bytes() for p in (tmp_path / "state").glob("ledger.sqlite*"))
    assert b"weir?" not in dump, "no text"


def test_sums_are_those_of_the_rows(gateway, tmp_path):
    for i in range(5):
        ask(gateway, f"question {i}")
    booked(gateway, tmp_path, 5)
    assert rows(tmp_path, "SELECT sum(cost_nanousd), count(DISTINCT day) <= 2 FROM spend") == [(5 * (10 * 1000 + 5 * 4000), 1)]


# ---- tenants' budgets ----

ACME, OTHER = "sk-acme-0123456789", "sk-other-0123456789"
QUESTION = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def budgeted(start, small, big, tmp_path, one_day):
    """budgeted("{max_usd_per_day: 1}") -> a gateway with that budget for acme. A request costs 0.00003 at small, 0.0003 at big."""
    for server in (small, big):
        server.script += 20 * [whole(REPLY)]

    def make(budget):
        return start(f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{tmp_path}/state", drain: 2s}}
backends:
  s: {{dialect: openai, url: "{small.url}"}}
  b: {{dialect: openai, url: "{big.url}"}}
models:
  small: {{backend: s, price: {{input: 1, output: 4}}}}
  big: {{backend: b, price: {{input: 10, output: 40}}}}
tenants:
  acme: {{keys: [{{env: ACME_KEY}}], budget: {budget}}}
  other: {{keys: [{{env: OTHER_KEY}}], admin: true}}
routes:
  - {{name: r, match: {{model: auto}}, cascade: [big], fallback: [small]}}
""", env={"ACME_KEY": ACME, "OTHER_KEY": OTHER})
    return make


def post(gateway, key=ACME, path="/v1/chat/completions", **more):
    return weirproc.http("POST", gateway.base + path, {**QUESTION, **more}, {"Authorization": f"Bearer {key}"})


def metric(gateway, name):
    _, _, page = gateway.request("GET", "/metrics", key=OTHER)
    return [float(line.rpartition(" ")[2]) for line in page.decode().splitlines() if line.startswith(name + " ")]


def test_a_spent_budget_refuses_also_after_a_restart(budgeted, tmp_path):
    gateway = budgeted("{max_usd_per_month: 0.0005}")
    for _ in range(2):
        status, _, _ = post(gateway)
        assert status == 200
    booked(gateway, tmp_path, 2)
    for restarted in (False, True):
        if restarted:
            gateway = budgeted("{max_usd_per_month: 0.0005}")
        status, head, body = post(gateway)
        error = json.loads(body)["error"]
        assert (status, error["code"], error["type"]) == (429, "insufficient_quota", "insufficient_quota")
        assert "$0.0005 a month" in error["message"] and head["x-should-retry"] == "false"
        assert 0 < int(head["Retry-After"]) <= 31 * 86400
        status, _, body = post(gateway, path="/v1/messages", max_tokens=5)
        assert status == 429 and json.loads(body)["error"]["type"] == "rate_limit_error"
        assert post(gateway, key=OTHER)[0] == 200
        assert metric(gateway, 'weir_tenant_spent_usd{tenant="acme",period="month"}') == [0.0006]
        assert metric(gateway, 'weir_tenant_budget_usd{tenant="acme",period="month"}') == [0.0005]
        assert metric(gateway, 'weir_tenant_limited_total{tenant="acme",action="refused"}') == [2]
        gateway.stop()
    assert rows(tmp_path, """SELECT outcome, status, count(*), sum(cost_nanousd), sum(attempts) FROM requests WHERE tenant = 'acme'
        GROUP BY 1, 2 ORDER BY 1""") == [("ok", 200, 2, 600_000, 2), ("tenant_budget", 429, 4, 0, 0)]


def test_a_spent_budget_leaves_the_cheapest_model(budgeted, weir, tmp_path):
    gateway = budgeted("{max_usd_per_month: 0.0003, at_limit: cheapest}")
    models = [post(gateway)[1]["x-weir-model"] for _ in range(3)]
    assert models == ["big", "small", "small"]
    assert post(gateway, key=OTHER)[1]["x-weir-model"] == "big"
    assert metric(gateway, 'weir_tenant_limited_total{tenant="acme",action="cheapest"}') == [2]
    looked = weir("top", "--json", "--url", gateway.admin, env={"WEIR_API_KEY": OTHER})
    assert json.loads(looked.stdout)["budgets"] == [{"tenant": "acme", "period": "month", "budget_usd": 0.0003, "spent_usd": 0.00036}]
    assert "AT ITS LIMIT" in weir("top", "--once", "--url", gateway.admin, env={"WEIR_API_KEY": OTHER}).stdout
    told = weir("explain", gateway.policy_file, "--model", "auto", "--tenant", "acme", "hello", env={"ACME_KEY": ACME, "OTHER_KEY": OTHER})
    assert "budget of tenant 'acme': $0.0003 a month (UTC); once that is spent only the cheapest" in told.stdout


def test_a_reload_changes_the_budget_and_keeps_what_was_spent(budgeted, tmp_path, weir):
    gateway = budgeted("{max_usd_per_month: 0.0003}")
    assert [post(gateway)[0] for _ in range(2)] == [200, 429]
    text = gateway.policy_file.read_text()
    more = text.replace("max_usd_per_month: 0.0003", "max_usd_per_month: 0.0006, max_usd_per_day: 0.0006")
    assert gateway.put(more, key=OTHER)[0] == 200
    gateway.until(lambda: post(gateway)[0] == 200, "the new budget")
    assert post(gateway)[0] == 429
    (tmp_path / "old.yaml").write_text(text)
    (tmp_path / "new.yaml").write_text(more)
    told = weir("diff", tmp_path / "old.yaml", tmp_path / "new.yaml").stdout
    assert "budget.max_usd_per_day" in told and "0.0006" in told and "budget.max_usd_per_month" in told
