"""A strict reader of the Prometheus text format 0.0.4: what promtool would complain about is an AssertionError."""

import math
import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
NUMBER = re.compile(r"[+-]?(?:Inf|NaN|[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)\Z")


class Family:
    def __init__(self, name, help_text):
        self.name, self.help, self.kind, self.lines = name, help_text, None, []

    def samples(self, name):
        return [(labels, value) for n, labels, value in self.lines if n == name]

    def owns(self, name):
        suffixes = ("_bucket", "_sum", "_count") if self.kind == "histogram" else ("",)
        return any(name == self.name + s for s in suffixes)


def parse_sample(line):
    name = NAME.match(line)
    assert name, line
    rest, labels = line[name.end():], {}
    if rest.startswith("{"):
        at = 1
        while rest[at] != "}":
            found = LABEL.match(rest, at)
            assert found, line
            assert found[1] not in labels and not found[1].startswith("__"), line
            labels[found[1]] = found[2].replace(r"\"", '"').replace(r"\n", "\n").replace("\\\\", "\\")
            at = found.end()
            assert rest[at] in ",}", line
            at += rest[at] == ","
        rest = rest[at + 1:]
    assert rest.startswith(" ") and NUMBER.match(rest[1:]), line
    return name[0], labels, float(rest[1:])


def parse_metrics(text):
    """{family name: Family}; HELP and TYPE before the samples, each family in one run, no sample twice, sound histograms."""
    assert text.endswith("\n") and "\r" not in text
    families, current, seen = {}, None, set()
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, _, words = line[7:].partition(" ")
            assert NAME.fullmatch(name) and words and name not in families, line
            current = families[name] = Family(name, words)
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert current and name == current.name and current.kind is None and not current.lines, line
            assert kind in ("counter", "gauge", "histogram"), line
            current.kind = kind
        else:
            assert line and not line.startswith("#"), f"not a line of the format: {line!r}"
            sample = parse_sample(line)
            assert current and current.kind and current.owns(sample[0]), f"outside its family: {line!r}"
            key = (sample[0], tuple(sorted(sample[1].items())))
            assert key not in seen, f"twice: {line!r}"
            seen.add(key)
            current.lines.append(sample)
    for family in families.values():
        check(family)
    return families


def check(family):
    for _, labels, value in family.lines:
        assert not math.isnan(value), (family.name, labels)
        if family.kind != "gauge":
            assert value >= 0, (family.name, labels)
    if family.kind == "counter":
        assert family.name.endswith("_total"), family.name
    if family.kind != "histogram":
        return
    by_labels = {}
    for labels, value in family.samples(family.name + "_bucket"):
        rest = tuple(sorted((k, v) for k, v in labels.items() if k != "le"))
        by_labels.setdefault(rest, []).append((float(labels["le"]), value))
    counts = {tuple(sorted(labels.items())): value for labels, value in family.samples(family.name + "_count")}
    sums = {tuple(sorted(labels.items())) for labels, _ in family.samples(family.name + "_sum")}
    assert set(by_labels) == set(counts) == sums, family.name
    for labels, buckets in by_labels.items():
        assert [b for b, _ in buckets] == sorted({b for b, _ in buckets}) and buckets[-1][0] == math.inf, family.name
        values = [v for _, v in buckets]
        assert values == sorted(values) and values[-1] == counts[labels], (family.name, labels)
