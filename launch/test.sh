#!/usr/bin/env bash
# The tests: style first, then pytest. Arguments go to pytest; `--slow` runs the whole-system tests of minutes.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

chosen=(-m "not slow") arguments=()
for argument in "$@"; do
  case "$argument" in
    -h | --help)
      say "usage: bash launch/test.sh [--slow] [pytest's arguments: files, -k WORD, -x, ...]"
      exit 0
      ;;
    --slow) chosen=(-m slow) ;;
    *) arguments+=("$argument") ;;
  esac
done

use_environment
install_package test
cd "$root"
"$python" -m ruff check .
"$python" -m ruff format --check .
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"
exec "$python" -m pytest -q "${chosen[@]}" ${arguments[@]+"${arguments[@]}"}
