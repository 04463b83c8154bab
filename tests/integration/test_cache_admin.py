"""What operators do with the cache of a running weir: over /admin/cache, and with `weir cache`. In both stores."""

import concurrent.futures
import gzip
import hashlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import time
import xml.dom.minidom

import pytest

from conftest import CLEAN_ENV, Gateway
from scripted import OK_REPLY, Upstream, whole
from weirproc import Redis, http as ask_http, slowness, wait_until

ROOT_KEY, USER_KEY = "sk-weir-admin-root", "sk-weir-admin-user"


def policy(url, folder, cache="{}"):
    def key(k):
        return hashlib.sha256(k.encode()).hexdigest()
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{folder}/state", drain: 10s}}
backends:
  up: {{dialect: openai, url: "{url}"}}
models:
  m: {{backend: up, price: {{input: 1.00, output: 4.00}}}}
  large: {{backend: up, price: {{input: 1.00, output: 4.00}}}}
cache: {cache}
tenants:
  root: {{keys: [{{sha256: "{key(ROOT_KEY)}"}}], admin: true}}
  user: {{keys: [{{sha256: "{key(USER_KEY)}"}}]}}
routes:
  - name: tagged
    match: {{model: large}}
    cascade: [large]
    cache: {{tags: [prices]}}
  - name: r
    match: {{model: m}}
    cascade: [m]
"""


class Admin:
    """One weir with a cache; questions to it, to its admin API, and by its command line."""

    def __init__(self, folder, program, cache="{}"):
        self.up = Upstream()
        self.gateway = Gateway(folder, policy(self.up.url, folder, cache))
        self.program, self.folder = program, folder

    def stop(self):
        self.gateway.stop()
        self.up.close()

    def chat(self, text, model="m", key=USER_KEY, said="fine"):
        """The answer's text and what x-weir-cache said."""
        self.up.play(whole({**OK_REPLY, "choices": [{**OK_REPLY["choices"][0], "message": {"role": "assistant", "content": said}}]}))
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        status, headers, data = ask_http("POST", self.gateway.base + "/v1/chat/completions", body,
                                         {"Authorization": f"Bearer {key}"})
        assert status == 200, data
        return json.loads(data)["choices"][0]["message"]["content"], headers["x-weir-cache"]

    def ask(self, method, path, body=None, key=ROOT_KEY, **headers):
        send = {"Content-Type": "application/json"} if body is not None else {}
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        return self.gateway.request(method, "/admin/cache" + path, data, key=key, **{**send, **headers})

    def good(self, method, path, body=None, **headers):
        status, _, data = self.ask(method, path, body, **headers)
        assert status == 200, (status, data)
        return data

    def bad(self, status, method, path, body=None, **headers):
        got, _, data = self.ask(method, path, body, **headers)
        assert got == status, (got, data)
        return data["error"]["message"]

    def pages(self, query=""):
        """Every entry, over all pages, once."""
        cursor, found = "0", {}
        while True:
            page = self.good("GET", f"/entries?cursor={cursor}&{query}")
            found.update({e["id"]: e for e in page["entries"]})
            cursor = page["cursor"]
            if cursor == "0":
                return list(found.values())

    def entry(self, text):
        # An answer goes out before it is stored.
        found = []
        wait_until(lambda: found.extend(e for e in self.pages() if e["text"] == text) or found, 5, f"{text!r} to be stored")
        return found[0]

    def cli(self, *argv, code=0, **more):
        argv = [argv[0], "--url", self.gateway.admin, *argv[1:]]
        done = subprocess.run([str(self.program), "cache", *argv], text=True, stdin=subprocess.DEVNULL, timeout=60 * slowness(),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env={**os.environ, **CLEAN_ENV, "WEIR_API_KEY": ROOT_KEY}, check=False, **more)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done


@pytest.fixture(scope="module")
def program():
    from weirproc import build_dir
    return (build_dir() / "gateway" / "weir").resolve()


@pytest.fixture(scope="module", params=["embedded", "redis"])
def admin(request, program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("admin")
    cache, redis = "{}", None
    if request.param == "redis":
        if not shutil.which("redis-server"):
            pytest.skip("no redis-server")
        redis = Redis(folder)
        cache = f'{{store: redis, redis: {{url: "unix:{redis.socket}", budget: 1s}}}}'
    it = Admin(folder, program, cache)
    if redis:
        it.gateway.until(lambda: it.good("GET", "")["store"]["up"], "Redis to be followed")
    yield it
    it.stop()
    if redis:
        redis.stop()


@pytest.fixture
def clean(admin):
    admin.cli("rm", "--all", "--yes")
    return admin


# ---- looking ----

def test_an_entry_is_found_shown_and_named(clean):
    clean.chat("what is a heron?", said="a bird")
    clean.chat("what is a price?", model="large")
    entry = clean.entry("what is a heron?")
    assert entry["scope"] == "user" and entry["model"] == "m" and entry["source"] == "traffic" and not entry["pinned"]
    assert entry["bytes"] > 300 and entry["cost_nanousd"] > 0 and "body" not in entry
    clean.entry("what is a price?")
    for query, texts in (("tag=prices", ["what is a price?"]), ("model=m", ["what is a heron?"]),
                         ("prefix=WHAT+is+a+h", ["what is a heron?"]), ("scope=user", ["what is a heron?", "what is a price?"]),
                         ("scope=", []), (f"id={entry['id'][:5]}", ["what is a heron?"]), ("older=1h", []), ("source=import", []),
                         ("newer=1h&route=tagged", ["what is a price?"]), ("pinned=true", []), ("dead=true", [])):
        assert sorted(e["text"] for e in clean.pages(query)) == texts, query
    status, headers, whole = clean.ask("GET", f"/entries/{entry['id']}")
    assert status == 200 and whole["body"]["choices"][0]["message"]["content"] == "a bird" and len(whole["exact"]) == 64
    assert clean.ask("GET", f"/entries/{entry['id']}", If_None_Match=headers["ETag"])[0] == 304
    listing = clean.cli("ls").stdout
    assert entry["id"] in listing and "what is a heron?" in listing
    shown = clean.cli("get", entry["id"]).stdout
    assert "a bird" in shown and "USD 0.0" in shown
    assert json.loads(clean.cli("get", "--json", entry["id"]).stdout)["text"] == "what is a heron?"
    clean.cli("get", "0123456789abcdef", code=1)


def test_a_terminal_obeys_nobody_elses_text(clean):
    clean.chat("evil \x1b]0;title\x07 \u009b2J text")
    clean.entry("evil \x1b]0;title\x07 \u009b2J text")
    shown = clean.cli("ls").stdout
    assert "\x1b" not in shown and "\u009b" not in shown and "evil \\x1b" in shown


def test_usage_is_by_scope(clean):
    for i in range(5):
        clean.chat(f"question {i}")
    clean.chat("of the root", key=ROOT_KEY)
    clean.entry("of the root")
    scopes = clean.good("GET", "/usage")["scopes"]
    assert scopes["user"]["entries"] == 5 and scopes["root"]["entries"] == 1
    assert scopes["user"]["bytes"] == sum(e["bytes"] for e in clean.pages("scope=user"))
    printed = clean.cli("stats").stdout
    assert re.search(r"^user +5 ", printed, re.M) and "look-ups" in printed
    assert json.loads(clean.cli("stats", "--json").stdout)["scopes"]["root"]["entries"] == 1


# ---- changing ----

def test_removal_by_id_is_at_once(clean):
    clean.chat("remove me")
    entry = clean.entry("remove me")
    assert clean.chat("remove me")[1] == "hit"
    assert "no terminal" in clean.cli("rm", entry["id"], code=1).stderr
    assert clean.chat("remove me")[1] == "hit"
    assert "1 entry removed" in clean.cli("rm", "--yes", entry["id"]).stdout
    assert clean.chat("remove me", said="fresh") == ("fresh", "miss")
    assert "is stored" in clean.cli("rm", "--yes", entry["id"], code=1).stderr


def test_if_match_holds_changes_back(clean):
    clean.chat("match me")
    entry = clean.entry("match me")
    tag = clean.ask("GET", f"/entries/{entry['id']}")[1]["ETag"]
    clean.good("POST", "/mark", {"id": entry["id"], "pinned": True}, If_Match=tag)
    assert "changed" in clean.bad(412, "POST", "/mark", {"id": entry["id"], "pinned": False}, If_Match=tag)
    clean.bad(412, "DELETE", f"/entries/{entry['id']}", If_Match=tag)
    clean.bad(412, "DELETE", f"/entries/{entry['id']}", If_Match='"xyz"')
    assert clean.entry("match me")["pinned"]


def test_removal_by_conditions_counts_first(clean):
    for i in range(7):
        clean.chat(f"price of {i}", model="large")
        clean.chat(f"colour of {i}")
    clean.entry("colour of 6"), clean.entry("price of 6")
    assert "7 entries match" in clean.cli("rm", "--tag", "prices", "--dry-run").stdout
    assert len(clean.pages()) == 14
    assert "no terminal" in clean.cli("rm", "--tag", "prices", code=1).stderr
    assert "7 entries removed" in clean.cli("rm", "--tag", "prices", "--yes").stdout
    assert sorted(e["text"] for e in clean.pages()) == [f"colour of {i}" for i in range(7)]
    assert "0 entries match" in clean.cli("rm", "--tag", "prices", "--yes").stdout
    assert clean.chat("colour of 1")[1] == "hit" and clean.chat("price of 1", model="large")[1] == "miss"


def test_a_scope_goes_at_once_and_leaves_nothing(clean):
    for i in range(5):
        clean.chat(f"mine {i}")
    clean.chat("theirs", key=ROOT_KEY)
    clean.entry("theirs"), clean.entry("mine 4")
    assert "5 entries removed" in clean.cli("rm", "--scope", "user", "--yes").stdout
    assert [e["text"] for e in clean.pages()] == ["theirs"] and clean.pages("dead=true") == []
    assert clean.chat("mine 1", said="new") == ("new", "miss") and clean.chat("theirs", key=ROOT_KEY)[1] == "hit"


def test_marks(clean):
    clean.chat("keep or lock?", said="old")
    entry = clean.entry("keep or lock?")
    assert "is pinned" in clean.cli("pin", entry["id"]).stdout
    assert clean.entry("keep or lock?")["pinned"] and clean.chat("keep or lock?")[1] == "hit"
    assert "is quarantined" in clean.cli("quarantine", entry["id"]).stdout
    assert [e["id"] for e in clean.pages("quarantined=true")] == [entry["id"]]
    clean.cli("quarantine", "--off", entry["id"])
    assert clean.chat("keep or lock?") == ("old", "hit")
    clean.cli("quarantine", entry["id"])
    assert clean.chat("keep or lock?", said="young") == ("young", "miss")
    wait_until(lambda: clean.chat("keep or lock?", said="younger") == ("young", "hit"), 5, "the fresh answer to be stored")
    assert clean.cli("pin", entry["id"], code=1).stderr


# ---- moving ----

def test_export_and_import_are_a_round_trip(clean, tmp_path):
    texts = [f"question {i}, \u00e4\u20ac\U0001f980 \"quoted\"\n" for i in range(30)]
    for text in texts:
        clean.chat(text, model="large", said=f"about {text}")
    clean.entry(texts[-1])
    before = {e["id"]: e for e in clean.pages()}
    clean.cli("pin", clean.pages()[0]["id"])
    before = {e["id"]: e for e in clean.pages()}
    file = tmp_path / "all.jsonl"
    assert "30 entries" in clean.cli("export", str(file)).stdout
    assert not list(tmp_path.glob("*.part"))
    assert sorted(clean.cli("export").stdout.splitlines()) == sorted(file.read_text().splitlines())
    assert clean.cli("export", "--prefix", "question 12").stdout.count("\n") == 1
    assert "0 stored, 30 were there already" in clean.cli("import", str(file)).stdout
    clean.cli("rm", "--all", "--yes")
    assert json.loads(clean.cli("import", "--json", str(file)).stdout) == {"stored": 30, "kept": 0, "refused": 0, "without_vector": 0}
    after = {e["id"]: e for e in clean.pages()}
    assert {i: {**e, "source": "import"} for i, e in before.items()} == after
    for text in texts:
        assert clean.chat(text, model="large", said="wrong") == (f"about {text}", "hit")


LINE = {"weir_cache": 1, "id": "0123456789abcdef", "answer": "0123456789abcdef", "exact": "ab" * 32, "rest": "cd" * 32,
        "scope": "user", "owner": "user", "text": "t", "dialect": "openai", "api": "chat", "model": "m", "route": "r", "class": "", "body": "{}",
        "tags": [], "pinned": False, "quarantined": False, "created_ms": 1700000000000, "expires_ms": 1700000001000,
        "usage": {"input": 1, "cached_input": 0, "cache_write": 0, "output": 1, "reasoning": 0, "source": "reported"},
        "cost_nanousd": 5, "encoder": None, "vector": None}
HALVES = "ADwAPA=="  # 1, 1


@pytest.mark.parametrize("change,says", [
    ({"weir_cache": 2}, "weir_cache"), ({"id": "xyz"}, "id"), ({"id": "0" * 16}, "id"), ({"answer": 5}, "answer"),
    ({"exact": "ab"}, "exact"), ({"rest": None}, "rest"), ({"scope": 1}, "scope"), ({"owner": 1}, "owner"), ({"dialect": "klingon"}, "dialect"),
    ({"api": "soap"}, "api"), ({"body": "not json"}, "body"), ({"body": "[]"}, "body"), ({"body": {}}, "body"),
    ({"tags": "x"}, "tags"), ({"tags": [""]}, "tags"), ({"tags": ["a\nb"]}, "tags"), ({"tags": ["x"] * 17}, "tags"),
    ({"pinned": "yes"}, "pinned"), ({"created_ms": -1}, "created_ms"), ({"created_ms": 1.5}, "created_ms"),
    ({"expires_ms": 1600000000000}, "expires_ms"), ({"expires_ms": 2 ** 62}, "expires_ms"), ({"usage": []}, "usage"),
    ({"usage": {**LINE["usage"], "input": -1}}, "input"), ({"usage": {**LINE["usage"], "source": "rumour"}}, "usage.source"),
    ({"cost_nanousd": "5"}, "cost_nanousd"), ({"encoder": "ab" * 16}, "encoder"), ({"vector": HALVES}, "encoder"),
    ({"vector": HALVES, "encoder": "zz"}, "encoder"), ({"vector": "A", "encoder": "ab" * 16}, "vector"),
    ({"vector": "", "encoder": "ab" * 16}, "vector"), ({"vector": "AHwAPA==", "encoder": "ab" * 16}, "finite"),
    ({"vector": "A" * 10928, "encoder": "ab" * 16}, "vector"), ({"vector": "A" * 10924, "encoder": "ab" * 16}, "vector"),
    ({"colour": "red"}, "colour"),
])
def test_a_wrong_line_is_named_and_nothing_is_stored(admin, change, says):
    good, wrong = json.dumps(LINE), json.dumps({**LINE, **change})
    said = admin.bad(400, "POST", "/import", f"{good}\n\n{wrong}\n".encode(), Content_Type="application/x-ndjson")
    assert said.startswith("Line 3: ") and says in said


def test_import_says_what_it_did_not_take(clean, tmp_path):
    now_ms = int(time.time() * 1000)
    lines = [{**LINE, "id": f"{i:016x}", "exact": f"{i:064x}", "created_ms": now_ms, "expires_ms": now_ms + 3600000} for i in range(1, 4)]
    lines[1].update(vector=HALVES, encoder="ab" * 16)
    lines[2].update(created_ms=now_ms - 7200000, expires_ms=now_ms - 3600000)
    file = tmp_path / "some.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert json.loads(clean.cli("import", "--json", str(file)).stdout) == {"stored": 2, "kept": 0, "refused": 1, "without_vector": 1}
    assert all(e["encoder"] is None and e["source"] == "import" for e in clean.pages())
    file.write_text("".join(json.dumps(lines[0]) + "\n" for _ in range(700)) + "{]\n")
    done = clean.cli("import", str(file), code=1)
    assert f"{file}:701: no JSON: column" in done.stderr and "500 were there already" in done.stdout
    assert "No such file" in clean.cli("import", str(tmp_path / "none"), code=1).stderr
    clean.bad(415, "POST", "/import", b"", Content_Type="application/json")


def test_an_export_waits_for_its_reader_and_ends_with_it(clean):
    for i in range(40):
        clean.chat(f"long {i}", said="x" * 100000)
    clean.entry("long 39")
    host, port = clean.gateway.admin.removeprefix("http://").split(":")
    send = (f"GET /admin/cache/export HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ROOT_KEY}\r\n\r\n").encode()
    with socket.create_connection((host, int(port))) as reader:
        reader.sendall(send)
        assert reader.recv(100).startswith(b"HTTP/1.1 200")
        # It stands still now; others are served, and leaving it is harmless.
        assert len(clean.pages()) == 40 and clean.chat("long 1")[1] == "hit"
    with socket.create_connection((host, int(port))) as reader:
        reader.sendall(send)
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            data += reader.recv(1 << 20)
    assert data.count(b'"weir_cache":1') == 40


# ---- warming ----

def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_known_answers_are_there_before_anybody_asks(clean, tmp_path):
    rows = [{"prompt": f"question {i}", "answer": f"answer {i}"} for i in range(70)]
    rows.append({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "model": "large", "answer": "deep"})
    file = jsonl(tmp_path / "faq.jsonl", *rows)
    assert json.loads(clean.cli("warm", file, "--dry-run", "--json").stdout) == {"rows": 71, "to_ask": 0}
    done = json.loads(clean.cli("warm", file, "--tenant", "user", "--model", "m", "--json").stdout)
    assert done["stored"] == 71 and done["asked"] == done["failed"] == 0 and done["spent_usd"] == "0.00"
    for i in (0, 31, 32, 69):
        assert clean.chat(f"question {i}", said="fresh") == (f"answer {i}", "hit")
    assert clean.chat("question 1", key=ROOT_KEY, said="fresh")[0] == "fresh"
    assert {e["source"] for e in clean.pages("scope=user")} == {"warming"} and len(clean.pages("tag=prices")) == 1
    jsonl(tmp_path / "faq.jsonl", {"prompt": "question 1", "answer": "better", "model": "m"})
    clean.cli("warm", file, "--tenant", "user")
    assert clean.chat("question 1") == ("better", "hit")


def test_the_fleet_answers_within_a_budget(clean, tmp_path):
    file = jsonl(tmp_path / "ask.jsonl", *({"prompt": f"fleet {i}", "model": "m"} for i in range(5)))
    api = ["--api", clean.gateway.base + "/v1", "--json"]
    assert "--max-usd" in clean.cli("warm", file, *api, code=2).stderr
    clean.up.reset()  # every answer costs USD 0.000018
    done = json.loads(clean.cli("warm", file, *api, "--max-usd", "0.00004", code=1).stdout)
    assert done["asked"] == 2 and done["left"] == 3 and done["spent_usd"] == "0.000036" and len(clean.up.seen) == 2
    clean.entry("fleet 1")
    done = json.loads(clean.cli("warm", file, *api, "--max-usd", "1").stdout)
    assert done["asked"] == 5 and done["hits"] == 2 and done["spent_usd"] == "0.000054" and len(clean.up.seen) == 5
    clean.entry("fleet 4")
    assert clean.chat("fleet 4", key=ROOT_KEY)[1] == "hit"


@pytest.mark.parametrize("row,says", [
    ({}, "messages"), ({"prompt": 1}, "prompt"), ({"prompt": "x", "messages": []}, "messages"), ({"prompt": "x", "answer": ""}, "answer"),
    ({"prompt": "x", "model": 1}, "model"),
])
def test_warming_checks_the_whole_file_first(clean, tmp_path, row, says):
    file = jsonl(tmp_path / "bad.jsonl", {"prompt": "good", "answer": "good", "model": "m"}, row)
    said = clean.cli("warm", file, "--tenant", "user", code=1).stderr
    assert f"{file}:2: " in said and says in said and clean.pages() == []


@pytest.mark.parametrize("row,says", [
    ({"request": {"model": "m"}, "answer": "x"}, "Line 2"), ({"request": [], "answer": "x"}, "request"), ({"answer": "x"}, "request"),
    ({"request": {"model": "m", "messages": [{"role": "user", "content": "u"}]}, "answer": ""}, "answer"),
    ({"request": {"model": "gpt-9", "messages": [{"role": "user", "content": "u"}]}, "answer": "x"}, "gpt-9"),
    ({"request": {"model": "m", "n": 2, "messages": [{"role": "user", "content": "u"}]}, "answer": "x"}, "several"),
    ({"request": {"model": "m", "messages": [{"role": "user", "content": "u"}]}, "answer": "x", "tenant": "nobody"}, "nobody"),
    ({"request": {"model": "m", "messages": [{"role": "user", "content": "u"}]}, "answer": "x", "colour": 1}, "nothing else"),
])
def test_a_row_that_is_wrong_is_named(clean, row, says):
    good = {"request": {"model": "m", "messages": [{"role": "user", "content": "u"}]}, "answer": "x"}
    body = (json.dumps(good) + "\n" + json.dumps(row)).encode()
    said = clean.bad(400, "POST", "/warm", body, Content_Type="application/x-ndjson")
    assert said.startswith("Line 2: ") and says in said and clean.pages() == []


# ---- what would become of a question ----

def test_explain_without_neighbours(clean):
    clean.chat("is it known?", model="large")
    entry = clean.entry("is it known?")
    before = clean.good("GET", "/events?limit=512")["last"]
    said = clean.good("POST", "/explain", {"text": "is it known?", "model": "large", "tenant": "user"})
    assert said["verdict"] == "exact" and said["exact"]["id"] == entry["id"] and said["route"] == "tagged" and said["scope"] == "user"
    assert "repeats only" in said["semantic"]["why_not"] and said["near"] == []
    for other in ({"tenant": "root"}, {"tenant": "user", "model": "m"}, {}):
        assert clean.good("POST", "/explain", {"model": "large", "text": "is it known?", **other})["verdict"] == "miss"
    request = {"model": "large", "stream": True, "messages": [{"role": "user", "content": "is it known?"}]}
    assert clean.good("POST", "/explain", {"request": request, "tenant": "user"})["verdict"] == "exact"
    request["messages"].insert(0, {"role": "system", "content": "be brief"})
    assert clean.good("POST", "/explain", {"request": request, "tenant": "user"})["verdict"] == "miss"
    assert clean.good("GET", "/events?limit=512")["last"] == before  # nothing was looked up
    shown = clean.cli("explain", "is it known?", "--model", "large", "--tenant", "user").stdout
    assert shown.startswith("exact: route tagged, scope user\n") and entry["id"] in shown and "not looked for" in shown
    assert "is quarantined" in clean.cli("wrong", "--keep", entry["id"]).stdout
    assert clean.good("POST", "/explain", {"text": "is it known?", "model": "large", "tenant": "user"})["verdict"] == "miss"
    assert "is removed" in clean.cli("wrong", "--yes", entry["id"]).stdout and clean.pages() == []


@pytest.mark.parametrize("body,status,says", [
    ({}, 400, "Either"), ({"text": "x", "request": {}}, 400, "Either"), ({"text": 1}, 400, "strings"), ({"request": []}, 400, "object"),
    ({"request": {}, "model": "m"}, 400, "names its model"), ({"text": "x", "api": "chat"}, 400, "goes with"),
    ({"request": {"model": "m"}, "api": "soap"}, 400, "api"), ({"text": "x", "tenant": "nobody"}, 400, "nobody"),
    ({"text": "x", "model": "gpt-9"}, 404, "gpt-9"), ({"text": "x", "colour": 1}, 400, "colour"), ({"request": {"model": "m"}}, 400, ""),
])
def test_explain_refuses(admin, body, status, says):
    assert says in admin.bad(status, "POST", "/explain", body)
    assert says in admin.bad(status, "POST", "/label", {**body, "id": "0123456789abcdef", "right": False})


def test_labels_want_a_neighbour(clean):
    clean.bad(400, "POST", "/label", {"text": "x", "model": "m", "id": "xyz", "right": False})
    clean.bad(400, "POST", "/label", {"text": "x", "model": "m", "id": "0123456789abcdef"})
    assert "repeats only" in clean.bad(409, "POST", "/label", {"text": "x", "model": "m", "id": "0123456789abcdef", "right": False})


def test_tuning_wants_something_to_tune(clean):
    assert "nothing to go by" in clean.cli("tune").stdout
    assert "in 0 places" in clean.cli("tune", "--max-error", "0.01", "--apply", "--yes", code=1).stderr
    clean.cli("tune", "--max-error", "1", code=2)
    clean.cli("tune", "--apply", code=2)


# ---- how it is ----

def test_what_is_asked_for_wrongly_is_the_command_lines_fault(clean):
    for argv in (["get", "nothing"], ["rm", "--yes", "nothing"], ["pin", "nothing"], ["ls", "--older", "soon"]):
        said = clean.cli(*argv, code=2).stderr
        assert said.startswith(f"weir cache {argv[0]}: ") and said.count("\n") == 1, said
    assert clean.cli("get", "0123456789abcdef", code=1).stderr


@pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server")
def test_a_redis_that_is_full_is_said_once_and_not_run_down(program, tmp_path):
    """It lets everybody in and refuses what is written: tried again, ever more seldom, without a line for each try."""
    redis = Redis(tmp_path, "--maxmemory", "1", "--maxmemory-policy", "noeviction")
    it = Admin(tmp_path, program, f'{{store: redis, redis: {{url: "unix:{redis.socket}", budget: 1s}}}}')

    def said(words):
        return [line for line in it.gateway.log.read_text().splitlines() if words in line]

    def connections():
        return int(re.search(r"total_connections_received:(\d+)", redis.cli("info", "stats"))[1])
    try:
        it.gateway.until(lambda: said("Redis is not usable"), "its refusal to be told")
        before = connections()  # each look is one, too
        tries = []
        it.gateway.until(lambda: tries.append(0) or connections() - before - len(tries) >= 4, "it to be tried again", timeout_s=30)
        away = said("Redis is not usable")
        assert len(away) == 1 and "OOM" in away[0] and "at=cache" in away[0]
        assert not said("following the changes") and len(said("the shared store refuses")) <= 2
        shown = it.cli("stats").stdout
        assert "DOWN" in shown and "weir cache doctor" in shown
        redis.cli("config", "set", "maxmemory", "0")
        it.gateway.until(lambda: it.good("GET", "")["store"]["up"], "Redis to be followed", timeout_s=30)
        assert len(said("following the changes")) == 1
    finally:
        it.stop()
        redis.stop()


def test_entries_that_no_store_counted_are_not_called_none(clean):
    clean.chat("Counted or not?")
    clean.entry("Counted or not?")
    redis = "eviction" in checks(clean)
    if not redis:  # the figures are told now and then
        clean.gateway.until(lambda: clean.good("GET", "")["store"]["entries"], "the entry to be counted")
    store, shown = clean.good("GET", "")["store"], clean.cli("stats").stdout
    assert (store["entries"] is None) == (store["bytes"] is None) == redis
    assert bool(re.search(r"^entries +[1-9]", shown, re.M)) != redis and not re.search(r"^entries +0", shown, re.M)


def checks(admin):
    return {c["name"]: c for c in admin.good("GET", "/doctor")["checks"]}


def test_the_doctor_finds_it_well(clean):
    found = checks(clean)
    redis = "eviction" in found
    assert {n for n, c in found.items() if c["state"] == "problem"} == set()
    assert {"store", "calls", "damage", "index", "disk", "record"} <= found.keys()
    assert redis == {"memory", "log", "clock"}.issubset(found)
    assert found["store"]["said"].startswith("Redis 7" if redis else "SQLite 3")
    assert re.search(r"^ok +store", clean.cli("doctor").stdout, re.M)


@pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server")
def test_the_doctor_finds_what_is_wrong_with_a_redis(program, tmp_path):
    redis = Redis(tmp_path)
    it = Admin(tmp_path, program, f'{{store: redis, redis: {{url: "unix:{redis.socket}", budget: 1s}}}}')
    try:
        it.gateway.until(lambda: it.good("GET", "")["store"]["up"], "Redis to be followed")
        redis.cli("config", "set", "maxmemory", "50mb")
        redis.cli("config", "set", "maxmemory-policy", "allkeys-lru")
        said = it.cli("doctor", code=1).stdout
        assert re.search(r"^problem +eviction .*allkeys-lru", said, re.M) and "of 50MiB" in said or "of 50MB" in said
        redis.cli("config", "set", "maxmemory-policy", "volatile-lfu")
        it.cli("doctor")
        redis.kill()
        it.gateway.until(lambda: checks(it)["store"]["state"] == "problem", "the loss of Redis to be seen")
        assert "everything misses" in it.cli("doctor", code=1).stdout
        # Nothing is changed while it is away, and that is said and recorded.
        assert "did not answer" in it.cli("rm", "--all", "--yes", code=5).stderr
    finally:
        it.stop()


def test_look_ups_can_be_watched(clean):
    last = clean.good("GET", "/events?limit=512")["last"]
    clean.chat("watch me")
    entry = clean.entry("watch me")
    page = clean.good("GET", f"/events?after={last}")
    assert [e["verdict"] for e in page["events"]] == ["miss"] and page["events"][0]["scope"] == "user" and page["lost"] == 0
    clean.good("POST", "/mark", {"id": entry["id"], "pinned": True})  # the worker's copy is dead: it asks again
    clean.chat("watch me")
    events = clean.good("GET", f"/events?after={page['last']}")["events"]
    assert [(e["verdict"], e["entry"], e["text"]) for e in events] == [("exact", entry["id"], "watch me")]
    assert "exact" in clean.cli("watch", "--once").stdout
    lines = clean.cli("watch", "--once", "--json").stdout.splitlines()
    assert json.loads(lines[-1])["number"] == events[-1]["number"]


def test_who_watches_waits_for_the_next(clean):
    last = clean.good("GET", "/events?limit=512")["last"]
    assert clean.good("GET", f"/events?after={last}&wait=10ms")["events"] == []
    watch = subprocess.Popen([clean.program, "cache", "watch", "--url", clean.gateway.admin, "--json"], text=True, stdout=subprocess.PIPE,
                             env={**os.environ, **CLEAN_ENV, "WEIR_API_KEY": ROOT_KEY})
    with concurrent.futures.ThreadPoolExecutor() as pool:
        try:
            def next_number():
                return json.loads(pool.submit(watch.stdout.readline).result(60 * slowness()))["number"]

            clean.chat("who waits")
            while next_number() <= last:
                pass
            # Nothing is there for it any more: it waits for what is still to come, and is told at once.
            waiting = pool.submit(clean.good, "GET", f"/events?after={last + 1}&wait=30s")
            clean.chat("who waits longer")
            assert next_number() == last + 2
            assert [e["number"] for e in waiting.result(60 * slowness())["events"]] == [last + 2]
        finally:
            watch.terminate()
            assert watch.wait(60 * slowness()) == -signal.SIGTERM
    watch.stdout.close()


# ---- what is asked wrongly ----

def test_confirmation_is_wanted(clean):
    clean.chat("precious")
    clean.entry("precious")
    assert '"remove"' in clean.bad(428, "POST", "/remove", {"where": {"tag": "x"}})
    assert '"remove everything"' in clean.bad(428, "POST", "/remove", {"where": {}})
    assert '"remove everything"' in clean.bad(409, "POST", "/remove", {"where": {}, "confirm": "remove"})
    assert '"flush"' in clean.bad(428, "POST", "/flush", {"scope": "user"})
    clean.bad(409, "POST", "/flush", {"scope": "user", "confirm": "yes"})
    assert len(clean.pages()) == 1
    assert "--all" in clean.cli("rm", code=2).stderr
    clean.cli("rm", "--all", "--tag", "x", code=2)
    clean.cli("rm", "0123456789abcdef", "--tag", "x", code=2)


@pytest.mark.parametrize("method,path,body,status,says", [
    ("GET", "/entries?cursor=1", None, 400, "cursor"),
    ("GET", "/entries?limit=0", None, 400, "limit"),
    ("GET", "/entries?limit=1001", None, 400, "limit"),
    ("GET", "/entries?colour=red", None, 400, "colour: no such condition"),
    ("GET", "/entries?older=yesterday", None, 400, "older"),
    ("GET", "/entries?pinned=yes", None, 400, "pinned"),
    ("GET", "/entries?source=rumour", None, 400, "source"),
    ("GET", "/entries?id=xyz", None, 400, "id: 'xyz'"),
    ("GET", "/entries?answer=12", None, 400, "answer"),
    ("GET", "/entries?tag=%2", None, 400, "%"),
    ("GET", "/entries/12", None, 400, "16 hex digits"),
    ("GET", "/entries/0123456789abcdeg", None, 400, "16 hex digits"),
    ("GET", "/entries/0123456789abcdef", None, 404, "is stored"),
    ("PUT", "/entries", {}, 405, ""),
    ("POST", "/remove", b"{", 400, "line 1"),
    ("POST", "/remove", b"[]", 400, "object"),
    ("POST", "/remove", {"dry_run": True}, 400, "where"),
    ("POST", "/remove", {"where": {"tag": 1}, "dry_run": True}, 400, "where.tag"),
    ("POST", "/remove", {"where": {"shape": "x"}, "dry_run": True}, 400, "shape"),
    ("POST", "/remove", {"where": {}, "dryrun": True}, 400, "dryrun"),
    ("POST", "/remove", {"where": {}, "dry_run": "yes"}, 400, "dry_run"),
    ("POST", "/remove", {"where": {}, "dry_run": True, "cursor": "zzz"}, 400, "cursor"),
    ("POST", "/mark", {"id": "0123456789abcdef"}, 400, "pinned"),
    ("POST", "/mark", {"id": 7, "pinned": True}, 400, "16 hex digits"),
    ("POST", "/mark", {"id": "0123456789abcdef", "pinned": 1}, 400, "true or false"),
    ("POST", "/mark", {"id": "0123456789abcdef", "pinned": True}, 404, "is stored"),
    ("POST", "/flush", {"confirm": "flush"}, 400, "scope"),
    ("GET", "/changes?limit=many", None, 400, "limit"),
    ("GET", "/events?limit=513", None, 400, "limit"),
    ("GET", "/events?after=-1", None, 400, "after"),
    ("GET", "/events?since=1", None, 400, "nothing else"),
    ("GET", "/events?wait=31s", None, 400, "wait"),
    ("GET", "/events?wait=soon", None, 400, "wait"),
    ("GET", "/prospects?max_error=0.5", None, 400, "max_error"),
    ("GET", "/prospects?max_error=0", None, 400, "max_error"),
    ("GET", "/prospects?" + "max_error=0.1&" * 9, None, 400, "eight times"),
])
def test_bad_questions_get_clear_answers(admin, method, path, body, status, says):
    assert says in admin.bad(status, method, path, body)


def test_only_admins_and_no_browser_forms(admin):
    assert admin.ask("GET", "/entries", key=USER_KEY)[0] == 403
    assert admin.ask("GET", "/entries", key=None)[0] == 401
    assert "application/json" in admin.bad(415, "POST", "/remove", b'{"where": {}, "dry_run": true}', Content_Type="text/plain")


# ---- the record of changes ----

def test_every_change_is_recorded(clean):
    clean.chat("recorded")
    entry = clean.entry("recorded")
    clean.cli("pin", entry["id"])
    clean.cli("rm", "--model", "m", "--yes")
    clean.good("POST", "/flush", {"scope": "user", "confirm": "flush"})
    log = clean.good("GET", "/changes?limit=3")
    assert log["whole"] and [c["action"] for c in log["changes"]] == ["mark", "remove", "flush"]
    assert all(c["who"] == "root" and c["from"].startswith("127.0.0.1:") and c["outcome"] == "ok" for c in log["changes"])
    assert log["changes"][1]["where"] == {"model": "m"} and log["changes"][1]["removed"] == 1
    lines = (clean.folder / "state" / "cache_changes.jsonl").read_bytes().splitlines()
    for before, line in zip(lines, lines[1:]):
        assert json.loads(line)["before"] == hashlib.sha256(before).hexdigest()
    assert "root" in clean.cli("changes").stdout


def test_a_tampered_record_shows(program, tmp_path):
    it = Admin(tmp_path, program)
    try:
        for _ in range(4):
            it.good("POST", "/flush", {"scope": "user", "confirm": "flush"})
        log = tmp_path / "state" / "cache_changes.jsonl"
        lines = log.read_text().splitlines(keepends=True)
        log.write_text(lines[0] + lines[1].replace('"root"', '"user"') + "".join(lines[2:]))
        assert not it.good("GET", "/changes")["whole"]
        assert "tampered" in it.cli("changes", code=1).stderr
    finally:
        it.stop()


# ---- a terminal ----

def on_terminal(admin, argv, typed):
    """What the command writes to a terminal on which `typed` is typed; its exit status."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update({**CLEAN_ENV, "WEIR_API_KEY": ROOT_KEY, "TERM": "dumb"})
        os.execv(admin.program, [str(admin.program), "cache", argv[0], "--url", admin.gateway.admin, *argv[1:]])
    os.write(fd, typed.encode())
    seen = b""
    while True:
        try:
            data = os.read(fd, 4096)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.close(fd)
    return seen.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_everything_wants_a_typed_phrase(clean):
    clean.chat("precious")
    clean.entry("precious")
    seen, code = on_terminal(clean, ["rm", "--all"], "y\n")
    assert code == 1 and "remove everything" in seen and "nothing was changed" in seen and len(clean.pages()) == 1
    seen, code = on_terminal(clean, ["rm", "--tag", "none", "--model", "m"], "\n")
    assert code == 0 and "0 entries match" in seen
    seen, code = on_terminal(clean, ["rm", "--model", "m"], "n\n")
    assert code == 1 and len(clean.pages()) == 1
    seen, code = on_terminal(clean, ["rm", "--all"], "remove everything\n")
    assert code == 0 and clean.pages() == []


# ---- without a cache ----

def test_a_policy_without_a_cache(start, upstream, tmp_path, weir):
    from conftest import policy as plain
    gateway = start(plain(upstream.url, tmp_path))
    assert gateway.get("/admin/cache") == {"enabled": False}
    assert gateway.request("GET", "/admin/cache/entries")[0] == 404
    done = weir("cache", "ls", "--url", gateway.admin)
    assert done.returncode == 1 and "no cache" in done.stderr
    assert "no cache" in weir("cache", "stats", "--url", gateway.admin).stdout
    done = weir("cache", "ls", "--url", "http://127.0.0.1:1")
    assert done.returncode == 5 and "127.0.0.1:1" in done.stderr


def test_eval_says_what_pairs_would_hit(weir, tmp_path):
    rows = [("how do i cook rice?", "how do i cook rice well?", 1), ("book 2 seats", "book 3 seats", 0), ("a b c", "x y z", False)]
    pairs = tmp_path / "pairs.jsonl.gz"
    with gzip.open(pairs, "wt") as out:
        out.write("\n".join(json.dumps({"a": a, "b": b, "label": label, "id": "x"}) for a, b, label in rows) + "\n\n")
    svg = tmp_path / "pairs.svg"
    done = weir("cache", "eval", pairs, "--model", "static", "--json", "--svg", svg)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["pairs"] == 3 and said["right"] == 1 and said["guards"]["numbers"] == {"caught": 1, "lost": 0}
    assert said["guarded"]["best"][0]["hits"] == pytest.approx(1 / 3) and said["guarded"]["best"][0]["precision"] == 1
    assert 0.5 < said["guarded"]["best"][0]["cut"] <= 1 and xml.dom.minidom.parse(str(svg))
    assert "3 pairs, 1 of them alike" in weir("cache", "eval", pairs, "--model", "static").stdout
    for text, says in (('{"a": "x", "b": "y", "label": 2}', ':1: "a" and "b"'), ('{"a": "x", "b": "y", "label": 1}\n{', ":2: not JSON"),
                       ("", "no pairs"), ("[]", ":1: not a JSON object")):
        (tmp_path / "bad.jsonl").write_text(text)
        done = weir("cache", "eval", tmp_path / "bad.jsonl", "--model", "static")
        assert done.returncode == 1 and says in done.stderr, done
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(pairs.read_bytes()[:60])
    assert "cut.jsonl.gz:" in weir("cache", "eval", cut, "--model", "static").stderr


def test_the_command_line_explains_itself(weir):
    for part in ("ls", "get", "stats", "rm", "pin", "quarantine", "changes", "export", "import", "doctor", "watch", "eval", "explain", "wrong", "tune", "warm"):
        assert f"weir cache {part}" in weir("help", "cache", part).stdout
        assert f"weir cache {part}" in weir("cache", part, "--help").stdout
    assert "cache rm" in weir("help", "cache").stdout
    assert "did you mean 'stats'" in weir("cache", "stat").stderr
    assert weir("cache").returncode == 2 and weir("help", "check", "x").returncode == 2
