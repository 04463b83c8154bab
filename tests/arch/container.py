#!/usr/bin/env python3
"""The container image must have every library that the program is linked with.

usage: container.py PROGRAM CONTAINERFILE        prints each package that is missing; exit status 1 when there is one

The second stage of the Containerfile installs packages by name; the program's NEEDED entries are looked up with dpkg. Without
dpkg nothing is known: exit status 77.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

IN_EVERY_IMAGE = {"libc6", "libgcc-s1", "libstdc++6"}  # apt's own
OF_SANITIZERS = re.compile(r"lib(?:asan|ubsan|tsan)\.so")


def needed(program):
    listed = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout
    return [name for name in re.findall(r"\(NEEDED\).*\[(.+?)\]", listed) if not OF_SANITIZERS.match(name)]


def packages_of(library):
    """More than one where a machine has it for more than one architecture."""
    found = subprocess.run(["dpkg-query", "-S", f"*/{library}"], capture_output=True, text=True, check=False).stdout
    return {line.split(":")[0] for line in found.splitlines()}


def main():
    program, containerfile = sys.argv[1:]
    if not shutil.which("dpkg-query"):
        print("dpkg is not here: what a library belongs to is not known")
        return 77
    installed = set(Path(containerfile).read_text().rsplit("\nFROM ", 1)[1].replace("\\\n", " ").split()) | IN_EVERY_IMAGE
    libraries = needed(program)
    if "libc.so.6" not in libraries:
        sys.exit(f"readelf says nothing of libc: {libraries}")
    missing = {name: packages for name in libraries if not (packages := packages_of(name)) & installed}
    for name, packages in missing.items():
        print(f"{containerfile} does not install {' or '.join(sorted(packages)) or 'any package'}, which has {name}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
