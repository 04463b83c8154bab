"""weir bench --split prequential: what it refuses, and odd rows and settings, of which it has figures all the same."""

import json
import re

import pytest

from test_bench_rows import HEADER, ODD, odd_rows, rows, write


@pytest.fixture
def recorded(tmp_path):
    return write(tmp_path / "rows.jsonl", [HEADER, *rows(60)])


@pytest.mark.parametrize("argv,words", [
    (["--requests", "0"], "--requests 0: a number from 2000 to 1000000"),
    (["--requests", "2000.5"], "--requests 2000.5: a whole number from 2000 to 1000000"),
    (["--requests", "4k"], "--requests 4k: a number from 2000"),
    (["--feedback", "2"], "--feedback 2: a number from 0 to 1"),
    (["--feedback", "-0.1"], "--feedback -0.1:"),
    (["--noise", "0.5"], "--noise 0.5: a number from 0 to 0.49"),
    (["--delay", "-1"], "--delay -1: a number from 0"),
    (["--interval", "0"], "--interval 0: a number from 0.001"),
    (["--floor", "1.01"], "--floor 1.01: a number from 0 to 1"),
    (["--floor", "nan"], "--floor nan: a number from 0 to 1"),
    (["--floor-of-best", "95"], "--floor-of-best 95: a number from 0 to 1"),
    (["--failure-price", "inf"], "--failure-price inf:"),
    (["--seeds", "65"], "--seeds 65: a number from 1 to 64"),
    (["--seeds", "1.5"], "--seeds 1.5: a whole number"),
    (["--folds", "3"], "--folds has no effect with --split prequential"),
    (["--break-at", "100"], "--break-at has no effect without --break"),
    (["--break-share", "0.1"], "--break-share has no effect without --break"),
    (["--break", "big", "--break-share", "1.1"], "--break-share 1.1: a number from 0 to 1"),
    (["--break", "big", "--break-at", "2000", "--requests", "2000"], "--break-at 2000: the stream has 2000 requests"),
    (["--break", "nobody"], "--break: no model 'nobody' takes part"),
    (["--break", "big", "--models", "small"], "--break: no model 'big' takes part"),
])
def test_a_stream_refuses_by_name(weir, recorded, argv, words):
    done = weir("bench", recorded, "--split", "prequential", *argv)
    assert done.returncode == (5 if "takes part" in words else 2), done.stderr
    assert words in done.stderr and done.stderr.count("\n") == 1 and not done.stdout


def test_a_stream_remembers_similar_questions(weir, tmp_path):
    """Neither a class nor a score tells a small model's two families apart; what came of similar questions does."""
    def family(i):
        good = i % 2
        return {"id": str(i), "prompt": f"what is the capital of country {i}" if good else f"prove theorem {i} on finite groups and derive its bound",
                "class": "all", "s": [good, 1], "c": [50, 1000]}
    record = write(tmp_path / "rows.jsonl", [HEADER, *map(family, range(300))])

    def stream(*options):
        done = weir("bench", record, "--split", "prequential", "--requests", "6000", "--delay", "100", "--floor", "0.9", "--seeds", "2", "--json", *options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    near, blind = stream(), stream("--estimate", "none")
    assert near == stream("--estimate", "static"), "which is the default"
    assert near["class_routing"] == blind["class_routing"], "it knows no neighbours"
    assert near["weir"]["late_success"]["mean"] > 0.9 and near["weir"]["late_nanousd"]["mean"] < 0.75 * blind["weir"]["late_nanousd"]["mean"]


def figures(told):
    """Every number of it."""
    if isinstance(told, (dict, list)):
        for each in told.values() if isinstance(told, dict) else told:
            yield from figures(each)
    elif not isinstance(told, str):
        yield told


@pytest.mark.parametrize("name,options", [
    *((name, []) for name in ("one row", "one model", "sixteen models", "each row its own class", "a class of one row", "no class", "a model that is free",
                              "equal costs", "fractions", "confidence of 0 and 1", "no confidence of one model", "all succeed")),
    ("no confidence", ["--delay", "3000"]),  # no label is ever known
    ("no confidence", ["--delay", "0", "--interval", "0.001", "--feedback", "1"]),
    ("no confidence", ["--feedback", "0", "--interval", "86400"]),
    ("no confidence", ["--floor", "1", "--break", "m1", "--break-at", "0"]),
    ("no confidence", ["--floor", "0", "--break", "m1", "--break-at", "1999", "--break-share", "0"]),
    ("one model", ["--floor", "0.5", "--break", "m0", "--break-at", "0", "--break-share", "1"]),  # nothing ever succeeds
])
def test_odd_streams_get_finite_figures(weir, tmp_path, name, options):
    stream = ["bench", odd_rows(name, tmp_path / "rows.jsonl"), "--split", "prequential", "--requests", "2000", "--seeds", "1", *options]
    done = weir(*stream, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    dearest = max(c for r in ODD[name] for c in r["c"]) * 1e3
    for way in (told["weir"], told["class_routing"]):
        assert 0 <= way["success"]["mean"] <= 1 + 1e-9 and 0 <= way["nanousd"]["mean"] <= dearest * len(ODD[name][0]["s"]) * (1 + 1e-9)
    assert told["class_routing"]["nanousd"]["mean"] <= dearest * (1 + 1e-9), "one try"
    assert all(x is None or -1e15 < x < 1e15 for x in figures(told))
    never = options[-2:] == ["--break-share", "1"]
    assert (told["weir"]["success"]["mean"] == 0) == never
    if never:
        assert told["weir"]["requests_to_recovery"]["mean"] is None
    text = weir(*stream)
    assert text.returncode == 0 and not re.search(r"\b(nan|inf)\b", text.stdout), text.stdout
