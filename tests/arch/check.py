#!/usr/bin/env python3
"""Keeps the house in order: the direction of includes, third-party seams, headers that compile alone, banned functions,
comments and READMEs that name files which are gone.

usage: check.py SOURCE_DIR        prints each violation as file:line: text; exit status 1 when there is one
"""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Room -> rooms whose headers it may include. The longest matching prefix of a path is its room.
ARROWS = {
    "base": {"base"},
    "policies": {"policies", "base"},
    "backends/wire": {"backends/wire", "base"},
    "backends": {"backends", "backends/wire", "base"},
    "cache": {"cache", "base"},
    "router/encoder": {"router/encoder", "base"},
    "router/decide": {"router/decide", "base"},
    "router/report": {"router/report", "router/decide", "base"},
    "router": {"router", "router/encoder", "router/decide", "policies", "cache", "backends", "backends/wire", "base"},
    "gateway": {"gateway", "router", "router/encoder", "router/decide", "router/report", "policies", "cache", "backends", "backends/wire", "base"},
}

# Header pattern -> the files (or rooms, ending in /) that may include it.
SEAMS = {
    r"curl/": {"backends/upstream_curl", "backends/download.c"},
    r"yaml\.h": {"policies/"},
    r"sqlite3\.h": {"router/ledger.c", "router/ledger_", "router/learn_store_sqlite.c", "cache/store_sqlite"},
    r"hiredis/": {"cache/redis_link.c"},
    r"faiss/": {"cache/vindex"},
    r"openssl/ssl\.h": {"backends/upstream_tls"},
    r"event2/": {"backends/", "router/", "gateway/", "cache/store", "cache/redis_link", "cache/cache", "cache/admin_job"},
}

# Unbounded, locale-dependent or unsafe calls. exit and abort belong to main and the ground.
BANNED = re.compile(r"\b(atoi|atol|atof|strcpy|strcat|sprintf|vsprintf|strtok|alloca|gets)\s*\(")
ENDING = re.compile(r"(?<![>.\w])(exit|abort)\s*\(")
MAY_END = ("base/", "gateway/main.c")

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')


def room_of(path):
    return max((r for r in ARROWS if path.startswith(r + "/")), key=len, default=None)


def strip_comments(text):
    """Comments and string literals blanked, line numbers kept."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def check_file(root, path):
    problems = []
    room = room_of(path)
    text = (root / path).read_text()
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        kind, target = match.groups()
        wanted = room_of(target) if kind == '"' else None
        if kind == '"' and wanted is None:
            problems.append(f"{path}:{number}: include \"{target}\" does not start at the root of the tree")
        elif wanted and wanted not in ARROWS[room]:
            problems.append(f"{path}:{number}: {room} must not include {wanted} ({target})")
        elif kind == '"' and target.endswith("_int.h") and room != wanted:
            problems.append(f"{path}:{number}: {target} is internal to {wanted}")
        for pattern, allowed in SEAMS.items():
            if kind == "<" and re.match(pattern, target) and not any(path.startswith(a) for a in allowed):
                problems.append(f"{path}:{number}: <{target}> belongs to {', '.join(sorted(allowed))}")
    for number, line in enumerate(strip_comments(text).splitlines(), 1):
        for match in BANNED.finditer(line):
            problems.append(f"{path}:{number}: {match.group(1)} is banned")
        if ENDING.search(line) and not path.startswith(MAY_END):
            problems.append(f"{path}:{number}: only main and base may end the process")
    return problems


# A file of ours in a comment; a file in backquotes in a README.
IN_COMMENT = re.compile(r"\b[a-z]\w+\.(?:c|def)\b")
IN_README = re.compile(r"`(?:[\w.-]+/)*([\w-]+\.(?:c|h|def|cpp|cu|cmake|py|sh|md|yaml))`")


def check_names(root, path, known):
    """Files that are named, but not there."""
    pattern = IN_README if path.endswith(".md") else IN_COMMENT
    problems = []
    for number, line in enumerate((root / path).read_text().splitlines(), 1):
        if not line.lstrip().startswith("#include"):
            problems += [f"{path}:{number}: there is no {name}" for name in pattern.findall(line) if name not in known]
    return problems


def check_alone(root, path):
    command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-fsyntax-only", f"-I{root}", "-x", "c", str(root / path)]
    done = subprocess.run(command, capture_output=True, text=True)
    return [] if done.returncode == 0 else [f"{path}: does not compile alone:\n{done.stderr}"]


def main():
    root = Path(sys.argv[1]).resolve()
    rooms = sorted({r.split("/")[0] for r in ARROWS})
    files = [str(f.relative_to(root)) for r in rooms for f in sorted((root / r).rglob("*.[ch]"))]
    problems = [p for f in files for p in check_file(root, f)]
    everything = [f for r in [*rooms, "deploy", "tests"] for f in (root / r).rglob("*")]
    known = {f.name for f in everything}
    pages = sorted(str(f.relative_to(root)) for f in everything if f.suffix == ".md")
    problems += [p for f in files + pages for p in check_names(root, f, known)]
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda f: check_alone(root, f), [f for f in files if f.endswith(".h")]):
            problems += found
    for problem in problems:
        print(problem)
    print(f"{len(files)} files, {len(problems)} problems")
    sys.exit(1 if problems or not files else 0)


if __name__ == "__main__":
    main()
