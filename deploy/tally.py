#!/usr/bin/env python3
"""Adds up what ctest, pytest and node:test reported in a folder; the last line is the sum.

usage: tally.py FOLDER

Reads *-ctest.xml and *-pytest.xml (JUnit), *.tap (node:test) and failed-steps (one name a line: a build or a runner
that did not work counts as one failure). Beside NAME.xml may lie NAME-again.xml, a second try of what failed: what passed
there counts as passed and is named as unsteady. A ctest entry is often a program of many cases; when its output carries
cmocka's or pytest's own summary, the cases are counted, so that a skip inside a program is seen. Exit status 1 when
anything failed or nothing was found.
"""

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

CMOCKA = re.compile(r"^\[  (PASSED|FAILED)  \] (?:\S+: )?(\d+) test\(s\)|^\[  (SKIPPED) \] (?:\S+: )?(\d+) test\(s\)", re.M)
PYTEST = re.compile(r"^=*\s*((?:\d+ (?:passed|failed|skipped|errors?|xfailed|xpassed|deselected|warnings?)(?:, )?)+) in [\d.]+", re.M)
CMOCKA_SKIP = re.compile(r"^\[  SKIPPED \] (?!\d+ test\(s\))(?:\S+: )?(\S.*)$", re.M)
PYTEST_SKIP = re.compile(r"^SKIPPED \[\d+\] (.*)$", re.M)
KINDS = ("passed", "failed", "skipped")


def cases_inside(output):
    """Cases of a test program by its own summary, or None when it printed none."""
    counts = dict.fromkeys(KINDS, 0)
    found = False
    for kind, number, skipped, skipped_number in CMOCKA.findall(output):
        counts[(kind or skipped).lower()] += int(number or skipped_number)
        found = True
    for summary in PYTEST.findall(output):
        for number, kind in re.findall(r"(\d+) (\w+)", summary):
            kind = {"error": "failed", "errors": "failed", "xpassed": "passed", "xfailed": "passed"}.get(kind, kind)
            if kind in counts:
                counts[kind] += int(number)
        found = True
    return counts if found else None


def key_of(case):
    return case.get("classname"), case.get("name")


def has_failed(case):
    return case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail"


def passed_again(path):
    """Entries of the second try beside a JUnit file that passed there, by their names."""
    again = path.with_name(path.stem + "-again.xml")
    if not again.exists():
        return {}
    return {key_of(case): case for case in ET.parse(again).getroot().iter("testcase")
            if not has_failed(case) and case.find("skipped") is None and case.get("status") in (None, "run")}


def add_junit(path, sums, open_up):
    """JUnit file; open_up: look for the cases inside each entry's output (ctest), else an entry is a case (pytest)."""
    second = passed_again(path)
    for case in ET.parse(path).getroot().iter("testcase"):
        skipped = case.find("skipped") is not None or case.get("status") in ("notrun", "disabled")
        failed = has_failed(case)
        if failed and key_of(case) in second:
            sums["unsteady"].append(f"{path.stem}: {case.get('name')}")
            case, failed = second[key_of(case)], False
        output = case.findtext("system-out") or ""
        counts = cases_inside(output) if open_up else None
        who = f"{path.stem}: {case.get('name')}"
        if counts is None:
            counts = dict.fromkeys(KINDS, 0)
            counts["failed" if failed else "skipped" if skipped else "passed"] = 1
        elif failed and not counts["failed"]:
            counts["failed"] = 1  # all cases passed, yet the program failed: a leak report, a crash at the end
        for kind in KINDS:
            sums[kind] += counts[kind]
        if failed:
            sums["names"].append(who)
        if skipped:
            sums["skips"].append(who)
        elif open_up:
            names = dict.fromkeys(CMOCKA_SKIP.findall(output) + PYTEST_SKIP.findall(output))  # cmocka says each twice
            sums["skips"] += [f"{who}: {name}" for name in names]


def add_tap(path, sums):
    text = path.read_text(errors="replace")
    for name, kind in (("pass", "passed"), ("fail", "failed"), ("cancelled", "failed"), ("skipped", "skipped")):
        found = re.findall(rf"^# {name} (\d+)$", text, re.M)
        sums[kind] += int(found[-1]) if found else 0
    sums["names"] += [f"{path.stem}: {name}" for name in re.findall(r"^\s*not ok \d+ - (.*)$", text, re.M)]
    sums["skips"] += [f"{path.stem}: {name}" for name in re.findall(r"^\s*ok \d+ - (.*) # SKIP", text, re.M)]


def main(folder):
    sums = {kind: 0 for kind in KINDS} | {"names": [], "skips": [], "unsteady": []}
    for path in sorted(folder.glob("*-ctest.xml")) + sorted(folder.glob("*-pytest.xml")):
        before = dict(sums)
        add_junit(path, sums, open_up=path.name.endswith("-ctest.xml"))
        print(f"{path.stem:24}" + ", ".join(f"{sums[k] - before[k]} {k}" for k in KINDS))
    for path in sorted(folder.glob("*.tap")):
        before = dict(sums)
        add_tap(path, sums)
        print(f"{path.stem:24}" + ", ".join(f"{sums[k] - before[k]} {k}" for k in KINDS))
    steps = folder / "failed-steps"
    if steps.exists():
        for name in steps.read_text().splitlines():
            sums["failed"] += 1
            sums["names"].append(f"step {name}")
    for name in sums["skips"]:
        print(f"skipped: {name}")
    for name in sums["unsteady"]:
        print(f"unsteady (failed beside others, passed alone): {name}")
    for name in sums["names"]:
        print(f"failed: {name}")
    print(f"{sums['passed']} passed, {sums['failed']} failed, {sums['skipped']} skipped")
    return 1 if sums["failed"] or not sums["passed"] else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
