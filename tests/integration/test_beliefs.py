"""/admin/beliefs and weir beliefs: what has been learnt, as the operator sees it."""

import datetime
import json
import re
import sqlite3

import weirproc

QUESTION = "hello"


def policy(url, folder, how):
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{folder}/state"}}
backends:
  up: {{dialect: openai, url: "{url}"}}
models:
  small: {{backend: up, price: {{input: 1, output: 1}}}}
  big: {{backend: up, price: {{input: 10, output: 10}}}}
routes:
  - {{name: main, match: {{model: auto}}, cascade: [small, big]{how}}}
"""


def ask(gateway):
    body = {"model": "auto", "messages": [{"role": "user", "content": QUESTION}]}
    status, headers, _ = weirproc.http("POST", gateway.base + "/v1/chat/completions", body)
    assert status == 200
    return headers["x-request-id"]


def learn(gateway, count, good=True):
    """Asks, says what became of each answer, and waits until that is believed."""
    for _ in range(count):
        assert weirproc.http("POST", gateway.base + "/v1/feedback", {"request_id": ask(gateway), "success": good})[0] == 200

    def learnt():
        answer = json.loads(weirproc.http("GET", gateway.admin + "/admin/beliefs")[2])
        # a bucket of time may end meanwhile, and its labels weigh a little less then
        return sum(m["labels"] for c in answer["contexts"] for m in c["models"]) > 0.95 * count and answer
    return gateway.until(learnt, "the outcomes to be believed", timeout_s=60)


def test_what_was_learnt_is_shown(start, upstream, weir, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, ", objective: {floor: 0.6, failure_price: 0.001}, explore: {share: 0, cold_start: 0}"))
    answer = learn(gateway, 12)
    assert answer["learning"] is True
    context = max(answer["contexts"], key=lambda c: c["requests"])
    assert context["route"] == "main" and context["class"] == "chat" and context["requests"] > 11
    price = context["price"]
    assert price["failure_price_nanousd"] == 1_000_000 and price["floor"] == 0.6
    assert abs(price["success_nanousd"] - price["failure_price_nanousd"] - price["ratio_nanousd"] - price["floor_adds_nanousd"]) <= 2
    assert abs(sum(m["propensity"] for m in context["models"]) - 1) < 1e-4
    small = next(m for m in context["models"] if m["model"] == "small")
    assert 0 <= small["success_low"] <= small["success"] <= small["success_high"] <= 1
    told = weir("beliefs", "--url", gateway.admin)
    assert told.returncode == 0 and "main" in told.stdout and "small" in told.stdout and "failure price $0.001000" in told.stdout
    assert json.loads(weir("beliefs", "--url", gateway.admin, "--json").stdout)["contexts"]


def believed(gateway):
    """The only context of a gateway that nobody has asked anything."""
    def built():
        contexts = gateway.get("/admin/beliefs")["contexts"]
        return len(contexts) == 1 and contexts[0]
    return gateway.until(built, "the first beliefs")


def test_a_price_says_what_doubt_adds(start, upstream, weir, tmp_path):
    """Of models that nobody has tried more is wanted than the floor; a share of the requests goes as if all were as expected."""
    how = ", objective: {floor: %s, failure_price: 0.001}, explore: {share: 0, cold_start: 0}"
    low, high, none = (start(policy(upstream.url, tmp_path / name, how % floor), folder=tmp_path / name)
                       for name, floor in (("low", 0.3), ("high", 0.999), ("none", "none")))
    context = believed(low)
    price = context["price"]
    careless = price["failure_price_nanousd"] + price["ratio_nanousd"]
    assert price["floor_reachable"] is True and 0.05 < price["success_error"] < 0.5
    assert abs(price["without_doubt_nanousd"] - careless) <= 2, "the cheap model is expected to keep that floor"
    assert price["floor_adds_nanousd"] > careless and price["success_nanousd"] > 2 * price["without_doubt_nanousd"]
    assert 0 < price["without_doubt_share"] < 1
    told = weir("beliefs", "--url", low.admin).stdout
    assert f"expected: {100 * context['expected_success']:.1f} +- {100 * price['success_error']:.1f} % successes at ${context['expected_cost_nanousd'] / 1e9:.6f}" in told
    assert (f"{100 * price['without_doubt_share']:.0f} % of the requests are decided as if nothing were in doubt: "
            f"${price['without_doubt_nanousd'] / 1e9:.6f}\n") in told
    careful, bold = context["way"], context["way_without_doubt"]
    assert [s["model"] for s in careful] == [s["model"] for s in bold] == ["small", "big"]
    assert 0 < careful[1]["asked"] < 1 - price["without_doubt_share"] and bold[1]["asked"] == 0 and bold[0]["enough"] < careful[0]["enough"]
    first = {m["model"]: m["propensity"] for m in context["models"]}
    assert first == {s["model"]: s["first"] for s in careful} and first["small"] >= price["without_doubt_share"] - 1e-4
    told = weir("explain", low.policy_file, "--model", "auto", "--url", low.admin, QUESTION).stdout
    assert f"  {100 * price['without_doubt_share']:.0f} % of these as if nothing were in doubt: small\n" in told

    for gateway, floor, reachable in ((high, 0.999, False), (none, None, True)):  # nothing to be gained, nothing to be kept
        context = believed(gateway)
        price = context["price"]
        assert "way_without_doubt" not in context
        assert price["floor"] == floor and price["floor_reachable"] is reachable and 0.05 < price["success_error"] < 0.5
        assert price["without_doubt_nanousd"] == price["success_nanousd"] and price["without_doubt_share"] == 0
        told = weir("beliefs", "--url", gateway.admin).stdout
        assert "in doubt" not in told and f" +- {100 * price['success_error']:.1f} % successes" in told
        assert ("out of reach" in told) == (not reachable) and ("for the floor" in told) == (floor is not None)


def names(value):
    """Of all members at any depth, but for features of scorers."""
    if isinstance(value, list):
        return set().union(*map(names, value))
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(names(member) for name, member in value.items() if name != "coefficients"))


def test_every_field_is_on_the_page(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, ", objective: {floor: 0.6}"))
    learn(gateway, 3)
    told = names(gateway.get("/admin/beliefs"))
    page = (weirproc.ROOT / "gateway" / "ADMIN_BELIEFS.md").read_text()
    assert {"without_doubt_share", "propensity", "questions"} < told
    assert not {name for name in told if f"`{name}`" not in page}


def test_a_change_is_shown_with_its_time(start, upstream, weir, tmp_path):
    """A model that succeeded in the morning and failed from four hours ago on, by the counters of its store."""
    text = policy(upstream.url, tmp_path, ", objective: {failure_price: 0.001}, explore: {share: 0, cold_start: 0}")
    gateway = start(text)
    learn(gateway, 2)
    gateway.stop()
    with sqlite3.connect(tmp_path / "state" / "learn.sqlite") as store:
        context, arm, last, field = store.execute("SELECT context, arm, start_us, field FROM counts WHERE kind = 1 AND field LIKE 'good.explicit%'").fetchone()
        for hours, name, labels in ((9, field, 80), (4, field.replace("good", "bad"), 40)):
            store.execute("INSERT INTO counts VALUES (?, ?, 1, ?, ?, ?)", (context, arm, last - hours * 3600 * 10**6, name, 1000 * labels))
    store.close()
    model = arm.partition("/")[0]  # whichever was drawn
    gateway = start(text)

    def changed():
        answer = json.loads(weirproc.http("GET", gateway.admin + "/admin/beliefs")[2])
        models = {m["model"]: m for c in answer["contexts"] if c["class"] == "chat" for m in c["models"]}
        return "changed_at" in models.get(model, {}) and models
    models = gateway.until(changed, "the store's counters to be believed", timeout_s=60)
    since = datetime.datetime.fromisoformat(models[model]["changed_at"])
    assert since == datetime.datetime.fromtimestamp(last / 10**6 - 4 * 3600, datetime.timezone.utc)
    assert models[model]["shift"] < -1 and [m for m in models if "changed_at" in models[m]] == [model]
    assert re.search(rf"is not what it was since {re.escape(models[model]['changed_at'])}; -\d", weir("beliefs", "--url", gateway.admin).stdout)


def test_nothing_to_show_and_nobody_there(start, upstream, weir, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, ""))
    ask(gateway)
    told = weir("beliefs", "--url", gateway.admin)
    assert told.returncode == 0 and ("No route learns" in told.stdout or "Nothing has been asked" in told.stdout)
    gone = weir("beliefs", "--url", "http://127.0.0.1:9")
    assert gone.returncode == 5 and "weir beliefs: http://127.0.0.1:9:" in gone.stderr


def test_explain_tells_the_way_by_present_beliefs(start, upstream, weir, tmp_path):
    text = policy(upstream.url, tmp_path, ", objective: {failure_price: 0.00005}, explore: {share: 0, cold_start: 0}")
    gateway = start(text)
    explain = ["explain", gateway.policy_file, "--model", "auto", "--url", gateway.admin, QUESTION]
    told = weir(*explain)
    assert told.returncode == 0, told.stderr
    assert "of which class 'chat' has no counts of its own yet (0 requests, 0 labels):" in told.stdout
    assert "nobody has said yet what became of an answer" in told.stdout and "one model is best" not in told.stdout

    learn(gateway, 40)
    told = weir(*explain)
    assert re.search(r"^believed on 2\S+Z of route 'main', class 'chat' \((40|39|38) requests, (40|39|38) labels\):$", told.stdout, re.MULTILINE)
    assert "one model is best: small; a cascade gains nothing on it" in told.stdout and "nobody has said" not in told.stdout
    assert "one model is best: small" in weir("beliefs", "--url", gateway.admin).stdout
    answer = json.loads(weir(*explain, "--json").stdout)
    context = answer["beliefs"]["context"]
    assert answer["beliefs"]["version"] > 0 and answer["beliefs"]["why"] is None and context["one_model_is_best"] == "small"
    way = context["way"]
    assert [s["model"] for s in way] == ["small", "big"] and way[0]["asked"] == 1 and way[1]["asked"] < 0.1
    assert abs(sum(s["first"] for s in way) - 1) < 1e-4 and way[0]["first"] > 0.9
    assert {s["model"]: s["first"] for s in way} == {m["model"]: m["propensity"] for m in context["models"]}
    line = next(x for x in told.stdout.splitlines() if x.strip().startswith("small ") and "first" in x)
    assert "asked 100.0 %" in line and "successes [" in line and "; enough from a chance of " in line


def test_explain_reads_what_was_learnt_beside_a_weir_and_after_it(start, upstream, weir, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, ", objective: {failure_price: 0.00005}, explore: {share: 0, cold_start: 0}"))
    learn(gateway, 12)
    offline = ["explain", gateway.policy_file, "--model", "auto"]

    def beliefs(*argv):
        told = weir(*offline, "--json", *argv, QUESTION)
        assert told.returncode == 0, told.stderr
        return json.loads(told.stdout)["beliefs"]["context"]
    online, beside = beliefs("--url", gateway.admin), beliefs()
    gateway.stop()
    after = beliefs()
    for read in (beside, after):
        assert read["class"] == "chat" and [s["model"] for s in read["way"]] == [s["model"] for s in online["way"]]
        for a, b in zip(online["models"], read["models"]):
            assert abs(a["labels"] - b["labels"]) < 0.05 * 12 and abs(a["success"] - b["success"]) < 0.05
    assert re.search(r"^believed on 2\S+Z of route 'main', class 'chat' \(1[12] requests, 1[12] labels\):$",
                     weir(*offline, QUESTION).stdout, re.MULTILINE)
    # the same counts under another policy's prices
    dear = tmp_path / "dear.yaml"
    dear.write_text(gateway.policy_file.read_text().replace("0.00005", "0.5"))
    assert "a failure costs $0.5" in weir("explain", dear, "--model", "auto", QUESTION).stdout

    file = tmp_path / "state" / "learn.sqlite"
    for tail in ("-wal", "-shm"):
        file.with_name(file.name + tail).unlink(missing_ok=True)
    file.write_bytes(b"this is no database, " * 100)
    told = weir(*offline, QUESTION)
    assert told.returncode == 0 and f"what has been learnt cannot be read: {file}:" in told.stdout
    file.unlink()
    told = weir(*offline, QUESTION)
    assert told.returncode == 0 and f"nothing has been learnt here yet (there is no {file})" in told.stdout
    assert not file.exists(), "explaining writes nothing"
    assert json.loads(weir(*offline, "--json", QUESTION).stdout)["beliefs"] == \
        {"version": None, "context": None, "why": f"nothing has been learnt here yet (there is no {file}): models are asked as guesses by prices say"}
    shared = tmp_path / "shared.yaml"
    shared.write_text(gateway.policy_file.read_text() + 'cache: {store: redis, redis: {url: "redis://127.0.0.1:9"}}\n')
    assert "lies in the policy's Redis: ask a running weir with --url" in weir("explain", shared, "--model", "auto", QUESTION).stdout


def test_explain_says_where_there_are_none(start, upstream, weir, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, ", accept: 0.7"))
    ladder = weir("explain", gateway.policy_file, "--model", "auto", "--url", gateway.admin, "hello")
    assert ladder.returncode == 0 and "route 'main' has no objective: its models are asked in the written order" in ladder.stdout
    other = tmp_path / "other.yaml"
    other.write_text(policy(upstream.url, tmp_path, ", objective: {failure_price: 0.001}").replace("name: main", "name: new"))
    unknown = weir("explain", other, "--model", "auto", "--url", gateway.admin, "hello")
    assert unknown.returncode == 0 and "there are no beliefs of route 'new' yet" in unknown.stdout
    assert json.loads(weir("explain", other, "--model", "auto", "--url", gateway.admin, "--json", "hello").stdout)["beliefs"]["context"] is None
    gone = weir("explain", other, "--model", "auto", "--url", "http://127.0.0.1:9", "hello")
    assert gone.returncode == 5 and "weir explain: http://127.0.0.1:9:" in gone.stderr
    lost = weir("explain", other, "--model", "auto", "--url", gateway.base, "hello")
    assert lost.returncode != 0 and "weir explain: " in lost.stderr
