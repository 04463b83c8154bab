#!/usr/bin/env python3
"""No two rooms define the same function: the linker would take the first one without a word.

usage: symbols.py LIBRARY.a...        prints each name with its libraries; exit status 1 when there is one
"""

import subprocess
import sys


def main():
    owners = {}
    for library in sys.argv[1:]:
        listing = subprocess.run(["nm", "-g", "--defined-only", library], capture_output=True, text=True, check=True)
        for line in listing.stdout.splitlines():
            fields = line.split()
            if len(fields) == 3 and fields[1] in "TDBR":
                owners.setdefault(fields[2], set()).add(library.rsplit("/", 1)[-1])
    twice = {name: where for name, where in owners.items() if len(where) > 1 and not name.startswith("__")}
    for name, where in sorted(twice.items()):
        print(f"{name}: {', '.join(sorted(where))}")
    print(f"{len(owners)} symbols, {len(twice)} defined twice")
    sys.exit(1 if twice or not owners else 0)


if __name__ == "__main__":
    main()
