"""What the conformance tests share: one weir in front of the replay fleet (for the SDKs), one in front of a scripted
upstream (for the wire), and one that asks for keys."""

import hashlib

import pytest
from openai import OpenAI

import matrix
import scripted
from weirproc import PATIENCE, Fleet, Weir, slowness

MODELS = ("llama-3.1-8b-instruct", "mixtral-8x7b-instruct", "gpt-4o-mini", "llama-3.1-70b-instruct", "gpt-4o")
KEY, ADMIN_KEY = "sk-weir-conformance-acme", "sk-weir-conformance-admin"


def pytest_addoption(parser):
    parser.addoption("--matrix", action="store_true", help="print which tests show what, see matrix.py")


def pytest_configure(config):
    config.addinivalue_line("markers", "covers(*features, client): what the test shows, see matrix.py")


def pytest_collection_modifyitems(items):
    for item in items:
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(60 * slowness()))  # ends what hangs


def pytest_collection_finish(session):
    if session.config.getoption("--matrix"):
        print("\n".join(matrix.table(session.items)))


PATIENT = "connect: 60s, first_byte: 120s, between_bytes: 120s, total: 300s"  # no test runs into these
SLOW = int(slowness() / PATIENCE)  # how many times longer a limit must be that a test waits for, where others must come first
HASTY = f"first_byte: {2 * SLOW}s, between_bytes: {SLOW}s, total: {20 * SLOW}s"  # for tests that wait for their end


def fleet_policy(url, state_dir, timeouts=PATIENT):
    models = "\n".join(f"  {m}: {{backend: fleet, context: 131072, price: {{input: 1.00, cached_input: 0.50, output: 2.00}}}}"
                       for m in MODELS)
    return f"""
version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{state_dir}"}}
backends:
  fleet: {{dialect: openai, url: "{url}", timeouts: {{{timeouts}}}}}
models:
{models}
  text-embedding-3-small: {{backend: fleet, capabilities: [embeddings], price: {{input: 0.02}}}}
aliases:
  auto: llama-3.1-8b-instruct
retry: {{max_attempts: 2, per_model: 2, backoff: {{base: 10ms, max: 50ms}}, budget: {{percent: 100, min_per_second: 1000}}}}
routes:
  - name: embed
    match: {{model: text-embedding-3-small, api: [embeddings]}}
    cascade: [text-embedding-3-small]
""" + "".join(f"""  - name: {m}
    match: {{model: {m}}}
    cascade: [{m}]
""" for m in MODELS)


def scripted_policy(url, state_dir, server="", extra="", timeouts=PATIENT):
    """Models small (falls back to large) and solo (does not), one endpoint, hardly any back-off."""
    return f"""
version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{state_dir}"{server}}}
backends:
  up:
    dialect: openai
    url: "{url}"
    timeouts: {{{timeouts}}}
models:
  small: {{backend: up, name: up-small, context: 8192, price: {{input: 1.00, cached_input: 0.25, output: 4.00}}}}
  large: {{backend: up, name: up-large, context: 131072, price: {{input: 10.00, output: 40.00}}}}
  solo: {{backend: up, name: up-solo, context: 8192, price: {{input: 1.00, output: 4.00}}}}
  embed: {{backend: up, name: up-embed, capabilities: [embeddings], price: {{input: 0.02}}}}
aliases:
  smart: small
retry: {{max_attempts: 3, per_model: 2, backoff: {{base: 1ms, max: 5ms}}, budget: {{percent: 100, min_per_second: 1000}}}}
routes:
  - name: cheap
    match: {{model: [auto, small]}}
    cascade: [small]
    fallback: [large]
  - name: alone
    match: {{model: solo}}
    cascade: [solo]
    retry: {{max_attempts: 1}}
  - name: vectors
    match: {{model: embed}}
    cascade: [embed]
{extra}"""


class Kept:
    """A process for the whole session. When it dies within a test, that test fails with its log, and the next gets a new one."""

    def __init__(self, start):
        self.start = start
        self.process = start()

    def lend(self):
        yield self.process
        if self.process.child.poll() is not None:
            dead, self.process = self.process, self.start()
            pytest.fail(f"{dead.argv[0]} died with {dead.child.returncode}:\n{dead.tail()}")

    def stop(self):
        self.process.stop()


def kept(start):
    keeper = Kept(start)
    yield keeper
    keeper.stop()


@pytest.fixture(scope="session")
def fleet(tmp_path_factory):
    process = Fleet(tmp_path_factory.mktemp("fleet"))
    yield process
    process.stop()


@pytest.fixture(scope="session")
def weir_fleet_kept(fleet, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weir-fleet")
    yield from kept(lambda: Weir(folder, fleet_policy(fleet.url, folder / "state")))


@pytest.fixture
def weir_fleet(weir_fleet_kept):
    yield from weir_fleet_kept.lend()


@pytest.fixture
def calm(fleet):
    """The fleet without faults, before and after."""
    fleet.reset()
    yield fleet
    fleet.reset()


@pytest.fixture
def client(weir_fleet, calm):
    with OpenAI(api_key="unused", base_url=weir_fleet.base + "/v1", max_retries=0, timeout=120) as c:
        yield c


@pytest.fixture(scope="session")
def upstream_session():
    server = scripted.Upstream()
    yield server
    server.close()


@pytest.fixture
def upstream(upstream_session):
    upstream_session.reset()
    return upstream_session


@pytest.fixture(scope="session")
def weir_kept(upstream_session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weir")
    yield from kept(lambda: Weir(folder, scripted_policy(
        upstream_session.url, folder / "state", ', cors: {origins: ["https://app.example"]}, limits: {body: 40MiB}')))


@pytest.fixture
def weir(weir_kept):
    yield from weir_kept.lend()


@pytest.fixture(scope="session")
def weir_hasty_kept(upstream_session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weir-hasty")
    yield from kept(lambda: Weir(folder, scripted_policy(upstream_session.url, folder / "state", timeouts=HASTY)))


@pytest.fixture
def weir_hasty(weir_hasty_kept):
    """As weir, but it soon gives up on an upstream that says nothing."""
    yield from weir_hasty_kept.lend()


@pytest.fixture(scope="session")
def weir_keys_kept(upstream_session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weir-keys")
    digest = {k: hashlib.sha256(k.encode()).hexdigest() for k in (KEY, ADMIN_KEY)}
    yield from kept(lambda: Weir(folder, scripted_policy(upstream_session.url, folder / "state", extra=f"""
tenants:
  acme: {{keys: [{{sha256: {digest[KEY]}}}]}}
  ops: {{keys: [{{sha256: {digest[ADMIN_KEY]}}}], admin: true}}
""")))


@pytest.fixture
def weir_keys(weir_keys_kept):
    """As weir, but with tenants: KEY opens the API, ADMIN_KEY the admin API too."""
    yield from weir_keys_kept.lend()
