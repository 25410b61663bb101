#!/bin/sh
# Build the compiled twins (setup.py) with the address and undefined-behaviour sanitizers, in a copy
# of this tree, and run there what drives them: their own tests with random bytes, the fuzz targets,
# and real clients through a whole gateway.
#   scripts/sanitize.sh [pytest's arguments instead of the usual tests]
# PYTHON names another interpreter than .venv's; it needs what `scripts/setup.sh dev` installs.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
python=$(command -v "${PYTHON:-.venv/bin/python}")
case $python in /*) ;; *) python=$top/$python ;; esac

say() { printf 'sanitize: %s\n' "$*"; }
fail() { printf 'sanitize: %s\n' "$*" >&2; exit 1; }

usual="tests/transport tests/recording tests/documents tests/link/test_pump.py tests/fuzz
    tests/http/test_heads.py tests/http/test_fields.py tests/http/test_wire.py
    tests/postgres/test_shape.py tests/postgres/test_at_once.py tests/postgres/test_session.py
    tests/adversarial/test_forged_intents.py tests/adversarial/test_same_as_the_server.py
    tests/integration/test_psycopg.py tests/integration/test_other_drivers.py"

asan=$(${CC:-gcc} -print-file-name=libasan.so)
ubsan=$(${CC:-gcc} -print-file-name=libubsan.so)
case $asan$ubsan in /*/*) ;; *) fail "gcc with its sanitizers is needed" ;; esac

scratch=$(mktemp -d "${TMPDIR:-/tmp}/hoopgw-sanitize-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$scratch"
cd "$scratch"

say "building in $scratch"
sanitizers="-fsanitize=address,undefined"
CFLAGS="-O1 -fno-omit-frame-pointer $sanitizers -fno-sanitize-recover=undefined" \
    LDFLAGS="$sanitizers" \
    "$python" -m pip wheel -qq --disable-pip-version-check --no-deps -w wheel . ||
    fail "the twins could not be built"
"$python" -m zipfile -e wheel/*.whl built
cp -r built/*.dist-info built/hoopgw .
cp -r built/hoopgw_* protocols

say "testing"
export LD_PRELOAD="$asan $ubsan"
# The interpreter's own leaks are not ours; with malloc each object has its red zones.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc
# What is not built fails; random bytes are new ones each time.
export CI=1 HOOPGW_HYPOTHESIS="${HOOPGW_HYPOTHESIS:-suite}"
# shellcheck disable=SC2086 # several names
[ $# != 0 ] || set -- $usual
"$python" -m pytest -q -p no:cacheprovider "$@"
say "nothing was found"
