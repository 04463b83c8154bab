#!/usr/bin/env bash
# Installs what weir needs and is not there yet, from Debian 12 packages, PyPI and npm.
#
# It looks first and changes nothing that is already right, so running it again costs a second. It leaves no service
# running that it installed. It never asks a question.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: deploy/setup.sh [--build] [--test] [--bench] [--check]

  --build   what it takes to build weir and to run the quick start (the default)
  --test    also what the test suite runs: servers, SDKs, analysers; fills .venv/ and
            tests/conformance/node/node_modules/ and .cache/models/
  --bench   also the gateways that weir is measured against, in build/bench/
  --check   only say what is missing; exit status 1 when something is

Needs root, or sudo, only when a Debian package is missing.
EOF
}

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

# Each line: package, the file or command that shows it is there ("-": ask dpkg), what it is for. A command is accepted
# from anywhere, so that a newer Node.js or a Python of one's own is not replaced by Debian's.
build_packages() {
    cat <<'EOF'
gcc                   cc          the C compiler
libc6-dev             -           the C library's headers
cmake                 cmake       the build
ninja-build           ninja       the build
pkg-config            pkg-config  finds the libraries
libevent-dev          -           event loop
libcurl4-openssl-dev  -           HTTP/2 and proxies towards the models
libjansson-dev        -           JSON trees
libyaml-dev           -           the policy file
libsqlite3-dev        -           the ledger, the cache
libhiredis-dev        -           the cache in Redis
libssl-dev            -           TLS
libpcre2-dev          -           patterns in schemas and validators
zlib1g-dev            -           compressed bodies and data sets
libcmocka-dev         -           unit tests (part of every build)
g++                   c++         the one C++ file, between weir and FAISS
libfaiss-dev          -           graphs in the cache's vector index
ca-certificates       -           trust for HTTPS
curl                  curl        the quick start's client
jq                    jq          reads replies in the quick start
python3               python3     asks the quick start's questions
sqlite3               sqlite3     reads the ledger in the quick start
procps                ps          looks at processes
EOF
}

test_packages() {
    cat <<'EOF'
ccache                    ccache        rebuilds three times in a tenth of the time
clang-14                  clang-14      fuzz targets
libclang-rt-14-dev        -             the fuzzer's run-time
clang-tidy-14             clang-tidy-14 static analysis
clang-format-14           clang-format-14 layout check
cppcheck                  cppcheck      static analysis
shellcheck                shellcheck    checks these scripts
openssl                   openssl       certificates for TLS tests
util-linux                setarch       runs the thread sanitizer without address randomisation
redis-server              redis-server  a store for the cache tests
libfaketime               -             clocks that are off, for the cache tests
chromium                  chromium      opens the report's page, as its readers do
nginx-light               nginx         the proxy to compare with
haproxy                   haproxy       the proxy to compare with
nodejs                    node          runs the Node.js SDK
npm                       npm           fetches the Node.js SDK
python3-venv              :venv         a private place for Python packages: the Python SDK and the tests
EOF
}

bench_packages() {
    cat <<'EOF'
util-linux  taskset  pins processes to cores
wrk         wrk      a second opinion on load
EOF
}

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: error: %s\n' "$*" >&2
    exit 1
}

# Some package puts commands where only root's PATH looks.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

have_venv() { "$1" -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

python() {
    local p
    for p in python3 /usr/bin/python3; do
        if command -v "$p" >/dev/null && have_venv "$p"; then
            printf '%s\n' "$p"
            return
        fi
    done
    return 1
}

is_there() { # package probe
    case $2 in
    -) [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    :venv) python >/dev/null ;;
    *) command -v "$2" >/dev/null ;;
    esac
}

want_build=0 want_test=0 want_bench=0 check_only=0
[ $# -gt 0 ] || want_build=1
for arg in "$@"; do
    case $arg in
    --build) want_build=1 ;;
    --test) want_build=1 want_test=1 ;;
    --bench) want_build=1 want_test=1 want_bench=1 ;;
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
done
if [ $((want_build + want_test + want_bench)) = 0 ]; then
    want_build=1
fi

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    die "this is not Debian or one of its kind; install the equivalents of: $(build_packages | awk '{print $1}' | xargs)"
fi

missing=()
while read -r package probe why; do
    if ! is_there "$package" "$probe"; then
        say "missing: $package ($why)"
        missing+=("$package")
    fi
done < <(
    build_packages
    if [ $want_test = 1 ]; then test_packages; fi
    if [ $want_bench = 1 ]; then bench_packages; fi
)

# ---- Debian packages ----

as_root=()
policy_rc_d=/usr/sbin/policy-rc.d
policy_rc_d_state=untouched

get_root() {
    if [ "$(id -u)" = 0 ]; then
        return
    fi
    command -v sudo >/dev/null ||
        die "installing packages needs root, and there is no sudo here. Ask an administrator to run:
    apt-get install --no-install-recommends ${missing[*]}"
    if ! sudo -n true 2>/dev/null; then
        # A password can be asked for only where somebody can type one.
        if ! { [ -t 0 ] && sudo -v; }; then
            die "sudo wants a password and there is nobody to ask. Run this once in a terminal, or as root:
    apt-get install --no-install-recommends ${missing[*]}"
        fi
    fi
    as_root=(sudo)
}

# While packages are configured, invoke-rc.d asks this script whether it may start a service: 101 means no.
forbid_services() {
    if "${as_root[@]}" test -e $policy_rc_d; then
        "${as_root[@]}" mv $policy_rc_d $policy_rc_d.before-weir
        policy_rc_d_state=moved
    else
        policy_rc_d_state=added
    fi
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy_rc_d >/dev/null
    "${as_root[@]}" chmod 755 $policy_rc_d
}

restore_services() {
    case $policy_rc_d_state in
    added) "${as_root[@]}" rm -f $policy_rc_d ;;
    moved) "${as_root[@]}" mv -f $policy_rc_d.before-weir $policy_rc_d ;;
    esac
    policy_rc_d_state=untouched
}

# Not started now is not enough: an enabled unit starts at the next boot.
disable_services() {
    local package unit
    command -v systemctl >/dev/null || return 0
    for package in "${missing[@]}"; do
        case $package in
        nginx-light) unit=nginx ;;
        redis-server | haproxy) unit=$package ;;
        *) continue ;;
        esac
        "${as_root[@]}" systemctl disable "$unit" >/dev/null 2>&1 ||
            say "note: could not disable the service $unit; it may start at the next boot"
    done
}

install_packages() {
    get_root
    say "installing with apt-get: ${missing[*]}"
    trap restore_services EXIT
    forbid_services
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get update -qq ||
        say "note: the package lists could not be refreshed; trying with those at hand"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get install -y -qq \
        --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "${missing[@]}" >/dev/null ||
        die "apt-get could not install: ${missing[*]}"
    restore_services
    trap - EXIT
    disable_services
}

if [ ${#missing[@]} -gt 0 ] && [ $check_only = 0 ]; then
    install_packages
fi

# ---- Python and Node.js packages, each in a place of its own ----

incomplete=0

# stamped STAMP FILE...: true when these files are the ones that STAMP was written for.
stamped() {
    local stamp=$1
    shift
    [ -f "$stamp" ] && [ "$(cat "$@" | sha256sum)" = "$(cat "$stamp")" ]
}

fill_venv() { # venv requirements
    if stamped "$1/.filled-from" "$2"; then
        return
    fi
    incomplete=1
    if [ $check_only = 1 ]; then
        say "missing: ${1#"$root"/} (Python packages of ${2#"$root"/})"
        return
    fi
    say "filling ${1#"$root"/} with the Python packages of ${2#"$root"/}"
    mkdir -p "$(dirname "$1")"
    "$(python)" -m venv --clear "$1"
    "$1/bin/python" -m pip install -qq --disable-pip-version-check --no-input -r "$2" || return 1
    sha256sum <"$2" >"$1/.filled-from"
}

fill_node() { # folder with package.json and package-lock.json, and where node_modules goes
    local lock=$1/package-lock.json
    if stamped "$2/node_modules/.filled-from" "$lock"; then
        return
    fi
    incomplete=1
    if [ $check_only = 1 ]; then
        say "missing: ${2#"$root"/}/node_modules (of ${lock#"$root"/})"
        return
    fi
    say "filling ${2#"$root"/}/node_modules from ${lock#"$root"/}"
    mkdir -p "$2"
    if [ "$1" != "$2" ]; then cp "$1/package.json" "$lock" "$2/"; fi
    # No package here needs its install script, so none is run.
    (cd "$2" && npm ci --silent --no-audit --no-fund --ignore-scripts) || return 1
    sha256sum <"$lock" >"$2/node_modules/.filled-from"
}

if [ $want_test = 1 ]; then
    fill_venv "$root/.venv" "$root/tests/conformance/requirements.txt" ||
        die "pip could not install the Python packages of tests/conformance/requirements.txt"
    fill_node "$root/tests/conformance/node" "$root/tests/conformance/node" ||
        die "npm could not install the packages of tests/conformance/node"
    # Real weights for the encoder; the tests that need them skip, visibly, where they could not be had.
    if [ $check_only = 1 ]; then
        "$root/tests/integration/models/setup.sh" --check || incomplete=1
    else
        WEIR_PYTHON=$root/.venv/bin/python "$root/tests/integration/models/setup.sh" ||
            say "note: the encoder's weights could not be fetched (offline?); the tests that need them will skip"
    fi
    # A real engine behind weir; its tests skip, visibly, where it could not be built.
    if [ $check_only = 1 ]; then
        "$root/tests/integration/llama/setup.sh" --check || incomplete=1
    else
        WEIR_PYTHON=$root/.venv/bin/python "$root/tests/integration/llama/setup.sh" ||
            say "note: no llama.cpp server could be built; its tests will skip"
    fi
fi

# The peers are measured when they can be had. Without one the benchmark says so in its place.
if [ $want_bench = 1 ]; then
    fill_node "$root/tests/bench/proxy/portkey" "$root/build/bench/portkey" ||
        say "note: Portkey's gateway could not be installed; the benchmark will say so"
    fill_venv "$root/build/bench/litellm" "$root/tests/bench/proxy/litellm-requirements.txt" ||
        say "note: LiteLLM could not be installed; the benchmark will say so"
    fill_venv "$root/build/bench/encoder" "$root/tests/bench/encoder/requirements.txt" ||
        say "note: onnxruntime could not be installed; the encoder cannot be measured beside it"
fi

if [ $check_only = 1 ]; then
    if [ ${#missing[@]} -gt 0 ] || [ $incomplete = 1 ]; then exit 1; fi
fi
say "everything is there"
