#!/usr/bin/env bash
# Sets up and runs every test: warnings as errors, then the suite plain, under ASan+UBSan and under TSan.
# shellcheck disable=SC2317 # the steps are called by name, through run_step
set -euo pipefail

usage() {
    cat <<'EOF'
usage: deploy/test.sh [--no-setup] [STEP...]

  --no-setup  trust that deploy/setup.sh --test has run
  STEP        lint, dev, asan, tsan, conformance, node (conformance and node run on the asan build when it is
              among the steps, else on dev). Default: all of them.

The last line is "N passed, N failed, N skipped", summed over ctest, pytest and node:test. Exit status 0 only if
nothing failed. Logs and JUnit files are in build/test/.
EOF
}

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
out=$root/build/test
python=$root/.venv/bin/python
jobs=$(nproc)
at_once=$((jobs + (jobs + 1) / 2)) # tests: they wait about as much as they work

setup=1
steps=()
for arg in "$@"; do
    case $arg in
    --no-setup) setup=0 ;;
    lint | dev | asan | tsan | conformance | node) steps+=("$arg") ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
done
[ ${#steps[@]} -gt 0 ] || steps=(lint dev asan tsan conformance node)

wanted() {
    local s
    for s in "${steps[@]}"; do
        if [ "$s" = "$1" ]; then return 0; fi
    done
    return 1
}

heading() { printf '\n==== %s\n' "$*"; }

if [ $setup = 1 ]; then
    heading "set-up"
    ./deploy/setup.sh --test
fi

rm -rf "$out"
mkdir -p "$out"
failed=0
beside= # the process of a step that runs beside others

# A step that cannot even run (a compiler error, a crash of the runner) is a failure of its own in the sum.
run_step() { # name command...
    local name=$1
    shift
    heading "$name"
    local began=$SECONDS
    if "$@"; then
        printf '%s: done (%d s)\n' "$name" $((SECONDS - began)) # failed cases are the sum's business
    else
        printf '%s: FAILED (%d s)\n' "$name" $((SECONDS - began))
        printf '%s\n' "$name" >>"$out/failed-steps"
        failed=1
        return 1
    fi
}

configure() { # preset
    local launcher=()
    if command -v ccache >/dev/null; then launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache); fi
    cmake --preset "$1" -DWEIR_WERROR=ON -DWEIR_PYTHON="$python" "${launcher[@]}" >"$out/$1-configure.log" || {
        cat "$out/$1-configure.log"
        return 1
    }
}

build() { # preset
    configure "$1" || return 1
    ninja -C "build/$1" -j "$jobs" --quiet
}

# Sanitizers end a process with a status that no test expects, and leave their report in a file of its own: one that a
# test did not notice, or that a second try did not repeat, still fails the run (sanitizer_reports).
reports=$out/reports
mkdir -p "$reports"
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:exitcode=99:log_path=$reports/asan
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:log_path=$reports/ubsan
export TSAN_OPTIONS=second_deadlock_stack=1:halt_on_error=1:exitcode=66:log_path=$reports/tsan:print_suppressions=0:suppressions=$root/deploy/tsan-suppressions.txt

# The thread sanitizer of GCC 12 cannot map its shadow when the kernel randomises addresses widely.
fixed_addresses() {
    if setarch "$(uname -m)" -R true 2>/dev/null; then
        setarch "$(uname -m)" -R "$@"
    else
        "$@"
    fi
}

# A test that failed beside others is asked once more, alone. Passing then, it is named as unsteady in the sum: a fault of
# the test to be mended, not of the change. More than a few failures are no accident.
most_asked_again=3

run_ctest() { # preset, further ctest options
    local preset=$1
    shift
    local status=0 around=() again
    if [ "$preset" = tsan ]; then around=(fixed_addresses); fi
    # All output goes into the JUnit file: it says how many cases each program ran and how many it skipped.
    "${around[@]}" ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$at_once" \
        --test-output-size-passed 10000000 --test-output-size-failed 10000000 \
        --output-junit "$out/$preset-ctest.xml" "$@" >"$out/$preset-ctest.log" 2>&1 || status=$?
    if [ "$status" = 0 ]; then
        tail -n 4 "$out/$preset-ctest.log"
    else
        # One test that floods its output must not bury the others.
        grep -vE ' Passed +[0-9.]+ sec$|^ +Start +[0-9]+:' "$out/$preset-ctest.log" | cut -c1-300 | tail -n 400
        printf '(all of it: %s)\n' "${out#"$root"/}/$preset-ctest.log"
        again=$(wc -l <"build/$preset/Testing/Temporary/LastTestsFailed.log")
        if [ "$again" -le "$most_asked_again" ]; then
            "${around[@]}" ctest --test-dir "build/$preset" --rerun-failed --output-on-failure -j 1 \
                --test-output-size-passed 10000000 --output-junit "$out/$preset-ctest-again.xml" || true
        fi
    fi
    # The sum below counts failed tests; only a runner that produced no result is a failed step.
    [ -s "$out/$preset-ctest.xml" ] || return 1
    return 0
}

run_conformance() { # preset, name of the result, what it is run by
    local build=$root/build/$1 result=$2 status=0
    shift 2
    local pytest=("$@" "$python" -m pytest tests/conformance -q -rs --tb=short -o "cache_dir=$out/$result-cache")
    WEIR_BUILD=$build "${pytest[@]}" --junitxml="$out/$result-pytest.xml" || status=$?
    if [ "$status" = 1 ] && [ "$(grep -o '<failure' "$out/$result-pytest.xml" | wc -l)" -le "$most_asked_again" ]; then
        WEIR_BUILD=$build "${pytest[@]}" --last-failed --junitxml="$out/$result-pytest-again.xml" || true
    fi
    # 0 all passed, 1 some failed: both are in the sum. The rest means that pytest itself did not work.
    [ "$status" -le 1 ]
}

run_node() { # preset
    local status=0
    (cd tests/conformance/node && WEIR_BUILD=$root/build/$1 \
        node --test --test-reporter=tap) >"$out/node.tap" 2>&1 || status=$?
    if [ "$status" != 0 ]; then cat "$out/node.tap"; else grep -E '^# (tests|pass|fail|skipped) ' "$out/node.tap"; fi
    grep -q '^# tests [1-9]' "$out/node.tap"
}

run_lint() {
    local f status=0
    for f in deploy/*.sh .ci/run; do
        bash -n "$f" || status=1
    done
    shellcheck deploy/*.sh .ci/run || status=1
    git ls-files '*.c' '*.h' | xargs clang-format-14 --dry-run -Werror || status=1
    "$python" -m compileall -q -f -x node_modules tests/conformance tests/bench deploy >/dev/null || status=1
    # The product's own code; tests drive it into corners that look wrong on purpose.
    configure dev && cppcheck --project=build/dev/compile_commands.json -itests -j "$jobs" --quiet --error-exitcode=1 \
        --enable=warning,performance,portability --suppress=missingIncludeSystem \
        --suppressions-list=deploy/cppcheck-suppressions.txt --template='{file}:{line}: {severity}: {id}: {message}' || status=1
    return "$status"
}

# Pure arithmetic that takes long and has no second thread to race with.
single_threaded='test_(encoder_golden|bert_cpu|cpu_ops|bert_model|wordpiece|heads|centroids|static_table|safetensors|guard|risk|pandora|tally|curve|scorer|evaluate|exante|request_plan|beliefs)'

# The programs of a tree that did not build are not tested: its one failure says enough.
declare -A built # preset -> exit status of its build
build_step() {   # preset
    if [ -z "${built[$1]:-}" ]; then
        built[$1]=0
        run_step "$1: build" build "$1" || built[$1]=1
    fi
    return "${built[$1]}"
}

if wanted lint; then run_step "lint" run_lint || true; fi
if wanted dev && build_step dev; then run_step "dev: tests" run_ctest dev || true; fi
if wanted asan && build_step asan; then run_step "asan: tests" run_ctest asan || true; fi
if wanted tsan && build_step tsan; then
    # Pure codecs have no second thread; the fuzz replays and golden files would only cost time here.
    run_step "tsan: tests" run_ctest tsan -LE 'fuzz|golden|arch|gpu|threads_elsewhere' -E "$single_threaded" || true
    # Clients and servers of one test take turns, so that a run keeps one core busy: this one goes beside the other.
    if wanted conformance; then
        run_step "tsan: conformance" run_conformance tsan tsan-conformance fixed_addresses >"$out/tsan-conformance.log" 2>&1 &
        beside=$!
    fi
fi
clients=dev
if wanted asan; then clients=asan; fi
if { wanted conformance || wanted node; } && build_step "$clients"; then
    if wanted conformance; then run_step "conformance: Python SDK and raw HTTP" run_conformance "$clients" conformance env || true; fi
    if wanted node; then run_step "conformance: Node.js SDK" run_node "$clients" || true; fi
fi
if [ -n "$beside" ]; then
    wait "$beside" || failed=1
    cat "$out/tsan-conformance.log"
fi

# What a sanitizer had to say and no test's exit status told.
sanitizer_reports() {
    local f
    for f in "$reports"/*; do
        [ -s "$f" ] || continue
        printf '==== sanitizer: %s\n' "${f##*/}"
        head -n 60 "$f"
        printf 'sanitizer report %s\n' "${f##*/}" >>"$out/failed-steps"
    done
}
sanitizer_reports

heading "sum"
"$python" deploy/tally.py "$out" || failed=1
exit $failed
