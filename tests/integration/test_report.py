"""weir report and weir replay: what a real run cost and achieved, and what another policy would have, out of its ledger,
beside a running weir."""

import json
import os
import re
import sqlite3
import subprocess
from html.parser import HTMLParser

import pytest
from scripted import UNSURE, reply, whole

import weirproc

NAN = re.compile(r"\b-?(nan|inf)\b", re.I)


@pytest.fixture
def policy(upstream, big, tmp_path):
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{tmp_path}/state", drain: 1s}}
backends:
  s: {{dialect: openai, url: "{upstream.url}"}}
  b: {{dialect: openai, url: "{big.url}"}}
models:
  small: {{backend: s, price: {{input: 1, output: 1}}}}
  big: {{backend: b, price: {{input: 10, output: 10}}}}
routes:
  - {{name: ladder, match: {{model: auto}}, cascade: [small, big], accept: 0.6, retry: {{per_model: 1}}}}
"""


@pytest.fixture
def gateway(start, policy):
    return start(policy)


@pytest.fixture
def report(weir, tmp_path):
    def run(*argv):
        return weir("report", "--ledger", tmp_path / "state" / "ledger.sqlite", *argv)
    return run


def figures(report, *argv):
    done = report("--json", *argv)
    assert done.returncode == 0, done.stderr
    assert "NaN" not in done.stdout
    return json.loads(done.stdout)


def ask(gateway):
    body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
    _, head, _ = weirproc.http("POST", gateway.base + "/v1/chat/completions", body)
    return head["x-request-id"]


def test_a_run_with_feedback(gateway, policy, upstream, big, report, weir, tmp_path):
    """4 requests: 3 small, 1 escalated; feedback on 3 of them, one of those bad."""
    ids = []
    for escalate in (False, False, False, True):
        upstream.script.append(whole(reply(UNSURE if escalate else "41")))
        if escalate:
            big.script.append(whole(reply("42")))
        ids.append(ask(gateway))
    weirproc.wait_until(lambda: figures(report)["requests"]["all"] == 4, 10, "the requests are in the ledger")
    before = figures(report)
    assert before["cost_per_success"]["resolved"] == 0 and before["cost_per_success"]["success"]["value"] is None
    assert "whether it was good" in report().stdout

    for one, good in zip(ids[1:], (True, False, True)):
        weirproc.http("POST", gateway.base + "/v1/feedback", {"request_id": one, "success": good})
    weirproc.wait_until(lambda: figures(report)["cost_per_success"]["resolved"] == 3, 10, "the outcomes are")
    f = figures(report, "--failure-price", "0.01")
    small, both = 15000, 165000
    assert f["cost_nanousd"] == f["attempts_cost_nanousd"] == 3 * small + both
    assert f["requests"] | {"all": 4, "ok": 4, "escalated": 1, "decided": 4} == f["requests"]
    all_ = f["cost_per_success"]
    assert all_["successes"] == 2
    assert all_["usd_per_success"]["value"] == pytest.approx((2 * small + both) / 2 / 1e9)
    assert all_["effective_usd_per_success"] == pytest.approx((2 * small + both) / 2 / 1e9 + 0.01 * 0.5)
    assert all_["success"]["low"] < 2 / 3 < all_["success"]["high"]
    assert {g["name"]: g["cost_nanousd"] for g in f["spend"]["by_model"]} == {"small": 4 * small, "big": 150000}
    assert {g["name"]: g["attempts"] for g in f["spend"]["by_role"]} == {"serve": 4, "escalated": 1}
    assert f["saving"]["basis"] == "none" and f["saving"]["baseline"] == "big"

    path = tmp_path / "weir.yaml"
    path.write_text(policy)
    repriced = json.loads(weir("report", "--config", path, "--json").stdout)["saving"]
    assert repriced["basis"] == "repriced" and repriced["requests"] == 4
    assert repriced["share"]["value"] == pytest.approx(1 - (3 * small + both) / (4 * 150000))

    text = report().stdout
    assert not NAN.search(text) and "requests 210000, attempts 210000" in text.lower()
    assert "| all | 4 | 3 (75.0 %) | 66.67 (" in text


class Page(HTMLParser):
    VOID = {"meta"}

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        assert not any(k in ("src", "href") for k, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        if tag in ("tr", "td", "th"):
            while self.open[-1] != tag:
                self.open.pop()
        if tag == "table":
            while self.open[-1] in ("tr", "td", "th"):
                self.open.pop()
        assert self.open.pop() == tag


def test_html_stands_alone(gateway, upstream, report, tmp_path):
    ask(gateway)
    weirproc.wait_until(lambda: figures(report)["requests"]["all"] == 1, 10, "the request is in the ledger")
    with sqlite3.connect(tmp_path / "state" / "ledger.sqlite") as db:  # a client may call a class or a tenant anything
        db.execute("UPDATE requests SET class = '<script>alert(1)</script>|x'")
    assert report("--html", tmp_path / "r.html", "--md", tmp_path / "r.md").returncode == 0
    html = (tmp_path / "r.html").read_text()
    page = Page()
    page.feed(html)
    assert {"svg", "table", "style"} <= page.seen and "script" not in page.seen and not page.open
    assert "prefers-color-scheme" in html and "@media print" in html and not NAN.search(html)
    for line in (tmp_path / "r.md").read_text().splitlines():
        if "alert" in line:
            assert "\\<script>" in line and "\\|x" in line
    assert report("--md", tmp_path / "no" / "r.md").returncode == 5


def test_nothing_in_the_ledger(gateway, report, weir, tmp_path):
    text = report().stdout
    assert "Nothing was asked" in text and not NAN.search(text)
    f = figures(report)
    assert f["requests"]["all"] == 0 and f["saving"]["basis"] == "none"
    missing = weir("report", "--ledger", tmp_path / "nothing.sqlite")
    assert missing.returncode == 5 and "nothing.sqlite" in missing.stderr
    for argv in (["--since", "soon"], ["--since", "2999-01-01"], ["--failure-price", "cheap"], ["--what"]):
        assert report(*argv).returncode == 2
    assert weir("report", "--config", tmp_path / "none.yaml").returncode == 3
    assert re.search("--since AGE", weir("report", "--help").stdout)
    assert report("--since", "2020-01-01").returncode == 0


def test_a_baseline_is_named_as_it_was_given(gateway, policy, upstream, report, weir, tmp_path):
    """One that never answered is repriced out of the policy; a name that nobody knows is not taken for another."""
    for _ in range(2):
        upstream.script.append(whole(reply("41")))
        ask(gateway)
    weirproc.wait_until(lambda: figures(report)["requests"]["all"] == 2, 10, "the requests are in the ledger")
    path = tmp_path / "weir.yaml"
    path.write_text(policy)
    saving = json.loads(weir("report", "-c", path, "--baseline", "big", "--json").stdout)["saving"]
    assert saving["basis"] == "repriced" and saving["baseline"] == "big" and saving["share"]["value"] == pytest.approx(0.9)
    wrong = weir("report", "-c", path, "--baseline", "bigg")
    assert wrong.returncode == 2 and "'bigg'" in wrong.stderr and not wrong.stdout
    for name in ("big", "ladder", "nope"):  # `ladder` is in the ledger, as a route
        assert f"Against {name} nothing can be said" in report("--baseline", name).stdout
        assert figures(report, "--baseline", name)["saving"] | {"basis": "none", "baseline": name} == figures(
            report, "--baseline", name)["saving"]


def test_a_report_shows_every_nano_dollar(gateway, upstream, report):
    upstream.script.append(whole(reply("41", prompt=0, completion=1)))
    ask(gateway)
    weirproc.wait_until(lambda: figures(report)["requests"]["all"] == 1, 10, "the request is in the ledger")
    text = report().stdout
    assert "Spent: 0.000001000 USD" in text and "1 answered, 0 failed" in text
    assert "| small | 1 | 0 | 1 | 0.000001000 | 100.0 |" in text


def test_a_report_does_not_take_the_place_of_what_is_no_file(gateway, report, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused = report("--html", pipe)
    assert refused.returncode == 5 and "not a regular file" in refused.stderr and pipe.is_fifo()
    page = tmp_path / "page.html"
    page.write_text("old")
    link = tmp_path / "link.html"
    link.symlink_to(page)
    assert report("--html", link).returncode == 0
    assert link.is_symlink() and "<title>" in page.read_text()


def test_a_report_that_does_not_fit_leaves_nothing_behind(gateway, report, weir, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("old")
    shell = f"ulimit -f 1; exec {weir.program} report --ledger {tmp_path}/state/ledger.sqlite --html {page}"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, timeout=60)
    assert done.returncode == 5 and "page.html: cannot write it: File too large" in done.stderr, done
    assert page.read_text() == "old" and not list(tmp_path.glob("page.html.*"))


def test_replay_of_a_log_that_cannot_answer(gateway, policy, upstream, weir, report, tmp_path):
    """Written order leaves nothing to chance: a policy that begins elsewhere is refused, and why is said."""
    for _ in range(3):
        ask(gateway)
    weirproc.wait_until(lambda: figures(report)["requests"]["all"] == 3, 10, "the requests are in the ledger")
    other = tmp_path / "other.yaml"
    other.write_text(policy.replace("cascade: [small, big]", "cascade: [big, small]"))
    ledger = ["--ledger", tmp_path / "state" / "ledger.sqlite"]
    told = weir("replay", other, *ledger)
    assert told.returncode == 1 and "the log never did" in told.stdout and "cannot say" in told.stdout
    assert not NAN.search(told.stdout)
    out = weir("replay", other, "--json")  # the policy's own state directory
    f = json.loads(out.stdout)
    assert out.returncode == 1 and f["answer"] == "refused" and f["check"]["verdict"] == "unsupported"
    assert f["check"]["unsupported"] == 1 and f["requests"] == 3 and f["doubly_robust"] is None and f["audits"] is None
    unrouted = tmp_path / "unrouted.yaml"
    unrouted.write_text(policy.replace("match: {model: auto}", "match: {model: nobody}"))
    f = json.loads(weir("replay", unrouted, "--json").stdout)
    assert f["unrouted"] == 3 and f["check"]["verdict"] == "empty"
    assert weir("replay", tmp_path / "none.yaml").returncode == 3
    assert weir("replay", other, "--ledger", tmp_path / "none.sqlite").returncode == 5
    assert weir("replay", other, "--since", "x").returncode == 2


def test_replay_refuses_a_route_with_other_validators_by_name(start, policy, upstream, weir, report, tmp_path):
    """What validators said is in the log, under their fingerprint: the same ones can be played, others cannot."""
    same = policy.replace("accept: 0.6,", "accept: 0.6, confidence: {validators: [non_empty]},")
    assert same != policy
    gateway = start(same)
    for _ in range(3):
        ask(gateway)
    weirproc.wait_until(lambda: figures(report)["requests"]["all"] == 3, 10, "the requests are in the ledger")
    files = {"same": same, "none": policy, "other": same.replace("[non_empty]", "[{kind: regex, pattern: sure}]"),
             "more": same.replace("[non_empty]", "[non_empty, tool_args]")}
    for name, text in files.items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(text)
        f = json.loads(weir("replay", file, "--json").stdout)
        refused = [] if name == "same" else [{"route": "ladder", "requests": 3, "why": "validators"}]
        assert f["refused"] == refused and f["logged"]["requests"] == (0 if refused else 3), name
    told = weir("replay", tmp_path / "other.yaml")
    assert told.returncode == 1 and "Refused: route 'ladder' (3 requests" in told.stdout and "validators" in told.stdout
