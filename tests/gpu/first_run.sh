#!/usr/bin/env bash
# The first run on a machine with a GPU: builds tests/gpu/first_run.cu for that GPU (or takes it built), checks its results, also under
# compute-sanitizer where that is, and prints every figure that the design left to be measured. A few minutes; no network, no model.
#
# usage: tests/gpu/first_run.sh [--prebuilt PROGRAM] [OPTIONS OF first_run]
#
# PROGRAM: tests/gpu/first_run of a build with nvcc, e.g. build/release/tests/gpu/first_run. Exit status 77: no device.
set -euo pipefail
cd "$(dirname "$0")/../.."

program=
if [ "${1:-}" = --prebuilt ]; then
    program=$2
    shift 2
fi
if [ -z "$program" ]; then
    if ! command -v nvcc >/dev/null; then
        echo "no nvcc here: build elsewhere and give the program with --prebuilt" >&2
        exit 2
    fi
    program=$(mktemp -d)/first_run
    nvcc -std=c++17 -O3 -arch=native -I. -cudart static tests/gpu/first_run.cu -o "$program"
fi

nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,power.limit --format=csv 2>/dev/null || true
status=0
"$program" --results || status=$?
if [ $status != 0 ]; then exit $status; fi
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck synccheck; do
        # A tool that cannot start here says so; an error that it finds is ours.
        timeout 150 compute-sanitizer --tool "$tool" --error-exitcode 9 "$program" --results >"/tmp/$tool.$$" 2>&1 || status=$?
        tail -n 3 "/tmp/$tool.$$" | sed "s/^/$tool: /"
        if [ $status = 9 ]; then exit 1; fi
        status=0
    done
fi
exec "$program" "$@"
