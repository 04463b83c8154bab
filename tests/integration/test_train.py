"""weir train and weir eval as a person uses them: rows in, heads and a report out, mistakes with file and line."""

import gzip
import json
import subprocess
import xml.dom.minidom

import pytest

import weirproc

TOPICS = {
    "weather": ["will it rain in {}", "what is the forecast for {}", "is it windy in {} today", "how cold does {} get"],
    "music": ["play a song from {}", "who is the best band of {}", "turn up the album from {}", "which singer comes from {}"],
    "trains": ["when does the train to {} leave", "a ticket to {} please", "which platform for {}", "is the train from {} late"],
}
PLACES = "oslo paris rome lima cairo delhi quito seoul tunis vienna dublin lisbon prague athens bergen malta".split()


def weir(*arguments):
    return subprocess.run([weirproc.build_dir() / "gateway" / "weir", *map(str, arguments)], capture_output=True, text=True,
                          timeout=120 * weirproc.slowness())


def rows(places):
    for label, forms in TOPICS.items():
        for form in forms:
            for place in places:
                yield {"text": form.format(place), "label": label}


def write(path, some):
    opened = gzip.open(path, "wt") if path.suffix == ".gz" else open(path, "w")
    with opened as f:
        f.writelines(json.dumps(row) + "\n" for row in some)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    data = write(folder / "rows.jsonl.gz", rows(PLACES[:12]))
    done = weir("train", "--data", data, "--heads", folder / "h.safetensors", "--model", "static", "--report", folder / "report")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_heads_find_the_topic_of_other_places(trained):
    folder, _ = trained
    newer = write(folder / "newer.jsonl", rows(PLACES[12:]))
    done = weir("eval", "--data", newer, "--heads", folder / "h.safetensors", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["class"]["rows"] == 48
    assert figures["class"]["accuracy"] > 0.9
    assert figures["encoder"] == "static"


def test_the_report_is_whole(trained):
    folder, done = trained
    assert "held-out rows of 3 classes" in done.stdout
    text = (folder / "report" / "report.md").read_text()
    assert "## Classes" in text and "| weather |" in text and "![reliability](reliability.svg)" in text
    assert json.loads((folder / "report" / "report.json").read_text())["class"]["classes"][0]["class"] == "weather"
    xml.dom.minidom.parse(str(folder / "report" / "reliability.svg"))


def test_the_same_command_gives_the_same_file(trained):
    folder, _ = trained
    again = weir("train", "--data", folder / "rows.jsonl.gz", "--heads", folder / "again.safetensors", "--model", "static")
    assert again.returncode == 0
    assert (folder / "again.safetensors").read_bytes() == (folder / "h.safetensors").read_bytes()


def test_all_rows_may_train(trained):
    folder, _ = trained
    done = weir("train", "--data", folder / "rows.jsonl.gz", "--heads", folder / "all.safetensors", "--model", "static",
                "--split", "0", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["rows_are"] == "rows of the cross-validation" and figures["class"]["rows"] == 144


def test_scores_train_chances_and_tiers_keep_their_order(tmp_path):
    header = {"format": "routing-rows/1", "models": [{"name": "big"}, {"name": "small"}]}
    easy = [{"prompt": row["text"], "s": [1, int(row["label"] == "music")]} for row in rows(PLACES)]
    data = write(tmp_path / "scores.jsonl", [header, *easy])
    done = weir("train", "--data", data, "--heads", tmp_path / "h.safetensors", "--model", "static", "--tiers", "--json")
    assert done.returncode == 0, done.stderr
    small, big = json.loads(done.stdout)["success"]
    assert (small["model"], big["model"]) == ("small", "big")
    assert small["auroc"] > 0.9
    assert big["succeed"] == 1


@pytest.mark.parametrize("text, message", [
    ('{"text": "a", "label": "x"}\n{"text": 1}\n', ":2: 'text' is not a string"),
    ('{"text": "a", "label": "x"}\n{"text": "b", "label": "x"}\n{"text": "c", "label": "y"}\n', "class 'y' has 1 rows"),
    ('{"text": "a"}\n{"text": "b"}\n', "no row has a class or a score"),
    ('{"text": "a", "label": "x"}\n{"text": "b", "label": "x"}\n', "all rows are of one class"),
    ("", "there are no rows"),
])
def test_rows_that_cannot_train_are_refused(tmp_path, text, message):
    data = tmp_path / "bad.jsonl"
    data.write_text(text)
    done = weir("train", "--data", data, "--heads", tmp_path / "h.safetensors", "--model", "static")
    assert done.returncode == 5
    assert message in done.stderr
    assert not (tmp_path / "h.safetensors").exists()


@pytest.mark.parametrize("arguments, message", [
    (["--split", "2"], "--split 2: a number from 0 to 0.9"),
    (["--l2", "much"], "--l2 much"),
    (["--only", "all"], "--only all"),
    (["--folds", "1"], "--folds 1"),
])
def test_options_are_checked(trained, arguments, message):
    folder, _ = trained
    done = weir("train", "--data", folder / "rows.jsonl.gz", "--heads", folder / "x.safetensors", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_eval_refuses_what_does_not_fit(trained, tmp_path):
    folder, _ = trained
    other = write(tmp_path / "other.jsonl", [{"text": "a", "label": "politics"}])
    done = weir("eval", "--data", other, "--heads", folder / "h.safetensors")
    assert done.returncode == 5
    assert "do not know the class 'politics'" in done.stderr
    done = weir("eval", "--data", other, "--heads", other)
    assert done.returncode == 5
    assert "other.jsonl" in done.stderr
    done = weir("eval", "--data", other, "--heads", folder / "h.safetensors", "--out-of-scope", "politics", "--json")
    assert done.returncode == 0, done.stderr
    assert "class" not in json.loads(done.stdout)
