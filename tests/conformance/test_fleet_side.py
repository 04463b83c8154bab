"""Towards the servers: many endpoints, dead ones, slow ones, budgets, TLS and HTTP/2, names and addresses of both families."""

import json
import shutil
import socket
import ssl
import subprocess
import time

import pytest

import scripted
from conftest import PATIENT, SLOW
from rawhttp import Client, request
from scripted import DONE, OK_REPLY, ROLE, answer, chunk, error, silent, stream, whole
from test_accounting import metric, rows
from test_money import ledger
from test_wire_http import CHAT, error_of, once
from weirproc import Process, Weir, free_port, http, slowness, wait_until

ASK = request("POST", CHAT, b'{"model":"m","messages":[]}')


def policy(folder, urls, backend="", route="", retry="{max_attempts: 3, per_model: 3, backoff: {base: 1ms, max: 2ms}}", server="", steps="m",
           models="", timeouts=PATIENT, listen="127.0.0.1:0"):
    return f"""
version: 1
server: {{listen: "{listen}", admin: "127.0.0.1:0", workers: 1, state_dir: "{folder}/state"{server}}}
backends:
  up: {{dialect: openai, url: {json.dumps(urls)}, timeouts: {{{timeouts}}}{backend}}}
models:
  m: {{backend: up, price: {{input: 1.00, output: 4.00}}}}
{models}
retry: {retry}
routes:
  - name: only
    match: {{model: m}}
    cascade: [{steps}]
{route}
"""


@pytest.fixture
def start(tmp_path):
    running = []

    def start_one(urls, **more):
        running.append(Weir(tmp_path, policy(tmp_path, urls, **more)))
        return running[-1]

    yield start_one
    for weir in running:
        weir.stop()


def dead_port(keep):
    s = socket.socket()
    s.bind(("127.0.0.1", 0))  # bound, not listening: refuses
    keep.append(s)
    return s.getsockname()[1]


def test_sixteen_models_in_a_row(start, upstream):
    models = "\n".join(f"  m{i}: {{backend: up, price: {{input: 1.00, output: 1.00}}}}" for i in range(15))
    weir = start(upstream.url, models=models, steps=", ".join(["m", *(f"m{i}" for i in range(15))]), retry="{max_attempts: 16, per_model: 1}")
    upstream.play(*[error(500)] * 15, whole())
    reply = once(weir, ASK)
    assert reply.status == 200 and reply.get("x-weir-attempts") == "16" and reply.get("x-weir-model") == "m14"
    upstream.play(*[error(500)] * 16)
    assert once(weir, ASK).status == 500 and len(upstream.seen) == 16
    _, attempts = rows(weir, reply.get("x-request-id"))
    assert [a["seq"] for a in attempts] == list(range(1, 17))


def test_sixty_four_endpoints_of_which_one_lives(start, upstream):
    """Attempts end at the first live one; the dead are ejected, so that soon nobody waits for them."""
    keep = []
    urls = [f"http://127.0.0.1:{dead_port(keep)}/v1" for _ in range(63)] + [upstream.url]
    weir = start(urls, retry="{max_attempts: 64, per_model: 64, backoff: {base: 1ms, max: 2ms}, budget: {percent: 100, min_per_second: 10000}}")
    for _ in range(20):
        reply = once(weir, ASK)
        assert reply.status == 200 and reply.get("x-weir-endpoint") == f"127.0.0.1:{upstream.port}"
    up = [line for line in http("GET", weir.admin + "/metrics")[2].decode().splitlines() if line.startswith("weir_endpoint_up{")]
    assert len(up) == 64


def test_an_endpoint_that_fails_is_left_out_and_comes_back(start, upstream):
    bad = scripted.Upstream()
    try:
        weir = start([upstream.url, bad.url], retry="{max_attempts: 2, per_model: 2, budget: {percent: 100, min_per_second: 1000}}")
        bad.play(*[error(503)] * 1000)

        def left_out():
            assert once(weir, ASK).status == 200
            return metric(weir, "weir_endpoint_up", endpoint=f"127.0.0.1:{bad.port}") == 0
        wait_until(left_out, 15, "it to be left out")
        assert len(bad.seen) == 3, "ejected after three failures in a row"
        bad.play()
        wait_until(lambda: once(weir, ASK).status == 200 and bad.seen, 15, "the endpoint to be asked again")
    finally:
        bad.close()


def test_all_endpoints_down_is_said_at_once(start):
    keep = []
    weir = start([f"http://127.0.0.1:{dead_port(keep)}/v1" for _ in range(3)])
    for _ in range(10):
        reply = once(weir, ASK)
        assert reply.status == 502 and error_of(reply)["code"] == "upstream_unreachable"
        booked, attempts = rows(weir, reply.get("x-request-id"))
        assert booked["cost_nanousd"] == 0 and {a["outcome"] for a in attempts} == {"upstream_connect"}


@pytest.mark.parametrize("transport", ["native", "curl"])
@pytest.mark.parametrize("ends", ["client leaves", "deadline"])
def test_what_was_never_sent_costs_nothing(start, transport, ends):
    """The server takes the connection and says nothing in the TLS handshake: no byte of the request has left."""
    mute = socket.create_server(("127.0.0.1", 0))
    try:
        weir = start(f"https://127.0.0.1:{mute.getsockname()[1]}/v1", backend=f", transport: {transport}", route=f"    deadline: {500 * SLOW}ms" if ends == "deadline" else "")
        with Client(weir.address) as c:
            c.send(ASK)
            mute.settimeout(10 * slowness())
            taken, _ = mute.accept()
            taken.recv(1)
            if ends == "deadline":
                assert c.reply().status == 504
        wait_until(lambda: ledger(weir, "SELECT count(*) AS n FROM requests")[0]["n"], 10, "the row")
        (row,) = ledger(weir, "SELECT outcome, usage_source, cost_nanousd, input_tokens FROM attempt_rows")
        assert (row["usage_source"], row["cost_nanousd"], row["input_tokens"]) == ("none", 0, 0)
        taken.close()
    finally:
        mute.close()


def test_a_storm_of_429s_is_damped_by_the_budget(start, upstream):
    """The fleet is not asked more than 120 times for 100 requests, and clients hear 429 with its Retry-After."""
    weir = start(upstream.url, retry="{max_attempts: 5, per_model: 5, backoff: {base: 1ms, max: 2ms}, budget: {percent: 10, min_per_second: 1}}")
    upstream.play(*[error(429, "rate_limit_exceeded", headers=[("Retry-After", "3"), ("retry-after-ms", "1")])] * 1000)
    began = time.monotonic()
    replies = [once(weir, ASK) for _ in range(100)]
    seconds = time.monotonic() - began  # each is worth one more retry
    assert {r.status for r in replies} == {429} and all(r.get("retry-after") == "3" for r in replies)
    assert 100 <= len(upstream.seen) <= 120 + seconds
    assert metric(weir, "weir_retry_budget_exhausted_total") >= 80 - seconds


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST"])
def test_endpoints_by_name(start, upstream, host):
    weir = start(f"http://{host}:{upstream.port}/v1")
    assert once(weir, ASK).status == 200
    assert upstream.last.header("host").lower() == f"localhost:{upstream.port}"


def test_a_name_that_does_not_exist(start):
    weir = start("http://nobody.invalid/v1", retry="{max_attempts: 1}")
    reply = once(weir, ASK)
    assert reply.status == 502 and error_of(reply)["code"] == "upstream_unreachable"


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback")
def test_ipv6_on_both_sides(start):
    upstream = scripted.Upstream(socket.create_server(("::1", 0), family=socket.AF_INET6))
    try:
        weir = start(f"http://[::1]:{upstream.port}/v1", listen="[::1]:0")
        reply = once(type("At", (), {"address": ("::1", weir.address[1])}), ASK)
        assert reply.status == 200 and reply.get("x-weir-endpoint") == f"[::1]:{upstream.port}"
        assert upstream.last.header("host") == f"[::1]:{upstream.port}"
    finally:
        upstream.close()


# ---- TLS, HTTP/2, proxies ----

@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(ca.pem, server.pem with its key): a private authority, a server named localhost and 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*argv):
        subprocess.run(["openssl", *map(str, argv)], check=True, capture_output=True, cwd=folder)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=weir test authority")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "server.crt", "-days", "2", "-extfile", "ext")
    both = folder / "server.pem"
    both.write_text((folder / "server.crt").read_text() + (folder / "server.key").read_text())
    return folder / "ca.pem", both


@pytest.fixture
def tls_front(certificate, upstream, tmp_path):
    """nginx that ends TLS (HTTP/1.1 and HTTP/2) before the scripted upstream; its port."""
    if not shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin"):
        pytest.skip("nginx is not installed")
    port = free_port()
    folder = tmp_path / "nginx"
    folder.mkdir()
    temp = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{ access_log off; {temp} client_max_body_size 0;
  server {{ listen 127.0.0.1:{port} ssl http2; listen 127.0.0.2:{port} ssl http2; ssl_certificate {certificate[1]}; ssl_certificate_key {certificate[1]};
    location / {{ proxy_pass http://127.0.0.1:{upstream.port}; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
                  proxy_set_header X-Protocol $server_protocol; proxy_request_buffering off; }} }} }}
""")
    nginx = Process(["/usr/sbin/nginx" if shutil.which("/usr/sbin/nginx") else "nginx", "-c", folder / "nginx.conf", "-p", folder], folder / "log")

    def listens():
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            return False
    wait_until(lambda: nginx.alive() and listens(), 10, "nginx to listen")
    yield port
    nginx.stop()


TLS = {"native": "", "curl": ", transport: curl", "HTTP/2": ', http: "2"'}


@pytest.fixture(params=list(TLS))
def over_tls(request, start, tls_front, certificate):
    weir = start(f"https://127.0.0.1:{tls_front}/v1", backend=f', tls: {{ca_file: "{certificate[0]}"}}{TLS[request.param]}')
    weir.kind = request.param
    return weir


def test_whole_replies_and_streams_over_tls(over_tls, upstream):
    for _ in range(3):
        assert once(over_tls, ASK).status == 200
    assert upstream.last.header("x-protocol") == ("HTTP/2.0" if over_tls.kind == "HTTP/2" else "HTTP/1.1")
    upstream.play(stream(*answer(*["word"] * 50)))
    reply = once(over_tls, request("POST", CHAT, b'{"model":"m","messages":[],"stream":true}'))
    assert reply.complete and reply.body.endswith(DONE) and reply.body.count(b"word") == 50
    booked, _ = rows(over_tls, reply.get("x-request-id"))
    assert booked["cost_nanousd"] == 10 * 1000 + 2 * 4000


def test_a_large_body_over_tls(over_tls, upstream):
    sent = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 5_000_000}]}).encode()
    with Client(over_tls.address, 30) as c:
        c.send(request("POST", CHAT, sent))
        assert c.reply().status == 200
    assert upstream.last.body == sent


@pytest.mark.parametrize("streamed", [False, True])
def test_leaving_before_the_first_byte_cancels_at_once(over_tls, upstream, streamed):
    """The quickest of some, within 100 ms of an idle machine: what is slower was held up by other programs."""
    def cancelled_s():
        upstream.play(silent)
        with Client(over_tls.address) as c:
            c.send(request("POST", CHAT, json.dumps({"model": "m", "messages": [], "stream": streamed}).encode()))
            wait_until(lambda: upstream.seen, 5, "the request to arrive")
            left = time.monotonic()
        wait_until(lambda: upstream.gone, 5, "the upstream to be left")
        return upstream.gone[0] - left
    wait_until(lambda: cancelled_s() < 0.1 * slowness(), 10, "one to be cancelled in time")


def test_leaving_one_of_two_that_share_a_connection(over_tls, upstream):
    """Both wait for their first byte, so nothing else moves on the connection."""
    upstream.play(silent, silent)
    with Client(over_tls.address) as stays:
        stays.send(request("POST", CHAT, b'{"model":"m","messages":[],"user":"stays"}'))
        wait_until(lambda: len(upstream.seen) == 1, 5, "the first request")
        with Client(over_tls.address) as leaves:
            leaves.send(request("POST", CHAT, b'{"model":"m","messages":[],"user":"leaves"}'))
            wait_until(lambda: len(upstream.seen) == 2, 5, "the second request")
        wait_until(lambda: upstream.gone, 5, "the upstream to be left")
        time.sleep(0.2)
        assert len(upstream.gone) == 1, "the other was left too"
        wait_until(lambda: metric(over_tls, "weir_requests_in_flight") == 1, 5, "who left to be counted out, and nobody else")


def test_a_cut_stream_over_tls_is_no_success(over_tls, upstream):
    upstream.play(stream(ROLE, chunk({"content": "x"}), end=False, then="reset"))
    reply = once(over_tls, request("POST", CHAT, b'{"model":"m","messages":[],"stream":true}'))
    assert reply.status == 200 and b"[DONE]" not in reply.body and not reply.complete


def test_a_slow_reader_over_tls_pauses_the_upstream(over_tls, upstream):
    sent = []
    piece = chunk({"content": "x" * 8000})

    def flood(exchange):
        exchange.send(scripted.SSE_HEAD)
        exchange.connection.settimeout(2)
        try:
            for _ in range(4000):
                exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
                sent.append(len(piece))
        except TimeoutError:
            upstream.note("paused")
        exchange.close()

    upstream.play(flood, whole())
    c = Client(over_tls.address)
    try:
        c.send(request("POST", CHAT, b'{"model":"m","messages":[],"stream":true}'))
        wait_until(lambda: upstream.notes or len(sent) == 4000, 30, "the upstream to be paused")
        assert upstream.notes == ["paused"] and sum(sent) < 24e6
        assert once(over_tls, ASK).status == 200, "a paused stream holds up nobody, not on a shared connection either"
    finally:
        c.socket.close()


@pytest.mark.parametrize("kind", list(TLS))
def test_an_authority_that_is_not_known_is_refused(start, tls_front, kind):
    weir = start(f"https://127.0.0.1:{tls_front}/v1", backend=TLS[kind])
    reply = once(weir, ASK)
    assert reply.status == 502 and error_of(reply)["code"] == "upstream_unreachable"


@pytest.mark.parametrize("kind", list(TLS))
def test_a_certificate_of_another_name_is_refused(start, tls_front, certificate, kind):
    weir = start(f"https://127.0.0.2:{tls_front}/v1",
                 backend=f', tls: {{ca_file: "{certificate[0]}"}}{TLS[kind]}')
    reply = once(weir, ASK)
    assert reply.status == 502 and error_of(reply)["code"] == "upstream_unreachable"


def test_through_a_proxy(start, upstream):
    """An http:// proxy gets the absolute target; the key of the backend is for the origin, the client's for nobody."""
    weir = start("http://models.invalid/v1", backend=f', proxy: "http://127.0.0.1:{upstream.port}"')
    reply = once(weir, request("POST", CHAT, b'{"model":"m","messages":[]}', [("Authorization", "Bearer sk-client")]))
    assert reply.status == 200
    assert upstream.last.target == "http://models.invalid/v1/chat/completions" and upstream.last.header("host") == "models.invalid"
    assert b"sk-client" not in upstream.last.raw_head


@pytest.mark.parametrize("transport", ["native", "curl"])
def test_reply_model_requested_in_whole_replies_and_streams(start, upstream, transport):
    weir = start(upstream.url, server=", reply_model: requested", backend=f", transport: {transport}")
    text = json.dumps(OK_REPLY).encode()
    upstream.play(whole(text), stream(*answer("x")))
    assert once(weir, ASK).body == text.replace(b'"up-small"', b'"m"')
    reply = once(weir, request("POST", CHAT, b'{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}'))
    assert reply.body == b"".join(answer("x")).replace(b'"up-small"', b'"m"')
