"""Servers' own lists of models: who is asked, what is told of a difference, and what `weir models --discover` prints."""

import json
import re
import subprocess

import scripted
from conftest import scripted_policy
from scripted import whole
from test_launcher import backend, listening
from test_sdk import MODEL
from weirproc import Weir, build_dir, free_port, http, slowness, wait_until


def backends(weir):
    return {b["name"]: b for b in json.loads(http("GET", weir.admin + "/admin/backends")[2])["backends"]}


def models_of(weir, name, endpoint=0):
    return backends(weir)[name]["endpoints"][endpoint]["models"]


def run(*args):
    return subprocess.run([build_dir() / "gateway" / "weir", *args], capture_output=True, text=True, timeout=60 * slowness())


def lists(*models, **more):
    """A server that answers /v1/models with these and everything else with a reply."""
    body = {"object": "list", "data": list(models), **more}

    def step(exchange):
        return whole(body if exchange.target.startswith("/v1/models") else None)(exchange)
    return step


def warnings(weir):
    return [line for line in weir.log.read_text().splitlines() if "at=discovery" in line and "level=warn" in line]


def test_what_the_server_does_not_have_is_told_once(upstream_session, upstream, tmp_path):
    names = [{"id": f"up-{n}", "max_model_len": 8192} for n in ("small", "solo")]
    upstream.play(*[lists(*names)] * 1000)
    text = scripted_policy(upstream_session.url, tmp_path / "state").replace("    timeouts:", "    discover: 100ms\n    timeouts:")
    text = text.replace("solo: {backend: up, name: up-solo, context: 8192", "solo: {backend: up, name: up-solo, context: 9000")
    weir = Weir(tmp_path, text)
    try:
        wait_until(lambda: len(upstream.seen) > 3, 10, "the list to be read again and again")
        known = models_of(weir, "up")
        assert known["error"] is None and known["asked"].endswith("Z")
        assert known["listed"] == [{"id": "up-small", "context": 8192, "declared": True}, {"id": "up-solo", "context": 8192, "declared": True}]
        assert known["problems"] == ["model 'large' (there 'up-large') is not in the server's list of models",
                                     "model 'solo' (there 'up-solo') has a context of 9000 tokens in the policy, and of 8192 by the server's list",
                                     "model 'embed' (there 'up-embed') is not in the server's list of models"]
        assert len(warnings(weir)) == 3, "once, though the list was read several times"
        shown = run("backends", "--url", weir.admin).stdout
        assert "it lists 2 models" in shown and "warning: model 'large' (there 'up-large') is not in" in shown
        status, _, body = http("POST", weir.base + "/v1/chat/completions", {"model": "solo", "messages": []})
        assert status == 200, "a list decides nothing"

        names += [{"id": "up-large"}, {"id": "up-embed"}]
        upstream.play(*[lists(*names)] * 1000)
        wait_until(lambda: len(models_of(weir, "up")["problems"]) == 1, 10, "the new list")
        assert len(warnings(weir)) == 4, "the one that remains, with the new list"
        weir.policy_file.write_text(text.replace("context: 9000", "context: 8192"))
        wait_until(lambda: models_of(weir, "up")["problems"] == [], 10, "the mended policy")
        upstream.play(*[whole({"error": {}}, status=401)] * 1000)
        wait_until(lambda: models_of(weir, "up")["error"] == "the server answered with status 401", 10, "the refusal")
        assert len(models_of(weir, "up")["listed"]) == 4 and len(warnings(weir)) == 4
    finally:
        weir.stop()


def test_nobody_is_asked_unless_told_to_or_ones_own(upstream_session, upstream, tmp_path):
    """A remote server gets no request that no client made; one's own engine is asked, with the key, at the URL's path."""
    second = scripted.Upstream()
    second.play(*[lists({"id": "x"})] * 10)
    text = scripted_policy(upstream_session.url, tmp_path / "state").replace(
        "models:", f'  engine: {{dialect: openai, server: vllm, url: "{second.url}", key_env: ENGINE_KEY}}\nmodels:\n'
        "  x: {backend: engine, price: {gpu_second: 0.0004}}", 1).replace("routes:", "routes:\n  - {name: x, match: {model: x}, cascade: [x]}", 1)
    weir = Weir(tmp_path, text, env={"ENGINE_KEY": "k-engine"})
    try:
        wait_until(lambda: models_of(weir, "engine")["asked"], 10, "the engine's list")
        assert models_of(weir, "engine")["problems"] == [] and models_of(weir, "up") is None
        assert second.last.target == "/v1/models" and second.last.header("authorization") == "Bearer k-engine"
        assert upstream.seen == []
    finally:
        weir.stop()
        second.close()


def test_anthropic_lists_in_pages(upstream_session, upstream, tmp_path):
    upstream.play(lists({"id": "up-small"}, {"id": "up-large", "lifecycle": "retired"}, has_more=True), lists({"id": "up-solo", "max_input_tokens": 1000}))
    text = scripted_policy(upstream_session.url, tmp_path / "state").replace("dialect: openai", "dialect: anthropic\n    discover: 1h")
    text = re.sub(r"\n  embed: .*|\n  - name: vectors\n.*\n.*", "", text)
    weir = Weir(tmp_path, text)
    try:
        wait_until(lambda: models_of(weir, "up")["asked"], 10, "the list")
        assert [e.target for e in upstream.seen] == ["/v1/models?limit=1000", "/v1/models?limit=1000&after_id=up-large"]
        assert all(e.header("anthropic-version") == "2023-06-01" for e in upstream.seen)
        assert models_of(weir, "up")["problems"] == [
            "model 'large' (there 'up-large') is retired there: requests for it fail",
            "model 'solo' (there 'up-solo') has a context of 8192 tokens in the policy, and of 1000 by the server's list"]
    finally:
        weir.stop()


def launched(tmp_path, port):
    return f"""
version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{tmp_path / 'state'}"}}
backends:
{backend("own", port, more=", idle: 30m")}
models:
  {MODEL}: {{backend: own, price: {{gpu_second: 0.0004}}}}
  missing: {{backend: own, price: {{gpu_second: 0.0004}}}}
"""


def test_a_server_is_not_started_for_its_list_but_asked_when_it_is_there(tmp_path):
    port = free_port()
    weir = Weir(tmp_path, launched(tmp_path, port))
    try:
        offline = run("models", "-c", str(weir.policy_file), "--discover")
        assert offline.returncode == 0 and "not read: " in offline.stdout, "that it does not run is no fault"
        assert not listening(port) and models_of(weir, "own") == {"asked": None, "error": None, "listed": None, "problems": None}
        assert http("POST", weir.base + "/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}, timeout_s=40)[0] == 200
        wait_until(lambda: models_of(weir, "own")["asked"], 10, "the list")
        assert models_of(weir, "own")["problems"] == ["model 'missing' is not in the server's list of models"]
    finally:
        weir.stop()


def test_what_could_be_added_is_printed_to_paste(fleet, tmp_path):
    """New names, quoted, without a price: no policy takes that, until the operator has written one."""
    strange = scripted.Upstream()
    strange.play(*[lists({"id": MODEL}, {"id": "a b/é", "context_length": 4096}, {"id": "true"})] * 10)
    text = f"""
version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", state_dir: "{tmp_path / 'state'}"}}
backends:
  fleet: {{dialect: openai, url: "{fleet.url}"}}
  strange: {{dialect: openai, url: "{strange.url}"}}
  gone: {{dialect: openai, url: "http://127.0.0.1:1/v1"}}
  azure: {{dialect: openai, url: "https://x.openai.azure.com", server: azure, api_version: "2024-10-21"}}
models:
  mine: {{backend: fleet, name: {MODEL}, price: {{input: 1, output: 1}}}}
  {MODEL}: {{backend: gone, price: {{input: 1, output: 1}}}}
  b: {{backend: azure, price: {{input: 1, output: 1}}}}
  c: {{backend: strange, name: absent, price: {{input: 1, output: 1}}}}
"""
    file = tmp_path / "weir.yaml"
    file.write_text(text)
    try:
        found = run("models", "-c", str(file), "--discover")
        assert found.returncode != 0, "one that ought to be there is not"
        assert "gone, http://127.0.0.1:1/v1: not read: " in found.stdout
        entries = [line for line in found.stdout.splitlines() if line.startswith('  "')]
        assert '  "true": {backend: "strange", price: {}}' in entries
        assert '  "a-b/--": {backend: "strange", name: "a b/é", context: 4096, price: {}}' in entries
        assert f'  "{MODEL}@strange": {{backend: "strange", name: "{MODEL}", price: {{}}}}' in entries
        assert not any(f'name: "{MODEL}"' in e for e in entries if '"fleet"' in e), "it is there, under another name"
        assert "# warning: model 'c' (there 'absent') is not in" in found.stdout

        file.write_text(text + "\n".join(entries) + "\n")
        unpriced = run("check", str(file))
        assert unpriced.returncode != 0 and (unpriced.stdout + unpriced.stderr).count(".price: there is no price in it") == len(entries)
        file.write_text(text + "\n".join(entries).replace("price: {}", "price: {input: 1, output: 2}") + "\n")
        assert run("check", str(file)).returncode == 0
        again = run("models", "-c", str(file), "--discover", "--json")
        listed = {entry["backend"]: entry for entry in json.loads(again.stdout)["lists"]}
        assert all(m["declared"] for name in ("fleet", "strange") for m in listed[name]["models"])
        assert listed["gone"]["error"] and listed["gone"]["models"] is None and listed["azure"]["models"] is None
    finally:
        strange.close()


def test_discover_goes_with_a_policy_only():
    wrong = run("models", "--url", "http://127.0.0.1:1/v1", "--discover")
    assert wrong.returncode == 2 and "--discover goes with --config" in wrong.stderr
