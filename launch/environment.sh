# shellcheck shell=bash
# The Python environment and the installation, for the scripts in this directory. To be sourced.
#
#   choose_environment     sets $environment and $python, and makes nothing
#   use_environment        the same, and makes .venv in the repository if no environment is active
#   install_package EXTRA  installs the repository there in editable mode, unless that has been done
#
# Variables that the user may set:
#   PYTHON                 Python to make .venv with (default: python3, then python3.13 ... python3.10)
#   HAZEHEAL_SKIP_INSTALL  1: use the environment as it is

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
python=""
environment=""

say() { printf '%s\n' "$*" >&2; }

# fail CODE MESSAGE
fail() {
  say "error: $2"
  exit "$1"
}

_supported() {
  "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

# Prints a Python 3.10 to 3.13 to make an environment with.
find_python() {
  local candidate
  if [[ -n "${PYTHON:-}" ]]; then
    _supported "$PYTHON" || fail 2 "PYTHON=$PYTHON is not a Python 3.10 to 3.13; give another one"
    printf '%s\n' "$PYTHON"
    return
  fi
  for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
    if command -v "$candidate" >/dev/null && _supported "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  fail 1 "found no Python 3.10 to 3.13; install one, or name it: PYTHON=/path/to/python bash $0"
}

choose_environment() {
  environment="${VIRTUAL_ENV:-${CONDA_PREFIX:-$root/.venv}}"
  python="$environment/bin/python"
}

use_environment() {
  choose_environment
  if [[ "$environment" == "$root/.venv" ]] && ! "$python" -c "" >/dev/null 2>&1; then
    local base
    base="$(find_python)" # if it fails, `set -e` of the caller ends the script
    say "no environment is active: making $environment with $base"
    # --clear: replaces an environment whose Python does not run.
    "$base" -m venv --clear --without-pip "$environment" ||
      fail 1 "$base -m venv failed; install its venv module, or activate an environment"
  fi
  [[ -x "$python" ]] || fail 2 "the active environment $environment has no bin/python; deactivate or repair it"
  _supported "$python" ||
    fail 2 "the Python of $environment is not 3.10 to 3.13; activate another environment, or none"
}

# Changes whenever `pip install` would do something else.
_fingerprint() {
  "$python" - "$root" <<'PY'
import hashlib, pathlib, sys

root = pathlib.Path(sys.argv[1])
digest = hashlib.sha256(f"{root} {sys.version_info[:2]}".encode())
for name in ("setup.py", "pyproject.toml", "hazeheal/__init__.py"):
    digest.update((root / name).read_bytes())
print(digest.hexdigest())
PY
}

# The stamp holds the fingerprint, then the name of each installed extra ("base": none), one per line.
is_installed() {
  [[ "${HAZEHEAL_SKIP_INSTALL:-}" == 1 ]] && return
  local stamp="$environment/.hazeheal-installed" extra="$1"
  [[ -x "$python" && -f "$stamp" ]] || return 1
  [[ "$(head -n 1 "$stamp")" == "$(_fingerprint)" ]] || return 1
  [[ "$extra" == base ]] || grep -qx -- "$extra" "$stamp" # every extra includes the base
}

# pip_extra EXTRA: prints "[EXTRA]", and nothing for the base.
pip_extra() { [[ "$1" == base ]] || printf '[%s]' "$1"; }

install_package() {
  local extra="$1" stamp="$environment/.hazeheal-installed" fingerprint
  is_installed "$extra" && return
  # Two scripts that start at once must not install over each other.
  exec 9>"$environment/.hazeheal-lock" || fail 1 "$environment cannot be written; activate another environment, or none"
  if command -v flock >/dev/null; then flock 9; fi
  if ! is_installed "$extra"; then
    # Also repairs an environment that was interrupted while it was made, or was made without pip.
    "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null 2>&1 ||
      fail 1 "$environment has no pip, and ensurepip failed; install it (Debian, Ubuntu: python3-venv)"
    say "installing hazeheal$(pip_extra "$extra") into $environment; this takes minutes the first time"
    "$python" -m pip install --disable-pip-version-check -e "$root$(pip_extra "$extra")" >&2 9>&- ||
      fail 1 "pip could not install hazeheal$(pip_extra "$extra"); the lines above say why"
    fingerprint="$(_fingerprint)"
    [[ -f "$stamp" && "$(head -n 1 "$stamp")" == "$fingerprint" ]] || printf '%s\n' "$fingerprint" >"$stamp"
    printf '%s\n' "$extra" >>"$stamp"
  fi
  exec 9>&-
}
