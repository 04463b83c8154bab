#!/usr/bin/env bash
# A real llama.cpp server and a tiny model for it, for the tests: build/llama/llama-server and build/llama/tiny.gguf.
#
# The source comes from PyPI (server-requirements.txt), the build is CPU only, static, without web pages and TLS, and takes
# some seven minutes of CPU time, once. Looks first and changes nothing that is already right. Called by deploy/setup.sh
# --test; the tests of this folder skip, visibly, where it has not run.
set -euo pipefail

usage() {
    cat <<'END'
usage: tests/integration/llama/setup.sh [--check]

  --check   only say what is missing; exit status 1 when something is

Environment: WEIR_LLAMA_JOBS (compilers at a time; default: the number of CPUs), WEIR_PYTHON (with pip; default: .venv's)
END
}

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
to=$root/build/llama

say() { printf 'llama: %s\n' "$*"; }

check_only=0
case ${1-} in
'') ;;
--check) check_only=1 ;;
-h | --help)
    usage
    exit 0
    ;;
*)
    usage >&2
    exit 2
    ;;
esac

built_from() { cat "$here/server-requirements.txt" "$here/setup.sh" | sha256sum; }
model_from() { sha256sum <"$here/make_tiny_gguf.py"; }

server_is_there() { [ -x "$to/llama-server" ] && [ "$(cat "$to/.built-from" 2>/dev/null)" = "$(built_from)" ]; }
model_is_there() { [ -f "$to/tiny.gguf" ] && [ "$(cat "$to/.model-from" 2>/dev/null)" = "$(model_from)" ]; }

if [ $check_only = 1 ]; then
    missing=0
    server_is_there || { say "missing: build/llama/llama-server" && missing=1; }
    model_is_there || { say "missing: build/llama/tiny.gguf" && missing=1; }
    exit $missing
fi

python=${WEIR_PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=python3

fetch() { # into $work/source
    say "fetching the source of llama.cpp"
    "$python" -m pip download -qq --disable-pip-version-check --no-input --no-deps --no-binary llama-cpp-python \
        --dest "$work" -r "$here/server-requirements.txt"
    mkdir "$work/source"
    tar -xzf "$work"/llama_cpp_python-*.tar.gz -C "$work/source" --strip-components=3 --wildcards '*/vendor/llama.cpp'
}

build() {
    local jobs=${WEIR_LLAMA_JOBS:-$(nproc)} launcher=()
    say "building llama-server with $jobs compilers at a time (some minutes)"
    if command -v ccache >/dev/null; then launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
    # Little optimisation but in the kernels: the model is tiny, the build is what takes time. No native code: what was
    # built here may be run elsewhere.
    cmake -S "$work/source" -B "$work/out" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE=-O2 \
        -DCMAKE_CXX_FLAGS_RELEASE=-O1 -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
        -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF \
        -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DGGML_LLAMAFILE=OFF -DGGML_CCACHE=OFF -DLLAMA_ALL_WARNINGS=OFF "${launcher[@]}" \
        >"$to/build.log" 2>&1
    nice cmake --build "$work/out" --target llama-server -j "$jobs" >>"$to/build.log" 2>&1
    strip -o "$to/llama-server.part" "$work/out/bin/llama-server"
    mv "$to/llama-server.part" "$to/llama-server"
}

mkdir -p "$to"
if ! server_is_there; then
    work=$(mktemp -d "$to/work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    fetch || {
        say "error: the source could not be fetched"
        exit 1
    }
    build || {
        say "error: the build failed; the end of build/llama/build.log:"
        tail -n 20 "$to/build.log"
        exit 1
    }
    built_from >"$to/.built-from"
fi
if ! model_is_there; then
    say "writing build/llama/tiny.gguf"
    "$python" "$here/make_tiny_gguf.py" "$to/tiny.gguf"
    model_from >"$to/.model-from"
fi
say "build/llama/llama-server and build/llama/tiny.gguf are there"
