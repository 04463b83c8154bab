#!/usr/bin/env python3
"""The program must not load what makes all of it slower.

usage: linkage.py PROGRAM        prints each unwanted library; exit status 1 when there is one

libquadmath's constructor registers printf modifiers, after which glibc takes the slow path in every printf of the process; it
comes with libgfortran, and that with BLAS, which FAISS names and the cache does not need (cache/vindex_noblas.c).
"""

import re
import subprocess
import sys

UNWANTED = re.compile(r"^\s*(lib(?:quadmath|gfortran|blas|openblas|lapack)\S*)", re.M)


def main():
    listed = subprocess.run(["ldd", sys.argv[1]], capture_output=True, text=True, check=True).stdout
    if "libc.so" not in listed:
        sys.exit(f"ldd says nothing of libc: {listed}")
    unwanted = UNWANTED.findall(listed)
    for name in unwanted:
        print(f"{sys.argv[1]} loads {name}")
    return 1 if unwanted else 0


if __name__ == "__main__":
    sys.exit(main())
