"""The admin API over real sockets: what it shows, who may ask, and changes of the policy."""

import hashlib
import http.client
import json
import os
import threading

import pytest

from conftest import policy
import scripted
from test_reload import held, in_background

ALL = ["/healthz", "/readyz", "/metrics", "/admin/requests", "/admin/backends", "/admin/policy", "/admin/policy/versions",
       "/admin/policy/versions/1"]
KEY, ADMIN_KEY = "sk-weir-integration-acme", "sk-weir-integration-ops"


def tenants():
    digest = {k: hashlib.sha256(k.encode()).hexdigest() for k in (KEY, ADMIN_KEY)}
    return f"""tenants:
  acme: {{keys: [{{sha256: {digest[KEY]}}}]}}
  ops: {{keys: [{{sha256: {digest[ADMIN_KEY]}}}], admin: true}}
"""


def assert_error(answer, status, code=None):
    got, _, body = answer
    assert got == status, (got, body)
    assert set(body["error"]) >= {"message", "type", "param", "code"}, body
    assert code is None or body["error"]["code"] == code, body
    return body["error"]


# ---- what it shows ----

def test_health(gateway):
    status, headers, body = gateway.request("GET", "/healthz")
    assert (status, body) == (200, b"ok\n")
    assert headers["Content-Type"].startswith("text/plain")
    ready = gateway.get("/readyz")
    assert ready["ready"] is True and ready["workers"] == 2 and ready["ledger"] == {"queued": 0, "full": False}


def test_head_is_get_without_the_body(gateway):
    gateway.get("/admin/policy")
    for path in ALL:
        connection = http.client.HTTPConnection(gateway.admin.removeprefix("http://"), timeout=10)
        connection.request("HEAD", path)
        reply = connection.getresponse()
        assert reply.status == 200 and int(reply.getheader("Content-Length")) > 0, path
        assert reply.read() == b""
        connection.request("GET", "/healthz")  # the connection is still in step
        assert connection.getresponse().read() == b"ok\n", path
        connection.close()


def test_unknown_paths_and_methods(gateway):
    for path in ("/", "/admin", "/admin/", "/admin/policy/", "/admin/policy/versions/", "/admin/policy/versions/1/x",
                 "/healthz/x", "/HEALTHZ", "/v1/models"):
        assert_error(gateway.request("GET", path), 404, "unknown_url")
    for method, path, allow in (("POST", "/healthz", "GET, HEAD"), ("DELETE", "/admin/policy", "GET, HEAD, PUT"),
                                ("GET", "/admin/policy/rollback", "POST"), ("OPTIONS", "/admin/policy", "GET, HEAD, PUT")):
        answer = gateway.request(method, path)
        assert_error(answer, 405)
        assert answer[1]["Allow"] == allow


def test_no_cors_ever(gateway):
    for method in ("GET", "OPTIONS"):
        _, headers, _ = gateway.request(method, "/admin/policy", Origin="http://localhost:3000",
                                        Access_Control_Request_Method="PUT")
        assert not [h for h in headers if h.lower().startswith("access-control")]


def test_metrics_add_up(gateway):
    for _ in range(5):
        assert gateway.chat()[0] == 200
    status, headers, body = gateway.request("GET", "/metrics")
    assert status == 200 and "version=0.0.4" in headers["Content-Type"]
    lines = body.decode().splitlines()
    total = sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("weir_requests_total{"))
    assert total == 5
    assert gateway.metric('weir_attempts_total{model="small",backend="up",outcome="ok"}') == 5
    assert [line for line in lines if line.startswith("weir_endpoint_up{")][0].endswith(" 1")
    assert gateway.metric("weir_policy_loaded_timestamp_seconds") > 1_000_000_000
    gateway.until(lambda: gateway.metric("weir_ledger_rows_total") > 0, "ledger rows")
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))


def test_endpoints_that_a_reload_removed_leave_no_series(gateway, upstream, tmp_path):
    gateway.put(policy(upstream.url.replace("127.0.0.1", "localhost"), tmp_path))
    series = [line for line in gateway.get("/metrics").decode().splitlines() if line.startswith("weir_endpoint_up{")]
    assert len(series) == 1 and "localhost" in series[0]


def test_requests_in_flight(gateway, upstream):
    assert gateway.get("/admin/requests") == {"requests": [], "workers": 2, "truncated": False, "silent_workers": []}
    release = threading.Event()
    upstream.play(*[held(release)] * 6)
    calls = [in_background(gateway.chat) for _ in range(6)]
    gateway.until(lambda: len(gateway.get("/admin/requests")["requests"]) == 6, "six requests")
    for request in gateway.get("/admin/requests")["requests"]:
        assert request["model"] == "auto" and request["serving_model"] == "small", request
        assert request["state"] and request["age_ms"] >= 0, request
    assert gateway.get("/admin/backends")["backends"][0]["endpoints"][0]["in_flight"] == 6
    release.set()
    for thread, box in calls:
        thread.join()
        assert box["result"][0] == 200
    gateway.until(lambda: not gateway.get("/admin/requests")["requests"], "none")


def test_backends_show_health(gateway, upstream):
    gateway.chat()
    endpoint = gateway.get("/admin/backends")["backends"][0]["endpoints"][0]
    assert endpoint["healthy"] is True and endpoint["requests"] == 1 and endpoint["errors"] == 0
    assert endpoint["latency_us"] > 0


# ---- the policy ----

def test_policy_as_text_and_as_a_summary(gateway, upstream, tmp_path):
    status, headers, body = gateway.request("GET", "/admin/policy")
    assert status == 200 and body.decode() == policy(upstream.url, tmp_path)
    assert headers["Content-Type"] == "application/yaml"
    assert headers["ETag"] == f'"{gateway.version()}"'
    summary = gateway.get("/admin/policy", Accept="application/json")
    assert summary["models"] == ["small"] and summary["routes"] == ["default"] and summary["serial"] == 1


def test_put_changes_file_and_service(gateway, upstream, tmp_path):
    os.chmod(gateway.policy_file, 0o640)
    tag = gateway.request("GET", "/admin/policy")[1]["ETag"]
    new = policy(upstream.url, tmp_path, model="other")
    status, headers, body = gateway.put(new, tag)
    assert status == 200, body
    assert headers["ETag"] == f'"{body["version"]}"' != tag
    assert body["serial"] == 2 and body["diff"]
    assert gateway.policy_file.read_text() == new
    assert gateway.policy_file.stat().st_mode & 0o777 == 0o640
    assert gateway.version() == body["version"]
    gateway.until(lambda: gateway.chat("other")[0] == 200, "the new model")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("weir.yaml")] == ["weir.yaml"], "no temporary file is left"


def test_put_writes_behind_a_link(start, upstream, tmp_path):
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "real.yaml").write_text("x")
    (tmp_path / "weir.yaml").symlink_to(real / "real.yaml")
    gateway = start(policy(upstream.url, tmp_path))
    new = policy(upstream.url, tmp_path, model="other")
    assert gateway.put(new)[0] == 200
    assert (tmp_path / "weir.yaml").is_symlink() and (real / "real.yaml").read_text() == new


def test_put_needs_the_right_version(gateway, upstream, tmp_path):
    text = policy(upstream.url, tmp_path, model="other")
    tag = gateway.request("GET", "/admin/policy")[1]["ETag"]
    assert_error(gateway.request("PUT", "/admin/policy", text.encode()), 428, "precondition_required")
    for wrong in ('"000000000000"', "", tag.strip('"'), "W/" + tag, '"a", "b"'):
        assert_error(gateway.put(text, wrong), 412, "precondition_failed")
    assert gateway.policy_file.read_text() == policy(upstream.url, tmp_path)
    assert gateway.put(text, f'"zzz" , {tag}')[0] == 200
    assert_error(gateway.put(policy(upstream.url, tmp_path), tag), 412)


def test_an_edit_of_the_file_counts_before_it_is_noticed(gateway, upstream, tmp_path):
    tag = gateway.request("GET", "/admin/policy")[1]["ETag"]
    edited = policy(upstream.url, tmp_path, price="3.00")
    gateway.policy_file.write_text(edited)
    assert_error(gateway.put(policy(upstream.url, tmp_path, price="4.00"), tag), 412)
    assert gateway.policy_file.read_text() == edited


def test_put_of_a_broken_policy_touches_nothing(gateway, upstream, tmp_path):
    good = policy(upstream.url, tmp_path)
    for broken in (good.replace("cascade: [small]", "cascade: [smal]"), "", "\0", "a: [", "- 1", "version: 1\n" * 3):
        error = assert_error(gateway.put(broken), 422, "invalid_policy")
        assert error["diagnostics"] and all(d["message"] for d in error["diagnostics"]), error
    assert gateway.policy_file.read_text() == good
    assert gateway.get("/readyz")["policy"]["stale"] is False
    error = assert_error(gateway.put(good.replace("workers: 2", "workers: 3")), 409)
    assert "workers" in error["message"]
    assert gateway.policy_file.read_text() == good


def test_put_repairs_a_broken_file(gateway, upstream, tmp_path):
    tag = gateway.request("GET", "/admin/policy")[1]["ETag"]
    gateway.policy_file.write_text("version: [")
    gateway.until(lambda: gateway.get("/readyz")["policy"]["stale"], "a stale policy")
    assert gateway.put(policy(upstream.url, tmp_path, model="other"), tag)[0] == 200
    assert gateway.get("/readyz")["policy"]["stale"] is False


def test_put_that_cannot_be_written_says_so(gateway, upstream, tmp_path):
    if os.geteuid() == 0:
        # root writes into any folder; a file whose name is taken by a folder it cannot replace
        gateway.policy_file.unlink()
        gateway.policy_file.mkdir()
    else:
        tmp_path.chmod(0o500)
    try:
        error = assert_error(gateway.put(policy(upstream.url, tmp_path, model="other")), 500)
        assert "weir.yaml" in error["message"]
    finally:
        tmp_path.chmod(0o700)
    assert gateway.chat()[0] == 200


def test_bodies_are_bounded(gateway):
    assert_error(gateway.put("x" * (5 << 20)), 413)


def test_validate_changes_nothing(gateway, upstream, tmp_path):
    def validate(text):
        status, _, body = gateway.request("POST", "/admin/policy/validate", text.encode())
        assert status == 200, body
        return body
    good = policy(upstream.url, tmp_path)
    before = gateway.version()
    answer = validate(policy(upstream.url, tmp_path, model="other"))
    assert answer["valid"] is True and answer["diff"] and answer["restart_needed"] is False
    answer = validate(good.replace("cascade: [small]", "cascade: [smal]"))
    assert answer["valid"] is False and answer["diagnostics"][0]["line"] > 0 and answer["diff"] is None
    answer = validate(good.replace("workers: 2", "workers: 3"))
    assert answer["valid"] is True and answer["restart_needed"] is True and "workers" in answer["restart_why"]
    assert gateway.version() == before and gateway.policy_file.read_text() == good
    assert len(gateway.get("/admin/policy/versions")["versions"]) == 1


def test_roll_back(gateway, upstream, tmp_path):
    first = policy(upstream.url, tmp_path)
    assert gateway.put(policy(upstream.url, tmp_path, model="other"))[0] == 200

    def roll_back(body, tag="*"):
        return gateway.request("POST", "/admin/policy/rollback", body, If_Match=tag)
    assert_error(gateway.request("POST", "/admin/policy/rollback", {"serial": 1}), 428)
    assert_error(roll_back({"serial": 1}, '"nope"'), 412)
    assert_error(roll_back({"serial": 99}), 404)
    for bad in (b"", b"1", b"{}", b'{"serial": "1"}', b'{"serial": 1, "x": 2}', b'{"serial": 1.5}', b'{"serial": 1', b"[]"):
        assert_error(roll_back(bad), 400)
    status, _, body = roll_back({"serial": 1})
    assert status == 200 and body["serial"] == 3, body
    assert gateway.policy_file.read_text() == first
    versions = gateway.get("/admin/policy/versions")["versions"]
    assert [(v["serial"], v["origin"], v["serving"]) for v in versions] == [
        (3, "rollback to 1", True), (2, "api", False), (1, "start", False)]
    assert versions[0]["version"] == versions[2]["version"]


def test_versions_that_are_not_there(gateway):
    for serial in ("0", "2", "-1", "1.0", "x", "99999999999999999999", "1%00", "..", "%2e%2e"):
        assert_error(gateway.request("GET", "/admin/policy/versions/" + serial), 404)


# ---- who may ask ----

def test_a_rebound_name_is_refused_without_tenants(gateway):
    port = gateway.admin.rpartition(":")[2]
    for host in ("evil.example", "evil.example:" + port, "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1",
                 "[::2]", "[::1]x", "127.evil"):
        for path in ALL:
            assert_error(gateway.request("GET", path, Host=host), 403)
    for host in ("localhost", "LOCALHOST:" + port, "127.0.0.1", "127.1.2.3:80", "[::1]", "[::1]:" + port):
        assert gateway.request("GET", "/readyz", Host=host)[0] == 200, host


def test_tenants_close_the_admin_api(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, extra=tenants()))
    for path in ALL:
        if path in ("/healthz", "/readyz"):
            assert gateway.request("GET", path)[0] == 200
            continue
        answer = gateway.request("GET", path)
        assert_error(answer, 401, "invalid_api_key")
        assert answer[1]["WWW-Authenticate"] == "Bearer"
        assert gateway.request("GET", path, key="wrong")[0] == 401
        assert gateway.request("GET", path, key=KEY)[0] in (401, 403), "a tenant that is no admin"
        assert gateway.request("GET", path, key=ADMIN_KEY)[0] == 200
    assert gateway.request("GET", "/nothing")[0] == 401, "what exists is not told to strangers"
    new = policy(upstream.url, tmp_path, extra=tenants(), model="other")
    assert gateway.put(new, key=KEY)[0] in (401, 403)
    assert gateway.policy_file.read_text() != new
    assert gateway.put(new, key=ADMIN_KEY)[0] == 200
    assert "no tenants are configured" not in gateway.tail()


def test_a_reload_that_adds_tenants_closes_the_door(gateway, upstream, tmp_path):
    assert gateway.put(policy(upstream.url, tmp_path, extra=tenants()))[0] == 200
    assert gateway.request("GET", "/admin/policy")[0] == 401
    assert gateway.request("GET", "/admin/policy", key=ADMIN_KEY)[0] == 200


def test_an_asker_that_leaves_is_forgotten(gateway):
    address = gateway.admin.removeprefix("http://")
    for _ in range(200):
        connection = http.client.HTTPConnection(address, timeout=10)
        connection.request("GET", "/admin/requests")
        connection.close()

    def answered():
        status, _, body = gateway.request("GET", "/admin/requests")
        assert status == 200 or body["error"]["code"] == "overloaded", (status, body)
        return status == 200 and body["silent_workers"] == []
    # There are fewer places than askers: they are free again only when it has noticed that nobody waits.
    gateway.until(answered, "places for a question")


def test_many_askers_at_once(gateway):
    calls = [in_background(lambda: gateway.request("GET", "/admin/requests")) for _ in range(40)]
    for thread, box in calls:
        thread.join()
        assert box["result"][0] == 200, box
