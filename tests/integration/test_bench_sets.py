"""tests/bench/decide/sets.py: its tables say what weir bench says of the same rows and models."""

import gzip
import json
import math
import random
import re
import subprocess
import sys

import pytest

import weirproc

SETS = weirproc.ROOT / "tests" / "bench" / "decide" / "sets.py"
CASCADES = [f"cascade_{source}" for source in ("mmlu", "medmcqa", "triviaqa", "truthfulqa")]
LLAMAS, DEAR, GPTS = ["llama3.1-8b", "llama3.1-405b"], ["deepseek-v3", "o3-2025-04-16"], ["gpt-3.5-turbo cot", "gpt-3.5-turbo pot2", "gpt-4 cot"]
CASES = {  # name: files, options of weir bench
    "cascade x4 8b-405b": (CASCADES, ["--class-by-file", "--models", ",".join(LLAMAS)]),
    "calib_boolq cheap-dear": (["calib_boolq"], ["--models", ",".join(DEAR)]),
    "mot_date (costs assumed)": (["costed"], ["--models", ",".join(GPTS)]),
}
PRICES = [1, 1, 30]  # USD per million tokens, of GPTS
ROWS = 80


def write(path, header, rows):
    with gzip.open(path, "wt") as f:
        for line in ({"format": "routing-rows/1", **header}, *rows):
            print(json.dumps(line), file=f)


def two_models(seed, cheap, dear):
    """A model that is right on `cheap` of the questions and mostly knows which; a dear one, right on `dear`; one that no case asks."""
    rng = random.Random(seed)
    for i in range(ROWS):
        right = [int(rng.random() < share) for share in (cheap, 0.1, dear)]
        yield {"prompt": f"question {seed} {i}", "class": "even" if i % 2 else "odd", "s": right, "c": [50 + i, 1, 900 + i],
               "p": [-0.05 if right[0] == (rng.random() < 0.9) else -1.2, None, -0.1], "a": ["x" if s else "y" for s in right]}


def voted():
    """No costs; each of the cheap models was asked up to five times."""
    rng = random.Random(9)
    for i in range(ROWS):
        right = [int(rng.random() < share) for share in (0.5, 0.6, 0.95)]
        yield {"prompt": "x" * (20 + 4 * i), "s": right, "v": [[5] if right[0] else [2, 2, 1], [4, 1] if right[1] else [2, 1], [1]],
               "pred": ["x" if s else "y" for s in right]}


def costed(row):
    """The same by hand: a call for each vote, tokens by the prompt's length and 100 of the answer."""
    calls, tokens = [sum(v) for v in row["v"]], len(row["prompt"]) / 4 + 100
    return {"prompt": row["prompt"], "s": row["s"], "a": row["pred"], "p": [v[0] / n for v, n in zip(row["v"], calls)],
            "c": [price * 1e3 * tokens * n for price, n in zip(PRICES, calls)]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, header = tmp_path_factory.mktemp("rows"), {"cost": "USD x 1e6", "conf": "p = log-probability"}
    for i, file in enumerate(CASCADES):
        names = [LLAMAS[0], "nobody", LLAMAS[1]]
        write(folder / f"{file}.jsonl.gz", {**header, "models": [{"name": n} for n in names]}, two_models(i, 0.4 + 0.1 * i, 0.9))
    names = [DEAR[0], "nobody", DEAR[1]]
    write(folder / "calib_boolq.jsonl.gz", {**header, "models": [{"name": n} for n in names]}, two_models(7, 0.95, 0.8))
    header = {"models": [{"name": n} for n in GPTS], "conf": "0..1"}
    write(folder / "mot_date.jsonl.gz", header, voted())
    write(folder / "costed.jsonl.gz", {**header, "cost": "USD x 1e9"}, map(costed, voted()))
    return folder


def tables(folder, out, *options):
    """What sets.py prints of CASES: lines of cells by their first cell; and what it writes."""
    argv = [sys.executable, SETS, folder, "--weir", weirproc.build_dir() / "gateway" / "weir", "--only", f"^({'|'.join(map(re.escape, CASES))})$",
            "--json", out, *options]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120 * weirproc.slowness(), check=False)
    assert done.returncode == 0, done.stderr
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in done.stdout.splitlines() if line]
    assert "nan" not in done.stdout and "None" not in done.stdout
    return lines, json.loads(out.read_text())


def bench(weir, folder, name, *options):
    files, more = CASES[name]
    done = weir("bench", *(folder / f"{f}.jsonl.gz" for f in files), *more, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_cell(cell, figure, scale, words="never", digits=1, digits_of_ends=0):
    """A figure and its interval, or words."""
    if figure["value"] is None:
        assert cell.startswith(words)
        return
    value, low, high = re.fullmatch(r"(\S+) \[(\S+), (\S+)\]", cell).groups()
    for text, key, places in ((value, "value", digits), (low, "low", digits_of_ends), (high, "high", digits_of_ends)):
        if figure[key] is None:
            assert text == words
        else:
            assert float(text) == pytest.approx(scale * figure[key], abs=0.51 * 10**-places)


def test_folds(weir, folder, tmp_path):
    lines, written = tables(folder, tmp_path / "out.json", "--seeds", "1")
    expected = {name: bench(weir, folder, name, "--seeds", "1") for name in CASES}
    assert list(written) == [line[0] for line in lines[2:2 + len(CASES)]] == list(CASES)
    assert len({len(line) for line in lines[:2 + len(CASES)]}) == 1, "as many columns as heads"
    for line in lines[2:2 + len(CASES)]:
        told = expected[line[0]]
        assert written[line[0]] == told
        assert int(line[1]) == told["rows"] == len(CASES[line[0]][0]) * ROWS
        ways = [told["ways"]["weir"], told["ways"]["class mean"], told["random_mix"]]
        for i, target in enumerate(("0.95", "0.97", "0.99")):
            for j, way in enumerate(ways):
                check_cell(line[2 + 3 * i + j], way["cost_share_at"][target], 100)
        aiq = [way["aiq"]["value"] for way in ways[:2]]
        assert line[-2] == "none" if None in aiq else float(line[-2]) == pytest.approx(100 * (aiq[0] - aiq[1]), abs=0.0051)
        assert float(line[-1]) == pytest.approx(100 * (ways[0]["regret"]["value"] - ways[1]["regret"]["value"]), abs=0.0051)
    assert expected["calib_boolq cheap-dear"]["ways"]["weir"]["aiq"]["value"] is None, "the cheap model is the best there"
    check_summary(lines[2 + len(CASES):], list(expected.values()))


def check_summary(lines, results):
    assert [line[:2] for line in lines[2:]] == [[name, t] for name in ("class mean", "random mix") for t in ("0.95", "0.97", "0.99")]
    for name, target, cheaper, dearer, difference in lines[2:]:
        over = [r["weir_cost_share_over"][name][target] for r in results]
        less = [f["value"] for f in over]
        assert cheaper == f"{len([x for x in less if x < -0.005])} ({len([f for f in over if f['high'] < 0])})"
        assert dearer == f"{len([x for x in less if x > 0.005])} ({len([f for f in over if f['low'] > 0])})"
        mean, error = map(float, difference.split(" ± "))
        assert mean == pytest.approx(100 * math.fsum(less) / len(less), abs=0.051)
        variance = math.fsum((x - math.fsum(less) / len(less)) ** 2 for x in less) / (len(less) - 1)
        assert error == pytest.approx(100 * math.sqrt(variance / len(less)), abs=0.051)


def test_streams(weir, folder, tmp_path):
    lines, written = tables(folder, tmp_path / "out.json", "--seeds", "2", "--streams", "--requests", "2000")
    assert list(written) == [line[0] for line in lines[2:]] == list(CASES)
    assert {len(line) for line in lines} == {10}
    for line in lines[2:]:
        told = bench(weir, folder, line[0], "--seeds", "2", "--split", "prequential", "--floor-of-best", "0.95", "--requests", "2000")
        assert written[line[0]] == told
        best = told["class_routing_points"][-1]["success"]  # alone
        assert told["floor"] == pytest.approx(0.95 * best) and float(line[1]) == pytest.approx(95 * best, abs=0.051)
        over = told["weir_over_class_routing"]
        check_cell(line[4], over["late_cost_at_weirs_success"], 1, "never as good", 2, 2)
        check_cell(line[5], over["late_cost_of_a_success"], 1, "none", 2, 2)
        for at, key in ((2, "late_success"), (6, "windows_below"), (8, "late_windows_below")):
            for cell, way in zip(line[at:at + 2], ("weir", "class_routing")):
                assert float(cell) == pytest.approx(100 * told[way][key]["mean"], abs=0.051)


@pytest.mark.parametrize("options,words", [
    (["--only", "nothing of the kind"], "--only nothing of the kind: no case has such a name"),
    (["--requests", "2000"], "--requests has no effect without --streams"),
])
def test_what_asks_for_nothing_is_refused(folder, options, words):
    done = subprocess.run([sys.executable, SETS, folder, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and words in done.stderr and not done.stdout
