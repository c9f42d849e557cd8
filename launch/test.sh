#!/usr/bin/env bash
# Checks the style, then runs pytest with one process per core, at most 4 because each one loads TensorFlow.
# Arguments go to pytest. `--slow` runs the whole-system tests, which take minutes each, one at a time.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

chosen=(-m "not slow") arguments=()
# A process that crashes fails the run. With another in its place, loadfile of pytest-xdist 3.8 waits without end.
workers="--numprocesses=logical --maxprocesses=4 --dist=loadfile --max-worker-restart=0"
for argument in "$@"; do
  case "$argument" in
    -h | --help)
      cat <<'TEXT'
usage: bash launch/test.sh [--slow] [arguments of pytest: files, -k WORD, -x, -n 0, ...]

Checks the style, then runs the tests with one process per core, at most 4 (-n 0: one process). --slow runs the
whole-system tests instead, which take minutes each, one at a time.

examples:
  bash launch/test.sh
  bash launch/test.sh tests/test_losses.py -n 0
  bash launch/test.sh --slow -k fuzz

Exit codes: 0 all passed, 1 the style or a test failed, otherwise that of pytest (2 interrupted, 4 bad usage,
5 no tests selected).
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
# In a variable, so that arguments override it, such as -n 0.
export PYTEST_ADDOPTS="$workers ${PYTEST_ADDOPTS:-}"
exec "$python" -m pytest -q "${chosen[@]}" ${arguments[@]+"${arguments[@]}"}
