#!/usr/bin/env bash
# The tests: style first, then pytest in as many processes as there are cores, at most 4, as each loads TensorFlow.
# Arguments go to pytest (`-n 0`: one process); `--slow` runs the whole-system tests of minutes, one at a time.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

chosen=(-m "not slow") workers="--numprocesses=logical --maxprocesses=4 --dist=loadfile" arguments=()
for argument in "$@"; do
  case "$argument" in
    -h | --help)
      cat <<'TEXT'
usage: bash launch/test.sh [--slow] [pytest's arguments: files, -k WORD, -x, -n 0, ...]

Style first, then the tests in as many processes as there are cores, at most 4. --slow runs the whole-system
tests of minutes instead, one at a time.

examples:
  bash launch/test.sh
  bash launch/test.sh tests/test_losses.py -n 0
  bash launch/test.sh --slow -k fuzz

Exit codes: 0 all passed, 1 style or a test failed, else pytest's (2 interrupted, 4 bad usage, 5 no such test).
TEXT
      exit 0
      ;;
    --slow) chosen=(-m slow) workers="--numprocesses=0" ;;
    *) arguments+=("$argument") ;;
  esac
done

use_environment
install_package test
cd "$root"
"$python" -m ruff check .
"$python" -m ruff format --check .
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"
# By way of a variable, which arguments overrule: -n 0 runs all in one process.
export PYTEST_ADDOPTS="$workers ${PYTEST_ADDOPTS:-}"
exec "$python" -m pytest -q "${chosen[@]}" ${arguments[@]+"${arguments[@]}"}
