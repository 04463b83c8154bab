"""tests/bench/live/run.py: the whole program against the replay fleet, on made-up questions, weir's way and as class routing."""

import contextlib
import gzip
import json
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import weirproc

LIVE = weirproc.ROOT / "tests" / "bench" / "live"
sys.path.insert(0, str(LIVE))
import world  # noqa: E402

MODELS = world.CHAINS["Q"]
EACH, DELAY = 40, 100
REQUESTS = 2 * EACH * len(world.SOURCES)  # each question twice


def tokens(source, i):
    """Of one question alone."""
    return 20 + EACH * world.SOURCES.index(source) + i


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Each model is right where the cheaper ones are, and on more; and sure where it is right."""
    folder, rng = tmp_path_factory.mktemp("data"), random.Random(1)
    for source in world.SOURCES:
        with gzip.open(folder / f"{source}.jsonl.gz", "wt") as f:
            print(json.dumps({"format": "routing-rows/1", "models": [{"name": m} for m in MODELS]}), file=f)
            for i in range(EACH):
                luck = rng.random()
                right = [int(luck < 0.5 + 0.13 * j) for j in range(len(MODELS))]
                print(json.dumps({"prompt": f"{source}, question {i}", "s": right, "p": [-0.05 if s else -1.2 for s in right],
                                  "n": [[tokens(source, i), 3]] * len(MODELS), "a": ["A" if s else "B" for s in right]}), file=f)
    return folder


def read(ledger, query):
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def play(data, folder, *options):
    """(standard output, what was played, the ledgers' attempts by request). The wall clock runs as ever, without libfaketime, unless the
    options say otherwise. Without noise every label that was kept is true."""
    done = subprocess.run([sys.executable, LIVE / "run.py", "--chain", "Q", "--requests", str(REQUESTS), "--rate", "1000", "--interval", "0.001",
                           "--delay", str(DELAY), "--noise", "0", "--data", data, "--build", weirproc.build_dir(), "--keep", folder, *options],
                          capture_output=True, text=True, timeout=120 * weirproc.slowness(), check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    played = [json.loads(line) for line in (folder / "played.jsonl").read_text().splitlines()]
    attempts, labels = {}, []
    for ledger in sorted(folder.glob("weir*/state/ledger.sqlite")):
        for request, model, into, out, cost in read(
                ledger, "SELECT request_id, model, input_tokens, output_tokens, cost_nanousd FROM attempts ORDER BY request_id, seq"):
            assert cost == world.cost_nanousd(model, (into, out)) and out == 1
            attempts.setdefault(request, []).append((model, into, cost))
        labels += read(ledger, "SELECT request_id, value_milli FROM outcomes WHERE source = 'explicit'")
    truth = {p["request_id"]: 1000 * p["right"][p["model"]] for p in played}
    assert labels and all(value == truth[request] for request, value in labels)
    return done.stdout, played, attempts


def check_books(played, attempts):
    """Every question was asked twice, and is booked as the client was told; their sum."""
    assert len(played) == REQUESTS and {p["request_id"] for p in played} == set(attempts)
    for p in played:
        mine = attempts[p["request_id"]]
        assert len(mine) == p["attempts"] and sum(cost for _, _, cost in mine) == p["cost_nanousd"]
        assert p["model"] in [model for model, _, _ in mine] and len({into for _, into, _ in mine}) == 1
    asked = Counter(mine[0][1] for mine in attempts.values())
    assert asked == {tokens(source, i): 2 for source in world.SOURCES for i in range(EACH)}
    return sum(p["cost_nanousd"] for p in played)


@pytest.mark.parametrize("way", ["weir", "class routing that learns"])
def test_ledger_and_fleet_agree_both_ways(data, tmp_path, way):
    options = [] if way == "weir" else ["--class-routing"]
    text, played, attempts = play(data, tmp_path, "--json", "--feedback", "1", "--duplicates", "1", *options)
    told, cost = json.loads(text), check_books(played, attempts)
    assert told["way"] == way and told["equal"] and told["ledger_nanousd"] == told["fleet_nanousd"] == cost
    said = Counter(told["said"])
    assert said["told"] + said["refused"] == 2 * REQUESTS and said["twice"] == REQUESTS and said["turned"] == 0
    assert told["all"]["requests"] == REQUESTS and told["second half"]["requests"] == REQUESTS / 2
    assert told["all"]["cost_nanousd"] == pytest.approx(cost / REQUESTS)
    assert told["all"]["success"] == pytest.approx(sum(p["right"][p["model"]] for p in played) / REQUESTS)
    assert told["second half"]["served"] == pytest.approx({m: sum(p["model"] == m for p in played[REQUESTS // 2:]) / (REQUESTS / 2) for m in MODELS})
    if way == "weir":  # no label was posted before, at any speed: models are sure or not, and a second one is asked
        assert any(p["attempts"] > 1 for p in played[:DELAY])
    else:
        assert all(len(mine) == 1 for mine in attempts.values()) and told["all"]["attempts"] == 1


def test_a_model_that_gets_worse_is_another_fleet_in_the_same_books(data, tmp_path):
    text, played, attempts = play(data, tmp_path, "--class-routing", "--regress", "gpt-4o-mini:1")
    cost = check_books(played, attempts)
    assert f"ledger {cost} nUSD, fleet {cost} nUSD: equal\n" in text
    for name, rows in (("all", played), ("second half", played[REQUESTS // 2:])):
        line = re.search(rf"^{name} .*$", text, re.MULTILINE).group().removeprefix(name).split()
        assert float(line[0]) == pytest.approx(sum(p["right"][p["model"]] for p in rows) / len(rows), abs=6e-4)
        assert float(line[2]) == pytest.approx(sum(p["cost_nanousd"] for p in rows) / len(rows), abs=0.51) and line[-1] == "1.00"
    right = [p["right"]["gpt-4o-mini"] for p in played]
    assert any(right[:REQUESTS // 2]) and not any(right[REQUESTS // 2:])


@pytest.mark.skipif(not any(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), reason="no libfaketime")
@pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server")
def test_two_replicas_whose_clocks_run_fast(data, tmp_path):
    """Each serves a part and books it; what one hears or is told, the other knows."""
    linked = subprocess.run(["ldd", weirproc.build_dir() / "gateway" / "weir"], capture_output=True, text=True, check=True).stdout
    if "libasan" in linked or "libtsan" in linked:
        pytest.skip("a sanitizer and libfaketime do not go together")
    rate, interval = 50, 2
    text, played, attempts = play(data, tmp_path, "--json", "--feedback", "1", "--replicas", "2", "--rate", str(rate), "--interval", str(interval))
    told, cost = json.loads(text), check_books(played, attempts)
    assert told["replicas"] == 2 and told["equal"] and told["ledger_nanousd"] == told["fleet_nanousd"] == cost
    known = 0
    for folder in (tmp_path / "weir0", tmp_path / "weir1"):
        ledger = folder / "state" / "ledger.sqlite"
        begun = dict(read(ledger, "SELECT request_id, min(started_wall_us) FROM attempts GROUP BY request_id"))
        assert 0.2 * REQUESTS < len(begun) < 0.8 * REQUESTS
        assert max(begun.values()) - min(begun.values()) > 0.5 * REQUESTS * interval * 1e6, "by its clock"
        said_of = {request for request, in read(ledger, "SELECT request_id FROM outcomes WHERE source = 'explicit'")}
        assert said_of & set(begun) and said_of - set(begun), "labels of its own answers, and of the other's"
        known += sum(c["requests"] for c in json.loads(folder.with_suffix(".beliefs.json").read_text())["contexts"])
    assert known > 1.1 * REQUESTS, "more than each its own"


@pytest.mark.parametrize("option,value,words", [
    ("--replicas", "0", "a whole number from 1"),
    ("--replicas", "1.5", "a whole number from 1"),
    ("--interval", "0", "a number from 0.001"),
    ("--interval", "-1", "a number from 0.001"),
    ("--rate", "0", "a number from 0.001"),
    ("--rate", "nan", "a number from 0.001"),
    ("--feedback", "2", "a number from 0 to 1"),
    ("--noise", "0.5", "a number from 0 to 0.49"),
    ("--regress", "gpt-4o", "MODEL:SHARE is wanted"),
    ("--regress", "gpt-4o:2", "2: a number from 0 to 1"),
    ("--regress", "NOSUCH:0.5", "NOSUCH: chain Q has gpt-4o-mini, "),
])
def test_options_that_make_no_sense_are_refused(option, value, words, tmp_path):
    done = subprocess.run([sys.executable, LIVE / "run.py", "--data", tmp_path, "--keep", tmp_path / "kept", option, value],
                          capture_output=True, text=True, timeout=60, check=False)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and not done.stdout and f"error: argument {option}: " in last and words in last
    assert not (tmp_path / "kept").exists(), "refused before anything begins"
