"""Every command of weir: what it prints, what it refuses, and its exact exit status."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from conftest import policy
from test_admin import KEY, tenants
import weirproc

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["serve", "check", "explain", "diff", "schema", "models", "version", "help"]
EXAMPLES = sorted((ROOT / "policies" / "examples").glob("*.yaml"))
URL = "http://127.0.0.1:9/v1"


@pytest.fixture
def good(tmp_path):
    file = tmp_path / "good.yaml"
    file.write_text(policy(URL, tmp_path))
    return file


@pytest.fixture
def broken(tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text(policy(URL, tmp_path).replace("cascade: [small]", "cascade: [smal]"))
    return file


def ok(done, status=0):
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    if status == 0:
        assert done.stderr == "", done.stderr
    return done.stdout


# ---- usage ----

def test_no_command_is_a_usage_error(weir):
    done = weir()
    assert done.returncode == 2 and done.stdout == ""
    for command in COMMANDS:
        assert command in done.stderr


@pytest.mark.parametrize("argv, says", [
    (["chek"], "did you mean 'check'?"),
    (["zzzzzz"], "unknown command 'zzzzzz'"),
    (["--json"], "a command is wanted"),
    (["check", "--jsn", "x"], "did you mean '--json'?"),
    (["check", "--zzzzzz", "x"], "unknown option '--zzzzzz'"),
    (["check", "-z", "x"], "unknown option '-z'"),
    (["check", "--json=1", "x"], "no value is taken by '--json'"),
    (["check"], "FILE..."),
    (["serve"], "--config"),
    (["serve", "-c"], "a value is missing for '--config'"),
    (["serve", "-c", "a", "-c", "b"], "more than once"),
    (["serve", "-c", "a", "b"], "unexpected operand 'b'"),
    (["diff", "a"], "OLD NEW"),
    (["diff", "a", "b", "c"], "unexpected operand 'c'"),
    (["explain", "a"], "--model"),
    (["models"], "either --config or --url"),
    (["models", "-c", "a", "--url", "b"], "either --config or --url"),
    (["help", "chek"], "did you mean 'check'?"),
    (["version", "x"], "unexpected operand 'x'"),
])
def test_what_is_not_understood(weir, argv, says):
    done = weir(*argv)
    assert done.returncode == 2, done
    assert says in done.stderr and done.stdout == ""


# ---- help ----

def test_help_reads_like_a_manual_page(weir):
    page = ok(weir("--help"))
    assert page == ok(weir("help")) == ok(weir("-h"))
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES"):
        assert re.search(f"^{heading}$", page, re.M), heading
    for command in COMMANDS:
        assert re.search(rf"^ +{command}\b", page, re.M), command


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_page(weir, command):
    page = ok(weir("help", command))
    assert page == ok(weir(command, "--help")) == ok(weir(command, "-h"))
    assert page.startswith("NAME\n")
    assert f"weir {command}" in page and "EXAMPLES" in page
    long_prose = [line for line in page.splitlines() if len(line) > 80 and not line.startswith(" " * 11)]
    assert not long_prose


def test_the_manual_page_is_sound(weir, tmp_path):
    troff = ok(weir("help", "--man"))
    for command in COMMANDS:
        assert f".SS weir {command}" in troff
    man = tmp_path / "weir.1"
    man.write_text(troff)
    try:
        done = subprocess.run(["groff", "-man", "-Tascii", "-ww", "-z", man], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no groff")
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_documented_exit_codes_are_those_of_the_header(weir):
    header = (ROOT / "gateway" / "cli" / "exit.h").read_text()
    codes = re.findall(r"X\(EXIT_CODE_\w+, (\d+),", header)
    page = ok(weir("--help"))
    for code in codes:
        assert re.search(rf"^ +{code} +\w", page, re.M), code


# ---- check ----

@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.name)
def test_examples_are_valid(weir, example):
    assert "valid" in ok(weir("check", "--no-secrets", example))


def test_check(weir, good, broken):
    assert re.fullmatch(rf"{re.escape(str(good))}: valid: .* version [0-9a-f]{{12}}\n", ok(weir("check", good)))
    done = weir("check", good, broken)
    assert done.returncode == 1
    assert re.search(rf"^{re.escape(str(broken))}:\d+:\d+: error: .*smal.*small", done.stdout, re.M), done.stdout
    assert "1 error, " in done.stdout


def test_check_json(weir, good, broken):
    done = weir("check", "--json", good, broken)
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["valid"] is False
    assert [f["valid"] for f in answer["files"]] == [True, False]
    fault = answer["files"][1]["diagnostics"][0]
    assert fault["line"] > 0 and fault["column"] > 0 and fault["path"] and fault["severity"] == "error"
    assert json.loads(ok(weir("check", good, "--json")))["valid"] is True


def test_check_of_what_cannot_be_read(weir, tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path, "/dev/null"):
        done = weir("check", path)
        assert done.returncode == 1 and str(path) in done.stdout, path


def test_check_and_secrets(weir, tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text(policy(URL, tmp_path).replace('url: "', 'key_env: WEIR_TEST_NO_SUCH_KEY, url: "'))
    done = weir("check", file)
    assert done.returncode == 1 and "WEIR_TEST_NO_SUCH_KEY" in done.stdout
    ok(weir("check", "--no-secrets", file))
    ok(weir("check", file, env={"WEIR_TEST_NO_SUCH_KEY": "sk-x"}))


def test_an_operand_may_begin_with_a_dash(weir, tmp_path):
    (tmp_path / "-dash.yaml").write_text(policy(URL, tmp_path))
    assert "valid" in ok(weir("check", "--", "-dash.yaml", cwd=tmp_path))


# ---- explain ----

def test_explain(weir, good):
    text = ok(weir("explain", good, "--model", "auto", "Why is the sky blue?"))
    assert "default" in text and "small" in text
    answer = json.loads(ok(weir("explain", good, "--model", "auto", "--json", "Why is the sky blue?")))
    assert "default" in json.dumps(answer) and "small" in json.dumps(answer)


def test_explain_reads_the_prompt_from_standard_input(weir, good):
    short = ok(weir("explain", good, "--model", "auto", "-", input="x" * 40))
    assert short == ok(weir("explain", good, "--model", "auto", "x" * 40))
    assert short != ok(weir("explain", good, "--model", "auto", "-", input="x" * 40000))


def test_explain_follows_tags_headers_tenants_and_api(weir, tmp_path):
    file = tmp_path / "p.yaml"
    text = policy(URL, tmp_path, extra=tenants())
    first = text.index("routes:\n") + len("routes:\n")
    file.write_text(text[:first] + """  - {name: tagged, match: {tags: [batch]}, cascade: [small]}
  - {name: headed, match: {headers: {x-team: search}}, cascade: [small]}
  - {name: acmes, match: {tenant: acme}, cascade: [small]}
  - {name: texts, match: {api: [completions]}, cascade: [small]}
""" + text[first:])

    def route(*more):
        done = weir("explain", file, "--model", "small", "--json", *more)
        return [r["name"] if "name" in r else r["route"] for r in json.loads(ok(done))["routes"] if r.get("taken")]
    assert route() == ["default"]
    assert route("--tag", "x", "--tag", "batch") == ["tagged"]
    assert route("--header", "X-Team: search") == ["headed"]
    assert route("--tenant", "acme") == ["acmes"]
    assert route("--api", "completions") == ["texts"]
    for bad, says in ((["--tenant", "acne"], "did you mean 'acme'?"), (["--api", "chatt"], "did you mean 'chat'?"),
                      (["--header", "no colon"], "Name: value"), (["--header", "b d: x"], "Name: value")):
        done = weir("explain", file, "--model", "small", *bad)
        assert done.returncode == 2 and says in done.stderr, done


def test_explain_of_what_no_route_answers(weir, good, broken):
    done = weir("explain", good, "--model", "nothing")
    assert done.returncode == 1 and "nothing" in done.stdout
    assert weir("explain", broken, "--model", "auto").returncode == 3
    assert weir("explain", "/none", "--model", "auto").returncode == 3


# ---- diff ----

def test_diff(weir, good, broken, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(policy(URL, tmp_path, price="9.00"))
    ok(weir("diff", good, good))
    done = weir("diff", good, other)
    assert done.returncode == 1 and "small" in done.stdout and "9" in done.stdout
    done = weir("diff", "--json", good, other)
    assert done.returncode == 1 and json.loads(done.stdout)
    for pair in ((good, broken), (broken, good), (good, tmp_path / "none")):
        done = weir("diff", *pair)
        assert done.returncode == 2 and done.stdout == "" and done.stderr


def test_diff_does_not_mind_comments(weir, good, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("# the same\n" + good.read_text())
    ok(weir("diff", good, other))


# ---- schema, version ----

def test_schema(weir):
    schema = json.loads(ok(weir("schema")))
    assert "2020-12" in schema["$schema"] and "routes" in schema["properties"]
    assert "| " in ok(weir("schema", "--markdown"))
    assert "| `weir_requests_total` | counter |" in ok(weir("schema", "--metrics"))


def test_version(weir):
    version = re.fullmatch(r"weir (\d+\.\d+\.\d+)\n", ok(weir("version"))).group(1)
    assert ok(weir("--version")) == ok(weir("-V")) == f"weir {version}\n"
    assert json.loads(ok(weir("version", "--json")))["version"] == version


# ---- models ----

def test_models_of_a_policy(weir, good, broken):
    text = ok(weir("models", "-c", good))
    assert "small" in text and "auto" in text and "1.00" in text
    names = {m["name"]: m for m in json.loads(ok(weir("models", "-c", good, "--json")))["models"]}
    assert names["small"]["price_usd"]["input"] == "1.00" and names["small"]["context"] == 8192
    assert names["auto"]["kind"] == "route"
    assert weir("models", "-c", broken).returncode == 3


def test_an_alias_that_a_route_asks_for_is_a_route(weir, start, tmp_path):
    """Who answers is the route's to say: neither the alias's target nor its price is."""
    file = tmp_path / "p.yaml"
    file.write_text("""version: 1
backends: {b: {dialect: openai, url: "http://127.0.0.1:9/v1"}}
models:
  small: {backend: b, price: {input: 1, output: 1}}
  big: {backend: b, price: {input: 20, output: 20}}
aliases: {fast: small, quick: fast, tiny: small}
routes:
  - {name: r, match: {model: fast}, cascade: [big]}
  - {name: all, cascade: [small]}
""")
    told = {m["name"]: m for m in json.loads(ok(weir("models", "-c", file, "--json")))["models"]}
    assert told["fast"] == {"name": "fast", "kind": "route", "canonical": "fast"}
    assert told["quick"] == {"name": "quick", "kind": "route", "canonical": "fast"}
    assert told["tiny"]["kind"] == "alias" and told["tiny"]["model"] == "small"
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in ok(weir("models", "-c", file)).splitlines()}
    assert lines["fast"] == "route  by its route" and lines["quick"] == lines["fast"] and "small" in lines["tiny"]
    assert "big" in ok(weir("explain", file, "--model", "fast", "hello"))
    server = start(file.read_text() + f'server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{tmp_path}/state"}}\n')
    listed = {m["id"]: m["owned_by"] for m in json.loads(weirproc.http("GET", server.base + "/v1/models")[2])["data"]}
    assert listed == {"small": "b", "big": "b", "fast": "weir", "quick": "weir", "tiny": "b"}


def test_models_of_a_server(weir, gateway):
    ids = ok(weir("models", "--url", gateway.base + "/v1")).split()
    assert set(ids) == {"small", "auto"}
    assert json.loads(ok(weir("models", "--json", "--url", gateway.base + "/v1")))["object"] == "list"


def test_models_of_a_server_that_wants_a_key(weir, start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, extra=tenants()))
    done = weir("models", "--url", gateway.base + "/v1")
    assert done.returncode == 5 and "WEIR_API_KEY" in done.stderr
    assert "small" in ok(weir("models", "--url", gateway.base + "/v1", env={"WEIR_API_KEY": KEY}))
    done = weir("models", "--url", gateway.base + "/v1", env={"WEIR_API_KEY": "a\nb"})
    assert done.returncode == 5 and "key" in done.stderr


def test_models_of_what_is_no_server(weir, gateway):
    for url, says in (("http://127.0.0.1:9/v1", "127.0.0.1:9"), ("ftp://x", "ftp"), ("nonsense", "nonsense"),
                      (gateway.admin, "404")):
        done = weir("models", "--url", url)
        assert done.returncode == 5 and says in done.stderr, done


# ---- output ----

@pytest.mark.parametrize("argv", [["schema"], ["--help"], ["version"], ["help", "--man"], ["version", "--json"]])
def test_a_full_disk_is_noticed(weir, argv):
    with open("/dev/full", "w") as full:
        done = weir(*argv, stdout=full)
    assert done.returncode == 5 and "could not be written" in done.stderr


def test_a_closed_pipe_is_noticed(weir):
    reader, writer = os.pipe()
    os.close(reader)
    done = weir("schema", stdout=writer)
    os.close(writer)
    assert done.returncode == 5 and "could not be written" in done.stderr


def on_terminal(weir, *argv, env=None):
    """What argv prints when its standard output is a terminal."""
    main, terminal = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"} | (env or {})
    done = subprocess.run([str(weir.program), *map(str, argv)], stdin=subprocess.DEVNULL, stdout=terminal,
                          stderr=subprocess.PIPE, env=environment, timeout=60 * weirproc.slowness())
    os.close(terminal)
    text = b""
    try:
        while chunk := os.read(main, 65536):
            text += chunk
    except OSError:  # Linux: the other side is closed
        pass
    os.close(main)
    return done.returncode, text.decode()


def test_colour_only_on_a_terminal_and_only_if_wanted(weir, broken):
    assert "\033[" in on_terminal(weir, "check", broken)[1]
    assert "\033[" not in on_terminal(weir, "check", broken, env={"NO_COLOR": "1"})[1]
    assert "\033[" not in on_terminal(weir, "check", broken, env={"TERM": "dumb"})[1]
    assert "\033[" not in weir("check", broken, env={"NO_COLOR": ""}).stdout


def test_colour_does_not_change_the_words(weir, broken):
    plain = weir("check", broken).stdout
    coloured = re.sub(r"\033\[[0-9;]*m", "", on_terminal(weir, "check", broken)[1]).replace("\r\n", "\n")
    assert coloured == plain
