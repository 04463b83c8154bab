"""tests/bench/live/run.py: the whole program against the replay fleet, on made-up questions, weir's way and as class routing."""

import gzip
import json
import random
import re
import sqlite3
import subprocess
import sys
from collections import Counter

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


def play(data, folder, *options):
    """(standard output, what was played, the ledger's attempts by request). The wall clock runs as ever: no libfaketime. Without noise
    every label that was kept is true."""
    done = subprocess.run([sys.executable, LIVE / "run.py", "--chain", "Q", "--requests", str(REQUESTS), "--rate", "1000", "--interval", "0.001",
                           "--delay", str(DELAY), "--noise", "0", "--data", data, "--build", weirproc.build_dir(), "--keep", folder, *options],
                          capture_output=True, text=True, timeout=120 * weirproc.slowness(), check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    played = [json.loads(line) for line in (folder / "played.jsonl").read_text().splitlines()]
    attempts = {}
    with sqlite3.connect(f"file:{folder}/weir0/state/ledger.sqlite?mode=ro", uri=True) as db:
        for request, model, into, out, cost in db.execute(
                "SELECT request_id, model, input_tokens, output_tokens, cost_nanousd FROM attempts ORDER BY request_id, seq"):
            assert cost == world.cost_nanousd(model, (into, out)) and out == 1
            attempts.setdefault(request, []).append((model, into, cost))
        labels = db.execute("SELECT request_id, value_milli FROM outcomes WHERE source = 'explicit'").fetchall()
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
