"""Which test shows what, for each client over a server of each dialect: `pytest tests/conformance --collect-only -q --matrix`
prints the table that README.md has.

A test says what it shows with @covers; over which server is read from the fixtures it really uses. A test for Node.js says it
in its title, between brackets."""

import re
from pathlib import Path

import pytest

FEATURES = ("chat", "stream", "tools", "parallel", "structured", "images", "count", "responses", "400", "401", "403", "404", "429", "5xx",
            "cancel", "retry")
CLIENTS = ("openai-py", "openai-node", "langchain-openai", "anthropic-py", "anthropic-node", "langchain-anthropic", "curl")
SERVERS = {"weir_fleet": "openai", "over_anthropic": "anthropic", "openai": "openai", "anthropic": "anthropic"}
SDK_FIXTURES = {"claude": "anthropic-py", "gpt": "openai-py", "client": "openai-py"}
# What an API does not have, or the README does not show: nothing to test.
NOTHING = ({(c, "count") for c in CLIENTS if "openai" in c} | {(c, "responses") for c in CLIENTS if "anthropic" in c} |
           {("curl", f) for f in FEATURES if f not in ("chat", "stream", "count", "responses")})


def covers(*features, client=None):
    """This test shows these features, of the client whose fixture (or whose name as parameter `client`) it has."""
    assert set(features) <= set(FEATURES), features
    return pytest.mark.covers(*features, client=client)


def servers_of(item):
    """The dialects of the servers behind the gateway that a test uses."""
    params = {k: v for k, v in getattr(getattr(item, "callspec", None), "params", {}).items() if k in ("gateway", "keyed")}
    named = params.values() if params else [f for f in ("weir_fleet", "over_anthropic") if f in item.fixturenames]
    return {SERVERS[name] for name in named if name in SERVERS}


def client_of(item, mark):
    params = getattr(getattr(item, "callspec", None), "params", {})
    named = mark.kwargs["client"] or params.get("client") or params.get("model")
    if named:
        return {"responses": "openai-py", "langchain-responses": "langchain-openai"}.get(named, named)
    return next(SDK_FIXTURES[f] for f in SDK_FIXTURES if f in item.fixturenames)


def of_pytest(items):
    return {(client_of(item, mark), server, feature) for item in items for mark in item.iter_markers("covers")
            for server in servers_of(item) for feature in mark.args}


def of_node():
    text = (Path(__file__).parent / "node" / "dialects.test.mjs").read_text()
    titles = re.findall(r"test\(`(openai|anthropic) over \$\{dialect\}: [^`\n]*\[([\w ]+)\]`", text)
    assert titles and {f for _, features in titles for f in features.split()} <= set(FEATURES), titles
    return {(f"{sdk}-node", server, feature) for sdk, features in titles for server in ("openai", "anthropic") for feature in features.split()}


def table(items):
    """The table's lines, in Markdown."""
    shown = of_pytest(items) | of_node()

    def cell(client, server, feature):
        return "✓" if (client, server, feature) in shown else "–" if (client, feature) in NOTHING else "missing"
    lines = ["| client | server | " + " | ".join(FEATURES) + " |", "|---" * (len(FEATURES) + 2) + "|"]
    lines += [f"| {client} | {server} | " + " | ".join(cell(client, server, f) for f in FEATURES) + " |"
              for client in CLIENTS for server in ("openai", "anthropic")]
    return lines
