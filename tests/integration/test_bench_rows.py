"""weir bench: recorded results through the decision code, on made-up rows whose truth is known."""

import gzip
import json
import random
import re

import pytest

HEADER = {"format": "routing-rows/1", "models": ["small", "big"], "cost": "USD x 1e6", "conf": "p = log-probability"}


def rows(n=600, seed=1):
    """A small model that is right on easy questions and knows it; a big one that is right on most, at twenty times the price."""
    rng = random.Random(seed)
    for i in range(n):
        easy = rng.random() < 0.6
        small = int(rng.random() < (0.97 if easy else 0.2))
        big = int(rng.random() < 0.93)
        sure = -0.01 if easy else -0.9
        yield {"id": str(i), "prompt": f"question {i}", "class": "easy" if i % 2 else "mixed", "s": [small, big],
               "c": [50, 1000], "p": [sure, -0.1], "a": ["x" if small else "y", "x" if big else "z"]}


def write(path, lines, opener=open):
    with opener(path, "wt") as f:
        f.writelines((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    return path


@pytest.fixture
def recorded(tmp_path):
    return write(tmp_path / "rows.jsonl.gz", [HEADER, *rows()], gzip.open)


def share(out, name, column=0):
    """The figures of a line of the table, without their intervals."""
    line = next(x for x in out.splitlines() if x.strip().startswith(name))
    return float(re.sub(r"\[[^]]*\]", "", line).replace(name, "").split()[column])


def test_a_cascade_that_pays_is_found(weir, recorded, tmp_path):
    svg = tmp_path / "frontier.svg"
    done = weir("bench", recorded, "--seeds", "2", "--svg", svg)
    assert done.returncode == 0, done.stderr
    assert "600 rows, 2 arms, 2 classes; 0 rows left out" in done.stdout
    assert share(done.stdout, "weir") < 65 < share(done.stdout, "random mix")
    assert "a cascade" in done.stdout
    text = svg.read_text()
    assert text.startswith("<svg") and "small" in text and text.rstrip().endswith("</svg>")
    assert weir("bench", recorded, "--seeds", "2").stdout == done.stdout  # the same seed, the same figures


def after(out, head, name):
    """The numbers of a line of the table under that head: values, each with its interval."""
    lines = out.splitlines()
    at = next(i for i, line in enumerate(lines) if head in line)
    line = next(x for x in lines[at:] if x.strip().startswith(name))
    return [float(x) for x in re.findall(r"[\d.]+", line.replace(name, ""))]


def test_what_a_success_costs_and_the_oracle_s_lead(weir, recorded):
    done = weir("bench", recorded, "--seeds", "2")
    told = json.loads(weir("bench", recorded, "--seeds", "2", "--json").stdout)
    assert told["rows"] == 600 and told["best"] == told["dearest"] == "big" and told["cheapest"] == "small"
    truth = list(rows())
    best = sum(r["s"][1] for r in truth) / len(truth)
    oracle = {"usd": sum(50e-6 if r["s"][0] or not r["s"][1] else 1000e-6 for r in truth) / len(truth) * 1000,
              "success": sum(max(r["s"]) for r in truth) / len(truth)}
    assert told["oracle"]["usd_per_1000"] == pytest.approx(oracle["usd"]) and told["oracle"]["success"] == pytest.approx(oracle["success"])
    ways = {**told["ways"], "random mix": told["random_mix"]}
    for name, way in ways.items():
        share, per_success, regret = way["cost_share_at"]["0.97"], way["usd_per_1000_successes"], way["regret"]
        assert per_success["value"] == pytest.approx(share["value"] * 1.0 / (0.97 * best)), "a thousand calls of the best model cost a dollar"
        assert per_success["low"] <= per_success["value"] <= per_success["high"]
        assert 0 <= regret["low"] <= regret["value"] <= regret["high"] < 1, "nobody beats who knows the answers"
        cells = after(done.stdout, "regret, points", name)
        assert cells[:3] == pytest.approx([per_success[k] for k in ("value", "low", "high")], rel=1e-3)
        assert cells[3:] == pytest.approx([100 * regret[k] for k in ("value", "low", "high")], abs=0.051)
    assert ways["weir"]["regret"]["value"] < ways["random mix"]["regret"]["value"]
    assert ways["weir"]["usd_per_1000_successes"]["value"] < ways["random mix"]["usd_per_1000_successes"]["value"]
    over = {"class mean": told["ways"]["class mean"], "random mix": told["random_mix"]}
    for name, way in over.items():
        for target, difference in told["weir_cost_share_over"][name].items():
            mine, its = (w["cost_share_at"][target]["value"] for w in (ways["weir"], way))
            assert difference["value"] == pytest.approx(mine - its) and difference["low"] <= difference["value"] <= difference["high"]
            # paired: what differs from sample to sample, but for both alike, is no part of it
            assert difference["high"] - difference["low"] < sum(w["cost_share_at"][target]["high"] - w["cost_share_at"][target]["low"] for w in (ways["weir"], way))
    assert told["weir_cost_share_over"]["random mix"]["0.97"]["high"] < 0
    assert 0.5 < told["ways"]["weir"]["aiq"]["value"] < 1 and len(told["ways"]["weir"]["points"]) == 40
    for c in told["classes"]:
        best = f"class '{c['class']}': one model is best: {c['one_model_is_best']}\n"
        assert best in done.stdout if c["one_model_is_best"] else f"class '{c['class']}': a cascade" in done.stdout


def test_it_says_where_it_does_not_help(weir, tmp_path):
    def useless():
        for row in rows():
            yield {**row, "s": [1, 1]}
    done = weir("bench", write(tmp_path / "rows.jsonl", [HEADER, *useless()]), "--seeds", "1")
    assert done.returncode == 0
    assert "one model is best: small" in done.stdout
    assert "weir does not help" in done.stdout


def test_a_stream_keeps_its_floor(weir, recorded):
    done = weir("bench", recorded, "--split", "prequential", "--requests", "4000", "--seeds", "2", "--floor", "0.85", "--delay", "100")
    assert done.returncode == 0
    assert share(done.stdout, "second half: successes, %") > 86
    assert share(done.stdout, "second half: USD per 1,000 requests") < 0.9  # of the big one's 1.0


def test_a_stream_beside_class_routing(weir, recorded):
    """Both classes fare alike here: routing by class is the line between the two models, and a cascade lies far below it."""
    stream = ["bench", recorded, "--split", "prequential", "--requests", "4000", "--seeds", "2", "--delay", "100"]
    out = weir(*stream, "--floor", "0.6").stdout
    truth = list(rows())
    small, big = (sum(r["s"][i] for r in truth) / len(truth) for i in (0, 1))
    success, cost = (share(out, f"second half: {what}") for what in ("successes, %", "USD per 1,000 requests"))
    line = 0.05 + (1.0 - 0.05) * (success / 100 - small) / (big - small)
    assert share(out, "second half: cost over hindsight's at that success") == pytest.approx(cost / line, rel=0.15)
    assert cost < line and "never as good: 0 of 2" in out
    noisy = weir(*stream, "--floor", "0.6", "--noise", "0.1").stdout  # the floor is one of the truth, not of what is said
    assert noisy != out and share(noisy, "second half: successes, %") > 60
    assert "--noise" in weir(*stream, "--noise", "0.5").stderr


STREAM = ("--split", "prequential", "--requests", "2000", "--seeds", "2", "--delay", "50")


def told(weir, path, *more):
    done = weir("bench", path, *STREAM, "--json", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_stream_beside_class_routing_that_learns(weir, recorded):
    """Classes say nothing here, answers do: the router is left with the line between the two models."""
    both = told(weir, recorded, "--floor", "0.6")
    assert both["requests"] == 2000 and both["seeds"] == 2 and both["floor"] == 0.6 and both["rows"] == 600
    truth = list(rows())
    small, big = (sum(r["s"][i] for r in truth) / len(truth) for i in (0, 1))
    its = {k: v["mean"] for k, v in both["class_routing"].items()}
    line = 50e3 + 950e3 * (its["late_success"] - small) / (big - small)
    assert its["late_nanousd"] == pytest.approx(line, rel=0.1), "no second try, and nothing is read from an answer"
    points = [(p["usd_per_1000"] * 1e6, p["success"]) for p in both["class_routing_points"]]
    assert points[-2] == pytest.approx((its["late_nanousd"], its["late_success"])) and points[-1] == pytest.approx((1e6, big))
    assert len(points) == 10 and points[0] == min(points)
    over = both["weir_over_class_routing"]
    assert over["late_cost_at_weirs_success"]["high"] < 0.95 and over["late_cost_of_a_success"]["high"] < 0.95
    mine = {k: v["mean"] for k, v in both["weir"].items()}
    assert over["late_success_difference"]["value"] == pytest.approx(mine["late_success"] - its["late_success"])
    assert over["late_cost_of_a_success"]["value"] == pytest.approx(
        mine["late_nanousd"] / mine["late_success"] / (its["late_nanousd"] / its["late_success"]))
    assert over["windows_below_difference"]["value"] == pytest.approx(mine["windows_below"] - its["windows_below"])
    text = weir("bench", recorded, *STREAM, "--floor", "0.6").stdout
    for name, way in (("weir, 2000", both["weir"]), ("class routing that learns", both["class_routing"])):
        assert after(text, name, "second half: successes, %") == pytest.approx([100 * way["late_success"][k] for k in ("mean", "least", "most")], rel=1e-3)
        assert after(text, name, "... of the second half, %") == pytest.approx([100 * way["late_windows_below"][k] for k in ("mean", "least", "most")], rel=1e-3)
    ratio = over["late_cost_at_weirs_success"]
    assert after(text, "weir beside it", "second half: weir's cost over its at weir's success") == pytest.approx([ratio[k] for k in ("value", "low", "high")], rel=0.01)


def test_class_routing_learns_what_classes_say(weir, tmp_path):
    def by_class():
        for row in rows():
            yield {**row, "s": [int(row["class"] == "easy"), 1], "p": [None, None]}
    both = told(weir, write(tmp_path / "rows.jsonl", [HEADER, *by_class()]), "--floor", "0.9")
    way = {k: v["mean"] for k, v in both["class_routing"].items()}
    assert way["late_success"] > 0.9
    assert way["late_nanousd"] < 0.9 * (50e3 + 950e3 * (way["late_success"] - 0.5) / 0.5)  # below the line between the two models
    assert 0.8 < both["weir_over_class_routing"]["late_cost_of_a_success"]["value"] < 1.25  # answers tell nothing: weir is a class router


def test_ways_are_compared_on_the_same_stream(weir, recorded):
    """With one model there is nothing to choose: both ways fare alike to the last request, spoilt labels and successes included."""
    both = told(weir, recorded, "--models", "small", "--break", "small", "--noise", "0.1", "--floor", "0.3")
    assert both["weir"] == both["class_routing"]
    assert both["weir"]["asked_until_left"] == {"mean": None, "least": None, "most": None}
    over = both["weir_over_class_routing"]
    assert {k: over[k]["value"] for k in over} == {"late_cost_at_weirs_success": 1, "late_cost_of_a_success": 1, "late_success_difference": 0,
                                                   "windows_below_difference": 0, "late_windows_below_difference": 0}
    whole = told(weir, recorded, "--models", "small", "--noise", "0.1")
    assert whole["floor"] is None and "windows_below" not in whole["weir"] and "requests_to_recovery" not in whole["weir"]
    assert both["weir"]["late_success"]["mean"] == pytest.approx(whole["weir"]["late_success"]["mean"] / 2, abs=0.03)


def test_models_and_objective_of_a_policy(weir, recorded, tmp_path):
    policy = tmp_path / "p.yaml"
    policy.write_text("""version: 1
backends: {b: {dialect: openai, url: "http://127.0.0.1:1/v1"}}
models:
  cheap: {backend: b, name: small, price: {input: 1, output: 1}}
  big: {backend: b, price: {input: 2, output: 8}}
routes: [{name: r, match: {model: auto}, cascade: [cheap, big], objective: {floor: 0.9}}]
""")
    done = weir("bench", recorded, "--policy", policy, "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert "2 arms" in done.stdout
    done = weir("bench", recorded, "--policy", policy, "--route", "other")
    assert done.returncode == 5 and "p.yaml has no route 'other'" in done.stderr


def test_two_models_of_a_policy_that_were_recorded_as_one_are_refused(weir, recorded, tmp_path):
    """By the name at their servers, or where one bears the other's name there."""
    policy = tmp_path / "p.yaml"
    for first, words in (("cheap: {backend: b, name: big,", "'cheap' and 'dear' are both 'big' in the rows"),
                         ("big: {backend: b,", "'big' and 'dear' are both 'big' in the rows")):
        policy.write_text(f"""version: 1
backends: {{b: {{dialect: openai, url: "http://127.0.0.1:1/v1"}}}}
models:
  small: {{backend: b, price: {{input: 1, output: 1}}}}
  {first} price: {{input: 2, output: 8}}}}
  dear: {{backend: b, name: big, price: {{input: 4, output: 16}}}}
routes:
  - {{name: both, match: {{model: auto}}, cascade: [small, {first.partition(":")[0]}, dear], objective: {{floor: 0.9}}}}
  - {{name: one, match: {{model: one}}, cascade: [small, dear], objective: {{floor: 0.9}}}}
""")
        done = weir("bench", recorded, "--policy", policy)
        assert done.returncode == 5 and words in done.stderr and done.stderr.count("\n") == 1 and not done.stdout
    assert "2 arms" in weir("bench", recorded, "--policy", policy, "--route", "one", "--seeds", "1", "--folds", "2").stdout


def votes(n=200, seed=2):
    """No log-probabilities and no costs: the small model was asked nine times, and says the same again where it is right."""
    rng = random.Random(seed)
    for i in range(n):
        easy = rng.random() < 0.6
        right = int(rng.random() < (0.97 if easy else 0.2))
        yield {"prompt": f"question {i}", "s": [right, int(rng.random() < 0.93)], "v": [[8, 1] if easy else [3, 2, 2, 1, 1], [1]],
               "pred": ["x" if right else "y", "x"]}


def test_votes_are_a_confidence_and_the_policy_says_how_many(weir, tmp_path):
    recorded = write(tmp_path / "votes.jsonl", [{"format": "routing-rows/1", "models": ["small model", "big"]}, *votes()])
    refused = weir("bench", recorded)
    assert refused.returncode != 0 and "costs that were not recorded come from a policy" in refused.stderr
    policy = tmp_path / "p.yaml"

    def bench(samples):
        policy.write_text(f"""version: 1
backends: {{b: {{dialect: openai, url: "http://127.0.0.1:9/v1"}}}}
models:
  small: {{backend: b, name: small model, price: {{input: 0.1, output: 0.1}}}}
  big: {{backend: b, price: {{input: 20, output: 20}}}}
routes:
  - {{name: r, match: {{model: auto}}, cascade: [{{model: small, samples: {samples}}}, big], objective: {{failure_price: 0.01}}}}
""")
        done = weir("bench", recorded, "--policy", policy, "--seeds", "1", "--folds", "3")
        assert done.returncode == 0, done.stderr
        singles = next(x for x in done.stdout.splitlines() if x.strip().startswith("small model"))
        return float(singles.split()[2]), share(done.stdout, "weir")
    (one, blind), (three, some), (nine, all_) = bench(1), bench(3), bench(9)
    assert three == pytest.approx(3 * one, rel=0.01) and nine == pytest.approx(9 * one, rel=0.01), "each answer costs what the first did"
    assert all_ < some < blind - 10, "what it says again tells the right answers from the wrong ones"
    assert bench(9)[1] == all_  # the same draw, the same figures


@pytest.mark.parametrize("change,words", [
    ({"c": [-1, 2]}, "a cost of 'c'"),
    ({"c": [1]}, "1 values of 'c' for the 2 models"),
    ({"c": [1, 2, 3]}, "more values of 'c'"),
    ({"c": "1"}, "'c' is not an array"),
    ({"p": [0.5, -1]}, "a confidence of 'p'"),
    ({"a": [1, "x"]}, "an answer of 'a'"),
    ({"n": [[1, -2], [1, 2]]}, "tokens of 'n'"),
    ({"v": [3, [1]]}, "votes of 'v' are neither null nor an array"),
    ({"v": [[1, 0.5], [1]]}, "a vote of 'v' is no whole number"),
    ({"v": [[-1], [1]]}, "a vote of 'v' is no whole number"),
    ({"v": [[10000, 1], [1]]}, "the votes of 'v' are more than 10000"),
    ({"v": [[1]]}, "1 values of 'v' for the 2 models"),
])
def test_bad_rows_are_named(weir, tmp_path, change, words):
    lines = list(rows(30))
    lines[7].update(change)
    done = weir("bench", write(tmp_path / "rows.jsonl", [HEADER, *lines]))
    assert done.returncode == 5
    assert "rows.jsonl:9:" in done.stderr and words in done.stderr


def odd(n=160, arms=2, seed=1, **change):
    """Rows whose members are made by change[member](row, rng); every model's chance grows with its cost."""
    rng = random.Random(seed)
    for i in range(n):
        luck = rng.random()
        row = {"id": str(i), "prompt": f"question {i}", "class": "x", "s": [int(luck < 0.5 + 0.45 * j / max(1, arms - 1)) for j in range(arms)],
               "c": [10 * 3**j for j in range(arms)]}
        for key, make in change.items():
            row[{"cls": "class"}.get(key, key)] = make(row, rng)
        yield row


ODD = {
    "no confidence": odd(),
    "one confidence for all": odd(p=lambda r, _: [0.9] * 2),
    "confidence of 0 and 1": odd(p=lambda r, _: [float(x) for x in r["s"]]),
    "no confidence of one model": odd(p=lambda r, _: [None, 0.9]),
    "surer when wrong": odd(p=lambda r, rng: [0.2 + 0.1 * rng.random() if x else 0.9 for x in r["s"]]),
    "a model that is free": odd(c=lambda r, _: [0, 10]),
    "a million dollars": odd(c=lambda r, _: [1e11, 1e12]),
    "fractions": odd(s=lambda r, rng: [x * rng.random() for x in r["s"]]),
    "all succeed": odd(s=lambda r, _: [1, 1]),
    "equal costs": odd(c=lambda r, _: [10, 10]),
    "one row": odd(1),
    "twenty rows": odd(20),
    "one model": odd(arms=1),
    "sixteen models": odd(24, arms=16),
    "each row its own class": odd(40, cls=lambda r, _: r["id"]),
    "no class": odd(cls=lambda r, _: "x" if int(r["id"]) % 2 else None),
    "every row five times": (r for r in odd(30) for _ in range(5)),
    "scores that were not run": odd(s=lambda r, _: [r["s"][0], None if int(r["id"]) % 3 == 0 else r["s"][1]]),
    "a class of one row": odd(cls=lambda r, _: "y" if r["id"] == "7" else "x"),
}
ODD = {name: [{k: v for k, v in r.items() if v is not None} for r in made] for name, made in ODD.items()}


def odd_rows(name, path):
    models = [f"m{j}" for j in range(len(ODD[name][0]["s"]))]
    return write(path, [{**HEADER, "models": models, "conf": "0..1"}, *ODD[name]])


@pytest.mark.parametrize("name", ODD)
def test_odd_rows_get_finite_figures(weir, tmp_path, name):
    path = odd_rows(name, tmp_path / "rows.jsonl")
    done = weir("bench", path, "--seeds", "1", "--folds", "2", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rows"] + told["rows_left_out"] == len(ODD[name])
    singles = {m["model"]: m for m in told["models"]}
    best = singles[told["best"]]
    for point in told["ways"]["weir"]["points"]:
        assert 0 <= point["success"] <= 1 + 1e-9 and 0 <= point["usd_per_1000"] <= sum(m["usd_per_1000"] for m in singles.values()) * (1 + 1e-9)
    # where success is worth a lot, it is had: within what the rows can tell
    assert told["rows"] < 100 or told["ways"]["weir"]["points"][-1]["success"] >= best["success"]["value"] - 2 * (best["success"]["high"] - best["success"]["low"]) - 1e-9
    text = weir("bench", path, "--seeds", "1", "--folds", "2").stdout
    assert "nan" not in text and "inf" not in text


def test_a_confidence_that_tells_nothing_is_one_model_for_each_class(weir, tmp_path):
    """Without any, weir is class routing: what it pays differs by where folds change over, not by calls for a second answer."""
    path = write(tmp_path / "rows.jsonl", [HEADER, *odd(400, p=lambda r, _: [-0.1, -0.1])])
    told = json.loads(weir("bench", path, "--seeds", "1", "--json").stdout)
    dearest = max(m["usd_per_1000"] for m in told["models"])
    assert all(p["usd_per_1000"] <= dearest * (1 + 1e-9) for p in told["ways"]["weir"]["points"])
    assert all(c["one_model_is_best"] for c in told["classes"])


def test_what_cannot_be_replayed_is_refused(weir, recorded, tmp_path):
    bare = write(tmp_path / "bare.jsonl", [{**HEADER, "cost": "none"}, *rows(30)])
    assert "does not say in which unit" in weir("bench", bare).stderr
    free = write(tmp_path / "free.jsonl", [HEADER, *({**r, "c": [None, None]} for r in rows(30))])
    assert "none of the 30 rows has a score and a cost of every arm" in weir("bench", free).stderr
    dear = weir("bench", write(tmp_path / "dear.jsonl", [HEADER, *({**r, "c": [1, 1e300]} for r in rows(30))]))
    assert dear.returncode == 5 and "a cost of 'c' is more than a million dollars" in dear.stderr and dear.stdout == ""
    assert "no model 'nobody'" in weir("bench", recorded, "--models", "small,nobody").stderr
    for argv, words in ((["--split", "half"], "'half' is neither cv nor prequential"), (["--folds", "1"], "--folds 1: a number from 2 to 20"), (["--folds", "2.5"], "--folds 2.5: a whole number from 2 to 20"),
                        (["--feedback", "0.5"], "--feedback has no effect with --split cv"), (["--seeds", "x"], "--seeds x:"),
                        (["--split", "prequential", "--svg", "x.svg"], "--svg has no effect with --split prequential"),
                        (["--route", "r"], "--route has no effect without --policy"),
                        (["--models", "small,big", "--policy", "p.yaml"], "--models has no effect with --policy")):
        done = weir("bench", recorded, *argv)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1 and not done.stdout, done.stderr
    for models, words in (("small,nobody", "no model 'nobody'"), ("small,big,small", "--models names 'small' twice"), ("small,", "no model ''")):
        done = weir("bench", recorded, "--models", models)
        assert done.returncode == 5 and words in done.stderr and not done.stdout


@pytest.mark.parametrize("split", ["cv", "prequential"])
@pytest.mark.parametrize("change,words", [
    ({"s": [0, 0]}, "no model succeeded on any of the 30 rows"),
    ({"c": [0, 0]}, "costs nothing: there is nothing to save"),
])
def test_what_there_is_nothing_to_compare_of_is_refused(weir, tmp_path, split, change, words):
    done = weir("bench", write(tmp_path / "rows.jsonl", [HEADER, *({**r, **change} for r in rows(30))]), "--split", split)
    assert done.returncode == 5 and words in done.stderr and done.stdout == ""
